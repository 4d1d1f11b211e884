//! Products that are planned once and executed often, with bias, activation, gate and residual.

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write as _;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use super::context::place;
use super::guard::{aligned, guard, null, out};
use super::object;
use super::spmm::{Fused, Operands, Pieces, Product, Scalars, operations, usable_workspace};
use super::status::flashllmStatus_t;
use super::types::{
    RawActivation, RawDataType, RawOperation, RawSpMMAlg, RawSpMMPlanAttribute,
    flashllmActivation_t, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t, flashllmDataType_t,
    flashllmDnMatDescr_t, flashllmHandle_t, flashllmOperation_t, flashllmSpMMPlan_t,
    flashllmSpMMPlanAttribute_t,
};
use crate::descr::{Batch, Buffer, DnMat, DnView, Place, SpMat};
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::gpu::{self, DeviceContext};
use crate::handle::{Context, Device};
use crate::log::{self, Level};
use crate::plan::search::{self, DEFAULT_WAYS};
use crate::plan::{self, Algorithm, Choice, DeviceProps, KernelId, Planned};
use crate::types::{Activation, DType, DenseLayout, Order, checked_mul};

/// The algorithm of host handles.
const HOST_ALGORITHM: i32 = 1;

/// What a plan was made for. Orders, leading dimensions and addresses may differ from call to call.
struct Shape {
    place: Place,
    /// Of the device; none on the host.
    props: Option<DeviceProps>,
    op_b: flashllmOperation_t,
    header: Header,
    c_type: DType,
    n: usize,
    batch: usize,
}

/// What the attributes say, and the plan that follows from it.
#[derive(Clone)]
struct State {
    bias: usize,
    bias_type: DType,
    activation: Activation,
    /// With the key that it was set by.
    gate: Option<(Arc<SpMat>, usize, Header)>,
    residual: Option<(Arc<DnMat>, usize)>,
    /// 0: automatic.
    algorithm: i32,
    /// 0: automatic.
    splits: i32,
    deterministic: bool,
    programmatic: bool,
    limit: usize,
    /// What the batch was at Create. An execution never folds more columns into one product.
    pieces: Pieces,
    /// None on the host and for products without columns.
    planned: Option<Planned>,
}

impl State {
    /// Whether the same plan follows from both. Weighing all ways takes up to 100 us, and an engine may set a bias, a residual or a gate
    /// before each execution.
    fn plans_like(&self, other: &Self) -> bool {
        let gate = |state: &Self| state.gate.as_ref().map(|(_, _, header)| *header);
        gate(self) == gate(other)
            && self.algorithm == other.algorithm
            && self.splits == other.splits
            && self.limit == other.limit
            && self.pieces == other.pieces
    }

    /// What the attributes fix of how a device runs it.
    fn choice(&self) -> Result<Choice> {
        let forced = match self.algorithm {
            0 => None,
            id => Some(Algorithm::from_id(id).ok_or_else(|| {
                Error::new(
                    Kind::NotSupported,
                    format!("algorithm {id} is not one of this library: see flashllmSpMMAlgGetIds"),
                )
            })?),
        };
        let parts = u32::try_from(self.splits).ok().filter(|&s| s > 0);
        let choice = Choice { parts, ..Choice::default() };
        Ok(forced.map_or(choice, |algorithm| choice.force(algorithm)))
    }
}

/// A planned product.
pub struct SpMMPlan {
    shape: Shape,
    /// A new one at each change: an execution keeps the one that it began with.
    state: RwLock<Arc<State>>,
}

impl SpMMPlan {
    fn new(product: &Product, op_b: flashllmOperation_t) -> Result<Self> {
        let context = &product.on.context;
        let shape = Shape {
            place: place(context),
            props: match context.device() {
                Device::Host => None,
                Device::Cuda(cuda) => Some(cuda.props().clone()),
            },
            op_b,
            header: product.header()?,
            c_type: product.on.c.dtype,
            n: product.n,
            batch: product.batch(),
        };
        let mut state = State {
            bias: 0,
            bias_type: product.on.a.dtype(),
            activation: Activation::None,
            gate: None,
            residual: None,
            algorithm: 0,
            splits: 0,
            deterministic: true,
            programmatic: false,
            limit: usize::MAX,
            pieces: product.pieces(None, usize::MAX),
            planned: None,
        };
        state.planned = shape.plan(&state)?;
        Ok(Self { shape, state: RwLock::new(Arc::new(state)) })
    }

