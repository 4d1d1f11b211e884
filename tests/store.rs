//! Stored matrices and .safetensors files through the C API on host handles: what was stored is what is
//! loaded, other readers understand the files, and a failure or a crash leaves the old file.
// Handles, paths and buffers are live for the whole of each test.
#![allow(clippy::undocumented_unsafe_blocks)]

mod build_support;
#[path = "support/stored.rs"]
mod stored;

use flash_llm::capi::context::*;
use flash_llm::capi::convert::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::safetensors::*;
use flash_llm::capi::status::flashllmStatus_t;
use flash_llm::capi::status::flashllmStatus_t::*;
use flash_llm::capi::store::*;
use flash_llm::capi::types::*;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use stored::*;

fn values(rows: usize, cols: usize, seed: u32) -> Vec<u16> {
    let mut x = seed;
    (0..rows * cols)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if x >> 8 & 3 == 0 { 0x3800 + (x >> 20) as u16 } else { 0 }
        })
        .collect()
}

#[test]
fn stored_matrices_come_back_with_every_byte() {
    let handle = host();
    for format in FORMATS {
        for (rows, cols) in [(1, 1), (40, 70), (129, 513), (300, 1000)] {
            let s = compress(handle, rows, cols, &values(rows, cols, 1), format);
            let stored = serialize(handle, s);
            assert_eq!(stored.len() % 256, 0);
            assert_eq!(stored, serialize(handle, s), "the same matrix gives the same bytes");
            assert_eq!(
                stored[256..256 + bytes_of(handle, s).len()],
                bytes_of(handle, s),
                "mapped, it is the buffer"
            );
            let (mut r, mut c, mut nnz, mut buffer, mut total) = (0, 0, 0, 0, 0);
            let (mut dtype, mut kind) =
                (flashllmDataType_t::FLASHLLM_R_32F, flashllmFormat_t::FLASHLLM_FORMAT_AUTO);
            good(unsafe {
                flashllmSpMatGetSerializedInfo(
                    stored.as_ptr().cast(),
                    256,
                    &raw mut r,
                    &raw mut c,
                    &raw mut nnz,
                    &raw mut dtype,
                    &raw mut kind,
                    &raw mut buffer,
                    &raw mut total,
                )
            });
            assert_eq!((r, c, nnz, buffer), size(s));
            assert_eq!((total, kind as c_int, dtype as c_int), (stored.len(), format, 2));
            // An odd address: any alignment will do.
            let mut crooked = vec![0; stored.len() + 1];
            crooked[1..].copy_from_slice(&stored);
            let (mut back, to) = (ptr::null_mut(), room(handle, buffer));
            good(unsafe {
                let from = crooked[1..].as_ptr().cast();
                flashllmSpMatDeserialize(
                    handle,
                    &raw mut back,
                    from,
                    stored.len(),
                    RawVerify(0),
                    to,
                    buffer,
                )
            });
            assert_eq!((size(back), bytes_of(handle, back)), (size(s), bytes_of(handle, s)));
            good(flashllmDestroySpMat(back));
            good(flashllmDestroySpMat(s));
        }
    }
    good(flashllmDestroy(handle));
}

