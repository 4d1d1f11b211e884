//! Whole models: compressed matrices and dense tensors in .safetensors files.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::{Mutex, PoisonError};

use super::guard::{guard, null, out};
use super::object;
use super::status::flashllmStatus_t;
use super::store::{Mapped, clear, deliver, found, path, pieces, place_matrix, ready, text};
use super::types::{
    RawVerify, flashllmConstSpMatDescr_t, flashllmDataType_t, flashllmFormat_t, flashllmHandle_t,
    flashllmSafetensors_t, flashllmSafetensorsWriter_t, flashllmSpMatDescr_t,
};
use crate::descr::SpMat;
use crate::error::{Error, Kind, Result};
use crate::format::Verify;
use crate::handle::{Context, Device};
use crate::store::safetensors::{Reader, Tensor, Writer, dense_bytes};

/// An open file.
pub type SafetensorsFile = Reader<Mapped>;

/// A file that is being written; `None` once it is finished.
pub struct SafetensorsWriter(Mutex<Option<Writer>>);

impl SafetensorsWriter {
    /// Does something with the writer, one thread at a time.
    fn with<R>(&self, f: impl FnOnce(&mut Option<Writer>) -> Result<R>) -> Result<R> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            return Err(Error::invalid(
                "writer is finished: only flashllmSafetensorsWriterDestroy() is left",
            ));
        }
        f(&mut writer)
    }

    fn add(&self, f: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        self.with(|writer| writer.as_mut().map_or(Ok(()), f))
    }
}

/// A name or another text of the file, which is UTF-8.
///
/// # Safety
/// `pointer` must be NULL or lead to a NUL-terminated string that stays as it is for `'a`.
unsafe fn utf8<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's contract.
    let text = unsafe { text(pointer, name) }?;
    text.to_str().map_err(|_| Error::invalid(format!("{name} = {text:?} is not UTF-8")))
}

fn tensor(file: &SafetensorsFile, index: usize) -> Result<&Tensor> {
    let count = file.tensors().len();
    file.tensors()
        .get(index)
        .ok_or_else(|| Error::invalid(format!("index = {index}, and the file has {count} tensors")))
}

/// Opens a .safetensors file for reading. Its header is checked whole, and so is the header of each compressed
/// matrix; the data are when they are loaded.
///
/// The file is mapped: it takes no memory of its own, and what is loaded goes from the system's cache to its
/// buffer without a copy between. Nobody may write to the file, or make it shorter, while it is open
/// (replacing it by another of the same name is fine).
///
/// @param[out] file  Receives the file; NULL on failure. The caller owns it: flashllmSafetensorsClose().
/// @param path       The file, NUL-terminated.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: path is empty;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be opened;
///   FLASHLLM_STATUS_CORRUPT_DATA: it is not a .safetensors file, it is damaged or a part of one, or its
///   compressed matrices contradict their metadata;
///   FLASHLLM_STATUS_VERSION_MISMATCH: its compressed matrices are of another version;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: a compressed matrix has an element type that this library does
///   not know.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsOpen(
    file: *mut flashllmSafetensors_t,
    path: *const c_char,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsOpen", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(file) };
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let path = unsafe { self::path(path) }?;
        let file = out(file, "file")?;
        let reader = Reader::open(Mapped::open(path)?)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let key = object::insert(reader);
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { file.write(key) };
        Ok(())
    })
}

/// Closes a file. The texts and shapes that it gave end with it; what was loaded stays.
///
/// @param file  The file, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, or closed already.
/// @note Thread-safe; allowed during stream capture. A call of another thread that uses the file completes.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSafetensorsClose(file: flashllmSafetensors_t) -> flashllmStatus_t {
    guard("flashllmSafetensorsClose", || {
        if !file.is_null() {
            drop(object::remove::<SafetensorsFile>(file, "file")?);
        }
        Ok(())
    })
}

/// Tells how many tensors a file has, a compressed matrix being one.
///
/// @param file        The file.
/// @param[out] count  Receives the number.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file;
///   FLASHLLM_STATUS_NULL_POINTER: count is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsGetCount(
    file: flashllmSafetensors_t,
    count: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsGetCount", || {
        let file = object::get::<SafetensorsFile>(file, "file")?;
        let count = out(count, "count")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { count.write(file.tensors().len()) };
        Ok(())
    })
}

