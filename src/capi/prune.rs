//! Magnitude pruning, and the comparison of a compressed matrix with a dense one.

use std::ffi::{c_int, c_void};

use super::context::place;
use super::convert::{disjoint, fits, half_slice, half_slice_mut, host_buffer, scratch};
use super::guard::{guard, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{
    checked, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t, flashllmDnMatDescr_t,
    flashllmHandle_t,
};
use crate::descr::{DnMat, DnView, SpMat};
use crate::error::{Error, Kind, Result};
use crate::handle::{Context, Device};
use crate::plan::convert::{COMPARE_BYTES, PruneWorkspace};
use crate::types::{DType, zeros};
use crate::{format, gpu, host};

/// Algorithms of flashllmPrune().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmPruneAlg_t {
    /// The smallest magnitudes of the whole matrix.
    FLASHLLM_PRUNE_ALG_MAGNITUDE_MATRIX = 0,
    /// The smallest magnitudes of each row, the same number in every row.
    FLASHLLM_PRUNE_ALG_MAGNITUDE_ROW = 1,
}

/// flashllmPruneAlg_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPruneAlg(pub c_int);

checked!(RawPruneAlg => flashllmPruneAlg_t: FLASHLLM_PRUNE_ALG_MAGNITUDE_MATRIX, FLASHLLM_PRUNE_ALG_MAGNITUDE_ROW);

/// Refuses matrices that cannot be pruned from one to the other.
fn pair(source: &DnMat, target: &DnMat) -> Result<()> {
    if target.read_only() {
        return Err(Error::invalid(
            "out was made by flashllmCreateConstDnMat: its values are const",
        ));
    }
    if source.dtype() == DType::F32 || target.dtype() != source.dtype() {
        return Err(Error::new(
            Kind::MatrixTypeNotSupported,
            format!(
                "in holds {:?} and out {:?}, needs one type of 16 bits",
                source.dtype(),
                target.dtype()
            ),
        ));
    }
    fits(("in", source.typed_shape()), ("out", target.typed_shape()))
}

/// Whether both are one matrix; refused if they overlap otherwise.
fn in_place(source: &DnView, target: &DnView) -> Result<bool> {
    if source.values == target.values && source.layout == target.layout {
        return Ok(true);
    }
    disjoint(
        (source.values, source.extent_bytes(), "in"),
        (target.values, target.extent_bytes(), "out"),
    )?;
    Ok(false)
}

/// Tells how much workspace flashllmPrune() needs.
///
/// @param handle              The handle.
/// @param in                  The dense matrix.
/// @param out                 The pruned matrix, of the same shape and type; may be in itself.
/// @param alg                 How.
/// @param[out] workspaceBytes Receives the size in bytes: 0 on a host handle, else about 1.6 % of the matrix.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of dense matrices, out has const values, alg is not an
///   enumerator, or the shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER: workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the elements do not have 16 bits, or not one type;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the workspace would not fit the address space.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmPrune_bufferSize(
    handle: flashllmHandle_t,
    r#in: flashllmConstDnMatDescr_t,
    out: flashllmDnMatDescr_t,
    alg: RawPruneAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmPrune_bufferSize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let source = object::get::<DnMat>(r#in, "in")?;
        let target = object::get::<DnMat>(out, "out")?;
        flashllmPruneAlg_t::try_from(alg)?;
        let bytes = self::out(workspaceBytes, "workspaceBytes")?;
        pair(&source, &target)?;
        let need = match context.device() {
            Device::Host => 0,
            Device::Cuda(_) => {
                PruneWorkspace::new(source.layout().rows, source.layout().cols)?.bytes
            }
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Zeroes the elements of smallest magnitude: of the matrix exactly sparsity * rows * cols elements, or of each row
/// exactly sparsity * cols, rounded to the nearest integer and halves away from zero. Elements that are zero
/// already count. Of equal magnitudes the first ones in row-major order are zeroed, whatever the memory order.
/// A NaN is larger than an infinity, and among NaNs the bits decide. The zeroed elements are +0, the others keep
/// their bits. Handles of both kinds give the same result.
///
/// On a CUDA handle the work is put on the handle's stream and not waited for: in, out and the workspace must live
/// until it is done.
///
/// @param handle     The handle.
/// @param in         The dense matrix, FLASHLLM_R_16F or FLASHLLM_R_16BF, any order.
/// @param out        Receives the pruned matrix: of the same shape and type, any order. May be in itself (the same
///   address, order and leading dimension); otherwise their memory must not overlap. What ld skips stays.
/// @param alg        What the smallest are taken of.
/// @param sparsity   Fraction of elements that are zero afterwards, at least: 0 to 1.
/// @param workspace  Memory of the handle's device of the size that flashllmPrune_bufferSize() says, aligned to 256
///   bytes; NULL if that is 0.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of dense matrices, out has const values, alg is not an
///   enumerator, sparsity is not within 0 to 1, the shapes differ, or in and out overlap without being one matrix;
///   FLASHLLM_STATUS_NULL_POINTER, FLASHLLM_STATUS_MISALIGNED: a workspace is needed, and it is NULL or not aligned
///   to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the elements do not have 16 bits, or not one type;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the matrix is too large for one launch;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory to count magnitudes (host handle); out is in, then, or a copy of it;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver
///   refused.
/// @note Thread-safe for different out and workspaces; allowed during stream capture on a CUDA handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmPrune(
    handle: flashllmHandle_t,
    r#in: flashllmConstDnMatDescr_t,
    out: flashllmDnMatDescr_t,
    alg: RawPruneAlg,
    sparsity: f64,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmPrune", || {
        let context = object::get::<Context>(handle, "handle")?;
        let source = object::get::<DnMat>(r#in, "in")?;
        let target = object::get::<DnMat>(out, "out")?;
        let alg = flashllmPruneAlg_t::try_from(alg)?;
        if !(0.0..=1.0).contains(&sparsity) {
            return Err(Error::invalid(format!("sparsity = {sparsity}, needs 0 to 1")));
        }
        pair(&source, &target)?;
        let (source, target) = (source.view(), target.view());
        let in_place = in_place(&source, &target)?;
        let (from, to) = (source.layout, target.layout);
        let by_row = alg == flashllmPruneAlg_t::FLASHLLM_PRUNE_ALG_MAGNITUDE_ROW;
        // Cannot overflow: the layout's extent has been checked.
        let count = if by_row { from.cols } else { from.rows * from.cols };
        // `round` takes halves away from zero.
        let zeros = ((sparsity * count as f64).round() as usize).min(count);
        let scratch = scratch(&context, workspace)?;
        if count == 0 || from.rows == 0 {
            return Ok(());
        }
        match context.device() {
            Device::Host => {
                // SAFETY: the descriptor describes writable host memory of this extent, aligned to 2 and not empty,
                // which nobody else uses during the call.
                let values = unsafe { half_slice_mut(&target) };
                if !in_place {
                    // SAFETY: readable host memory, apart from `values`.
                    host::prune::copy(&from, unsafe { half_slice(&source) }, &to, values);
                }
                if by_row {
                    host::prune::rows(&to, values, zeros)
                } else {
                    host::prune::matrix(&to, values, zeros)
                }
            }
            // SAFETY: the descriptors and the workspace are as the documentation asks of the caller.
            Device::Cuda(cuda) => unsafe {
                gpu::prune::prune(
                    cuda,
                    context.stream(),
                    (&from, source.values),
                    (&to, target.values),
                    by_row,
                    zeros,
                    scratch,
                )
            },
        }
    })
}

