"""libflash_llm through ctypes: finds it, declares its functions, and turns statuses into exceptions.

Nothing here computes. The prototypes repeat include/flash_llm.h, and tests/test_library.py compares them with it.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from enum import IntEnum
from pathlib import Path
from typing import Any, Callable, Optional

from ._version import __version__

_ABI = ".".join(__version__.split(".")[:2])


class Status(IntEnum):
    """flashllmStatus_t."""

    SUCCESS = 0
    NOT_INITIALIZED = 1
    ALLOC_FAILED = 2
    INVALID_VALUE = 3
    ARCH_MISMATCH = 4
    EXECUTION_FAILED = 6
    INTERNAL_ERROR = 7
    MATRIX_TYPE_NOT_SUPPORTED = 8
    NOT_SUPPORTED = 10
    INSUFFICIENT_RESOURCES = 11
    NULL_POINTER = 100
    WORKSPACE_TOO_SMALL = 101
    CORRUPT_DATA = 102
    MISALIGNED = 103
    NO_DEVICE = 104
    DRIVER_ERROR = 105
    VERSION_MISMATCH = 106
    SIZE_OVERFLOW = 107
    WRONG_CONTEXT = 108
    IO_ERROR = 109


class DataType(IntEnum):
    """flashllmDataType_t."""

    R_32F = 0
    R_16F = 2
    R_16BF = 14


class Order(IntEnum):
    """flashllmOrder_t."""

    COL = 1
    ROW = 2


class Format(IntEnum):
    """flashllmFormat_t: how a compressed matrix is laid out."""

    AUTO = 0
    TILED_CSL = 1
    BITMAP = 2
    SLOTS = 3
    BANKED = 4
    SELL = 5


class FlashLLMError(RuntimeError):
    """A call of the library failed. `status` says how, and the text is the library's own sentence."""

    def __init__(self, function: str, status: int, message: str) -> None:
        self.function = function
        self.status: int = Status(status) if status in Status._value2member_map_ else status
        name = self.status.name if isinstance(self.status, Status) else str(status)
        super().__init__(f"{message} [{name}]")


class LibraryNotFoundError(ImportError):
    """No libflash_llm.so could be loaded; the text says where it was looked for."""


_handle = c_void_p
_descr = c_void_p
_out = POINTER(c_void_p)
_i64 = POINTER(c_int64)
_size = POINTER(c_size_t)
_int = POINTER(c_int)

# name: argument types; every one of these returns a status.
PROTOTYPES: dict[str, list[Any]] = {
    "flashllmCreate": [_out],
    "flashllmCreateHost": [_out],
    "flashllmDestroy": [_handle],
    "flashllmSetStream": [_handle, c_void_p],
    "flashllmSynchronize": [_handle],
    "flashllmGetVersion": [_handle, _int],
    "flashllmCreateDnMat": [_out, c_int64, c_int64, c_int64, c_void_p, c_int, c_int],
    "flashllmCreateConstDnMat": [_out, c_int64, c_int64, c_int64, c_void_p, c_int, c_int],
    "flashllmDestroyDnMat": [_descr],
    "flashllmCreateSpMat": [_out, c_int64, c_int64, c_int, c_int],
    "flashllmDestroySpMat": [_descr],
    "flashllmSpMatGetSize": [_descr, _i64, _i64, _i64, _size],
    "flashllmSpMatGetFormat": [_descr, _int],
    "flashllmSpMatSetBuffer": [_handle, _descr, c_void_p, c_size_t],
    "flashllmSpMatSetAttribute": [_descr, c_int, c_void_p, c_size_t],
    "flashllmDenseToSparse_bufferSize": [_handle, _descr, _descr, c_int, _size],
    "flashllmDenseToSparse_analysis": [_handle, _descr, _descr, c_int, c_void_p],
    "flashllmDenseToSparse_convert": [_handle, _descr, _descr, c_int, c_void_p],
    "flashllmSparseToDense_bufferSize": [_handle, _descr, _descr, c_int, _size],
    "flashllmSparseToDense": [_handle, _descr, _descr, c_int, c_void_p],
    "flashllmSpMM_bufferSize": [_handle, c_int, c_int, c_void_p, _descr, _descr, c_void_p, _descr, c_int, c_int, _size],
    "flashllmSpMM": [_handle, c_int, c_int, c_void_p, _descr, _descr, c_void_p, _descr, c_int, c_int, c_void_p],
    "flashllmSpMMPlanCreate": [_handle, _out, c_int, c_int, _descr, _descr, _descr, c_int, c_int],
    "flashllmSpMMPlanDestroy": [c_void_p],
    "flashllmSpMMPlanSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "flashllmSpMMPlanGetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "flashllmSpMMPlan_bufferSize": [_handle, c_void_p, _size],
    "flashllmSpMMPlanExecute": [_handle, c_void_p, c_void_p, _descr, _descr, c_void_p, _descr, c_void_p],
    "flashllmSpMMPlanSearch": [_handle, c_void_p, _descr, _descr, c_int32, POINTER(c_float)],
    "flashllmPrune_bufferSize": [_handle, _descr, _descr, c_int, _size],
    "flashllmPrune": [_handle, _descr, _descr, c_int, c_double, c_void_p],
}