    fn read(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state, and plans anew if that can change the plan; a refusal leaves everything as it was.
    fn update(&self, change: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = State::clone(&state);
        change(&mut next)?;
        if !next.plans_like(&state) {
            next.planned = self.shape.plan(&next)?;
        }
        *state = Arc::new(next);
        Ok(())
    }

    /// Refuses a handle of another device.
    fn on(&self, context: &Context) -> Result<()> {
        if place(context) == self.shape.place {
            return Ok(());
        }
        Err(Error::invalid("the plan was made with a handle of another device or CUDA context"))
    }

    fn workspace_bytes(&self, state: &State) -> Result<usize> {
        match &state.planned {
            Some(planned) => Ok(planned.workspace_bytes),
            // The host keeps nothing but the gate's product.
            None if state.gate.is_some() && state.pieces.n > 0 => {
                plan::gate_bytes(self.shape.header.rows as usize, state.pieces.n)
            }
            None => Ok(0),
        }
    }

    /// The algorithm that will run, as it was asked for or as the kernel's number.
    fn algorithm(&self, state: &State) -> i32 {
        match &state.planned {
            _ if state.algorithm != 0 => state.algorithm,
            Some(planned) => planned.product.kernel.algorithm(),
            None => HOST_ALGORITHM,
        }
    }
}

impl Shape {
    fn plan(&self, state: &State) -> Result<Option<Planned>> {
        let Some(props) = &self.props else {
            if !matches!(state.algorithm, 0 | HOST_ALGORITHM) {
                return Err(Error::new(
                    Kind::NotSupported,
                    format!(
                        "algorithm {} does not run on the host, which has {HOST_ALGORITHM} alone",
                        state.algorithm
                    ),
                ));
            }
            let gated = state.gate.is_some() && state.pieces.n > 0;
            let need = if gated {
                plan::gate_bytes(self.header.rows as usize, state.pieces.n)?
            } else {
                0
            };
            if need > state.limit {
                return Err(Error::new(
                    Kind::InsufficientResources,
                    format!(
                        "the gate needs {need} bytes of workspace, the limit is {}",
                        state.limit
                    ),
                ));
            }
            return Ok(None);
        };
        let choice = state.choice()?;
        if state.pieces.n == 0 {
            return Ok(None);
        }
        let gate = state.gate.as_ref().map(|g| &g.2);
        let planned =
            Planned::new(props, &self.header, gate, state.pieces.n, &choice, state.limit)?;
        log::log(Level::Hint, "SpMMPlan", || format!("{planned:?}"));
        Ok(Some(planned))
    }

    /// Microseconds that an execution is estimated to take, and that dense weights are.
    fn estimates(&self, state: &State) -> Result<(Option<f64>, Option<f64>)> {
        let (Some(planned), Some(props)) = (&state.planned, &self.props) else {
            return Ok((None, None));
        };
        let gate = state.gate.as_ref().map(|g| &g.2);
        let (time, dense) = planned.estimates(props, &self.header, gate)?;
        let all = |us: f64| us * state.pieces.count as f64;
        Ok((time.map(all), dense.map(all)))
    }

    /// What will run and why, in words.
    fn explain(&self, plan: &SpMMPlan, state: &State) -> Result<String> {
        let mut text = String::new();
        let header = &self.header;
        let activation = flashllmActivation_t::from(state.activation);
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}");
        };
        line(format!(
            "product: A {} x {} in {:?} ({:?}, {} non-zeros), {} of {} columns, C in {:?}",
            header.rows,
            header.cols,
            header.format,
            flashllmDataType_t::from(header.dtype),
            header.nnz,
            state.pieces.count,
            state.pieces.n,
            flashllmDataType_t::from(self.c_type)
        ));
        if self.batch > 1 {
            let folded = state.pieces.count == 1;
            line(format!(
                "batch: {} matrices, {}",
                self.batch,
                if folded { "folded into the columns of one product" } else { "one launch each" }
            ));
        }
        line(format!(
            "then: bias {}, {activation:?}, gate {}, residual {}",
            if state.bias == 0 {
                "none".to_owned()
            } else {
                format!("{:?}", flashllmDataType_t::from(state.bias_type))
            },
            state.gate.as_ref().map_or("none".to_owned(), |g| format!("in {:?}", g.2.format)),
            state.residual.as_ref().map_or("none".to_owned(), |r| {
                format!("{:?}", flashllmDataType_t::from(r.0.dtype()))
            })
        ));
        match (&state.planned, &self.props) {
            (Some(planned), Some(props)) => {
                let mut launch = |name: &str, p: &plan::LaunchPlan, header: &Header| {
                    line(format!(
                        "{name}: {} (algorithm {}), grid {} x {} of {} threads, {} bytes of shared memory, {} blocks of A staged",
                        p.kernel.symbol(header.dtype),
                        p.kernel.algorithm(),
                        p.ctas,
                        p.slices,
                        p.threads,
                        p.smem_bytes,
                        p.a_slots
                    ));
                    line(format!(
                        "  splits: {} pieces of each of {} row groups, {} row tiles a group, {} blocks along K{}{}; with row tiles and staged blocks it is algorithm {}",
                        p.parts,
                        p.row_tiles.div_ceil(p.group_tiles),
                        p.group_tiles,
                        p.k_blocks,
                        match p.kernel.k_slices(p.group_tiles) {
                            1 => String::new(),
                            slices => format!(", which {slices} warpgroups take in turn"),
                        },
                        if p.deals_tiles {
                            "; rows are uneven, tiles are dealt by their bytes"
                        } else if p.pairs {
                            "; the two CTAs of a row group are a cluster"
                        } else {
                            ""
                        },
                        p.algorithm().id()
                    ));
                };
                if let (Some(gate), Some((_, _, header))) = (&planned.gate, &state.gate) {
                    launch("gate", gate, header);
                }
                launch("kernel", &planned.product, header);
                line(format!(
                    "why: {}, {}; on {} ({} multiprocessors, compute capability {}.{})",
                    if state.algorithm == 0 {
                        "the kernel has the least estimated time"
                    } else {
                        "the kernel was asked for"
                    },
                    if state.splits == 0 {
                        "so have the splits"
                    } else {
                        "the splits were asked for"
                    },
                    props.name,
                    props.sm_count,
                    props.cc.0,
                    props.cc.1
                ));
                if let (Some(time), Some(dense)) = self.estimates(state)? {
                    line(format!(
                        "time: {time:.1} us are estimated, {dense:.1} for cuBLAS with dense weights{}",
                        if dense < time { ": dense is faster" } else { "" }
                    ));
                }
                let table = plan::table::of(&props.name);
                line(format!(
                    "estimates: table of {}, {}, commit {}, {}",
                    table.device, table.date, table.commit, table.source
                ));
                line(if planned.product.kernel.reads_planes() {
                    "B: packed first".to_owned()
                } else {
                    "B: read where it is if K is contiguous, columns are aligned to 16 bytes and K is a multiple of 8, else packed first".to_owned()
                });
            }
            _ if state.pieces.n == 0 => line("kernel: none, there are no columns".to_owned()),
            _ => line(format!(
                "kernel: host executor on all cores (algorithm {HOST_ALGORITHM}), splits: 1; why: a host handle has no other"
            )),
        }
        line(format!(
            "workspace: {} bytes{}",
            plan.workspace_bytes(state)?,
            if state.limit == usize::MAX {
                String::new()
            } else {
                format!(" of at most {}", state.limit)
            }
        ));
        if self.props.is_some() {
            line(format!(
                "launch: {}",
                match &state.planned {
                    Some(p) if state.programmatic && p.product.may_begin_early() =>
                        "may begin while the kernels ahead in the stream still run",
                    _ => "when the kernels ahead in the stream have ended",
                }
            ));
        }
        line("deterministic: yes, the same arguments give the same bits".to_owned());
        Ok(text)
    }
}