/// Finds a tensor by its name.
///
/// @param file        The file.
/// @param name        The name, NUL-terminated UTF-8: of a compressed matrix without ".flash_llm".
/// @param[out] index  Receives its index.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, name is not UTF-8, or there is no such tensor;
///   FLASHLLM_STATUS_NULL_POINTER: name or index is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsFind(
    file: flashllmSafetensors_t,
    name: *const c_char,
    index: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsFind", || {
        let file = object::get::<SafetensorsFile>(file, "file")?;
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let name = unsafe { utf8(name, "name") }?;
        let index = out(index, "index")?;
        let Some(found) = file.find(name) else {
            return Err(Error::invalid(format!("name = {name:?} is no tensor of the file")));
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { index.write(found) };
        Ok(())
    })
}

/// Gives a text of the file's metadata.
///
/// @param file        The file.
/// @param key         The key, NUL-terminated UTF-8, such as "format".
/// @param[out] value  Receives the text, NUL-terminated UTF-8, which lives until the file is closed; NULL if
///   there is none.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, or key is not UTF-8;
///   FLASHLLM_STATUS_NULL_POINTER: key or value is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsGetMetadata(
    file: flashllmSafetensors_t,
    key: *const c_char,
    value: *mut *const c_char,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsGetMetadata", || {
        let file = object::get::<SafetensorsFile>(file, "file")?;
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let key = unsafe { utf8(key, "key") }?;
        let value = out(value, "value")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { value.write(file.metadata(key).map_or(ptr::null(), CStr::as_ptr)) };
        Ok(())
    })
}

/// Tells what a tensor is.
///
/// @param file             The file.
/// @param index            Its index, less than flashllmSafetensorsGetCount(). Tensors are in the order in
///   which they lie in the file.
/// @param[out] name        Receives its name, NUL-terminated UTF-8: of a compressed matrix without
///   ".flash_llm".
/// @param[out] compressed  Receives 1 for a compressed matrix, of which flashllmSafetensorsGetSpMat() tells
///   more, otherwise 0.
/// @param[out] dtype       Receives its element type in the file's spelling: "F32", "F16", "BF16", "I64", ...; of
///   a compressed matrix "U8".
/// @param[out] rank        Receives the number of dimensions.
/// @param[out] shape       Receives the dimensions, rank of them.
/// @param[out] offset      Receives the offset of its first byte in the file.
/// @param[out] bytes       Receives its size in bytes. name, dtype and shape live until the file is closed.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, or index is too large;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsGetTensor(
    file: flashllmSafetensors_t,
    index: usize,
    name: *mut *const c_char,
    compressed: *mut i32,
    dtype: *mut *const c_char,
    rank: *mut i32,
    shape: *mut *const i64,
    offset: *mut usize,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsGetTensor", || {
        let file = object::get::<SafetensorsFile>(file, "file")?;
        let tensor = tensor(&file, index)?;
        let (name, compressed) = (out(name, "name")?, out(compressed, "compressed")?);
        let (dtype, rank) = (out(dtype, "dtype")?, out(rank, "rank")?);
        let (shape, offset) = (out(shape, "shape")?, out(offset, "offset")?);
        let bytes = out(bytes, "bytes")?;
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused. What is pointed to lives
        // in the file, as long as it is open.
        unsafe {
            name.write(tensor.name().as_ptr());
            compressed.write(i32::from(tensor.matrix().is_some()));
            dtype.write(tensor.dtype().as_ptr());
            rank.write(tensor.shape().len() as i32);
            shape.write(tensor.shape().as_ptr());
            offset.write(tensor.range().start);
            bytes.write(tensor.range().len());
        }
        Ok(())
    })
}

/// Tells what a compressed matrix of a file is, so that a buffer can be allocated for it.
///
/// @param file              The file.
/// @param index             Its index.
/// @param[out] rows         Receives the rows (M).
/// @param[out] cols         Receives the columns (K).
/// @param[out] nnz          Receives the number of stored non-zeros.
/// @param[out] type         Receives the element type.
/// @param[out] format       Receives the format.
/// @param[out] bufferBytes  Receives the bytes of the compressed buffer, for flashllmSafetensorsLoadSpMat().
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, index is too large, or that is a dense tensor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsGetSpMat(
    file: flashllmSafetensors_t,
    index: usize,
    rows: *mut i64,
    cols: *mut i64,
    nnz: *mut i64,
    r#type: *mut flashllmDataType_t,
    format: *mut flashllmFormat_t,
    bufferBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsGetSpMat", || {
        let file = object::get::<SafetensorsFile>(file, "file")?;
        let tensor = tensor(&file, index)?;
        let Some(header) = tensor.matrix() else {
            return Err(Error::invalid(format!(
                "index = {index} is the dense tensor {:?}, not a compressed matrix",
                tensor.name()
            )));
        };
        let (rows, cols, nnz) = (out(rows, "rows")?, out(cols, "cols")?, out(nnz, "nnz")?);
        let (dtype, format) = (out(r#type, "type")?, out(format, "format")?);
        let bytes = out(bufferBytes, "bufferBytes")?;
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused.
        unsafe {
            rows.write(header.rows as i64);
            cols.write(header.cols as i64);
            nnz.write(header.nnz as i64);
            dtype.write(header.dtype.into());
            format.write(Some(header.format).into());
            bytes.write(header.total_bytes as usize);
        }
        Ok(())
    })
}

