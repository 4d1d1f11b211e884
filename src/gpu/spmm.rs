//! A launch plan becomes launches.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::DeviceContext;
use super::kernels::{Entry, KernelId};
use super::launch::{Launch, launch};
use super::params::{
    FUSED_ANYTHING, FUSED_NOTHING, FUSED_USUAL, GROUP, MAPPED_GROUP, PackParams, SpmmGroup,
    SpmmMappedGroup, SpmmParams, TensorMap,
};
use super::sys::{self, RawStream};
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::log::{self, Level};
use crate::plan::{self, BAccess, DeviceProps, LaunchPlan, Planned, Problem};
use crate::types::{Activation, DType, Format};

/// Distance of columns of B, in elements, from which on TMA does not take them: 2^40 bytes.
const FARTHEST: usize = 1 << 39;

/// One product on the device. Addresses are device addresses in the context's memory.
pub struct SpmmArgs<'a> {
    /// Header of A.
    pub header: &'a Header,
    /// Compressed buffer of A.
    pub a: u64,
    /// Columns of B and C.
    pub n: usize,
    /// B, of A's element type.
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
    /// Nothing ahead in the stream that may still run writes a compressed buffer: kernels that can may begin before
    /// that has ended.
    pub programmatic: bool,
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
    /// What the kernels have to expect, one of FL_FUSED in fl_params.h.
    fn fused(&self) -> u32 {
        let wide = |dtype: Option<DType>| dtype == Some(DType::F32);
        if self.gate.is_some()
            || self.scalars.is_some()
            || wide(self.bias.map(|(_, dtype)| dtype))
            || wide(self.residual.map(|residual| residual.dtype))
        {
            FUSED_ANYTHING
        } else if self.bias.is_some()
            || self.activation != Activation::None
            || self.residual.is_some()
        {
            FUSED_USUAL
        } else {
            FUSED_NOTHING
        }
    }
}

/// Bytes of workspace for this matrix and up to `n` columns.
pub fn workspace_bytes(props: &DeviceProps, header: &Header, n: usize) -> Result<usize> {
    plan::workspace_bytes(props, header, n)
}

/// A second compressed matrix of A's shape, whose activated product is a factor of the first.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// Header of G.
    pub header: &'a Header,
    /// Compressed buffer of G.
    pub a: u64,
    /// Applied to G * B.
    pub activation: Activation,
}

impl SpmmArgs<'_> {
    /// How the kernels read B.
    fn access(&self) -> BAccess {
        let direct = self.b_strides.0 == 1
            && self.b % 16 == 0
            && self.header.cols % 8 == 0
            && (self.b_strides.1 % 8 == 0 && self.b_strides.1 < FARTHEST || self.n == 1);
        if direct { BAccess::Direct } else { BAccess::Packed }
    }
}

/// Puts the product on the stream: one launch, or two when B must be packed first. The context is current.
pub fn spmm(ctx: &DeviceContext, args: &SpmmArgs<'_>) -> Result<()> {
    let problem = Problem::new(args.header, args.n, args.access())?;
    let plan = ctx.plans().select(&problem)?;
    log::log(Level::Hint, "SpMM", || format!("plan {plan:?}"));
    let b = ready_b(ctx, args, &problem, &plan)?;
    product(ctx, args, &problem, &plan, b)
}

