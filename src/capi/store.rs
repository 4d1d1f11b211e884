//! Compressed matrices in memory blocks and files that outlive the process, and parts of them.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{ptr, slice};

use memmap2::Mmap;

use super::context::place;
use super::convert::{disjoint, host_buffer};
use super::guard::{Out, aligned, guard, null, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{
    RawVerify, flashllmConstSpMatDescr_t, flashllmDataType_t, flashllmFormat_t, flashllmHandle_t,
    flashllmSpMatDescr_t,
};
use crate::descr::{Buffer, SpMat, Stage};
use crate::error::{Error, Kind, Result};
use crate::format::slice::{Part, slice as slice_host, slice_bytes as slice_bytes_host};
use crate::format::{self, Header, Verify};
use crate::gpu;
use crate::handle::{Context, Device};
use crate::store::{Found, matrix};

/// Bytes that a compressed buffer's address must be a multiple of.
const BUFFER_ALIGNMENT: usize = 256;

/// A file in memory, read as it is touched. An empty one is no mapping.
pub struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a file for reading.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed =
            |error| Error::new(Kind::Io, format!("cannot open {}: {error}", path.display()));
        // Before it is opened: opening a pipe would wait for a writer.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(Error::new(Kind::Io, format!("{} is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the caller of the C function says that nobody writes to the file, or makes it shorter, while
        // it is in use.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self(Some(map)))
    }

    /// Lets the system begin to read a range that will be used whole, ahead of the page faults.
    pub(super) fn will_need(&self, range: Range<usize>) {
        if let Some(map) = &self.0 {
            // Advice: where it is not taken, nothing is lost but time.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

/// A C string that is required.
///
/// # Safety
/// `pointer` must be NULL or lead to a NUL-terminated string that stays as it is for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a CStr> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, and the caller's contract.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// A path in the bytes that the operating system uses.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn path<'a>(pointer: *const c_char) -> Result<&'a Path> {
    // SAFETY: the caller's contract.
    let text = unsafe { text(pointer, "path") }?;
    if text.is_empty() {
        return Err(Error::invalid("path is empty"));
    }
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

/// The header and buffer of a matrix that this handle can use.
pub(super) fn ready(context: &Context, descr: &SpMat) -> Result<(Header, Buffer)> {
    descr.ready("spMatDescr", place(context))
}

/// Gives the compressed buffer of a matrix to `sink`, piece by piece.
///
/// # Safety
/// The descriptor's buffer must be live memory that nobody writes to during the call.
pub(super) unsafe fn pieces(
    context: &Context,
    header: &Header,
    buffer: &Buffer,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let bytes = header.total_bytes as usize;
    match context.device() {
        Device::Host => {
            // SAFETY: the caller's contract.
            sink(unsafe { host_buffer(header, buffer) })
        }
        // SAFETY: the same, in device memory of this context.
        Device::Cuda(cuda) => unsafe {
            cuda.download(context.stream(), buffer.address, bytes, sink)
        },
    }
}

/// Refuses a buffer that cannot take `bytes` bytes of a compressed matrix.
pub(super) fn check_target(buffer: *mut c_void, given: usize, bytes: usize) -> Result<()> {
    if buffer.is_null() {
        return Err(null("buffer"));
    }
    aligned(buffer.addr(), BUFFER_ALIGNMENT, "buffer")?;
    if given < bytes {
        return Err(Error::new(
            Kind::WorkspaceTooSmall,
            format!("bufferBytes = {given}, and the compressed matrix needs {bytes}"),
        ));
    }
    crate::types::checked_add(given, 0, "bufferBytes")?;
    Ok(())
}

/// Copies checked bytes to the handle's memory.
///
/// # Safety
/// `target` must be writable memory of the handle's device, as long as `content` and apart from it.
pub(super) unsafe fn deliver(context: &Context, content: &[u8], target: *mut c_void) -> Result<()> {
    match context.device() {
        Device::Host => {
            // SAFETY: the caller's contract.
            unsafe {
                ptr::copy_nonoverlapping(content.as_ptr(), target.cast::<u8>(), content.len());
            }
            Ok(())
        }
        // SAFETY: the caller's contract.
        Device::Cuda(cuda) => unsafe { cuda.upload(context.stream(), target.addr(), content) },
    }
}

/// A descriptor of a matrix that now lies in `buffer`.
fn adopt(
    context: &Context,
    header: Header,
    buffer: *mut c_void,
    bytes: usize,
    descr: SpMat,
) -> flashllmSpMatDescr_t {
    let given = Buffer { address: buffer.expose_provenance(), bytes, place: place(context) };
    descr.update(|state| {
        state.stage = Stage::Ready(header);
        state.buffer = Some(given);
    });
    object::insert(descr)
}

/// An empty descriptor for a matrix with this header.
fn describe(header: &Header) -> Result<SpMat> {
    let size = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    SpMat::new(size(header.rows), size(header.cols), header.dtype, Some(header.format))
}

/// What a handle needs to know of a stored matrix before it copies it: a host handle everything, a device the header
/// and the table. The checksum of the rest it verifies while it copies, and the blocks with a kernel, which is many
/// times as fast as the host.
pub(super) fn found<'a>(
    context: &Context,
    verify: Verify,
    all: impl FnOnce() -> Result<(Header, &'a [u8])>,
    front: impl FnOnce() -> Result<Found<'a>>,
) -> Result<(Found<'a>, Verify)> {
    match context.device() {
        Device::Host => {
            let (header, content) = all()?;
            Ok((Found { header, content, unverified: None }, Verify::Header))
        }
        Device::Cuda(_) => Ok((front()?, verify)),
    }
}

/// [`deliver`], with the checksum that was left to verify.
///
/// # Safety
/// As [`deliver`].
unsafe fn deliver_found(context: &Context, found: &Found<'_>, target: *mut c_void) -> Result<()> {
    let content = found.content;
    match (context.device(), &found.unverified) {
        (Device::Cuda(cuda), Some(unverified)) => {
            let (stream, part) = (context.stream(), unverified.part.clone());
            let mut hash = unverified.hash();
            // SAFETY: the caller's contract; the part lies in the content.
            unsafe { cuda.upload(stream, target.addr(), &content[..part.start]) }?;
            let to = target.addr() + part.start;
            // SAFETY: as above.
            unsafe {
                cuda.upload_with(stream, to, &content[part], &mut |to, from| hash.copy(to, from))
            }?;
            unverified.check(hash)
        }
        // SAFETY: the caller's contract.
        _ => unsafe { deliver(context, content, target) },
    }
}

/// Copies a compressed matrix that was [`found`] into the caller's buffer, checks the rest of it, and makes its
/// descriptor.
///
/// # Safety
/// `buffer` must be NULL or writable memory of the handle's device, `bytes` long.
pub(super) unsafe fn place_matrix(
    context: &Context,
    (found, verify): (Found<'_>, Verify),
    source_name: &str,
    buffer: *mut c_void,
    bytes: usize,
) -> Result<flashllmSpMatDescr_t> {
    let (header, content) = (found.header, found.content);
    check_target(buffer, bytes, content.len())?;
    if matches!(context.device(), Device::Host) {
        disjoint(
            (content.as_ptr().addr(), content.len(), source_name),
            (buffer.addr(), bytes, "buffer"),
        )?;
    }
    let descr = describe(&header)?;
    // SAFETY: checked above, and the caller's contract.
    unsafe { deliver_found(context, &found, buffer) }?;
    // A checksum is no signature: whoever wants to can make one that fits.
    if let (Device::Cuda(cuda), Verify::Full) = (context.device(), verify) {
        // SAFETY: as above; as much was just written there.
        let valid =
            unsafe { gpu::convert::validate(cuda, context.stream(), buffer, content.len()) }?;
        if valid != header {
            return Err(Error::new(
                Kind::CorruptData,
                format!("{source_name} was changed while it was read: its header is another one"),
            ));
        }
    }
    Ok(adopt(context, header, buffer, bytes, descr))
}

/// Sets the result of a function that creates to NULL, before anything else is looked at.
///
/// # Safety
/// `pointer` must be NULL or valid for writing.
pub(super) unsafe fn clear<T>(pointer: *mut *mut T) {
    if let Ok(result) = out(pointer, "") {
        // SAFETY: the caller's contract; not NULL.
        unsafe { result.write(ptr::null_mut()) };
    }
}

/// Where the facts of a stored matrix go.
struct InfoOut {
    rows: Out<i64>,
    cols: Out<i64>,
    nnz: Out<i64>,
    dtype: Out<flashllmDataType_t>,
    format: Out<flashllmFormat_t>,
    buffer_bytes: Out<usize>,
    serialized_bytes: Out<usize>,
}

impl InfoOut {
    fn new(
        rows: *mut i64,
        cols: *mut i64,
        nnz: *mut i64,
        dtype: *mut flashllmDataType_t,
        format: *mut flashllmFormat_t,
        buffer_bytes: *mut usize,
        serialized_bytes: *mut usize,
    ) -> Result<Self> {
        Ok(Self {
            rows: out(rows, "rows")?,
            cols: out(cols, "cols")?,
            nnz: out(nnz, "nnz")?,
            dtype: out(dtype, "type")?,
            format: out(format, "format")?,
            buffer_bytes: out(buffer_bytes, "bufferBytes")?,
            serialized_bytes: out(serialized_bytes, "serializedBytes")?,
        })
    }

    /// # Safety
    /// All pointers must be valid for writing.
    unsafe fn write(self, info: &matrix::Info) {
        // SAFETY: the caller's contract; each is written once.
        unsafe {
            self.rows.write(info.rows as i64);
            self.cols.write(info.cols as i64);
            self.nnz.write(info.nnz as i64);
            self.dtype.write(info.dtype.into());
            self.format.write(Some(info.format).into());
            self.buffer_bytes.write(info.buffer_bytes);
            self.serialized_bytes.write(info.serialized_bytes);
        }
    }
}

/// Tells how many bytes flashllmSpMatSerialize() writes.
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param spMatDescr  The matrix; it holds compressed data.
/// @param[out] bytes  Receives the size in bytes, a multiple of 256.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, it has no compressed data, or they
///   were set with a handle of another device;
///   FLASHLLM_STATUS_WRONG_CONTEXT: they lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: bytes is NULL;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: they do not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSerializedSize(
    handle: flashllmHandle_t,
    spMatDescr: flashllmConstSpMatDescr_t,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSerializedSize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let bytes = out(bytes, "bytes")?;
        let (header, _) = ready(&context, &descr)?;
        let size = matrix::serialized_bytes(&header)?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(size) };
        Ok(())
    })
}

