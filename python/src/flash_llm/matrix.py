"""Compressed matrices and their product with dense ones, for numpy arrays and PyTorch tensors."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager, nullcontext
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p, sizeof
from typing import Any, ContextManager, Iterator, Literal, Optional, Union

import numpy as np

from . import _dense as dn
from ._dense import DenseDescr
from ._handle import Handle, cuda_handle, host_handle
from ._library import (
    ACTIVATIONS,
    ALG_DEFAULT,
    NON_TRANSPOSE,
    PLAN_ACTIVATION,
    PLAN_ALG_ID,
    PLAN_BIAS,
    PLAN_BIAS_TYPE,
    PLAN_DENSE_ESTIMATE,
    PLAN_ESTIMATE,
    PLAN_PROGRAMMATIC_LAUNCH,
    PLAN_RESIDUAL,
    PLAN_SPLITS,
    PREFERENCE,
    PRUNE_ALG,
    SPMAT_PREFERENCE,
    DataType,
    Format,
    Order,
    library,
)

FormatName = Literal["auto", "slots", "banked", "sell", "bitmap", "tiled_csl"]
"""Formats of a compressed matrix. `auto` chooses for speed or size from the matrix's sparsity."""

Preference = Literal["speed", "size", "columns", "few_columns"]

ALIGNMENT = 256
"""Alignment in bytes of a compressed buffer."""

_DTYPE_NAMES = {DataType.R_16F: "float16", DataType.R_16BF: "bfloat16"}


def format_number(name: str) -> Format:
    """The library's format of a name."""
    try:
        return Format[name.upper()]
    except KeyError:
        raise ValueError(f"format is {name!r}: auto, slots, banked, sell, bitmap or tiled_csl is needed") from None


def handle_for(device: Optional[int]) -> Handle:
    """The handle of a CUDA ordinal, or the host's for None."""
    return host_handle() if device is None else cuda_handle(device)


def _current_stream(device: Optional[int]) -> int:
    if device is None:
        return 0
    import torch

    stream: int = torch.cuda.current_stream(device).cuda_stream
    return stream


def _on_device(device: Optional[int]) -> ContextManager[Any]:
    if device is None:
        return nullcontext()
    import torch

    context: ContextManager[Any] = torch.cuda.device(device)
    return context


def allocate(size: int, device: Optional[int], like_tensor: bool) -> Any:
    """`size` uninitialised bytes at an address that is a multiple of 256: a uint8 array or tensor."""
    if device is not None:
        import torch

        # The caching allocator aligns to 512.
        return torch.empty(size, dtype=torch.uint8, device=f"cuda:{device}")
    if like_tensor:
        import torch

        whole = torch.empty(size + ALIGNMENT - 1, dtype=torch.uint8)
        return whole[-whole.data_ptr() % ALIGNMENT :][:size]
    array = np.empty(size + ALIGNMENT - 1, dtype=np.uint8)
    return array[-array.ctypes.data % ALIGNMENT :][:size]


def prune_in_place(dense: Any, sparsity: float, scope: str) -> None:
    """flashllmPrune() on an array or tensor whose rows or columns are contiguous."""
    device = dn.device_of(dense)
    handle = handle_for(device)
    algorithm = PRUNE_ALG[scope]
    with _on_device(device), handle.lock, DenseDescr.of(dense, "weight") as matrix:
        handle.use_stream(_current_stream(device))
        need = c_size_t()
        handle.call("flashllmPrune_bufferSize", matrix, matrix, algorithm, byref(need))
        workspace = allocate(need.value, device, dn.is_tensor(dense)) if need.value else None
        space = c_void_p(dn.pointer(workspace)) if workspace is not None else None
        handle.call("flashllmPrune", matrix, matrix, algorithm, sparsity, space)


class _Descriptor:
    """A flashllmSpMatDescr_t that is destroyed with this object."""

    __slots__ = ("key", "__weakref__")

    def __init__(self, rows: int, cols: int, dtype: int, format: int) -> None:
        self.key = c_void_p()
        library().call("flashllmCreateSpMat", byref(self.key), rows, cols, int(dtype), int(format))
        weakref.finalize(self, library().quietly, "flashllmDestroySpMat", c_void_p(self.key.value))