#[test]
fn bfloat16_stays_bfloat16_wherever_it_is_stored_and_cut() {
    let dir = build_support::scratch("store_bfloat16");
    let path = dir.join("model.safetensors");
    let handle = host();
    let adopted = |format: c_int, bytes: &[u8], dtype| {
        let (rows, cols) = (128, 2100);
        let mut s = ptr::null_mut();
        unsafe {
            good(flashllmCreateSpMat(&raw mut s, rows, cols, dtype, RawFormat(format)));
            let status = flashllmSpMatSetBuffer(handle, s, upload(handle, bytes), bytes.len());
            good(flashllmDestroySpMat(s));
            status
        }
    };
    for format in FORMATS {
        let s = compress_typed(handle, 300, 2100, &values(300, 2100, 9), format, BF16);
        let stored = serialize(handle, s);
        let bytes = size(s).3;
        let mut writer = ptr::null_mut();
        let (mut file, mut index) = (ptr::null_mut(), 0);
        let (mut back, mut loaded) = (ptr::null_mut(), ptr::null_mut());
        let (mut r, mut c, mut nnz, mut need) = (0, 0, 0, 0);
        let mut dtype = flashllmDataType_t::FLASHLLM_R_32F;
        let mut kind = flashllmFormat_t::FLASHLLM_FORMAT_AUTO;
        let level = RawVerify(0);
        unsafe {
            let (from, n) = (stored.as_ptr().cast(), stored.len());
            let to = room(handle, bytes);
            good(flashllmSpMatDeserialize(handle, &raw mut back, from, n, level, to, bytes));
            assert_eq!(bytes_of(handle, back), bytes_of(handle, s));
            good(flashllmSafetensorsWriterCreate(&raw mut writer, text(&path).as_ptr(), 1));
            good(flashllmSafetensorsWriterAddSpMat(handle, writer, c"w".as_ptr(), back));
            good(flashllmSafetensorsWriterFinish(writer));
            good(flashllmSafetensorsWriterDestroy(writer));
            good(flashllmSafetensorsOpen(&raw mut file, text(&path).as_ptr()));
            good(flashllmSafetensorsFind(file, c"w".as_ptr(), &raw mut index));
            good(flashllmSafetensorsGetSpMat(
                file,
                index,
                &raw mut r,
                &raw mut c,
                &raw mut nnz,
                &raw mut dtype,
                &raw mut kind,
                &raw mut need,
            ));
            assert_eq!(dtype, flashllmDataType_t::FLASHLLM_R_16BF, "format {format}");
            let to = room(handle, need);
            good(flashllmSafetensorsLoadSpMat(
                handle,
                file,
                index,
                &raw mut loaded,
                level,
                to,
                need,
            ));
            good(flashllmSafetensorsClose(file));
        }
        assert_eq!(bytes_of(handle, loaded), bytes_of(handle, s), "format {format}");
        let part = bytes_of(handle, cut(handle, loaded, [0, 128], [0, 2100]));
        assert_eq!(adopted(format, &part, BF16), FLASHLLM_STATUS_SUCCESS, "{}", message());
        let other = adopted(format, &part, F16);
        assert_eq!(other, FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, "format {format}");
        for s in [s, back, loaded] {
            good(flashllmDestroySpMat(s));
        }
    }
    good(flashllmDestroy(handle));
}

#[test]
fn saved_files_are_loaded_and_replaced() {
    let dir = build_support::scratch("store_save");
    let path = dir.join("w.flash_llm");
    let handle = host();
    for format in FORMATS {
        let s = compress(handle, 100, 300, &values(100, 300, format as u32), format);
        good(unsafe { flashllmSpMatSave(handle, s, text(&path).as_ptr()) });
        assert_eq!(std::fs::read(&path).unwrap(), serialize(handle, s));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "temporary files are left");
        let bytes = size(s).3;
        let (mut back, to) = (ptr::null_mut(), room(handle, bytes));
        good(unsafe {
            flashllmSpMatLoad(handle, &raw mut back, text(&path).as_ptr(), RawVerify(0), to, bytes)
        });
        assert_eq!((size(back), bytes_of(handle, back)), (size(s), bytes_of(handle, s)));
        good(flashllmDestroySpMat(back));
        good(flashllmDestroySpMat(s));
    }
    good(flashllmDestroy(handle));
}

fn add_dense(
    handle: flashllmHandle_t,
    writer: flashllmSafetensorsWriter_t,
    name: &CStr,
    dtype: &CStr,
    shape: &[i64],
    data: &[u8],
) -> flashllmStatus_t {
    unsafe {
        flashllmSafetensorsWriterAddDense(
            handle,
            writer,
            name.as_ptr(),
            dtype.as_ptr(),
            shape.len() as i32,
            shape.as_ptr(),
            data.as_ptr().cast(),
        )
    }
}

fn writer(path: &Path, expected: usize) -> flashllmSafetensorsWriter_t {
    let mut writer = ptr::null_mut();
    good(unsafe {
        flashllmSafetensorsWriterCreate(&raw mut writer, text(path).as_ptr(), expected)
    });
    writer
}

struct Entry {
    name: String,
    compressed: bool,
    dtype: String,
    shape: Vec<i64>,
    offset: usize,
    bytes: usize,
}

fn entries(file: flashllmSafetensors_t) -> Vec<Entry> {
    let mut count = 0;
    good(unsafe { flashllmSafetensorsGetCount(file, &raw mut count) });
    (0..count)
        .map(|index| unsafe {
            let (mut name, mut dtype, mut shape) = (ptr::null(), ptr::null(), ptr::null());
            let (mut compressed, mut rank, mut offset, mut bytes) = (-1, -1, 0, 0);
            good(flashllmSafetensorsGetTensor(
                file,
                index,
                &raw mut name,
                &raw mut compressed,
                &raw mut dtype,
                &raw mut rank,
                &raw mut shape,
                &raw mut offset,
                &raw mut bytes,
            ));
            let shape: *const i64 = shape;
            Entry {
                name: CStr::from_ptr(name).to_str().unwrap().to_owned(),
                compressed: compressed == 1,
                dtype: CStr::from_ptr(dtype).to_str().unwrap().to_owned(),
                shape: std::slice::from_raw_parts(shape, rank as usize).to_vec(),
                offset,
                bytes,
            }
        })
        .collect()
}