/// Writes a compressed matrix to host memory in the form that flashllmSpMatDeserialize() reads: a header with
/// checksums, and the compressed buffer (docs/format-store.md). The form is the same on every machine.
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param spMatDescr  The matrix; it holds compressed data, which are read in order with the handle's stream.
/// @param[out] serialized  Host memory, bytes long, of any alignment; it does not overlap the matrix. When the
///   device fails, what it then holds is refused by flashllmSpMatDeserialize().
/// @param bytes       At least flashllmSpMatSerializedSize(); more is left as it was.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, it has no compressed data, they were
///   set with a handle of another device, or they overlap serialized;
///   FLASHLLM_STATUS_WRONG_CONTEXT: they lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: serialized is NULL;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bytes is too small;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: bytes is more than an address space holds;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer was overwritten by something else;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused.
/// @note Thread-safe. On a CUDA handle it synchronises with the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSerialize(
    handle: flashllmHandle_t,
    spMatDescr: flashllmConstSpMatDescr_t,
    serialized: *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSerialize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        if serialized.is_null() {
            return Err(null("serialized"));
        }
        crate::types::checked_add(bytes, 0, "bytes")?;
        let (header, buffer) = ready(&context, &descr)?;
        let needed = matrix::serialized_bytes(&header)?;
        if bytes < needed {
            return Err(Error::new(
                Kind::WorkspaceTooSmall,
                format!("bytes = {bytes}, and the stored matrix needs {needed}"),
            ));
        }
        if matches!(context.device(), Device::Host) {
            disjoint(
                (buffer.address, header.total_bytes as usize, "spMatDescr"),
                (serialized.addr(), needed, "serialized"),
            )?;
        }
        // SAFETY: the caller gives `bytes` writable bytes, not fewer than `needed`.
        let to = unsafe { slice::from_raw_parts_mut(serialized.cast::<u8>(), needed) };
        // SAFETY: the descriptor's buffer is the caller's live memory.
        matrix::write(&header, &mut |sink| unsafe { pieces(&context, &header, &buffer, sink) }, to)
    })
}

