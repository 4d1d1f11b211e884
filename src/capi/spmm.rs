//! C = alpha * op(A) * op(B) + beta * C with a compressed A.
//!
//! Our part of a call was once mostly handing results over: what does not fit the registers is written at each return,
//! and read again at once in other pieces, for which the processor waits. So the functions that every product passes are
//! inlined.

use std::ffi::c_void;
use std::slice;
use std::sync::Arc;

use super::batch::Way;
use super::context::place;
use super::convert::{disjoint, host_buffer};
use super::guard::{aligned, guard, host_slice, host_slice_mut, null, out, scalar};
use super::object::{self, Look};
use super::status::flashllmStatus_t;
use super::types::{
    RawDataType, RawOperation, RawSpMMAlg, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t,
    flashllmDataType_t, flashllmDnMatDescr_t, flashllmHandle_t, flashllmOperation_t,
    flashllmSpMMAlg_t,
};
use crate::descr::{Batch, Buffer, DnMat, DnView, SpMat};
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::gpu::DeviceContext;
use crate::gpu::spmm::{Epilogue, Gate, Group, Residual, SpmmArgs, workspace_bytes};
use crate::handle::{Context, Device};
use crate::host::{self, Dense, DenseMut, HostSpmm};
use crate::log::{self, Level};
use crate::plan::{self, GroupShape, LaunchPlan, Planned, WORKSPACE_ALIGN, gate_bytes};
use crate::types::{Activation, DType, checked_mul};

/// The arguments that the three functions share, as C gives them.
struct Raw {
    handle: flashllmHandle_t,
    op_a: RawOperation,
    op_b: RawOperation,
    alpha: *const c_void,
    mat_a: flashllmConstSpMatDescr_t,
    mat_b: flashllmConstDnMatDescr_t,
    beta: *const c_void,
    mat_c: flashllmDnMatDescr_t,
    compute_type: RawDataType,
    alg: RawSpMMAlg,
}

/// Factors of the product and of C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalars {
    /// Their values.
    Values(f32, f32),
    /// Their addresses in device memory.
    Device(u64, u64),
}

impl Scalars {
    /// # Safety
    /// alpha and beta must be NULL, or readable floats where the handle's pointer mode says.
    #[inline(always)]
    pub(super) unsafe fn read(
        context: &Context,
        alpha: *const c_void,
        beta: *const c_void,
    ) -> Result<Self> {
        let (alpha, beta) = (alpha.cast::<f32>(), beta.cast::<f32>());
        if context.device_scalars() && matches!(context.device(), Device::Cuda(_)) {
            for (name, pointer) in [("alpha", alpha), ("beta", beta)] {
                if pointer.is_null() {
                    return Err(null(name));
                }
                aligned(pointer.addr(), size_of::<f32>(), name)?;
            }
            return Ok(Self::Device(alpha.addr() as u64, beta.addr() as u64));
        }
        // SAFETY: NULL or readable host memory by the caller's contract.
        let alpha = unsafe { scalar(alpha, "alpha") }?;
        // SAFETY: as above.
        let beta = unsafe { scalar(beta, "beta") }?;
        Ok(Self::Values(alpha, beta))
    }
}

/// The operands of a product.
pub(super) struct Operands {
    pub(super) context: Arc<Context>,
    pub(super) a: Arc<SpMat>,
    pub(super) b: DnView,
    pub(super) c: DnView,
}

impl Operands {
    #[inline(always)]
    pub(super) fn get(
        handle: flashllmHandle_t,
        mat_a: flashllmConstSpMatDescr_t,
        mat_b: flashllmConstDnMatDescr_t,
        mat_c: flashllmDnMatDescr_t,
    ) -> Result<Self> {
        Self::look_up(&object::look(), handle, mat_a, mat_b, mat_c)
    }

    #[inline(always)]
    pub(super) fn look_up(
        look: &Look,
        handle: flashllmHandle_t,
        mat_a: flashllmConstSpMatDescr_t,
        mat_b: flashllmConstDnMatDescr_t,
        mat_c: flashllmDnMatDescr_t,
    ) -> Result<Self> {
        let context = look.get::<Context>(handle, "handle")?;
        let a = look.get::<SpMat>(mat_a, "matA")?;
        let b = look.read(mat_b, "matB", DnMat::view)?;
        let (c, read_only) = look.read(mat_c, "matC", |c: &DnMat| (c.view(), c.read_only()))?;
        if read_only {
            return Err(Error::invalid(
                "matC was made by flashllmCreateConstDnMat: its values are const",
            ));
        }
        Ok(Self { context, a, b, c })
    }
}

