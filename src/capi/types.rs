//! C types: enums with explicit values, opaque objects, and the integers that C really passes.
//!
//! A Rust enum with a value outside its list is undefined behaviour, and C can pass any int. So no
//! exported function takes one of the `flashllm*_t` enums: it takes the `Raw*` integer beside it
//! (cbindgen shows the enum in the header), and `TryFrom` refuses what is not in the list.

use std::ffi::c_int;

use crate::error::Error;
use crate::format::Verify;
use crate::types::{Activation, DType, Format, Order, Preference};

/// Opaque object behind flashllmHandle_t.
#[repr(C)]
pub struct flashllmContext {
    _private: [u8; 0],
}

/// Opaque object behind flashllmDnMatDescr_t.
#[repr(C)]
pub struct flashllmDnMatDescr {
    _private: [u8; 0],
}

/// Opaque object behind flashllmSpMatDescr_t.
#[repr(C)]
pub struct flashllmSpMatDescr {
    _private: [u8; 0],
}

/// Opaque object behind flashllmSpMMPlan_t.
#[repr(C)]
pub struct flashllmSpMMPlan {
    _private: [u8; 0],
}

/// Opaque object behind flashllmSafetensors_t.
#[repr(C)]
pub struct flashllmSafetensors {
    _private: [u8; 0],
}

/// Opaque object behind flashllmSafetensorsWriter_t.
#[repr(C)]
pub struct flashllmSafetensorsWriter {
    _private: [u8; 0],
}

/// The driver's stream object: CUstream and cudaStream_t point to it.
#[repr(C)]
pub struct CUstream_st {
    _private: [u8; 0],
}

/// A library context: a device (or the host), a stream, and the kernels loaded for it. Made by
/// flashllmCreate() or flashllmCreateHost(), ended by flashllmDestroy().
///
/// The value is a key that is looked up, not an address: a NULL, wild, destroyed or wrong-kind handle
/// is refused with a status and never dereferenced. Different handles may be used from different
/// threads at once. One handle may be used by several threads too; the order is then unspecified.
pub type flashllmHandle_t = *mut flashllmContext;

/// A dense matrix in the caller's memory. A key, as flashllmHandle_t.
pub type flashllmDnMatDescr_t = *mut flashllmDnMatDescr;

/// A dense matrix that is only read.
pub type flashllmConstDnMatDescr_t = *const flashllmDnMatDescr;

/// A compressed matrix in the caller's memory. A key, as flashllmHandle_t.
pub type flashllmSpMatDescr_t = *mut flashllmSpMatDescr;

/// A compressed matrix that is only read.
pub type flashllmConstSpMatDescr_t = *const flashllmSpMatDescr;

/// A product that is planned once and executed often. A key, as flashllmHandle_t.
pub type flashllmSpMMPlan_t = *mut flashllmSpMMPlan;

/// A .safetensors file that is open for reading. A key, as flashllmHandle_t.
pub type flashllmSafetensors_t = *mut flashllmSafetensors;

/// A .safetensors file that is being written. A key, as flashllmHandle_t.
pub type flashllmSafetensorsWriter_t = *mut flashllmSafetensorsWriter;

/// The type of CUstream and cudaStream_t, so that this header needs no CUDA header.
pub type flashllmStream_t = *mut CUstream_st;

/// Element types. The numbers are cudaDataType's, so a cast works.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmDataType_t {
    /// IEEE 754 binary32.
    FLASHLLM_R_32F = 0,
    /// IEEE 754 binary16.
    FLASHLLM_R_16F = 2,
    /// bfloat16.
    FLASHLLM_R_16BF = 14,
}

/// Memory order of a dense matrix. The numbers are cuSPARSE's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmOrder_t {
    /// Column-major: element (r, c) is at r + c * ld.
    FLASHLLM_ORDER_COL = 1,
    /// Row-major: element (r, c) is at r * ld + c.
    FLASHLLM_ORDER_ROW = 2,
}

