//! Our own declarations of the driver's entry points, and the mapping of its result codes.
//!
//! `cust` declares most of these too, but with a Rust enum of CUDA 11.4 as the result: a newer driver's
//! code would be undefined behaviour. What is declared here returns a plain integer. The symbols are the hidden
//! trampolines of shim/cuda_shim.c.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::ops::RangeInclusive;
use std::ptr;

use super::params::TensorMap;
use crate::error::{Error, Kind, Result};

/// CUcontext.
pub type RawContext = *mut c_void;
/// CUstream.
pub type RawStream = *mut c_void;
/// CUevent.
pub type RawEvent = *mut c_void;
/// CUfunction.
pub type RawFunction = *mut c_void;

/// CUresult as an integer: every value is a value.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CuResult(pub c_int);

/// CU_FUNC_ATTRIBUTE_NUM_REGS.
pub const FUNC_ATTRIBUTE_NUM_REGS: c_int = 4;
/// CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.
pub const FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: c_int = 8;
/// CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT.
pub const DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: c_int = 16;
/// CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE.
pub const DEVICE_ATTRIBUTE_L2_CACHE_SIZE: c_int = 38;
/// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR.
pub const DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: c_int = 75;
/// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR.
pub const DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: c_int = 76;
/// CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR.
pub const DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: c_int = 81;
/// CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN.
pub const DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: c_int = 97;
/// CU_MEMHOSTALLOC_PORTABLE: pinned for every context.
pub const MEMHOSTALLOC_PORTABLE: c_uint = 1;
/// CU_EVENT_DEFAULT: the event takes the time.
pub const EVENT_DEFAULT: c_uint = 0;
/// CU_EVENT_DISABLE_TIMING.
pub const EVENT_DISABLE_TIMING: c_uint = 2;
/// CU_STREAM_CAPTURE_STATUS_NONE.
pub const STREAM_CAPTURE_STATUS_NONE: c_int = 0;
/// CUDA_ERROR_OUT_OF_MEMORY.
const ERROR_OUT_OF_MEMORY: c_int = 2;
/// CUDA_ERROR_STUB_LIBRARY: what answers is not a driver.
pub const ERROR_STUB_LIBRARY: c_int = 34;
/// CUDA_ERROR_NO_DEVICE.
pub const ERROR_NO_DEVICE: c_int = 100;
/// CUDA_ERROR_INVALID_DEVICE.
const ERROR_INVALID_DEVICE: c_int = 101;
/// CUDA_ERROR_INVALID_CONTEXT.
const ERROR_INVALID_CONTEXT: c_int = 201;
/// CUDA_ERROR_NO_BINARY_FOR_GPU.
const ERROR_NO_BINARY_FOR_GPU: c_int = 209;
/// CUDA_ERROR_INVALID_PTX.
const ERROR_INVALID_PTX: c_int = 218;
/// CUDA_ERROR_UNSUPPORTED_PTX_VERSION.
const ERROR_UNSUPPORTED_PTX_VERSION: c_int = 222;
/// CUDA_ERROR_CONTEXT_IS_DESTROYED.
const ERROR_CONTEXT_IS_DESTROYED: c_int = 709;
/// CUDA_ERROR_ILLEGAL_ADDRESS and what else work on a device fails with.
const ERRORS_OF_WORK: RangeInclusive<c_int> = 700..=719;
/// CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED and what else a capture refuses with.
const ERRORS_OF_CAPTURE: RangeInclusive<c_int> = 900..=908;
/// CUDA_ERROR_STREAM_CAPTURE_IMPLICIT.
pub const ERROR_STREAM_CAPTURE_IMPLICIT: c_int = 906;
/// CU_STREAM_LEGACY: the default stream, which blocking streams wait for.
pub const STREAM_LEGACY: RawStream = ptr::without_provenance_mut(1);
/// CU_STREAM_CAPTURE_MODE_RELAXED.
pub const STREAM_CAPTURE_MODE_RELAXED: c_int = 2;
/// CU_TENSOR_MAP_DATA_TYPE_UINT16: what is copied has no type but its size.
pub const TENSOR_MAP_DATA_TYPE_UINT16: c_int = 1;
/// CU_TENSOR_MAP_SWIZZLE_128B.
pub const TENSOR_MAP_SWIZZLE_128B: c_int = 3;
/// CU_TENSOR_MAP_L2_PROMOTION_L2_256B.
pub const TENSOR_MAP_L2_PROMOTION_256B: c_int = 3;
/// CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION.
const LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: c_int = 4;
/// CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION.
const LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: c_int = 6;

