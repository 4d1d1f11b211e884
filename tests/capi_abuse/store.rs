//! Abuse of what stores and cuts compressed matrices.

use super::*;
use flash_llm::capi::safetensors::*;
use flash_llm::capi::store::*;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file name of its own for every use, which nobody has to remove.
fn file(name: &str) -> (PathBuf, &'static CStr) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("abuse-{}-{number}-{name}", std::process::id());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = CString::new(path.to_str().unwrap()).unwrap();
    (path, Box::leak(text.into_boxed_c_str()))
}

/// A stored copy of the world's matrix.
fn stored(w: &World) -> &'static mut [u8] {
    let mut bytes = 0;
    good(unsafe { flashllmSpMatSerializedSize(w.handle, w.sparse, &raw mut bytes) });
    let memory = vec![0u8; bytes].leak();
    good(unsafe { flashllmSpMatSerialize(w.handle, w.sparse, memory.as_mut_ptr().cast(), bytes) });
    memory
}

/// The same, damaged.
fn damaged(w: &World, at: usize) -> &'static [u8] {
    let bytes = stored(w);
    bytes[at] ^= 0x10;
    bytes
}

const SHAPE: [i64; 2] = [3, 2];
const VALUES: [u16; 6] = [1, 2, 3, 4, 5, 6];

fn writer(path: &CStr) -> flashllmSafetensorsWriter_t {
    let mut writer = ptr::null_mut();
    good(unsafe { flashllmSafetensorsWriterCreate(&raw mut writer, path.as_ptr(), 0) });
    writer
}

/// An open file: 0 is the matrix "a", 1 the dense tensor "b".
fn opened(w: &World) -> flashllmSafetensors_t {
    let (path, name) = file("model.safetensors");
    let writer = writer(name);
    let mut file = ptr::null_mut();
    unsafe {
        good(flashllmSafetensorsWriterAddSpMat(w.handle, writer, c"a".as_ptr(), w.sparse));
        let data = VALUES.as_ptr().cast();
        good(flashllmSafetensorsWriterAddDense(
            w.handle,
            writer,
            c"b".as_ptr(),
            c"F16".as_ptr(),
            2,
            SHAPE.as_ptr(),
            data,
        ));
        good(flashllmSafetensorsWriterFinish(writer));
        good(flashllmSafetensorsWriterDestroy(writer));
        good(flashllmSafetensorsOpen(&raw mut file, name.as_ptr()));
    }
    std::fs::remove_file(path).unwrap();
    file
}

/// As `Table::handles`, for functions that clear their first out-parameter.
fn handles_null(
    t: &mut Table,
    world: &World,
    function: &'static str,
    call: impl Fn(&World, &mut Area, flashllmHandle_t) -> flashllmStatus_t + Clone + 'static,
) {
    for (what, bad) in world.bad_handles() {
        let call = call.clone();
        t.create(function, what, FLASHLLM_STATUS_NOT_INITIALIZED, move |w, a| call(w, a, bad));
    }
}

fn files(w: &World) -> Vec<(&'static str, flashllmSafetensors_t)> {
    let closed = opened(w);
    good(flashllmSafetensorsClose(closed));
    vec![
        ("NULL file", ptr::null_mut()),
        ("wild file", ptr::without_provenance_mut(0x20)),
        ("closed file", closed),
        ("handle as file", w.handle.cast()),
    ]
}

fn writers(w: &World) -> Vec<(&'static str, flashllmSafetensorsWriter_t)> {
    let (_, name) = file("gone.safetensors");
    let gone = writer(name);
    good(flashllmSafetensorsWriterDestroy(gone));
    vec![
        ("NULL writer", ptr::null_mut()),
        ("wild writer", ptr::without_provenance_mut(0x28)),
        ("destroyed writer", gone),
        ("handle as writer", w.handle.cast()),
        ("file as writer", opened(w).cast()),
    ]
}

fn serialize(t: &mut Table, world: &World) {
    let f = "flashllmSpMatSerializedSize";
    t.handles(world, f, |w, a, h| unsafe { flashllmSpMatSerializedSize(h, w.sparse, a.at(0)) });
    t.sparse(world, f, |w, a, s| unsafe { flashllmSpMatSerializedSize(w.handle, s, a.at(0)) });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmSpMatSerializedSize(w.handle, w.sparse, ptr::null_mut())
    });
    t.add(f, "empty", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmSpMatSerializedSize(w.handle, w.sparse_empty, a.at(0))
    });
    t.add(f, "analysed only", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmSpMatSerializedSize(w.handle, w.sparse_over_dense, a.at(0))
    });
    let f = "flashllmSpMatSerialize";
    t.handles(world, f, |w, a, h| unsafe { flashllmSpMatSerialize(h, w.sparse, a.at(0), 64) });
    t.sparse(world, f, |w, a, s| unsafe { flashllmSpMatSerialize(w.handle, s, a.at(0), 64) });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmSpMatSerialize(w.handle, w.sparse, ptr::null_mut(), 1 << 20)
    });
    t.add(f, "empty", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmSpMatSerialize(w.handle, w.sparse_empty, a.at(0), 64)
    });
    t.add(f, "too small", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, |w, a| unsafe {
        flashllmSpMatSerialize(w.handle, w.sparse, a.at(0), 64)
    });
    t.add(f, "no size", FLASHLLM_STATUS_SIZE_OVERFLOW, |w, a| unsafe {
        flashllmSpMatSerialize(w.handle, w.sparse, a.at(0), usize::MAX)
    });
    t.add(f, "over the matrix", FLASHLLM_STATUS_INVALID_VALUE, |w, _| unsafe {
        flashllmSpMatSerialize(w.handle, w.sparse, w.buffer.add(16).cast(), 1 << 20)
    });
}

