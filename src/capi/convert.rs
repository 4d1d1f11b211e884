//! Conversions between dense and compressed matrices.

use std::ffi::c_void;
use std::sync::Arc;

use super::context::place;
use super::guard::{aligned, guard, host_slice, host_slice_mut, null, out};
use super::object::{self, Registered};
use super::status::flashllmStatus_t;
use super::types::{
    RawDenseToSparseAlg, RawSparseToDenseAlg, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t,
    flashllmDenseToSparseAlg_t, flashllmDnMatDescr_t, flashllmHandle_t, flashllmSpMatDescr_t,
    flashllmSparseToDenseAlg_t,
};
use crate::descr::{Buffer, DnMat, DnView, Origin, SpMat, Stage};
use crate::error::{Error, Kind, Result};
use crate::format::{self, Header};
use crate::gpu;
use crate::handle::{Context, Device};
use crate::plan::convert::{ALIGN, Workspace};
use crate::types::DType;

/// Refuses two matrices that are not of one type and shape; each is a name, element type, rows and columns.
pub(super) fn fits(
    (a_name, (a_type, a_rows, a_cols)): (&str, (DType, usize, usize)),
    (b_name, (b_type, b_rows, b_cols)): (&str, (DType, usize, usize)),
) -> Result<()> {
    if a_type != b_type {
        return Err(Error::new(
            Kind::MatrixTypeNotSupported,
            format!("{a_name} holds {a_type:?}, {b_name} holds {b_type:?}"),
        ));
    }
    if (a_rows, a_cols) != (b_rows, b_cols) {
        return Err(Error::invalid(format!(
            "{a_name} is {a_rows} x {a_cols}, {b_name} is {b_rows} x {b_cols}"
        )));
    }
    Ok(())
}

/// Refuses host ranges that share a byte: Rust may not read one while it writes the other.
pub(super) fn disjoint(a: (usize, usize, &str), b: (usize, usize, &str)) -> Result<()> {
    let ((a, a_bytes, a_name), (b, b_bytes, b_name)) = (a, b);
    if a_bytes == 0
        || b_bytes == 0
        || a.saturating_add(a_bytes) <= b
        || b.saturating_add(b_bytes) <= a
    {
        return Ok(());
    }
    Err(Error::invalid(format!("the memory of {a_name} and of {b_name} overlaps")))
}

/// The address of a workspace that a CUDA handle needs; 0 on a host handle, which does not look at it.
pub(super) fn scratch(context: &Context, workspace: *mut c_void) -> Result<usize> {
    match context.device() {
        Device::Host => Ok(0),
        Device::Cuda(_) if workspace.is_null() => Err(null("workspace")),
        Device::Cuda(_) => {
            aligned(workspace.addr(), ALIGN, "workspace")?;
            Ok(workspace.addr())
        }
    }
}

/// The elements of a dense matrix of a 16-bit type in host memory.
///
/// # Safety
/// The descriptor's values must be readable host memory for its whole extent, unchanged for `'a`.
pub(super) unsafe fn half_slice<'a>(dense: &DnView) -> &'a [u16] {
    // SAFETY: aligned to 2 (checked by DnMat); else the caller's contract.
    unsafe { host_slice(dense.values, dense.layout.extent()) }
}

/// As [`half_slice`], to write to.
///
/// # Safety
/// The descriptor's values must be writable host memory for its whole extent, used by nobody else for `'a`.
pub(super) unsafe fn half_slice_mut<'a>(dense: &DnView) -> &'a mut [u16] {
    // SAFETY: aligned to 2 (checked by DnMat); else the caller's contract.
    unsafe { host_slice_mut(dense.values, dense.layout.extent()) }
}

/// The compressed buffer of a matrix in host memory.
///
/// # Safety
/// It must be live memory that nobody writes to for `'a`.
pub(super) unsafe fn host_buffer<'a>(header: &Header, buffer: &Buffer) -> &'a [u8] {
    // SAFETY: the caller's contract; the buffer is not shorter than its matrix, as was checked when it was set.
    unsafe { host_slice(buffer.address, header.total_bytes as usize) }
}

