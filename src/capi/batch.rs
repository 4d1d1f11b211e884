//! Batches of dense matrices.

use super::guard::{guard, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::flashllmConstDnMatDescr_t;
use crate::descr::DnMat;

/// Makes a dense matrix descriptor stand for a batch: matrices of one shape, order, ld and type at equal
/// distances. flashllmSpMM() and plans multiply every B of a batch by the same A; other functions take the
/// first matrix.
///
/// @param dnMatDescr   The descriptor.
/// @param batchCount   Matrices, at least 1; 1 is the state after creation.
/// @param batchStride  Elements from element (0, 0) of one matrix to that of the next, at least 0; 0 repeats
///   one matrix, which must then only be read. Matrices that are written must not overlap.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, batchCount is not positive, or batchStride
///   is negative;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the batch does not fit the address space. On failure the descriptor is as
///   it was.
/// @note Thread-safe; allowed during stream capture. values is not accessed.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDnMatSetStridedBatch(
    dnMatDescr: flashllmConstDnMatDescr_t,
    batchCount: i64,
    batchStride: i64,
) -> flashllmStatus_t {
    guard("flashllmDnMatSetStridedBatch", || {
        object::get::<DnMat>(dnMatDescr, "dnMatDescr")?.set_batch(batchCount, batchStride)
    })
}

/// Gives the batch that a dense matrix descriptor stands for.
///
/// @param dnMatDescr        The descriptor.
/// @param[out] batchCount   Receives the number of matrices.
/// @param[out] batchStride  Receives the distance in elements; 0 if none was set.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDnMatGetStridedBatch(
    dnMatDescr: flashllmConstDnMatDescr_t,
    batchCount: *mut i64,
    batchStride: *mut i64,
) -> flashllmStatus_t {
    guard("flashllmDnMatGetStridedBatch", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        let (count, stride) = (out(batchCount, "batchCount")?, out(batchStride, "batchStride")?);
        let batch = descr.batch();
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused; the same below.
        unsafe { count.write(batch.count as i64) };
        // SAFETY: as above.
        unsafe { stride.write(batch.stride as i64) };
        Ok(())
    })
}
