//! Batches of dense matrices, and products of many compressed ones.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use super::guard::{guard, null, out};
use super::object;
use super::spmm::{Fused, Operands, Product, Scalars, operations, usable_workspace};
use super::status::flashllmStatus_t;
use super::types::{
    RawDataType, RawOperation, RawSpMMAlg, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t,
    flashllmDnMatDescr_t, flashllmHandle_t, flashllmOperation_t,
};
use crate::descr::{Buffer, DnMat};
use crate::error::{Error, Result};
use crate::format::Header;
use crate::gpu::DeviceContext;
use crate::gpu::spmm::Group;
use crate::handle::{Context, Device};
use crate::log::{self, Level};
use crate::plan::{self, GroupShape, LaunchPlan};
use crate::types::{checked_mul, zeros};

/// Makes a dense matrix descriptor stand for a batch: matrices of one shape, order, ld and type at equal
/// distances. flashllmSpMM() and plans multiply every B of a batch by the same A; other functions take the
/// first matrix.
///
/// @param dnMatDescr   The descriptor.
/// @param batchCount   Matrices, at least 1; 1 is the state after creation.
/// @param batchStride  Elements from element (0, 0) of one matrix to that of the next, at least 0; 0 repeats
///   one matrix, which must then only be read. Matrices that are written must not overlap.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor, batchCount is not positive, or batchStride
///   is negative;
///   FLASHLLM_STATUS_SIZE_OVERFLOW: the batch does not fit the address space. On failure the descriptor is as
///   it was.
/// @note Thread-safe; allowed during stream capture. values is not accessed.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmDnMatSetStridedBatch(
    dnMatDescr: flashllmConstDnMatDescr_t,
    batchCount: i64,
    batchStride: i64,
) -> flashllmStatus_t {
    guard("flashllmDnMatSetStridedBatch", || {
        object::get::<DnMat>(dnMatDescr, "dnMatDescr")?.set_batch(batchCount, batchStride)
    })
}

/// Gives the batch that a dense matrix descriptor stands for.
///
/// @param dnMatDescr        The descriptor.
/// @param[out] batchCount   Receives the number of matrices.
/// @param[out] batchStride  Receives the distance in elements; 0 if none was set.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: not a dense matrix descriptor;
///   FLASHLLM_STATUS_NULL_POINTER: an out-parameter is NULL.
/// @note Thread-safe; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmDnMatGetStridedBatch(
    dnMatDescr: flashllmConstDnMatDescr_t,
    batchCount: *mut i64,
    batchStride: *mut i64,
) -> flashllmStatus_t {
    guard("flashllmDnMatGetStridedBatch", || {
        let descr = object::get::<DnMat>(dnMatDescr, "dnMatDescr")?;
        let (count, stride) = (out(batchCount, "batchCount")?, out(batchStride, "batchStride")?);
        let batch = descr.view().batch;
        // SAFETY: the caller gives valid pointers or NULL, which `out` has refused; the same below.
        unsafe { count.write(batch.count as i64) };
        // SAFETY: as above.
        unsafe { stride.write(batch.stride as i64) };
        Ok(())
    })
}

/// The arguments that the two functions of groups share, as C gives them.
struct Raw {
    handle: flashllmHandle_t,
    count: i64,
    op_b: RawOperation,
    a: *const flashllmConstSpMatDescr_t,
    b: *const flashllmConstDnMatDescr_t,
    c: *const flashllmDnMatDescr_t,
    compute_type: RawDataType,
    alg: RawSpMMAlg,
}

/// A group whose arguments are checked, but not yet its matrices.
struct Products {
    context: Arc<Context>,
    count: usize,
    op_b: flashllmOperation_t,
}

impl Raw {
    fn products(&self) -> Result<Products> {
        let context = object::get::<Context>(self.handle, "handle")?;
        let op_b = operations(RawOperation(0), self.op_b, self.compute_type, self.alg)?;
        let count = usize::try_from(self.count)
            .map_err(|_| Error::invalid(format!("count = {} is negative", self.count)))?;
        if count > 0 {
            for (name, is_null) in
                [("matA", self.a.is_null()), ("matB", self.b.is_null()), ("matC", self.c.is_null())]
            {
                if is_null {
                    return Err(null(name));
                }
            }
        }
        Ok(Products { context, count, op_b })
    }

