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
    /// It may begin while the kernel ahead of it in the stream still runs: programmatic dependent launch.
    pub programmatic: bool,
    /// Two blocks, side by side along the grid's first dimension, run at the same time and share their shared memory: a cluster.
    pub pairs: bool,
    /// A pointer to each parameter, in the kernel's order.
    pub params: &'a mut [*mut c_void],
}

/// Puts a kernel on a stream. The context must be current. Nothing is allocated and nothing waited for.
///
/// # Safety
/// `function` must belong to the current context, and `params` must point to values of the types that it takes, of as
/// many or more; the device memory they name must live until the work is done. A programmatic
/// launch needs a kernel that waits for the work ahead of it before it touches what that work may touch.
pub unsafe fn launch(l: Launch<'_>) -> Result<()> {
    if l.programmatic || l.pairs {
        let both = [sys::LaunchAttribute::PROGRAMMATIC, sys::LaunchAttribute::PAIRS];
        let attributes = &both[usize::from(!l.programmatic)..1 + usize::from(l.pairs)];
        let config = sys::LaunchConfig {
            grid: l.grid,
            block: l.block,
            smem_bytes: l.smem_bytes,
            stream: l.stream,
            attributes: attributes.as_ptr(),
            attribute_count: attributes.len() as u32,
        };
        // SAFETY: the caller's contract; the driver copies the parameters, and the attributes, before it returns.
        return unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                l.function,
                l.params.as_mut_ptr(),
                ptr::null_mut(),
            )
        }
        .check("cuLaunchKernelEx");
    }
    // SAFETY: as above.
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
