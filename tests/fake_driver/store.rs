//! Storing, loading and cutting on a device, against the fake driver.

#[path = "../support/stored.rs"]
mod stored;

use super::*;
use flash_llm::capi::safetensors::*;
use flash_llm::capi::store::*;
use std::path::Path;

/// Larger than two pinned buffers, with an odd end.
const LARGE: usize = (5 << 23) + 12_345;

fn file(name: &str) -> (PathBuf, CString) {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-{name}-{}", std::process::id()));
    let text = CString::new(path.to_str().unwrap()).unwrap();
    (path, text)
}

fn pattern() -> Vec<u8> {
    (0..LARGE as u32).map(|i| (i ^ i >> 7 ^ i >> 16) as u8).collect()
}

/// Writes a model from the device and loads it again.
fn model(program: &mut Program, path: &CStr) -> Result<(), flashllmStatus_t> {
    let ready = program.prepare()?;
    let h = program.handle();
    let (mut rows, mut cols, mut nnz, mut bytes) = (0, 0, 0, 0);
    let s = ready.sparse;
    // SAFETY: valid places.
    ok(unsafe {
        flashllmSpMatGetSize(s, &raw mut rows, &raw mut cols, &raw mut nnz, &raw mut bytes)
    })?;
    let host = pattern();
    let dense = program.malloc(LARGE)?;
    // SAFETY: both are LARGE bytes; one is device memory.
    ok(unsafe { flashllmMemcpy(h, dense, host.as_ptr().cast(), LARGE, RawMemcpyKind(1)) })?;
    let mut writer = ptr::null_mut();
    // SAFETY: valid places and strings; device memory of these sizes.
    unsafe {
        ok(flashllmSafetensorsWriterCreate(&raw mut writer, path.as_ptr(), 2))?;
        let written = ok(flashllmSafetensorsWriterAddSpMat(h, writer, c"w".as_ptr(), s))
            .and_then(|()| {
                let shape = LARGE as i64;
                ok(flashllmSafetensorsWriterAddDense(
                    h,
                    writer,
                    c"d".as_ptr(),
                    c"U8".as_ptr(),
                    1,
                    &raw const shape,
                    dense,
                ))
            })
            .and_then(|()| ok(flashllmSafetensorsWriterFinish(writer)));
        assert_eq!(flashllmSafetensorsWriterDestroy(writer), FLASHLLM_STATUS_SUCCESS);
        written?;
        let mut file = ptr::null_mut();
        ok(flashllmSafetensorsOpen(&raw mut file, path.as_ptr()))?;
        let loaded = load(program, file, bytes, &host);
        assert_eq!(flashllmSafetensorsClose(file), FLASHLLM_STATUS_SUCCESS);
        loaded?;
        // A part of the rows, and the whole matrix to memory and back.
        let mut size = 0;
        let (m, k) = (ROWS as i64, COLS as i64);
        ok(flashllmSpMatSlice_bufferSize(h, s, 64, m, 0, k, &raw mut size))?;
        let part_buffer = program.malloc(size)?;
        let mut part = ptr::null_mut();
        ok(flashllmSpMatSlice(h, s, 64, m, 0, k, &raw mut part, part_buffer, size))?;
        program.sparse.push(part);
        ok(flashllmSpMatSerializedSize(h, s, &raw mut size))?;
        let mut stored = vec![0_u8; size];
        ok(flashllmSpMatSerialize(h, s, stored.as_mut_ptr().cast(), size))?;
        let to = program.malloc(bytes)?;
        let mut back = ptr::null_mut();
        let from = stored.as_ptr().cast();
        ok(flashllmSpMatDeserialize(h, &raw mut back, from, size, RawVerify(0), to, bytes))?;
        program.sparse.push(back);
    }
    ok(flashllmFree(h, dense))
}

/// # Safety
/// `file` must be open.
unsafe fn load(
    program: &mut Program,
    file: flashllmSafetensors_t,
    bytes: usize,
    host: &[u8],
) -> Result<(), flashllmStatus_t> {
    let h = program.handle();
    let buffer = program.malloc(bytes)?;
    let dense = program.malloc(LARGE)?;
    let (mut index, mut s) = (0, ptr::null_mut());
    let mut read = vec![0_u8; LARGE];
    // SAFETY: valid places and strings; device memory of these sizes.
    unsafe {
        ok(flashllmSafetensorsFind(file, c"w".as_ptr(), &raw mut index))?;
        ok(flashllmSafetensorsLoadSpMat(h, file, index, &raw mut s, RawVerify(0), buffer, bytes))?;
        program.sparse.push(s);
        ok(flashllmSafetensorsFind(file, c"d".as_ptr(), &raw mut index))?;
        ok(flashllmSafetensorsLoadDense(h, file, index, dense, LARGE))?;
        ok(flashllmMemcpy(h, read.as_mut_ptr().cast(), dense, LARGE, RawMemcpyKind(2)))?;
    }
    assert!(read == host, "the tensor changed on its way");
    ok(flashllmFree(h, dense))
}