/// Names of the matrices of a model, in the order of the formats' numbers.
const NAMES: [&CStr; 5] = [c"w.tiled", c"w.bitmap", c"w.slots \"\u{e9}\"", c"w.banked", c"w.sell"];

/// A file with a matrix of each format and dense tensors of crooked sizes between them.
fn model(handle: flashllmHandle_t, path: &Path, expected: usize) -> Vec<flashllmSpMatDescr_t> {
    let writer = writer(path, expected);
    let mut matrices = Vec::new();
    for (index, name) in NAMES.into_iter().enumerate() {
        let s = compress(handle, 65, 333, &values(65, 333, index as u32), FORMATS[index]);
        good(unsafe { flashllmSafetensorsWriterAddSpMat(handle, writer, name.as_ptr(), s) });
        let (dense, odd) = (CString::new(format!("b{index}")), CString::new(format!("odd{index}")));
        let data: Vec<u8> = (0..1024).map(|i| (i * 7 + index) as u8).collect();
        good(add_dense(handle, writer, &odd.unwrap(), c"U8", &[3, 1, 5], &data[..15]));
        good(add_dense(handle, writer, &dense.unwrap(), c"F32", &[16, 16], &data));
        matrices.push(s);
    }
    good(add_dense(handle, writer, c"scalar", c"I64", &[], &[1, 2, 3, 4, 5, 6, 7, 8]));
    good(add_dense(handle, writer, c"half", c"BF16", &[3], &[1, 2, 3, 4, 5, 6]));
    good(add_dense(handle, writer, c"empty", c"F16", &[0, 4], &[]));
    good(unsafe {
        flashllmSafetensorsWriterAddMetadata(writer, c"format".as_ptr(), c"pt".as_ptr())
    });
    good(flashllmSafetensorsWriterFinish(writer));
    good(flashllmSafetensorsWriterDestroy(writer));
    matrices
}

fn open(path: &Path) -> flashllmSafetensors_t {
    let mut file = ptr::null_mut();
    good(unsafe { flashllmSafetensorsOpen(&raw mut file, text(path).as_ptr()) });
    file
}

#[test]
fn a_model_comes_back_from_its_safetensors_file() {
    let dir = build_support::scratch("store_model");
    let path = dir.join("model.safetensors");
    let handle = host();
    let matrices = model(handle, &path, 18);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "temporary files are left");
    let file = open(&path);
    // What is open stays as it is when the file is replaced.
    std::fs::remove_file(&path).unwrap();
    let entries = entries(file);
    assert_eq!(entries.len(), 18);
    let find = |name: &CStr| {
        let mut index = usize::MAX;
        good(unsafe { flashllmSafetensorsFind(file, name.as_ptr(), &raw mut index) });
        (index, &entries[index])
    };
    for (name, s) in NAMES.into_iter().zip(&matrices) {
        let (index, entry) = find(name);
        assert_eq!(entry.name, name.to_str().unwrap());
        assert!(entry.compressed && entry.dtype == "U8" && entry.shape == [entry.bytes as i64]);
        assert_eq!((entry.offset % 256, entry.bytes % 256), (0, 0));
        let (mut r, mut c, mut nnz, mut bytes) = (0, 0, 0, 0);
        let (mut dtype, mut kind) =
            (flashllmDataType_t::FLASHLLM_R_32F, flashllmFormat_t::FLASHLLM_FORMAT_AUTO);
        good(unsafe {
            flashllmSafetensorsGetSpMat(
                file,
                index,
                &raw mut r,
                &raw mut c,
                &raw mut nnz,
                &raw mut dtype,
                &raw mut kind,
                &raw mut bytes,
            )
        });
        assert_eq!((r, c, nnz, bytes), size(*s));
        assert_eq!(dtype as c_int, 2);
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
        assert_eq!((size(back), bytes_of(handle, back)), (size(*s), bytes_of(handle, *s)));
        good(flashllmDestroySpMat(back));
    }
    for index in 0..3_usize {
        let (at, entry) = find(&CString::new(format!("b{index}")).unwrap());
        assert!(!entry.compressed && entry.dtype == "F32" && entry.shape == [16, 16]);
        assert_eq!(entry.offset % 256, 0, "a tensor of whole 256 bytes is aligned to them");
        let mut data = vec![0xee_u8; 1030];
        good(unsafe {
            flashllmSafetensorsLoadDense(handle, file, at, data.as_mut_ptr().cast(), 1030)
        });
        assert!((0..1024).all(|i| data[i] == (i * 7 + index) as u8));
        assert_eq!(data[1024..], [0xee; 6]);
        let (_, odd) = find(&CString::new(format!("odd{index}")).unwrap());
        assert_eq!((odd.bytes, odd.shape.as_slice()), (15, &[3, 1, 5][..]));
    }
    let (at, scalar) = find(c"scalar");
    assert_eq!((scalar.offset % 8, scalar.shape.len()), (0, 0), "elements are aligned");
    let mut number = 0_u64;
    good(unsafe { flashllmSafetensorsLoadDense(handle, file, at, (&raw mut number).cast(), 8) });
    assert_eq!(number, 0x0807_0605_0403_0201);
    assert_eq!(find(c"half").1.offset % 2, 0);
    let (at, empty) = find(c"empty");
    assert_eq!((empty.bytes, empty.shape.as_slice()), (0, &[0, 4][..]));
    good(unsafe { flashllmSafetensorsLoadDense(handle, file, at, ptr::null_mut(), 0) });
    let metadata = |key: &CStr| unsafe {
        let mut value = ptr::null();
        good(flashllmSafetensorsGetMetadata(file, key.as_ptr(), &raw mut value));
        (!value.is_null()).then(|| CStr::from_ptr(value).to_str().unwrap().to_owned())
    };
    assert_eq!(metadata(c"format").as_deref(), Some("pt"));
    assert_eq!(metadata(c"flash_llm.version").as_deref(), Some("1"));
    assert_eq!(metadata(c"nothing"), None);
    let entry = metadata(c"flash_llm.w.bitmap").unwrap();
    let (_, _, nnz, _) = size(matrices[1]);
    let start =
        format!(r#"{{"cols":333,"dtype":"F16","format":"bitmap","nnz":{nnz},"rows":65,"xxh3":""#);
    assert!(entry.starts_with(&start), "{entry}");
    good(flashllmSafetensorsClose(file));
    good(flashllmDestroy(handle));
}