/// Plans C = alpha * op(A) * op(B) + beta * C: chooses the kernel, its grid and its workspace once, so that
/// flashllmSpMMPlanExecute() does not have to.
///
/// The plan is for the shapes, types, batch count and device of its operands, and for a compressed matrix like
/// A: of the same format, with blocks of the same width that do not hold more. It keeps none of the descriptors;
/// other ones may be executed. Attributes add what follows the product: flashllmSpMMPlanAttribute_t.
///
/// @param handle       The handle.
/// @param[out] plan    Receives the plan; NULL on failure. The caller owns it: flashllmSpMMPlanDestroy().
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB.
/// @param matA         The compressed matrix, M x K, at least analysed.
/// @param matB         Dense, of matA's type; op(B) is K x N.
/// @param matC         Dense, M x N, of matA's type or FLASHLLM_R_32F.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT; to force one, set FLASHLLM_SPMM_PLAN_ALG_ID.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: plan is NULL;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matC has const values, an enumerator
///   is unknown, the shapes or batches do not fit, matA is neither analysed nor adopted, or its buffer was
///   set with a handle of another device;
///   FLASHLLM_STATUS_NOT_SUPPORTED: opA is a transpose, or computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not of matA's type, or matC neither that nor
///   FLASHLLM_R_32F;
///   FLASHLLM_STATUS_WRONG_CONTEXT: matA's buffer was set with a handle of another CUDA context;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanCreate(
    handle: flashllmHandle_t,
    plan: *mut flashllmSpMMPlan_t,
    opA: RawOperation,
    opB: RawOperation,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    matC: flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanCreate", || {
        let plan = out(plan, "plan")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { plan.write(ptr::null_mut()) };
        let on = Operands::get(handle, matA, matB, matC)?;
        let op_b = operations(opA, opB, computeType, alg)?;
        let key = object::insert(SpMMPlan::new(&Product::new(on, op_b)?, op_b)?);
        // SAFETY: as above.
        unsafe { plan.write(key) };
        Ok(())
    })
}

/// Destroys a plan. Work that was launched with it does not need it any more.
///
/// @param plan  The plan, or NULL (then nothing happens).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan, or destroyed already.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmSpMMPlanDestroy(plan: flashllmSpMMPlan_t) -> flashllmStatus_t {
    guard("flashllmSpMMPlanDestroy", || {
        if !plan.is_null() {
            drop(object::remove::<SpMMPlan>(plan, "plan")?);
        }
        Ok(())
    })
}

/// INVALID_VALUE unless an attribute's value has the size of its type.
fn sized<T>(bytes: usize, attribute: flashllmSpMMPlanAttribute_t) -> Result<()> {
    if bytes == size_of::<T>() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "bytes = {bytes}, and the value of {attribute:?} has {}",
        size_of::<T>()
    )))
}

/// The value of an attribute.
///
/// # Safety
/// `value` must be valid for reading `bytes` bytes; it is not NULL.
unsafe fn value_of<T: Copy>(
    value: *const c_void,
    bytes: usize,
    attribute: flashllmSpMMPlanAttribute_t,
) -> Result<T> {
    sized::<T>(bytes, attribute)?;
    // SAFETY: the caller's contract; no alignment is assumed.
    Ok(unsafe { value.cast::<T>().read_unaligned() })
}

/// Sets an attribute of a plan and plans anew. On failure the plan is as it was.
///
/// @param plan   The plan.
/// @param attr   Which one.
/// @param value  The value; its type, range and meaning are at flashllmSpMMPlanAttribute_t. Any alignment.
///   Host memory, read before the call returns.
/// @param bytes  Size of that type in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan, attr is not an enumerator, bytes is not the size of its
///   type, the value is out of range or not a descriptor of the right kind, a matrix has another shape than
///   the plan's, or the gate is neither analysed nor adopted;
///   FLASHLLM_STATUS_NULL_POINTER: value is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: the gate is not of the type of A;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the algorithm does not exist, or does not multiply this matrix on this
///   device;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES: the product needs more workspace than the limit;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large.
/// @note Thread-safe; allowed during stream capture. The size of the workspace may change: ask again. An
///   execution in another thread takes the plan as it was before or as it is after.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanSetAttribute(
    plan: flashllmSpMMPlan_t,
    attr: RawSpMMPlanAttribute,
    value: *const c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanSetAttribute", || {
        let plan = object::get::<SpMMPlan>(plan, "plan")?;
        let attr = flashllmSpMMPlanAttribute_t::try_from(attr)?;
        if value.is_null() {
            return Err(null("value"));
        }
        // SAFETY: the caller gives `bytes` readable bytes.
        plan.update(|state| unsafe { set(&plan, state, attr, value, bytes) })
    })
}