# These return a string.
STRINGS: dict[str, list[Any]] = {
    "flashllmGetBuildInfo": [],
    "flashllmGetErrorName": [c_int],
    "flashllmGetLastErrorMessage": [],
}

NON_TRANSPOSE = 0
ALG_DEFAULT = 0
SPMAT_PREFERENCE = 1
PLAN_BIAS, PLAN_BIAS_TYPE, PLAN_ACTIVATION, PLAN_RESIDUAL, PLAN_PROGRAMMATIC_LAUNCH = 0, 1, 2, 4, 9
PLAN_ALG_ID, PLAN_SPLITS, PLAN_ESTIMATE, PLAN_DENSE_ESTIMATE = 5, 6, 10, 11
PREFERENCE = {"speed": 0, "size": 1, "columns": 2, "few_columns": 3}
"""flashllmPreference_t by what FORMAT_AUTO prefers."""
PRUNE_ALG = {"matrix": 0, "row": 1}
"""flashllmPruneAlg_t by what the sparsity holds for."""
ACTIVATIONS = {"none": 0, "relu": 1, "gelu_tanh": 2, "gelu": 3, "silu": 4}
"""flashllmActivation_t by the names that PyTorch's users know."""


def candidates() -> list[tuple[str, str]]:
    """Where the library is looked for, in order: (path or name, why)."""
    chosen = os.environ.get("FLASHLLM_LIBRARY")
    if chosen:
        return [(chosen, "FLASHLLM_LIBRARY")]  # it was asked for: nothing else in its place
    return [
        (str(Path(__file__).parent / "lib" / "libflash_llm.so"), "bundled with the package"),
        (f"libflash_llm.so.{_ABI}", "the system's loader"),
        ("libflash_llm.so", "the system's loader"),
    ]


def _open() -> ctypes.CDLL:
    tried = []
    for path, why in candidates():
        if os.path.isabs(path) and not os.path.exists(path):
            tried.append(f"{path} ({why}): there is no such file")
            continue
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path} ({why}): {error}")
    raise LibraryNotFoundError("libflash_llm.so cannot be loaded. Tried:\n  " + "\n  ".join(tried))


class Library:
    """The loaded library. `call(name, ...)` raises FlashLLMError when the status is not success."""

    def __init__(self, dll: ctypes.CDLL) -> None:
        self._dll = dll
        self._functions: dict[str, Callable[..., int]] = {}
        self.path: str = dll._name
        for name, arguments in STRINGS.items():
            function = getattr(dll, name)
            function.argtypes, function.restype = arguments, c_char_p
        for name, arguments in PROTOTYPES.items():
            self._bind(name, arguments)
        version = c_int()
        self.call("flashllmGetVersion", None, ctypes.byref(version))
        self.version: int = version.value
        major, minor = (int(part) for part in _ABI.split("."))
        have = (self.version // 10000, self.version // 100 % 100)
        # The rule of docs/abi-policy.md: the same SONAME.
        if have[0] != major or (major == 0 and have[1] != minor):
            raise LibraryNotFoundError(f"{self.path} is version {have[0]}.{have[1]}; this package needs {_ABI}")

    def _bind(self, name: str, arguments: list[Any]) -> None:
        """Declares a function that returns a status."""
        function = getattr(self._dll, name, None)
        if function is None:
            raise LibraryNotFoundError(f"{self.path} has no {name}: it is not a libflash_llm this package works with")
        function.argtypes, function.restype = arguments, c_int32
        self._functions[name] = function

    def call(self, name: str, *arguments: Any) -> None:
        status = self._functions[name](*arguments)
        if status:
            raise FlashLLMError(name, status, self._dll.flashllmGetLastErrorMessage().decode("utf-8", "replace"))

    def quietly(self, name: str, *arguments: Any) -> int:
        """For destructors: no exception."""
        return self._functions[name](*arguments)

    def build_info(self) -> str:
        text: bytes = self._dll.flashllmGetBuildInfo()
        return text.decode("utf-8", "replace")


_library: Optional[Library] = None


def library() -> Library:
    """The library, loaded on first use."""
    global _library
    if _library is None:
        _library = Library(_open())
    return _library
