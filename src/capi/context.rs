//! Handles, streams, version, and error texts.

use std::ffi::{c_char, c_int};

use super::guard::{guard, out};
use super::object;
use super::status::{self, RawStatus, flashllmStatus_t};
use super::types::{
    RawPointerMode, RawPropertyType, flashllmDeviceType_t, flashllmHandle_t, flashllmPointerMode_t,
    flashllmPropertyType_t, flashllmStream_t,
};
use crate::descr::Place;
use crate::handle::{Context, Device};
use crate::log::{self, Level};
use crate::version;

/// Where the buffers lie that a handle can use.
pub(super) fn place(context: &Context) -> Place {
    match context.device() {
        Device::Host => Place::Host,
        Device::Cuda(cuda) => Place::Cuda(cuda.address()),
    }
}

/// Creates a handle for a CUDA device.
///
/// The handle is bound to the CUDA context that is current to the calling thread; if there is none, to
/// the primary context of device 0, which it then keeps retained until flashllmDestroy(). The caller's
/// current context is the same after the call as before. All kernels are loaded here, so that no later
/// call loads any.
///
/// @param[out] handle  Receives the handle; NULL on failure. The caller owns it: flashllmDestroy().
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: handle is NULL;
///   FLASHLLM_STATUS_NO_DEVICE: there is no NVIDIA driver or no device;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the driver is older than CUDA 12.0, the library was built without
///   GPU kernels, or a blocking stream of the context is being captured: create handles before a capture;
///   FLASHLLM_STATUS_ARCH_MISMATCH: the device is older than compute capability 8.0;
///   FLASHLLM_STATUS_ALLOC_FAILED: out of device memory;
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver refused, see flashllmGetLastDriverError();
///   FLASHLLM_STATUS_WRONG_CONTEXT: the current context is not usable;
///   FLASHLLM_STATUS_EXECUTION_FAILED: the context is already broken by an earlier failure.
/// @note Thread-safe. Handles belong before stream captures. The driver tells of captures of blocking streams, of this
///   thread or another, and the call is then refused; beside a capture of a stream that was made with
///   CU_STREAM_NON_BLOCKING it succeeds. Either way the capture goes on undamaged: nothing is put on a stream. A context that the caller made must live until flashllmDestroy() has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreate(handle: *mut flashllmHandle_t) -> flashllmStatus_t {
    guard("flashllmCreate", || {
        let handle = out(handle, "handle")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { handle.write(std::ptr::null_mut()) };
        let context = Context::cuda()?;
        log::log(Level::Trace, "flashllmCreate", || match context.device() {
            Device::Host => String::new(),
            Device::Cuda(cuda) => format!("a handle on {:?}", cuda.props()),
        });
        let key = object::insert(context);
        // SAFETY: as above.
        unsafe { handle.write(key) };
        Ok(())
    })
}

/// Creates a handle that computes on all cores of this machine. It needs no driver and no device.
///
/// Every pointer given with such a handle is host memory, and every call is done when it returns.
///
/// @param[out] handle  Receives the handle; NULL on failure. The caller owns it: flashllmDestroy().
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: handle is NULL.
/// @note Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmCreateHost(handle: *mut flashllmHandle_t) -> flashllmStatus_t {
    guard("flashllmCreateHost", || {
        let handle = out(handle, "handle")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { handle.write(std::ptr::null_mut()) };
        let key = object::insert(Context::host());
        log::log(Level::Trace, "flashllmCreateHost", || format!("a handle {key:p} on the host"));
        // SAFETY: as above.
        unsafe { handle.write(key) };
        Ok(())
    })
}

/// Destroys a handle: frees what flashllmMalloc() gave and was not freed, unloads the kernels, and
/// releases the primary context if flashllmCreate() retained it.
///
/// Work that was launched through the handle and is still running uses its kernels: synchronise the
/// stream first. Descriptors are independent of handles and stay valid.
///
/// @param handle  The handle, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle, or destroyed already.
/// @note Thread-safe. A call that still uses the handle in another thread completes; the resources go
///   when the last such call returns. Allowed during stream capture, but a graph that was captured with the handle uses
///   its kernels: destroy the graph first.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDestroy(handle: flashllmHandle_t) -> flashllmStatus_t {
    guard("flashllmDestroy", || {
        if !handle.is_null() {
            drop(object::remove::<Context>(handle, "handle")?);
            log::log(Level::Trace, "flashllmDestroy", || format!("the handle {handle:p}"));
        }
        Ok(())
    })
}

/// Sets the stream that later calls with this handle use.
///
/// @param handle  The handle.
/// @param stream  A CUstream or cudaStream_t of the handle's CUDA context, or NULL for the default
///   stream (also cudaStreamLegacy and cudaStreamPerThread). The caller keeps owning it; it must live
///   until the work on it is done and another stream is set. A host handle accepts NULL only.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: a stream for a host handle;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the stream belongs to another CUDA context;
///   FLASHLLM_STATUS_DRIVER_ERROR: the driver does not know the stream.
/// @note Setting a stream while another thread uses the handle is memory-safe; which stream that thread's
///   call takes is unspecified. A stream that is capturing may be set.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSetStream(
    handle: flashllmHandle_t,
    stream: flashllmStream_t,
) -> flashllmStatus_t {
    guard("flashllmSetStream", || {
        object::get::<Context>(handle, "handle")?.set_stream(stream.cast())
    })
}

/// Tells the stream that the handle uses.
///
/// @param handle       The handle.
/// @param[out] stream  Receives the stream; NULL is the default stream.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: stream is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetStream(
    handle: flashllmHandle_t,
    stream: *mut flashllmStream_t,
) -> flashllmStatus_t {
    guard("flashllmGetStream", || {
        let context = object::get::<Context>(handle, "handle")?;
        let stream = out(stream, "stream")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { stream.write(context.stream().cast()) };
        Ok(())
    })
}