/// Copies a dense tensor of a file into the caller's buffer.
///
/// @param handle       The handle that will use it.
/// @param file         The file.
/// @param index        Its index.
/// @param[out] buffer  Memory of the handle's device, of any alignment; may be NULL if the tensor is empty.
///   Written only on success, or when the device fails.
/// @param bufferBytes  Its size, at least the tensor's (flashllmSafetensorsGetTensor()).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, index is too large, or that is a compressed matrix;
///   FLASHLLM_STATUS_NULL_POINTER: buffer is NULL;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bufferBytes is too small;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED,
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe. On a CUDA handle it copies in order with the stream, through pinned memory that the
///   handle keeps, and synchronises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsLoadDense(
    handle: flashllmHandle_t,
    file: flashllmSafetensors_t,
    index: usize,
    buffer: *mut c_void,
    bufferBytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsLoadDense", || {
        let context = object::get::<Context>(handle, "handle")?;
        let file = object::get::<SafetensorsFile>(file, "file")?;
        let tensor = tensor(&file, index)?;
        if tensor.matrix().is_some() {
            return Err(Error::invalid(format!(
                "index = {index} is the compressed matrix {:?}: use flashllmSafetensorsLoadSpMat()",
                tensor.name()
            )));
        }
        let content = file.bytes(tensor);
        if content.is_empty() {
            return Ok(());
        }
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        if bufferBytes < content.len() {
            return Err(Error::new(
                Kind::WorkspaceTooSmall,
                format!("bufferBytes = {bufferBytes}, and the tensor has {}", content.len()),
            ));
        }
        file.storage().will_need(tensor.range());
        // SAFETY: the caller gives `bufferBytes` writable bytes of the handle's device; the file is mapped for
        // reading, so that it is not among them.
        unsafe { deliver(&context, content, buffer) }
    })
}