/// The operands of a conversion to a compressed matrix, checked up to the shapes.
pub(super) fn to_sparse<Source: Registered>(
    handle: flashllmHandle_t,
    matA: *const Source::Opaque,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
) -> Result<(Arc<Context>, Arc<Source>, Arc<SpMat>)> {
    let context = object::get::<Context>(handle, "handle")?;
    let source = object::get::<Source>(matA, "matA")?;
    let sparse = object::get::<SpMat>(matB, "matB")?;
    flashllmDenseToSparseAlg_t::try_from(alg)?;
    Ok((context, source, sparse))
}

/// Tells how much workspace the conversion of a dense matrix to a compressed one needs.
///
/// @param handle              The handle.
/// @param matA                The dense matrix.
/// @param matB                The compressed matrix.
/// @param alg                 FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param[out] workspaceBytes Receives the size in bytes: 0 on a host handle, else about 0.8 % of the dense matrix for
///   FLASHLLM_FORMAT_SLOTS and FLASHLLM_FORMAT_AUTO, and less than 0.05 % for the others.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, or the
///   shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER: workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matA is not of matB's type;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the workspace would not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDenseToSparse_bufferSize(
    handle: flashllmHandle_t,
    matA: flashllmConstDnMatDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmDenseToSparse_bufferSize", || {
        let (context, dense, sparse) = to_sparse::<DnMat>(handle, matA, matB, alg)?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        fits(("matA", dense.typed_shape()), ("matB", sparse.typed_shape()))?;
        let need = match context.device() {
            Device::Host => 0,
            Device::Cuda(_) => {
                Workspace::new(sparse.rows(), sparse.cols(), sparse.requested())?.bytes
            }
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Finds the format, the number of non-zeros and the exact size of a dense matrix compressed; then
/// flashllmSpMatGetSize() and flashllmSpMatGetFormat() tell them. A buffer that was set before is
/// forgotten: set one after the analysis.
///
/// On a CUDA handle matA is device memory, and kernels on the handle's stream look at it; the stream is then
/// synchronised, because the exact size is known when the call returns. The workspace keeps where each block
/// goes: flashllmDenseToSparse_convert() needs it as the analysis left it.
///
/// @param handle     The handle.
/// @param matA       The dense matrix, of matB's type, any order. An element is a non-zero unless it is +0 or
///   -0: NaN, infinities and subnormals are kept.
/// @param matB       The compressed matrix, of the same shape.
/// @param alg        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param workspace  Memory of the handle's device of the size that flashllmDenseToSparse_bufferSize() says,
///   aligned to 256 bytes; NULL if that is 0.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, or the
///   shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER, FLASHLLM_STATUS_MISALIGNED: a workspace is needed, and it is NULL or not
///   aligned to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matA is not of matB's type;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the compressed matrix would not fit its format's offsets;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the analysis (host handle);
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused. On failure matB is as it was.
/// @note Not concurrently with another use of matB (memory-safe, but the order is unspecified).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDenseToSparse_analysis(
    handle: flashllmHandle_t,
    matA: flashllmConstDnMatDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmDenseToSparse_analysis", || {
        let (context, dense, sparse) = to_sparse::<DnMat>(handle, matA, matB, alg)?;
        fits(("matA", dense.typed_shape()), ("matB", sparse.typed_shape()))?;
        let dense = dense.view();
        let scratch = scratch(&context, workspace)?;
        sparse.update(|state| {
            let options = sparse.encode_options(state);
            let analysis = match context.device() {
                Device::Host => {
                    // SAFETY: the caller's descriptor describes readable host memory.
                    let values = unsafe { half_slice(&dense) };
                    format::analyse(&dense.layout, values, &options)?
                }
                // SAFETY: the caller's descriptor describes device memory of this context.
                Device::Cuda(cuda) => unsafe {
                    gpu::convert::analyse(
                        cuda,
                        context.stream(),
                        &dense.layout,
                        dense.values,
                        &options,
                        scratch,
                    )
                }?,
            };
            let analysis = analysis.of_type(sparse.dtype());
            state.set_analysed(analysis, place(&context), Origin::Dense, scratch);
            Ok(())
        })
    })
}