/// Operation on an operand. The numbers are cuSPARSE's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmOperation_t {
    /// The matrix as it is.
    FLASHLLM_OPERATION_NON_TRANSPOSE = 0,
    /// Its transpose.
    FLASHLLM_OPERATION_TRANSPOSE = 1,
}

/// Formats of a compressed matrix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmFormat_t {
    /// The library chooses in flashllmDenseToSparse_analysis(), or takes the adopted buffer's format. It chooses for Hopper
    /// (FLASHLLM_SPMAT_PREFERENCE says how), whatever the handle computes on: on a host FLASHLLM_FORMAT_SLOTS takes
    /// about twice as long as the others.
    FLASHLLM_FORMAT_AUTO = 0,
    /// Flash-LLM's Tiled-CSL: 32-bit (value, location) items in tiles of 128 x 64.
    FLASHLLM_FORMAT_TILED_CSL = 1,
    /// A mask bit for each element, in the order of Tensor Core fragments, and packed values.
    FLASHLLM_FORMAT_BITMAP = 2,
    /// Codes that are the metadata of sparse Tensor Core instructions, and the values of their slots: the
    /// fastest to multiply with up to 24 columns from about 62 % sparsity on Hopper, but for 81 to 88 %, and of
    /// 2:4 masks.
    FLASHLLM_FORMAT_SLOTS = 3,
    /// Registers of Tensor Core fragments, distributed over the banks of shared memory: the fastest to multiply with
    /// more columns on Hopper, and where rows are uneven.
    FLASHLLM_FORMAT_BANKED = 4,
    /// Rows as sliced lists of column deltas and values, distributed over the banks of shared memory: work in proportion to the
    /// non-zeros, for products with up to 8 columns from about 92 % sparsity on Hopper.
    FLASHLLM_FORMAT_SELL = 5,
}

/// Algorithms of flashllmSpMM().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmSpMMAlg_t {
    /// Chosen from the shape, the format and the device. The same call on the same device gives the
    /// same bits every time.
    FLASHLLM_SPMM_ALG_DEFAULT = 0,
}

/// Algorithms of flashllmDenseToSparse_analysis() and flashllmDenseToSparse_convert().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmDenseToSparseAlg_t {
    /// The only one; its bytes are deterministic.
    FLASHLLM_DENSETOSPARSE_ALG_DEFAULT = 0,
}

/// Algorithms of flashllmSparseToDense().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmSparseToDenseAlg_t {
    /// The only one.
    FLASHLLM_SPARSETODENSE_ALG_DEFAULT = 0,
}

/// Parts of the version for flashllmGetProperty(). The numbers are libraryPropertyType's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmPropertyType_t {
    /// Major version.
    FLASHLLM_MAJOR_VERSION = 0,
    /// Minor version.
    FLASHLLM_MINOR_VERSION = 1,
    /// Patch level.
    FLASHLLM_PATCH_LEVEL = 2,
}

/// Directions of flashllmMemcpy(). The numbers are cudaMemcpyKind's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmMemcpyKind_t {
    /// Host memory to host memory.
    FLASHLLM_MEMCPY_HOST_TO_HOST = 0,
    /// Host memory to the handle's device.
    FLASHLLM_MEMCPY_HOST_TO_DEVICE = 1,
    /// The handle's device to host memory.
    FLASHLLM_MEMCPY_DEVICE_TO_HOST = 2,
    /// The handle's device to itself.
    FLASHLLM_MEMCPY_DEVICE_TO_DEVICE = 3,
}

/// Where alpha and beta are read from. The numbers are cuSPARSE's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmPointerMode_t {
    /// Host memory, read before the call returns.
    FLASHLLM_POINTER_MODE_HOST = 0,
    /// Memory of the handle's device, read when the work runs: a captured graph that is replayed reads it anew.
    /// On a host handle the same as FLASHLLM_POINTER_MODE_HOST.
    FLASHLLM_POINTER_MODE_DEVICE = 1,
}