/// Tells from its header what a stored matrix is, so that a buffer can be allocated for it.
///
/// @param serialized  Host memory with a stored matrix or the first 256 bytes of one. Any alignment.
/// @param bytes       How many bytes there are.
/// @param[out] rows   Receives the rows (M).
/// @param[out] cols   Receives the columns (K).
/// @param[out] nnz    Receives the number of stored non-zeros.
/// @param[out] type   Receives the element type.
/// @param[out] format Receives the format.
/// @param[out] bufferBytes      Receives the bytes of the compressed buffer, for flashllmSpMatDeserialize().
/// @param[out] serializedBytes  Receives the bytes of the stored matrix.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: bytes is more than an address space holds;
///   FLASHLLM_STATUS_CORRUPT_DATA: it is not the header of a stored matrix, a damaged one, or one of sizes that no
///   matrix has;
///   FLASHLLM_STATUS_VERSION_MISMATCH: it has another version.
/// @note Thread-safe; allowed during stream capture. The header's checksum is verified, and that a matrix can
///   have these sizes (nnz is at most rows times cols, which is within 63 bits, and the bytes are those that a matrix
///   of so many rows and columns can take); whether the rest agrees with it flashllmSpMatDeserialize() finds out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetSerializedInfo(
    serialized: *const c_void,
    bytes: usize,
    rows: *mut i64,
    cols: *mut i64,
    nnz: *mut i64,
    r#type: *mut flashllmDataType_t,
    format: *mut flashllmFormat_t,
    bufferBytes: *mut usize,
    serializedBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetSerializedInfo", || {
        let outs = InfoOut::new(rows, cols, nnz, r#type, format, bufferBytes, serializedBytes)?;
        if serialized.is_null() {
            return Err(null("serialized"));
        }
        crate::types::checked_add(bytes, 0, "bytes")?;
        // SAFETY: the caller gives `bytes` readable bytes.
        let stored = unsafe { slice::from_raw_parts(serialized.cast::<u8>(), bytes) };
        let info = matrix::info(stored)?;
        // SAFETY: the caller gives valid pointers or NULL, which was refused.
        unsafe { outs.write(&info) };
        Ok(())
    })
}

