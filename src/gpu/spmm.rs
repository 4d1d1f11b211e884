//! Stand-in until the kernels land.

use super::context::DeviceContext;
use super::kernels::KernelId;
use super::launch::{Launch, launch};
use super::sys::RawStream;
use crate::error::Result;
use crate::format::Header;
use crate::plan::DeviceProps;
use crate::types::DType;

/// Arguments.
pub struct SpmmArgs<'a> {
    /// Header of A.
    pub header: &'a Header,
    /// A.
    pub a: u64,
    /// Columns.
    pub n: usize,
    /// B.
    pub b: u64,
    /// Strides of B (k, n).
    pub b_strides: (usize, usize),
    /// C.
    pub c: u64,
    /// Type of C.
    pub c_dtype: DType,
    /// Strides of C (m, n).
    pub c_strides: (usize, usize),
    /// alpha.
    pub alpha: f32,
    /// beta.
    pub beta: f32,
    /// Workspace.
    pub workspace: u64,
    /// Stream.
    pub stream: RawStream,
}

/// Workspace.
pub fn workspace_bytes(_props: &DeviceProps, _header: &Header, n: usize) -> Result<usize> {
    Ok(n * 256)
}

/// Launches.
pub fn spmm(ctx: &DeviceContext, args: &SpmmArgs<'_>) -> Result<()> {
    let function = ctx.function(KernelId::Standin)?;
    // SAFETY: stand-in.
    unsafe {
        launch(Launch {
            function,
            grid: [1, 1, 1],
            block: [32, 1, 1],
            cluster: [1, 1, 1],
            smem_bytes: 0,
            stream: args.stream,
            params: &mut [],
        })
    }
}