    /// Product `i`, checked by itself.
    ///
    /// # Safety
    /// The arrays must hold more than `i` descriptors.
    unsafe fn product(&self, products: &Products, i: usize) -> Result<Product> {
        let product = || {
            // SAFETY: the caller's contract; no alignment is assumed.
            let (a, b, c) = unsafe {
                (
                    self.a.add(i).read_unaligned(),
                    self.b.add(i).read_unaligned(),
                    self.c.add(i).read_unaligned(),
                )
            };
            let product = Product::new(Operands::get(self.handle, a, b, c)?, products.op_b)?;
            if product.batch() != 1 {
                return Err(Error::invalid("matB and matC of a group are no batches"));
            }
            Ok(product)
        };
        product().map_err(|e| at(i, &e))
    }

    /// What the products that have columns have in common; none if there are none. `header` is what is asked
    /// of each.
    ///
    /// # Safety
    /// The arrays must hold `count` descriptors.
    unsafe fn shape(
        &self,
        products: &Products,
        header: impl Fn(&Product) -> Result<Header>,
    ) -> Result<Option<GroupShape>> {
        let mut shape: Option<GroupShape> = None;
        for i in 0..products.count {
            // SAFETY: the caller's contract.
            let product = unsafe { self.product(products, i) }?;
            let header = header(&product).map_err(|e| at(i, &e))?;
            if product.n == 0 {
                continue;
            }
            match &mut shape {
                None => shape = Some(GroupShape::of(&header, product.n)),
                Some(shape) => shape.add(&header, product.n).map_err(|e| at(i, &e))?,
            }
        }
        Ok(shape)
    }
}

/// The error of one product.
fn at(i: usize, error: &Error) -> Error {
    Error::new(error.kind(), format!("product {i}: {}", error.message()))
}

/// How products run on a device.
pub(super) enum Way {
    /// In shared launches; those of one launch have a part of the workspace each.
    Together(LaunchPlan),
    /// One after the other in one workspace: the kernels that take groups have no room for such blocks.
    OneByOne,
}

impl Way {
    /// The way of products of this shape.
    pub(super) fn of(cuda: &DeviceContext, shape: &GroupShape) -> Result<Self> {
        let plan = cuda.plans().group(shape, Group::together(shape.count, shape.header.format))?;
        Ok(plan.map_or(Self::OneByOne, Self::Together))
    }
}

impl Raw {
    /// The way of a group, and its bytes of workspace.
    ///
    /// # Safety
    /// The arrays must hold `count` descriptors.
    unsafe fn way(
        &self,
        products: &Products,
        cuda: &DeviceContext,
        shape: &GroupShape,
    ) -> Result<(Way, usize)> {
        let way = Way::of(cuda, shape)?;
        let bytes = match &way {
            Way::Together(plan) => checked_mul(plan.workspace_bytes, shape.count, "workspace")?,
            Way::OneByOne => {
                let mut bytes = 0;
                for i in 0..products.count {
                    // SAFETY: the caller's contract.
                    let product = unsafe { self.product(products, i) }?;
                    if product.n > 0 {
                        let header = product.header().map_err(|e| at(i, &e))?;
                        let one = plan::workspace_bytes(cuda.props(), &header, product.n);
                        bytes = bytes.max(one.map_err(|e| at(i, &e))?);
                    }
                }
                bytes
            }
        };
        Ok((way, bytes))
    }
}