/// # Safety
/// `value` must be valid for reading `bytes` bytes; it is not NULL.
unsafe fn set(
    plan: &SpMMPlan,
    state: &mut State,
    attr: flashllmSpMMPlanAttribute_t,
    value: *const c_void,
    bytes: usize,
) -> Result<()> {
    use flashllmSpMMPlanAttribute_t::*;
    let flag = |v: i32| match v {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::invalid(format!("{attr:?} = {v} is neither 0 nor 1"))),
    };
    let count = |v: i32| match v {
        0.. => Ok(v),
        _ => Err(Error::invalid(format!("{attr:?} = {v} is negative"))),
    };
    // SAFETY: the caller's contract, here and below.
    let integer = || unsafe { value_of::<i32>(value, bytes, attr) };
    match attr {
        FLASHLLM_SPMM_PLAN_BIAS => {
            // SAFETY: as above.
            let pointer = unsafe { value_of::<*const c_void>(value, bytes, attr) }?;
            state.bias = pointer.expose_provenance();
        }
        FLASHLLM_SPMM_PLAN_BIAS_TYPE => state.bias_type = DType::try_from(RawDataType(integer()?))?,
        FLASHLLM_SPMM_PLAN_ACTIVATION => {
            state.activation = Activation::try_from(RawActivation(integer()?))?;
        }
        FLASHLLM_SPMM_PLAN_GATE => {
            // SAFETY: as above.
            let key = unsafe { value_of::<flashllmConstSpMatDescr_t>(value, bytes, attr) }?;
            state.gate = if key.is_null() { None } else { Some(gate(plan, key)?) };
        }
        FLASHLLM_SPMM_PLAN_RESIDUAL => {
            // SAFETY: as above.
            let key = unsafe { value_of::<flashllmConstDnMatDescr_t>(value, bytes, attr) }?;
            state.residual =
                if key.is_null() { None } else { Some((residual(plan, key)?, key.addr())) };
        }
        FLASHLLM_SPMM_PLAN_ALG_ID => state.algorithm = count(integer()?)?,
        FLASHLLM_SPMM_PLAN_SPLITS => state.splits = count(integer()?)?,
        FLASHLLM_SPMM_PLAN_DETERMINISTIC => state.deterministic = flag(integer()?)?,
        FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH => state.programmatic = flag(integer()?)?,
        FLASHLLM_SPMM_PLAN_WORKSPACE_LIMIT => {
            // SAFETY: as above.
            state.limit = unsafe { value_of::<usize>(value, bytes, attr) }?;
        }
        FLASHLLM_SPMM_PLAN_ESTIMATE | FLASHLLM_SPMM_PLAN_DENSE_ESTIMATE => {
            return Err(Error::invalid(format!("{attr:?} can be read, not set")));
        }
    }
    Ok(())
}

/// The gate behind a descriptor, checked against the plan.
fn gate(plan: &SpMMPlan, key: flashllmConstSpMatDescr_t) -> Result<(Arc<SpMat>, usize, Header)> {
    let gate = object::get::<SpMat>(key, "the gate")?;
    let a = &plan.shape.header;
    if gate.dtype() != a.dtype {
        return Err(Error::new(
            Kind::MatrixTypeNotSupported,
            format!(
                "the gate holds {:?} and must hold matA's {:?}",
                flashllmDataType_t::from(gate.dtype()),
                flashllmDataType_t::from(a.dtype)
            ),
        ));
    }
    if (gate.rows() as u64, gate.cols() as u64) != (a.rows, a.cols) {
        return Err(Error::invalid(format!(
            "the gate is {} x {}, matA {} x {}",
            gate.rows(),
            gate.cols(),
            a.rows,
            a.cols
        )));
    }
    let header = gate.read(|state| state.sized("the gate"))?;
    Ok((gate, key.addr(), header))
}

/// The residual behind a descriptor, checked against the plan.
fn residual(plan: &SpMMPlan, key: flashllmConstDnMatDescr_t) -> Result<Arc<DnMat>> {
    let residual = object::get::<DnMat>(key, "the residual")?;
    let (layout, shape) = (residual.layout(), &plan.shape);
    if (layout.rows as u64, layout.cols) != (shape.header.rows, shape.n) {
        return Err(Error::invalid(format!(
            "the residual is {} x {}, C is {} x {}",
            layout.rows, layout.cols, shape.header.rows, shape.n
        )));
    }
    Ok(residual)
}