/// Tells how much workspace flashllmPruneCheck() needs.
///
/// @param handle              The handle.
/// @param matA                The compressed matrix.
/// @param matB                The dense matrix.
/// @param[out] workspaceBytes Receives the size in bytes: 0 on a host handle.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, or the shapes differ;
///   FLASHLLM_STATUS_NULL_POINTER: workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the element types differ.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmPruneCheck_bufferSize(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmPruneCheck_bufferSize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let sparse = object::get::<SpMat>(matA, "matA")?;
        let dense = object::get::<DnMat>(matB, "matB")?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        fits(("matB", dense.typed_shape()), ("matA", sparse.typed_shape()))?;
        let need = match context.device() {
            Device::Host => 0,
            Device::Cuda(_) => COMPARE_BYTES,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Tells whether a compressed matrix holds exactly the elements of a dense one, bit for bit; zeros of either sign
/// are equal. Synchronises the handle's stream.
///
/// @param handle      The handle.
/// @param matA        The compressed matrix, converted or adopted.
/// @param matB        The dense matrix of the same shape and type, any order.
/// @param[out] agrees Receives 1 if all elements agree, else 0.
/// @param workspace   Memory of the handle's device of the size that flashllmPruneCheck_bufferSize() says, aligned
///   to 256 bytes; NULL if that is 0.
/// @return FLASHLLM_STATUS_SUCCESS, whether or not they agree;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, the shapes differ, matA has no compressed
///   data, or it was set with a handle of another device;
///   FLASHLLM_STATUS_NULL_POINTER: agrees is NULL, or workspace is and one is needed;
///   FLASHLLM_STATUS_MISALIGNED: a workspace is needed and it is not aligned to 256 bytes;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the element types differ;
///   FLASHLLM_STATUS_CORRUPT_DATA: the buffer was changed since it was checked;
///   FLASHLLM_STATUS_ALLOC_FAILED: no host memory for the decoded matrix or for its blocks (host handle);
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the buffer was set with a handle of another CUDA context, or the driver says so;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe for different workspaces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmPruneCheck(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    agrees: *mut i32,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmPruneCheck", || {
        let context = object::get::<Context>(handle, "handle")?;
        let sparse = object::get::<SpMat>(matA, "matA")?;
        let dense = object::get::<DnMat>(matB, "matB")?;
        let agrees = out(agrees, "agrees")?;
        fits(("matB", dense.typed_shape()), ("matA", sparse.typed_shape()))?;
        let dense = dense.view();
        let (header, buffer) = sparse.ready("matA", place(&context))?;
        let scratch = scratch(&context, workspace)?;
        let same = match context.device() {
            Device::Host => {
                // SAFETY: the caller gave this many readable bytes and leaves them unchanged.
                let bytes = unsafe { host_buffer(&header, &buffer) };
                let layout = dense.layout;
                let mut decoded = zeros(layout.extent(), "the decoded matrix")?;
                format::decode(bytes, &layout, &mut decoded)?;
                // SAFETY: the caller's descriptor describes readable host memory.
                host::prune::same(&layout, &decoded, &layout, unsafe { half_slice(&dense) })
            }
            // SAFETY: the descriptors and the workspace are as the documentation asks of the caller.
            Device::Cuda(cuda) => unsafe {
                gpu::convert::agrees(
                    cuda,
                    context.stream(),
                    &header,
                    buffer.address,
                    &dense.layout,
                    dense.values,
                    scratch,
                )
            }?,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { agrees.write(i32::from(same)) };
        Ok(())
    })
}