/// Checks the operations and the compute type, and gives opB.
#[inline(always)]
pub(super) fn operations(
    op_a: RawOperation,
    op_b: RawOperation,
    compute_type: RawDataType,
    alg: RawSpMMAlg,
) -> Result<flashllmOperation_t> {
    if flashllmOperation_t::try_from(op_a)? != flashllmOperation_t::FLASHLLM_OPERATION_NON_TRANSPOSE
    {
        return Err(Error::new(
            Kind::NotSupported,
            "opA must be FLASHLLM_OPERATION_NON_TRANSPOSE: the formats store A in the order of its rows",
        ));
    }
    let op_b = flashllmOperation_t::try_from(op_b)?;
    if DType::try_from(compute_type)? != DType::F32 {
        return Err(Error::new(
            Kind::NotSupported,
            "computeType must be FLASHLLM_R_32F: products add up in fp32",
        ));
    }
    flashllmSpMMAlg_t::try_from(alg)?;
    Ok(op_b)
}

/// A checked product.
pub(super) struct Product {
    pub(super) on: Operands,
    /// Columns of one op(B) and one C.
    pub(super) n: usize,
    /// Strides of op(B) along K and along N, in elements.
    b_strides: (usize, usize),
    /// B's and C's; the counts are the same.
    b_batch: Batch,
    c_batch: Batch,
}

/// A batch as products of the same shape: one with more columns where the strides allow that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    /// How many.
    pub(super) count: usize,
    /// Columns of each.
    pub(super) n: usize,
    /// Elements from the B, C and residual of one to those of the next.
    steps: (usize, usize, usize),
    /// Strides of B, C and residual along N.
    columns: (usize, usize, usize),
}

impl Pieces {
    /// As a group of products, whose matrix is the same one.
    fn shape(&self, header: &Header) -> GroupShape {
        GroupShape::batch(header, self.n, self.count)
    }
}

/// What follows a product.
#[derive(Clone, Copy, Default)]
pub(super) struct Fused<'a> {
    /// Address and element type of M elements.
    pub(super) bias: Option<(usize, DType)>,
    /// Of the product, or of the gate's if there is one.
    pub(super) activation: Activation,
    /// The compressed gate.
    pub(super) gate: Option<(&'a Header, Buffer)>,
    /// A matrix to add.
    pub(super) residual: Option<&'a DnView>,
    /// The plan, if one was made before.
    pub(super) planned: Option<&'a Planned>,
    /// Whether it may begin before what is ahead of it in the stream has ended.
    pub(super) programmatic: bool,
}

impl Raw {
    /// Checks in the documented order up to the host scalars.
    ///
    /// # Safety
    /// alpha and beta must be NULL, or readable floats where the handle's pointer mode says.
    #[inline(always)]
    unsafe fn operands(&self) -> Result<(Operands, flashllmOperation_t, Scalars)> {
        let on = Operands::get(self.handle, self.mat_a, self.mat_b, self.mat_c)?;
        let op_b = operations(self.op_a, self.op_b, self.compute_type, self.alg)?;
        // SAFETY: the caller's contract.
        let scalars = unsafe { Scalars::read(&on.context, self.alpha, self.beta) }?;
        Ok((on, op_b, scalars))
    }
}

