//! What is stored from, loaded to and cut on a device. Fails where there is no GPU.
//!
//! `FLASHLLM_GPU_TESTS_SMALL=1`: small sizes only, for compute-sanitizer.
// Handles, descriptors and memory are live for the whole of each test.
#![allow(clippy::undocumented_unsafe_blocks)]

#[path = "support/stored.rs"]
mod stored;

use flash_llm::capi::context::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::memory::*;
use flash_llm::capi::safetensors::*;
use flash_llm::capi::status::flashllmStatus_t::*;
use flash_llm::capi::store::*;
use flash_llm::capi::types::RawVerify;
use std::io::Write;
use std::path::PathBuf;
use std::ptr;
use stored::*;

fn small() -> bool {
    std::env::var("FLASHLLM_GPU_TESTS_SMALL").is_ok_and(|value| value == "1")
}

/// A file of its own for each test, which is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("flash_llm-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A matrix that is larger than both pinned buffers together, ragged, or a small one.
fn shape() -> (usize, usize) {
    if small() { (300, 700) } else { (4100, 9001) }
}

#[test]
fn device_matrices_are_stored_as_host_matrices_are_and_come_back() {
    let (gpu, cpu) = (device(), host());
    let (rows, cols) = shape();
    let weights = integers(rows * cols, 1, 120);
    let path = Scratch::new("gpu-store-matrix");
    for format in FORMATS {
        let on_host = compress(cpu, rows, cols, &weights, format);
        let on_device = compress(gpu, rows, cols, &weights, format);
        let stored = serialize(gpu, on_device);
        assert!(stored == serialize(cpu, on_host), "format {format}: stored bytes differ");
        good(unsafe { flashllmSpMatSave(gpu, on_device, text(&path.0).as_ptr()) });
        assert!(std::fs::read(&path.0).unwrap() == stored, "format {format}: saved bytes differ");
        let bytes = size(on_host).3;
        for from_file in [false, true] {
            // Guards of 256 bytes on both sides of the buffer.
            let around = room(gpu, bytes + 512);
            let to = around.wrapping_byte_add(256);
            let mut back = ptr::null_mut();
            good(unsafe {
                if from_file {
                    flashllmSpMatLoad(
                        gpu,
                        &raw mut back,
                        text(&path.0).as_ptr(),
                        RawVerify(0),
                        to,
                        bytes,
                    )
                } else {
                    let (from, n) = (stored.as_ptr().cast(), stored.len());
                    flashllmSpMatDeserialize(gpu, &raw mut back, from, n, RawVerify(0), to, bytes)
                }
            });
            let all: Vec<u8> = download(gpu, around, bytes + 512);
            assert!(all[256..256 + bytes] == bytes_of(cpu, on_host), "format {format}");
            assert!(all[..256].iter().chain(&all[256 + bytes..]).all(|&b| b == 0xa5));
            // And it multiplies as the one that was stored.
            let b = integers(cols * 8, 3, 0);
            assert!(product(gpu, back, &b, 8) == product(gpu, on_device, &b, 8));
            good(flashllmDestroySpMat(back));
            good(flashllmFree(gpu, around));
        }
        good(flashllmDestroySpMat(on_host));
        good(flashllmDestroySpMat(on_device));
    }
    good(flashllmDestroy(gpu));
    good(flashllmDestroy(cpu));
}

#[test]
fn damaged_bytes_never_become_a_matrix() {
    let gpu = device();
    let s = compress(gpu, 300, 700, &integers(300 * 700, 1, 120), 2);
    let mut stored = serialize(gpu, s);
    let bytes = size(s).3;
    let to = room(gpu, bytes);
    let refused = |stored: &[u8]| {
        let mut back = ptr::null_mut();
        let status = unsafe {
            let (from, n) = (stored.as_ptr().cast(), stored.len());
            flashllmSpMatDeserialize(gpu, &raw mut back, from, n, RawVerify(0), to, bytes)
        };
        assert_eq!(status, FLASHLLM_STATUS_CORRUPT_DATA);
        assert!(back.is_null());
    };
    // The table, which is looked at before anything is copied.
    stored[256 + 258] ^= 4;
    refused(&stored);
    assert!(download::<u8>(gpu, to, bytes).iter().all(|&b| b == 0xa5), "the buffer was written to");
    stored[256 + 258] ^= 4;
    // The data, which are verified while they are copied: no matrix comes of them.
    let at = stored.len() / 2;
    stored[at] ^= 4;
    refused(&stored);
    // A buffer that something else has overwritten is not stored.
    let (mut p, mut n) = (ptr::null_mut(), 0);
    good(unsafe { flashllmSpMatGetBuffer(s, &raw mut p, &raw mut n) });
    put(gpu, p, &[0_u8; 256]);
    let mut out = vec![0xee_u8; stored.len()];
    let status = unsafe { flashllmSpMatSerialize(gpu, s, out.as_mut_ptr().cast(), out.len()) };
    assert_eq!(status, FLASHLLM_STATUS_CORRUPT_DATA, "{}", message());
    assert!(out.iter().all(|&b| b == 0xee));
    good(flashllmDestroySpMat(s));
    good(flashllmDestroy(gpu));
}

