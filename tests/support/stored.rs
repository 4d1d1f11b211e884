//! Compressed matrices on a handle of either kind, through the C functions of this crate: for the tests of
//! what is stored, loaded and cut.
// Handles, descriptors and memory are live for the whole of each test.
#![allow(dead_code, clippy::undocumented_unsafe_blocks)]

use flash_llm::capi::context::*;
use flash_llm::capi::convert::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::memory::*;
use flash_llm::capi::spmm::*;
use flash_llm::capi::status::flashllmStatus_t;
use flash_llm::capi::store::*;
use flash_llm::capi::types::*;
use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr;

pub const F32: RawDataType = RawDataType(0);
pub const F16: RawDataType = RawDataType(2);
pub const BF16: RawDataType = RawDataType(14);
pub const ROW: RawOrder = RawOrder(2);
pub const FORMATS: [c_int; 5] = [1, 2, 3, 4, 5];

#[track_caller]
pub fn good(status: flashllmStatus_t) {
    assert_eq!(status, flashllmStatus_t::FLASHLLM_STATUS_SUCCESS, "{}", message());
}

pub fn message() -> String {
    unsafe { CStr::from_ptr(flashllmGetLastErrorMessage()) }.to_str().unwrap().to_owned()
}

pub fn text(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

pub fn host() -> flashllmHandle_t {
    let mut handle = ptr::null_mut();
    good(unsafe { flashllmCreateHost(&raw mut handle) });
    handle
}

/// A handle of the device whose context is current.
pub fn device() -> flashllmHandle_t {
    let mut handle = ptr::null_mut();
    good(unsafe { flashllmCreate(&raw mut handle) });
    handle
}

fn is_device(handle: flashllmHandle_t) -> bool {
    let mut kind = flashllmDeviceType_t::FLASHLLM_DEVICE_HOST;
    good(unsafe { flashllmGetDeviceType(handle, &raw mut kind) });
    kind == flashllmDeviceType_t::FLASHLLM_DEVICE_CUDA
}

/// Memory of the handle filled with 0xa5; it goes with the handle.
pub fn room(handle: flashllmHandle_t, bytes: usize) -> *mut c_void {
    let mut memory = ptr::null_mut();
    good(unsafe { flashllmMalloc(handle, &raw mut memory, bytes) });
    put(handle, memory, &vec![0xa5_u8; bytes]);
    memory
}

pub fn put<T: Copy>(handle: flashllmHandle_t, to: *mut c_void, values: &[T]) {
    let kind = RawMemcpyKind(c_int::from(is_device(handle)));
    good(unsafe { flashllmMemcpy(handle, to, values.as_ptr().cast(), size_of_val(values), kind) });
}

/// New memory of the handle that holds `values`.
pub fn upload<T: Copy>(handle: flashllmHandle_t, values: &[T]) -> *mut c_void {
    let memory = room(handle, size_of_val(values));
    put(handle, memory, values);
    memory
}

pub fn download<T: Copy + Default>(
    handle: flashllmHandle_t,
    from: *const c_void,
    count: usize,
) -> Vec<T> {
    let mut out = vec![T::default(); count];
    let kind = RawMemcpyKind(2 * c_int::from(is_device(handle)));
    let to = out.as_mut_ptr().cast();
    good(unsafe { flashllmMemcpy(handle, to, from, count * size_of::<T>(), kind) });
    out
}

/// (rows, columns, nnz, bytes).
pub fn size(s: flashllmSpMatDescr_t) -> (i64, i64, i64, usize) {
    let (mut rows, mut cols, mut nnz, mut bytes) = (0, 0, 0, 0);
    good(unsafe {
        flashllmSpMatGetSize(s, &raw mut rows, &raw mut cols, &raw mut nnz, &raw mut bytes)
    });
    (rows, cols, nnz, bytes)
}

/// Compresses row-major values on the host; a device handle gets the bytes.
pub fn compress(
    handle: flashllmHandle_t,
    rows: usize,
    cols: usize,
    values: &[u16],
    format: c_int,
) -> flashllmSpMatDescr_t {
    compress_typed(handle, rows, cols, values, format, F16)
}

/// The same of either 16-bit type.
pub fn compress_typed(
    handle: flashllmHandle_t,
    rows: usize,
    cols: usize,
    values: &[u16],
    format: c_int,
    dtype: RawDataType,
) -> flashllmSpMatDescr_t {
    let on_host = host();
    let (mut s, mut d) = (ptr::null_mut(), ptr::null());
    let (r, c) = (rows as i64, cols as i64);
    let alg = RawDenseToSparseAlg(0);
    let null = ptr::null_mut();
    unsafe {
        good(flashllmCreateSpMat(&raw mut s, r, c, dtype, RawFormat(format)));
        good(flashllmCreateConstDnMat(&raw mut d, r, c, c, values.as_ptr().cast(), dtype, ROW));
        good(flashllmDenseToSparse_analysis(on_host, d, s, alg, null));
        let bytes = size(s).3;
        good(flashllmSpMatSetBuffer(on_host, s, room(on_host, bytes), bytes));
        good(flashllmDenseToSparse_convert(on_host, d, s, alg, null));
        let buffer = upload(handle, &bytes_of(on_host, s));
        let mut adopted = ptr::null_mut();
        good(flashllmCreateSpMat(&raw mut adopted, r, c, dtype, RawFormat(format)));
        good(flashllmSpMatSetBuffer(handle, adopted, buffer, bytes));
        good(flashllmDestroySpMat(s));
        good(flashllmDestroyDnMat(d));
        good(flashllmDestroy(on_host));
        adopted
    }
}

/// The compressed buffer.
pub fn bytes_of(handle: flashllmHandle_t, s: flashllmSpMatDescr_t) -> Vec<u8> {
    let (mut p, mut n) = (ptr::null_mut(), 0);
    good(unsafe { flashllmSpMatGetBuffer(s, &raw mut p, &raw mut n) });
    download(handle, p, size(s).3)
}

pub fn serialize(handle: flashllmHandle_t, s: flashllmSpMatDescr_t) -> Vec<u8> {
    let mut bytes = 0;
    good(unsafe { flashllmSpMatSerializedSize(handle, s, &raw mut bytes) });
    let mut out = vec![0xee; bytes + 7];
    good(unsafe { flashllmSpMatSerialize(handle, s, out.as_mut_ptr().cast(), bytes + 7) });
    assert!(out[bytes..].iter().all(|&b| b == 0xee), "written behind the stored matrix");
    out.truncate(bytes);
    out
}

/// The part of rows and columns, in new memory of exactly its size between guards.
pub fn cut(
    handle: flashllmHandle_t,
    whole: flashllmSpMatDescr_t,
    rows: [i64; 2],
    cols: [i64; 2],
) -> flashllmSpMatDescr_t {
    let (mut part, mut bytes) = (ptr::null_mut(), 0);
    let ([r0, r1], [c0, c1]) = (rows, cols);
    unsafe {
        good(flashllmSpMatSlice_bufferSize(handle, whole, r0, r1, c0, c1, &raw mut bytes));
        let around = room(handle, bytes + 512);
        let to = around.wrapping_byte_add(256);
        good(flashllmSpMatSlice(handle, whole, r0, r1, c0, c1, &raw mut part, to, bytes));
        let all: Vec<u8> = download(handle, around, bytes + 512);
        let guards = all[..256].iter().chain(&all[256 + bytes..]);
        assert!(guards.copied().all(|b| b == 0xa5), "written outside of the part");
    }
    let (pr, pc, _, size) = size(part);
    assert_eq!((pr, pc, size), (r1 - r0, c1 - c0, bytes));
    part
}

pub fn tile(s: flashllmSpMatDescr_t) -> (i64, i64) {
    let (mut rows, mut cols) = (0, 0);
    good(unsafe { flashllmSpMatGetTileSize(s, &raw mut rows, &raw mut cols) });
    (rows, cols)
}

/// A * B with row-major B and C, fp32.
pub fn product(handle: flashllmHandle_t, a: flashllmSpMatDescr_t, b: &[u16], n: usize) -> Vec<f32> {
    let (m, k, ..) = size(a);
    assert_eq!(b.len(), k as usize * n);
    let (mut descr, mut result) = (ptr::null(), ptr::null_mut());
    let b = upload(handle, b);
    let c = upload(handle, &vec![f32::NAN; m as usize * n]);
    let (one, zero) = (1.0_f32, 0.0_f32);
    let (op, alg, columns) = (RawOperation(0), RawSpMMAlg(0), n as i64);
    unsafe {
        good(flashllmCreateConstDnMat(&raw mut descr, k, columns, columns, b, F16, ROW));
        good(flashllmCreateDnMat(&raw mut result, m, columns, columns, c, F32, ROW));
        let (alpha, beta) = ((&raw const one).cast(), (&raw const zero).cast());
        let mut bytes = 0;
        good(flashllmSpMM_bufferSize(
            handle,
            op,
            op,
            alpha,
            a,
            descr,
            beta,
            result,
            F32,
            alg,
            &raw mut bytes,
        ));
        let work = room(handle, bytes.max(1));
        good(flashllmSpMM_preprocess(
            handle, op, op, alpha, a, descr, beta, result, F32, alg, work,
        ));
        good(flashllmSpMM(handle, op, op, alpha, a, descr, beta, result, F32, alg, work));
        good(flashllmSynchronize(handle));
        let out = download(handle, c, m as usize * n);
        for memory in [b, c, work] {
            good(flashllmFree(handle, memory));
        }
        good(flashllmDestroyDnMat(descr));
        good(flashllmDestroyDnMat(result));
        out
    }
}

/// fp16 of small integers, so that sums are exact in any order; `zeros` of 256 are zero.
pub fn integers(count: usize, seed: u32, zeros: u32) -> Vec<u16> {
    let mut x = seed;
    (0..count)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (x >> 16) % 7;
            if x >> 8 & 255 < zeros {
                0
            } else {
                [0x3c00, 0x4000, 0x4200, 0x4400, 0xbc00, 0xc000, 0xc200][value as usize]
            }
        })
        .collect()
}