#[test]
fn other_readers_find_every_tensor() {
    let dir = build_support::scratch("store_readers");
    let path = dir.join("model.safetensors");
    let handle = host();
    let matrices = model(handle, &path, 0);
    let bytes = std::fs::read(&path).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = read.names().into_iter().map(str::to_owned).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "b0",
            "b1",
            "b2",
            "b3",
            "b4",
            "empty",
            "half",
            "odd0",
            "odd1",
            "odd2",
            "odd3",
            "odd4",
            "scalar",
            "w.banked.flash_llm",
            "w.bitmap.flash_llm",
            "w.sell.flash_llm",
            "w.slots \"\u{e9}\".flash_llm",
            "w.tiled.flash_llm"
        ]
    );
    let tensor = read.tensor("w.bitmap.flash_llm").unwrap();
    let buffer = &bytes_of(handle, matrices[1])[..];
    assert_eq!(tensor.shape(), [buffer.len().next_multiple_of(256)]);
    assert_eq!(&tensor.data()[..buffer.len()], buffer);
    assert!(tensor.data()[buffer.len()..].iter().all(|&b| b == 0));
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["flash_llm.w.bitmap"];
    let xxh3 = format!("\"xxh3\":\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(tensor.data()));
    assert!(text.contains(&xxh3), "{text} lacks {xxh3}");
    assert_eq!(
        read.tensor("odd1").unwrap().data(),
        (0..15).map(|i| i * 7 + 1).collect::<Vec<u8>>()
    );

    // And a file of theirs, in which nothing is aligned or padded, is read here.
    let mut metadata = header.metadata().clone().unwrap();
    let entry =
        text.replace(&xxh3, &format!("\"xxh3\":\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(buffer)));
    metadata.retain(|key, _| key == "flash_llm.version");
    metadata.insert("flash_llm.w".to_owned(), entry);
    let view = |shape, data| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::U8, shape, data).unwrap()
    };
    let odd = [1, 2, 3];
    let tensors = BTreeMap::from([
        ("a".to_owned(), view(vec![3], &odd[..])),
        ("w.flash_llm".to_owned(), view(vec![buffer.len()], buffer)),
    ]);
    let theirs = safetensors::serialize(tensors, Some(metadata)).unwrap();
    std::fs::write(&path, theirs).unwrap();
    let file = open(&path);
    let mut index = 0;
    good(unsafe { flashllmSafetensorsFind(file, c"w".as_ptr(), &raw mut index) });
    let (mut back, to) = (ptr::null_mut(), room(handle, buffer.len()));
    good(unsafe {
        flashllmSafetensorsLoadSpMat(
            handle,
            file,
            index,
            &raw mut back,
            RawVerify(0),
            to,
            buffer.len(),
        )
    });
    assert_eq!(bytes_of(handle, back), buffer);
    good(flashllmDestroySpMat(back));
    good(flashllmSafetensorsClose(file));
    good(flashllmDestroy(handle));
}