/// One of the seven places is NULL.
fn info(bytes: *const u8, size: usize, a: &mut Area, null: usize) -> flashllmStatus_t {
    unsafe {
        flashllmSpMatGetSerializedInfo(
            bytes.cast(),
            size,
            if null == 0 { ptr::null_mut() } else { a.at(0) },
            if null == 1 { ptr::null_mut() } else { a.at(1) },
            if null == 2 { ptr::null_mut() } else { a.at(2) },
            if null == 3 { ptr::null_mut() } else { a.at(3) },
            if null == 4 { ptr::null_mut() } else { a.at(4) },
            if null == 5 { ptr::null_mut() } else { a.at(5) },
            if null == 6 { ptr::null_mut() } else { a.at(6) },
        )
    }
}

fn file_info(path: *const c_char, a: &mut Area, null: usize) -> flashllmStatus_t {
    unsafe {
        flashllmSpMatGetFileInfo(
            path,
            if null == 0 { ptr::null_mut() } else { a.at(0) },
            if null == 1 { ptr::null_mut() } else { a.at(1) },
            if null == 2 { ptr::null_mut() } else { a.at(2) },
            if null == 3 { ptr::null_mut() } else { a.at(3) },
            if null == 4 { ptr::null_mut() } else { a.at(4) },
            if null == 5 { ptr::null_mut() } else { a.at(5) },
            if null == 6 { ptr::null_mut() } else { a.at(6) },
        )
    }
}

