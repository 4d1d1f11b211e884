//! C = alpha * op(A) * op(B) + beta * C with a compressed A.

use std::ffi::c_void;
use std::sync::Arc;
use std::{ptr, slice};

use super::context::place;
use super::convert::{disjoint, half_slice};
use super::guard::{aligned, guard, out, scalar};
use super::object;
use super::status::flashllmStatus_t;
use super::types::{
    RawDataType, RawOperation, RawSpMMAlg, flashllmConstDnMatDescr_t, flashllmConstSpMatDescr_t,
    flashllmDnMatDescr_t, flashllmHandle_t, flashllmOperation_t, flashllmSpMMAlg_t,
};
use crate::descr::{Buffer, DnMat, SpMat};
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::gpu::spmm::{Epilogue, SpmmArgs, workspace_bytes};
use crate::handle::{Context, Device};
use crate::host::{self, DenseMut, HostSpmm};
use crate::plan::WORKSPACE_ALIGN;
use crate::types::DType;

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

/// A checked product.
struct Product {
    context: Arc<Context>,
    a: Arc<SpMat>,
    b: Arc<DnMat>,
    c: Arc<DnMat>,
    alpha: f32,
    beta: f32,
    /// Columns of op(B) and of C.
    n: usize,
    /// Strides of op(B) along K and along N, in elements.
    b_strides: (usize, usize),
}

impl Raw {
    /// Checks in the documented order up to the host scalars.
    ///
    /// # Safety
    /// alpha and beta must be NULL or readable floats.
    unsafe fn operands(&self) -> Result<(Product, flashllmOperation_t)> {
        let context = object::get::<Context>(self.handle, "handle")?;
        let a = object::get::<SpMat>(self.mat_a, "matA")?;
        let b = object::get::<DnMat>(self.mat_b, "matB")?;
        let c = object::get::<DnMat>(self.mat_c, "matC")?;
        if c.read_only() {
            return Err(Error::invalid(
                "matC was made by flashllmCreateConstDnMat: its values are const",
            ));
        }
        if flashllmOperation_t::try_from(self.op_a)?
            != flashllmOperation_t::FLASHLLM_OPERATION_NON_TRANSPOSE
        {
            return Err(Error::new(
                Kind::NotSupported,
                "opA must be FLASHLLM_OPERATION_NON_TRANSPOSE: the formats store A in the order of its rows",
            ));
        }
        let op_b = flashllmOperation_t::try_from(self.op_b)?;
        if DType::try_from(self.compute_type)? != DType::F32 {
            return Err(Error::new(
                Kind::NotSupported,
                "computeType must be FLASHLLM_R_32F: products add up in fp32",
            ));
        }
        flashllmSpMMAlg_t::try_from(self.alg)?;
        // SAFETY: NULL or readable by the caller's contract.
        let alpha = unsafe { scalar(self.alpha.cast::<f32>(), "alpha") }?;
        // SAFETY: as above.
        let beta = unsafe { scalar(self.beta.cast::<f32>(), "beta") }?;
        Ok((Product { context, a, b, c, alpha, beta, n: 0, b_strides: (0, 0) }, op_b))
    }
}

