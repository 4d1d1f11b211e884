//! CSR matrices and their compression.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::context::place;
use super::convert::{disjoint, fits, scratch, to_sparse};
use super::guard::{guard, host_slice, host_slice_mut, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{
    RawDataType, RawDenseToSparseAlg, checked, flashllmHandle_t, flashllmSpMatDescr_t,
};
use crate::descr::{CsrMat, Origin, Stage};
use crate::error::{Error, Result};
use crate::format;
use crate::format::csr::{Csr, Indices};
use crate::gpu;
use crate::handle::Device;
use crate::plan::convert::CsrWorkspace;
use crate::types::{DType, DenseLayout, Order, checked_mul, zeros};

/// Opaque object behind flashllmCsrDescr_t.
#[repr(C)]
pub struct flashllmCsrDescr {
    _private: [u8; 0],
}

/// A matrix in compressed sparse rows in the caller's memory, as a source of weights. A key, as flashllmHandle_t.
pub type flashllmCsrDescr_t = *mut flashllmCsrDescr;

/// Types of indices. The numbers are cuSPARSE's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmIndexType_t {
    /// int32_t.
    FLASHLLM_INDEX_32I = 2,
    /// int64_t.
    FLASHLLM_INDEX_64I = 3,
}

/// What indices begin with. The numbers are cuSPARSE's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmIndexBase_t {
    /// The first row, column and element is 0.
    FLASHLLM_INDEX_BASE_ZERO = 0,
    /// The first row, column and element is 1.
    FLASHLLM_INDEX_BASE_ONE = 1,
}

/// flashllmIndexType_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawIndexType(pub c_int);

/// flashllmIndexBase_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawIndexBase(pub c_int);

checked!(RawIndexType => flashllmIndexType_t: FLASHLLM_INDEX_32I, FLASHLLM_INDEX_64I);
checked!(RawIndexBase => flashllmIndexBase_t: FLASHLLM_INDEX_BASE_ZERO, FLASHLLM_INDEX_BASE_ONE);

fn index_bytes(raw: RawIndexType) -> Result<usize> {
    Ok(match flashllmIndexType_t::try_from(raw)? {
        flashllmIndexType_t::FLASHLLM_INDEX_32I => 4,
        flashllmIndexType_t::FLASHLLM_INDEX_64I => 8,
    })
}

/// Describes a matrix in compressed sparse rows. Its memory is the caller's, is only read, and must live as long as
/// it is used; the indices are checked where they are used. Ends with flashllmDestroyCsr().
///
/// @param[out] csrDescr   Receives the descriptor; NULL on failure. The caller owns it.
/// @param rows            Rows (M), at least 1.
/// @param cols            Columns (K), at least 1.
/// @param nnz             Stored elements, 0 to rows * cols.
/// @param rowOffsets      rows + 1 offsets: row r is the elements rowOffsets[r] to rowOffsets[r + 1] - 1.
/// @param colIndices      nnz columns, in each row ascending; may be NULL if nnz is 0.
/// @param values          nnz elements; may be NULL if nnz is 0. A stored zero is no element of the compressed matrix.
/// @param rowOffsetsType  Type of the offsets.
/// @param colIndType      Type of the columns.
/// @param idxBase         What both begin with.
/// @param valueType       FLASHLLM_R_16F or FLASHLLM_R_16BF.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: csrDescr is NULL, or an array is that must not be;
///   FLASHLLM_STATUS_INVALID_VALUE: a type or the base is not an enumerator, or a size is out of its range;
///   FLASHLLM_STATUS_MISALIGNED: an array is not aligned to its elements;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: valueType is FLASHLLM_R_32F;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the matrix would not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreateCsr(
    csrDescr: *mut flashllmCsrDescr_t,
    rows: i64,
    cols: i64,
    nnz: i64,
    rowOffsets: *const c_void,
    colIndices: *const c_void,
    values: *const c_void,
    rowOffsetsType: RawIndexType,
    colIndType: RawIndexType,
    idxBase: RawIndexBase,
    valueType: RawDataType,
) -> flashllmStatus_t {
    guard("flashllmCreateCsr", || {
        let descr = out(csrDescr, "csrDescr")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { descr.write(ptr::null_mut()) };
        let (offset_bytes, column_bytes) = (index_bytes(rowOffsetsType)?, index_bytes(colIndType)?);
        let base = match flashllmIndexBase_t::try_from(idxBase)? {
            flashllmIndexBase_t::FLASHLLM_INDEX_BASE_ZERO => 0,
            flashllmIndexBase_t::FLASHLLM_INDEX_BASE_ONE => 1,
        };
        let dtype = DType::try_from(valueType)?;
        let csr = CsrMat::new(
            (rows, cols, nnz),
            (rowOffsets.expose_provenance(), offset_bytes),
            (colIndices.expose_provenance(), column_bytes),
            values.expose_provenance(),
            base,
            dtype,
        )?;
        let key = object::insert(csr);
        // SAFETY: as above.
        unsafe { descr.write(key) };
        Ok(())
    })
}