/// Reads an attribute of a plan. What is 0 for "automatic" reads as what was chosen: the algorithm and the
/// splits can be stored, and forced in another process on the same kind of device.
///
/// @param plan        The plan.
/// @param attr        Which one.
/// @param[out] value  Receives the value; its type is at flashllmSpMMPlanAttribute_t. Any alignment.
/// @param bytes       Size of that type in bytes.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan, attr is not an enumerator, or bytes is not the size of its
///   type;
///   FLASHLLM_STATUS_NULL_POINTER: value is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanGetAttribute(
    plan: flashllmSpMMPlan_t,
    attr: RawSpMMPlanAttribute,
    value: *mut c_void,
    bytes: usize,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanGetAttribute", || {
        use flashllmSpMMPlanAttribute_t::*;
        let plan = object::get::<SpMMPlan>(plan, "plan")?;
        let attr = flashllmSpMMPlanAttribute_t::try_from(attr)?;
        if value.is_null() {
            return Err(null("value"));
        }
        let state = plan.read();
        let integer: i32 = match attr {
            FLASHLLM_SPMM_PLAN_BIAS => {
                let pointer = ptr::with_exposed_provenance::<c_void>(state.bias);
                // SAFETY: the caller gives `bytes` writable bytes.
                return unsafe { give(value, bytes, attr, pointer) };
            }
            FLASHLLM_SPMM_PLAN_GATE => {
                let key: flashllmConstSpMatDescr_t =
                    ptr::without_provenance(state.gate.as_ref().map_or(0, |g| g.1));
                // SAFETY: as above.
                return unsafe { give(value, bytes, attr, key) };
            }
            FLASHLLM_SPMM_PLAN_RESIDUAL => {
                let key: flashllmConstDnMatDescr_t =
                    ptr::without_provenance(state.residual.as_ref().map_or(0, |r| r.1));
                // SAFETY: as above.
                return unsafe { give(value, bytes, attr, key) };
            }
            // SAFETY: as above.
            FLASHLLM_SPMM_PLAN_WORKSPACE_LIMIT => unsafe {
                return give(value, bytes, attr, state.limit);
            },
            FLASHLLM_SPMM_PLAN_ESTIMATE | FLASHLLM_SPMM_PLAN_DENSE_ESTIMATE => {
                let (time, dense) = plan.shape.estimates(&state)?;
                let us = if attr == FLASHLLM_SPMM_PLAN_ESTIMATE { time } else { dense };
                // SAFETY: as above.
                return unsafe { give(value, bytes, attr, us.unwrap_or(0.0)) };
            }
            FLASHLLM_SPMM_PLAN_BIAS_TYPE => flashllmDataType_t::from(state.bias_type) as i32,
            FLASHLLM_SPMM_PLAN_ACTIVATION => flashllmActivation_t::from(state.activation) as i32,
            FLASHLLM_SPMM_PLAN_ALG_ID => plan.algorithm(&state),
            FLASHLLM_SPMM_PLAN_SPLITS => state.planned.as_ref().map_or(1, splits),
            FLASHLLM_SPMM_PLAN_DETERMINISTIC => i32::from(state.deterministic),
            FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH => i32::from(state.programmatic),
        };
        // SAFETY: as above.
        unsafe { give(value, bytes, attr, integer) }
    })
}

/// FLASHLLM_SPMM_PLAN_SPLITS of a plan on a device.
fn splits(planned: &Planned) -> i32 {
    i32::try_from(planned.product.parts).unwrap_or(i32::MAX)
}

/// # Safety
/// `value` must be valid for writing `bytes` bytes; it is not NULL.
unsafe fn give<T>(
    value: *mut c_void,
    bytes: usize,
    attribute: flashllmSpMMPlanAttribute_t,
    result: T,
) -> Result<()> {
    sized::<T>(bytes, attribute)?;
    // SAFETY: the caller's contract; no alignment is assumed.
    unsafe { value.cast::<T>().write_unaligned(result) };
    Ok(())
}

/// Tells how much workspace flashllmSpMMPlanExecute() needs. Setting an attribute may change it.
///
/// @param handle      The handle, of the device that the plan was made for.
/// @param plan        The plan.
/// @param[out] bytes  Receives the size in bytes; on a host handle 0 unless there is a gate.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan, or one of another device or CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: bytes is NULL.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlan_bufferSize(
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlan_bufferSize", || {
        let context = object::get::<Context>(handle, "handle")?;
        let plan = object::get::<SpMMPlan>(plan, "plan")?;
        let bytes = out(bytes, "bytes")?;
        plan.on(&context)?;
        let need = plan.workspace_bytes(&plan.read())?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Computes what the plan says: the product, and what its attributes add. In fp32, rounded once to the type