#[test]
fn sealed_damage_is_refused_by_the_device_as_by_the_host() {
    let gpu = device();
    refuses_sealed_damage_as_the_host_does(gpu, if small() { 12 } else { 200 });
    good(flashllmDestroy(gpu));
}

#[test]
fn damage_is_found_while_it_is_copied() {
    let gpu = device();
    stored::damage_is_found_while_it_is_copied(gpu);
    good(flashllmDestroy(gpu));
}

#[test]
fn a_model_goes_from_the_device_to_a_file_and_back() {
    let (gpu, cpu) = (device(), host());
    let (rows, cols) = shape();
    let weights = integers(rows * cols, 7, 200);
    let path = Scratch::new("gpu-store-model");
    // Dense bytes of a crooked number, three pinned buffers and a bit.
    let count = if small() { 1_100_003 } else { (3 << 24) + 13 };
    let dense: Vec<u8> = (0..count as u32).map(|i| (i ^ i >> 8 ^ i >> 15) as u8).collect();
    let on_device = upload(gpu, &dense);
    let mut writer = ptr::null_mut();
    good(unsafe { flashllmSafetensorsWriterCreate(&raw mut writer, text(&path.0).as_ptr(), 5) });
    let shape = [count as i64];
    good(unsafe {
        flashllmSafetensorsWriterAddDense(
            gpu,
            writer,
            c"dense".as_ptr(),
            c"U8".as_ptr(),
            1,
            shape.as_ptr(),
            on_device,
        )
    });
    let mut matrices = Vec::new();
    for (format, name) in FORMATS.into_iter().zip([c"one", c"two", c"three", c"four", c"five"]) {
        let s = compress(gpu, rows, cols, &weights, format);
        good(unsafe { flashllmSafetensorsWriterAddSpMat(gpu, writer, name.as_ptr(), s) });
        matrices.push((name, s));
    }
    good(flashllmSafetensorsWriterFinish(writer));
    good(flashllmSafetensorsWriterDestroy(writer));
    good(flashllmFree(gpu, on_device));

    let mut file = ptr::null_mut();
    good(unsafe { flashllmSafetensorsOpen(&raw mut file, text(&path.0).as_ptr()) });
    for handle in [gpu, cpu] {
        let mut index = 0;
        good(unsafe { flashllmSafetensorsFind(file, c"dense".as_ptr(), &raw mut index) });
        let around = room(handle, count + 2);
        // An odd address: dense tensors may go anywhere.
        let to = around.wrapping_byte_add(1);
        good(unsafe { flashllmSafetensorsLoadDense(handle, file, index, to, count) });
        let all: Vec<u8> = download(handle, around, count + 2);
        assert!(all[1..=count] == dense);
        assert_eq!((all[0], all[count + 1]), (0xa5, 0xa5));
        good(flashllmFree(handle, around));
        for (name, s) in &matrices {
            good(unsafe { flashllmSafetensorsFind(file, name.as_ptr(), &raw mut index) });
            let bytes = size(*s).3;
            let (mut back, to) = (ptr::null_mut(), room(handle, bytes));
            good(unsafe {
                flashllmSafetensorsLoadSpMat(
                    handle,
                    file,
                    index,
                    &raw mut back,
                    RawVerify(0),
                    to,
                    bytes,
                )
            });
            assert!(bytes_of(handle, back) == bytes_of(gpu, *s), "{name:?}");
            good(flashllmDestroySpMat(back));
            good(flashllmFree(handle, to));
        }
    }
    good(flashllmSafetensorsClose(file));
    for (_, s) in matrices {
        good(flashllmDestroySpMat(s));
    }
    good(flashllmDestroy(gpu));
    good(flashllmDestroy(cpu));
}

