//! Memory of a handle's device, for programs that should run unchanged on the host and on a GPU.

use std::ffi::c_void;
use std::ptr;

use super::guard::{guard, null, out};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{RawMemcpyKind, flashllmHandle_t, flashllmMemcpyKind_t};
use crate::gpu::memory::Direction;
use crate::handle::{Context, Device};

/// Allocates memory of the handle's device, aligned to at least 256 bytes. The contents are undefined.
///
/// @param handle    The handle.
/// @param[out] ptr  Receives the address: host memory for a host handle, device memory otherwise; NULL
///   when bytes is 0. It belongs to the handle: free it with flashllmFree() and the same handle;
///   flashllmDestroy() frees what is left.
/// @param bytes     Size in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: ptr is NULL;
///   FLASHLLM_STATUS_ALLOC_FAILED: there is not so much memory;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused.
/// @note Thread-safe. On a CUDA handle it may synchronise with the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmMalloc(
    handle: flashllmHandle_t,
    ptr: *mut *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmMalloc", || {
        let context = object::get::<Context>(handle, "handle")?;
        let pointer = out(ptr, "ptr")?;
        let memory = match context.device() {
            _ if bytes == 0 => ptr::null_mut(),
            Device::Host => context.host_alloc(bytes)?,
            Device::Cuda(cuda) => ptr::without_provenance_mut(cuda.alloc(context.stream(), bytes)?),
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { pointer.write(memory) };
        Ok(())
    })
}

/// Frees memory of flashllmMalloc().
///
/// @param handle  The handle that allocated it.
/// @param ptr     The address, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: ptr is not from flashllmMalloc() with this handle, or is freed already;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused; the memory then still belongs to the handle.
/// @note Thread-safe. On a CUDA handle it may synchronise with the device. Work that uses the memory must
///   be done.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmFree(handle: flashllmHandle_t, ptr: *mut c_void) -> flashllmStatus_t {
    guard("flashllmFree", || {
        let context = object::get::<Context>(handle, "handle")?;
        if ptr.is_null() {
            return Ok(());
        }
        match context.device() {
            Device::Host => context.host_free(ptr.addr()),
            Device::Cuda(cuda) => cuda.free(context.stream(), ptr.addr()),
        }
    })
}

/// Copies bytes, in order with the handle's stream, and returns when the copy is done.
///
/// @param handle    The handle. With a host handle every kind copies from host memory to host memory, so
///   that one program serves both.
/// @param[out] dst  Destination, bytes long; may be NULL when bytes is 0. Any alignment.
/// @param src       Source, bytes long; may be NULL when bytes is 0. Any alignment. On a host handle it may
///   overlap dst.
/// @param bytes     Number of bytes.
/// @param kind      Direction; "device" is the handle's device.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: kind is not an enumerator;
///   FLASHLLM_STATUS_NULL_POINTER: dst or src is NULL and bytes is not 0;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: bytes is more than an address space holds;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the
///   driver refused.
/// @note Thread-safe for disjoint memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmMemcpy(
    handle: flashllmHandle_t,
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
    kind: RawMemcpyKind,
) -> flashllmStatus_t {
    guard("flashllmMemcpy", || {
        let context = object::get::<Context>(handle, "handle")?;
        let kind = flashllmMemcpyKind_t::try_from(kind)?;
        if bytes == 0 {
            return Ok(());
        }
        if dst.is_null() {
            return Err(null("dst"));
        }
        if src.is_null() {
            return Err(null("src"));
        }
        crate::types::checked_add(bytes, 0, "bytes")?;
        let direction = match kind {
            flashllmMemcpyKind_t::FLASHLLM_MEMCPY_HOST_TO_HOST => Direction::HostToHost,
            flashllmMemcpyKind_t::FLASHLLM_MEMCPY_HOST_TO_DEVICE => Direction::HostToDevice,
            flashllmMemcpyKind_t::FLASHLLM_MEMCPY_DEVICE_TO_HOST => Direction::DeviceToHost,
            flashllmMemcpyKind_t::FLASHLLM_MEMCPY_DEVICE_TO_DEVICE => Direction::DeviceToDevice,
        };
        match context.device() {
            Device::Host => {
                // SAFETY: the caller says that both are `bytes` long; `copy` allows overlap.
                unsafe { ptr::copy(src.cast::<u8>(), dst.cast::<u8>(), bytes) };
                Ok(())
            }
            // SAFETY: the caller says that both are `bytes` long in the memories that `kind` names.
            Device::Cuda(cuda) => unsafe {
                cuda.copy(context.stream(), dst, src, bytes, direction)
            },
        }
    })
}

/// Waits until all work on the handle's stream is done.
///
/// @param handle  The handle. On a host handle there is never anything to wait for.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_EXECUTION_FAILED: earlier work on the stream failed;
///   FLASHLLM_STATUS_WRONG_CONTEXT, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSynchronize(handle: flashllmHandle_t) -> flashllmStatus_t {
    guard("flashllmSynchronize", || {
        let context = object::get::<Context>(handle, "handle")?;
        match context.device() {
            Device::Host => Ok(()),
            Device::Cuda(cuda) => cuda.synchronize(context.stream()),
        }
    })
}
