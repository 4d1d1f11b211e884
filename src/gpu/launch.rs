//! The only place that launches kernels.

use std::ffi::c_void;
use std::ptr;

use super::sys::{self, RawFunction, RawStream};
use crate::error::Result;

/// A launch.
pub struct Launch<'a> {
    /// Kernel.
    pub function: RawFunction,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub smem_bytes: u32,
    /// Stream.
    pub stream: RawStream,
    /// A pointer to each parameter, in the kernel's order.
    pub params: &'a mut [*mut c_void],
}

/// Puts a kernel on a stream. The context must be current. Nothing is allocated and nothing waited for.
///
/// # Safety
/// `function` must belong to the current context, and `params` must point to values of the types and in
/// the number that it takes; the device memory they name must live until the work is done.
pub unsafe fn launch(l: Launch<'_>) -> Result<()> {
    // SAFETY: the caller's contract; the driver copies the parameters before it returns.
    unsafe {
        sys::cuLaunchKernel(
            l.function,
            l.grid[0],
            l.grid[1],
            l.grid[2],
            l.block[0],
            l.block[1],
            l.block[2],
            l.smem_bytes,
            l.stream,
            l.params.as_mut_ptr(),
            ptr::null_mut(),
        )
    }
    .check("cuLaunchKernel")
}