/// Columns, `cols` or more, of a matrix of the format that can be cut into [`thirds`].
pub fn cols_of_thirds(format: c_int, cols: usize) -> usize {
    if format == flashllmFormat_t::FLASHLLM_FORMAT_SELL as c_int {
        cols.max(2 * 2048 + 40)
    } else {
        cols
    }
}

/// Three ranges of whole tiles that cover `size`, the last one ragged.
pub fn thirds(size: i64, tile: i64) -> [[i64; 2]; 3] {
    let step = (size / 3 / tile).max(1) * tile;
    assert!(2 * step < size, "no three shards of {size} in tiles of {tile}");
    [[0, step], [step, 2 * step], [2 * step, size]]
}

/// Makes the checksums of a stored matrix fit its bytes again, as who damages it on purpose can.
pub fn seal(stored: &mut [u8]) {
    for section in 0..2 {
        let at = 64 + 32 * section;
        let long = |at: usize| u64::from_le_bytes(stored[at..at + 8].try_into().unwrap()) as usize;
        let (offset, length) = (long(at + 8), long(at + 16));
        let checksum = xxhash_rust::xxh3::xxh3_64(&stored[offset..offset + length]);
        stored[at + 24..at + 32].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum = xxhash_rust::xxh3::xxh3_64(&stored[..248]);
    stored[248..256].copy_from_slice(&checksum.to_le_bytes());
}

/// Blocks that contradict the format behind checksums that fit: a device handle refuses what a host handle
/// refuses, with the same sentence, when every byte is to be checked, and writes nothing outside of the buffer.
pub fn refuses_sealed_damage_as_the_host_does(device: flashllmHandle_t, rounds: usize) {
    let cpu = host();
    let mut random = 0x9e37_79b9_u64;
    let mut below = |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % n
    };
    for format in FORMATS {
        let s = compress(cpu, 70, 300, &integers(70 * 300, 1, 150), format);
        let good_bytes = serialize(cpu, s);
        let bytes = size(s).3;
        let data = 256 + u64::from_le_bytes(good_bytes[80..88].try_into().unwrap()) as usize;
        let mut refused = 0;
        for round in 0..rounds {
            let mut stored = good_bytes.clone();
            let at = data + below(256 + bytes - data);
            stored[at] ^= [1, 0x80, 0xff, 0x10][round % 4];
            seal(&mut stored);
            let load = |handle, verify| {
                let around = room(handle, bytes + 512);
                let to = around.wrapping_byte_add(256);
                let mut back = ptr::null_mut();
                let (from, n) = (stored.as_ptr().cast(), stored.len());
                let status = unsafe {
                    flashllmSpMatDeserialize(handle, &raw mut back, from, n, verify, to, bytes)
                };
                let said = message();
                let all: Vec<u8> = download(handle, around, bytes + 512);
                assert!(all[..256].iter().chain(&all[256 + bytes..]).all(|&b| b == 0xa5));
                if status == flashllmStatus_t::FLASHLLM_STATUS_SUCCESS {
                    assert!(all[256..256 + bytes] == stored[256..256 + bytes]);
                    good(flashllmDestroySpMat(back));
                } else {
                    assert!(back.is_null());
                }
                good(flashllmFree(handle, around));
                (status, said)
            };
            let want = load(cpu, RawVerify(0));
            let got = load(device, RawVerify(0));
            assert_eq!(got.0, want.0, "format {format}, byte {at}: {} / {}", got.1, want.1);
            if want.0 == flashllmStatus_t::FLASHLLM_STATUS_SUCCESS {
                continue;
            }
            refused += 1;
            assert_eq!(got, want, "format {format}, byte {at}");
            // Who trusts the bytes gets them.
            let trusted = load(device, RawVerify(1)).0;
            assert_eq!(trusted, flashllmStatus_t::FLASHLLM_STATUS_SUCCESS);
        }
        assert!(refused > 0, "format {format}: no damage was of the kind that is refused");
        good(flashllmDestroySpMat(s));
    }
    good(flashllmDestroy(cpu));
}

