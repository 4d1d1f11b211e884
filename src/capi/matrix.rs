//! Matrix descriptors.

use std::ffi::c_void;
use std::ptr;

use super::context::place;
use super::guard::{aligned, guard, null, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{
    RawDataType, RawFormat, RawOrder, RawPreference, RawSpMatAttribute, flashllmConstDnMatDescr_t,
    flashllmConstSpMatDescr_t, flashllmDataType_t, flashllmDnMatDescr_t, flashllmFormat_t,
    flashllmHandle_t, flashllmOrder_t, flashllmPreference_t, flashllmSpMatAttribute_t,
    flashllmSpMatDescr_t, requested_format,
};
use crate::descr::{Buffer, DnMat, SpMat, Stage};
use crate::error::{Error, Kind, Result};
use crate::handle::{Context, Device};
use crate::types::{DType, Order, Preference};
use crate::{format, gpu};

/// Bytes that a compressed buffer's address must be a multiple of.
const BUFFER_ALIGNMENT: usize = 256;

/// Describes a dense matrix in the caller's memory.
///
/// @param[out] dnMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroyDnMat().
/// @param rows    Rows, at least 0.
/// @param cols    Columns, at least 0.
/// @param ld      Leading dimension in elements: at least rows (column-major) or cols (row-major).
/// @param values  Element (0, 0), aligned to the element's size; host or device memory to suit the handle
///   it will be used with. The caller keeps it alive while the descriptor is used. May be NULL only if
///   rows or cols is 0.
/// @param type    FLASHLLM_R_16F, FLASHLLM_R_16BF or FLASHLLM_R_32F.
/// @param order   Memory order.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: dnMatDescr is NULL, or values is and the matrix is not empty;
///   FLASHLLM_STATUS_INVALID_VALUE: type or order is not an enumerator, a dimension is negative, or ld is
///   too small;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the matrix does not fit the address space;
///   FLASHLLM_STATUS_MISALIGNED: values is not aligned to the element's size.
/// @note Thread-safe; allowed during stream capture. values is not accessed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreateDnMat(
    dnMatDescr: *mut flashllmDnMatDescr_t,
    rows: i64,
    cols: i64,
    ld: i64,
    values: *mut c_void,
    r#type: RawDataType,
    order: RawOrder,
) -> flashllmStatus_t {
    guard("flashllmCreateDnMat", || {
        let descr = out(dnMatDescr, "dnMatDescr")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { descr.write(ptr::null_mut()) };
        let dtype = DType::try_from(r#type)?;
        let order = Order::try_from(order)?;
        let key = object::insert(DnMat::new(
            rows,
            cols,
            ld,
            order,
            dtype,
            values.expose_provenance(),
            false,
        )?);
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Describes a dense matrix that is only read. As flashllmCreateDnMat(), for values that are const.
///
/// @param[out] dnMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroyDnMat().
/// @param rows    Rows, at least 0.
/// @param cols    Columns, at least 0.
/// @param ld      Leading dimension in elements: at least rows (column-major) or cols (row-major).
/// @param values  Element (0, 0), aligned to the element's size. The caller keeps it alive while the
///   descriptor is used. May be NULL only if rows or cols is 0.
/// @param type    FLASHLLM_R_16F, FLASHLLM_R_16BF or FLASHLLM_R_32F.
/// @param order   Memory order.
/// @return As flashllmCreateDnMat().
/// @note Thread-safe; allowed during stream capture. values is not accessed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreateConstDnMat(
    dnMatDescr: *mut flashllmConstDnMatDescr_t,
    rows: i64,
    cols: i64,
    ld: i64,
    values: *const c_void,
    r#type: RawDataType,
    order: RawOrder,
) -> flashllmStatus_t {
    guard("flashllmCreateConstDnMat", || {
        let descr = out(dnMatDescr, "dnMatDescr")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { descr.write(ptr::null()) };
        let dtype = DType::try_from(r#type)?;
        let order = Order::try_from(order)?;
        let key = object::insert(DnMat::new(
            rows,
            cols,
            ld,
            order,
            dtype,
            values.expose_provenance(),
            true,
        )?);
        // SAFETY: as above.
        unsafe { descr.write(key.cast_const()) };
        Ok(())
    })
}

/// Destroys a dense matrix descriptor. The values are the caller's and stay.
///
/// @param dnMatDescr  The descriptor, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, or destroyed already.
/// @note Thread-safe; allowed during stream capture. Work that was launched with it does not need it any
///   more.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDestroyDnMat(dnMatDescr: flashllmConstDnMatDescr_t) -> flashllmStatus_t {
    guard("flashllmDestroyDnMat", || {
        if !dnMatDescr.is_null() {
            drop(object::remove::<DnMat>(dnMatDescr, "dnMatDescr")?);
        }
        Ok(())
    })
}

/// The values of a descriptor that may be written through.
fn writable(descr: &DnMat, name: &str) -> Result<()> {
    if descr.read_only() {
        return Err(Error::invalid(format!(
            "{name} was made by flashllmCreateConstDnMat: its values are const"
        )));
    }
    Ok(())
}

/// Gives everything that a dense matrix descriptor says.
///
/// @param dnMatDescr   The descriptor, made by flashllmCreateDnMat().
/// @param[out] rows    Receives the rows.
/// @param[out] cols    Receives the columns.
/// @param[out] ld      Receives the leading dimension in elements.
/// @param[out] values  Receives the address of element (0, 0).
/// @param[out] type    Receives the element type.
/// @param[out] order   Receives the memory order.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, or one with const values;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDnMatGet(
    dnMatDescr: flashllmDnMatDescr_t,
    rows: *mut i64,
    cols: *mut i64,
    ld: *mut i64,
    values: *mut *mut c_void,
    r#type: *mut flashllmDataType_t,
    order: *mut flashllmOrder_t,
) -> flashllmStatus_t {
    guard("flashllmDnMatGet", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        writable(&descr, "dnMatDescr")?;
        // SAFETY: the caller gives valid pointers or NULL, which is refused.
        unsafe { get_dense(&descr, rows, cols, ld, values.cast(), r#type, order) }
    })
}

/// Gives everything that a dense matrix descriptor says, with the values as const.
///
/// @param dnMatDescr   The descriptor.
/// @param[out] rows    Receives the rows.
/// @param[out] cols    Receives the columns.
/// @param[out] ld      Receives the leading dimension in elements.
/// @param[out] values  Receives the address of element (0, 0).
/// @param[out] type    Receives the element type.
/// @param[out] order   Receives the memory order.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmConstDnMatGet(
    dnMatDescr: flashllmConstDnMatDescr_t,
    rows: *mut i64,
    cols: *mut i64,
    ld: *mut i64,
    values: *mut *const c_void,
    r#type: *mut flashllmDataType_t,
    order: *mut flashllmOrder_t,
) -> flashllmStatus_t {
    guard("flashllmConstDnMatGet", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        // SAFETY: the caller gives valid pointers or NULL, which is refused.
        unsafe { get_dense(&descr, rows, cols, ld, values, r#type, order) }
    })
}

/// # Safety
/// Each pointer must be NULL or valid for one write.
unsafe fn get_dense(
    descr: &DnMat,
    rows: *mut i64,
    cols: *mut i64,
    ld: *mut i64,
    values: *mut *const c_void,
    dtype: *mut flashllmDataType_t,
    order: *mut flashllmOrder_t,
) -> Result<()> {
    let (rows, cols, ld) = (out(rows, "rows")?, out(cols, "cols")?, out(ld, "ld")?);
    let (values, dtype, order) =
        (out(values, "values")?, out(dtype, "type")?, out(order, "order")?);
    let layout = descr.layout();
    // SAFETY: valid by the caller's contract, here and below.
    unsafe { rows.write(layout.rows as i64) };
    // SAFETY: as above.
    unsafe { cols.write(layout.cols as i64) };
    // SAFETY: as above.
    unsafe { ld.write(layout.ld as i64) };
    // SAFETY: as above.
    unsafe { values.write(ptr::with_exposed_provenance(descr.view().values)) };
    // SAFETY: as above.
    unsafe { dtype.write(descr.dtype().into()) };
    // SAFETY: as above.
    unsafe { order.write(layout.order.into()) };
    Ok(())
}

/// Gives the address of a dense matrix's values.
///
/// @param dnMatDescr   The descriptor, made by flashllmCreateDnMat().
/// @param[out] values  Receives the address of element (0, 0).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, or one with const values;
///   FLASHLLM_STATUS_NULL_POINTER: values is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDnMatGetValues(
    dnMatDescr: flashllmDnMatDescr_t,
    values: *mut *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmDnMatGetValues", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        writable(&descr, "dnMatDescr")?;
        let values = out(values, "values")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { values.write(ptr::with_exposed_provenance_mut(descr.view().values)) };
        Ok(())
    })
}