class _Plan:
    """A flashllmSpMMPlan_t for one shape, activation and way of launching. Bias and residual may change from call to call."""

    __slots__ = ("key", "workspace", "_bias", "_residual", "__weakref__")

    def __init__(
        self,
        handle: Handle,
        a: c_void_p,
        b: c_void_p,
        c: c_void_p,
        activation: str,
        programmatic: bool,
        way: Optional[tuple[int, int]],
    ) -> None:
        """`way` is what search() gave, or None for the library's choice."""
        self.key = c_void_p()
        handle.call(
            "flashllmSpMMPlanCreate", byref(self.key), NON_TRANSPOSE, NON_TRANSPOSE, a, b, c, int(DataType.R_32F),
            ALG_DEFAULT,
        )  # fmt: skip
        weakref.finalize(self, library().quietly, "flashllmSpMMPlanDestroy", c_void_p(self.key.value))
        self._bias: Optional[tuple[int, int]] = None
        self._residual = False
        self._set(PLAN_ACTIVATION, c_int32(ACTIVATIONS[activation]))
        self._set(PLAN_PROGRAMMATIC_LAUNCH, c_int32(programmatic))
        if way is not None:
            self._set(PLAN_ALG_ID, c_int32(way[0]))
            self._set(PLAN_SPLITS, c_int32(way[1]))
        self.workspace = 0
        self._measure(handle)

    def _set(self, attribute: int, value: Any) -> None:
        library().call("flashllmSpMMPlanSetAttribute", self.key, attribute, byref(value), sizeof(value))

    def _get(self, attribute: int, value: Any) -> Any:
        library().call("flashllmSpMMPlanGetAttribute", self.key, attribute, byref(value), sizeof(value))
        return value.value

    def estimates(self) -> tuple[Optional[float], Optional[float]]:
        """Microseconds of this product, and of cuBLAS with dense weights."""
        times = [self._get(attribute, c_double()) for attribute in (PLAN_ESTIMATE, PLAN_DENSE_ESTIMATE)]
        return times[0] or None, times[1] or None

    def search(self, handle: Handle, a: c_void_p, b: c_void_p, ways: int) -> tuple[float, tuple[int, int]]:
        """Takes the fastest of so many ways: its microseconds, and the algorithm and splits that it is."""
        us = c_float()
        handle.call("flashllmSpMMPlanSearch", self.key, a, b, ways, byref(us))
        self._measure(handle)
        return us.value, (self._get(PLAN_ALG_ID, c_int32()), self._get(PLAN_SPLITS, c_int32()))

    def _measure(self, handle: Handle) -> None:
        size = c_size_t()
        handle.call("flashllmSpMMPlan_bufferSize", self.key, byref(size))
        self.workspace = size.value

    def finish_with(self, handle: Handle, bias: Optional[tuple[int, int]], residual: Optional[c_void_p]) -> None:
        """Sets the address and type of the bias, and the residual's descriptor, for the next execution."""
        if bias == self._bias and residual is None and not self._residual:
            return
        if bias is not None:
            self._set(PLAN_BIAS_TYPE, c_int32(bias[1]))
        self._set(PLAN_BIAS, c_void_p(bias[0] if bias is not None else None))
        self._set(PLAN_RESIDUAL, c_void_p(residual.value if residual is not None else None))
        self._bias, self._residual = bias, residual is not None
        self._measure(handle)


