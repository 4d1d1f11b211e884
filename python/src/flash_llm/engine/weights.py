"""The weights of a decoder on one rank: dense or compressed, random or from a transformers model.

Dense and compressed weights have one interface, and q, k and v (and gate and up) are one matrix in both cases, so that
the engine is the same program for both.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Literal, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ops
from .._library import FlashLLMError
from ..matrix import FormatName, Preference, SparseMatrix
from . import kernels
from .config import ModelConfig
from .parallel import Group


class DenseLinear:
    """x [tokens, cols] -> x Wᵀ [tokens, rows] through cuBLAS."""

    # Which way is faster for so many tokens of such a matrix, found when it is first needed.
    _fused_relu: dict[tuple[int, int, int], bool] = {}
    _library: dict[tuple[int, int, int], str] = {}

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    @property
    def nbytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        """By the faster of cuBLAS and cuBLASLt, whose choices of a kernel differ for few tokens."""
        if not x.is_cuda:
            return F.linear(x, self.weight)
        key = (*self.weight.shape, x.shape[0])
        if key not in self._library:
            choices: dict[str, Callable[[], Tensor]] = {
                "cublas": lambda: self._through("cublas", x),
                "cublaslt": lambda: self._through("cublaslt", x),
            }
            self._library[key] = kernels.fastest(choices)
        return self._through(self._library[key], x)

    def _through(self, library: str, x: Tensor) -> Tensor:
        before = torch.backends.cuda.preferred_blas_library()
        torch.backends.cuda.preferred_blas_library(library)
        try:
            return F.linear(x, self.weight)
        finally:
            torch.backends.cuda.preferred_blas_library(before)

    def many(self, x: Tensor) -> Tensor:
        """The same for many tokens."""
        return F.linear(x, self.weight)

    def bias_relu(self, x: Tensor, bias: Tensor) -> Tensor:
        """relu(x Wᵀ + bias), by the faster of cuBLASLt's epilogue and a kernel of its own."""
        if not x.is_cuda:
            return kernels.bias_relu_(self(x), bias)
        choices: dict[bool, Callable[[], Tensor]] = {
            True: lambda: torch._addmm_activation(bias, x, self.weight.t()),
            False: lambda: kernels.bias_relu_(self(x), bias),
        }
        key = (*self.weight.shape, x.shape[0])
        if key not in self._fused_relu:
            self._fused_relu[key] = kernels.fastest(choices)
        return choices[self._fused_relu[key]]()


class SparseLinear:
    """The same with a compressed weight. It was made long ago, so that products may begin to read it while the kernel
    before them still runs."""

    # Which way is faster for so many tokens of such a matrix, found when it is first needed:
    # (rows, cols, format, tokens) -> decompress into a scratch buffer and use cuBLAS.
    _decompress: dict[tuple[int, int, str, int], bool] = {}
    # How to multiply such a matrix by so many tokens: what a search of the first of them found.
    _choices: dict[tuple[int, int, str, int], tuple[int, int]] = {}
    _scratch: dict[torch.device, Tensor] = {}

    def __init__(self, matrix: SparseMatrix) -> None:
        self.matrix = matrix

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    def decide(self, x: Tensor) -> None:
        """Finds the fastest way for so many tokens, once for all matrices of a shape. It waits, and is not for a capture."""
        tokens = x.shape[0]
        if not x.is_cuda or self.matrix.choice(tokens) is not None:
            return
        key = (*self.matrix.shape, self.matrix.format, tokens)
        if key in self._choices:
            try:
                self.matrix.choose(tokens, self._choices[key])
                return
            except FlashLLMError:
                pass  # its blocks are larger than those of the matrix that was searched
        self.matrix.search(x.t())
        choice = self.matrix.choice(tokens)
        assert choice is not None
        self._choices.setdefault(key, choice)

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.empty((x.shape[0], self.matrix.shape[0]), dtype=x.dtype, device=x.device)
        return ops.matmul(self.matrix, x, out, programmatic=kernels.overlaps(x.device))

    def bias_relu(self, x: Tensor, bias: Tensor) -> Tensor:
        """relu(x Wᵀ + bias), fused."""
        out = torch.empty((x.shape[0], self.matrix.shape[0]), dtype=x.dtype, device=x.device)
        return ops.matmul(self.matrix, x, out, bias, "relu", programmatic=kernels.overlaps(x.device))

    def many(self, x: Tensor) -> Tensor:
        """The same for many tokens (prefill), where decompressing first may pay."""
        if not x.is_cuda or x.shape[0] <= 256:
            return self(x)
        key = (*self.matrix.shape, self.matrix.format, x.shape[0])
        if key not in self._decompress:
            choices: dict[bool, Callable[[], Tensor]] = {False: lambda: self(x), True: lambda: self._through_dense(x)}
            self._decompress[key] = kernels.fastest(choices, repeats=1)
        return self._through_dense(x) if self._decompress[key] else self(x)

    def _through_dense(self, x: Tensor) -> Tensor:
        rows, cols = self.matrix.shape
        scratch = self._scratch.get(x.device)
        if scratch is None or scratch.numel() < rows * cols or scratch.dtype != x.dtype:
            self._scratch.pop(x.device, None)
            scratch = self._scratch[x.device] = torch.empty(rows * cols, dtype=x.dtype, device=x.device)
        return F.linear(x, self.matrix.to_dense(out=scratch[: rows * cols].view(rows, cols)))