/// As [`spmm`], as planned before. With a gate there is one launch more, before the product.
pub fn planned(
    ctx: &DeviceContext,
    args: &SpmmArgs<'_>,
    planned: &Planned,
    gate: Option<&Gate<'_>>,
) -> Result<()> {
    let problem = Problem::new(args.header, args.n, args.access())?;
    let first = planned.gate.as_ref().filter(|_| gate.is_some()).unwrap_or(&planned.product);
    let mut b = ready_b(ctx, args, &problem, first)?;
    let mut epilogue = args.epilogue;
    if let Some(gate) = gate {
        let Some(plan) = &planned.gate else {
            return Err(Error::new(Kind::InternalError, "the plan has no launch for its gate"));
        };
        let factors = args.workspace + planned.gate_offset as u64;
        let activated = SpmmArgs {
            header: gate.header,
            a: gate.a,
            c: factors,
            c_dtype: DType::F32,
            c_strides: (1, problem.m as usize),
            alpha: 1.0,
            beta: 0.0,
            epilogue: Epilogue { activation: gate.activation, ..Epilogue::default() },
            ..*args
        };
        let gate_problem = Problem::new(gate.header, args.n, args.access())?;
        product(ctx, &activated, &gate_problem, plan, b)?;
        epilogue.gate = Some(factors);
        if plan.kernel.planes(problem.n) != planned.product.kernel.planes(problem.n) {
            b = ready_b(ctx, args, &problem, &planned.product)?;
        }
    }
    product(ctx, &SpmmArgs { epilogue, ..*args }, &problem, &planned.product, b)
}

/// Products of different matrices, a few a launch.
pub struct Group<'a> {
    ctx: &'a DeviceContext,
    plan: &'a LaunchPlan,
    dtype: DType,
    stream: RawStream,
    together: usize,
    params: SpmmGroup,
    /// Where the kernel takes them.
    maps: [TensorMap; MAPPED_GROUP],
    filled: usize,
}

impl<'a> Group<'a> {
    /// How many of `count` products of a format share a launch: as few launches as can be, and all about as large.
    pub const fn together(count: usize, format: Format) -> usize {
        let mapped = matches!(format, Format::Banked | Format::Bitmap);
        let most = if mapped { MAPPED_GROUP } else { GROUP };
        match count {
            0 => 1,
            _ => count.div_ceil(count.div_ceil(most)),
        }
    }

    /// An empty one. `plan` is that of [`plan::group`] for all of the `count` that will be pushed, whose matrices have the format
    /// and the type of `header`'s.
    pub fn new(
        ctx: &'a DeviceContext,
        plan: &'a LaunchPlan,
        header: &Header,
        count: usize,
        stream: RawStream,
    ) -> Self {
        Self {
            ctx,
            plan,
            dtype: header.dtype,
            stream,
            together: Self::together(count, header.format),
            params: SpmmGroup::default(),
            maps: <[TensorMap; MAPPED_GROUP]>::default(),
            filled: 0,
        }
    }

    /// Adds a product, which has a workspace of its own. The context is current.
    pub fn push(&mut self, args: &SpmmArgs<'_>) -> Result<()> {
        let problem = Problem::new(args.header, args.n, args.access())?;
        let b = ready_b(self.ctx, args, &problem, self.plan)?;
        let params = spmm_params(args, &problem, self.plan, b)?;
        if self.plan.kernel.takes_map() {
            self.maps[self.filled] = map_of_b(&params, self.plan.kernel)?;
        }
        self.params.p[self.filled] = params;
        self.filled += 1;
        if self.filled == self.together { self.launch() } else { Ok(()) }
    }

    /// Puts what was added since the last launch on the stream.
    pub fn launch(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.filled);
        let Some(widest) = self.params.p[..count].iter().map(|p| p.n).max() else {
            return Ok(());
        };
        let plan = self.plan;
        log::log(Level::Info, "cuLaunchKernel", || {
            let symbol = plan.kernel.entry_symbol(Entry::Group, self.dtype);
            format!("{symbol} {:?}", &self.params.p[..count])
        });
        let function = self.ctx.function(plan.kernel, Entry::Group, self.dtype)?;
        let slices = plan.kernel.facts().slices(widest);
        let mut mapped;
        let mut params = if plan.kernel.takes_map() {
            let p = std::array::from_fn(|i| self.params.p[i]);
            mapped = SpmmMappedGroup { maps: self.maps, p };
            [(&raw mut mapped).cast()]
        } else {
            [(&raw mut self.params).cast()]
        };
        // SAFETY: the kernel takes one SpmmGroup, or one SpmmMappedGroup, by value and reads as many of its products as the grid
        // has layers; the rest is as for a single product.
        unsafe {
            launch(Launch {
                function,
                grid: [plan.ctas, slices, count as u32],
                block: [plan.threads, 1, 1],
                smem_bytes: plan.smem_bytes,
                stream: self.stream,
                programmatic: false,
                pairs: false,
                params: &mut params,
            })
        }
    }
}