class SparseMatrix:
    """A pruned weight matrix [rows, cols] in compressed form: A of C = A B.

    Make one with :meth:`compress`, :meth:`from_buffer` or :meth:`load`. It is immutable, lives in host memory or on a
    CUDA device, and may be used from several threads at once.

    Attributes:
        shape: (rows, cols).
        nnz: stored non-zeros.
        nbytes: bytes of the compressed buffer.
        format: "slots", "banked", "sell", "bitmap" or "tiled_csl".
        dtype: "float16" or "bfloat16".
        buffer: the compressed bytes, a uint8 numpy array or tensor. They describe themselves; do not change them.
    """

    shape: tuple[int, int]
    nnz: int
    nbytes: int
    format: str
    dtype: str
    buffer: Any
    _descriptor: _Descriptor
    _device: Optional[int]
    _workspaces: dict[tuple[int, int], int]
    _plans: dict[tuple[int, int, str, bool], _Plan]
    _ways: dict[tuple[int, int], tuple[int, int]]

    def __init__(self) -> None:
        raise TypeError("use SparseMatrix.compress(), from_buffer() or load()")

    @classmethod
    def _make(cls, descriptor: _Descriptor, buffer: Any, dtype: DataType) -> "SparseMatrix":
        self = object.__new__(cls)
        self._descriptor = descriptor
        self.buffer = buffer
        self._device = dn.device_of(buffer)
        self._workspaces = {}
        self._plans = {}
        self._ways = {}
        rows, cols, nnz = c_int64(), c_int64(), c_int64()
        size, format = c_size_t(), c_int()
        library().call("flashllmSpMatGetSize", descriptor.key, byref(rows), byref(cols), byref(nnz), byref(size))
        library().call("flashllmSpMatGetFormat", descriptor.key, byref(format))
        self.shape = (rows.value, cols.value)
        self.nnz = nnz.value
        self.nbytes = size.value
        self.format = Format(format.value).name.lower()
        self.dtype = _DTYPE_NAMES[dtype]
        return self

    # ----------------------------------------------------------------------------------------------- making one

    @classmethod
    def compress(
        cls, dense: Any, format: FormatName = "auto", *, prefer: Preference = "speed"
    ) -> "SparseMatrix":
        """Compresses a dense matrix [rows, cols] of float16 or bfloat16. Elements that are +0 or -0 are left out.

        The result is where the matrix is: on the host for numpy and CPU tensors, on its device for a CUDA tensor.
        Either dimension may be the contiguous one; other layouts are copied first.

        Args:
            dense: the pruned matrix. Only zeros are dropped: prune it first.
            format: a format, or "auto" to let the library choose.
            prefer: what "auto" chooses for: "speed" of products with up to 24 columns, "columns": speed with more,
                "few_columns": speed with up to 8, or "size". Where some rows are much fuller than others, "speed" and
                "few_columns" are Banked instead of Slots, which takes more bytes.

        Raises:
            TypeError: not a float16 or bfloat16 matrix.
            FlashLLMError: the library refused; for instance the matrix is too large for the format.
        """
        if not dn.is_tensor(dense):
            dense = np.asarray(dense)
        if dense.ndim != 2 or 0 in dense.shape:
            raise ValueError(f"dense has shape {tuple(dense.shape)}: two dimensions, both at least 1, are needed")
        dtype = dn.data_type(dense, "dense")
        if dtype == DataType.R_32F:
            raise TypeError("dense is float32: convert it to float16 or bfloat16 first, so that the rounding is yours")
        if prefer not in PREFERENCE:
            raise ValueError(f"prefer is {prefer!r}: 'speed', 'size', 'columns' or 'few_columns' is needed")
        dense = dn.describable(dense.detach() if dn.is_tensor(dense) else dense)
        device = dn.device_of(dense)
        handle = handle_for(device)
        rows, cols = dense.shape
        descriptor = _Descriptor(rows, cols, dtype, format_number(format))
        preference = c_int32(PREFERENCE[prefer])
        library().call(
            "flashllmSpMatSetAttribute", descriptor.key, SPMAT_PREFERENCE, byref(preference), sizeof(preference)
        )
        with _on_device(device), handle.lock, DenseDescr.of(dense, "dense") as source:
            handle.use_stream(_current_stream(device))
            need = c_size_t()
            handle.call("flashllmDenseToSparse_bufferSize", source, descriptor.key, ALG_DEFAULT, byref(need))
            workspace = allocate(need.value, device, dn.is_tensor(dense)) if need.value else None
            space = c_void_p(dn.pointer(workspace)) if workspace is not None else None
            handle.call("flashllmDenseToSparse_analysis", source, descriptor.key, ALG_DEFAULT, space)
            size = c_size_t()
            ignored = [c_int64() for _ in range(3)]
            library().call("flashllmSpMatGetSize", descriptor.key, *map(byref, ignored), byref(size))
            buffer = allocate(size.value, device, dn.is_tensor(dense))
            handle.call("flashllmSpMatSetBuffer", descriptor.key, c_void_p(dn.pointer(buffer)), size.value)
            handle.call("flashllmDenseToSparse_convert", source, descriptor.key, ALG_DEFAULT, space)
        return cls._make(descriptor, buffer, dtype)

    @classmethod
    def from_buffer(cls, buffer: Any) -> "SparseMatrix":
        """Adopts compressed bytes, a one-dimensional uint8 array or tensor, after checking every one of them.

        They are used in place and must not change any more; bytes on the host that are not aligned to 256 are copied.

        Raises:
            FlashLLMError: the bytes are not a whole, valid compressed matrix.
        """
        if not dn.is_tensor(buffer):
            buffer = np.asarray(buffer)
        if dn.dtype_name(buffer) != "uint8" or buffer.ndim != 1:
            raise TypeError(
                f"buffer is {dn.dtype_name(buffer)} with {buffer.ndim} dimensions: uint8 with one is needed"
            )
        device = dn.device_of(buffer)
        tensor = dn.is_tensor(buffer)
        buffer = buffer.detach().contiguous() if tensor else np.ascontiguousarray(buffer)
        if dn.pointer(buffer) % ALIGNMENT:
            aligned = allocate(len(buffer), device, tensor)
            aligned[:] = buffer
            buffer = aligned
        head = buffer[:48].cpu().numpy() if tensor else buffer[:48]
        rows, cols, dtype = _read_header(head.tobytes())
        descriptor = _Descriptor(rows, cols, dtype, Format.AUTO)
        handle = handle_for(device)
        with _on_device(device), handle.lock:
            handle.use_stream(_current_stream(device))
            handle.call("flashllmSpMatSetBuffer", descriptor.key, c_void_p(dn.pointer(buffer)), len(buffer))
        return cls._make(descriptor, buffer, dtype)

    @classmethod
    def load(
        cls, path: Union[str, "os.PathLike[str]"], name: Optional[str] = None, device: Optional[str] = None
    ) -> "SparseMatrix":
        """Reads a compressed matrix from a safetensors file, see :func:`flash_llm.load_file`.

        Args:
            path: the file.
            name: which matrix; may be left out if there is only one.
            device: None for a numpy buffer, or a PyTorch device such as "cpu" or "cuda:0".
        """
        from .files import load_matrix

        return load_matrix(path, name, device)

    def save(self, path: Union[str, "os.PathLike[str]"], name: str = "weight") -> None:
        """Writes a safetensors file that holds this matrix alone, see :func:`flash_llm.save_file`."""
        from .files import save_file

        save_file({name: self}, path)

    # ------------------------------------------------------------------------------------------------ using one

    @property
    def device(self) -> str:
        """ "cpu" or "cuda:N"."""
        return "cpu" if self._device is None else f"cuda:{self._device}"

    @property
    def sparsity(self) -> float:
        """Fraction of elements that are not stored."""
        return 1.0 - self.nnz / (self.shape[0] * self.shape[1])

    def __repr__(self) -> str:
        return (
            f"SparseMatrix({self.shape[0]}x{self.shape[1]}, {self.dtype}, {self.format}, sparsity={self.sparsity:.4f}, "
            f"nbytes={self.nbytes}, device={self.device})"
        )

    def to(self, device: str) -> "SparseMatrix":
        """This matrix on another PyTorch device, itself if it is there already. A copy is checked again."""
        import torch

        buffer = self.buffer if dn.is_tensor(self.buffer) else torch.from_numpy(self.buffer)
        there = buffer.to(device)
        return self if there is self.buffer else SparseMatrix.from_buffer(there)

    def numpy(self) -> "SparseMatrix":
        """This matrix in a numpy buffer of host memory; shares the memory of a CPU tensor."""
        return SparseMatrix.from_buffer(self.buffer.cpu().numpy()) if dn.is_tensor(self.buffer) else self

    def to_dense(self, out: Optional[Any] = None) -> Any:
        """The dense matrix, zeros included: a numpy array or a tensor, like `buffer`.

        Args:
            out: where to write it: same shape, type and device, rows or columns contiguous.
        """
        tensor = dn.is_tensor(self.buffer)
        if out is None:
            if tensor:
                import torch

                out = torch.empty(self.shape, dtype=getattr(torch, self.dtype), device=self.buffer.device)
            else:
                out = np.empty(self.shape, dtype=dn.numpy_type(self.dtype))
        self._check_output(out, self.shape, (self.dtype,))
        handle = handle_for(self._device)
        with _on_device(self._device), handle.lock, DenseDescr.of(out, "out") as target:
            handle.use_stream(_current_stream(self._device))
            need = c_size_t()
            handle.call("flashllmSparseToDense_bufferSize", self._descriptor.key, target, ALG_DEFAULT, byref(need))
            workspace = allocate(need.value, self._device, tensor) if need.value else None
            space = c_void_p(dn.pointer(workspace)) if workspace is not None else None
            handle.call("flashllmSparseToDense", self._descriptor.key, target, ALG_DEFAULT, space)
        return out

    def __matmul__(self, other: Any) -> Any:
        return spmm(self, other)

    def search(self, b: Any, *, out_dtype: Optional[str] = None, ways: int = 0) -> float:
        """Times ways to multiply by as many columns as `b` has, on this device, and takes the fastest from then on.

        That holds for every later product of this object with so many columns and results of this type, whatever
        follows it, but for those with an alpha that is not 1 or a beta that is not 0. The last bits of sums may differ
        from before. It allocates and waits: for the time when a model is loaded, and not while a CUDA graph is captured.

        Args:
            b: dense, K x N, or a vector of K; of the matrix's element type and on its device.
            out_dtype: "float32" or the matrix's type (the default).
            ways: how many to time at most, in the order of the library's estimates; 0 leaves it to the library.

        Returns:
            Microseconds of the fastest way; 0.0 on the host, which has one.
        """
        if not dn.is_tensor(b):
            b = np.asarray(b)
        self._check_input(b)
        b = b if b.ndim == 2 else b.reshape(-1, 1)
        n = b.shape[1]
        if n == 0:
            return 0.0
        b = dn.describable(b.detach() if dn.is_tensor(b) else b)
        with DenseDescr.of(b, "b") as source:
            return self._decide(source, n, out_dtype, None, ways)

    def choice(self, n: int, *, out_dtype: Optional[str] = None) -> Optional[tuple[int, int]]:
        """What search() or choose() decided for products with `n` columns, FLASHLLM_SPMM_PLAN_ALG_ID and _SPLITS: two numbers to
        store. None if neither was called: the library chooses."""
        return self._ways.get((n, int(dn.type_named(self._output_type(out_dtype)))))

    def choose(self, n: int, choice: tuple[int, int], *, out_dtype: Optional[str] = None) -> None:
        """Takes what search() decided elsewhere, for this matrix, another of its shape or in another process.

        Holds for the same products as what search() finds. FlashLLMError if this matrix cannot be multiplied that way.

        Args:
            n: columns, at least 1.
            choice: what choice() gave.
            out_dtype: "float32" or the matrix's type (the default).
        """
        with self._some_columns(n) as source:
            self._decide(source, n, out_dtype, choice, 0)

    def estimates(self, n: int, *, out_dtype: Optional[str] = None) -> tuple[Optional[float], Optional[float]]:
        """Microseconds that a product with `n` columns is estimated to take, and that cuBLAS is with dense weights, which are not
        in the L2: where the second number is smaller, keep the weights dense for speed.

        Both are None on the host and on devices that the library has no table of, the second one also for matrices below 16
        million weights and for more columns than were timed (512 on an H200, 64 on an H100).
        """
        c_type = int(dn.type_named(self._output_type(out_dtype)))
        with self._some_columns(n) as b, self._plan_of(b, n, c_type, self._ways.get((n, c_type))) as (_, plan):
            return plan.estimates()

    def _some_columns(self, n: int) -> DenseDescr:
        """A B for plans, which look at nothing of it but shape and type."""
        cols = self.shape[1]
        return DenseDescr(dn.pointer(self.buffer), cols, n, cols, int(dn.type_named(self.dtype)), Order.COL)

    def _decide(
        self, b: c_void_p, n: int, out_dtype: Optional[str], choice: Optional[tuple[int, int]], ways: int
    ) -> float:
        """How to multiply by `n` columns from now on: by the choice, or else by what a search finds, whose time it gives."""
        c_type = int(dn.type_named(self._output_type(out_dtype)))
        us = 0.0
        with self._plan_of(b, n, c_type, choice) as (handle, plan):
            if choice is None:
                us, choice = plan.search(handle, self._descriptor.key, b, ways)
            self._ways[n, c_type] = choice
            # Those that are there were made for another way.
            for key in [key for key in self._plans if key[:2] == (n, c_type)]:
                del self._plans[key]
        return us

    @contextmanager
    def _plan_of(
        self, b: c_void_p, n: int, c_type: int, way: Optional[tuple[int, int]]
    ) -> Iterator[tuple[Handle, _Plan]]:
        """A plan of the plain product, and its handle, which is this thread's meanwhile and has the current stream."""
        rows, device = self.shape[0], self._device
        handle = handle_for(device)
        # Neither a plan nor a search looks at C but for its shape and type.
        c = DenseDescr(dn.pointer(self.buffer), rows, n, rows, c_type, Order.COL)
        with _on_device(device), c as target, handle.lock:
            handle.use_stream(_current_stream(device))
            yield handle, _Plan(handle, self._descriptor.key, b, target, "none", False, way)

    def _check_input(self, b: Any) -> None:
        rows, cols = self.shape
        if b.ndim not in (1, 2) or b.shape[0] != cols:
            raise ValueError(f"b has shape {tuple(b.shape)}: ({cols}, N) is needed for a matrix of {rows} x {cols}")
        if dn.dtype_name(b) != self.dtype:
            raise TypeError(f"b is {dn.dtype_name(b)}: {self.dtype} is needed, the type of the matrix")
        if dn.device_of(b) != self._device:
            raise ValueError(f"b is not on {self.device}, where the matrix is")

    def _output_type(self, out_dtype: Optional[str]) -> str:
        name = out_dtype or self.dtype
        if name not in (self.dtype, "float32"):
            raise TypeError(f"out_dtype is {name!r}: 'float32' or {self.dtype!r} is needed")
        return name

    def _check_output(self, out: Any, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
        if tuple(out.shape) != shape:
            raise ValueError(f"out has shape {tuple(out.shape)}: {shape} is needed")
        if dn.dtype_name(out) not in dtypes:
            raise TypeError(f"out is {dn.dtype_name(out)}: {' or '.join(dtypes)} is needed")
        if dn.device_of(out) != self._device:
            raise ValueError(f"out is not on {self.device}, where the matrix is")
        if not dn.is_tensor(out) and not out.flags.writeable:
            raise ValueError("out is read-only")
        if dn.layout(out) is None:
            raise ValueError("out has neither contiguous rows nor contiguous columns")

    def _multiply(self, b: DenseDescr, c: DenseDescr, n: int, c_type: int, alpha: float, beta: float) -> None:
        """C = alpha A B + beta C on the current stream, with a workspace of the caller's allocator."""
        if (n, c_type) in self._ways and (alpha, beta) == (1.0, 0.0):
            self._multiply_fused(b, c, n, c_type, None, "none", None)
            return
        device = self._device
        handle = handle_for(device)
        one, zero = c_float(alpha), c_float(beta)
        scalars = (byref(one), byref(zero))
        with b as source, c as target, handle.lock:
            handle.use_stream(_current_stream(device))
            arguments = (NON_TRANSPOSE, NON_TRANSPOSE, scalars[0], self._descriptor.key, source, scalars[1], target)
            need = self._workspaces.get((n, c_type))
            if need is None:
                size = c_size_t()
                handle.call("flashllmSpMM_bufferSize", *arguments, int(DataType.R_32F), ALG_DEFAULT, byref(size))
                need = self._workspaces[n, c_type] = size.value
            # Freed at the end, which is in stream order: the allocator gives it to later work of this stream only.
            workspace = allocate(need, device, dn.is_tensor(self.buffer)) if need else None
            space = c_void_p(dn.pointer(workspace)) if workspace is not None else None
            handle.call("flashllmSpMM", *arguments, int(DataType.R_32F), ALG_DEFAULT, space)

    def _multiply_fused(
        self,
        b: DenseDescr,
        c: DenseDescr,
        n: int,
        c_type: int,
        bias: Optional[tuple[int, int]],
        activation: str,
        residual: Optional[DenseDescr],
        programmatic: bool = False,
    ) -> None:
        """C = activation(A B + bias) + residual in one pass. bias: address and type."""
        device = self._device
        handle = handle_for(device)
        one, zero = c_float(1.0), c_float(0.0)
        with b as source, c as target, residual or nullcontext() as added, handle.lock:
            handle.use_stream(_current_stream(device))
            plan = self._plans.get((n, c_type, activation, programmatic))
            if plan is None:
                while len(self._plans) >= 16:  # of the last few batch sizes
                    self._plans.pop(next(iter(self._plans)))
                way = self._ways.get((n, c_type))
                plan = _Plan(handle, self._descriptor.key, source, target, activation, programmatic, way)
                self._plans[n, c_type, activation, programmatic] = plan
            plan.finish_with(handle, bias, added)
            need = plan.workspace
            workspace = allocate(need, device, dn.is_tensor(self.buffer)) if need else None
            space = c_void_p(dn.pointer(workspace)) if workspace is not None else None
            handle.call(
                "flashllmSpMMPlanExecute", plan.key, byref(one), self._descriptor.key, source, byref(zero), target, space
            )


def spmm(
    a: SparseMatrix,
    b: Any,
    *,
    out: Optional[Any] = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    out_dtype: Optional[str] = None,
) -> Any:
    """C = alpha * A @ B + beta * C with fp32 accumulation, rounded once to the type of C.

    On the host it is done on all cores when the call returns; on CUDA it is put on PyTorch's current stream.

    Args:
        a: the compressed matrix, M x K.
        b: dense, K x N, or a vector of K; of A's element type and on its device.
        out: C, M x N (or M), where to write; read only if beta is not 0. Must not overlap B.
        alpha: factor of the product.
        beta: factor of C; with another value than 0 `out` is needed.
        out_dtype: "float32" or A's type (the default), if `out` is not given.

    Returns:
        C, a numpy array or a tensor like `b`, row-major unless `out` says otherwise.
    """
    tensor = dn.is_tensor(b)
    if not tensor:
        b = np.asarray(b)
    rows = a.shape[0]
    a._check_input(b)
    if out is None and beta != 0.0:
        raise ValueError(f"beta is {beta} and there is no out to read C from")
    shape = (rows,) + tuple(b.shape[1:])
    if out is None:
        name = a._output_type(out_dtype)
        if tensor:
            import torch

            out = torch.empty(shape, dtype=getattr(torch, name), device=b.device)
        else:
            out = np.empty(shape, dtype=dn.numpy_type(name))
    elif dn.is_tensor(out) != tensor:
        raise TypeError("b and out are not of one library: both numpy or both PyTorch is needed")
    c = out if out.ndim == 2 else out.reshape(-1, 1) if out.ndim == 1 else out
    b = b if b.ndim == 2 else b.reshape(-1, 1)
    if tuple(out.shape) != shape:
        raise ValueError(f"out has shape {tuple(out.shape)}: {shape} is needed")
    a._check_output(c, (rows, b.shape[1]), (a.dtype, "float32"))
    if b.shape[1] == 0:
        return out
    b = dn.describable(b.detach() if tensor else b)
    with _on_device(a._device):
        a._multiply(
            DenseDescr.of(b, "b"), DenseDescr.of(c, "out"), b.shape[1], int(dn.data_type(c, "out")), alpha, beta
        )
    return out


def _read_header(head: bytes) -> tuple[int, int, DataType]:
    """(rows, cols, type) of a compressed buffer (docs/format-bitmap.md). What is no header is left to the library."""
    if len(head) < 48 or not head.startswith(b"FLLM"):
        return 1, 1, DataType.R_16F
    dtype = int.from_bytes(head[16:20], "little")
    rows, cols = (int.from_bytes(head[at : at + 8], "little") for at in (24, 32))
    limit = 1 << 31  # more than any format's; keeps the descriptor's own checks out of the way
    if not (0 < rows < limit and 0 < cols < limit):
        rows = cols = 1
    return rows, cols, DataType.R_16BF if dtype == DataType.R_16BF else DataType.R_16F