/// Reads a stored matrix into the caller's buffer and describes it.
///
/// On a host handle everything is checked before the first byte is copied: header, table, checksums, and that every
/// byte agrees with the format (a checksum is no signature). A CUDA handle checks header and table before, the
/// checksum of the data while it copies them, and their agreement with a kernel, in buffer: that takes a fraction
/// of the time. Whatever the bytes are, nothing outside of them is read.
///
/// @param handle           The handle that will use the matrix.
/// @param[out] spMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroySpMat().
/// @param serialized       Host memory with the stored matrix, of any alignment; a mapped file, for example.
/// @param bytes            How many bytes there are; those behind the stored matrix are not looked at.
/// @param verify           How much is checked: FLASHLLM_VERIFY_FULL unless the bytes are trusted.
/// @param[out] buffer      Memory of the handle's device, aligned to 256 bytes, which does not overlap
///   serialized. The caller keeps it alive while the descriptor is used. Written only on success, or when a
///   device fails or what it copied is refused.
/// @param bufferBytes      Its size, at least what flashllmSpMatGetSerializedInfo() tells.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_CORRUPT_DATA: the bytes are not a stored matrix, a damaged one, or a part of one;
///   FLASHLLM_STATUS_VERSION_MISMATCH: it has another version;
///   FLASHLLM_STATUS_MISALIGNED: buffer is not aligned to 256 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bufferBytes is too small;
///   FLASHLLM_STATUS_INVALID_VALUE: verify is not an enumerator, or (host) buffer overlaps serialized;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: a size is more than an address space holds;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED,
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe. On a CUDA handle it copies in order with the stream, through pinned memory that the
///   handle keeps, and synchronises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatDeserialize(
    handle: flashllmHandle_t,
    spMatDescr: *mut flashllmSpMatDescr_t,
    serialized: *const c_void,
    bytes: usize,
    verify: RawVerify,
    buffer: *mut c_void,
    bufferBytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatDeserialize", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(spMatDescr) };
        let context = object::get::<Context>(handle, "handle")?;
        let verify = Verify::try_from(verify)?;
        let descr = out(spMatDescr, "spMatDescr")?;
        if serialized.is_null() {
            return Err(null("serialized"));
        }
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        crate::types::checked_add(bytes, 0, "bytes")?;
        // SAFETY: the caller gives `bytes` readable bytes that nobody changes during the call.
        let stored = unsafe { slice::from_raw_parts(serialized.cast::<u8>(), bytes) };
        let (all, front) = (|| matrix::read(stored, verify), || matrix::find(stored, verify));
        let found = found(&context, verify, all, front)?;
        // SAFETY: the caller gives `bufferBytes` writable bytes of the handle's device.
        let key = unsafe { place_matrix(&context, found, "serialized", buffer, bufferBytes) }?;
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Writes a compressed matrix to a file, in the form of flashllmSpMatSerialize().
///
/// It is written to a temporary file in the same folder, put on the disk, and renamed: at every moment, and
/// after a crash, path leads to the old file or to the new one, whole. A failure removes the temporary file, which
/// nobody but its owner can read.
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param spMatDescr  The matrix; it holds compressed data, which are read in order with the handle's stream.
/// @param path        The file, NUL-terminated. An existing regular file is replaced and its permissions are kept;
///   a symbolic link is followed, also to a file that does not exist. Anything else is left as it is: a folder,
///   a device, a pipe, a socket.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, it has no compressed data, they were
///   set with a handle of another device, or path names no file or leads to something other than a regular file;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the data lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: path is NULL;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be written;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer was overwritten by something else;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the stored matrix does not fit the address space;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused.
/// @note Thread-safe. On a CUDA handle it synchronises with the stream; the matrix is never in host memory as
///   a whole.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSave(
    handle: flashllmHandle_t,
    spMatDescr: flashllmConstSpMatDescr_t,
    path: *const c_char,
) -> flashllmStatus_t {
    guard("flashllmSpMatSave", || {
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let path = unsafe { self::path(path) }?;
        let (header, buffer) = ready(&context, &descr)?;
        // SAFETY: the descriptor's buffer is the caller's live memory.
        matrix::save(&header, &mut |sink| unsafe { pieces(&context, &header, &buffer, sink) }, path)
    })
}

