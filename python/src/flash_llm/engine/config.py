"""Shapes of decoder models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True)
class ModelConfig:
    """Everything that the engine needs to know of an OPT or Llama model.

    Attributes:
        arch: "opt" (LayerNorm, biases, learned positions, ReLU) or "llama" (RMSNorm, RoPE, gated SiLU).
        layers, hidden, heads, ffn, vocab: sizes.
        kv_heads: key and value heads; fewer than `heads` for grouped-query attention.
        max_positions: longest context.
        dtype: element type of weights and activations.
        eps: of the norms.
        rope_theta: base of the rotary embedding.
        qkv_bias: whether a Llama-like model has biases on q, k and v (Qwen2).
    """

    name: str
    arch: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    max_positions: int = 2048
    dtype: torch.dtype = torch.float16
    eps: float = 1e-5
    rope_theta: float = 10000.0
    qkv_bias: bool = False
    head_dim: int = 0

    def __post_init__(self) -> None:
        if self.arch not in ("opt", "llama"):
            raise ValueError(f"arch is {self.arch!r}: 'opt' or 'llama' is needed")
        if self.head_dim == 0:
            object.__setattr__(self, "head_dim", self.hidden // self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide into {self.kv_heads} groups")
        if self.head_dim & (self.head_dim - 1) or self.head_dim < 16:
            raise ValueError(f"head_dim is {self.head_dim}: a power of two from 16 on is needed")

    def matrices(self, tp: int = 1) -> dict[str, tuple[int, int]]:
        """(rows, cols) of a layer's matrices on one of `tp` ranks, fused as the engine multiplies them."""
        if self.kv_heads % tp or self.ffn % tp or self.vocab % tp:
            raise ValueError(
                f"tp is {tp}: it must divide {self.kv_heads} key heads, ffn {self.ffn} and vocabulary {self.vocab}"
            )
        attention = self.heads * self.head_dim // tp
        keys = self.kv_heads * self.head_dim // tp
        gates = 2 if self.arch == "llama" else 1
        return {
            "qkv": (attention + 2 * keys, self.hidden),
            "out": (self.hidden, attention),
            "up": (gates * self.ffn // tp, self.hidden),
            "down": (self.hidden, self.ffn // tp),
        }

    def parameters(self) -> int:
        """Weights of the layers' matrices, without embeddings."""
        return self.layers * sum(rows * cols for rows, cols in self.matrices().values())

    def scaled(self, **changes: Any) -> "ModelConfig":
        """A copy with some fields changed."""
        return replace(self, **changes)


def _opt(name: str, layers: int, hidden: int, heads: int) -> ModelConfig:
    return ModelConfig(name, "opt", layers, hidden, heads, heads, 4 * hidden, 50272)


PRESETS = {
    config.name: config
    for config in (
        ModelConfig("tiny-opt", "opt", 2, 256, 4, 4, 1024, 512, max_positions=512),
        ModelConfig("tiny-llama", "llama", 2, 256, 8, 2, 704, 512, max_positions=512),
        _opt("opt-1.3b", 24, 2048, 32),
        _opt("opt-6.7b", 32, 4096, 32),
        _opt("opt-13b", 40, 5120, 40),
        _opt("opt-30b", 48, 7168, 56),
        _opt("opt-66b", 64, 9216, 72),
        _opt("opt-175b", 96, 12288, 96),
        ModelConfig("llama-2-7b", "llama", 32, 4096, 32, 32, 11008, 32000, max_positions=4096),
        ModelConfig("llama-2-70b", "llama", 80, 8192, 64, 8, 28672, 32000, max_positions=4096, dtype=torch.bfloat16),
    )
}
"""Models by name. The weights of the named ones are not shipped: the benchmark makes random ones of these shapes."""