impl Product {
    /// Checks element types and shapes.
    #[inline(always)]
    pub(super) fn new(on: Operands, op_b: flashllmOperation_t) -> Result<Self> {
        let type_of = |dtype: DType| flashllmDataType_t::from(dtype);
        if on.b.dtype != on.a.dtype() {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!(
                    "matB holds {:?} and must hold matA's {:?}",
                    type_of(on.b.dtype),
                    type_of(on.a.dtype())
                ),
            ));
        }
        if on.c.dtype != on.a.dtype() && on.c.dtype != DType::F32 {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!(
                    "matC holds {:?} and must hold FLASHLLM_R_32F or matA's {:?}",
                    type_of(on.c.dtype),
                    type_of(on.a.dtype())
                ),
            ));
        }
        let (m, k) = (on.a.rows(), on.a.cols());
        let b = &on.b.layout;
        let (row, col) = b.strides();
        let (b_k, b_n, b_strides, op) = match op_b {
            flashllmOperation_t::FLASHLLM_OPERATION_NON_TRANSPOSE => {
                (b.rows, b.cols, (row, col), "matB")
            }
            flashllmOperation_t::FLASHLLM_OPERATION_TRANSPOSE => {
                (b.cols, b.rows, (col, row), "the transpose of matB")
            }
        };
        if b_k != k {
            return Err(Error::invalid(format!(
                "{op} has {b_k} rows, and matA is {m} x {k}: it must have {k}"
            )));
        }
        let c = &on.c.layout;
        if (c.rows, c.cols) != (m, b_n) {
            return Err(Error::invalid(format!(
                "matC is {} x {}, and matA ({m} x {k}) times {op} ({k} x {b_n}) is {m} x {b_n}",
                c.rows, c.cols
            )));
        }
        let (b_batch, c_batch) = (on.b.batch, on.c.batch);
        if b_batch.count != c_batch.count {
            return Err(Error::invalid(format!(
                "matB is a batch of {}, matC one of {}",
                b_batch.count, c_batch.count
            )));
        }
        let (sm, sn) = c.strides();
        if c_batch.count > 1
            && b_n > 0
            && !distinct([(m, sm), (b_n, sn), (c_batch.count, c_batch.stride)])
        {
            return Err(Error::invalid(format!(
                "the matrices of matC, {m} x {b_n} with ld = {}, overlap at a batch stride of {}",
                c.ld, c_batch.stride
            )));
        }
        Ok(Self { on, n: b_n, b_strides, b_batch, c_batch })
    }

    /// Matrices of the batch.
    pub(super) fn batch(&self) -> usize {
        self.c_batch.count
    }

    /// Bytes of one element of A and B.
    fn element(&self) -> usize {
        self.on.a.dtype().size()
    }

    /// The batch as one product of at most `most` columns, and of no more than a launch takes, if B, C and the residual
    /// continue along N from one matrix to the next.
    pub(super) fn pieces(&self, residual: Option<&DnView>, most: usize) -> Pieces {
        let (n, count) = (self.n, self.c_batch.count);
        let c_column = self.on.c.layout.strides().1;
        let r_batch = residual.map_or(Batch { count, stride: 0 }, |r| r.batch);
        let r_column = residual.map_or(0, |r| r.layout.strides().1);
        let steps = (self.b_batch.stride, self.c_batch.stride, r_batch.stride);
        let columns = (self.b_strides.1, c_column, r_column);
        if count == 1 {
            return Pieces { count, n, steps, columns };
        }
        // A matrix of one column has no distance of columns yet.
        let columns = if n == 1 { steps } else { columns };
        let follows = |step: usize, column: usize| column.checked_mul(n) == Some(step);
        let folds = follows(steps.0, columns.0)
            && follows(steps.1, columns.1)
            && follows(steps.2, columns.2);
        match n.checked_mul(count) {
            Some(n) if folds && n <= most.min(plan::MOST_COLUMNS) => {
                Pieces { count: 1, n, steps, columns }
            }
            _ => Pieces { count, n, steps, columns: (self.b_strides.1, c_column, r_column) },
        }
    }

    /// The header, once an analysis or a buffer has given one; on this handle's side if there is a buffer.
    pub(super) fn header(&self) -> Result<Header> {
        self.on.a.header("matA", place(&self.on.context))
    }

    /// The compressed matrix, on this handle's side.
    #[inline(always)]
    pub(super) fn ready(&self) -> Result<(Header, Buffer)> {
        self.on.a.ready("matA", place(&self.on.context))
    }

    fn workspace_bytes(&self, header: &Header) -> Result<usize> {
        match self.on.context.device() {
            _ if self.n == 0 => Ok(0),
            Device::Host => Ok(0),
            Device::Cuda(cuda) => {
                let pieces = self.pieces(None, usize::MAX);
                let shape = pieces.shape(header);
                if pieces.count > 1 && matches!(Way::of(cuda, &shape)?, Way::Together(_)) {
                    let together = Group::together(pieces.count, header.format);
                    let each = plan::group_workspace_bytes(cuda.props(), &shape, together)?;
                    return checked_mul(each, together, "workspace");
                }
                workspace_bytes(cuda.props(), header, pieces.n)
            }
        }
    }

    /// Refuses a workspace that cannot be used, if one is needed. The size is computed only for a workspace
    /// that is wrong where one is needed: it plans several products, and `run` plans its own.
    fn check_workspace(&self, header: &Header, workspace: *mut c_void) -> Result<()> {
        if !workspace.is_null() && workspace.addr() % WORKSPACE_ALIGN == 0 {
            return Ok(());
        }
        usable_workspace(workspace, self.workspace_bytes(header)?)
    }

    /// # Safety
    /// The descriptors must describe memory of the context's device that lives until the work is done, as must
    /// what `fused` names, and the workspace must be as large as its query says.
    pub(super) unsafe fn run(
        &self,
        scalars: Scalars,
        header: &Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
    ) -> Result<()> {
        log::log(Level::Hint, "SpMM", || self.words(scalars, header, a, workspace, fused, pieces));
        match self.on.context.device() {
            // SAFETY: the caller's contract.
            Device::Host => unsafe { self.run_host(scalars, header, a, workspace, fused, pieces) },
            Device::Cuda(cuda) => self.run_cuda(cuda, scalars, header, a, workspace, fused, pieces),
        }
    }

    /// The arguments, for the log.
    #[cold]
    fn words(
        &self,
        scalars: Scalars,
        header: &Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
    ) -> String {
        let dense =
            |d: &DnView| format!("{:#x} {:?} {:?} {:?}", d.values, d.dtype, d.layout, d.batch);
        format!(
            "{} of {} columns, {scalars:?}, A {} x {} {:?} {:?} at {:#x}, B {}, C {}, workspace {workspace:p}, bias {:x?}, {:?}, gate {}, residual {}, {}",
            pieces.count,
            pieces.n,
            header.rows,
            header.cols,
            header.format,
            header.dtype,
            a.address,
            dense(&self.on.b),
            dense(&self.on.c),
            fused.bias,
            fused.activation,
            fused
                .gate
                .map_or("none".to_owned(), |g| format!("{:#x} {:?}", g.1.address, g.0.format)),
            fused.residual.map_or("none".to_owned(), dense),
            match (self.on.context.device(), fused.planned) {
                (Device::Host, _) => "on the host".to_owned(),
                (_, None) => format!("stream {:p}", self.on.context.stream()),
                (_, Some(plan)) => {
                    format!("stream {:p}, planned {plan:?}", self.on.context.stream())
                }
            }
        )
    }

    fn run_cuda(
        &self,
        cuda: &DeviceContext,
        scalars: Scalars,
        header: &Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
    ) -> Result<()> {
        let gate = fused.gate.map(|(header, buffer)| Gate {
            header,
            a: buffer.address as u64,
            activation: fused.activation,
        });
        if pieces.count > 1 && fused.planned.is_none() {
            if let Way::Together(plan) = Way::of(cuda, &pieces.shape(header))? {
                return self
                    .run_together(cuda, scalars, header, a, workspace, fused, pieces, &plan);
            }
        }
        let _entered = cuda.enter()?;
        for piece in 0..pieces.count {
            let args = self.device_args(scalars, header, a, workspace, fused, pieces, piece);
            match fused.planned {
                Some(planned) => crate::gpu::spmm::planned(cuda, &args, planned, gate.as_ref())?,
                None => crate::gpu::spmm::spmm(cuda, &args)?,
            }
        }
        Ok(())
    }

    /// A batch in shared launches. Launches of a stream follow each other, so that the next ones use the parts of
    /// the workspace again.
    fn run_together(
        &self,
        cuda: &DeviceContext,
        scalars: Scalars,
        header: &Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
        plan: &LaunchPlan,
    ) -> Result<()> {
        log::log(Level::Hint, "SpMM", || format!("plan {plan:?}"));
        let _entered = cuda.enter()?;
        let mut group = Group::new(cuda, plan, header, pieces.count, self.on.context.stream());
        for piece in 0..pieces.count {
            let part = piece % Group::together(pieces.count, header.format);
            let own = workspace.wrapping_byte_add(part * plan.workspace_bytes);
            group.push(&self.device_args(scalars, header, a, own, fused, pieces, piece))?;
        }
        group.launch()
    }

    /// A piece as the device layer takes it; the gate is not part of that.
    pub(super) fn device_args<'h>(
        &self,
        scalars: Scalars,
        header: &'h Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
        piece: usize,
    ) -> SpmmArgs<'h> {
        let (alpha, beta, at) = match scalars {
            Scalars::Values(alpha, beta) => (alpha, beta, None),
            Scalars::Device(alpha, beta) => (0.0, 0.0, Some((alpha, beta))),
        };
        let (b, c, c_size) = (&self.on.b, &self.on.c, self.on.c.dtype.size());
        SpmmArgs {
            header,
            a: a.address as u64,
            n: pieces.n,
            b: (b.values + piece * pieces.steps.0 * self.element()) as u64,
            b_strides: (self.b_strides.0, pieces.columns.0),
            c: (c.values + piece * pieces.steps.1 * c_size) as u64,
            c_dtype: c.dtype,
            c_strides: (c.layout.strides().0, pieces.columns.1),
            alpha,
            beta,
            epilogue: Epilogue {
                bias: fused.bias.map(|(address, dtype)| (address as u64, dtype)),
                // With a gate it is the gate's.
                activation: if fused.gate.is_some() { Activation::None } else { fused.activation },
                gate: None,
                residual: fused.residual.map(|r| Residual {
                    address: (r.values + piece * pieces.steps.2 * r.dtype.size()) as u64,
                    dtype: r.dtype,
                    strides: (r.layout.strides().0, pieces.columns.2),
                }),
                scalars: at,
            },
            workspace: workspace.addr() as u64,
            programmatic: fused.programmatic,
            stream: self.on.context.stream(),
        }
    }

    /// # Safety
    /// As `run`, with host memory.
    unsafe fn run_host(
        &self,
        scalars: Scalars,
        header: &Header,
        a: Buffer,
        workspace: *mut c_void,
        fused: &Fused<'_>,
        pieces: &Pieces,
    ) -> Result<()> {
        let Scalars::Values(alpha, beta) = scalars else {
            return Err(Error::new(Kind::InternalError, "a host handle with device scalars"));
        };
        let (b, c, m) = (&self.on.b, &self.on.c, self.on.a.rows());
        let a_bytes = header.total_bytes as usize;
        let c_range = (c.values, c.batch_bytes(), "matC");
        let b_range = (b.values, b.batch_bytes(), "matB");
        disjoint(c_range, b_range)?;
        disjoint(c_range, (a.address, a_bytes, "matA's buffer"))?;
        let bias_range = fused.bias.map(|(at, dtype)| (at, m * dtype.size(), "the bias"));
        let residual_range = fused.residual.map(|r| (r.values, r.batch_bytes(), "the residual"));
        let in_place = fused.residual.is_some_and(|r| is_same(r, c));
        if let Some(range) = bias_range {
            disjoint(c_range, range)?;
        }
        if let Some(range) = residual_range.filter(|_| !in_place) {
            disjoint(c_range, range)?;
        }
        // SAFETY: the caller's buffer is live memory that nobody writes to during the call.
        let a = unsafe { host_buffer(header, &a) };
        // SAFETY: the caller gives M elements of this type, or did not set a bias.
        let bias = fused.bias.map(|(at, dtype)| unsafe { elements(at, dtype, m) });
        let gate = match fused.gate {
            None => None,
            Some((gate_header, gate)) => {
                let bytes = gate_bytes(m, pieces.n)?;
                let range = (workspace.addr(), bytes, "the workspace");
                let gate_range = (gate.address, gate_header.total_bytes as usize, "the gate");
                for other in
                    [c_range, b_range, gate_range, (a.as_ptr().addr(), a_bytes, "matA's buffer")]
                        .into_iter()
                        .chain(bias_range)
                        .chain(residual_range)
                {
                    disjoint(range, other)?;
                }
                disjoint(c_range, gate_range)?;
                // SAFETY: as of matA's buffer.
                let gate = unsafe { host_buffer(gate_header, &gate) };
                Some((gate_header, gate))
            }
        };
        let k = self.on.a.cols();
        let b_strides = (self.b_strides.0, pieces.columns.0);
        let c_strides = (c.layout.strides().0, pieces.columns.1);
        let last =
            |rows: usize, cols: usize, s: (usize, usize)| (rows - 1) * s.0 + (cols - 1) * s.1;
        for piece in 0..pieces.count {
            let b_at = b.values + piece * pieces.steps.0 * self.element();
            // SAFETY: inside of what the descriptor describes: readable host memory.
            let b = unsafe { host_slice::<u16>(b_at, last(k, pieces.n, b_strides) + 1) };
            let c_at = c.values + piece * pieces.steps.1 * c.dtype.size();
            let c_len = last(m, pieces.n, c_strides) + 1;
            // SAFETY: writable host memory inside of what the descriptor describes, not empty as n > 0, aligned
            // (checked by DnMat), disjoint from all that is read (checked above); one piece at a time.
            let c_values = unsafe { elements_mut(c_at, c.dtype, c_len) };
            let residual = match fused.residual {
                None => host::Residual::None,
                Some(_) if in_place => host::Residual::InPlace,
                Some(r) => {
                    let strides = (r.layout.strides().0, pieces.columns.2);
                    let at = r.values + piece * pieces.steps.2 * r.dtype.size();
                    // SAFETY: inside of what the descriptor describes: readable host memory.
                    let values = unsafe { elements(at, r.dtype, last(m, pieces.n, strides) + 1) };
                    host::Residual::Matrix(values, strides)
                }
            };
            let mut args = HostSpmm {
                a,
                n: pieces.n,
                alpha,
                beta,
                b,
                b_strides,
                c_dtype: c.dtype,
                c_strides,
                epilogue: host::Epilogue {
                    bias,
                    activation: fused.activation,
                    gate: None,
                    residual,
                },
            };
            let Some((gate_header, gate)) = gate else {
                host::spmm(&args, header, c_values)?;
                continue;
            };
            // SAFETY: workspace of the size that was asked for, aligned (checked by the caller), disjoint from
            // everything else (checked above).
            let factors =
                unsafe { slice::from_raw_parts_mut(workspace.cast::<f32>(), m * pieces.n) };
            let activated = HostSpmm {
                a: gate,
                alpha: 1.0,
                beta: 0.0,
                c_dtype: DType::F32,
                c_strides: (1, m),
                epilogue: host::Epilogue {
                    activation: fused.activation,
                    ..host::Epilogue::default()
                },
                ..args
            };
            host::spmm(&activated, gate_header, DenseMut::F32(&mut *factors))?;
            args.epilogue.activation = Activation::None;
            args.epilogue.gate = Some(factors);
            host::spmm(&args, header, c_values)?;
        }
        Ok(())
    }
}