/// Destroys a CSR descriptor. The arrays are the caller's and stay.
///
/// @param csrDescr  The descriptor, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a CSR matrix descriptor, or destroyed already.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDestroyCsr(csrDescr: flashllmCsrDescr_t) -> flashllmStatus_t {
    guard("flashllmDestroyCsr", || {
        if !csrDescr.is_null() {
            drop(object::remove::<CsrMat>(csrDescr, "csrDescr")?);
        }
        Ok(())
    })
}

/// # Safety
/// As [`host_slice`].
unsafe fn indices<'a>(address: usize, bytes: usize, count: usize) -> Indices<'a> {
    if bytes == 8 {
        // SAFETY: the caller's contract.
        return Indices::I64(unsafe { host_slice(address, count) });
    }
    // SAFETY: as above.
    Indices::I32(unsafe { host_slice(address, count) })
}

/// The matrix made dense, after all its indices have been checked.
///
/// # Safety
/// The descriptor's arrays must be readable host memory, unchanged during the call.
unsafe fn expand(csr: &CsrMat) -> Result<(DenseLayout, Vec<u16>)> {
    let shape = csr.shape();
    // SAFETY: the caller's contract, for this and the next two.
    let offsets = unsafe { indices(csr.offsets(), csr.offset_bytes(), shape.rows + 1) };
    // SAFETY: as above.
    let columns = unsafe { indices(csr.columns(), csr.column_bytes(), shape.nnz) };
    // SAFETY: as above.
    let values = unsafe { host_slice(csr.values(), shape.nnz) };
    let matrix = Csr { shape, offsets, columns, values };
    matrix.check()?;
    let layout = DenseLayout::new(shape.rows, shape.cols, shape.cols, Order::Row)?;
    let count = checked_mul(shape.rows, shape.cols, "rows x cols")?;
    let mut dense = zeros(count, "the dense matrix")?;
    matrix.expand(&mut dense)?;
    Ok((layout, dense))
}

/// Tells how much workspace the compression of a CSR matrix needs.
///
/// @param handle              The handle.
/// @param matA                The CSR matrix.
/// @param matB                The compressed matrix.
/// @param alg                 FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param[out] workspaceBytes Receives the size in bytes: 0 on a host handle, else that of some of the dense rows,
///   64 MiB or 128 rows.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, or the
///   shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER: workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the element types differ;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the workspace would not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCsrToSparse_bufferSize(
    handle: flashllmHandle_t,
    matA: flashllmCsrDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmCsrToSparse_bufferSize", || {
        let (context, csr, sparse) = to_sparse::<CsrMat>(handle, matA, matB, alg)?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        fits(("matA", csr.typed_shape()), ("matB", sparse.typed_shape()))?;
        let need = match context.device() {
            Device::Host => 0,
            Device::Cuda(_) => {
                CsrWorkspace::new(sparse.rows(), sparse.cols(), sparse.requested())?.bytes
            }
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Checks every index of a CSR matrix, and finds the format, the number of non-zeros and the exact size of it
/// compressed, as flashllmDenseToSparse_analysis() does for a dense matrix. Synchronises the handle's stream.
///
/// @param handle     The handle.
/// @param matA       The CSR matrix, in memory of the handle's device.
/// @param matB       The compressed matrix, of the same shape.
/// @param alg        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param workspace  Memory of the handle's device of the size that flashllmCsrToSparse_bufferSize() says, aligned
///   to 256 bytes; NULL if that is 0. flashllmCsrToSparse_convert() needs it as the analysis left it.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, the shapes
///   differ, or an index is wrong: row offsets that fall, do not begin with the base or do not end after nnz
///   elements, columns that are negative, too large, not ascending or there twice;
///   FLASHLLM_STATUS_NULL_POINTER, FLASHLLM_STATUS_MISALIGNED: a workspace is needed, and it is NULL or not
///   aligned to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the element types differ;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the compressed matrix would not fit its format's offsets;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the dense matrix or for its blocks (host handle);
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused. On failure matB is as it was.
/// @note Not concurrently with another use of matB (memory-safe, but the order is unspecified).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCsrToSparse_analysis(
    handle: flashllmHandle_t,
    matA: flashllmCsrDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmCsrToSparse_analysis", || {
        let (context, csr, sparse) = to_sparse::<CsrMat>(handle, matA, matB, alg)?;
        fits(("matA", csr.typed_shape()), ("matB", sparse.typed_shape()))?;
        let scratch = scratch(&context, workspace)?;
        sparse.update(|state| {
            let options = sparse.encode_options(state);
            let analysis = match context.device() {
                Device::Host => {
                    // SAFETY: the caller's descriptor describes readable host memory.
                    let (layout, dense) = unsafe { expand(&csr) }?;
                    format::analyse(&layout, &dense, &options)?
                }
                Device::Cuda(cuda) => {
                    // SAFETY: the descriptor and the workspace are as the documentation asks of the caller.
                    unsafe { gpu::csr::analyse(cuda, context.stream(), &csr, &options, scratch) }?
                }
            };
            let analysis = analysis.of_type(sparse.dtype());
            state.set_analysed(analysis, place(&context), Origin::Csr, scratch);
            Ok(())
        })
    })
}