#[cfg(not(no_kernels))]
#[test]
fn models_go_through_pinned_buffers_that_end_with_the_handle() {
    with_driver("store::models_go_through_pinned_buffers_that_end_with_the_handle", None, |fake| {
        let (path, text) = file("pinned");
        let mut program = Program::default();
        model(&mut program, &text).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let counts = fake.counts();
        assert_eq!(counts.get("cuMemHostAlloc"), Some(&2), "made once for all copies: {counts:?}");
        assert_eq!(counts.get("cuEventCreate"), Some(&2));
        assert_eq!(fake.get("fake_live_staging"), 4);
        program.end();
        assert_eq!(fake.get("fake_live_staging"), 0, "pinned memory is left");
        fake.assert_nothing_alive("at the end");
        std::fs::remove_file(path).unwrap();
    });
}

#[cfg(not(no_kernels))]
#[test]
fn failures_while_storing_and_loading_are_mapped_and_leak_nothing() {
    let name = "store::failures_while_storing_and_loading_are_mapped_and_leak_nothing";
    with_driver(name, None, |fake| {
        let (path, text) = file("failures");
        let mut program = Program::default();
        model(&mut program, &text).unwrap();
        let counts = fake.counts();
        program.end();
        let old = std::fs::read(&path).unwrap();
        for function in [
            "cuMemHostAlloc",
            "cuEventCreate",
            "cuEventRecord",
            "cuEventSynchronize",
            "cuMemcpyHtoDAsync_v2",
            "cuMemcpyDtoHAsync_v2",
            "cuStreamIsCapturing",
            "cuStreamSynchronize",
        ] {
            let calls = counts[function];
            // Each call near the ends, and some between: a run moves 40 MB.
            let spread = (1..=calls).filter(|n| *n <= 2 || *n > calls - 4 || n % 11 == 0);
            for nth in spread {
                fake.clear();
                fake.reset();
                fake.fail(function, nth, 700);
                let what = format!("{function} #{nth}");
                let mut program = Program::default();
                match model(&mut program, &text) {
                    Err(status) => {
                        assert_eq!(
                            status,
                            FLASHLLM_STATUS_EXECUTION_FAILED,
                            "{what}: {}",
                            message()
                        );
                        let stem = function.trim_end_matches("_v2");
                        assert!(message().contains(stem), "{what}: {}", message());
                    }
                    // Without pinned memory copies are slower, and done.
                    Ok(()) => assert!(
                        ["cuMemHostAlloc", "cuEventCreate"].contains(&function),
                        "{what} went unnoticed"
                    ),
                }
                assert!(fake.failed(), "{what} was not reached");
                program.end();
                assert_eq!(fake.get("fake_live_staging"), 0, "{what}: pinned memory is left");
                fake.assert_nothing_alive(&what);
                assert!(std::fs::read(&path).unwrap() == old, "{what}: the file changed");
                let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
                let prefix = format!(".flash_llm-{}-", std::process::id());
                let left = folder
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
                assert_eq!(left.count(), 0, "{what}: temporary files are left");
            }
        }
        std::fs::remove_file(path).unwrap();
    });
}

#[cfg(not(no_kernels))]
#[test]
fn a_capturing_stream_is_refused_and_unharmed() {
    with_driver("store::a_capturing_stream_is_refused_and_unharmed", None, |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let h = program.handle();
        let stream = fake.stream(0, ptr::null_mut());
        assert_eq!(flashllmSetStream(h, stream.cast()), FLASHLLM_STATUS_SUCCESS);
        fake.set_capturing(stream, 1);
        let (path, text) = file("capture");
        let (mut size, s) = (0, ready.sparse);
        // SAFETY: valid places and strings, and live descriptors.
        unsafe {
            assert_eq!(flashllmSpMatSerializedSize(h, s, &raw mut size), FLASHLLM_STATUS_SUCCESS);
            let mut out = vec![0xee_u8; size];
            let status = flashllmSpMatSerialize(h, s, out.as_mut_ptr().cast(), size);
            assert_eq!(status, FLASHLLM_STATUS_NOT_SUPPORTED);
            assert!(out.iter().all(|&b| b == 0xee));
            let status = flashllmSpMatSave(h, s, text.as_ptr());
            assert_eq!(status, FLASHLLM_STATUS_NOT_SUPPORTED);
            let (m, k) = (ROWS as i64, COLS as i64);
            let status = flashllmSpMatSlice_bufferSize(h, s, 0, m, 0, k, &raw mut size);
            assert_eq!(status, FLASHLLM_STATUS_NOT_SUPPORTED, "{}", message());
        }
        assert!(!path.exists());
        // SAFETY: the control has this type.
        let capturing: extern "C" fn(*mut c_void) -> c_int =
            unsafe { std::mem::transmute(fake.symbol("fake_capturing")) };
        assert_eq!(capturing(stream), 1, "the capture was spoilt");
        fake.set_capturing(stream, 0);
        assert_eq!(flashllmSetStream(h, ptr::null_mut()), FLASHLLM_STATUS_SUCCESS);
        program.end();
    });
}

#[cfg(not(no_kernels))]
#[test]
fn sealed_damage_is_refused_by_the_device_as_by_the_host() {
    with_driver("store::sealed_damage_is_refused_by_the_device_as_by_the_host", None, |_| {
        let gpu = stored::device();
        stored::refuses_sealed_damage_as_the_host_does(gpu, 40);
        stored::good(flashllmDestroy(gpu));
    });
}

#[cfg(not(no_kernels))]
#[test]
fn damage_is_found_while_it_is_copied() {
    with_driver("store::damage_is_found_while_it_is_copied", None, |_| {
        let gpu = stored::device();
        stored::damage_is_found_while_it_is_copied(gpu);
        stored::good(flashllmDestroy(gpu));
    });
}
