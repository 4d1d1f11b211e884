//! A launch plan becomes launches.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::DeviceContext;
use super::kernels::KernelId;
use super::launch::{Launch, launch};
use super::params::{PackParams, SpmmParams};
use super::sys::RawStream;
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::plan::{self, BAccess, DeviceProps, LaunchPlan, Problem};
use crate::types::{Activation, DType};

/// One product on the device. Addresses are device addresses in the context's memory.
pub struct SpmmArgs<'a> {
    /// Header of A.
    pub header: &'a Header,
    /// Compressed buffer of A.
    pub a: u64,
    /// Columns of B and C.
    pub n: usize,
    /// B, fp16.
    pub b: u64,
    /// Strides of B along (k, n), elements.
    pub b_strides: (usize, usize),
    /// C.
    pub c: u64,
    /// Element type of C.
    pub c_dtype: DType,
    /// Strides of C along (m, n), elements.
    pub c_strides: (usize, usize),
    /// Scale of the product.
    pub alpha: f32,
    /// Scale of C.
    pub beta: f32,
    /// What follows the product.
    pub epilogue: Epilogue,
    /// Workspace of [`workspace_bytes`] bytes, 256-byte aligned.
    pub workspace: u64,
    /// Stream.
    pub stream: RawStream,
}

/// C = activation(alpha * A * B + beta * C + bias) * gate + residual. Addresses are device addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue {
    /// M elements.
    pub bias: Option<(u64, DType)>,
    /// Applied to every element.
    pub activation: Activation,
    /// fp32, element (m, n) at n * M + m.
    pub gate: Option<u64>,
    /// Added at the end; may be C itself.
    pub residual: Option<Residual>,
    /// Where alpha and beta are, in place of the arguments.
    pub scalars: Option<(u64, u64)>,
}

/// A matrix of C's shape.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    /// Element (0, 0).
    pub address: u64,
    /// Element type.
    pub dtype: DType,
    /// Strides along (m, n), elements.
    pub strides: (usize, usize),
}

impl Epilogue {
    /// Whether the product alone is not enough.
    fn is_used(&self) -> bool {
        self.bias.is_some()
            || self.activation != Activation::None
            || self.gate.is_some()
            || self.residual.is_some()
            || self.scalars.is_some()
    }
}

/// Bytes of workspace for this matrix and up to `n` columns.
pub fn workspace_bytes(props: &DeviceProps, header: &Header, n: usize) -> Result<usize> {
    plan::workspace_bytes(props, header, n)
}

/// Puts the product on the stream: one launch, or two when B must be packed first. The context is current.
pub fn spmm(ctx: &DeviceContext, args: &SpmmArgs<'_>) -> Result<()> {
    let header = args.header;
    let direct = args.b_strides.0 == 1
        && args.b % 16 == 0
        && header.cols % 8 == 0
        && (args.b_strides.1 % 8 == 0 || args.n == 1);
    let access = if direct { BAccess::Direct } else { BAccess::Packed };
    let problem = Problem::new(header, args.n, access)?;
    let plan = plan::select(&problem, ctx.props())?;
    let (b, b_stride_n) = match access {
        BAccess::Direct => (args.b, args.b_strides.1),
        BAccess::Packed => (pack(ctx, args, &problem, &plan)?, plan.packed_ld),
    };
    let epilogue = &args.epilogue;
    let (bias, bias_type) = epilogue.bias.unwrap_or((0, DType::F32));
    let (alpha_at, beta_at) = epilogue.scalars.unwrap_or((0, 0));
    let residual =
        epilogue.residual.unwrap_or(Residual { address: 0, dtype: DType::F32, strides: (0, 0) });
    let mut params = SpmmParams {
        table: args.a + header.table_offset,
        data: args.a + header.data_offset,
        b,
        c: args.c,
        partials: args.workspace + plan.partials_offset as u64,
        counters: args.workspace,
        nonce: next_nonce(),
        b_stride_n: stride(b_stride_n)?,
        c_stride_m: stride(args.c_strides.0)?,
        c_stride_n: stride(args.c_strides.1)?,
        m: problem.m,
        n: problem.n,
        // Packed columns are zero up to a multiple of 8, the unit of the kernels' copies.
        k: if direct { problem.k } else { problem.k.next_multiple_of(8) },
        row_tiles: plan.row_tiles,
        k_blocks: plan.k_blocks,
        block_cols: problem.block_cols,
        slot_bytes: plan.slot_bytes,
        a_slots: plan.a_slots,
        c_is_f32: u32::from(args.c_dtype == DType::F32),
        alpha: args.alpha,
        beta: args.beta,
        parts: plan.parts,
        group_tiles: plan.group_tiles,
        fused: u32::from(epilogue.is_used()),
        bias,
        gate: epilogue.gate.unwrap_or(0),
        residual: residual.address,
        alpha_at,
        beta_at,
        residual_stride_m: stride(residual.strides.0)?,
        residual_stride_n: stride(residual.strides.1)?,
        bias_type: bias_type as u32,
        residual_type: residual.dtype as u32,
        activation: epilogue.activation as u32,
        reserved: 0,
    };
    // SAFETY: the kernel takes one SpmmParams by value; the plan's grid and shared memory are those that
    // the kernel expects, the matrix was validated, and the caller vouches for the addresses.
    unsafe {
        launch(Launch {
            function: ctx.function(plan.kernel)?,
            grid: [plan.ctas, plan.slices, 1],
            block: [plan.threads, 1, 1],
            smem_bytes: plan.smem_bytes,
            stream: args.stream,
            params: &mut [(&raw mut params).cast()],
        })
    }
}

/// Packs B into the workspace and returns its address there.
fn pack(
    ctx: &DeviceContext,
    args: &SpmmArgs<'_>,
    problem: &Problem,
    plan: &LaunchPlan,
) -> Result<u64> {
    let dst = args.workspace + plan.packed_offset as u64;
    let k_padded = u32::try_from(plan.packed_ld).unwrap_or(u32::MAX);
    let mut params = PackParams {
        src: args.b,
        dst,
        stride_k: stride(args.b_strides.0)?,
        stride_n: stride(args.b_strides.1)?,
        dst_stride_n: stride(plan.packed_ld)?,
        k: problem.k,
        n: problem.n,
        k_padded,
        reserved: 0,
    };
    // SAFETY: the kernel takes one PackParams by value; the workspace holds packed_ld * n elements from
    // packed_offset on.
    unsafe {
        launch(Launch {
            function: ctx.function(KernelId::PackBSm80)?,
            grid: [k_padded.div_ceil(32), problem.n.div_ceil(32), 1],
            block: [32, 8, 1],
            smem_bytes: 0,
            stream: args.stream,
            params: &mut [(&raw mut params).cast()],
        })?;
    }
    Ok(dst)
}

/// A value that no earlier launch of this process used and that left-over bytes of a workspace do not hold
/// but by a chance of 2^-48 (fl_streamk.cuh says what it is for).
fn next_nonce() -> u64 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0_u64)));
    loop {
        let nonce = NEXT.fetch_add(1, Ordering::Relaxed) << 16;
        if nonce != 0 {
            return nonce;
        }
    }
}

fn stride(elements: usize) -> Result<i64> {
    i64::try_from(elements).map_err(|_| {
        Error::new(
            Kind::SizeOverflow,
            format!("SpMM: a stride of {elements} elements does not fit 63 bits"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_differ_and_leave_the_count_bits_clear() {
        let (a, b) = (next_nonce(), next_nonce());
        assert_ne!(a, b);
        assert_eq!(a & 0xffff, 0);
    }
}