/// Writes the compressed matrix of a CSR matrix to the buffer that flashllmSpMatSetBuffer() gave after
/// flashllmCsrToSparse_analysis(). Then the matrix is ready for flashllmSpMM().
///
/// On a CUDA handle the work is put on the handle's stream and not waited for: the arrays, the buffer and the
/// workspace must live until it is done.
///
/// @param handle     The handle.
/// @param matA       The CSR matrix, unchanged since the analysis. Elements whose indices have become wrong are left
///   out on a CUDA handle, and refused on a host handle.
/// @param matB       The compressed matrix, analysed and with a buffer.
/// @param alg        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param workspace  On a CUDA handle the workspace of the analysis, with the contents that it left there; else it
///   is not looked at.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, the shapes
///   differ, matB is not analysed from a CSR matrix or has no buffer, workspace is not the analysis' one (CUDA),
///   matA was changed since the analysis or overlaps the buffer (host), or the buffer was set, or the analysis
///   done, with a handle of another device;
///   FLASHLLM_STATUS_NULL_POINTER, FLASHLLM_STATUS_MISALIGNED: a workspace is needed, and it is NULL or not
///   aligned to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the element types differ;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the dense matrix or for its blocks (host handle);
///   FLASHLLM_STATUS_WRONG_CONTEXT: the buffer was set, or the analysis done, with a handle of another CUDA
///   context, or the driver says so;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Not concurrently with another use of matB (memory-safe, but the order is unspecified). Allowed during
///   stream capture on a CUDA handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCsrToSparse_convert(
    handle: flashllmHandle_t,
    matA: flashllmCsrDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmCsrToSparse_convert", || {
        let (context, csr, sparse) = to_sparse::<CsrMat>(handle, matA, matB, alg)?;
        fits(("matA", csr.typed_shape()), ("matB", sparse.typed_shape()))?;
        let scratch = scratch(&context, workspace)?;
        sparse.update(|state| {
            let (analysis, buffer) = state.target("matB", place(&context), Origin::Csr, scratch)?;
            let size = analysis.bytes();
            match context.device() {
                Device::Host => {
                    let shape = csr.shape();
                    let target = (buffer.address, size, "matB's buffer");
                    let offsets = (shape.rows + 1) * csr.offset_bytes();
                    disjoint((csr.offsets(), offsets, "rowOffsets"), target)?;
                    let columns = shape.nnz * csr.column_bytes();
                    disjoint((csr.columns(), columns, "colIndices"), target)?;
                    disjoint((csr.values(), shape.nnz * csr.dtype().size(), "values"), target)?;
                    // SAFETY: the caller's descriptor describes readable host memory.
                    let (layout, dense) = unsafe { expand(&csr) }?;
                    // SAFETY: the caller gave at least `size` bytes (checked by SetBuffer) and leaves them alone
                    // during the call; they overlap none of the arrays.
                    let bytes = unsafe { host_slice_mut(buffer.address, size) };
                    format::encode(&analysis, &layout, &dense, bytes)?;
                }
                // SAFETY: the descriptors and the workspace are as the documentation asks of the caller.
                Device::Cuda(cuda) => unsafe {
                    gpu::csr::encode(
                        cuda,
                        context.stream(),
                        &analysis,
                        &csr,
                        sparse.requested(),
                        scratch,
                        buffer.address,
                    )
                }?,
            }
            state.stage = Stage::Ready(analysis.header);
            Ok(())
        })
    })
}