/// Tells what the matrix in a file is, as flashllmSpMatGetSerializedInfo() does.
///
/// @param path        The file, NUL-terminated.
/// @param[out] rows   Receives the rows (M).
/// @param[out] cols   Receives the columns (K).
/// @param[out] nnz    Receives the number of stored non-zeros.
/// @param[out] type   Receives the element type.
/// @param[out] format Receives the format.
/// @param[out] bufferBytes      Receives the bytes of the compressed buffer, for flashllmSpMatLoad().
/// @param[out] serializedBytes  Receives the bytes of the stored matrix.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: path is empty;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be opened;
///   FLASHLLM_STATUS_CORRUPT_DATA: it does not begin with the header of a stored matrix, or with a damaged one or one of
///   sizes that no matrix has, or the file has fewer bytes than the header says;
///   FLASHLLM_STATUS_VERSION_MISMATCH: it has another version.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetFileInfo(
    path: *const c_char,
    rows: *mut i64,
    cols: *mut i64,
    nnz: *mut i64,
    r#type: *mut flashllmDataType_t,
    format: *mut flashllmFormat_t,
    bufferBytes: *mut usize,
    serializedBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetFileInfo", || {
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let path = unsafe { self::path(path) }?;
        let outs = InfoOut::new(rows, cols, nnz, r#type, format, bufferBytes, serializedBytes)?;
        let file = Mapped::open(path)?;
        let info = matrix::info_of_whole(file.as_ref())?;
        // SAFETY: the caller gives valid pointers or NULL, which was refused.
        unsafe { outs.write(&info) };
        Ok(())
    })
}