fn deserialize(t: &mut Table, world: &World) {
    let f = "flashllmSpMatGetSerializedInfo";
    let good_bytes: &'static [u8] = stored(world);
    for null in 0..7 {
        t.add(f, format!("NULL out {null}"), FLASHLLM_STATUS_NULL_POINTER, move |_, a| {
            info(good_bytes.as_ptr(), good_bytes.len(), a, null)
        });
    }
    t.add(f, "NULL bytes", FLASHLLM_STATUS_NULL_POINTER, |_, a| info(ptr::null(), 300, a, 9));
    t.add(f, "no size", FLASHLLM_STATUS_SIZE_OVERFLOW, move |_, a| {
        info(good_bytes.as_ptr(), usize::MAX, a, 9)
    });
    for bytes in [0, 1, 255] {
        t.add(f, format!("{bytes} bytes"), FLASHLLM_STATUS_CORRUPT_DATA, move |_, a| {
            info(good_bytes.as_ptr(), bytes, a, 9)
        });
    }
    t.add(f, "a header alone", FLASHLLM_STATUS_SUCCESS, move |_, a| {
        info(good_bytes.as_ptr(), 256, a, 9)
    });
    for at in [0, 7, 24, 56, 64, 100, 200, 255] {
        let bad = damaged(world, at);
        t.add(f, format!("byte {at}"), FLASHLLM_STATUS_CORRUPT_DATA, move |_, a| {
            info(bad.as_ptr(), bad.len(), a, 9)
        });
    }
    let future = damaged(world, 8);
    t.add(f, "version", FLASHLLM_STATUS_VERSION_MISMATCH, move |_, a| {
        info(future.as_ptr(), future.len(), a, 9)
    });

    let f = "flashllmSpMatDeserialize";
    let call = |h, a: &mut Area, bytes: &[u8], to: *mut u8, size| unsafe {
        flashllmSpMatDeserialize(
            h,
            a.at(0),
            bytes.as_ptr().cast(),
            bytes.len(),
            RawVerify(0),
            to.cast(),
            size,
        )
    };
    // `spoilt` is memory that the snapshot leaves out; `buffer` would show a change.
    handles_null(t, world, f, move |w, a, h| call(h, a, good_bytes, w.buffer, w.bytes));
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        let (p, n) = (good_bytes.as_ptr().cast(), good_bytes.len());
        flashllmSpMatDeserialize(
            w.handle,
            ptr::null_mut(),
            p,
            n,
            RawVerify(0),
            w.buffer.cast(),
            w.bytes,
        )
    });
    for value in UNKNOWN {
        let invalid = FLASHLLM_STATUS_INVALID_VALUE;
        t.create(f, format!("verify {value}"), invalid, move |w, a| unsafe {
            let (p, n, verify) = (good_bytes.as_ptr().cast(), good_bytes.len(), RawVerify(value));
            let to = w.buffer.cast();
            flashllmSpMatDeserialize(w.handle, a.at(0), p, n, verify, to, w.bytes)
        });
    }
    t.create(f, "NULL bytes", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMatDeserialize(
            w.handle,
            a.at(0),
            ptr::null(),
            9,
            RawVerify(0),
            w.buffer.cast(),
            w.bytes,
        )
    });
    t.create(f, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
        call(w.handle, a, good_bytes, ptr::null_mut(), w.bytes)
    });
    t.create(f, "crooked buffer", FLASHLLM_STATUS_MISALIGNED, move |w, a| {
        call(w.handle, a, good_bytes, w.buffer.wrapping_add(128), w.bytes)
    });
    t.create(f, "small buffer", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, a| {
        call(w.handle, a, good_bytes, w.buffer, w.bytes - 1)
    });
    t.create(f, "no size of buffer", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, a| {
        call(w.handle, a, good_bytes, w.buffer, usize::MAX)
    });
    t.create(f, "no size of bytes", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, a| unsafe {
        let p = good_bytes.as_ptr().cast();
        flashllmSpMatDeserialize(
            w.handle,
            a.at(0),
            p,
            usize::MAX,
            RawVerify(0),
            w.buffer.cast(),
            w.bytes,
        )
    });
    t.create(f, "truncated", FLASHLLM_STATUS_CORRUPT_DATA, move |w, a| {
        call(w.handle, a, &good_bytes[..good_bytes.len() - 1], w.buffer, w.bytes)
    });
    for at in [0, 30, 250, 300, 520, good_bytes.len() - 1] {
        let bad = damaged(world, at);
        t.create(f, format!("byte {at}"), FLASHLLM_STATUS_CORRUPT_DATA, move |w, a| {
            call(w.handle, a, bad, w.buffer, w.bytes)
        });
    }
    t.create(f, "over its bytes", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
        // A stored matrix at a place where a buffer may begin.
        let room = vec![0u8; 4 * good_bytes.len() + 512].leak();
        let skip = room.as_ptr().align_offset(256);
        room[skip..][..good_bytes.len()].copy_from_slice(good_bytes);
        let whole = room.len() - skip;
        let to = room[skip..].as_mut_ptr();
        let stored = unsafe { std::slice::from_raw_parts(to, good_bytes.len()) };
        call(w.handle, a, stored, to, whole)
    });
}

