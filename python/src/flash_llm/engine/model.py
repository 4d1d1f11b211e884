"""The engine: static KV cache, and a decode step that is one CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernels
from .kernels import AttentionPlan
from .weights import Layer, Norm, SparseLinear, Weights


# Shapes of the attention kernel that are tried when the decode step is captured: (block, warps, stages).
ATTENTION_SHAPES = ((64, 4, 2), (16, 1, 4), (32, 1, 3), (64, 2, 2), (64, 4, 3), (128, 4, 2))


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest one, or with top_p below 1 at random from the smallest set of tokens
    whose probability is at least top_p, after division of the logits by the temperature."""

    top_p: Optional[float] = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}: more than 0 and at most 1 is needed")
        if self.temperature <= 0.0:
            raise ValueError(f"temperature is {self.temperature}: more than 0 is needed")

    def __call__(self, logits: Tensor) -> Tensor:
        """[batch, vocabulary] -> [batch] int64. Without host synchronisation, so that it can be captured."""
        if self.top_p is None:
            return logits.argmax(dim=-1)
        values, order = (logits.float() / self.temperature).softmax(dim=-1).sort(dim=-1, descending=True)
        sums = values.cumsum(dim=-1)
        # A token is kept while what comes before it does not reach top_p: always the first.
        kept = torch.where(sums - values < self.top_p, values, 0.0).cumsum(dim=-1)
        chosen = torch.rand(kept.shape[0], 1, device=kept.device) * kept[:, -1:]
        rank = torch.searchsorted(kept, chosen, right=True).clamp_(max=kept.shape[1] - 1)
        return order.gather(1, rank)[:, 0]