/// Whether the residual is C itself.
fn is_same(r: &DnView, c: &DnView) -> bool {
    r.values == c.values
        && r.dtype == c.dtype
        && r.layout == c.layout
        && (r.batch == c.batch || c.batch.count == 1)
}

/// Whether an array of these (size, stride) has no two elements in one place; layouts that interleave
/// dimensions without a collision count as colliding.
fn distinct(mut dims: [(usize, usize); 3]) -> bool {
    dims.sort_by_key(|d| d.1);
    let mut reach = 0_usize;
    dims.iter().filter(|d| d.0 > 1).all(|&(size, stride)| {
        let apart = stride > reach;
        reach = reach.saturating_add((size - 1).saturating_mul(stride));
        apart
    })
}

/// Refuses a workspace that cannot be used where `need` bytes are needed.
pub(super) fn usable_workspace(workspace: *mut c_void, need: usize) -> Result<()> {
    if need == 0 {
        return Ok(());
    }
    if workspace.is_null() {
        return Err(Error::new(
            Kind::NullPointer,
            format!("workspace is NULL, and {need} bytes are needed"),
        ));
    }
    aligned(workspace.addr(), WORKSPACE_ALIGN, "workspace")
}

/// # Safety
/// As `host_slice`, for elements of `dtype`, and aligned to them.
unsafe fn elements<'a>(address: usize, dtype: DType, len: usize) -> Dense<'a> {
    // SAFETY: the caller's contract.
    unsafe {
        match dtype {
            DType::F16 => Dense::F16(host_slice(address, len)),
            DType::BF16 => Dense::BF16(host_slice(address, len)),
            DType::F32 => Dense::F32(host_slice(address, len)),
        }
    }
}

