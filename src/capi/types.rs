//! C types: enums with explicit values, opaque objects, and the integers that C really passes.
//!
//! A Rust enum with a value outside its list is undefined behaviour, and C can pass any int. So no
//! exported function takes one of the `flashllm*_t` enums: it takes the `Raw*` integer beside it
//! (cbindgen shows the enum in the header), and `TryFrom` refuses what is not in the list.

use std::ffi::c_int;

use crate::error::{Error, Kind};
use crate::types::{DType, Format, Order};

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
    /// bfloat16. Reserved: every function answers FLASHLLM_STATUS_NOT_SUPPORTED.
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
    /// The library chooses in flashllmDenseToSparse_analysis(), or takes the adopted buffer's format.
    FLASHLLM_FORMAT_AUTO = 0,
    /// Flash-LLM's Tiled-CSL: 32-bit (value, location) items in tiles of 128 x 64.
    FLASHLLM_FORMAT_TILED_CSL = 1,
    /// A mask bit for each element, in the order of Tensor Core fragments, and packed values.
    FLASHLLM_FORMAT_BITMAP = 2,
    /// Codes that are the metadata of sparse Tensor Core instructions, and the values of their slots: the
    /// fastest to multiply from about 60 % sparsity on Hopper.
    FLASHLLM_FORMAT_SLOTS = 3,
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
    /// Device memory. Reserved: FLASHLLM_STATUS_NOT_SUPPORTED in this release.
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
    /// int32_t, default 0. What FLASHLLM_FORMAT_AUTO prefers: 0 speed, 1 fewer bytes. Used by the next
    /// flashllmDenseToSparse_analysis().
    FLASHLLM_SPMAT_PREFERENCE = 1,
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