fn save(t: &mut Table, world: &World) {
    let (path, name) = file("matrix");
    good(unsafe { flashllmSpMatSave(world.handle, world.sparse, name.as_ptr()) });
    let (nowhere, folder) = (c"/no such folder/matrix", c"/");
    let half_path = path.with_extension("half");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&half_path, &bytes[..bytes.len() / 2]).unwrap();
    let half: &'static CStr =
        Box::leak(CString::new(half_path.to_str().unwrap()).unwrap().into_boxed_c_str());
    let empty_path = path.with_extension("empty");
    std::fs::write(&empty_path, b"").unwrap();
    let empty: &'static CStr =
        Box::leak(CString::new(empty_path.to_str().unwrap()).unwrap().into_boxed_c_str());

    let f = "flashllmSpMatSave";
    t.handles(world, f, move |w, _, h| unsafe { flashllmSpMatSave(h, w.sparse, name.as_ptr()) });
    t.sparse(world, f, move |w, _, s| unsafe { flashllmSpMatSave(w.handle, s, name.as_ptr()) });
    t.add(f, "no data", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| unsafe {
        flashllmSpMatSave(w.handle, w.sparse_empty, name.as_ptr())
    });
    for (what, want, path) in [
        ("NULL path", FLASHLLM_STATUS_NULL_POINTER, None),
        ("empty path", FLASHLLM_STATUS_INVALID_VALUE, Some(c"")),
        ("a folder", FLASHLLM_STATUS_INVALID_VALUE, Some(folder)),
        ("no folder", FLASHLLM_STATUS_IO_ERROR, Some(nowhere)),
    ] {
        t.add(f, what, want, move |w, _| unsafe {
            flashllmSpMatSave(w.handle, w.sparse, path.map_or(ptr::null(), CStr::as_ptr))
        });
    }

    let bad_paths = [
        ("NULL path", FLASHLLM_STATUS_NULL_POINTER, None),
        ("empty path", FLASHLLM_STATUS_INVALID_VALUE, Some(c"")),
        ("a folder", FLASHLLM_STATUS_IO_ERROR, Some(folder)),
        ("no file", FLASHLLM_STATUS_IO_ERROR, Some(nowhere)),
        ("an empty file", FLASHLLM_STATUS_CORRUPT_DATA, Some(empty)),
    ];
    let f = "flashllmSpMatGetFileInfo";
    for (what, want, path) in bad_paths {
        t.add(f, what, want, move |_, a| file_info(path.map_or(ptr::null(), CStr::as_ptr), a, 9));
    }
    for null in 0..7 {
        t.add(f, format!("NULL out {null}"), FLASHLLM_STATUS_NULL_POINTER, move |_, a| {
            file_info(name.as_ptr(), a, null)
        });
    }

    let f = "flashllmSpMatLoad";
    let call = |w: &World, a: &mut Area, path: *const c_char, to: *mut u8, size| unsafe {
        flashllmSpMatLoad(w.handle, a.at(0), path, RawVerify(0), to.cast(), size)
    };
    handles_null(t, world, f, move |w, a, h| unsafe {
        flashllmSpMatLoad(h, a.at(0), name.as_ptr(), RawVerify(0), w.buffer.cast(), w.bytes)
    });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        flashllmSpMatLoad(
            w.handle,
            ptr::null_mut(),
            name.as_ptr(),
            RawVerify(0),
            w.buffer.cast(),
            w.bytes,
        )
    });
    for (what, want, path) in
        bad_paths.into_iter().chain([("half", FLASHLLM_STATUS_CORRUPT_DATA, Some(half))])
    {
        t.create(f, what, want, move |w, a| {
            call(w, a, path.map_or(ptr::null(), CStr::as_ptr), w.buffer, w.bytes)
        });
    }
    t.create(f, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
        call(w, a, name.as_ptr(), ptr::null_mut(), w.bytes)
    });
    t.create(f, "crooked buffer", FLASHLLM_STATUS_MISALIGNED, move |w, a| {
        call(w, a, name.as_ptr(), w.buffer.wrapping_add(8), w.bytes)
    });
    t.create(f, "small buffer", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, a| {
        call(w, a, name.as_ptr(), w.buffer, w.bytes - 1)
    });
    t.create(f, "no size", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, a| {
        call(w, a, name.as_ptr(), w.buffer, usize::MAX)
    });
    for value in UNKNOWN {
        let invalid = FLASHLLM_STATUS_INVALID_VALUE;
        t.create(f, format!("verify {value}"), invalid, move |w, a| unsafe {
            let (to, verify) = (w.buffer.cast(), RawVerify(value));
            flashllmSpMatLoad(w.handle, a.at(0), name.as_ptr(), verify, to, w.bytes)
        });
    }
}

fn slices(t: &mut Table, world: &World) {
    let f = "flashllmSpMatGetTileSize";
    t.sparse(world, f, |_, a, s| unsafe { flashllmSpMatGetTileSize(s, a.at(0), a.at(1)) });
    t.add(f, "neither analysed nor data", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmSpMatGetTileSize(w.sparse_empty, a.at(0), a.at(1))
    });
    t.add(f, "NULL rows", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMatGetTileSize(w.sparse, ptr::null_mut(), a.at(1))
    });
    t.add(f, "NULL cols", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMatGetTileSize(w.sparse, a.at(0), ptr::null_mut())
    });

    let (m, k) = (M as i64, K as i64);
    // M is 40: two row tiles of 32. K is 70: one block of 256 columns.
    let parts: [(&str, [i64; 4]); 11] = [
        ("negative row", [-32, m, 0, k]),
        ("row inside a tile", [8, m, 0, k]),
        ("end inside a tile", [0, 33, 0, k]),
        ("end behind the matrix", [0, m + 1, 0, k]),
        ("no rows", [32, 32, 0, k]),
        ("rows backwards", [32, 0, 0, k]),
        ("huge row", [i64::MAX - 31, i64::MAX, 0, k]),
        ("negative column", [0, m, -256, k]),
        ("column inside a block", [0, m, 64, k]),
        ("column end inside a block", [0, m, 0, k - 1]),
        ("columns behind the matrix", [0, m, 0, 256]),
    ];
    let f = "flashllmSpMatSlice_bufferSize";
    t.handles(world, f, move |w, a, h| unsafe {
        flashllmSpMatSlice_bufferSize(h, w.sparse, 0, m, 0, k, a.at(0))
    });
    t.sparse(world, f, move |w, a, s| unsafe {
        flashllmSpMatSlice_bufferSize(w.handle, s, 0, m, 0, k, a.at(0))
    });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        flashllmSpMatSlice_bufferSize(w.handle, w.sparse, 0, m, 0, k, ptr::null_mut())
    });
    t.add(f, "no data", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
        flashllmSpMatSlice_bufferSize(w.handle, w.sparse_empty, 0, m, 0, k, a.at(0))
    });
    for (what, [r0, r1, c0, c1]) in parts {
        t.add(f, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMatSlice_bufferSize(w.handle, w.sparse, r0, r1, c0, c1, a.at(0))
        });
    }

    let f = "flashllmSpMatSlice";
    let call = move |w: &World, a: &mut Area, [r0, r1, c0, c1]: [i64; 4], to: *mut u8, n| unsafe {
        flashllmSpMatSlice(w.handle, w.sparse, r0, r1, c0, c1, a.at(0), to.cast(), n)
    };
    handles_null(t, world, f, move |w, a, h| unsafe {
        flashllmSpMatSlice(h, w.sparse, 0, m, 0, k, a.at(0), w.spoilt.cast(), w.bytes)
    });
    for (what, bad) in world.bad_sparse() {
        t.create(f, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMatSlice(w.handle, bad, 0, m, 0, k, a.at(0), w.spoilt.cast(), w.bytes)
        });
    }
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        let to = w.spoilt.cast();
        flashllmSpMatSlice(w.handle, w.sparse, 0, m, 0, k, ptr::null_mut(), to, w.bytes)
    });
    for (what, part) in parts {
        t.create(f, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            call(w, a, part, w.spoilt, w.bytes)
        });
    }
    let whole = [0, m, 0, k];
    t.create(f, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
        call(w, a, whole, ptr::null_mut(), w.bytes)
    });
    t.create(f, "crooked buffer", FLASHLLM_STATUS_MISALIGNED, move |w, a| {
        call(w, a, whole, w.spoilt.wrapping_add(2), w.bytes)
    });
    t.create(f, "small buffer", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, a| {
        call(w, a, whole, w.spoilt, w.bytes - 1)
    });
    t.create(f, "no size", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, a| {
        call(w, a, whole, w.spoilt, usize::MAX)
    });
    t.create(f, "over the matrix", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
        call(w, a, whole, w.buffer, w.bytes)
    });
}