#[test]
fn a_header_longer_than_expected_moves_the_data() {
    let dir = build_support::scratch("store_long_header");
    let path = dir.join("model.safetensors");
    let handle = host();
    let writer = writer(&path, 1);
    let s = compress(handle, 200, 300, &values(200, 300, 3), 2);
    good(unsafe { flashllmSafetensorsWriterAddSpMat(handle, writer, c"w".as_ptr(), s) });
    // More than the 4 MiB that are moved at a time, so that pieces overlap.
    let large: Vec<u8> = (0..9 << 20).map(|i: u32| (i ^ i >> 9) as u8).collect();
    good(add_dense(handle, writer, c"large", c"U8", &[9 << 20], &large));
    for index in 0..500 {
        let name =
            CString::new(format!("a tensor with a rather long name, number {index}")).unwrap();
        good(add_dense(handle, writer, &name, c"U8", &[1], &[index as u8]));
    }
    good(flashllmSafetensorsWriterFinish(writer));
    good(flashllmSafetensorsWriterDestroy(writer));
    let bytes = std::fs::read(&path).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 502);
    assert!(read.tensor("large").unwrap().data() == large);
    assert_eq!(&read.tensor("w.flash_llm").unwrap().data()[..size(s).3], bytes_of(handle, s));
    let name = "a tensor with a rather long name, number 499";
    assert_eq!(read.tensor(name).unwrap().data(), [499_u32 as u8]);
    let file = open(&path);
    assert!(entries(file).iter().filter(|e| e.bytes % 256 == 0).all(|e| e.offset % 256 == 0));
    good(flashllmSafetensorsClose(file));
    good(flashllmDestroy(handle));
}

#[test]
fn a_writer_that_is_given_up_leaves_nothing_and_the_old_file() {
    let dir = build_support::scratch("store_given_up");
    let path = dir.join("model.safetensors");
    std::fs::write(&path, b"old").unwrap();
    let handle = host();
    let writer = writer(&path, 0);
    good(add_dense(handle, writer, c"a", c"U8", &[3], &[1, 2, 3]));
    good(add_dense(handle, writer, c"b", c"U8", &[256], &[7; 256]));
    assert!(std::fs::read_dir(&dir).unwrap().count() > 1);
    good(flashllmSafetensorsWriterDestroy(writer));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    good(flashllmDestroy(handle));
}

/// Both ways to begin a file give this status, and leave what is there.
#[track_caller]
fn refused(handle: flashllmHandle_t, path: &Path, status: flashllmStatus_t, says: &str) {
    let s = compress(handle, 40, 70, &values(40, 70, 1), 2);
    let before = std::fs::symlink_metadata(path).ok().map(|m| (m.ino(), m.file_type()));
    let files = || std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    let count = files();
    let same = |what: &str| {
        let now = std::fs::symlink_metadata(path).ok().map(|m| (m.ino(), m.file_type()));
        assert_eq!(now, before, "{what}: {} was replaced", path.display());
        assert!(message().contains(says), "{what}: {}", message());
        assert_eq!(files(), count, "{what}: temporary files are left");
    };
    assert_eq!(unsafe { flashllmSpMatSave(handle, s, text(path).as_ptr()) }, status);
    same("flashllmSpMatSave");
    let mut writer = ptr::null_mut();
    let got = unsafe { flashllmSafetensorsWriterCreate(&raw mut writer, text(path).as_ptr(), 0) };
    assert_eq!((got, writer), (status, ptr::null_mut()));
    same("flashllmSafetensorsWriterCreate");
    good(flashllmDestroySpMat(s));
}

#[test]
fn only_regular_files_are_replaced() {
    // Not in the build folder: the path of a socket has 107 bytes at most.
    let dir = std::env::temp_dir().join(format!("flash_llm-targets-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let handle = host();
    let named = |name: &str| dir.join(name);
    let invalid = FLASHLLM_STATUS_INVALID_VALUE;
    assert_eq!(unsafe { libc::mkfifo(text(&named("pipe")).as_ptr(), 0o600) }, 0);
    refused(handle, &named("pipe"), invalid, "is a pipe");
    let _listener = std::os::unix::net::UnixListener::bind(named("socket")).unwrap();
    refused(handle, &named("socket"), invalid, "is a socket");
    refused(handle, &dir, invalid, "is a folder");
    std::os::unix::fs::symlink("pipe", named("link")).unwrap();
    refused(handle, &named("link"), invalid, "is a pipe");
    // A defect must not cost the machine its /dev/null: who may replace that can make a node of their own.
    let (name, null) = (text(&named("device")), libc::makedev(1, 3));
    let made = unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, null) } == 0;
    if made {
        refused(handle, &named("device"), invalid, "is a device");
    } else if unsafe { libc::geteuid() } != 0 {
        refused(handle, Path::new("/dev/null"), invalid, "is a device");
    }
    std::fs::remove_dir_all(dir).unwrap();
    good(flashllmDestroy(handle));
}