impl Product {
    /// Checks element types and shapes.
    fn shaped(mut self, op_b: flashllmOperation_t) -> Result<Self> {
        if self.b.dtype() != DType::F16 {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!("matB holds {:?} and must hold FLASHLLM_R_16F", self.b.dtype()),
            ));
        }
        let (m, k) = (self.a.rows(), self.a.cols());
        let b = self.b.layout();
        let (row, col) = b.strides();
        let (b_k, b_n, strides, op) = match op_b {
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
        let c = self.c.layout();
        if (c.rows, c.cols) != (m, b_n) {
            return Err(Error::invalid(format!(
                "matC is {} x {}, and matA ({m} x {k}) times {op} ({k} x {b_n}) is {m} x {b_n}",
                c.rows, c.cols
            )));
        }
        self.n = b_n;
        self.b_strides = strides;
        Ok(self)
    }

    /// The header, once an analysis or a buffer has given one; on this handle's side if there is a buffer.
    fn header(&self) -> Result<Header> {
        self.a.read(|state| {
            if let Some(buffer) = state.buffer {
                buffer.place.usable_from(place(&self.context))?;
            }
            state.header().copied().ok_or_else(|| {
                Error::invalid("matA has no size yet: analyse a dense matrix, or adopt a buffer with flashllmSpMatSetBuffer")
            })
        })
    }

    /// The compressed matrix, on this handle's side.
    fn ready(&self) -> Result<(Header, Buffer)> {
        let (header, buffer) = self.a.ready("matA")?;
        buffer.place.usable_from(place(&self.context))?;
        Ok((header, buffer))
    }

    fn workspace_bytes(&self, header: &Header) -> Result<usize> {
        match self.context.device() {
            _ if self.n == 0 => Ok(0),
            Device::Host => Ok(0),
            Device::Cuda(cuda) => workspace_bytes(cuda.props(), header, self.n),
        }
    }

    /// Refuses a workspace that cannot be used, if one is needed. The size is computed only for a workspace
    /// that is wrong where one is needed: it plans several products, and `run` plans its own.
    fn check_workspace(&self, header: &Header, workspace: *mut c_void) -> Result<()> {
        if !workspace.is_null() && workspace.addr() % WORKSPACE_ALIGN == 0 {
            return Ok(());
        }
        let need = self.workspace_bytes(header)?;
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
    /// The descriptors must describe memory of the context's device that lives until the work is done, and
    /// the workspace must be as large as `workspace_bytes` says.
    unsafe fn run(&self, header: &Header, a: Buffer, workspace: *mut c_void) -> Result<()> {
        match self.context.device() {
            // SAFETY: the caller's contract.
            Device::Host => unsafe { self.run_host(header, a) },
            Device::Cuda(cuda) => {
                let args = SpmmArgs {
                    header,
                    a: a.address as u64,
                    n: self.n,
                    b: self.b.values() as u64,
                    b_strides: self.b_strides,
                    c: self.c.values() as u64,
                    c_dtype: self.c.dtype(),
                    c_strides: self.c.layout().strides(),
                    alpha: self.alpha,
                    beta: self.beta,
                    epilogue: Epilogue::default(),
                    workspace: workspace.addr() as u64,
                    stream: self.context.stream(),
                };
                let _entered = cuda.enter()?;
                crate::gpu::spmm::spmm(cuda, &args)
            }
        }
    }

    /// # Safety
    /// As `run`, with host memory.
    unsafe fn run_host(&self, header: &Header, a: Buffer) -> Result<()> {
        let a_bytes = header.total_bytes as usize;
        let c_range = (self.c.values(), self.c.extent_bytes(), "matC");
        disjoint(c_range, (self.b.values(), self.b.extent_bytes(), "matB"))?;
        disjoint(c_range, (a.address, a_bytes, "matA's buffer"))?;
        // SAFETY: the caller gave this many bytes, checked when they were adopted or written.
        let a = unsafe {
            slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(a.address), a_bytes)
        };
        // SAFETY: the descriptor describes readable host memory.
        let b = unsafe { half_slice(&self.b) };
        let (address, elements) = (self.c.values(), self.c.layout().extent());
        let c = match self.c.dtype() {
            // SAFETY: writable host memory of this extent, not empty as n > 0, aligned (checked by DnMat),
            // disjoint from a and b (checked above).
            DType::F16 => DenseMut::F16(unsafe {
                slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), elements)
            }),
            // SAFETY: as above.
            DType::F32 => DenseMut::F32(unsafe {
                slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), elements)
            }),
        };
        let args = HostSpmm {
            a,
            n: self.n,
            alpha: self.alpha,
            beta: self.beta,
            b,
            b_strides: self.b_strides,
            c_dtype: self.c.dtype(),
            c_strides: self.c.layout().strides(),
            epilogue: host::Epilogue::default(),
        };
        host::spmm(&args, header, c)
    }
}

/// Tells how much workspace flashllmSpMM_preprocess() and flashllmSpMM() need.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB.
/// @param alpha        Host pointer to a float; its value does not matter here.
/// @param matA         The compressed matrix, M x K, at least analysed.
/// @param matB         Dense, FLASHLLM_R_16F; op(B) is K x N.
/// @param beta         Host pointer to a float; its value does not matter here.
/// @param matC         Dense, M x N, FLASHLLM_R_16F or FLASHLLM_R_32F.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param[out] workspaceBytes  Receives the size in bytes; 0 on a host handle. For the same matA it does not
///   shrink when N grows.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matC has const values, an enumerator
///   is unknown, the shapes do not fit, matA is neither analysed nor adopted, or its buffer was set
///   with a handle of another device;
///   FLASHLLM_STATUS_NOT_SUPPORTED: opA is a transpose, or computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_NULL_POINTER: alpha, beta or workspaceBytes is NULL;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not FLASHLLM_R_16F;
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
        let (product, op_b) = unsafe { raw.operands() }?;
        let bytes = out(workspaceBytes, "workspaceBytes")?;
        let product = product.shaped(op_b)?;
        let need = product.workspace_bytes(&product.header()?)?;
        // SAFETY: the caller gives a valid pointer or NULL, which `out` has refused.
        unsafe { bytes.write(need) };
        Ok(())
    })
}