fn reader(t: &mut Table, world: &World) {
    let (path, name) = file("text.safetensors");
    std::fs::write(&path, b"this is no header").unwrap();
    let f = "flashllmSafetensorsOpen";
    for (what, want, path) in [
        ("NULL path", FLASHLLM_STATUS_NULL_POINTER, None),
        ("empty path", FLASHLLM_STATUS_INVALID_VALUE, Some(c"")),
        ("no file", FLASHLLM_STATUS_IO_ERROR, Some(c"/no such file")),
        ("a folder", FLASHLLM_STATUS_IO_ERROR, Some(c"/")),
        ("another file", FLASHLLM_STATUS_CORRUPT_DATA, Some(name)),
    ] {
        t.create(f, what, want, move |_, a| unsafe {
            flashllmSafetensorsOpen(a.at(0), path.map_or(ptr::null(), CStr::as_ptr))
        });
    }
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |_, _| unsafe {
        flashllmSafetensorsOpen(ptr::null_mut(), name.as_ptr())
    });

    let open = opened(world);
    t.add("flashllmSafetensorsClose", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |_, _| {
        flashllmSafetensorsClose(ptr::null_mut())
    });
    for (what, bad) in files(world) {
        let invalid = FLASHLLM_STATUS_INVALID_VALUE;
        if !bad.is_null() {
            t.add("flashllmSafetensorsClose", what, invalid, move |_, _| {
                flashllmSafetensorsClose(bad)
            });
        }
        t.add("flashllmSafetensorsGetCount", what, invalid, move |_, a| unsafe {
            flashllmSafetensorsGetCount(bad, a.at(0))
        });
        t.add("flashllmSafetensorsFind", what, invalid, move |_, a| unsafe {
            flashllmSafetensorsFind(bad, c"a".as_ptr(), a.at(0))
        });
        t.add("flashllmSafetensorsGetMetadata", what, invalid, move |_, a| unsafe {
            flashllmSafetensorsGetMetadata(bad, c"a".as_ptr(), a.at(0))
        });
        t.add("flashllmSafetensorsGetTensor", what, invalid, move |_, a| tensor(bad, 0, a, 9));
        t.add("flashllmSafetensorsGetSpMat", what, invalid, move |_, a| sp_mat(bad, 0, a, 9));
        t.add("flashllmSafetensorsLoadDense", what, invalid, move |w, _| unsafe {
            flashllmSafetensorsLoadDense(w.handle, bad, 1, w.buffer.cast(), w.bytes)
        });
        t.create("flashllmSafetensorsLoadSpMat", what, invalid, move |w, a| unsafe {
            let to = w.buffer.cast();
            flashllmSafetensorsLoadSpMat(w.handle, bad, 0, a.at(0), RawVerify(0), to, w.bytes)
        });
    }
    t.add(
        "flashllmSafetensorsGetCount",
        "NULL out",
        FLASHLLM_STATUS_NULL_POINTER,
        move |_, _| unsafe { flashllmSafetensorsGetCount(open, ptr::null_mut()) },
    );
    let f = "flashllmSafetensorsFind";
    t.add(f, "NULL name", FLASHLLM_STATUS_NULL_POINTER, move |_, a| unsafe {
        flashllmSafetensorsFind(open, ptr::null(), a.at(0))
    });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |_, _| unsafe {
        flashllmSafetensorsFind(open, c"a".as_ptr(), ptr::null_mut())
    });
    for name in [c"", c"c", c"a.flash_llm", c"\xff\xfe"] {
        t.add(f, format!("name {name:?}"), FLASHLLM_STATUS_INVALID_VALUE, move |_, a| unsafe {
            flashllmSafetensorsFind(open, name.as_ptr(), a.at(0))
        });
    }
    let f = "flashllmSafetensorsGetMetadata";
    t.add(f, "NULL key", FLASHLLM_STATUS_NULL_POINTER, move |_, a| unsafe {
        flashllmSafetensorsGetMetadata(open, ptr::null(), a.at(0))
    });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |_, _| unsafe {
        flashllmSafetensorsGetMetadata(open, c"a".as_ptr(), ptr::null_mut())
    });
    t.add(f, "key is not UTF-8", FLASHLLM_STATUS_INVALID_VALUE, move |_, a| unsafe {
        flashllmSafetensorsGetMetadata(open, c"\xc0".as_ptr(), a.at(0))
    });
    for index in [2, usize::MAX] {
        let (what, invalid) = (format!("index {index}"), FLASHLLM_STATUS_INVALID_VALUE);
        t.add("flashllmSafetensorsGetTensor", what.clone(), invalid, move |_, a| {
            tensor(open, index, a, 9)
        });
        t.add("flashllmSafetensorsGetSpMat", what.clone(), invalid, move |_, a| {
            sp_mat(open, index, a, 9)
        });
        t.add("flashllmSafetensorsLoadDense", what.clone(), invalid, move |w, _| unsafe {
            flashllmSafetensorsLoadDense(w.handle, open, index, w.buffer.cast(), w.bytes)
        });
        t.create("flashllmSafetensorsLoadSpMat", what, invalid, move |w, a| unsafe {
            let to = w.buffer.cast();
            flashllmSafetensorsLoadSpMat(w.handle, open, index, a.at(0), RawVerify(0), to, w.bytes)
        });
    }
    for null in 0..7 {
        let what = format!("NULL out {null}");
        t.add("flashllmSafetensorsGetTensor", what, FLASHLLM_STATUS_NULL_POINTER, move |_, a| {
            tensor(open, 0, a, null)
        });
    }
    for null in 0..6 {
        let what = format!("NULL out {null}");
        t.add("flashllmSafetensorsGetSpMat", what, FLASHLLM_STATUS_NULL_POINTER, move |_, a| {
            sp_mat(open, 0, a, null)
        });
    }
    t.add("flashllmSafetensorsGetSpMat", "dense", FLASHLLM_STATUS_INVALID_VALUE, move |_, a| {
        sp_mat(open, 1, a, 9)
    });

    let f = "flashllmSafetensorsLoadDense";
    t.handles(world, f, move |w, _, h| unsafe {
        flashllmSafetensorsLoadDense(h, open, 1, w.buffer.cast(), w.bytes)
    });
    t.add(f, "a matrix", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| unsafe {
        flashllmSafetensorsLoadDense(w.handle, open, 0, w.buffer.cast(), w.bytes)
    });
    t.add(f, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        flashllmSafetensorsLoadDense(w.handle, open, 1, ptr::null_mut(), w.bytes)
    });
    t.add(f, "small buffer", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, _| unsafe {
        flashllmSafetensorsLoadDense(w.handle, open, 1, w.buffer.cast(), 11)
    });
    let f = "flashllmSafetensorsLoadSpMat";
    let call = move |w: &World, a: &mut Area, index, to: *mut u8, n| unsafe {
        flashllmSafetensorsLoadSpMat(w.handle, open, index, a.at(0), RawVerify(0), to.cast(), n)
    };
    handles_null(t, world, f, move |w, a, h| unsafe {
        flashllmSafetensorsLoadSpMat(h, open, 0, a.at(0), RawVerify(0), w.buffer.cast(), w.bytes)
    });
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        let to = w.buffer.cast();
        flashllmSafetensorsLoadSpMat(w.handle, open, 0, ptr::null_mut(), RawVerify(0), to, w.bytes)
    });
    for value in UNKNOWN {
        let invalid = FLASHLLM_STATUS_INVALID_VALUE;
        t.create(f, format!("verify {value}"), invalid, move |w, a| unsafe {
            let (to, verify) = (w.buffer.cast(), RawVerify(value));
            flashllmSafetensorsLoadSpMat(w.handle, open, 0, a.at(0), verify, to, w.bytes)
        });
    }
    t.create(f, "a dense tensor", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
        call(w, a, 1, w.buffer, w.bytes)
    });
    t.create(f, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
        call(w, a, 0, ptr::null_mut(), w.bytes)
    });
    t.create(f, "crooked buffer", FLASHLLM_STATUS_MISALIGNED, move |w, a| {
        call(w, a, 0, w.buffer.wrapping_add(64), w.bytes)
    });
    t.create(f, "small buffer", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, a| {
        call(w, a, 0, w.buffer, w.bytes - 1)
    });
    t.create(f, "no size", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, a| {
        call(w, a, 0, w.buffer, usize::MAX)
    });
}