/// of C.
///
/// On a CUDA handle the work is put on the handle's stream and the call returns; it allocates nothing, waits
/// for nothing, loads nothing, and can be captured into a graph. On a host handle it is done when the call
/// returns.
///
/// @param handle     The handle, of the device that the plan was made for.
/// @param plan       The plan.
/// @param alpha      Pointer to a float: host memory, read before the call returns, or with
///   FLASHLLM_POINTER_MODE_DEVICE device memory aligned to 4 bytes, read when the work runs.
/// @param matA       The compressed matrix, converted or adopted: that of the plan or another one of its shape,
///   type and format, with blocks of the same width that do not hold more.
/// @param matB       Dense; shape, type and batch count as planned.
/// @param beta       As alpha. If it is 0, C is not read, except as the residual.
/// @param matC       Dense; shape, type and batch count as planned. Must not overlap anything else that is
///   used, except that it may be the residual.
/// @param workspace  Memory of the handle's device of the size that flashllmSpMMPlan_bufferSize() says, aligned
///   to 256 bytes; NULL if that is 0. Its contents do not matter. The caller keeps it alive, and uses it for
///   nothing else, until the work on the stream is done.
/// @return FLASHLLM_STATUS_SUCCESS: the work is done (host) or on the stream (CUDA);
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan or one of another device, not descriptors of the right kinds,
///   matC has const values, a matrix is not as planned, matA or the gate has no compressed data or was set
///   with a handle of another device, or (host) matC or the workspace overlaps another operand;
///   FLASHLLM_STATUS_NULL_POINTER: alpha or beta is NULL, or workspace is and one is needed;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: a type is not as planned;
///   FLASHLLM_STATUS_MISALIGNED: workspace is needed and not aligned to 256 bytes, the bias is not aligned to
///   its elements, or alpha or beta is device memory that is not aligned to 4;
///   FLASHLLM_STATUS_WRONG_CONTEXT: a buffer was set with a handle of another CUDA context, or the driver says
///   so;
///   FLASHLLM_STATUS_ALLOC_FAILED: (host) no memory for the product; C is as it was, but for earlier ones of a batch;
///   FLASHLLM_STATUS_CORRUPT_DATA: (host) a buffer was changed since it was checked;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe for different matC and workspaces; allowed during stream capture. A captured execution
///   keeps the attributes and addresses that it was captured with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanExecute(
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    alpha: *const c_void,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: flashllmDnMatDescr_t,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanExecute", || {
        let (plan, on) = {
            let look = object::look();
            // Of several wrong arguments the handle is named first, then the plan.
            look.read(handle, "handle", |_: &Context| ())?;
            let plan = look.get::<SpMMPlan>(plan, "plan")?;
            (plan, Operands::look_up(&look, handle, matA, matB, matC)?)
        };
        plan.on(&on.context)?;
        // SAFETY: the caller gives readable floats or NULL.
        let scalars = unsafe { Scalars::read(&on.context, alpha, beta) }?;
        let (shape, state) = (&plan.shape, plan.read());
        let product = Product::new(on, shape.op_b)?;
        shape.matches(&product)?;
        let (header, a) = product.ready()?;
        let gate = match &state.gate {
            None => None,
            Some((gate, _, planned)) => {
                let (header, buffer) = gate.ready("the gate", shape.place)?;
                Some((header, buffer, planned))
            }
        };
        let residual = state.residual.as_ref().map(|r| r.0.view());
        if let Some(r) = &residual {
            if r.batch.count != shape.batch {
                return Err(Error::invalid(format!(
                    "the residual is a batch of {}, matC one of {}",
                    r.batch.count, shape.batch
                )));
            }
        }
        if state.bias != 0 {
            aligned(state.bias, state.bias_type.size(), "the bias")?;
        }
        if let Some(planned) = &state.planned {
            Planned::accepts(&planned.product, &shape.header, &header, "matA")?;
            if let (Some((header, _, was)), Some(plan)) = (&gate, &planned.gate) {
                Planned::accepts(plan, was, header, "the gate")?;
            }
        }
        usable_workspace(workspace, plan.workspace_bytes(&state)?)?;
        if product.n == 0 {
            return Ok(());
        }
        let pieces = product.pieces(residual.as_ref(), state.pieces.n);
        let fused = Fused {
            bias: (state.bias != 0).then_some((state.bias, state.bias_type)),
            activation: state.activation,
            gate: gate.as_ref().map(|(header, buffer, _)| (header, *buffer)),
            residual: residual.as_ref(),
            planned: state.planned.as_ref(),
            programmatic: state.programmatic,
        };
        // SAFETY: the descriptors, the bias and the workspace are as the documentation asks of the caller.
        unsafe { product.run(scalars, &header, a, workspace, &fused, &pieces) }
    })
}

impl Shape {
    /// Refuses a product of another shape or type than the plan's.
    fn matches(&self, product: &Product) -> Result<()> {
        let on = &product.on;
        if on.a.dtype() != self.header.dtype || on.c.dtype != self.c_type {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!(
                    "matA holds {:?} and matC {:?}, the plan is for {:?} and {:?}",
                    flashllmDataType_t::from(on.a.dtype()),
                    flashllmDataType_t::from(on.c.dtype),
                    flashllmDataType_t::from(self.header.dtype),
                    flashllmDataType_t::from(self.c_type)
                ),
            ));
        }
        let given = (on.a.rows() as u64, on.a.cols() as u64, product.n, product.batch());
        let planned = (self.header.rows, self.header.cols, self.n, self.batch);
        if given == planned {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "M x K, N and batch count are {} x {}, {} and {}; the plan is for {} x {}, {} and {}",
            given.0, given.1, given.2, given.3, planned.0, planned.1, planned.2, planned.3
        )))
    }
}