/// # Safety
/// `len` elements of `dtype` at the address must be host memory that nobody else uses for `'a`, aligned to them.
unsafe fn elements_mut<'a>(address: usize, dtype: DType, len: usize) -> DenseMut<'a> {
    // SAFETY: the caller's contract.
    unsafe {
        match dtype {
            DType::F16 => DenseMut::F16(host_slice_mut(address, len)),
            DType::BF16 => DenseMut::BF16(host_slice_mut(address, len)),
            DType::F32 => DenseMut::F32(host_slice_mut(address, len)),
        }
    }
}

/// Tells how much workspace flashllmSpMM_preprocess() and flashllmSpMM() need.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB.
/// @param alpha        Pointer to a float; its value does not matter here.
/// @param matA         The compressed matrix, M x K, at least analysed.
/// @param matB         Dense, of matA's type; op(B) is K x N.
/// @param beta         Pointer to a float; its value does not matter here.
/// @param matC         Dense, M x N, of matA's type or FLASHLLM_R_32F.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param[out] workspaceBytes  Receives the size in bytes; 0 on a host handle. For the same matA it does not
///   shrink when N grows. A batch that is not one product with more columns needs a part for each product that
///   shares a launch: ask for each batch count and layout.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matC has const values, an enumerator
///   is unknown, the shapes or batches do not fit, matA is neither analysed nor adopted, or its buffer was set
///   with a handle of another device;
///   FLASHLLM_STATUS_NOT_SUPPORTED: opA is a transpose, or computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_NULL_POINTER: alpha, beta or workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not of matA's type, or matC neither that nor
///   FLASHLLM_R_32F;
///   FLASHLLM_STATUS_WRONG_CONTEXT: matA's buffer was set with a handle of another CUDA context;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMM_bufferSize(
    handle: flashllmHandle_t,
    opA: RawOperation,
    opB: RawOperation,
    alpha: *const c_void,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMM_bufferSize", || {
        let raw = Raw {
            handle,
            op_a: opA,
            op_b: opB,
            alpha,
            mat_a: matA,
            mat_b: matB,
            beta,
            mat_c: matC,
            compute_type: computeType,
            alg,
        };
        // SAFETY: the caller gives readable floats or NULL.
        let (on, op_b, _) = unsafe { raw.operands() }?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        let product = Product::new(on, op_b)?;
        let need = product.workspace_bytes(&product.header()?)?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Prepares flashllmSpMM() for the same arguments. Optional: in this release there is nothing to prepare,