/// Damage that the checksum of the data alone finds, in a matrix that goes through both pinned buffers: no descriptor
/// comes of it, and the matrix without it arrives as it was.
pub fn damage_is_found_while_it_is_copied(device: flashllmHandle_t) {
    let cpu = host();
    let s = compress(cpu, 4096, 2100, &integers(4096 * 2100, 1, 0), FORMATS[1]);
    let mut stored = serialize(cpu, s);
    let bytes = size(s).3;
    assert!(bytes > 17 << 20, "{bytes} bytes do not reach the second buffer");
    let to = room(device, bytes);
    let load = |stored: &[u8], verify| {
        let mut back = ptr::null_mut();
        let (from, n) = (stored.as_ptr().cast(), stored.len());
        let status = unsafe {
            flashllmSpMatDeserialize(device, &raw mut back, from, n, RawVerify(verify), to, bytes)
        };
        if status != flashllmStatus_t::FLASHLLM_STATUS_SUCCESS {
            assert!(back.is_null());
            return Err((status, message()));
        }
        let arrived: Vec<u8> = download(device, to, bytes);
        assert!(arrived == stored[256..256 + bytes], "bytes changed on their way");
        good(flashllmDestroySpMat(back));
        Ok(())
    };
    load(&stored, 1).unwrap();
    for at in [1 << 20, (16 << 20) + 5000, 256 + bytes - 1] {
        stored[at] ^= 2;
        let (status, said) = load(&stored, 1).unwrap_err();
        assert_eq!(status, flashllmStatus_t::FLASHLLM_STATUS_CORRUPT_DATA, "byte {at}: {said}");
        assert!(said.contains("checksum of section 1"), "byte {at}: {said}");
        load(&stored, 2).unwrap();
        stored[at] ^= 2;
    }
    load(&stored, 1).unwrap();
    good(flashllmDestroySpMat(s));
    good(flashllmFree(device, to));
    good(flashllmDestroy(cpu));
}
