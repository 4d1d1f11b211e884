//! The only place that launches kernels.

use std::ffi::c_void;
use std::ptr;

use super::sys::{self, LaunchAttribute, LaunchConfig, RawFunction, RawStream};
use crate::error::Result;

/// A launch.
pub struct Launch<'a> {
    /// Kernel.
    pub function: RawFunction,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster; 1, 1, 1 launches without clusters.
    pub cluster: [u32; 3],
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
    let params = l.params.as_mut_ptr();
    if l.cluster == [1, 1, 1] {
        // SAFETY: the caller's contract; the driver copies the parameters before it returns.
        return unsafe {
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
                params,
                ptr::null_mut(),
            )
        }
        .check("cuLaunchKernel");
    }
    let mut attribute = LaunchAttribute {
        id: sys::LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        pad: [0; 4],
        value: [0; 16],
    };
    attribute.value[..3].copy_from_slice(&l.cluster);
    let config = LaunchConfig {
        grid: l.grid,
        block: l.block,
        smem_bytes: l.smem_bytes,
        stream: l.stream,
        attributes: &raw mut attribute,
        attribute_count: 1,
    };
    // SAFETY: the caller's contract; `config` and its attribute live until the call returns.
    unsafe { sys::cuLaunchKernelEx(&raw const config, l.function, params, ptr::null_mut()) }
        .check("cuLaunchKernelEx")
}