#[test]
fn a_pipe_that_comes_while_a_file_is_written_stays() {
    let dir = build_support::scratch("store_pipe");
    let path = dir.join("model.safetensors");
    let handle = host();
    let writer = writer(&path, 0);
    good(add_dense(handle, writer, c"a", c"U8", &[3], &[1, 2, 3]));
    assert_eq!(unsafe { libc::mkfifo(text(&path).as_ptr(), 0o600) }, 0);
    assert_eq!(flashllmSafetensorsWriterFinish(writer), FLASHLLM_STATUS_INVALID_VALUE);
    assert!(message().contains("is a pipe"), "{}", message());
    assert!(std::fs::metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "temporary files are left");
    good(flashllmSafetensorsWriterDestroy(writer));
    good(flashllmDestroy(handle));
}

#[test]
fn a_link_to_nothing_is_followed() {
    use std::os::unix::fs::symlink;
    let dir = build_support::scratch("store_links");
    std::fs::create_dir(dir.join("sub")).unwrap();
    // In another folder, and back again: a link is relative to the folder that it is in.
    symlink("sub/second", dir.join("first")).unwrap();
    symlink("../weights", dir.join("sub/second")).unwrap();
    symlink("nowhere/weights", dir.join("broken")).unwrap();
    let handle = host();
    let s = compress(handle, 40, 70, &values(40, 70, 1), 2);
    for _ in 0..2 {
        good(unsafe { flashllmSpMatSave(handle, s, text(&dir.join("first")).as_ptr()) });
        for link in ["first", "sub/second"] {
            assert!(dir.join(link).is_symlink(), "{link} was replaced");
        }
        assert_eq!(std::fs::read(dir.join("weights")).unwrap(), serialize(handle, s));
    }
    refused(handle, &dir.join("broken"), FLASHLLM_STATUS_IO_ERROR, "nowhere");
    assert!(std::fs::metadata(dir.join("weights")).unwrap().is_file());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 4, "temporary files are left");
    good(flashllmDestroySpMat(s));
    good(flashllmDestroy(handle));
}

