"""FlashLinear: torch.nn.Linear with a compressed weight."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from torch import Tensor, nn

from . import ops
from .matrix import FormatName, Preference, SparseMatrix

KEY = "weight.flash_llm"
"""Name of the compressed bytes in a state_dict, next to "bias": the convention of flash_llm.files."""


class FlashLinear(nn.Module):
    """y = activation(x Aᵀ + bias), with A [out_features, in_features] compressed. For inference: no gradients.

    Its bytes are the buffer `compressed`; state_dict() has them as "weight.flash_llm". Moving the module to another
    device or loading a state_dict checks the bytes again.

    Args:
        matrix: the compressed weight; its buffer must be a tensor.
        bias: [out_features], or None.
        activation: "none", "relu", "gelu", "gelu_tanh" or "silu".
    """

    compressed: Tensor
    bias: Optional[Tensor]

    def __init__(self, matrix: SparseMatrix, bias: Optional[Tensor] = None, activation: str = "none") -> None:
        super().__init__()
        if not isinstance(matrix.buffer, Tensor):
            raise TypeError("the matrix is in a numpy array: matrix.to('cpu') puts it into a tensor")
        if activation not in ops.ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}: one of {', '.join(ops.ACTIVATIONS)} is needed")
        self.out_features, self.in_features = matrix.shape
        self.activation = activation
        self.matrix: Optional[SparseMatrix] = ops.register(matrix)
        # Not persistent: _save_to_state_dict() gives it a name that no attribute can have.
        self.register_buffer("compressed", matrix.buffer, persistent=False)
        if bias is not None and bias.shape != (self.out_features,):
            raise ValueError(f"bias has shape {tuple(bias.shape)}: ({self.out_features},) is needed")
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach(), requires_grad=False))

    @classmethod
    def from_dense(
        cls,
        weight: Tensor,
        bias: Optional[Tensor] = None,
        activation: str = "none",
        format: FormatName = "auto",
        prefer: Preference = "speed",
    ) -> "FlashLinear":
        """Compresses a pruned weight [out_features, in_features] where it is."""
        return cls(SparseMatrix.compress(weight, format, prefer=prefer), bias, activation)

    def forward(self, x: Tensor, residual: Optional[Tensor] = None) -> Tensor:
        """[..., in_features] -> [..., out_features]; `residual` is added at the end."""
        return ops.linear(x, self.compressed, self.out_features, self.bias, self.activation, residual)

    def dense_weight(self) -> Tensor:
        """The weight decompressed, a new tensor."""
        matrix = self.matrix or ops.adopt(self.compressed)
        dense: Tensor = matrix.to_dense()
        return dense

    def extra_repr(self) -> str:
        about = self.matrix or "not adopted"
        return f"{about}, bias={self.bias is not None}, activation={self.activation}"

    def _adopt(self) -> None:
        if self.compressed.is_meta:
            self.matrix = None
            return
        self.matrix = ops.adopt(self.compressed)
        # The operator knows the matrix by these bytes, which are a copy where the others were not aligned.
        self.compressed = self.matrix.buffer

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FlashLinear":
        super()._apply(fn, recurse)
        if self.matrix is None or self.compressed.data_ptr() != self.matrix.buffer.data_ptr():
            self._adopt()
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + KEY] = self.compressed

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # A compressed buffer's length follows its values, so it is replaced and not copied into.
        compressed = state_dict.pop(prefix + KEY, None)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if compressed is None:
            if strict:
                missing_keys.append(prefix + KEY)
            return
        try:
            target = self.compressed.device
            moved = compressed.detach().to(target) if target.type != "meta" else compressed.detach()
            if moved.data_ptr() == self.compressed.data_ptr():
                return  # it is this layer's own
            if moved.data_ptr() == compressed.data_ptr() and not local_metadata.get("assign_to_params_buffers"):
                moved = moved.clone()  # as load_state_dict() does without assign: the caller keeps its own
            matrix = ops.register(SparseMatrix.from_buffer(moved))
            if matrix.shape != (self.out_features, self.in_features):
                raise ValueError(
                    f"it holds {matrix.shape[0]} x {matrix.shape[1]}, the layer is {self.out_features} x {self.in_features}"
                )
        except (RuntimeError, TypeError, ValueError) as error:
            error_msgs.append(f"{prefix + KEY}: {error}")
            return
        self.matrix, self.compressed = matrix, matrix.buffer

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["matrix"] = None  # descriptors do not travel: copies and other processes make their own
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._adopt()