/// B as the kernel reads it, in the workspace if it cannot where it is: address and distance of columns (of planes 0).
#[inline(always)] // capi/spmm.rs says why.
fn ready_b(
    ctx: &DeviceContext,
    args: &SpmmArgs<'_>,
    problem: &Problem,
    plan: &LaunchPlan,
) -> Result<(u64, usize)> {
    match problem.b {
        BAccess::Direct if !plan.kernel.reads_planes() => Ok((args.b, args.b_strides.1)),
        BAccess::Direct | BAccess::Packed => pack(ctx, args, problem, plan),
    }
}

/// The launch of the product itself.
fn product(
    ctx: &DeviceContext,
    args: &SpmmArgs<'_>,
    problem: &Problem,
    plan: &LaunchPlan,
    b: (u64, usize),
) -> Result<()> {
    // Planes were packed by a launch of this call, which began when the work ahead had ended, or early because it was allowed to:
    // in both cases nobody writes a compressed buffer any more.
    let programmatic = args.programmatic || plan.kernel.reads_planes() && ctx.captures_overlaps();
    let mut params = spmm_params(args, problem, plan, b)?;
    let mut map = TensorMap::default();
    if plan.kernel.takes_map() {
        map = map_of_b(&params, plan.kernel)?;
    }
    let entry = if plan.pairs { Entry::Pair } else { Entry::Product };
    log::log(Level::Info, "cuLaunchKernel", || {
        format!("{} {params:?}", plan.kernel.entry_symbol(entry, args.header.dtype))
    });
    // SAFETY: the kernel takes one SpmmParams by value, and behind it some a TensorMap, which the others do not see; the plan's
    // grid and shared memory are those that the kernel expects, the matrix was validated, and the caller vouches for the addresses.
    unsafe {
        launch(Launch {
            function: ctx.function(plan.kernel, entry, args.header.dtype)?,
            // A plan may have been made for more columns, and a slice without any would be an error.
            grid: [plan.ctas, plan.kernel.facts().slices(problem.n), 1],
            block: [plan.threads, 1, 1],
            smem_bytes: plan.smem_bytes,
            stream: args.stream,
            programmatic: programmatic && plan.may_begin_early(),
            pairs: plan.pairs,
            params: &mut [(&raw mut params).cast(), (&raw mut map).cast()],
        })
    }
}

/// Where B lies, for boxes of 64 of K and the kernel's columns.
fn map_of_b(params: &SpmmParams, kernel: KernelId) -> Result<TensorMap> {
    let mut map = TensorMap::default();
    let sizes = [u64::from(params.k), u64::from(params.n)];
    // A single column has no next one, and may be at any distance of it.
    let stride = if params.n == 1 { sizes[0] } else { params.b_stride_n.unsigned_abs() };
    let strides = [stride * 2];
    let box_sizes = [64, kernel.facts().n_tiles * 8];
    let element_strides = [1, 1];
    // SAFETY: the driver reads two sizes, one stride, two of each of the others, and writes one map, which is 64-byte aligned.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            sys::TENSOR_MAP_DATA_TYPE_UINT16,
            2,
            params.b,
            sizes.as_ptr(),
            strides.as_ptr(),
            box_sizes.as_ptr(),
            element_strides.as_ptr(),
            0,
            sys::TENSOR_MAP_SWIZZLE_128B,
            sys::TENSOR_MAP_L2_PROMOTION_256B,
            0,
        )
    }
    .check("cuTensorMapEncodeTiled")?;
    Ok(map)
}