/// CUlaunchAttribute, whose value is a union of 64 bytes that begins with whatever it holds.
#[repr(C)]
pub(super) struct LaunchAttribute {
    id: c_int,
    padding: c_int,
    value: [u64; 8],
}

impl LaunchAttribute {
    /// The launch may begin before the one ahead of it in the stream has ended.
    pub(super) const PROGRAMMATIC: Self = Self {
        id: LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        padding: 0,
        value: [1, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Two CTAs, side by side along x, are a cluster.
    pub(super) const PAIRS: Self = Self {
        id: LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        padding: 0,
        // Three 32-bit numbers.
        value: [2 | 1 << 32, 1, 0, 0, 0, 0, 0, 0],
    };
}

/// CUlaunchConfig.
#[repr(C)]
pub(super) struct LaunchConfig {
    pub(super) grid: [c_uint; 3],
    pub(super) block: [c_uint; 3],
    pub(super) smem_bytes: c_uint,
    pub(super) stream: RawStream,
    pub(super) attributes: *const LaunchAttribute,
    pub(super) attribute_count: c_uint,
}

const _: () = assert!(size_of::<LaunchAttribute>() == 72 && size_of::<LaunchConfig>() == 56);

unsafe extern "C" {
    /// 1 if the driver library could be opened.
    fn flashllm_cuda_driver_present() -> c_int;
    /// The result of this thread's last driver call that failed, before the shim folded what cust does not know.
    fn flashllm_cuda_last_raw() -> c_int;

    fn cuGetErrorName(error: c_int, name: *mut *const c_char) -> CuResult;

    pub(super) fn cuDriverGetVersion(version: *mut c_int) -> CuResult;
    pub(super) fn cuDeviceGetAttribute(
        value: *mut c_int,
        attribute: c_int,
        device: c_int,
    ) -> CuResult;

    pub(super) fn cuCtxGetCurrent(context: *mut RawContext) -> CuResult;
    pub(super) fn cuDevicePrimaryCtxRetain(context: *mut RawContext, device: c_int) -> CuResult;
    pub(super) fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> CuResult;
    pub(super) fn cuCtxPushCurrent_v2(context: RawContext) -> CuResult;
    pub(super) fn cuCtxPopCurrent_v2(context: *mut RawContext) -> CuResult;

    pub(super) fn cuStreamGetCtx(stream: RawStream, context: *mut RawContext) -> CuResult;
    pub(super) fn cuStreamIsCapturing(stream: RawStream, status: *mut c_int) -> CuResult;
    pub(super) fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int) -> CuResult;
    pub(super) fn cuStreamSynchronize(stream: RawStream) -> CuResult;

    pub(super) fn cuMemcpyHtoDAsync_v2(
        dst: u64,
        src: *const c_void,
        bytes: usize,
        stream: RawStream,
    ) -> CuResult;
    pub(super) fn cuMemcpyDtoHAsync_v2(
        dst: *mut c_void,
        src: u64,
        bytes: usize,
        stream: RawStream,
    ) -> CuResult;
    pub(super) fn cuMemcpyDtoDAsync_v2(
        dst: u64,
        src: u64,
        bytes: usize,
        stream: RawStream,
    ) -> CuResult;

    pub(super) fn cuMemHostAlloc(memory: *mut *mut c_void, bytes: usize, flags: c_uint)
    -> CuResult;
    pub(super) fn cuMemFreeHost(memory: *mut c_void) -> CuResult;
    pub(super) fn cuEventCreate(event: *mut RawEvent, flags: c_uint) -> CuResult;
    pub(super) fn cuEventDestroy_v2(event: RawEvent) -> CuResult;
    pub(super) fn cuEventRecord(event: RawEvent, stream: RawStream) -> CuResult;
    pub(super) fn cuEventSynchronize(event: RawEvent) -> CuResult;
    pub(super) fn cuEventElapsedTime(
        milliseconds: *mut f32,
        start: RawEvent,
        end: RawEvent,
    ) -> CuResult;

    pub(super) fn cuMemsetD8Async(
        dst: u64,
        value: c_uchar,
        bytes: usize,
        stream: RawStream,
    ) -> CuResult;

    pub(super) fn cuFuncGetAttribute(
        value: *mut c_int,
        attribute: c_int,
        function: RawFunction,
    ) -> CuResult;
    pub(super) fn cuFuncSetAttribute(
        function: RawFunction,
        attribute: c_int,
        value: c_int,
    ) -> CuResult;
    pub(super) fn cuLaunchKernel(
        function: RawFunction,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        smem_bytes: c_uint,
        stream: RawStream,
        params: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> CuResult;
    pub(super) fn cuTensorMapEncodeTiled(
        map: *mut TensorMap,
        dtype: c_int,
        rank: c_uint,
        address: u64,
        sizes: *const u64,
        strides: *const u64,
        box_sizes: *const c_uint,
        element_strides: *const c_uint,
        interleave: c_int,
        swizzle: c_int,
        l2_promotion: c_int,
        fill: c_int,
    ) -> CuResult;
    pub(super) fn cuLaunchKernelEx(
        config: *const LaunchConfig,
        function: RawFunction,
        params: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> CuResult;
}

/// Whether there is a driver library at all.
pub fn driver_present() -> bool {
    // SAFETY: takes nothing; opens the library once.
    unsafe { flashllm_cuda_driver_present() != 0 }
}

impl CuResult {
    /// Success, or the error that names `call`.
    pub fn check(self, call: &str) -> Result<()> {
        if self.0 == 0 { Ok(()) } else { Err(last_error(call)) }
    }
}

/// The error of this thread's last driver call, which was `call` and failed.
#[cold]
pub fn last_error(call: &str) -> Error {
    // SAFETY: takes nothing; reads a thread-local integer.
    let code = unsafe { flashllm_cuda_last_raw() };
    error(code, call)
}

/// The error of `call` that gave `code`.
#[cold]
pub fn error(code: c_int, call: &str) -> Error {
    let (kind, meaning) = classify(code);
    Error::from_driver(kind, code, format!("{call} failed with {} ({code}){meaning}", name(code)))
}

/// The class of a result code, and what the sentence adds.
fn classify(code: c_int) -> (Kind, &'static str) {
    match code {
        ERROR_STUB_LIBRARY => {
            (Kind::NoDevice, ": the NVIDIA driver library libcuda.so.1 was not found")
        }
        ERROR_NO_DEVICE | ERROR_INVALID_DEVICE => {
            (Kind::NoDevice, ": there is no usable CUDA device")
        }
        ERROR_OUT_OF_MEMORY => (Kind::AllocFailed, ": out of device memory"),
        ERROR_INVALID_CONTEXT | ERROR_CONTEXT_IS_DESTROYED => (
            Kind::WrongContext,
            ": the handle's CUDA context is not usable, or another one is meant",
        ),
        ERROR_NO_BINARY_FOR_GPU | ERROR_INVALID_PTX | ERROR_UNSUPPORTED_PTX_VERSION => {
            (Kind::ArchMismatch, ": no kernel image suits this device and driver")
        }
        code if ERRORS_OF_WORK.contains(&code) => {
            (Kind::ExecutionFailed, ": work on the device failed, perhaps launched earlier")
        }
        code if ERRORS_OF_CAPTURE.contains(&code) => {
            (Kind::NotSupported, ": a stream capture forbids it")
        }
        _ => (Kind::DriverError, ""),
    }
}

/// The driver's name of a code. It may be newer than any list of ours, so the driver is asked.
fn name(code: c_int) -> String {
    let mut text: *const c_char = ptr::null();
    // SAFETY: `text` is a valid place for a pointer.
    let result = unsafe { cuGetErrorName(code, &raw mut text) };
    if result.0 != 0 || text.is_null() {
        return "an unknown result".to_owned();
    }
    // SAFETY: the driver gave a static NUL-terminated string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_result_has_its_kind() {
        for (code, kind) in [
            (1, Kind::DriverError),
            (2, Kind::AllocFailed),
            (34, Kind::NoDevice),
            (100, Kind::NoDevice),
            (101, Kind::NoDevice),
            (201, Kind::WrongContext),
            (209, Kind::ArchMismatch),
            (218, Kind::ArchMismatch),
            (222, Kind::ArchMismatch),
            (500, Kind::DriverError),
            (700, Kind::ExecutionFailed),
            (709, Kind::WrongContext),
            (719, Kind::ExecutionFailed),
            (720, Kind::DriverError),
            (900, Kind::NotSupported),
            (912, Kind::DriverError),
            (123_456, Kind::DriverError),
            (-1, Kind::DriverError),
        ] {
            let e = error(code, "cuSomething");
            assert_eq!(e.kind(), kind, "{code}");
            assert_eq!(e.driver_code(), Some(code));
            assert!(
                e.message().contains("cuSomething") && e.message().contains(&code.to_string()),
                "{e}"
            );
        }
    }
}