/// Tells whether the handle computes on the host or on a CUDA device.
///
/// @param handle     The handle.
/// @param[out] type  Receives the device type.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: type is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetDeviceType(
    handle: flashllmHandle_t,
    r#type: *mut flashllmDeviceType_t,
) -> flashllmStatus_t {
    guard("flashllmGetDeviceType", || {
        let context = object::get::<Context>(handle, "handle")?;
        let device_type = out(r#type, "type")?;
        let value = match context.device() {
            Device::Host => flashllmDeviceType_t::FLASHLLM_DEVICE_HOST,
            Device::Cuda(_) => flashllmDeviceType_t::FLASHLLM_DEVICE_CUDA,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { device_type.write(value) };
        Ok(())
    })
}

/// Gives the version of the loaded library: major * 10000 + minor * 100 + patch.
///
/// Compare it with FLASHLLM_VERSION, the version of the header that was compiled against.
///
/// @param handle        A handle, or NULL.
/// @param[out] version  Receives the version.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: handle is neither NULL nor a handle;
///   FLASHLLM_STATUS_NULL_POINTER: version is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetVersion(
    handle: flashllmHandle_t,
    version: *mut c_int,
) -> flashllmStatus_t {
    guard("flashllmGetVersion", || {
        if !handle.is_null() {
            object::get::<Context>(handle, "handle")?;
        }
        let version = out(version, "version")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { version.write(version::VERSION) };
        Ok(())
    })
}

/// Gives one part of the version of the loaded library.
///
/// @param type        Which part.
/// @param[out] value  Receives it.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: type is not an enumerator;
///   FLASHLLM_STATUS_NULL_POINTER: value is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetProperty(
    r#type: RawPropertyType,
    value: *mut c_int,
) -> flashllmStatus_t {
    guard("flashllmGetProperty", || {
        let property = flashllmPropertyType_t::try_from(r#type)?;
        let value = out(value, "value")?;
        let number = match property {
            flashllmPropertyType_t::FLASHLLM_MAJOR_VERSION => version::MAJOR,
            flashllmPropertyType_t::FLASHLLM_MINOR_VERSION => version::MINOR,
            flashllmPropertyType_t::FLASHLLM_PATCH_LEVEL => version::PATCH,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { value.write(number) };
        Ok(())
    })
}

/// Describes this build in one line: version, profile, kernels and their compiler.
///
/// @return A string that lives as long as the library is loaded. Its wording may change.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmGetBuildInfo() -> *const c_char {
    version::build_info().as_ptr()
}

/// Gives the name of a status, such as "FLASHLLM_STATUS_INVALID_VALUE".
///
/// @param status  Any int.
/// @return A string that lives as long as the library is loaded; "unrecognized status" for other numbers.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmGetErrorName(status: RawStatus) -> *const c_char {
    status::name_of(status).as_ptr()
}

/// Describes a status in a few words.
///
/// @param status  Any int.
/// @return A string that lives as long as the library is loaded; "unrecognized status" for other numbers.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmGetErrorString(status: RawStatus) -> *const c_char {
    status::text_of(status).as_ptr()
}

/// Gives the sentence that the calling thread's last failing call left: the function, the argument, its
/// value and what was needed. A call that succeeds does not change it.
///
/// @return A string that is valid until the next failing call of this thread; "no error" if none failed.
/// @note Each thread has its own; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmGetLastErrorMessage() -> *const c_char {
    status::last_message()
}

/// Gives the CUresult behind the calling thread's last failing call.
///
/// @param[out] cuResult  Receives the CUresult as an int; 0 if no call of this thread failed, or if the
///   driver was not the reason.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: cuResult is NULL.
/// @note Each thread has its own; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetLastDriverError(cuResult: *mut c_int) -> flashllmStatus_t {
    guard("flashllmGetLastDriverError", || {
        let result = out(cuResult, "cuResult")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { result.write(status::last_driver_code()) };
        Ok(())
    })
}

/// Sets where alpha and beta are read from.
///
/// @param handle  The handle.
/// @param mode    Where; FLASHLLM_POINTER_MODE_HOST is the default.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: mode is not an enumerator.
/// @note Thread-safe; allowed during stream capture. Setting it while another thread uses the handle is
///   memory-safe only if that thread's pointers are valid in both modes.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSetPointerMode(
    handle: flashllmHandle_t,
    mode: RawPointerMode,
) -> flashllmStatus_t {
    guard("flashllmSetPointerMode", || {
        let context = object::get::<Context>(handle, "handle")?;
        let mode = flashllmPointerMode_t::try_from(mode)?;
        context.set_device_scalars(mode == flashllmPointerMode_t::FLASHLLM_POINTER_MODE_DEVICE);
        Ok(())
    })
}

/// Tells where alpha and beta are read from.
///
/// @param handle     The handle.
/// @param[out] mode  Receives the mode.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_NULL_POINTER: mode is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmGetPointerMode(
    handle: flashllmHandle_t,
    mode: *mut flashllmPointerMode_t,
) -> flashllmStatus_t {
    guard("flashllmGetPointerMode", || {
        let context = object::get::<Context>(handle, "handle")?;
        let mode = out(mode, "mode")?;
        let value = if context.device_scalars() {
            flashllmPointerMode_t::FLASHLLM_POINTER_MODE_DEVICE
        } else {
            flashllmPointerMode_t::FLASHLLM_POINTER_MODE_HOST
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { mode.write(value) };
        Ok(())
    })
}