/// Gives the address of a dense matrix's values as const.
///
/// @param dnMatDescr   The descriptor.
/// @param[out] values  Receives the address of element (0, 0).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: values is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmConstDnMatGetValues(
    dnMatDescr: flashllmConstDnMatDescr_t,
    values: *mut *const c_void,
) -> flashllmStatus_t {
    guard("flashllmConstDnMatGetValues", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        let values = out(values, "values")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { values.write(ptr::with_exposed_provenance(descr.view().values)) };
        Ok(())
    })
}

/// Points a dense matrix descriptor to other values of the same shape, order and type.
///
/// @param dnMatDescr  The descriptor, made by flashllmCreateDnMat().
/// @param values      Element (0, 0), as for flashllmCreateDnMat().
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, or one with const values;
///   FLASHLLM_STATUS_NULL_POINTER: values is NULL and the matrix is not empty;
///   FLASHLLM_STATUS_MISALIGNED: values is not aligned to the element's size.
/// @note Allowed during stream capture: work that was captured before keeps the old address. Calling it
///   while another thread uses the descriptor is memory-safe; which address that call takes is unspecified.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDnMatSetValues(
    dnMatDescr: flashllmDnMatDescr_t,
    values: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmDnMatSetValues", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        writable(&descr, "dnMatDescr")?;
        descr.set_values(values.expose_provenance())
    })
}