/// Copies a compressed matrix of a file into the caller's buffer and describes it. What is checked when is as
/// flashllmSpMatDeserialize() says.
///
/// @param handle           The handle that will use the matrix.
/// @param file             The file.
/// @param index            Its index.
/// @param[out] spMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroySpMat(). It is independent of the file.
/// @param verify           How much is checked: FLASHLLM_VERIFY_FULL unless the file is trusted.
/// @param[out] buffer      Memory of the handle's device, aligned to 256 bytes. The caller keeps it alive while
///   the descriptor is used. Written only on success, or when a device fails or what it copied is
///   refused.
/// @param bufferBytes      Its size, at least what flashllmSafetensorsGetSpMat() tells.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not an open file, verify is not an enumerator, index is too large, or
///   that is a dense tensor;
///   FLASHLLM_STATUS_NULL_POINTER: spMatDescr or buffer is NULL;
///   FLASHLLM_STATUS_CORRUPT_DATA: the matrix is damaged;
///   FLASHLLM_STATUS_MISALIGNED: buffer is not aligned to 256 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bufferBytes is too small;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: a size is more than an address space holds;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED,
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe. On a CUDA handle it copies in order with the stream, through pinned memory that the
///   handle keeps, and synchronises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsLoadSpMat(
    handle: flashllmHandle_t,
    file: flashllmSafetensors_t,
    index: usize,
    spMatDescr: *mut flashllmSpMatDescr_t,
    verify: RawVerify,
    buffer: *mut c_void,
    bufferBytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsLoadSpMat", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(spMatDescr) };
        let context = object::get::<Context>(handle, "handle")?;
        let file = object::get::<SafetensorsFile>(file, "file")?;
        let verify = Verify::try_from(verify)?;
        let tensor = tensor(&file, index)?;
        let descr = out(spMatDescr, "spMatDescr")?;
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        file.storage().will_need(tensor.range());
        let all = || file.compressed(tensor, verify);
        let found = found(&context, verify, all, || file.compressed_front(tensor, verify))?;
        // SAFETY: the caller gives `bufferBytes` writable bytes of the handle's device.
        let key = unsafe { place_matrix(&context, found, "file", buffer, bufferBytes) }.map_err(
            |error| match error.kind() {
                Kind::CorruptData if !error.message().starts_with("matrix ") => {
                    let name = tensor.name().to_string_lossy();
                    Error::new(Kind::CorruptData, format!("matrix {name:?}: {error}"))
                }
                _ => error,
            },
        )?;
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Begins a .safetensors file.
///
/// Each tensor goes to the disk as it is added, so that a model larger than memory can be written, compressed
/// layer by layer. Until flashllmSafetensorsWriterFinish() everything is in temporary files in the same
/// folder, which nobody but their owner can read; a file that has the name already stays as it is. In the finished
/// file compressed matrices, and all tensors of a multiple of 256 bytes, begin at multiples of 256 bytes.
///
/// @param[out] writer      Receives the writer; NULL on failure. The caller owns it:
///   flashllmSafetensorsWriterDestroy().
/// @param path             The file, NUL-terminated. An existing regular file is replaced and its permissions are kept;
///   a symbolic link is followed, also to a file that does not exist. Anything else is left as it is: a folder,
///   a device, a pipe, a socket. A relative path is of the working directory at the time of this call.
/// @param expectedTensors  About how many tensors there will be, or 0. Where there are many more, or their
///   names are very long, finishing takes longer, because the data have to be moved.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: path names no file or leads to something other than a regular file, or
///   expectedTensors is more than a header has room for;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be created.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsWriterCreate(
    writer: *mut flashllmSafetensorsWriter_t,
    path: *const c_char,
    expectedTensors: usize,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterCreate", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(writer) };
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let path = unsafe { self::path(path) }?;
        let writer = out(writer, "writer")?;
        let created = Writer::create(path, expectedTensors)?;
        let key = object::insert(SafetensorsWriter(Mutex::new(Some(created))));
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { writer.write(key) };
        Ok(())
    })
}

/// Adds a text to the file's metadata, such as "format" = "pt", which some readers want.
///
/// @param writer  The writer.
/// @param key     The key, NUL-terminated UTF-8, not beginning with "flash_llm.". Its earlier text is replaced.
/// @param value   The text, NUL-terminated UTF-8.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a writer, it is finished, a text is not UTF-8, or key is empty or
///   reserved;
///   FLASHLLM_STATUS_NULL_POINTER: key or value is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsWriterAddMetadata(
    writer: flashllmSafetensorsWriter_t,
    key: *const c_char,
    value: *const c_char,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterAddMetadata", || {
        let writer = object::get::<SafetensorsWriter>(writer, "writer")?;
        // SAFETY: the caller gives NUL-terminated strings or NULL.
        let (key, value) = unsafe { (utf8(key, "key")?, utf8(value, "value")?) };
        writer.add(|writer| writer.add_metadata(key, value))
    })
}

/// Adds a compressed matrix to the file, as the U8 tensor name + ".flash_llm".
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param writer      The writer.
/// @param name        Its name, NUL-terminated UTF-8, which no other tensor of the file has.
/// @param spMatDescr  The matrix; it holds compressed data, which are read in order with the handle's stream.
///   They are not needed any more when the call returns.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a writer, it is finished, not a compressed matrix descriptor, it has no
///   compressed data, they were set with a handle of another device, or name is empty, not UTF-8, taken, or
///   reserved;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the data lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: name is NULL;
///   FLASHLLM_STATUS_IO_ERROR: the disk is full, for example;
///   FLASHLLM_STATUS_CORRUPT_DATA: the matrix's buffer was overwritten by something else;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the file would be larger than an address space;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused. After a failure the file is as if the matrix had not been added, and others can be.
/// @note Thread-safe; calls with the same writer wait for each other. On a CUDA handle it synchronises with
///   the stream; the matrix is never in host memory as a whole.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsWriterAddSpMat(
    handle: flashllmHandle_t,
    writer: flashllmSafetensorsWriter_t,
    name: *const c_char,
    spMatDescr: flashllmConstSpMatDescr_t,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterAddSpMat", || {
        let context = object::get::<Context>(handle, "handle")?;
        let writer = object::get::<SafetensorsWriter>(writer, "writer")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let name = unsafe { utf8(name, "name") }?;
        let (header, buffer) = ready(&context, &descr)?;
        writer.add(|writer| {
            // SAFETY: the descriptor's buffer is the caller's live memory.
            writer.add_matrix(name, &header, |sink| unsafe {
                pieces(&context, &header, &buffer, sink)
            })
        })
    })
}