/// The kernel's parameters.
#[inline(always)] // capi/spmm.rs says why.
fn spmm_params(
    args: &SpmmArgs<'_>,
    problem: &Problem,
    plan: &LaunchPlan,
    (b, b_stride_n): (u64, usize),
) -> Result<SpmmParams> {
    let header = args.header;
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
        k: problem.k.next_multiple_of(8),
        // Of this matrix: a plan for a group is for the largest one.
        row_tiles: problem.m.div_ceil(plan.kernel.facts().tile_rows),
        k_blocks: plan.k_blocks,
        slot_bytes: plan.slot_bytes,
        a_slots: plan.a_slots,
        c_is_f32: u32::from(args.c_dtype == DType::F32),
        alpha: args.alpha,
        beta: args.beta,
        parts: plan.parts,
        group_tiles: plan.group_tiles,
        fused: epilogue.fused(),
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
        deals_tiles: u32::from(plan.deals_tiles),
        ..SpmmParams::default()
    };
    params.deal(plan.ctas);
    Ok(params)
}

/// Packs B into the workspace, as columns or as planes: address there, and distance of columns.
fn pack(
    ctx: &DeviceContext,
    args: &SpmmArgs<'_>,
    problem: &Problem,
    plan: &LaunchPlan,
) -> Result<(u64, usize)> {
    let dst = args.workspace + plan.packed_offset as u64;
    let k_padded = problem.k.next_multiple_of(8);
    let blocks = |along_k: u32, along_n: u32| {
        let most = i32::MAX.unsigned_abs();
        along_k.checked_mul(along_n).filter(|&blocks| blocks <= most).ok_or_else(|| {
            Error::new(
                Kind::SizeOverflow,
                format!(
                    "SpMM: K = {} and N = {} make {along_k} times {along_n} pieces of B to pack, at most {most} are possible",
                    problem.k, problem.n
                ),
            )
        })
    };
    let (kernel, stride_n, planes, blocks, block) =
        if let Some(planes) = plan.kernel.planes(problem.n) {
            let blocks = blocks(plan.k_blocks, planes)?;
            (KernelId::PackBPlanesSm90, 0, planes, blocks, [plan::CHUNK_COLS, 1, 1])
        } else {
            let blocks = blocks(k_padded.div_ceil(32), problem.n.div_ceil(32))?;
            (KernelId::PackBSm80, k_padded as usize, 0, blocks, [32, 8, 1])
        };
    let mut params = PackParams {
        src: args.b,
        dst,
        stride_k: stride(args.b_strides.0)?,
        stride_n: stride(args.b_strides.1)?,
        dst_stride_n: stride(stride_n)?,
        k: problem.k,
        n: problem.n,
        k_padded,
        planes,
    };
    log::log(Level::Info, "cuLaunchKernel", || format!("{} {params:?}", kernel.symbol(DType::F16)));
    // SAFETY: the kernel takes one PackParams by value; the workspace holds the plan's packed_bytes from packed_offset on, which
    // are as many as the plan's kernel reads.
    unsafe {
        launch(Launch {
            function: ctx.function(kernel, Entry::Product, DType::F16)?,
            grid: [blocks, 1, 1],
            block,
            smem_bytes: 0,
            stream: args.stream,
            programmatic: args.programmatic && kernel.is_for_hopper(),
            pairs: false,
            params: &mut [(&raw mut params).cast()],
        })?;
    }
    Ok((dst, stride_n))
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

    #[test]
    fn products_are_dealt_to_the_fewest_launches() {
        for (format, most) in [(Format::Slots, GROUP), (Format::Banked, MAPPED_GROUP)] {
            for count in 1..200 {
                let together = Group::together(count, format);
                assert!((1..=most).contains(&together));
                assert_eq!(count.div_ceil(together), count.div_ceil(most), "{count} {format:?}");
            }
        }
    }
}