/// so that it only checks the arguments. It belongs before a stream capture, and refuses in one.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB.
/// @param alpha        Pointer to a float; its value does not matter here.
/// @param matA         The compressed matrix, M x K, converted or adopted.
/// @param matB         Dense, of matA's type; op(B) is K x N.
/// @param beta         Pointer to a float; its value does not matter here.
/// @param matC         Dense, M x N, of matA's type or FLASHLLM_R_32F. Not written.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param workspace    As flashllmSpMM().
/// @return As flashllmSpMM(), without what comes from running it;
///   FLASHLLM_STATUS_NOT_SUPPORTED: also if the handle's stream is capturing;
///   FLASHLLM_STATUS_DRIVER_ERROR, FLASHLLM_STATUS_EXECUTION_FAILED: the driver does not say whether it is.
/// @note Thread-safe. A capture that it refuses goes on undamaged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMM_preprocess(
    handle: flashllmHandle_t,
    opA: RawOperation,
    opB: RawOperation,
    alpha: *const c_void,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmSpMM_preprocess", || {
        let raw = Raw {
            handle,
            op_a: opA,
            op_b: opB,
            alpha,
            mat_a: matA,
            mat_b: matB,
            beta,
            mat_c: matC,
            compute_type: computeType,
            alg,
        };
        // SAFETY: the caller gives readable floats or NULL.
        let (on, op_b, _) = unsafe { raw.operands() }?;
        let product = Product::new(on, op_b)?;
        let (header, _) = product.ready()?;
        // A problem that no kernel can run is refused here, not at the first product.
        product.workspace_bytes(&header)?;
        product.check_workspace(&header, workspace)?;
        match product.on.context.device() {
            Device::Host => Ok(()),
            Device::Cuda(cuda) => cuda.refuse_if_capturing(product.on.context.stream()),
        }
    })
}