/// Adds a dense tensor to the file.
///
/// @param handle  The handle in whose memory the data are.
/// @param writer  The writer.
/// @param name    Its name, NUL-terminated UTF-8, which no other tensor of the file has, and which does not
///   end in ".flash_llm".
/// @param dtype   Its element type in the file's spelling, NUL-terminated: "F32", "F16", "BF16", "I64", ...
/// @param rank    Number of dimensions, at least 0.
/// @param shape   The dimensions, rank of them, each at least 0; may be NULL if rank is 0. Host memory.
/// @param data    The elements in row-major order without gaps; may be NULL if there are none. They are read in
///   order with the handle's stream, and not needed any more when the call returns.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a writer, it is finished, dtype is not a type, rank or a dimension is
///   negative, or name is empty, not UTF-8, taken, or reserved;
///   FLASHLLM_STATUS_NULL_POINTER: name, dtype, shape or data is NULL;
///   FLASHLLM_STATUS_IO_ERROR: the disk is full, for example;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the tensor or the file would be larger than an address space;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED,
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused. After a failure the file is as if the tensor had not
///   been added, and others can be.
/// @note Thread-safe; calls with the same writer wait for each other. On a CUDA handle it synchronises with
///   the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSafetensorsWriterAddDense(
    handle: flashllmHandle_t,
    writer: flashllmSafetensorsWriter_t,
    name: *const c_char,
    dtype: *const c_char,
    rank: i32,
    shape: *const i64,
    data: *const c_void,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterAddDense", || {
        let context = object::get::<Context>(handle, "handle")?;
        let writer = object::get::<SafetensorsWriter>(writer, "writer")?;
        // SAFETY: the caller gives NUL-terminated strings or NULL.
        let (name, dtype) = unsafe { (utf8(name, "name")?, utf8(dtype, "dtype")?) };
        let Ok(count) = usize::try_from(rank) else {
            return Err(Error::invalid(format!("rank = {rank} is negative")));
        };
        if count > 0 && shape.is_null() {
            return Err(null("shape"));
        }
        let mut sizes = Vec::new();
        for index in 0..count {
            // SAFETY: the caller gives `rank` readable dimensions; no alignment is assumed.
            let size = unsafe { shape.add(index).read_unaligned() };
            sizes.push(
                usize::try_from(size)
                    .map_err(|_| Error::invalid(format!("shape[{index}] = {size} is negative")))?,
            );
        }
        let (_, bytes) = dense_bytes(dtype, &sizes)?;
        if bytes > 0 && data.is_null() {
            return Err(null("data"));
        }
        writer.add(|writer| {
            writer.add_dense(name, dtype, &sizes, |sink| match context.device() {
                _ if bytes == 0 => Ok(()),
                // SAFETY: the caller gives as many readable bytes as shape and dtype say.
                Device::Host => sink(unsafe { slice::from_raw_parts(data.cast::<u8>(), bytes) }),
                // SAFETY: the same, in device memory of this context.
                Device::Cuda(cuda) => unsafe {
                    cuda.download(context.stream(), data.addr(), bytes, sink)
                },
            })
        })
    })
}

/// Completes the file: writes its header, puts it on the disk, and gives it its name.
///
/// @param writer  The writer. Afterwards, also after a failure, it can only be destroyed.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a writer, it is finished already, the header would be larger than
///   readers accept, or by now something other than a regular file has the name;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be written or renamed. An older file of the name is then as it
///   was, and the temporary files are gone.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSafetensorsWriterFinish(
    writer: flashllmSafetensorsWriter_t,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterFinish", || {
        let writer = object::get::<SafetensorsWriter>(writer, "writer")?;
        writer.with(|writer| writer.take().map_or(Ok(()), Writer::finish))
    })
}

/// Destroys a writer. If it was not finished, the file is given up and its temporary files are removed.
///
/// @param writer  The writer, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a writer, or destroyed already.
/// @note Thread-safe; allowed during stream capture. A call of another thread that uses the writer completes.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSafetensorsWriterDestroy(
    writer: flashllmSafetensorsWriter_t,
) -> flashllmStatus_t {
    guard("flashllmSafetensorsWriterDestroy", || {
        if !writer.is_null() {
            drop(object::remove::<SafetensorsWriter>(writer, "writer")?);
        }
        Ok(())
    })
}
