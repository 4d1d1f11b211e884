"""The PyTorch operator `flash_llm::linear`: y = activation(x Aᵀ + bias) + residual with a compressed A.

It works on CPU and CUDA tensors, in eager mode, under torch.compile and in CUDA graphs. Activations [..., K] are what
the library calls a column-major B, so that nothing is copied or transposed.
"""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Optional

import torch
from torch import Tensor

from . import _dense as dn
from ._dense import DenseDescr
from ._library import ACTIVATIONS, Order
from .matrix import SparseMatrix

# The operator gets the compressed bytes as a tensor, as compilers want it, and finds the checked matrix by their
# address. A matrix keeps its bytes alive, so that an address in here cannot belong to anything else.
_adopted: "weakref.WeakValueDictionary[tuple[Optional[int], int], SparseMatrix]" = weakref.WeakValueDictionary()


def adopt(buffer: Tensor) -> SparseMatrix:
    """The matrix in these bytes, checked if that has not been done. The operator is quick as long as it is kept."""
    key = (dn.device_of(buffer), buffer.data_ptr())
    matrix = _adopted.get(key)
    if matrix is not None and matrix.nbytes == buffer.numel():
        return matrix
    if buffer.is_cuda and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a compressed matrix that is not known yet cannot be checked while a CUDA graph is captured: run the "
            "model once before the capture"
        )
    return register(SparseMatrix.from_buffer(buffer))


def register(matrix: SparseMatrix) -> SparseMatrix:
    """Makes the operator know a matrix whose bytes are a tensor; gives the one that it knows these bytes by."""
    key = (dn.device_of(matrix.buffer), matrix.buffer.data_ptr())
    known = _adopted.get(key)
    if known is not None and known.nbytes == matrix.nbytes:
        return known
    _adopted[key] = matrix
    return matrix


def matmul(
    matrix: SparseMatrix,
    x: Tensor,
    out: Tensor,
    bias: Optional[Tensor] = None,
    activation: str = "none",
    residual: Optional[Tensor] = None,
    programmatic: bool = False,
) -> Tensor:
    """out [tokens, rows] = activation(x [tokens, cols] Aᵀ + bias) + residual.

    All have contiguous rows. Nothing is checked but what the library checks, and nothing is allocated but its workspace.
    With `programmatic` the product may begin, and read the matrix, while kernels ahead of it in the stream still run
    (FLASHLLM_SPMM_PLAN_PROGRAMMATIC_LAUNCH): none of those may be writing the matrix.
    """
    tokens = x.shape[0]
    b = DenseDescr(x.data_ptr(), x.shape[1], tokens, x.stride(0), dn.data_type(x, "x"), Order.COL)
    c_type = int(dn.data_type(out, "out"))
    c = DenseDescr(out.data_ptr(), out.shape[1], tokens, out.stride(0), c_type, Order.COL)
    plain = bias is None and residual is None and activation == "none" and not programmatic
    other = x.is_cuda and torch.cuda.current_device() != x.device.index
    with torch.cuda.device(x.device) if other else nullcontext():
        if plain:
            matrix._multiply(b, c, tokens, c_type, 1.0, 0.0)
        else:
            added = None
            if residual is not None:
                r_type = dn.data_type(residual, "residual")
                added = DenseDescr(residual.data_ptr(), out.shape[1], tokens, residual.stride(0), r_type, Order.COL)
            where = None if bias is None else (bias.data_ptr(), int(dn.data_type(bias, "bias")))
            matrix._multiply_fused(b, c, tokens, c_type, where, activation, added, programmatic)
    return out


def rows_contiguous(x: Tensor, cols: int) -> Tensor:
    """x as [tokens, cols] with contiguous rows that do not overlap; a copy only where it has to be."""
    x = x.reshape(-1, cols)
    if x.shape[0] <= 1 or x.shape[1] <= 1:
        return x.contiguous()
    return x if x.stride(1) == 1 and x.stride(0) >= cols else x.contiguous()


_library = torch.library.Library("flash_llm", "DEF")
_library.define(
    "linear(Tensor x, Tensor compressed, int rows, Tensor? bias=None, str activation='none', Tensor? residual=None)"
    " -> Tensor"
)


def _linear(
    x: Tensor,
    compressed: Tensor,
    rows: int,
    bias: Optional[Tensor] = None,
    activation: str = "none",
    residual: Optional[Tensor] = None,
) -> Tensor:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}: one of {', '.join(ACTIVATIONS)} is needed")
    matrix = adopt(compressed)
    if matrix.shape[0] != rows:
        raise ValueError(f"rows is {rows}: the compressed matrix has {matrix.shape[0]}")
    cols = matrix.shape[1]
    if x.shape[-1] != cols:
        raise ValueError(f"x has shape {tuple(x.shape)}: its last dimension must be {cols}, the columns of the matrix")
    if dn.dtype_name(x) != matrix.dtype:
        raise TypeError(f"x is {x.dtype}: {matrix.dtype} is needed, the type of the matrix")
    if x.device != compressed.device:
        raise ValueError(f"x is on {x.device} and the matrix on {compressed.device}")
    shape = x.shape[:-1] + (rows,)
    flat = rows_contiguous(x, cols)
    out = torch.empty((flat.shape[0], rows), dtype=x.dtype, device=x.device)
    if bias is not None and (bias.shape != (rows,) or bias.device != x.device):
        raise ValueError(f"bias has shape {tuple(bias.shape)} on {bias.device}: ({rows},) on {x.device} is needed")
    if residual is not None:
        if residual.shape != shape or residual.device != x.device:
            raise ValueError(
                f"residual has shape {tuple(residual.shape)} on {residual.device}: {tuple(shape)} on {x.device} is needed"
            )
        residual = rows_contiguous(residual, rows)
    if out.numel():
        matmul(matrix, flat, out, None if bias is None else bias.contiguous(), activation, residual)
    return out.view(shape)


def _linear_fake(
    x: Tensor,
    compressed: Tensor,
    rows: int,
    bias: Optional[Tensor] = None,
    activation: str = "none",
    residual: Optional[Tensor] = None,
) -> Tensor:
    torch._check(compressed.dtype == torch.uint8, lambda: f"compressed is {compressed.dtype}: uint8 is needed")
    return x.new_empty(x.shape[:-1] + (rows,))


for _key in ("CPU", "CUDA"):
    _library.impl("linear", _linear, _key)
torch.library.register_fake("flash_llm::linear", _linear_fake, lib=_library)


def linear(
    x: Tensor,
    compressed: Tensor,
    rows: int,
    bias: Optional[Tensor] = None,
    activation: str = "none",
    residual: Optional[Tensor] = None,
) -> Tensor:
    """activation(x Aᵀ + bias) + residual for inference; there are no gradients.

    Args:
        x: [..., K], float16 or bfloat16, of the matrix's type and on its device.
        compressed: the bytes of a compressed matrix [rows, K], see SparseMatrix.buffer.
        rows: its rows.
        bias: [rows], or None.
        activation: "none", "relu", "gelu", "gelu_tanh" or "silu".
        residual: of the result's shape, or None.

    Returns:
        [..., rows], of x's type.
    """
    result: Tensor = torch.ops.flash_llm.linear(x, compressed, rows, bias, activation, residual)
    return result