/// Describes a compressed matrix that has no buffer yet.
///
/// There are two ways on. To compress a dense matrix: flashllmDenseToSparse_analysis(),
/// flashllmSpMatGetSize(), allocate, flashllmSpMatSetBuffer(), flashllmDenseToSparse_convert(). To use a
/// buffer that was compressed before (read from a file, say): flashllmSpMatSetBuffer() alone.
///
/// @param[out] spMatDescr  Receives the descriptor; NULL on failure. The caller owns it:
///   flashllmDestroySpMat().
/// @param rows    Rows (M), at least 1.
/// @param cols    Columns (K), at least 1.
/// @param type    FLASHLLM_R_16F or FLASHLLM_R_16BF.
/// @param format  The format, or FLASHLLM_FORMAT_AUTO: chosen by the analysis, or the adopted buffer's.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: spMatDescr is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: type or format is not an enumerator, or a dimension is not positive;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: type is FLASHLLM_R_32F;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the dense matrix would not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreateSpMat(
    spMatDescr: *mut flashllmSpMatDescr_t,
    rows: i64,
    cols: i64,
    r#type: RawDataType,
    format: RawFormat,
) -> flashllmStatus_t {
    guard("flashllmCreateSpMat", || {
        let descr = out(spMatDescr, "spMatDescr")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { descr.write(ptr::null_mut()) };
        let dtype = DType::try_from(r#type)?;
        let format = requested_format(format)?;
        let key = object::insert(SpMat::new(rows, cols, dtype, format)?);
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Destroys a compressed matrix descriptor. The buffer is the caller's and stays, and so does the
/// compressed matrix in it.
///
/// @param spMatDescr  The descriptor, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, or destroyed already.
/// @note Thread-safe; allowed during stream capture. Work that was launched with it does not need it any
///   more, but does need the buffer.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDestroySpMat(spMatDescr: flashllmConstSpMatDescr_t) -> flashllmStatus_t {
    guard("flashllmDestroySpMat", || {
        if !spMatDescr.is_null() {
            drop(object::remove::<SpMat>(spMatDescr, "spMatDescr")?);
        }
        Ok(())
    })
}

/// Gives the size of a compressed matrix.
///
/// @param spMatDescr  The descriptor.
/// @param[out] rows   Receives the rows (M).
/// @param[out] cols   Receives the columns (K).
/// @param[out] nnz    Receives the number of stored non-zeros, without padding; 0 before the analysis or the
///   adoption of a buffer.
/// @param[out] bytes  Receives the exact size of the compressed buffer in bytes; 0 before.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetSize(
    spMatDescr: flashllmConstSpMatDescr_t,
    rows: *mut i64,
    cols: *mut i64,
    nnz: *mut i64,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetSize", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let (rows, cols) = (out(rows, "rows")?, out(cols, "cols")?);
        let (nnz, bytes) = (out(nnz, "nnz")?, out(bytes, "bytes")?);
        let (stored, size) = descr.read(|s| s.header().map_or((0, 0), |h| (h.nnz, h.total_bytes)));
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused; the same below.
        unsafe { rows.write(descr.rows() as i64) };
        // SAFETY: as above.
        unsafe { cols.write(descr.cols() as i64) };
        // SAFETY: as above.
        unsafe { nnz.write(stored as i64) };
        // SAFETY: as above.
        unsafe { bytes.write(size as usize) };
        Ok(())
    })
}