def free_scratch() -> None:
    """Gives back the buffer that prefill decompresses into."""
    SparseLinear._scratch.clear()


Linear = Union[DenseLinear, SparseLinear]


@dataclass
class Norm:
    weight: Tensor
    shift: Optional[Tensor]  # none: RMSNorm


@dataclass
class Layer:
    """One decoder layer. `up` holds gate and up for Llama."""

    norm1: Norm
    qkv: Linear
    qkv_bias: Optional[Tensor]
    out: Linear
    out_bias: Optional[Tensor]
    norm2: Norm
    up: Linear
    up_bias: Optional[Tensor]
    down: Linear
    down_bias: Optional[Tensor]

    def linears(self) -> dict[str, Linear]:
        return {"qkv": self.qkv, "out": self.out, "up": self.up, "down": self.down}


@dataclass
class Weights:
    """A model on one rank. The embedding is whole on every rank; the head has the rank's share of the vocabulary."""

    config: ModelConfig
    group: Group
    embedding: Tensor
    positions: Optional[Tensor]  # learned ones, already past OPT's offset
    layers: list[Layer]
    norm: Norm
    head: DenseLinear
    rotary: Optional[tuple[Tensor, Tensor]]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    @property
    def nbytes(self) -> int:
        """Bytes of the layers' matrices on this rank."""
        return sum(linear.nbytes for layer in self.layers for linear in layer.linears().values())

    @property
    def sparsity(self) -> Optional[float]:
        """Fraction of zeros in the compressed matrices of this rank; None if they are dense."""
        matrices = [m.matrix for layer in self.layers for m in layer.linears().values() if isinstance(m, SparseLinear)]
        if not matrices:
            return None
        return 1.0 - sum(m.nnz for m in matrices) / sum(m.shape[0] * m.shape[1] for m in matrices)


Copies = Literal["auto", "none", "all"]