/// Prepares flashllmSpMM() for the same arguments. Optional: in this release there is nothing to prepare,
/// so that it only checks the arguments.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB.
/// @param alpha        Host pointer to a float; its value does not matter here.
/// @param matA         The compressed matrix, M x K, converted or adopted.
/// @param matB         Dense, FLASHLLM_R_16F; op(B) is K x N.
/// @param beta         Host pointer to a float; its value does not matter here.
/// @param matC         Dense, M x N, FLASHLLM_R_16F or FLASHLLM_R_32F. Not written.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param workspace    As flashllmSpMM().
/// @return As flashllmSpMM(), without what comes from running it.
/// @note Thread-safe; allowed during stream capture. It calls no driver function.
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
        let (product, op_b) = unsafe { raw.operands() }?;
        let product = product.shaped(op_b)?;
        let (header, _) = product.ready()?;
        // A problem that no kernel can run is refused here, not at the first product.
        product.workspace_bytes(&header)?;
        product.check_workspace(&header, workspace)
    })
}

/// Computes C = alpha * op(A) * op(B) + beta * C with a compressed A. Products add up in fp32, and the
/// result is rounded once to the type of C.
///
/// On a CUDA handle the work is put on the handle's stream and the call returns; it allocates nothing, waits
/// for nothing, loads nothing, and can be captured into a graph. On a host handle it is done when the call
/// returns. The same arguments on the same device give the same bits every time.
///
/// @param handle       The handle.
/// @param opA          FLASHLLM_OPERATION_NON_TRANSPOSE.
/// @param opB          Operation on matB: both are supported.
/// @param alpha        Host pointer to a float, read before the call returns.
/// @param matA         The compressed matrix, M x K, converted or adopted.
/// @param matB         Dense, FLASHLLM_R_16F; op(B) is K x N. N may be 0: then nothing happens.
/// @param beta         Host pointer to a float, read before the call returns. If it is 0, C is not read: NaN in
///   it does not survive.
/// @param matC         Dense, M x N, FLASHLLM_R_16F or FLASHLLM_R_32F. Must not overlap matA or matB. Memory
///   that ld skips stays as it is.
/// @param computeType  FLASHLLM_R_32F.
/// @param alg          FLASHLLM_SPMM_ALG_DEFAULT.
/// @param workspace    Memory of the handle's device of the size that flashllmSpMM_bufferSize() says, aligned
///   to 256 bytes; NULL if that is 0. Its contents do not matter. The caller keeps it alive, and uses it for
///   nothing else, until the work on the stream is done.
/// @return FLASHLLM_STATUS_SUCCESS: the work is done (host) or on the stream (CUDA);
///   FLASHLLM_STATUS_NOT_INITIALIZED: not a handle;
///   FLASHLLM_STATUS_INVALID_VALUE: not descriptors of the right kinds, matC has const values, an enumerator
///   is unknown, the shapes do not fit, matA has no compressed data, its buffer was set with a handle
///   of another device, or (host) matC overlaps another operand;
///   FLASHLLM_STATUS_NOT_SUPPORTED: opA is a transpose, or computeType is not FLASHLLM_R_32F;
///   FLASHLLM_STATUS_NULL_POINTER: alpha or beta is NULL, or workspace is and one is needed;
///   FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED: matB is not FLASHLLM_R_16F;
///   FLASHLLM_STATUS_MISALIGNED: workspace is needed and not aligned to 256 bytes;
///   FLASHLLM_STATUS_WRONG_CONTEXT: matA's buffer was set with a handle of another CUDA context, or the
///   driver says so;
///   FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, FLASHLLM_STATUS_SIZE_OVERFLOW: the problem is too large;
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
        let (product, op_b) = unsafe { raw.operands() }?;
        let product = product.shaped(op_b)?;
        let (header, buffer) = product.ready()?;
        product.check_workspace(&header, workspace)?;
        if product.n == 0 {
            return Ok(());
        }
        // SAFETY: the descriptors and the workspace are as the documentation asks of the caller.
        unsafe { product.run(&header, buffer, workspace) }
    })
}