#[test]
fn shards_cut_on_the_device_are_those_of_the_host_and_make_up_the_whole() {
    let (gpu, cpu) = (device(), host());
    let (rows, cols, n) = if small() { (650, 2100, 5) } else { (1545, 4200, 16) };
    for format in FORMATS {
        let cols = cols_of_thirds(format, cols);
        let weights = integers(rows * cols, 1, 180);
        let b = integers(cols * n, 2, 0);
        let on_host = compress(cpu, rows, cols, &weights, format);
        let whole = compress(gpu, rows, cols, &weights, format);
        let want = product(gpu, whole, &b, n);
        assert!(want == product(cpu, on_host, &b, n), "format {format}: the whole");
        let (tr, tc) = tile(whole);
        let (m, k) = (rows as i64, cols as i64);
        let mut below = Vec::new();
        for r in thirds(m, tr) {
            let part = cut(gpu, whole, r, [0, k]);
            let host_part = cut(cpu, on_host, r, [0, k]);
            assert!(bytes_of(gpu, part) == bytes_of(cpu, host_part), "format {format} {r:?}");
            below.extend(product(gpu, part, &b, n));
            good(flashllmDestroySpMat(part));
            good(flashllmDestroySpMat(host_part));
        }
        assert!(below == want, "format {format}: rows");
        let mut sum = vec![0.0; rows * n];
        for c in thirds(k, tc) {
            let part = cut(gpu, whole, [tr, m], c);
            let host_part = cut(cpu, on_host, [tr, m], c);
            assert!(bytes_of(gpu, part) == bytes_of(cpu, host_part), "format {format} {c:?}");
            let rows_of_b = &b[c[0] as usize * n..c[1] as usize * n];
            let below_first = &mut sum[tr as usize * n..];
            for (s, p) in below_first.iter_mut().zip(product(gpu, part, rows_of_b, n)) {
                *s += p;
            }
            good(flashllmDestroySpMat(part));
            good(flashllmDestroySpMat(host_part));
        }
        let first = tr as usize * n;
        assert!(sum[first..] == want[first..], "format {format}: columns");
        good(flashllmDestroySpMat(on_host));
        good(flashllmDestroySpMat(whole));
    }
    good(flashllmDestroy(gpu));
    good(flashllmDestroy(cpu));
}

/// Not a gate: machines differ. Prints what the path from the page cache to the device reaches.
#[test]
fn loading_speed_is_told() {
    if small() {
        return;
    }
    let gpu = device();
    let (rows, cols) = (16384, 8192);
    let path = Scratch::new("gpu-store-speed");
    for format in FORMATS {
        let s = compress(gpu, rows, cols, &integers(rows * cols, 5, 205), format);
        good(unsafe { flashllmSpMatSave(gpu, s, text(&path.0).as_ptr()) });
        let bytes = size(s).3;
        let to = room(gpu, bytes);
        let mut best = [f64::INFINITY; 3];
        for (verify, best) in best.iter_mut().enumerate() {
            for _ in 0..3 {
                let start = std::time::Instant::now();
                let mut back = ptr::null_mut();
                let verify = RawVerify(verify as i32);
                good(unsafe {
                    let path = text(&path.0);
                    flashllmSpMatLoad(gpu, &raw mut back, path.as_ptr(), verify, to, bytes)
                });
                *best = best.min(start.elapsed().as_secs_f64());
                good(flashllmDestroySpMat(back));
            }
        }
        let content = std::fs::read(&path.0).unwrap();
        let start = std::time::Instant::now();
        put(gpu, to, &content[256..256 + bytes]);
        let copy = start.elapsed().as_secs_f64();
        let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
        // Past the capture of libtest: it is the number that is wanted.
        let _ = writeln!(
            std::io::stderr(),
            "format {format}, {bytes} bytes: loaded at {:.2} GB/s with every byte checked, {:.2} with checksums, {:.2} without; a pageable copy alone {:.2}",
            rate(best[0]),
            rate(best[1]),
            rate(best[2]),
            rate(copy)
        );
        good(flashllmDestroySpMat(s));
        good(flashllmFree(gpu, to));
    }
    good(flashllmDestroy(gpu));
}