/// Writes the compressed matrix to the buffer that flashllmSpMatSetBuffer() gave after the analysis. Then
/// the matrix is ready for flashllmSpMM(), and the analysis is used up.
///
/// On a CUDA handle matA and the buffer are device memory and must not overlap. The work is put on the handle's
/// stream and not waited for: matA, the buffer and the workspace must live until it is done. It is not known
/// then whether matA is still what was analysed; blocks whose size has changed are written as zeros. A workspace that
/// something else was written to gives a buffer without the matrix: nothing is written or, by a product, read outside of
/// it, flashllmSpMatSetBuffer() with another descriptor refuses it, and flashllmPruneCheck() finds the difference.
///
/// @param handle     The handle.
/// @param matA       The dense matrix, unchanged since the analysis.
/// @param matB       The compressed matrix, analysed and with a buffer.
/// @param alg        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT.
/// @param workspace  On a CUDA handle the workspace of the analysis, with the contents that it left there; else
///   it is not looked at.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, alg is not an enumerator, the shapes
///   differ, matB is not analysed or has no buffer, matA was changed since the analysis (host), workspace is
///   not the analysis' one (CUDA), the buffer overlaps matA (host), or it was set, or the analysis done, with
///   a handle of another device;
///   FLASHLLM_STATUS_NULL_POINTER, FLASHLLM_STATUS_MISALIGNED: a workspace is needed, and it is NULL or not
///   aligned to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matA is not of matB's type;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the blocks that are written (host handle);
///   FLASHLLM_STATUS_WRONG_CONTEXT: the buffer was set, or the analysis done, with a handle of another CUDA
///   context, or the driver says so;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
///   If the failure came after the checks of the arguments, the buffer's contents are undefined; the
///   descriptor is as it was, and the conversion can be tried again.
/// @note Not concurrently with another use of matB (memory-safe, but the order is unspecified). Allowed during
///   stream capture on a CUDA handle, once: a graph can be replayed with new values in matA, of which blocks that
///   would need another size become zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDenseToSparse_convert(
    handle: flashllmHandle_t,
    matA: flashllmConstDnMatDescr_t,
    matB: flashllmSpMatDescr_t,
    alg: RawDenseToSparseAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmDenseToSparse_convert", || {
        let (context, dense, sparse) = to_sparse::<DnMat>(handle, matA, matB, alg)?;
        fits(("matA", dense.typed_shape()), ("matB", sparse.typed_shape()))?;
        let dense = dense.view();
        let scratch = scratch(&context, workspace)?;
        // The state's lock is held all the while, so that two conversions cannot write to one buffer.
        sparse.update(|state| {
            let (analysis, buffer) =
                state.target("matB", place(&context), Origin::Dense, scratch)?;
            let size = analysis.bytes();
            match context.device() {
                Device::Host => {
                    disjoint(
                        (dense.values, dense.extent_bytes(), "matA"),
                        (buffer.address, size, "matB's buffer"),
                    )?;
                    // SAFETY: the caller's descriptor describes readable host memory.
                    let values = unsafe { half_slice(&dense) };
                    // SAFETY: the caller gave at least `size` bytes (checked by SetBuffer); they do not
                    // overlap `values`, and the caller leaves them alone during the call.
                    let bytes = unsafe { host_slice_mut(buffer.address, size) };
                    format::encode(&analysis, &dense.layout, values, bytes)?;
                }
                // SAFETY: the descriptors describe device memory of this context, `size` bytes for the
                // buffer (checked by SetBuffer).
                Device::Cuda(cuda) => unsafe {
                    gpu::convert::encode(
                        cuda,
                        context.stream(),
                        &analysis,
                        &dense.layout,
                        dense.values,
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

/// The operands of SparseToDense, checked up to the shapes.
fn sparse_to_dense(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmDnMatDescr_t,
    alg: RawSparseToDenseAlg,
) -> Result<(Arc<Context>, Arc<SpMat>, Arc<DnMat>)> {
    let context = object::get::<Context>(handle, "handle")?;
    let sparse = object::get::<SpMat>(matA, "matA")?;
    let dense = object::get::<DnMat>(matB, "matB")?;
    if dense.read_only() {
        return Err(Error::invalid(
            "matB was made by flashllmCreateConstDnMat: its values are const",
        ));
    }
    flashllmSparseToDenseAlg_t::try_from(alg)?;
    Ok((context, sparse, dense))
}

/// Tells how much workspace the conversion of a compressed matrix to a dense one needs.
///
/// @param handle              The handle.
/// @param matA                The compressed matrix.
/// @param matB                The dense matrix.
/// @param alg                 FLASHLLM_SPARSETODENSE_ALG_DEFAULT.
/// @param[out] workspaceBytes Receives the size in bytes; 0 in this release.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matB has const values, alg is not an
///   enumerator, or the shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER: workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not of matA's type.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSparseToDense_bufferSize(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmDnMatDescr_t,
    alg: RawSparseToDenseAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSparseToDense_bufferSize", || {
        let (_, sparse, dense) = sparse_to_dense(handle, matA, matB, alg)?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        fits(("matB", dense.typed_shape()), ("matA", sparse.typed_shape()))?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(0) };
        Ok(())
    })
}

/// Writes every element of a compressed matrix, zeros too, to a dense one. Memory between the columns
/// (or rows) that ld skips stays as it is.
///
/// On a CUDA handle both are device memory and must not overlap. The work is put on the handle's stream and not
/// waited for: the memory of both must live until it is done.
///
/// @param handle     The handle.
/// @param matA       The compressed matrix, converted or adopted.
/// @param matB       The dense matrix, of matA's type, of the same shape, any order.
/// @param alg        FLASHLLM_SPARSETODENSE_ALG_DEFAULT.
/// @param workspace  Memory of the size that flashllmSparseToDense_bufferSize() says; NULL if that is 0.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matB has const values, alg is not an
///   enumerator, the shapes differ, matA has no compressed data, the buffer overlaps matB (host), or it was
///   set with a handle of another device;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not of matA's type;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer was changed since it was checked (host; on a CUDA handle such
///   blocks are left out);
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the blocks that are read (host handle);
///   FLASHLLM_STATUS_WRONG_CONTEXT: the buffer was set with a handle of another CUDA context, or the driver
///   says so;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
///   If the failure came after the checks of the arguments, the contents of matB's memory are undefined.
/// @note Thread-safe for different matB; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSparseToDense(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmDnMatDescr_t,
    alg: RawSparseToDenseAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmSparseToDense", || {
        let (context, sparse, dense) = sparse_to_dense(handle, matA, matB, alg)?;
        fits(("matB", dense.typed_shape()), ("matA", sparse.typed_shape()))?;
        let dense = dense.view();
        let (header, buffer) = sparse.ready("matA", place(&context))?;
        let _ = workspace;
        let size = header.total_bytes as usize;
        match context.device() {
            Device::Host => {
                debug_assert_eq!(dense.dtype.size(), 2, "fits has compared the types");
                disjoint(
                    (dense.values, dense.extent_bytes(), "matB"),
                    (buffer.address, size, "matA's buffer"),
                )?;
                // SAFETY: the caller gave `size` readable bytes and leaves them unchanged.
                let bytes = unsafe { host_buffer(&header, &buffer) };
                // SAFETY: the descriptor describes writable host memory of this extent, aligned to 2, not
                // empty (a compressed matrix is not) and disjoint from `bytes`.
                let values = unsafe { half_slice_mut(&dense) };
                format::decode(bytes, &dense.layout, values)
            }
            // SAFETY: the descriptors describe device memory of this context.
            Device::Cuda(cuda) => unsafe {
                gpu::convert::decode(
                    cuda,
                    context.stream(),
                    &header,
                    buffer.address,
                    &dense.layout,
                    dense.values,
                )
            },
        }
    })
}