/// What a handle computes on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmDeviceType_t {
    /// All cores of this machine; every pointer is host memory.
    FLASHLLM_DEVICE_HOST = 0,
    /// One CUDA context; matrices and workspaces are device memory.
    FLASHLLM_DEVICE_CUDA = 1,
}

/// Attributes of a compressed matrix. Each says the C type that its data pointer points to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmSpMatAttribute_t {
    /// int32_t, 0 or 1, default 1. Tiled-CSL: order the items of a tile so that 32 neighbours hit
    /// different shared-memory banks. Used by the next flashllmDenseToSparse_analysis().
    FLASHLLM_SPMAT_TILED_CSL_REORDER = 0,
    /// flashllmPreference_t, default FLASHLLM_PREFERENCE_SPEED. What FLASHLLM_FORMAT_AUTO prefers. Used by the next
    /// flashllmDenseToSparse_analysis().
    FLASHLLM_SPMAT_PREFERENCE = 1,
}

/// What FLASHLLM_FORMAT_AUTO prefers: a matrix has one format, and which is the fastest depends on how many columns it
/// will be multiplied by. Every format multiplies by any number of columns.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmPreference_t {
    /// Speed of products with up to 24 columns: FLASHLLM_FORMAT_BITMAP below 62 % zeros, FLASHLLM_FORMAT_SLOTS from
    /// there on, and where two of each four neighbours in a row are zero (2:4). From 81 to 88 % zeros, from 75 % on
    /// where there are 2561 to 4096 rows, and where some rows are much fuller than others, it is FLASHLLM_FORMAT_BANKED,
    /// which takes more bytes.
    FLASHLLM_PREFERENCE_SPEED = 0,
    /// Fewer bytes: the smaller of FLASHLLM_FORMAT_BITMAP and FLASHLLM_FORMAT_TILED_CSL. (FLASHLLM_FORMAT_SELL takes
    /// fewer from 80 to 95 % zeros, but is slow with more than 8 columns.)
    FLASHLLM_PREFERENCE_SIZE = 1,
    /// Speed of products with more than 24 columns, as in prefill and large batches: FLASHLLM_FORMAT_BITMAP below 63 %
    /// zeros, FLASHLLM_FORMAT_BANKED from there on.
    FLASHLLM_PREFERENCE_COLUMNS = 2,
    /// Speed of products with up to 8 columns: as FLASHLLM_PREFERENCE_SPEED, but FLASHLLM_FORMAT_BANKED from 83 to 87 %
    /// zeros only, and FLASHLLM_FORMAT_SELL from 92 % on.
    FLASHLLM_PREFERENCE_FEW_COLUMNS = 3,
}

/// What becomes of the elements of a product, in fp32 and before they are rounded to the type of C. A NaN
/// stays one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmActivation_t {
    /// The identity.
    FLASHLLM_ACTIVATION_NONE = 0,
    /// max(v, 0).
    FLASHLLM_ACTIVATION_RELU = 1,
    /// v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))).
    FLASHLLM_ACTIVATION_GELU_TANH = 2,
    /// v / 2 * (1 + erf(v / sqrt(2))).
    FLASHLLM_ACTIVATION_GELU_ERF = 3,
    /// v / (1 + exp(-v)), also called swish.
    FLASHLLM_ACTIVATION_SILU = 4,
}