/// `TryFrom<Raw>` for a C enum: one list, so that no enumerator is forgotten in one of two places.
macro_rules! checked {
    ($raw:ident => $enum:ident: $($variant:ident),+) => {
        impl TryFrom<$raw> for $enum {
            type Error = Error;
            fn try_from(raw: $raw) -> Result<Self, Error> {
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
checked!(RawDataType => flashllmDataType_t: FLASHLLM_R_32F, FLASHLLM_R_16F, FLASHLLM_R_16BF);
checked!(RawOrder => flashllmOrder_t: FLASHLLM_ORDER_COL, FLASHLLM_ORDER_ROW);
checked!(RawOperation => flashllmOperation_t: FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_TRANSPOSE);
checked!(RawFormat => flashllmFormat_t: FLASHLLM_FORMAT_AUTO, FLASHLLM_FORMAT_TILED_CSL, FLASHLLM_FORMAT_BITMAP, FLASHLLM_FORMAT_SLOTS);
checked!(RawSpMMAlg => flashllmSpMMAlg_t: FLASHLLM_SPMM_ALG_DEFAULT);
checked!(RawDenseToSparseAlg => flashllmDenseToSparseAlg_t: FLASHLLM_DENSETOSPARSE_ALG_DEFAULT);
checked!(RawSparseToDenseAlg => flashllmSparseToDenseAlg_t: FLASHLLM_SPARSETODENSE_ALG_DEFAULT);
checked!(RawPropertyType => flashllmPropertyType_t: FLASHLLM_MAJOR_VERSION, FLASHLLM_MINOR_VERSION, FLASHLLM_PATCH_LEVEL);
checked!(RawMemcpyKind => flashllmMemcpyKind_t: FLASHLLM_MEMCPY_HOST_TO_HOST, FLASHLLM_MEMCPY_HOST_TO_DEVICE,
    FLASHLLM_MEMCPY_DEVICE_TO_HOST, FLASHLLM_MEMCPY_DEVICE_TO_DEVICE);
checked!(RawPointerMode => flashllmPointerMode_t: FLASHLLM_POINTER_MODE_HOST, FLASHLLM_POINTER_MODE_DEVICE);
checked!(RawDeviceType => flashllmDeviceType_t: FLASHLLM_DEVICE_HOST, FLASHLLM_DEVICE_CUDA);
checked!(RawSpMatAttribute => flashllmSpMatAttribute_t: FLASHLLM_SPMAT_TILED_CSL_REORDER, FLASHLLM_SPMAT_PREFERENCE);

impl TryFrom<RawDataType> for DType {
    type Error = Error;
    fn try_from(raw: RawDataType) -> Result<Self, Error> {
        match flashllmDataType_t::try_from(raw)? {
            flashllmDataType_t::FLASHLLM_R_32F => Ok(Self::F32),
            flashllmDataType_t::FLASHLLM_R_16F => Ok(Self::F16),
            flashllmDataType_t::FLASHLLM_R_16BF => Err(Error::new(
                Kind::NotSupported,
                "FLASHLLM_R_16BF is reserved: this release has no bfloat16",
            )),
        }
    }
}

impl From<DType> for flashllmDataType_t {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::FLASHLLM_R_32F,
            DType::F16 => Self::FLASHLLM_R_16F,
        }
    }
}

impl TryFrom<RawOrder> for Order {
    type Error = Error;
    fn try_from(raw: RawOrder) -> Result<Self, Error> {
        Ok(match flashllmOrder_t::try_from(raw)? {
            flashllmOrder_t::FLASHLLM_ORDER_COL => Self::Col,
            flashllmOrder_t::FLASHLLM_ORDER_ROW => Self::Row,
        })
    }
}

impl From<Order> for flashllmOrder_t {
    fn from(order: Order) -> Self {
        match order {
            Order::Col => Self::FLASHLLM_ORDER_COL,
            Order::Row => Self::FLASHLLM_ORDER_ROW,
        }
    }
}

/// The format asked for; `None` is AUTO.
pub fn requested_format(raw: RawFormat) -> Result<Option<Format>, Error> {
    Ok(match flashllmFormat_t::try_from(raw)? {
        flashllmFormat_t::FLASHLLM_FORMAT_AUTO => None,
        flashllmFormat_t::FLASHLLM_FORMAT_TILED_CSL => Some(Format::TiledCsl),
        flashllmFormat_t::FLASHLLM_FORMAT_BITMAP => Some(Format::Bitmap),
        flashllmFormat_t::FLASHLLM_FORMAT_SLOTS => Some(Format::Slots),
    })
}

impl From<Option<Format>> for flashllmFormat_t {
    fn from(format: Option<Format>) -> Self {
        match format {
            None => Self::FLASHLLM_FORMAT_AUTO,
            Some(Format::TiledCsl) => Self::FLASHLLM_FORMAT_TILED_CSL,
            Some(Format::Bitmap) => Self::FLASHLLM_FORMAT_BITMAP,
            Some(Format::Slots) => Self::FLASHLLM_FORMAT_SLOTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_the_rust_types() {
        assert_eq!(flashllmDataType_t::from(DType::F16) as u32, DType::F16 as u32);
        assert_eq!(flashllmDataType_t::from(DType::F32) as u32, DType::F32 as u32);
        assert_eq!(flashllmOrder_t::from(Order::Col) as u32, Order::Col as u32);
        assert_eq!(flashllmOrder_t::from(Order::Row) as u32, Order::Row as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Bitmap)) as u32, Format::Bitmap as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::Slots)) as u32, Format::Slots as u32);
        assert_eq!(flashllmFormat_t::from(Some(Format::TiledCsl)) as u32, Format::TiledCsl as u32);
    }

    #[test]
    fn integers_outside_the_list_are_refused() {
        for value in [-1, 1, 3, 77, c_int::MIN, c_int::MAX] {
            assert_eq!(DType::try_from(RawDataType(value)).unwrap_err().kind(), Kind::InvalidValue);
        }
        assert_eq!(DType::try_from(RawDataType(14)).unwrap_err().kind(), Kind::NotSupported);
        assert_eq!(Order::try_from(RawOrder(0)).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(requested_format(RawFormat(4)).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(requested_format(RawFormat(0)).unwrap(), None);
    }
}