class Engine:
    """Decodes a fixed number of sequences side by side.

    Args:
        weights: dense or compressed; several engines may share them.
        batch: sequences.
        max_len: positions of the KV cache, prompt and new tokens together.
        sampling: how tokens are chosen.
        prefill_tokens: prompts are worked on in groups of sequences with about so many tokens, which bounds the memory.
        use_graph: capture the decode step into a CUDA graph; always off on the host.
        search: before the capture, measure which way to multiply is the fastest, for every shape of a compressed matrix, in
            some 10 ms each. On an H100 or H200, whose measurements the library's choices are from, it is hardly worth it;
            and another process may find other ways, and with them other last bits.
    """

    def __init__(
        self,
        weights: Weights,
        batch: int,
        max_len: int,
        sampling: Sampling = Sampling(),
        prefill_tokens: int = 8192,
        use_graph: bool = True,
        search: bool = False,
    ) -> None:
        config, group = weights.config, weights.group
        if batch < 1:
            raise ValueError(f"batch is {batch}: at least 1 is needed")
        if not 1 <= max_len <= config.max_positions:
            raise ValueError(f"max_len is {max_len}: from 1 to the model's {config.max_positions} positions is needed")
        self.weights, self.config, self.group = weights, config, group
        self.batch, self.max_len, self.sampling = batch, max_len, sampling
        self.heads, self.kv_heads = config.heads // group.size, config.kv_heads // group.size
        self._prefill_tokens = prefill_tokens
        self._use_graph = use_graph and weights.device.type == "cuda"
        self._search = search
        self._graph: Optional["torch.cuda.CUDAGraph"] = None
        self._attention = AttentionPlan()
        device = weights.device
        shape = (config.layers, batch, self.kv_heads, max_len, config.head_dim)
        self.k_cache = torch.zeros(shape, dtype=config.dtype, device=device)
        self.v_cache = torch.zeros(shape, dtype=config.dtype, device=device)
        # What a step reads and advances: the tokens so far, how many each sequence has in the cache, the newest.
        self.tokens = torch.zeros((batch, max_len + 1), dtype=torch.int64, device=device)
        self.positions = torch.zeros(batch, dtype=torch.int32, device=device)
        self.newest = torch.zeros(batch, dtype=torch.int64, device=device)
        self.logits: Optional[Tensor] = None
        self._longest = 0

    @property
    def captured(self) -> bool:
        """Whether the decode step is a CUDA graph by now."""
        return self._graph is not None

    def close(self) -> None:
        """Lets the captured step go; a later decode() captures it anew.

        With several ranks this comes before torch.distributed.destroy_process_group(), which waits for every graph that has
        communication in it.
        """
        if self._graph is not None:
            self._graph.reset()
            self._graph = None

    def describe(self) -> str:
        """How a step runs, in a few words."""
        a = self._attention
        return (
            f"{'graph' if self.captured else 'no graph'}; attention: pieces {a.splits}; block {a.block}; warps {a.warps}; "
            f"stages {a.stages}{'; searched' if self._search else ''}"
        )

    # ------------------------------------------------------------------------------------------------- one layer

    def _norm(self, x: Tensor, delta: Optional[Tensor], bias: Optional[Tensor], norm: Norm) -> Tensor:
        return kernels.add_norm(x, delta, bias, norm.weight, norm.shift, self.config.eps)

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = F.embedding(tokens, self.weights.embedding)
        if self.weights.positions is not None:
            x += F.embedding(positions, self.weights.positions)
        return x

    def _feed_forward(self, layer: Layer, h: Tensor, many: bool) -> Tensor:
        if layer.up_bias is not None:
            f = layer.up.bias_relu(h, layer.up_bias) if not many else kernels.bias_relu_(layer.up.many(h), layer.up_bias)
        else:
            f = kernels.silu_mul(layer.up.many(h) if many else layer.up(h))
        return self.group.sum(layer.down.many(f) if many else layer.down(f))

    # -------------------------------------------------------------------------------------------------- decoding

    def _forward_one(self) -> Tensor:
        """Logits of the newest token of each sequence; its key and value go to the cache."""
        x = self._embed(self.newest, self.positions)
        delta = bias = None
        for number, layer in enumerate(self.weights.layers):
            h = self._norm(x, delta, bias, layer.norm1)
            a = kernels.decode_attention(
                layer.qkv(h), layer.qkv_bias, self.k_cache[number], self.v_cache[number], self.positions,
                self.heads, self.weights.rotary, self._attention,
            )  # fmt: skip
            h = self._norm(x, self.group.sum(layer.out(a)), layer.out_bias, layer.norm2)
            delta, bias = self._feed_forward(layer, h, many=False), layer.down_bias
        return self._head(self._norm(x, delta, bias, self.weights.norm))

    def _head(self, h: Tensor) -> Tensor:
        return self.group.gather_columns(self.weights.head(h))

    def _step(self) -> None:
        logits = self._forward_one()
        if self.logits is None:
            self.logits = torch.empty_like(logits)
        self.logits.copy_(logits)
        self._accept(self.sampling(logits))

    def _accept(self, chosen: Tensor) -> None:
        self.newest.copy_(chosen)
        self.positions += 1
        self.tokens.scatter_(1, self.positions[:, None].long(), chosen[:, None])

    @torch.inference_mode()
    def capture(self, context: Optional[int] = None) -> None:
        """Chooses kernels, and captures the decode step. Called by the first decode(); the cache's state is kept.

        Args:
            context: the context to choose the attention's kernel for; the middle of the cache if not given.
        """
        if not self._use_graph or self._graph is not None:
            return
        with torch.cuda.device(self.weights.device):
            # The steps before the capture write one position of the cache, which is put back.
            at = min(context or self.max_len // 2, self.max_len - 1)
            caches = (self.k_cache[:, :, :, at], self.v_cache[:, :, :, at])
            state = (self.tokens, self.positions, self.newest, *caches)
            kept = [tensor.clone() for tensor in state]
            self.positions.fill_(at)
            self._attention = self._choose_attention()
            if self._search:
                self._choose_products()
            # Graphs are captured away from the default stream, and so is what they need warmed up.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self.positions.fill_(at)
                    self._step()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Communication libraries have threads of their own, whose calls do not concern the capture.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
            for tensor, value in zip(state, kept):
                tensor.copy_(value)
            self._graph = graph

    def _choose_attention(self) -> AttentionPlan:
        """The fastest way for this batch at the current positions."""
        sms = torch.cuda.get_device_properties(self.weights.device).multi_processor_count
        programs = self.batch * self.kv_heads
        splits = 1
        while programs * splits < 2 * sms and splits * 64 < self.max_len and splits < 32:
            splits *= 2
        qkv = torch.zeros(
            (self.batch, (self.heads + 2 * self.kv_heads) * self.config.head_dim),
            dtype=self.config.dtype, device=self.weights.device,
        )  # fmt: skip
        plans = [
            AttentionPlan(pieces, block, warps, stages)
            for pieces in (splits, 2 * splits)
            for block, warps, stages in ATTENTION_SHAPES
        ]
        layers = min(self.config.layers, 8)  # rotating: as in a step, each finds its cache cold

        def run(plan: AttentionPlan) -> Callable[[], Any]:
            def all_layers() -> None:
                for number in range(layers):
                    kernels.decode_attention(
                        qkv, None, self.k_cache[number], self.v_cache[number], self.positions, self.heads,
                        self.weights.rotary, plan,
                    )  # fmt: skip

            return all_layers

        chosen: AttentionPlan = kernels.fastest({plan: run(plan) for plan in plans}, repeats=3)
        return chosen

    def _choose_products(self) -> None:
        """The fastest way for this batch of every shape of compressed matrix."""
        inputs: dict[int, Tensor] = {}
        for layer in self.weights.layers:
            for linear in layer.linears().values():
                if isinstance(linear, SparseLinear):
                    cols = linear.matrix.shape[1]
                    if cols not in inputs:
                        inputs[cols] = torch.randn(
                            (self.batch, cols), dtype=self.config.dtype, device=self.weights.device
                        )
                    linear.decide(inputs[cols])

    def start_at(self, context: int) -> None:
        """Pretends that each sequence has `context` tokens, of random keys and values: for measurements."""
        if not 1 <= context < self.max_len:
            raise ValueError(f"context is {context}: from 1 to {self.max_len - 1} is needed")
        with torch.no_grad():
            for cache in (self.k_cache, self.v_cache):
                for part in cache:
                    part.normal_()
            self.tokens.zero_()
            self.positions.fill_(context)
            # The same on every rank.
            self.newest.copy_(torch.arange(self.batch) * 7919 % self.config.vocab)
        self._longest = context

    @torch.inference_mode()
    def decode(self, steps: int = 1) -> None:
        """Makes `steps` more tokens of each sequence. Returns when they are on the stream, not when they are done."""
        if self._longest < 1 or self._longest + steps > self.max_len:
            raise ValueError(
                f"steps is {steps}: the cache of {self.max_len} has {self._longest} positions in use, and prefill() comes "
                "first"
            )
        if self._use_graph and self._graph is None:
            self.capture()
        for _ in range(steps):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._step()
        self._longest += steps

    # --------------------------------------------------------------------------------------------------- prompts

    @torch.inference_mode()
    def prefill(self, prompts: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """Reads the prompts into the cache and chooses the first new token.

        Args:
            prompts: [batch, longest prompt] token numbers, padded at the end with anything.
            lengths: [batch], tokens of each prompt; all of them if not given.

        Returns:
            The logits after each prompt, [batch, vocabulary].
        """
        device = self.weights.device
        batch, longest = prompts.shape
        if batch != self.batch or not 1 <= longest <= self.max_len:
            raise ValueError(
                f"prompts has shape {tuple(prompts.shape)}: ({self.batch}, 1 to {self.max_len}) is needed"
            )
        prompts = prompts.to(device)
        if lengths is None:
            lengths = torch.full((batch,), longest)
        lengths = lengths.to(device)
        if lengths.shape != (batch,) or int(lengths.min()) < 1 or int(lengths.max()) > longest:
            raise ValueError(f"lengths must be {batch} numbers from 1 to {longest}")
        self.tokens.zero_()
        self.tokens[:, :longest] = prompts
        step = max(1, self._prefill_tokens // longest)
        logits = torch.cat(
            [
                self._prefill_part(prompts[at : at + step], lengths[at : at + step], at)
                for at in range(0, batch, step)
            ]
        )
        # A sequence's own tokens end at its length; what pads it in the cache is overwritten before it is read.
        self.positions.copy_(lengths - 1)
        self._longest = longest
        self._accept(self.sampling(logits))
        return logits

    def _prefill_part(self, prompts: Tensor, lengths: Tensor, first: int) -> Tensor:
        count, longest = prompts.shape
        config, rotary = self.config, self.weights.rotary
        where = torch.arange(longest, device=prompts.device)
        x = self._embed(prompts, where).view(count * longest, -1)
        delta = bias = None
        for number, layer in enumerate(self.weights.layers):
            h = self._norm(x, delta, bias, layer.norm1)
            q, k, v = (
                part.unflatten(0, (count, longest)).transpose(1, 2)
                for part in kernels.split_heads(layer.qkv.many(h), layer.qkv_bias, self.heads, self.kv_heads)
            )
            if rotary is not None:
                cos, sin = rotary[0][:longest], rotary[1][:longest]
                q, k = kernels.rotate(q, cos, sin), kernels.rotate(k, cos, sin)
            self.k_cache[number, first : first + count, :, :longest] = k
            self.v_cache[number, first : first + count, :, :longest] = v
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
            a = a.transpose(1, 2).reshape(count * longest, self.heads * config.head_dim)
            h = self._norm(x, self.group.sum(layer.out.many(a)), layer.out_bias, layer.norm2)
            delta, bias = self._feed_forward(layer, h, many=True), layer.down_bias
        last = torch.arange(count, device=prompts.device) * longest + lengths - 1
        x, delta = x[last], None if delta is None else delta[last]
        return self._head(self._norm(x, delta, bias, self.weights.norm))

    @torch.inference_mode()
    def generate(
        self,
        prompts: Tensor,
        new_tokens: int,
        lengths: Optional[Tensor] = None,
        eos: Optional[int] = None,
    ) -> Tensor:
        """Continues prompts by new_tokens tokens.

        Args:
            prompts, lengths: as for prefill().
            new_tokens: how many, at least 1.
            eos: a token that ends a sequence: what follows it is eos too.

        Returns:
            [batch, new_tokens] on the model's device.
        """
        if new_tokens < 1 or prompts.shape[1] + new_tokens - 1 > self.max_len:
            raise ValueError(
                f"new_tokens is {new_tokens}: from 1 to {self.max_len - prompts.shape[1] + 1} is needed, for prompts of "
                f"{prompts.shape[1]} and a cache of {self.max_len}"
            )
        self.prefill(prompts, lengths)
        ends = self.positions.long().clone()
        self.decode(new_tokens - 1)
        columns = ends[:, None] + torch.arange(new_tokens, device=ends.device)
        made = self.tokens.gather(1, columns)
        if eos is not None:
            ended = (made == eos).cumsum(1) > 0
            made = torch.where(ended, eos, made)
        return made
