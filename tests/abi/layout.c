/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of the ABI, asserted at compile time by tests/abi.rs. A line here is only ever added: an
 * enumerator keeps its number as long as the SONAME (docs/abi-policy.md).
 */
#include "flash_llm.h"

#define VALUE(name, number) _Static_assert(name == number, #name " has changed its number")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == bytes, #type " has changed its size")

/* flashllmStatus_t: 0 to 11 are cuSPARSE's; 5 and 9 are reserved */
VALUE(FLASHLLM_STATUS_SUCCESS, 0);
VALUE(FLASHLLM_STATUS_NOT_INITIALIZED, 1);
VALUE(FLASHLLM_STATUS_ALLOC_FAILED, 2);
VALUE(FLASHLLM_STATUS_INVALID_VALUE, 3);
VALUE(FLASHLLM_STATUS_ARCH_MISMATCH, 4);
VALUE(FLASHLLM_STATUS_EXECUTION_FAILED, 6);
VALUE(FLASHLLM_STATUS_INTERNAL_ERROR, 7);
VALUE(FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, 8);
VALUE(FLASHLLM_STATUS_NOT_SUPPORTED, 10);
VALUE(FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, 11);
VALUE(FLASHLLM_STATUS_NULL_POINTER, 100);
VALUE(FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, 101);
VALUE(FLASHLLM_STATUS_CORRUPT_DATA, 102);
VALUE(FLASHLLM_STATUS_MISALIGNED, 103);
VALUE(FLASHLLM_STATUS_NO_DEVICE, 104);
VALUE(FLASHLLM_STATUS_DRIVER_ERROR, 105);
VALUE(FLASHLLM_STATUS_VERSION_MISMATCH, 106);
VALUE(FLASHLLM_STATUS_SIZE_OVERFLOW, 107);
VALUE(FLASHLLM_STATUS_WRONG_CONTEXT, 108);
VALUE(FLASHLLM_STATUS_IO_ERROR, 109);

/* flashllmDataType_t: cudaDataType's numbers */
VALUE(FLASHLLM_R_32F, 0);
VALUE(FLASHLLM_R_16F, 2);
VALUE(FLASHLLM_R_16BF, 14);

/* flashllmOrder_t: cuSPARSE's numbers */
VALUE(FLASHLLM_ORDER_COL, 1);
VALUE(FLASHLLM_ORDER_ROW, 2);

/* flashllmOperation_t: cuSPARSE's numbers */
VALUE(FLASHLLM_OPERATION_NON_TRANSPOSE, 0);
VALUE(FLASHLLM_OPERATION_TRANSPOSE, 1);

/* flashllmFormat_t */
VALUE(FLASHLLM_FORMAT_AUTO, 0);
VALUE(FLASHLLM_FORMAT_TILED_CSL, 1);
VALUE(FLASHLLM_FORMAT_BITMAP, 2);
VALUE(FLASHLLM_FORMAT_SLOTS, 3);

/* algorithms */
VALUE(FLASHLLM_SPMM_ALG_DEFAULT, 0);
VALUE(FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, 0);
VALUE(FLASHLLM_SPARSETODENSE_ALG_DEFAULT, 0);

/* flashllmPropertyType_t: libraryPropertyType's numbers */
VALUE(FLASHLLM_MAJOR_VERSION, 0);
VALUE(FLASHLLM_MINOR_VERSION, 1);
VALUE(FLASHLLM_PATCH_LEVEL, 2);

/* flashllmMemcpyKind_t: cudaMemcpyKind's numbers */
VALUE(FLASHLLM_MEMCPY_HOST_TO_HOST, 0);
VALUE(FLASHLLM_MEMCPY_HOST_TO_DEVICE, 1);
VALUE(FLASHLLM_MEMCPY_DEVICE_TO_HOST, 2);
VALUE(FLASHLLM_MEMCPY_DEVICE_TO_DEVICE, 3);

/* flashllmPointerMode_t */
VALUE(FLASHLLM_POINTER_MODE_HOST, 0);
VALUE(FLASHLLM_POINTER_MODE_DEVICE, 1);

/* flashllmDeviceType_t */
VALUE(FLASHLLM_DEVICE_HOST, 0);
VALUE(FLASHLLM_DEVICE_CUDA, 1);

/* flashllmSpMatAttribute_t */
VALUE(FLASHLLM_SPMAT_TILED_CSL_REORDER, 0);
VALUE(FLASHLLM_SPMAT_PREFERENCE, 1);

/* Enums are passed as int. */
SIZE(flashllmStatus_t, 4);
SIZE(flashllmDataType_t, 4);
SIZE(flashllmOrder_t, 4);
SIZE(flashllmOperation_t, 4);
SIZE(flashllmFormat_t, 4);
SIZE(flashllmSpMMAlg_t, 4);
SIZE(flashllmDenseToSparseAlg_t, 4);
SIZE(flashllmSparseToDenseAlg_t, 4);
SIZE(flashllmPropertyType_t, 4);
SIZE(flashllmMemcpyKind_t, 4);
SIZE(flashllmPointerMode_t, 4);
SIZE(flashllmDeviceType_t, 4);
SIZE(flashllmSpMatAttribute_t, 4);

/* Handles are passed as pointers. */
SIZE(flashllmHandle_t, 8);
SIZE(flashllmDnMatDescr_t, 8);
SIZE(flashllmConstDnMatDescr_t, 8);
SIZE(flashllmSpMatDescr_t, 8);
SIZE(flashllmConstSpMatDescr_t, 8);
SIZE(flashllmSafetensors_t, 8);
SIZE(flashllmSafetensorsWriter_t, 8);
SIZE(flashllmStream_t, 8);