/// Computes C = alpha * op(A) * op(B) + beta * C with a compressed A. Products add up in fp32, and the
/// result is rounded once to the type of C.
///
/// Where matB and matC are batches (flashllmDnMatSetStridedBatch()), each B is multiplied by the same A into its
/// C. A batch whose matrices continue each other along N is one product with more columns. On a device any other
/// batch is a launch for every 16 of its products (10 of FLASHLLM_FORMAT_BANKED and FLASHLLM_FORMAT_BITMAP, one each
/// where A is nearly dense), and one for each B that has to be packed first: its sums may be split otherwise than those
/// of a product alone, and differ in their last bits.
///
/// On a CUDA handle the work is put on the handle's stream and the call returns; it allocates nothing, waits
/// for nothing, loads nothing, and can be captured into a graph. On a host handle it is done when the call
/// returns. The same arguments on the same device give the same bits every time.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB: both are supported.
/// @param alpha        Pointer to a float: host memory, read before the call returns, or with
///   FLASHLLM_POINTER_MODE_DEVICE device memory aligned to 4 bytes, read when the work runs.
/// @param matA         The compressed matrix, M x K, converted or adopted.
/// @param matB         Dense, of matA's type; op(B) is K x N. N may be 0: then nothing happens.
/// @param beta         As alpha. If it is 0, C is not read: NaN in it does not survive.
/// @param matC         Dense, M x N, of matA's type or FLASHLLM_R_32F. Must not overlap matA or matB. Memory
///   that ld skips stays as it is.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param workspace    Memory of the handle's device of the size that flashllmSpMM_bufferSize() says, aligned
///   to 256 bytes; NULL if that is 0. Its contents do not matter. The caller keeps it alive, and uses it for
///   nothing else, until the work on the stream is done.
/// @return FLASHLLM_STATUS_SUCCESS: the work is done (host) or on the stream (CUDA);
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matC has const values, an enumerator
///   is unknown, the shapes or batches do not fit, matA has no compressed data, its buffer was set with a handle
///   of another device, or (host) the memory from matC's first to its last element overlaps that of another operand;
///   FLASHLLM_STATUS_NOT_SUPPORTED: opA is a transpose, or computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_NULL_POINTER: alpha or beta is NULL, or workspace is and one is needed;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not of matA's type, or matC neither that nor
///   FLASHLLM_R_32F;
///   FLASHLLM_STATUS_MISALIGNED: workspace is needed and not aligned to 256 bytes, or alpha or beta is device
///   memory that is not aligned to 4;
///   FLASHLLM_STATUS_WRONG_CONTEXT: matA's buffer was set with a handle of another CUDA context, or the
///   driver says so;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large;
///   FLASHLLM_STATUS_ALLOC_FAILED: (host) no memory for the product; C is as it was, but for earlier ones of a batch;
///   FLASHLLM_STATUS_CORRUPT_DATA: (host) the buffer was changed since it was checked;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused. A failure of the
///   work itself shows at the next call that waits, such as flashllmSynchronize().
/// @note Thread-safe for different matC and workspaces; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMM(
    handle: flashllmHandle_t,
    opA: RawOperation,
    opB: RawOperation,
    alpha: *const c_void,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmSpMM", || {
        let raw = Raw {
            handle,
            op_a: opA,
            op_b: opB,
            alpha,
            mat_a: matA,
            mat_b: matB,
            beta,
            mat_c: matC,
            compute_type: computeType,
            alg,
        };
        // SAFETY: the caller gives readable floats or NULL.
        let (on, op_b, scalars) = unsafe { raw.operands() }?;
        let product = Product::new(on, op_b)?;
        let (header, buffer) = product.ready()?;
        product.check_workspace(&header, workspace)?;
        if product.n == 0 {
            return Ok(());
        }
        // SAFETY: the descriptors and the workspace are as the documentation asks of the caller.
        unsafe {
            let pieces = product.pieces(None, usize::MAX);
            product.run(scalars, &header, buffer, workspace, &Fused::default(), &pieces)
        }
    })
}