/// Reads the matrix in a file into the caller's buffer and describes it, as flashllmSpMatDeserialize() does.
///
/// The file is mapped, so that its bytes go from the system's cache to the buffer without a copy between.
/// Nobody may write to it or make it shorter during the call (replacing it, as flashllmSpMatSave() does, is
/// fine).
///
/// @param handle           The handle that will use the matrix.
/// @param[out] spMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroySpMat().
/// @param path             The file, NUL-terminated.
/// @param verify           How much is checked: FLASHLLM_VERIFY_FULL unless the file is trusted.
/// @param[out] buffer      Memory of the handle's device, aligned to 256 bytes. The caller keeps it alive while
///   the descriptor is used. Written only on success, or when a device fails or what it copied is
///   refused.
/// @param bufferBytes      Its size, at least what flashllmSpMatGetFileInfo() tells.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: a pointer is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: verify is not an enumerator, or path is empty;
///   FLASHLLM_STATUS_IO_ERROR: the file cannot be opened;
///   FLASHLLM_STATUS_CORRUPT_DATA: the file is not a stored matrix, a damaged one, or a part of one;
///   FLASHLLM_STATUS_VERSION_MISMATCH: it has another version;
///   FLASHLLM_STATUS_MISALIGNED: buffer is not aligned to 256 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bufferBytes is too small;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: a size is more than an address space holds;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED,
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe. On a CUDA handle it copies in order with the stream, through pinned memory that the
///   handle keeps, and synchronises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatLoad(
    handle: flashllmHandle_t,
    spMatDescr: *mut flashllmSpMatDescr_t,
    path: *const c_char,
    verify: RawVerify,
    buffer: *mut c_void,
    bufferBytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatLoad", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(spMatDescr) };
        let context = object::get::<Context>(handle, "handle")?;
        let verify = Verify::try_from(verify)?;
        // SAFETY: the caller gives a NUL-terminated string or NULL.
        let path = unsafe { self::path(path) }?;
        let descr = out(spMatDescr, "spMatDescr")?;
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        let file = Mapped::open(path)?;
        file.will_need(0..file.as_ref().len());
        let stored = file.as_ref();
        let (all, front) = (|| matrix::read(stored, verify), || matrix::find(stored, verify));
        let found = found(&context, verify, all, front)?;
        // SAFETY: the caller gives `bufferBytes` writable bytes of the handle's device.
        let key = unsafe { place_matrix(&context, found, "path", buffer, bufferBytes) }?;
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Gives the shape of the blocks that a compressed matrix consists of: flashllmSpMatSlice() cuts between them.
///
/// @param spMatDescr     The matrix, analysed or with compressed data.
/// @param[out] tileRows  Receives the rows of a block: 32 (SELL, Slots), 64 (Banked, Bitmap) or 128 (Tiled-CSL).
/// @param[out] tileCols  Receives its columns: 64 (Tiled-CSL), 256 (Banked, Bitmap, Slots) or 2048 (SELL).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, or neither analysed nor with data;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetTileSize(
    spMatDescr: flashllmConstSpMatDescr_t,
    tileRows: *mut i64,
    tileCols: *mut i64,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetTileSize", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let (rows, cols) = (out(tileRows, "tileRows")?, out(tileCols, "tileCols")?);
        let Some(tile) = descr.read(|s| s.header().map(|h| (h.tile_rows, h.tile_cols))) else {
            return Err(Error::invalid(
                "spMatDescr is neither analysed nor has it compressed data",
            ));
        };
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused; the same below.
        unsafe { rows.write(i64::from(tile.0)) };
        // SAFETY: as above.
        unsafe { cols.write(i64::from(tile.1)) };
        Ok(())
    })
}