fn tensor(
    file: flashllmSafetensors_t,
    index: usize,
    a: &mut Area,
    null: usize,
) -> flashllmStatus_t {
    unsafe {
        flashllmSafetensorsGetTensor(
            file,
            index,
            if null == 0 { ptr::null_mut() } else { a.at(0) },
            if null == 1 { ptr::null_mut() } else { a.at(1) },
            if null == 2 { ptr::null_mut() } else { a.at(2) },
            if null == 3 { ptr::null_mut() } else { a.at(3) },
            if null == 4 { ptr::null_mut() } else { a.at(4) },
            if null == 5 { ptr::null_mut() } else { a.at(5) },
            if null == 6 { ptr::null_mut() } else { a.at(6) },
        )
    }
}

fn sp_mat(
    file: flashllmSafetensors_t,
    index: usize,
    a: &mut Area,
    null: usize,
) -> flashllmStatus_t {
    unsafe {
        flashllmSafetensorsGetSpMat(
            file,
            index,
            if null == 0 { ptr::null_mut() } else { a.at(0) },
            if null == 1 { ptr::null_mut() } else { a.at(1) },
            if null == 2 { ptr::null_mut() } else { a.at(2) },
            if null == 3 { ptr::null_mut() } else { a.at(3) },
            if null == 4 { ptr::null_mut() } else { a.at(4) },
            if null == 5 { ptr::null_mut() } else { a.at(5) },
        )
    }
}