/// Times ways to run the planned product on the handle's device, and leaves the plan with the fastest, as if
/// FLASHLLM_SPMM_PLAN_ALG_ID, with its row tiles and staged blocks, and FLASHLLM_SPMM_PLAN_SPLITS had been set to
/// it. A plan is made from estimates; they are of few devices, and of matrices whose zeros are anywhere.
///
/// The present choice is among the ways and stays unless another is 1 % faster. What was set before the call is kept:
/// with an algorithm or splits that are not 0 only ways that have them are timed, and none that needs more workspace
/// than FLASHLLM_SPMM_PLAN_WORKSPACE_LIMIT. To search a plan again, set both to 0 first. The two numbers can be
/// read and stored, and forced elsewhere: that gives this choice without a search. The bits of C depend on the
/// splits, so that a searched plan may give other last bits than one that was not; and two searches may find
/// different ways where several are about as fast.
///
/// Timed is the product A * op(B) alone, of the first matrices of a batch that is not one product with more columns:
/// bias, activation, gate, residual and FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH hardly tell the ways apart. A gate
/// takes the algorithm where it can. Each launch reads a copy of A that is not in the L2, as the weights of a model
/// are not. Every way has a launch that does not count and three to nine that do; of these the median is its time.
/// For usual layers the call takes some milliseconds.
///
/// The caller's memory is not written. The call allocates device memory and frees it before it returns: the plan's
/// workspace, one C, and copies of A that are together twice the L2 (none if A is as large).
///
/// @param handle             The handle, of the device that the plan was made for.
/// @param plan               The plan. Its workspace may have another size afterwards:
///   flashllmSpMMPlan_bufferSize().
/// @param matA               The compressed matrix, as flashllmSpMMPlanExecute() takes it.
/// @param matB               As flashllmSpMMPlanExecute() takes it. Its layout decides whether it is packed, which
///   takes time.
/// @param ways               How many ways to time at most, the present choice first and then in the order of
///   the library's estimates; 0: 12.
/// @param[out] microseconds  Receives the time of the way that was chosen; 0 on a host handle, which has one way,
///   and for a product without columns, which has none: the plan is then as it was. May be NULL.
/// @return FLASHLLM_STATUS_SUCCESS. After any other status the plan is as it was:
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan or one of another device, not descriptors of the right kinds, ways
///   is negative, a matrix is not as planned, or matA has no compressed data or was set with a handle of another
///   device;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: a type is not as planned;
///   FLASHLLM_STATUS_NOT_SUPPORTED: the handle's stream is capturing;
///   FLASHLLM_STATUS_ALLOC_FAILED: there is no device memory for what is timed;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES: the present choice, with all its numbers fixed, needs more workspace
///   than the limit;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large;
///   FLASHLLM_STATUS_WRONG_CONTEXT: matA's buffer was set with a handle of another CUDA context, or the driver says
///   so;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused, or work on the device failed.
/// @note It allocates and waits for the handle's stream: call it when a model is loaded, not between products. A
///   capture that it refuses goes on undamaged. Thread-safe: an execution in another thread takes the plan as it was
///   before or as it is after. Other work on the device at the same time spoils the times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanSearch(
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    matA: flashllmConstSpMatDescr_t,
    matB: flashllmConstDnMatDescr_t,
    ways: i32,
    microseconds: *mut f32,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanSearch", || {
        let (context, plan, a, b) = {
            let look = object::look();
            let context = look.get::<Context>(handle, "handle")?;
            let plan = look.get::<SpMMPlan>(plan, "plan")?;
            let a = look.get::<SpMat>(matA, "matA")?;
            (context, plan, a, look.read(matB, "matB", DnMat::view)?)
        };
        plan.on(&context)?;
        let most = match usize::try_from(ways) {
            Ok(0) => DEFAULT_WAYS,
            Ok(most) => most,
            Err(_) => {
                return Err(Error::invalid(format!(
                    "ways = {ways} is negative: it is how many to time at most, or 0 for {DEFAULT_WAYS}"
                )));
            }
        };
        let (shape, state) = (&plan.shape, plan.read());
        let c = shape.result(&a, &b)?;
        let product = Product::new(Operands { context, a, b, c }, shape.op_b)?;
        shape.matches(&product)?;
        let (header, a) = product.ready()?;
        let mut us = 0.0;
        if let (Device::Cuda(cuda), Some(planned)) = (product.on.context.device(), &state.planned) {
            Planned::accepts(&planned.product, &shape.header, &header, "matA")?;
            let gate = state.gate.as_ref().map(|g| &g.2);
            let (choice, limit) = (state.choice()?, state.limit);
            let props = cuda.props();
            let found =
                search::promising(props, &shape.header, gate, planned, &choice, limit, most)?;
            let times = product.times(cuda, &header, a, &found)?;
            let best = search::fastest(&times);
            log::log(Level::Hint, "SpMMPlanSearch", || told(&found, &times, best));
            plan.update(|state| {
                state.algorithm = found[best].product.algorithm().id();
                state.splits = splits(&found[best]);
                Ok(())
            })?;
            us = times[best];
        }
        if !microseconds.is_null() {
            // SAFETY: the caller gives a valid pointer or NULL; no alignment is assumed.
            unsafe { microseconds.write_unaligned(us) };
        }
        Ok(())
    })
}

/// The times of a search, for the log.
#[cold]
fn told(ways: &[Planned], times: &[f32], best: usize) -> String {
    let mut text = String::new();
    for (i, (way, us)) in ways.iter().zip(times).enumerate() {
        let _ = write!(
            text,
            "{}algorithm {} in {} splits: {us:.2} us{}",
            if i == 0 { "" } else { ", " },
            way.product.algorithm().id(),
            way.product.parts,
            if i == best { " (taken)" } else { "" }
        );
    }
    text
}

impl Shape {
    /// A C for these operands of which only the shape and the type count: column-major, and nowhere yet.
    fn result(&self, a: &SpMat, b: &DnView) -> Result<DnView> {
        if a.dtype() != self.header.dtype {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!(
                    "matA holds {:?}, the plan is for {:?}",
                    flashllmDataType_t::from(a.dtype()),
                    flashllmDataType_t::from(self.header.dtype)
                ),
            ));
        }
        let (m, n) = match self.op_b {
            flashllmOperation_t::FLASHLLM_OPERATION_NON_TRANSPOSE => (a.rows(), b.layout.cols),
            flashllmOperation_t::FLASHLLM_OPERATION_TRANSPOSE => (a.rows(), b.layout.rows),
        };
        let stride = checked_mul(m, n, "C of the search")?;
        Ok(DnView {
            layout: DenseLayout::new(m, n, m, Order::Col)?,
            dtype: self.c_type,
            values: 0,
            batch: Batch { count: b.batch.count, stride },
        })
    }
}