/// The asked part of a matrix.
fn part(header: &Header, rows: (i64, i64), cols: (i64, i64)) -> Result<Part> {
    let size = |name: &str, value: i64| {
        u64::try_from(value).map_err(|_| Error::invalid(format!("{name} = {value} is negative")))
    };
    Part::new(
        header,
        size("rowBegin", rows.0)?..size("rowEnd", rows.1)?,
        size("colBegin", cols.0)?..size("colEnd", cols.1)?,
    )
}

/// Tells how large the compressed buffer of a part of a matrix is.
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param spMatDescr  The whole matrix; it holds compressed data.
/// @param rowBegin    First row of the part: a multiple of the tile (flashllmSpMatGetTileSize()).
/// @param rowEnd      One past its last row: a multiple of the tile, or the matrix's rows.
/// @param colBegin    First column of the part: a multiple of the tile.
/// @param colEnd      One past its last column: a multiple of the tile, or the matrix's columns.
/// @param[out] bytes  Receives the size in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, it has no compressed data, they were
///   set with a handle of another device, or the part is empty, not inside the matrix, or not of whole tiles;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the data lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: bytes is NULL;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer was overwritten by something else;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused.
/// @note Thread-safe. On a CUDA handle it copies the matrix's table and synchronises with the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSlice_bufferSize(
    handle: flashllmHandle_t,
    spMatDescr: flashllmConstSpMatDescr_t,
    rowBegin: i64,
    rowEnd: i64,
    colBegin: i64,
    colEnd: i64,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSlice_bufferSize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let bytes = out(bytes, "bytes")?;
        let (header, buffer) = ready(&context, &descr)?;
        let part = part(&header, (rowBegin, rowEnd), (colBegin, colEnd))?;
        let size = match context.device() {
            Device::Host => {
                // SAFETY: the descriptor's buffer is the caller's live memory.
                let whole = unsafe { host_buffer(&header, &buffer) };
                same_header(&header, whole)?;
                slice_bytes_host(
                    whole,
                    rowBegin as u64..rowEnd as u64,
                    colBegin as u64..colEnd as u64,
                )?
            }
            // SAFETY: the same, in device memory of this context.
            Device::Cuda(cuda) => unsafe {
                gpu::convert::slice_bytes(cuda, context.stream(), &part, &header, buffer.address)
            }?,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(size) };
        Ok(())
    })
}

/// Refuses a buffer that something else was written to since it was set.
fn same_header(header: &Header, buffer: &[u8]) -> Result<()> {
    if format::parse_header(buffer).as_ref() == Ok(header) {
        return Ok(());
    }
    Err(Error::new(
        Kind::CorruptData,
        "the buffer is not the one that the descriptor has: its header was overwritten",
    ))
}