/// Attributes of a plan. Each says the C type that its value pointer points to. All of them may be read;
/// those of what is computed say what it is:
///
/// without a gate  C = activation(alpha * A * op(B) + beta * C + bias) + residual
/// with one        C = (alpha * A * op(B) + beta * C + bias) * activation(G * op(B)) + residual
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmSpMMPlanAttribute_t {
    /// const void *, default NULL (none). M elements, one for each row of A, contiguous, in memory of the
    /// handle's device, aligned to their size; read when the work runs. The caller keeps them alive.
    FLASHLLM_SPMM_PLAN_BIAS = 0,
    /// flashllmDataType_t, default the type of A. Element type of the bias, any.
    FLASHLLM_SPMM_PLAN_BIAS_TYPE = 1,
    /// flashllmActivation_t, default FLASHLLM_ACTIVATION_NONE.
    FLASHLLM_SPMM_PLAN_ACTIVATION = 2,
    /// flashllmConstSpMatDescr_t, default NULL (none). G, of the shape and type of A and in any format, at least
    /// analysed when it is set and converted or adopted at the first execution. The plan keeps the matrix
    /// alive, the caller its buffer. Reading gives the descriptor that was set; if that has been destroyed, no function
    /// takes it any more. silu(G * B) * (A * B) is the feed-forward layer of Llama.
    FLASHLLM_SPMM_PLAN_GATE = 3,
    /// flashllmConstDnMatDescr_t, default NULL (none). A matrix of the shape and batch count of C, of any type
    /// and order; it is read before C is written, so it may be C itself (the same address, order, ld and
    /// type) but may not overlap it otherwise. The plan keeps the matrix alive, the caller the values. Reading is as of
    /// the gate.
    FLASHLLM_SPMM_PLAN_RESIDUAL = 4,
    /// int32_t, default 0: the library chooses. Another number is one of flashllmSpMMAlgGetIds(), and may fix
    /// more than that: + 1000000 * row tiles of a thread block + 100000000 * staged blocks of A, 0 leaving either
    /// to the library; flashllmSpMMPlanExplain() prints the whole number. Some (sliced-K: warpgroups take the blocks
    /// of a row tile in turn) run only where there are no more pieces of row groups than multiprocessors, and are
    /// refused with FLASHLLM_STATUS_NOT_SUPPORTED elsewhere. Reading gives the algorithm that will
    /// run, never 0: store it, and force it elsewhere. flashllmSpMMPlanSearch() finds one by measurement.
    FLASHLLM_SPMM_PLAN_ALG_ID = 5,
    /// int32_t, default 0: the library chooses. Pieces into which the sums of a row group are cut for the
    /// multiprocessors; more than there are blocks along K count as that many. Reading gives the number that
    /// will be used, never 0. The bits of C depend on it. A host handle has one piece.
    FLASHLLM_SPMM_PLAN_SPLITS = 6,
    /// int32_t, 0 or 1, default 1. 1: the same arguments on the same device give the same bits every time. 0
    /// permits algorithms that do not; this release has none.
    FLASHLLM_SPMM_PLAN_DETERMINISTIC = 7,
    /// size_t, default SIZE_MAX. The workspace the plan may need, in bytes; a smaller one may cost speed.
    FLASHLLM_SPMM_PLAN_WORKSPACE_LIMIT = 8,
    /// int32_t, 0 or 1, default 0. 1: programmatic dependent launch. The product may begin while the kernels ahead
    /// of it in the stream still run, and reads the compressed buffers of A and the gate then: the caller vouches
    /// that nothing ahead of it that may still run writes those, as nothing does once a model is loaded. B, C, bias,
    /// residual, the scalars and the workspace need no such promise: they are touched only when all of that has
    /// ended. What this hides is the launch, and reading the first of A; how much depends on the kernel ahead,
    /// which lets others begin by cudaTriggerProgrammaticLaunchCompletion() (griddepcontrol.launch_dependents), as
    /// this library's do, or else when it ends. Captured into a graph it becomes a programmatic edge. Compute
    /// capability 9.0; without effect on other devices and the host.
    FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH = 9,
    /// double, read only. Microseconds that an execution is estimated to take with weights that are not in the L2,
    /// from the measurements of this device that the choice of the kernel is from too; without what follows the
    /// product. 0 on the host, for products without columns, and on a device whose table is another one's.
    FLASHLLM_SPMM_PLAN_ESTIMATE = 10,
    /// double, read only. Microseconds that cuBLAS is estimated to take for the same product with dense weights, fitted
    /// to measurements on this device; where it is below FLASHLLM_SPMM_PLAN_ESTIMATE, as it is for matrices that are
    /// too small or hold too many non-zeros and for products of some hundred columns, keep the weights dense for speed.
    /// 0 on devices where nobody measured that, and outside of what was measured: with more than 512 columns (H200) or 64
    /// (H100), or fewer than 16 million weights.
    FLASHLLM_SPMM_PLAN_DENSE_ESTIMATE = 11,
}