#[test]
fn a_name_with_a_slash_at_its_end_is_no_file() {
    let dir = build_support::scratch("store_slash");
    let handle = host();
    for name in ["new/", "new/."] {
        let path = dir.join(name);
        let s = compress(handle, 40, 70, &values(40, 70, 1), 2);
        let status = unsafe { flashllmSpMatSave(handle, s, text(&path).as_ptr()) };
        assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{name}");
        assert!(message().contains("names no file"), "{}", message());
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    good(flashllmDestroy(handle));
}

#[test]
fn every_name_that_the_system_takes_can_be_saved() {
    let dir = build_support::scratch("store_names");
    let handle = host();
    let s = compress(handle, 40, 70, &values(40, 70, 1), 2);
    for length in [1, 230, 240, 250, 255] {
        let path = dir.join("x".repeat(length));
        // The same name twice: new, and in the place of an old file.
        good(unsafe { flashllmSpMatSave(handle, s, text(&path).as_ptr()) });
        assert_eq!(std::fs::read(&path).unwrap(), serialize(handle, s), "{length} bytes");
        let writer = writer(&path, 0);
        good(add_dense(handle, writer, c"odd", c"U8", &[3], &[1, 2, 3]));
        good(flashllmSafetensorsWriterFinish(writer));
        good(flashllmSafetensorsWriterDestroy(writer));
        assert_eq!(entries(open(&path)).len(), 1, "{length} bytes");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 5, "temporary files are left");
    let long = dir.join("x".repeat(256));
    refused(handle, &long, FLASHLLM_STATUS_IO_ERROR, "name too long");
    good(flashllmDestroySpMat(s));
    good(flashllmDestroy(handle));
}

const CHILD: &str = "FLASH_LLM_STORE_CHILD";

/// Runs the calling test again in a child, which does `body` in the folder and then ends as it likes.
fn child(test: &str, dir: &Path) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_passes(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[test]
fn a_crash_leaves_the_old_file() {
    let test = "a_crash_leaves_the_old_file";
    if let Some(dir) = folder_of_child() {
        let handle = host();
        let path = dir.join("model.safetensors");
        let writer = writer(&path, 0);
        good(add_dense(handle, writer, c"a", c"U8", &[512], &[9; 512]));
        good(add_dense(handle, writer, c"b", c"U8", &[5], &[9; 5]));
        std::process::abort();
    }
    let dir = build_support::scratch("store_crash");
    let path = dir.join("model.safetensors");
    let handle = host();
    model(handle, &path, 0);
    let old = std::fs::read(&path).unwrap();
    let output = child(test, &dir);
    assert!(!output.status.success());
    assert!(std::fs::read_dir(&dir).unwrap().count() > 1, "the child got as far as writing");
    assert!(std::fs::read(&path).unwrap() == old);
    // What the dead process left is in nobody's way.
    model(handle, &path, 0);
    assert_eq!(std::fs::read(&path).unwrap(), old, "the same model gives the same file");
    good(flashllmDestroy(handle));
}

#[test]
fn a_disk_that_fills_up_leaves_the_old_file() {
    let test = "a_disk_that_fills_up_leaves_the_old_file";
    if let Some(dir) = folder_of_child() {
        let handle = host();
        let s = compress(handle, 600, 2000, &values(600, 2000, 5), 2);
        // Writes beyond this size fail, as on a full disk, once the signal is ignored.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: 60_000, rlim_max: 60_000 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
        let path = dir.join("w");
        let status = unsafe { flashllmSpMatSave(handle, s, text(&path).as_ptr()) };
        assert_eq!(status, FLASHLLM_STATUS_IO_ERROR);
        assert!(
            message().contains("cannot write") && message().contains("os error"),
            "{}",
            message()
        );
        // A tensor that does not fit is not added, and those that do are.
        let path = dir.join("model.safetensors");
        let writer = writer(&path, 0);
        let name = c"w".as_ptr();
        let status = unsafe { flashllmSafetensorsWriterAddSpMat(handle, writer, name, s) };
        assert_eq!(status, FLASHLLM_STATUS_IO_ERROR);
        good(add_dense(handle, writer, c"w", c"U8", &[256], &[3; 256]));
        good(flashllmSafetensorsWriterFinish(writer));
        good(flashllmSafetensorsWriterDestroy(writer));
        let file = open(&path);
        let entries = entries(file);
        assert_eq!((entries.len(), entries[0].bytes), (1, 256));
        // One whose spool does not fit is given up whole.
        let writer = self::writer(&path, 0);
        good(add_dense(handle, writer, c"x", c"U8", &[28_000 / 256 * 256], &[1; 28_000]));
        good(add_dense(handle, writer, c"y", c"U8", &[20_001], &[1; 20_001]));
        assert_eq!(flashllmSafetensorsWriterFinish(writer), FLASHLLM_STATUS_IO_ERROR);
        good(flashllmSafetensorsWriterDestroy(writer));
        assert_eq!(self::entries(open(&path)).len(), 1, "the file of before");
        return;
    }
    let dir = build_support::scratch("store_full");
    std::fs::write(dir.join("w"), b"old").unwrap();
    std::fs::write(dir.join("model.safetensors"), b"old").unwrap();
    assert_passes(&child(test, &dir));
    assert_eq!(std::fs::read(dir.join("w")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "temporary files are left");
}

#[test]
fn another_working_directory_changes_nothing_for_an_open_writer() {
    let test = "another_working_directory_changes_nothing_for_an_open_writer";
    if let Some(dir) = folder_of_child() {
        let handle = host();
        std::env::set_current_dir(&dir).unwrap();
        let writer = writer(Path::new("model.safetensors"), 0);
        let given_up = self::writer(Path::new("other.safetensors"), 0);
        std::env::set_current_dir("sub").unwrap();
        for writer in [writer, given_up] {
            good(add_dense(handle, writer, c"odd", c"U8", &[3], &[1, 2, 3]));
            good(add_dense(handle, writer, c"even", c"U8", &[256], &[7; 256]));
        }
        good(flashllmSafetensorsWriterFinish(writer));
        for writer in [writer, given_up] {
            good(flashllmSafetensorsWriterDestroy(writer));
        }
        return;
    }
    let dir = build_support::scratch("store_directory");
    std::fs::create_dir(dir.join("sub")).unwrap();
    assert_passes(&child(test, &dir));
    assert_eq!(entries(open(&dir.join("model.safetensors"))).len(), 2);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "temporary files are left");
    assert_eq!(std::fs::read_dir(dir.join("sub")).unwrap().count(), 0);
}

/// Permissions of the temporary files in a folder.
fn modes_of_temporary_files(dir: &Path) -> Vec<u32> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden = names.filter(|name| name.as_encoded_bytes().starts_with(b"."));
    hidden.map(|name| mode(&dir.join(name))).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn nobody_else_can_read_a_file_before_it_is_finished() {
    let test = "nobody_else_can_read_a_file_before_it_is_finished";
    if let Some(dir) = folder_of_child() {
        let handle = host();
        let s = compress(handle, 40, 70, &values(40, 70, 1), 2);
        let (path, saved) = (dir.join("model.safetensors"), dir.join("saved"));
        // (umask, of the old file, changed while it is written, of the new one)
        for (mask, old, changed, want) in [
            (0o022, None, None, 0o644),
            (0o002, None, None, 0o664),
            (0o077, None, None, 0o600),
            (0o000, None, None, 0o666),
            (0o777, None, None, 0o000),
            (0o022, Some(0o600), None, 0o600),
            (0o022, Some(0o664), None, 0o664),
            (0o022, Some(0o400), None, 0o400),
            (0o022, Some(0o644), Some(0o600), 0o600),
        ] {
            let case = format!("umask {mask:#o}, {old:?}, {changed:?}");
            let set = |path: &Path, bits| {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
            };
            for path in [&path, &saved] {
                let _ = std::fs::remove_file(path);
                if let Some(bits) = old {
                    std::fs::write(path, b"old").unwrap();
                    set(path, bits);
                }
            }
            unsafe { libc::umask(mask) };
            let writer = writer(&path, 0);
            good(add_dense(handle, writer, c"odd", c"U8", &[3], &[1, 2, 3]));
            good(add_dense(handle, writer, c"even", c"U8", &[256], &[7; 256]));
            // What is to be the file, and where the odd tensor waits.
            assert_eq!(modes_of_temporary_files(&dir), [0o600 & !mask; 2], "{case}");
            if let Some(bits) = changed {
                set(&path, bits);
            }
            good(flashllmSafetensorsWriterFinish(writer));
            good(flashllmSafetensorsWriterDestroy(writer));
            assert_eq!(mode(&path), want, "{case}");
            good(unsafe { flashllmSpMatSave(handle, s, text(&saved).as_ptr()) });
            assert_eq!(mode(&saved), old.unwrap_or(want), "{case}");
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "{case}");
        }
        return;
    }
    let dir = build_support::scratch("store_private");
    assert_passes(&child(test, &dir));
}

#[test]
fn the_products_of_shards_make_up_the_product_of_the_whole() {
    let handle = host();
    let (rows, n) = (650, 5);
    for format in FORMATS {
        let cols = cols_of_thirds(format, 2100);
        let weights = integers(rows * cols, 1, 180);
        let b = integers(cols * n, 2, 0);
        let whole = compress(handle, rows, cols, &weights, format);
        let want = product(handle, whole, &b, n);
        let (tr, tc) = tile(whole);
        let (m, k) = (rows as i64, cols as i64);
        let mut below = Vec::new();
        let mut nnz = 0;
        for r in thirds(m, tr) {
            let part = cut(handle, whole, r, [0, k]);
            below.extend(product(handle, part, &b, n));
            nnz += size(part).2;
            good(flashllmDestroySpMat(part));
        }
        assert!(below == want, "format {format}: rows");
        assert_eq!(nnz, size(whole).2);
        let mut sum = vec![0.0; rows * n];
        for c in thirds(k, tc) {
            let part = cut(handle, whole, [0, m], c);
            let rows_of_b = &b[c[0] as usize * n..c[1] as usize * n];
            for (s, p) in sum.iter_mut().zip(product(handle, part, rows_of_b, n)) {
                *s += p;
            }
            good(flashllmDestroySpMat(part));
        }
        assert!(sum == want, "format {format}: columns");
        // A shard compressed from its part of the dense weight in place gives the same product.
        let (mut d, mut s) = (ptr::null(), ptr::null_mut());
        let first = tc as usize;
        unsafe {
            let values = weights[first..].as_ptr().cast();
            let alg = RawDenseToSparseAlg(0);
            let (c, null) = (k - tc, ptr::null_mut());
            good(flashllmCreateConstDnMat(&raw mut d, m, c, k, values, F16, ROW));
            good(flashllmCreateSpMat(&raw mut s, m, c, F16, RawFormat(format)));
            good(flashllmDenseToSparse_analysis(handle, d, s, alg, null));
            let bytes = size(s).3;
            good(flashllmSpMatSetBuffer(handle, s, room(handle, bytes), bytes));
            good(flashllmDenseToSparse_convert(handle, d, s, alg, null));
            good(flashllmDestroyDnMat(d));
        }
        let part = cut(handle, whole, [0, m], [tc, k]);
        let rows_of_b = &b[first * n..];
        assert_eq!(product(handle, s, rows_of_b, n), product(handle, part, rows_of_b, n));
        for descr in [part, s, whole] {
            good(flashllmDestroySpMat(descr));
        }
    }
    good(flashllmDestroy(handle));
}
