"""Dense matrices of numpy and PyTorch as the library sees them: address, shape, leading dimension, order, type."""

from __future__ import annotations

import sys
from ctypes import byref, c_void_p
from types import TracebackType
from typing import Any, Optional

import numpy as np

from ._library import DataType, Order, library

_TYPES = {"float16": DataType.R_16F, "bfloat16": DataType.R_16BF, "float32": DataType.R_32F}


def is_tensor(array: object) -> bool:
    """Whether it is a torch.Tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def dtype_name(array: Any) -> str:
    """'float16' and so on, for numpy and PyTorch alike."""
    return str(array.dtype).rpartition(".")[2]


def type_named(name: str) -> DataType:
    """The library's element type of a name that dtype_name() may give."""
    return _TYPES[name]


def data_type(array: Any, what: str) -> DataType:
    """The library's element type."""
    name = dtype_name(array)
    if name not in _TYPES:
        raise TypeError(f"{what} has elements of type {name}: float16, bfloat16 or float32 is needed")
    return _TYPES[name]


def numpy_type(name: str) -> Any:
    """The numpy dtype of an element type's name; bfloat16 comes from the package ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise TypeError("numpy has no bfloat16: install ml_dtypes, or use PyTorch tensors") from error
    return np.dtype(ml_dtypes.bfloat16)


def device_of(array: Any) -> Optional[int]:
    """CUDA ordinal of a tensor, None for host memory."""
    if not is_tensor(array) or array.device.type == "cpu":
        return None
    if array.device.type != "cuda":
        raise TypeError(f"a tensor on {array.device} cannot be used: cpu or cuda is needed")
    index: int = array.device.index
    return index


def pointer(array: Any) -> int:
    """Address of the first element."""
    address: int = array.data_ptr() if is_tensor(array) else array.ctypes.data
    return address


def layout(array: Any) -> Optional[tuple[Order, int]]:
    """Order and leading dimension of a two-dimensional array, or None if neither dimension is contiguous."""
    rows, cols = array.shape
    if is_tensor(array):
        down, right = array.stride()
    else:
        size = array.itemsize
        if any(stride % size for stride in array.strides):
            return None
        down, right = (stride // size for stride in array.strides)
    if (right == 1 or cols <= 1) and (down >= cols or rows <= 1):
        return Order.ROW, max(down if rows > 1 else cols, cols, 1)
    if (down == 1 or rows <= 1) and (right >= rows or cols <= 1):
        return Order.COL, max(right if cols > 1 else rows, rows, 1)
    return None


def describable(array: Any) -> Any:
    """The array itself where the library can read it in place, else a contiguous copy."""
    if layout(array) is not None:
        return array
    return array.contiguous() if is_tensor(array) else np.ascontiguousarray(array)


class DenseDescr:
    """A dense matrix descriptor for the length of a `with` block."""

    __slots__ = ("_arguments", "_key")

    def __init__(self, address: int, rows: int, cols: int, ld: int, dtype: int, order: int) -> None:
        self._arguments = (rows, cols, ld, c_void_p(address), int(dtype), int(order))
        self._key = c_void_p()

    @classmethod
    def of(cls, array: Any, what: str) -> "DenseDescr":
        found = layout(array)
        assert found is not None, "describable() comes first"
        order, ld = found
        rows, cols = array.shape
        return cls(pointer(array), rows, cols, ld, data_type(array, what), order)

    def __enter__(self) -> c_void_p:
        library().call("flashllmCreateDnMat", byref(self._key), *self._arguments)
        return self._key

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        library().quietly("flashllmDestroyDnMat", self._key)