/// How much of a stored matrix is checked before it is used. Whatever the choice, a header or table that
/// contradicts itself or the size of the bytes is refused, and nothing outside of the bytes is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum flashllmVerify_t {
    /// Every byte: for files that anybody may have made. A CUDA handle checks the blocks on the device; on a host
    /// handle all cores take longer for them than reading does.
    FLASHLLM_VERIFY_FULL = 0,
    /// The checksums, which find damage but not malice: for files that are trusted as the program itself is. What
    /// a kernel does with blocks that were made to harm is undefined.
    FLASHLLM_VERIFY_CHECKSUM = 1,
    /// Header and table only: for files whose checksums were verified before, by the same reader.
    FLASHLLM_VERIFY_HEADER = 2,
}

/// flashllmDataType_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDataType(pub c_int);

/// flashllmOrder_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOrder(pub c_int);

/// flashllmOperation_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOperation(pub c_int);

/// flashllmFormat_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat(pub c_int);

/// flashllmSpMMAlg_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSpMMAlg(pub c_int);

/// flashllmDenseToSparseAlg_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDenseToSparseAlg(pub c_int);

/// flashllmSparseToDenseAlg_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSparseToDenseAlg(pub c_int);

/// flashllmPropertyType_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPropertyType(pub c_int);

/// flashllmMemcpyKind_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMemcpyKind(pub c_int);

/// flashllmPointerMode_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPointerMode(pub c_int);

/// flashllmDeviceType_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDeviceType(pub c_int);

/// flashllmSpMatAttribute_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSpMatAttribute(pub c_int);

/// flashllmPreference_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPreference(pub c_int);

/// flashllmActivation_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawActivation(pub c_int);

/// flashllmSpMMPlanAttribute_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSpMMPlanAttribute(pub c_int);

/// flashllmVerify_t as C passes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawVerify(pub c_int);

/// `TryFrom<Raw>` for a C enum: one list, so that no enumerator is forgotten in one of two places.
macro_rules! checked {
    ($raw:ident => $enum:ident: $($variant:ident),+) => {
        impl TryFrom<$raw> for $enum {
            type Error = Error;
            fn try_from(raw: $raw) -> std::result::Result<Self, Error> {
                $(if raw.0 == $enum::$variant as c_int {
                    return Ok($enum::$variant);
                })+
                Err(Error::invalid(format!("{} is not a value of {}", raw.0, stringify!($enum))))
            }
        }
        impl From<$enum> for $raw {
            fn from(value: $enum) -> Self {
                Self(value as c_int)
            }
        }
    };
}
pub(super) use checked;

/// A C enum and the type of this crate that it stands for: one list for both directions.
macro_rules! stands_for {
    ($raw:ident, $enum:ident => $type:ident: $($variant:ident = $ours:ident),+) => {
        impl TryFrom<$raw> for $type {
            type Error = Error;
            fn try_from(raw: $raw) -> std::result::Result<Self, Error> {
                Ok(match $enum::try_from(raw)? {
                    $($enum::$variant => Self::$ours),+
                })
            }
        }
        impl From<$type> for $enum {
            fn from(value: $type) -> Self {
                match value {
                    $($type::$ours => Self::$variant),+
                }
            }
        }
    };
}

checked!(RawDataType => flashllmDataType_t: FLASHLLM_R_32F, FLASHLLM_R_16F, FLASHLLM_R_16BF);
checked!(RawOrder => flashllmOrder_t: FLASHLLM_ORDER_COL, FLASHLLM_ORDER_ROW);
checked!(RawOperation => flashllmOperation_t: FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_TRANSPOSE);
checked!(RawFormat => flashllmFormat_t: FLASHLLM_FORMAT_AUTO, FLASHLLM_FORMAT_TILED_CSL, FLASHLLM_FORMAT_BITMAP, FLASHLLM_FORMAT_SLOTS,
    FLASHLLM_FORMAT_BANKED, FLASHLLM_FORMAT_SELL);