/// Makes a compressed matrix of some rows and columns of another one, for tensor parallelism.
///
/// Whole blocks are copied, nothing is compressed again; the part has the format, tile and order of the whole.
/// C = A B is the rows' parts below each other, or the sum of the columns' parts times their rows of B. To
/// compress a shard in the first place, describe the part of the dense weight (values at its first element,
/// the whole weight's ld) and convert that: no copy of the weight is needed.
///
/// @param handle      The handle that the matrix's buffer was set with, or another of the same device.
/// @param spMatDescr  The whole matrix; it holds compressed data, which are read in order with the handle's
///   stream.
/// @param rowBegin    First row of the part: a multiple of the tile (flashllmSpMatGetTileSize()).
/// @param rowEnd      One past its last row: a multiple of the tile, or the matrix's rows.
/// @param colBegin    First column of the part: a multiple of the tile.
/// @param colEnd      One past its last column: a multiple of the tile, or the matrix's columns.
/// @param[out] partDescr  Receives the part's descriptor; NULL on failure. The caller owns it:
///   flashllmDestroySpMat(). It is independent of the whole matrix.
/// @param[out] buffer     Memory of the handle's device, aligned to 256 bytes, which does not overlap the
///   matrix. The caller keeps it alive while the part is used. Written only on success, or when the device
///   fails, or the matrix's own data turn out to be damaged.
/// @param bufferBytes     Its size, at least what flashllmSpMatSlice_bufferSize() tells.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, it has no compressed data, they were
///   set with a handle of another device, the part is empty, not inside the matrix, or not of whole tiles, or
///   buffer overlaps the matrix;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the data lie in another CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: partDescr or buffer is NULL;
///   FLASHLLM_STATUS_MISALIGNED: buffer is not aligned to 256 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: bufferBytes is too small;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: bufferBytes is more than an address space holds;
///   FLASHLLM_STATUS_CORRUPT_DATA: the matrix's buffer was overwritten by something else;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused.
/// @note Thread-safe. On a CUDA handle it stages the part's rows in host memory and synchronises with the
///   stream; a weight is cut once, so nothing is kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSlice(
    handle: flashllmHandle_t,
    spMatDescr: flashllmConstSpMatDescr_t,
    rowBegin: i64,
    rowEnd: i64,
    colBegin: i64,
    colEnd: i64,
    partDescr: *mut flashllmSpMatDescr_t,
    buffer: *mut c_void,
    bufferBytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSlice", || {
        // SAFETY: the caller gives a valid pointer or NULL.
        unsafe { clear(partDescr) };
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let result = out(partDescr, "partDescr")?;
        let (header, whole) = ready(&context, &descr)?;
        let part = part(&header, (rowBegin, rowEnd), (colBegin, colEnd))?;
        check_target(buffer, bufferBytes, 0)?;
        disjoint(
            (whole.address, header.total_bytes as usize, "spMatDescr"),
            (buffer.addr(), bufferBytes, "buffer"),
        )?;
        let written = match context.device() {
            Device::Host => {
                // SAFETY: the descriptor's buffer is the caller's live memory.
                let from = unsafe { host_buffer(&header, &whole) };
                same_header(&header, from)?;
                let (rows, cols) = (rowBegin as u64..rowEnd as u64, colBegin as u64..colEnd as u64);
                let needed = slice_bytes_host(from, rows.clone(), cols.clone())?;
                check_target(buffer, bufferBytes, needed)?;
                // SAFETY: the caller gives `bufferBytes` writable bytes, not fewer than `needed`, and they do
                // not overlap the whole matrix.
                let to = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), needed) };
                slice_host(from, rows, cols, to)?
            }
            // SAFETY: the same, in device memory of this context.
            Device::Cuda(cuda) => unsafe {
                gpu::convert::slice(
                    cuda,
                    context.stream(),
                    &part,
                    &header,
                    whole.address,
                    buffer.addr(),
                    bufferBytes,
                )
            }?,
        };
        let key = adopt(&context, written, buffer, bufferBytes, describe(&written)?);
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { result.write(key) };
        Ok(())
    })
}