/// Gives the format of a compressed matrix.
///
/// @param spMatDescr   The descriptor.
/// @param[out] format  Receives the format; FLASHLLM_FORMAT_AUTO as long as that was asked for and neither
///   an analysis nor an adopted buffer has decided.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: format is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetFormat(
    spMatDescr: flashllmConstSpMatDescr_t,
    format: *mut flashllmFormat_t,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetFormat", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let format = out(format, "format")?;
        let known = descr.read(|s| s.header().map(|h| h.format)).or(descr.requested());
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { format.write(known.into()) };
        Ok(())
    })
}

/// Gives a compressed matrix its buffer.
///
/// After flashllmDenseToSparse_analysis() the buffer is where flashllmDenseToSparse_convert() will write;
/// its contents do not matter. Otherwise the buffer holds a compressed matrix, which is checked byte by
/// byte and then used in place: a buffer that is accepted cannot make a later call read or write outside
/// it. On a CUDA handle kernels check it where it lies, and the stream is synchronised; only a buffer that is
/// refused is copied to host memory, to say what is wrong with it.
///
/// @param handle      The handle with whose kind of memory the buffer is made; the matrix can be used with
///   handles of the same device and CUDA context only.
/// @param spMatDescr  The descriptor.
/// @param buffer      The memory, aligned to 256 bytes. The caller keeps owning it, and keeps it alive and
///   unchanged while the descriptor or work launched with it uses it.
/// @param bytes       Its size in bytes: at least what flashllmSpMatGetSize() says after an analysis, or
///   the size of the compressed matrix in it.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, or the buffer holds a matrix of
///   another shape or format than the descriptor's;
///   FLASHLLM_STATUS_NULL_POINTER: buffer is NULL;
///   FLASHLLM_STATUS_MISALIGNED: buffer is not aligned to 256 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: after an analysis, bytes is less than the size it found;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer does not hold a valid compressed matrix, or only a part of it;
///   FLASHLLM_STATUS_VERSION_MISMATCH: the buffer has another format version;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the buffer holds another element type;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: bytes is more than an address space holds;
///   FLASHLLM_STATUS_ALLOC_FAILED: no memory for the check of the buffer;
///   FLASHLLM_STATUS_NOT_SUPPORTED: a device buffer has to be checked and the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused. On failure the descriptor is as it was.
/// @note Not concurrently with another use of the descriptor (memory-safe, but the order is unspecified).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSetBuffer(
    handle: flashllmHandle_t,
    spMatDescr: flashllmSpMatDescr_t,
    buffer: *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSetBuffer", || {
        let context = object::get::<Context>(handle, "handle")?;
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        if buffer.is_null() {
            return Err(null("buffer"));
        }
        aligned(buffer.addr(), BUFFER_ALIGNMENT, "buffer")?;
        crate::types::checked_add(bytes, 0, "bytes")?;
        let given = Buffer { address: buffer.expose_provenance(), bytes, place: place(&context) };
        descr.update(|state| {
            if let Stage::Analysed(analysis) = &state.stage {
                if bytes < analysis.bytes() {
                    return Err(Error::new(
                        Kind::WorkspaceTooSmall,
                        format!(
                            "bytes = {bytes}, and the compressed matrix needs {}",
                            analysis.bytes()
                        ),
                    ));
                }
                state.buffer = Some(given);
                return Ok(());
            }
            let header = match context.device() {
                Device::Host => {
                    // SAFETY: the caller gives `bytes` readable bytes at `buffer`, and nobody writes to
                    // them during the call.
                    let slice = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), bytes) };
                    format::validate(slice)?
                }
                Device::Cuda(cuda) => {
                    // SAFETY: the caller gives `bytes` bytes of this context's device memory.
                    unsafe { gpu::convert::validate(cuda, context.stream(), buffer, bytes) }?
                }
            };
            descr.accepts(&header)?;
            state.stage = Stage::Ready(header);
            state.buffer = Some(given);
            Ok(())
        })
    })
}