checked!(RawSpMMAlg => flashllmSpMMAlg_t: FLASHLLM_SPMM_ALG_DEFAULT);
checked!(RawDenseToSparseAlg => flashllmDenseToSparseAlg_t: FLASHLLM_DENSETOSPARSE_ALG_DEFAULT);
checked!(RawSparseToDenseAlg => flashllmSparseToDenseAlg_t: FLASHLLM_SPARSETODENSE_ALG_DEFAULT);
checked!(RawPropertyType => flashllmPropertyType_t: FLASHLLM_MAJOR_VERSION, FLASHLLM_MINOR_VERSION, FLASHLLM_PATCH_LEVEL);
checked!(RawMemcpyKind => flashllmMemcpyKind_t: FLASHLLM_MEMCPY_HOST_TO_HOST, FLASHLLM_MEMCPY_HOST_TO_DEVICE,
    FLASHLLM_MEMCPY_DEVICE_TO_HOST, FLASHLLM_MEMCPY_DEVICE_TO_DEVICE);
checked!(RawPointerMode => flashllmPointerMode_t: FLASHLLM_POINTER_MODE_HOST, FLASHLLM_POINTER_MODE_DEVICE);
checked!(RawDeviceType => flashllmDeviceType_t: FLASHLLM_DEVICE_HOST, FLASHLLM_DEVICE_CUDA);
checked!(RawSpMatAttribute => flashllmSpMatAttribute_t: FLASHLLM_SPMAT_TILED_CSL_REORDER, FLASHLLM_SPMAT_PREFERENCE);
checked!(RawPreference => flashllmPreference_t: FLASHLLM_PREFERENCE_SPEED, FLASHLLM_PREFERENCE_SIZE, FLASHLLM_PREFERENCE_COLUMNS,
    FLASHLLM_PREFERENCE_FEW_COLUMNS);

checked!(RawActivation => flashllmActivation_t: FLASHLLM_ACTIVATION_NONE, FLASHLLM_ACTIVATION_RELU,
    FLASHLLM_ACTIVATION_GELU_TANH, FLASHLLM_ACTIVATION_GELU_ERF, FLASHLLM_ACTIVATION_SILU);
checked!(RawSpMMPlanAttribute => flashllmSpMMPlanAttribute_t: FLASHLLM_SPMM_PLAN_BIAS, FLASHLLM_SPMM_PLAN_BIAS_TYPE,
    FLASHLLM_SPMM_PLAN_ACTIVATION, FLASHLLM_SPMM_PLAN_GATE, FLASHLLM_SPMM_PLAN_RESIDUAL, FLASHLLM_SPMM_PLAN_ALG_ID,
    FLASHLLM_SPMM_PLAN_SPLITS, FLASHLLM_SPMM_PLAN_DETERMINISTIC, FLASHLLM_SPMM_PLAN_WORKSPACE_LIMIT, FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH,
    FLASHLLM_SPMM_PLAN_ESTIMATE, FLASHLLM_SPMM_PLAN_DENSE_ESTIMATE);

checked!(RawVerify => flashllmVerify_t: FLASHLLM_VERIFY_FULL, FLASHLLM_VERIFY_CHECKSUM, FLASHLLM_VERIFY_HEADER);

stands_for!(RawDataType, flashllmDataType_t => DType: FLASHLLM_R_32F = F32, FLASHLLM_R_16F = F16, FLASHLLM_R_16BF = BF16);
stands_for!(RawOrder, flashllmOrder_t => Order: FLASHLLM_ORDER_COL = Col, FLASHLLM_ORDER_ROW = Row);
stands_for!(RawPreference, flashllmPreference_t => Preference: FLASHLLM_PREFERENCE_SPEED = Speed,
    FLASHLLM_PREFERENCE_SIZE = Size, FLASHLLM_PREFERENCE_COLUMNS = Columns, FLASHLLM_PREFERENCE_FEW_COLUMNS = FewColumns);