impl Product {
    /// Microseconds that each way takes on the device. Nothing is written to C.
    fn times(
        &self,
        cuda: &DeviceContext,
        header: &Header,
        a: Buffer,
        ways: &[Planned],
    ) -> Result<Vec<f32>> {
        // A plan never folds more columns into one product than it was made for.
        let most = ways.first().map_or(0, |way| way.n);
        let pieces = self.pieces(None, most);
        let (scalars, alone) = (Scalars::Values(1.0, 0.0), Fused::default());
        let args = self.device_args(scalars, header, a, ptr::null_mut(), &alone, &pieces, 0);
        gpu::search::time(cuda, &args, ways).map(|times| search::medians(&times))
    }
}

/// Says in English what the plan will run, and why: kernel, grid, splits, workspace.
///
/// @param handle         The handle, of the device that the plan was made for.
/// @param plan           The plan.
/// @param[out] text      Receives the text with its terminating NUL; NULL to ask for its size alone.
/// @param[in,out] bytes  In: size of text in bytes (ignored if text is NULL). Out: bytes of the text with its
///   NUL.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a plan, or one of another device or CUDA context;
///   FLASHLLM_STATUS_NULL_POINTER: bytes is NULL;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: the text does not fit; nothing is written.
/// @note Thread-safe; allowed during stream capture. The wording may change in any release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMPlanExplain(
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    text: *mut c_char,
    bytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMMPlanExplain", || {
        let context = object::get::<Context>(handle, "handle")?;
        let plan = object::get::<SpMMPlan>(plan, "plan")?;
        let size = out(bytes, "bytes")?;
        plan.on(&context)?;
        let words = plan.shape.explain(&plan, &plan.read())?;
        let need = words.len() + 1;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused; no alignment is assumed.
        let room = unsafe { bytes.read_unaligned() };
        if !text.is_null() {
            if room < need {
                return Err(Error::new(
                    Kind::WorkspaceTooSmall,
                    format!("bytes = {room}, and the text has {need}"),
                ));
            }
            // SAFETY: the caller gives `room` writable bytes, and the text with its NUL fits them.
            unsafe {
                ptr::copy_nonoverlapping(words.as_ptr(), text.cast::<u8>(), words.len());
                text.add(words.len()).write(0);
            }
        }
        // SAFETY: as above.
        unsafe { size.write(need) };
        Ok(())
    })
}

/// Lists the algorithms that can multiply a matrix by n columns on the handle's device: values for
/// FLASHLLM_SPMM_PLAN_ALG_ID. The first is the one that the library would choose; the others follow by
/// estimated time. A number means the same algorithm in every release that has it. Row tiles and staged blocks
/// are chosen for each; how to fix them too is at FLASHLLM_SPMM_PLAN_ALG_ID.
///
/// @param handle         The handle.
/// @param matA           The compressed matrix, at least analysed.
/// @param n              Columns of op(B), at least 1.
/// @param[out] ids       Receives the numbers; NULL to ask how many there are. Aligned to 4 bytes.
/// @param[in,out] count  In: how many ids has room for (ignored if ids is NULL). Out: how many there are.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not a compressed matrix, it is neither analysed nor adopted, its buffer
///   was set with a handle of another device, n is not positive, or count is negative;
///   FLASHLLM_STATUS_NULL_POINTER: count is NULL;
///   FLASHLLM_STATUS_MISALIGNED: ids is not aligned to 4 bytes;
///   FLASHLLM_STATUS_WORKSPACE_TOO_SMALL: the numbers do not fit; nothing is written;
///   FLASHLLM_STATUS_NOT_SUPPORTED, FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the
///   problem is too large;
///   FLASHLLM_STATUS_WRONG_CONTEXT: the buffer was set with a handle of another CUDA context.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMAlgGetIds(
    handle: flashllmHandle_t,
    matA: flashllmConstSpMatDescr_t,
    n: i64,
    ids: *mut c_int,
    count: *mut c_int,
) -> flashllmStatus_t {
    guard("flashllmSpMMAlgGetIds", || {
        let context = object::get::<Context>(handle, "handle")?;
        let a = object::get::<SpMat>(matA, "matA")?;
        let columns = usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| Error::invalid(format!("n = {n} is not positive")))?;
        let total = out(count, "count")?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused; no alignment is assumed.
        let room = unsafe { count.read_unaligned() };
        let room = match usize::try_from(room) {
            _ if ids.is_null() => 0,
            Ok(room) => room,
            Err(_) => return Err(Error::invalid(format!("count = {room} is negative"))),
        };
        aligned(ids.addr(), align_of::<c_int>(), "ids")?;
        let header = a.header("matA", place(&context))?;
        let found: Vec<c_int> = match context.device() {
            Device::Host => vec![HOST_ALGORITHM],
            Device::Cuda(cuda) => {
                let problem = plan::Problem::new(&header, columns, plan::BAccess::Packed)?;
                let kernels = plan::algorithms(&problem, cuda.props())?;
                kernels.into_iter().map(KernelId::algorithm).collect()
            }
        };
        if !ids.is_null() {
            if room < found.len() {
                return Err(Error::new(
                    Kind::WorkspaceTooSmall,
                    format!("count = {room}, and there are {} algorithms", found.len()),
                ));
            }
            // SAFETY: the caller gives room for `room` numbers, which is enough; aligned (checked above).
            unsafe { ptr::copy_nonoverlapping(found.as_ptr(), ids, found.len()) };
        }
        // SAFETY: as above.
        unsafe { total.write(c_int::try_from(found.len()).unwrap_or(c_int::MAX)) };
        Ok(())
    })
}