/// Gives the buffer of a compressed matrix.
///
/// @param spMatDescr   The descriptor.
/// @param[out] buffer  Receives the address; NULL if none is set.
/// @param[out] bytes   Receives the size that the caller gave; 0 if none is set.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetBuffer(
    spMatDescr: flashllmConstSpMatDescr_t,
    buffer: *mut *mut c_void,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetBuffer", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let (buffer, bytes) = (out(buffer, "buffer")?, out(bytes, "bytes")?);
        let (address, size) = descr.read(|s| s.buffer.map_or((0, 0), |b| (b.address, b.bytes)));
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused; the same below.
        unsafe { buffer.write(ptr::with_exposed_provenance_mut(address)) };
        // SAFETY: as above.
        unsafe { bytes.write(size) };
        Ok(())
    })
}

/// INVALID_VALUE unless an attribute's buffer has the size of its type.
fn attribute_size(bytes: usize) -> Result<()> {
    if bytes == size_of::<i32>() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "bytes = {bytes}, and the attribute is an int32_t of {} bytes",
        size_of::<i32>()
    )))
}

/// Reads an attribute of a compressed matrix.
///
/// @param spMatDescr  The descriptor.
/// @param attribute   Which one.
/// @param[out] data   Receives the value; its type is at flashllmSpMatAttribute_t. Any alignment.
/// @param bytes       Size of that type in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, attribute is not an enumerator, or
///   bytes is not the size of its type;
///   FLASHLLM_STATUS_NULL_POINTER: data is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatGetAttribute(
    spMatDescr: flashllmConstSpMatDescr_t,
    attribute: RawSpMatAttribute,
    data: *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatGetAttribute", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let attribute = flashllmSpMatAttribute_t::try_from(attribute)?;
        let data = out(data.cast::<i32>(), "data")?;
        attribute_size(bytes)?;
        let value = descr.read(|s| match attribute {
            flashllmSpMatAttribute_t::FLASHLLM_SPMAT_TILED_CSL_REORDER => i32::from(s.reorder),
            flashllmSpMatAttribute_t::FLASHLLM_SPMAT_PREFERENCE => {
                flashllmPreference_t::from(s.preference) as i32
            }
        });
        // SAFETY: the caller gives `bytes` = 4 writable bytes or NULL, which `out` has refused.
        unsafe { data.write(value) };
        Ok(())
    })
}

/// Sets an attribute of a compressed matrix; the next flashllmDenseToSparse_analysis() uses it.
///
/// @param spMatDescr  The descriptor.
/// @param attribute   Which one.
/// @param data        The value; its type and range are at flashllmSpMatAttribute_t. Any alignment. Host
///   memory, read before the call returns; not written.
/// @param bytes       Size of that type in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix descriptor, attribute is not an enumerator,
///   bytes is not the size of its type, or the value is out of range;
///   FLASHLLM_STATUS_NULL_POINTER: data is NULL.
/// @note Allowed during stream capture. Not concurrently with an analysis of the same matrix.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMatSetAttribute(
    spMatDescr: flashllmSpMatDescr_t,
    attribute: RawSpMatAttribute,
    data: *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMatSetAttribute", || {
        let descr = object::get::<SpMat>(spMatDescr, "spMatDescr")?;
        let attribute = flashllmSpMatAttribute_t::try_from(attribute)?;
        if data.is_null() {
            return Err(null("data"));
        }
        attribute_size(bytes)?;
        // SAFETY: the caller gives `bytes` = 4 readable bytes; no alignment is assumed.
        let value = unsafe { data.cast::<i32>().read_unaligned() };
        let wrong = |range: &str| Error::invalid(format!("{attribute:?} = {value} is {range}"));
        match attribute {
            flashllmSpMatAttribute_t::FLASHLLM_SPMAT_TILED_CSL_REORDER => {
                let flag = match value {
                    0 => false,
                    1 => true,
                    _ => return Err(wrong("neither 0 nor 1")),
                };
                descr.update(|s| s.reorder = flag);
            }
            flashllmSpMatAttribute_t::FLASHLLM_SPMAT_PREFERENCE => {
                let preference = Preference::try_from(RawPreference(value))
                    .map_err(|_| wrong("not a flashllmPreference_t"))?;
                descr.update(|s| s.preference = preference);
            }
        }
        Ok(())
    })
}