/// Tells how much workspace flashllmSpMMGrouped() needs.
///
/// @param handle       The handle.
/// @param count        Products, at least 0.
/// @param opB          Operation on every matB.
/// @param alpha        Pointer to a float; its value does not matter here.
/// @param matA         Array of count compressed matrices, at least analysed.
/// @param matB         Array of count dense matrices.
/// @param beta         Pointer to a float; its value does not matter here.
/// @param matC         Array of count dense matrices.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param[out] workspaceBytes  Receives the size in bytes; 0 on a host handle.
/// @return As flashllmSpMMGrouped(), without what comes from running it;
///   FLASHLLM_STATUS_NULL_POINTER: also if workspaceBytes is NULL.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMGrouped_bufferSize(
    handle: flashllmHandle_t,
    count: i64,
    opB: RawOperation,
    alpha: *const c_void,
    matA: *const flashllmConstSpMatDescr_t,
    matB: *const flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: *const flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
    workspaceBytes: *mut usize,
) -> flashllmStatus_t {
    guard("flashllmSpMMGrouped_bufferSize", || {
        let raw = Raw {
            handle,
            count,
            op_b: opB,
            a: matA,
            b: matB,
            c: matC,
            compute_type: computeType,
            alg,
        };
        let products = raw.products()?;
        // SAFETY: the caller gives readable floats or NULL.
        unsafe { Scalars::read(&products.context, alpha, beta) }?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        // SAFETY: the caller gives arrays of `count` descriptors.
        let shape = unsafe { raw.shape(&products, Product::header) }?;
        let need = match (products.context.device(), shape) {
            (Device::Host, _) | (_, None) => 0,
            // SAFETY: as above.
            (Device::Cuda(cuda), Some(shape)) => unsafe { raw.way(&products, cuda, &shape) }?.1,
        };
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Computes C[i] = alpha * A[i] * op(B[i]) + beta * C[i] for many compressed A, such as the experts of a layer:
/// on a device a launch for every 16 of them (10 of FLASHLLM_FORMAT_BANKED and FLASHLLM_FORMAT_BITMAP, one each where an
/// A is nearly dense), and one for each B that has to be packed first. Every A has the same format, type and K; M and N
/// are each product's own, and N may be 0. All matrices are checked before anything is computed.
///
/// @param handle       The handle.
/// @param count        Products, at least 0.
/// @param opB          Operation on every matB.
/// @param alpha        Pointer to a float, the same for all: host memory, read before the call returns, or with
///   FLASHLLM_POINTER_MODE_DEVICE device memory aligned to 4 bytes, read when the work runs.
/// @param matA         Array of count compressed matrices, M[i] x K, converted or adopted. Host memory, read
///   before the call returns, like the other arrays. Any alignment; may be NULL if count is 0.
/// @param matB         Array of count dense matrices of the type of A, no batches; op(B[i]) is K x N[i].
/// @param beta         As alpha. If it is 0, no C is read.
/// @param matC         Array of count dense matrices, M[i] x N[i], of the type of A or FLASHLLM_R_32F. None may
///   overlap another operand of the group.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param workspace    As flashllmSpMM(), of the size that flashllmSpMMGrouped_bufferSize() says.
/// @return FLASHLLM_STATUS_SUCCESS: the work is done (host) or on the stream (CUDA);
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: count is negative, an enumerator is unknown, a product is not right by itself (the
///   sentence says which) or not like the others, or (host) a matC overlaps another operand of the group;
///   FLASHLLM_STATUS_NOT_SUPPORTED: computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_ALLOC_FAILED: (host) no memory for the group's places, or for a product, before which others may
///   have been computed;
///   FLASHLLM_STATUS_NULL_POINTER: alpha or beta is NULL, an array is and count is not 0, or workspace is and
///   one is needed;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: a B or C is not of a type that goes with its A;
///   FLASHLLM_STATUS_MISALIGNED: workspace is needed and not aligned to 256 bytes, or alpha or beta is device
///   memory that is not aligned to 4;
///   FLASHLLM_STATUS_WRONG_CONTEXT: a buffer was set with a handle of another CUDA context, or the driver says
///   so;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large;
///   FLASHLLM_STATUS_CORRUPT_DATA: (host) a buffer was changed since it was checked;
///   FLASHLLM_STATUS_EXECUTION_FAILED, FLASHLLM_STATUS_DRIVER_ERROR: the driver refused.
/// @note Thread-safe for different matC and workspaces; allowed during stream capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmSpMMGrouped(
    handle: flashllmHandle_t,
    count: i64,
    opB: RawOperation,
    alpha: *const c_void,
    matA: *const flashllmConstSpMatDescr_t,
    matB: *const flashllmConstDnMatDescr_t,
    beta: *const c_void,
    matC: *const flashllmDnMatDescr_t,
    computeType: RawDataType,
    alg: RawSpMMAlg,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    guard("flashllmSpMMGrouped", || {
        let raw = Raw {
            handle,
            count,
            op_b: opB,
            a: matA,
            b: matB,
            c: matC,
            compute_type: computeType,
            alg,
        };
        let products = raw.products()?;
        // SAFETY: the caller gives readable floats or NULL.
        let scalars = unsafe { Scalars::read(&products.context, alpha, beta) }?;
        // SAFETY: the caller gives arrays of `count` descriptors.
        let Some(shape) = unsafe { raw.shape(&products, |p| p.ready().map(|r| r.0)) }? else {
            return Ok(());
        };
        match products.context.device() {
            // SAFETY: the arrays, the matrices and the workspace are as the documentation asks of the caller.
            Device::Host => unsafe {
                check_apart(&raw, &products)?;
                run_each(&raw, &products, scalars, ptr::null_mut())
            },
            Device::Cuda(cuda) => {
                // SAFETY: as above.
                let (way, need) = unsafe { raw.way(&products, cuda, &shape) }?;
                usable_workspace(workspace, need)?;
                let Way::Together(plan) = way else {
                    // SAFETY: as above.
                    return unsafe { run_each(&raw, &products, scalars, workspace) };
                };
                log::log(Level::Hint, "flashllmSpMMGrouped", || {
                    format!("{scalars:?}, {shape:?}, workspace {workspace:p}, plan {plan:?}")
                });
                // SAFETY: as above.
                unsafe { run_cuda(&raw, &products, cuda, scalars, &shape, &plan, workspace) }
            }
        }
    })
}

/// Refuses a group on the host of which a C overlaps another operand, before anything is computed.
///
/// # Safety
/// The arrays must hold `products.count` descriptors.
unsafe fn check_apart(raw: &Raw, products: &Products) -> Result<()> {
    let overlap = |i: usize, name: &str, j: usize| {
        Err(Error::invalid(format!(
            "product {i}: the memory of {name} and of product {j}'s matC overlaps"
        )))
    };
    // Begin, end and product of each C, those that are not empty: in order, and after the first loop apart.
    let mut written =
        zeros::<(usize, usize, usize)>(products.count, "the places of the group's matC")?;
    for (i, place) in written.iter_mut().enumerate() {
        // SAFETY: the caller's contract.
        let product = unsafe { raw.product(products, i) }?;
        let c = &product.on.c;
        *place = (c.values, c.values.saturating_add(c.batch_bytes()), i);
    }
    written.retain(|&(begin, end, _)| begin < end);
    written.sort_unstable();
    for pair in written.windows(2) {
        if pair[1].0 < pair[0].1 {
            return overlap(pair[1].2, "matC", pair[0].2);
        }
    }
    for i in 0..products.count {
        // SAFETY: the caller's contract.
        let product = unsafe { raw.product(products, i) }?;
        if product.n == 0 {
            continue;
        }
        let (header, a) = product.ready().map_err(|e| at(i, &e))?;
        let b = &product.on.b;
        for (begin, bytes, name) in [
            (b.values, b.batch_bytes(), "matB"),
            (a.address, header.total_bytes as usize, "matA's buffer"),
        ] {
            let before = written.partition_point(|c| c.0 < begin.saturating_add(bytes));
            if let Some(&(_, end, j)) = before.checked_sub(1).and_then(|last| written.get(last)) {
                if end > begin {
                    return overlap(i, name, j);
                }
            }
        }
    }
    Ok(())
}

/// # Safety
/// As flashllmSpMMGrouped asks of its caller.
unsafe fn run_each(
    raw: &Raw,
    products: &Products,
    scalars: Scalars,
    workspace: *mut c_void,
) -> Result<()> {
    for i in 0..products.count {
        // SAFETY: the caller's contract.
        let product = unsafe { raw.product(products, i) }?;
        if product.n == 0 {
            continue;
        }
        let (header, a) = product.ready().map_err(|e| at(i, &e))?;
        let pieces = product.pieces(None, usize::MAX);
        // SAFETY: the caller's contract.
        unsafe { product.run(scalars, &header, a, workspace, &Fused::default(), &pieces) }
            .map_err(|e| at(i, &e))?;
    }
    Ok(())
}

/// # Safety
/// As flashllmSpMMGrouped asks of its caller.
unsafe fn run_cuda(
    raw: &Raw,
    products: &Products,
    cuda: &DeviceContext,
    scalars: Scalars,
    shape: &GroupShape,
    plan: &LaunchPlan,
    workspace: *mut c_void,
) -> Result<()> {
    let _entered = cuda.enter()?;
    let mut group = Group::new(cuda, plan, &shape.header, shape.count, products.context.stream());
    let mut used = 0;
    for i in 0..products.count {
        // SAFETY: the caller's contract.
        let product = unsafe { raw.product(products, i) }?;
        if product.n == 0 {
            continue;
        }
        let (header, a): (Header, Buffer) = product.ready().map_err(|e| at(i, &e))?;
        // Another thread may have changed a descriptor since the group was planned.
        let mut again = *shape;
        again.add(&header, product.n)?;
        if again != (GroupShape { count: again.count, ..*shape }) || used == shape.count {
            return Err(Error::invalid(format!(
                "product {i}: a matrix was changed during the call"
            )));
        }
        let own = workspace.wrapping_byte_add(used * plan.workspace_bytes);
        let pieces = product.pieces(None, usize::MAX);
        let args = product.device_args(scalars, &header, a, own, &Fused::default(), &pieces, 0);
        group.push(&args)?;
        used += 1;
    }
    group.launch()
}