/// Arguments of WriterAddDense; the table changes one.
struct Dense {
    handle: flashllmHandle_t,
    writer: flashllmSafetensorsWriter_t,
    name: *const c_char,
    dtype: *const c_char,
    rank: i32,
    shape: *const i64,
    data: *const c_void,
}

fn add_dense(d: &Dense) -> flashllmStatus_t {
    unsafe {
        flashllmSafetensorsWriterAddDense(
            d.handle, d.writer, d.name, d.dtype, d.rank, d.shape, d.data,
        )
    }
}

fn writing(t: &mut Table, world: &World) {
    let (_, name) = file("written.safetensors");
    let f = "flashllmSafetensorsWriterCreate";
    for (what, want, path, expected) in [
        ("NULL path", FLASHLLM_STATUS_NULL_POINTER, None, 0),
        ("empty path", FLASHLLM_STATUS_INVALID_VALUE, Some(c""), 0),
        ("a folder", FLASHLLM_STATUS_INVALID_VALUE, Some(c"/"), 0),
        ("no folder", FLASHLLM_STATUS_IO_ERROR, Some(c"/no such folder/x"), 0),
        ("too many", FLASHLLM_STATUS_INVALID_VALUE, Some(name), usize::MAX),
    ] {
        t.create(f, what, want, move |_, a| unsafe {
            let path = path.map_or(ptr::null(), CStr::as_ptr);
            flashllmSafetensorsWriterCreate(a.at(0), path, expected)
        });
    }
    t.add(f, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |_, _| unsafe {
        flashllmSafetensorsWriterCreate(ptr::null_mut(), name.as_ptr(), 0)
    });

    let open = writer(name);
    good(unsafe {
        flashllmSafetensorsWriterAddSpMat(world.handle, open, c"taken".as_ptr(), world.sparse)
    });
    let finished = writer(file("finished.safetensors").1);
    good(flashllmSafetensorsWriterFinish(finished));
    let invalid = FLASHLLM_STATUS_INVALID_VALUE;
    let base = move |w: &World| Dense {
        handle: w.handle,
        writer: open,
        name: c"b".as_ptr(),
        dtype: c"F16".as_ptr(),
        rank: 2,
        shape: SHAPE.as_ptr(),
        data: VALUES.as_ptr().cast(),
    };
    t.add(
        "flashllmSafetensorsWriterDestroy",
        "NULL is nothing",
        FLASHLLM_STATUS_SUCCESS,
        |_, _| flashllmSafetensorsWriterDestroy(ptr::null_mut()),
    );
    for (what, bad) in writers(world).into_iter().chain([("finished", finished)]) {
        t.add("flashllmSafetensorsWriterAddMetadata", what, invalid, move |_, _| unsafe {
            flashllmSafetensorsWriterAddMetadata(bad, c"k".as_ptr(), c"v".as_ptr())
        });
        t.add("flashllmSafetensorsWriterAddSpMat", what, invalid, move |w, _| unsafe {
            flashllmSafetensorsWriterAddSpMat(w.handle, bad, c"a".as_ptr(), w.sparse)
        });
        t.add("flashllmSafetensorsWriterAddDense", what, invalid, move |w, _| {
            add_dense(&Dense { writer: bad, ..base(w) })
        });
        t.add("flashllmSafetensorsWriterFinish", what, invalid, move |_, _| {
            flashllmSafetensorsWriterFinish(bad)
        });
        if bad != finished && !bad.is_null() {
            t.add("flashllmSafetensorsWriterDestroy", what, invalid, move |_, _| {
                flashllmSafetensorsWriterDestroy(bad)
            });
        }
    }
    let f = "flashllmSafetensorsWriterAddMetadata";
    for (what, want, key, value) in [
        ("NULL key", FLASHLLM_STATUS_NULL_POINTER, None, Some(c"v")),
        ("NULL value", FLASHLLM_STATUS_NULL_POINTER, Some(c"k"), None),
        ("empty key", invalid, Some(c""), Some(c"v")),
        ("reserved key", invalid, Some(c"flash_llm.version"), Some(c"2")),
        ("key is not UTF-8", invalid, Some(c"\xff"), Some(c"v")),
        ("value is not UTF-8", invalid, Some(c"k"), Some(c"\xff")),
    ] {
        t.add(f, what, want, move |_, _| unsafe {
            let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
            flashllmSafetensorsWriterAddMetadata(open, pointer(key), pointer(value))
        });
    }
    let names = [
        ("empty name", c""),
        ("taken name", c"taken"),
        ("reserved name", c"__metadata__"),
        ("suffix", c"x.flash_llm"),
        ("not UTF-8", c"\xf0\x28"),
    ];
    let f = "flashllmSafetensorsWriterAddSpMat";
    t.handles(world, f, move |w, _, h| unsafe {
        flashllmSafetensorsWriterAddSpMat(h, open, c"a".as_ptr(), w.sparse)
    });
    t.sparse(world, f, move |w, _, s| unsafe {
        flashllmSafetensorsWriterAddSpMat(w.handle, open, c"a".as_ptr(), s)
    });
    t.add(f, "no data", invalid, move |w, _| unsafe {
        flashllmSafetensorsWriterAddSpMat(w.handle, open, c"a".as_ptr(), w.sparse_empty)
    });
    t.add(f, "NULL name", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        flashllmSafetensorsWriterAddSpMat(w.handle, open, ptr::null(), w.sparse)
    });
    t.add(f, "name of the version", invalid, move |w, _| unsafe {
        flashllmSafetensorsWriterAddSpMat(w.handle, open, c"version".as_ptr(), w.sparse)
    });
    for (what, name) in names {
        t.add(f, what, invalid, move |w, _| unsafe {
            flashllmSafetensorsWriterAddSpMat(w.handle, open, name.as_ptr(), w.sparse)
        });
        t.add("flashllmSafetensorsWriterAddDense", what, invalid, move |w, _| {
            add_dense(&Dense { name: name.as_ptr(), ..base(w) })
        });
    }
    let f = "flashllmSafetensorsWriterAddDense";
    t.handles(world, f, move |w, _, handle| add_dense(&Dense { handle, ..base(w) }));
    t.add(f, "NULL name", FLASHLLM_STATUS_NULL_POINTER, move |w, _| {
        add_dense(&Dense { name: ptr::null(), ..base(w) })
    });
    t.add(f, "NULL dtype", FLASHLLM_STATUS_NULL_POINTER, move |w, _| {
        add_dense(&Dense { dtype: ptr::null(), ..base(w) })
    });
    t.add(f, "NULL shape", FLASHLLM_STATUS_NULL_POINTER, move |w, _| {
        add_dense(&Dense { shape: ptr::null(), ..base(w) })
    });
    t.add(f, "NULL data", FLASHLLM_STATUS_NULL_POINTER, move |w, _| {
        add_dense(&Dense { data: ptr::null(), ..base(w) })
    });
    t.add(f, "negative rank", invalid, move |w, _| add_dense(&Dense { rank: -1, ..base(w) }));
    for dtype in [c"", c"F17", c"float16", c"f16", c"\xff"] {
        t.add(f, format!("dtype {dtype:?}"), invalid, move |w, _| {
            add_dense(&Dense { dtype: dtype.as_ptr(), ..base(w) })
        });
    }
    static NEGATIVE: [i64; 2] = [3, -2];
    t.add(f, "negative dimension", invalid, move |w, _| {
        add_dense(&Dense { shape: NEGATIVE.as_ptr(), ..base(w) })
    });
    static HUGE: [i64; 2] = [i64::MAX, i64::MAX];
    t.add(f, "huge shape", FLASHLLM_STATUS_SIZE_OVERFLOW, move |w, _| {
        add_dense(&Dense { shape: HUGE.as_ptr(), ..base(w) })
    });
}

pub fn cases(t: &mut Table, world: &World) {
    serialize(t, world);
    deserialize(t, world);
    save(t, world);
    slices(t, world);
    reader(t, world);
    writing(t, world);
}