stands_for!(RawActivation, flashllmActivation_t => Activation: FLASHLLM_ACTIVATION_NONE = None,
    FLASHLLM_ACTIVATION_RELU = Relu, FLASHLLM_ACTIVATION_GELU_TANH = GeluTanh, FLASHLLM_ACTIVATION_GELU_ERF = GeluErf,
    FLASHLLM_ACTIVATION_SILU = Silu);
stands_for!(RawVerify, flashllmVerify_t => Verify: FLASHLLM_VERIFY_FULL = Full, FLASHLLM_VERIFY_CHECKSUM = Checksum,
    FLASHLLM_VERIFY_HEADER = Header);

/// The format asked for; `None` is AUTO.
pub fn requested_format(raw: RawFormat) -> Result<Option<Format>, Error> {
    Ok(match flashllmFormat_t::try_from(raw)? {
        flashllmFormat_t::FLASHLLM_FORMAT_AUTO => None,
        flashllmFormat_t::FLASHLLM_FORMAT_TILED_CSL => Some(Format::TiledCsl),
        flashllmFormat_t::FLASHLLM_FORMAT_BITMAP => Some(Format::Bitmap),
        flashllmFormat_t::FLASHLLM_FORMAT_SLOTS => Some(Format::Slots),
        flashllmFormat_t::FLASHLLM_FORMAT_BANKED => Some(Format::Banked),
        flashllmFormat_t::FLASHLLM_FORMAT_SELL => Some(Format::Sell),
    })
}

impl From<Option<Format>> for flashllmFormat_t {
    fn from(format: Option<Format>) -> Self {
        match format {
            None => Self::FLASHLLM_FORMAT_AUTO,
            Some(Format::TiledCsl) => Self::FLASHLLM_FORMAT_TILED_CSL,
            Some(Format::Bitmap) => Self::FLASHLLM_FORMAT_BITMAP,
            Some(Format::Slots) => Self::FLASHLLM_FORMAT_SLOTS,
            Some(Format::Banked) => Self::FLASHLLM_FORMAT_BANKED,
            Some(Format::Sell) => Self::FLASHLLM_FORMAT_SELL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn numbers_agree_with_the_rust_types() {
        assert_eq!(flashllmDataType_t::from(DType::F16) as u32, DType::F16 as u32);
        assert_eq!(flashllmDataType_t::from(DType::F32) as u32, DType::F32 as u32);
        assert_eq!(flashllmDataType_t::from(DType::BF16) as u32, DType::BF16 as u32);
        for number in 0..4 {
            let preference = Preference::try_from(RawPreference(number)).unwrap();
            assert_eq!(flashllmPreference_t::from(preference) as i32, number);
        }
        for number in 0..5 {
            let activation = Activation::try_from(RawActivation(number)).unwrap();
            assert_eq!(activation as i32, number);
            assert_eq!(flashllmActivation_t::from(activation) as i32, number);
        }
        assert_eq!(flashllmOrder_t::from(Order::Col) as u32, Order::Col as u32);
        assert_eq!(flashllmOrder_t::from(Order::Row) as u32, Order::Row as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Bitmap)) as u32, Format::Bitmap as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Slots)) as u32, Format::Slots as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Banked)) as u32, Format::Banked as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Sell)) as u32, Format::Sell as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::TiledCsl)) as u32, Format::TiledCsl as u32);
    }

    #[test]
    fn integers_outside_the_list_are_refused() {
        for value in [-1, 1, 3, 77, c_int::MIN, c_int::MAX] {
            assert_eq!(DType::try_from(RawDataType(value)).unwrap_err().kind(), Kind::InvalidValue);
        }
        assert_eq!(DType::try_from(RawDataType(14)), Ok(DType::BF16));
        for value in [-1, 5, c_int::MIN, c_int::MAX] {
            let error = Activation::try_from(RawActivation(value)).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidValue);
        }
        assert_eq!(Order::try_from(RawOrder(0)).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(requested_format(RawFormat(6)).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(requested_format(RawFormat(0)).unwrap(), None);
    }
}