def random_weights(
    config: ModelConfig,
    *,
    sparsity: Optional[float] = None,
    format: FormatName = "auto",
    prefer: Preference = "speed",
    device: Union[str, torch.device] = "cuda",
    group: Optional[Group] = None,
    seed: int = 0,
    copies: Copies = "auto",
    budget_s: float = 90.0,
    progress: bool = False,
) -> Weights:
    """Random weights of a model's shapes, made, pruned and compressed on the device one matrix after another.

    Args:
        config: the shapes.
        sparsity: fraction of zeros, at random places; None for a dense model.
        format: of the compressed matrices.
        prefer: what format "auto" chooses for.
        device: where.
        group: the ranks of a tensor-parallel model; each makes its own share.
        seed: of the values.
        copies: "none" makes every layer anew. "all" makes the first and copies its compressed bytes to memory of
            their own for the others, which is as fast to run, since speed depends on the mask's density and not on
            its values. "auto" copies if the first layer says that all would take longer than budget_s.
        budget_s: see copies.
        progress: tell on stderr.
    """
    group = group or Group()
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    generator = torch.Generator(device).manual_seed(seed * 1000 + 1 + group.rank)
    # What every rank has whole is the same on every rank.
    shared = torch.Generator(device).manual_seed(seed * 1000)
    dtype, hidden = config.dtype, config.hidden
    shapes = config.matrices(group.size)
    # One buffer for all dense matrices on their way, so that the allocator keeps no holes of their size.
    scratch = None
    if sparsity is not None:
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"sparsity is {sparsity}: from 0 to less than 1 is needed")
        scratch = torch.empty(max(rows * cols for rows, cols in shapes.values()), dtype=dtype, device=device)
    threshold = 0.02 * math.sqrt(2.0) * float(torch.erfinv(torch.tensor(sparsity or 0.0, dtype=torch.float64)))

    def make(rows: int, cols: int) -> Linear:
        if scratch is None:
            weight = torch.empty((rows, cols), dtype=dtype, device=device)
            return DenseLinear(weight.normal_(0.0, 0.02, generator=generator))
        weight = scratch[: rows * cols].view(rows, cols).normal_(0.0, 0.02, generator=generator)
        # Pruning by magnitude with the quantile that is known: as many zeros as asked but for chance.
        for part in weight.view(-1).split(1 << 26):
            part.masked_fill_(part.abs() < threshold, 0.0)
        return SparseLinear(SparseMatrix.compress(weight, format, prefer=prefer))

    def copy(linear: Linear) -> Linear:
        assert isinstance(linear, SparseLinear)
        return SparseLinear(SparseMatrix.from_buffer(linear.matrix.buffer.clone()))

    def vector(size: int, mean: float = 0.0, of: torch.Generator = shared) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device).normal_(mean, 0.02, generator=of)

    def norm() -> Norm:
        return Norm(vector(hidden, 1.0), vector(hidden) if config.arch == "opt" else None)

    biased = config.arch == "opt"
    layers: list[Layer] = []
    began = time.monotonic()
    copying = False
    for number in range(config.layers):
        if copying:
            linears = {name: copy(linear) for name, linear in layers[0].linears().items()}
        else:
            linears = {name: make(rows, cols) for name, (rows, cols) in shapes.items()}
        layers.append(
            Layer(
                norm(), linears["qkv"], vector(shapes["qkv"][0], of=generator) if biased or config.qkv_bias else None,
                linears["out"], vector(hidden) if biased else None,
                norm(), linears["up"], vector(shapes["up"][0], of=generator) if biased else None,
                linears["down"], vector(hidden) if biased else None,
            )
        )  # fmt: skip
        # The first two: loading kernels, and what a layer takes after that.
        if number < 2 and device.type == "cuda":
            torch.cuda.synchronize(device)
        if number == 0:
            began = time.monotonic() if copies == "auto" else began
            copying = copies == "all" and sparsity is not None
        elif number == 1 and copies == "auto" and sparsity is not None:
            copying = (time.monotonic() - began) * config.layers > budget_s
        if progress and group.rank == 0 and (number % 8 == 7 or number < 2):
            print(f"layer {number + 1} of {config.layers}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    embedding = torch.empty((config.vocab, hidden), dtype=dtype, device=device).normal_(0.0, 0.02, generator=shared)
    weights = Weights(
        config=config,
        group=group,
        embedding=embedding,
        positions=torch.zeros((config.max_positions, hidden), dtype=dtype, device=device) if biased else None,
        layers=layers,
        norm=norm(),
        head=DenseLinear(group.slice(embedding, 0)),
        rotary=None if biased else kernels.rotary_tables(
            config.max_positions, config.head_dim, config.rope_theta, device
        ),
        about={"copied_layers": copying},
    )  # fmt: skip
    del scratch
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    return weights


def config_of(model: Any) -> ModelConfig:
    """The shape of a transformers model of the OPT or Llama kind (Llama, Mistral, Qwen2)."""
    c = model.config
    dtype = model.get_input_embeddings().weight.dtype
    if c.model_type == "opt":
        if not c.do_layer_norm_before or c.word_embed_proj_dim != c.hidden_size or c.activation_function != "relu":
            raise ValueError("an OPT model with norms after the layers, a projected embedding or no ReLU is not supported")
        return ModelConfig(
            c.model_type, "opt", c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.num_attention_heads,
            c.ffn_dim, c.vocab_size, c.max_position_embeddings, dtype,
        )  # fmt: skip
    if c.model_type not in ("llama", "mistral", "qwen2"):
        raise ValueError(f"models of type {c.model_type!r} are not supported: opt, llama, mistral or qwen2 is needed")
    rope = getattr(c, "rope_parameters", None) or getattr(c, "rope_scaling", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported: 'default' is needed")
    theta = rope.get("rope_theta") or getattr(c, "rope_theta", None) or 10000.0
    if c.hidden_act != "silu":
        raise ValueError(f"hidden_act {c.hidden_act!r} is not supported: 'silu' is needed")
    window = getattr(c, "sliding_window", None)
    longest = c.max_position_embeddings
    if window and getattr(c, "use_sliding_window", True):
        longest = min(longest, window)  # within it, all attention is full
    return ModelConfig(
        c.model_type, "llama", c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.num_key_value_heads,
        c.intermediate_size, c.vocab_size, longest, dtype, c.rms_norm_eps, theta,
        qkv_bias=model.model.layers[0].self_attn.q_proj.bias is not None,
        head_dim=getattr(c, "head_dim", None) or 0,
    )  # fmt: skip


@torch.no_grad()
def weights_of(
    model: Any,
    *,
    dense: bool,
    format: FormatName = "auto",
    prefer: Preference = "speed",
    group: Optional[Group] = None,
    device: Optional[str] = None,
) -> Weights:
    """The weights of a transformers model, as pruned as they are (FlashLinear layers are decompressed).

    Args:
        model: OPT, Llama, Mistral or Qwen2 for causal language modelling.
        dense: keep the layers' matrices dense, or compress them.
        format, prefer: see SparseMatrix.compress().
        group: the ranks of a tensor-parallel model; each takes its share of the same model.
        device: where to, None for where the model is.
    """
    from ..linear import FlashLinear

    group = group or Group()
    config = config_of(model)
    config.matrices(group.size)  # refuses what does not divide
    target = torch.device(device) if device else model.get_input_embeddings().weight.device

    def matrix(module: Any) -> Tensor:
        weight: Tensor = module.dense_weight() if isinstance(module, FlashLinear) else module.weight.detach()
        return weight

    def share(parts: list[Tensor], dim: int) -> Tensor:
        return torch.cat([group.slice(part, dim) for part in parts]).to(target).contiguous()

    def linear(modules: list[Any], dim: int) -> Linear:
        weight = share([matrix(module) for module in modules], dim)
        return DenseLinear(weight) if dense else SparseLinear(SparseMatrix.compress(weight, format, prefer=prefer))

    def bias(modules: list[Any], sliced: bool) -> Optional[Tensor]:
        biases = [module.bias.detach() for module in modules if module.bias is not None]
        if len(biases) < len(modules):
            return None
        return share(biases, 0) if sliced else torch.cat(biases).to(target)

    def norm(module: Any) -> Norm:
        shift = getattr(module, "bias", None)
        return Norm(module.weight.detach().to(target), None if shift is None else shift.detach().to(target))

    def layer_parts() -> Iterator[tuple[Any, list[Any], Any, Any, list[Any], Any]]:
        if config.arch == "opt":
            for m in model.model.decoder.layers:
                a = m.self_attn
                yield (m.self_attn_layer_norm, [a.q_proj, a.k_proj, a.v_proj], a.out_proj,
                       m.final_layer_norm, [m.fc1], m.fc2)  # fmt: skip
        else:
            for m in model.model.layers:
                a = m.self_attn
                yield (m.input_layernorm, [a.q_proj, a.k_proj, a.v_proj], a.o_proj,
                       m.post_attention_layernorm, [m.mlp.gate_proj, m.mlp.up_proj], m.mlp.down_proj)  # fmt: skip

    layers = [
        Layer(
            norm(norm1), linear(qkv, 0), bias(qkv, True), linear([out], 1), bias([out], False),
            norm(norm2), linear(up, 0), bias(up, True), linear([down], 1), bias([down], False),
        )
        for norm1, qkv, out, norm2, up, down in layer_parts()
    ]  # fmt: skip
    positions = rotary = None
    if config.arch == "opt":
        table = model.model.decoder.embed_positions
        positions = table.weight.detach()[table.offset :].to(target)
        last = model.model.decoder.final_layer_norm
    else:
        rotary = kernels.rotary_tables(config.max_positions, config.head_dim, config.rope_theta, target)
        last = model.model.norm
    return Weights(
        config, group, model.get_input_embeddings().weight.detach().to(target), positions, layers, norm(last),
        DenseLinear(share([matrix(model.get_output_embeddings())], 0)), rotary,
    )  # fmt: skip
