"""The elementwise and attention steps of a decoder layer: Triton on a GPU, plain PyTorch on the host.

Both forms are the same function, which tests/test_engine.py checks, so that the engine's text has one path.
Sums are in fp32, and each result is rounded once to the model's type.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import functools
import os
from typing import Any, Callable, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .._library import FlashLLMError

try:
    import triton
    import triton.language as tl
except ImportError:  # a PyTorch without Triton has no GPU either
    triton = None

# Triton's interpreter runs the kernels on the host, for the tests.
_INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"


def _on_gpu(x: Tensor) -> bool:
    return triton is not None and (x.is_cuda or _INTERPRET)


# Where they can, from Hopper on, kernels are launched before the one ahead of them has ended, and let the next one do the
# same: programmatic dependent launch. Measurements of single kernels switch it off.
_overlap_allowed = True


def allow_overlap(allowed: bool) -> None:
    """Whether what is launched, or captured, from now on may overlap."""
    global _overlap_allowed
    _overlap_allowed = allowed


@functools.cache
def _can_overlap(device: torch.device) -> bool:
    if triton is None or device.type != "cuda" or not hasattr(tl.extra.cuda, "gdc_wait"):
        return False
    return torch.cuda.get_device_capability(device)[0] >= 9


def overlaps(device: torch.device) -> bool:
    """Whether kernels on this device overlap."""
    return _overlap_allowed and _can_overlap(device)


def _overlap(device: torch.device) -> dict[str, bool]:
    """What is launched so is told so; an old Triton does not know the second argument."""
    return {"OVERLAP": True, "launch_pdl": True} if overlaps(device) else {"OVERLAP": False}


class AttentionPlan(NamedTuple):
    """How decode_attention() runs: in how many pieces it cuts the context, and the shape of its kernel."""

    splits: int = 1
    block: int = 64
    warps: int = 4
    stages: int = 2


if triton is not None:

    @triton.jit
    def _begin(OVERLAP: tl.constexpr):
        """Comes before everything else: lets the next kernel be launched, and waits for what the ones before wrote."""
        if OVERLAP:
            tl.extra.cuda.gdc_launch_dependents()
            tl.extra.cuda.gdc_wait()

    @triton.jit
    def _add_norm_kernel(
        x_ptr, delta_ptr, bias_ptr, weight_ptr, shift_ptr, h_ptr, size, eps,
        HAS_DELTA: tl.constexpr, HAS_BIAS: tl.constexpr, RMS: tl.constexpr, BLOCK: tl.constexpr,
        OVERLAP: tl.constexpr,
    ):  # fmt: skip
        """A program a row. x += delta + bias, rounded; h = norm(x)."""
        _begin(OVERLAP)
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        inside = at < size
        x = tl.load(x_ptr + row * size + at, mask=inside, other=0.0).to(tl.float32)
        if HAS_DELTA:
            x += tl.load(delta_ptr + row * size + at, mask=inside, other=0.0).to(tl.float32)
            if HAS_BIAS:
                x += tl.load(bias_ptr + at, mask=inside, other=0.0).to(tl.float32)
            rounded = x.to(x_ptr.dtype.element_ty)
            tl.store(x_ptr + row * size + at, rounded, mask=inside)
            x = rounded.to(tl.float32)
        weight = tl.load(weight_ptr + at, mask=inside, other=0.0).to(tl.float32)
        if RMS:
            h = x * tl.rsqrt(tl.sum(x * x, axis=0) / size + eps) * weight
        else:
            x = tl.where(inside, x - tl.sum(x, axis=0) / size, 0.0)
            h = x * tl.rsqrt(tl.sum(x * x, axis=0) / size + eps) * weight
            h += tl.load(shift_ptr + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(h_ptr + row * size + at, h.to(h_ptr.dtype.element_ty), mask=inside)

    @triton.jit
    def _bias_relu_kernel(x_ptr, bias_ptr, size, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
        """x = relu(x + bias), in place. Grid (rows, blocks of columns)."""
        _begin(OVERLAP)
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = at < size
        x_at = x_ptr + tl.program_id(0).to(tl.int64) * size + at
        x = tl.load(x_at, mask=inside).to(tl.float32) + tl.load(bias_ptr + at, mask=inside).to(tl.float32)
        tl.store(x_at, tl.maximum(x, 0.0).to(x_ptr.dtype.element_ty), mask=inside)

    @triton.jit
    def _silu_mul_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
        """y [rows, size] = silu(x[:, :size]) * x[:, size:]. Grid (rows, blocks of columns)."""
        _begin(OVERLAP)
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = at < size
        row = tl.program_id(0).to(tl.int64)
        gate = tl.load(x_ptr + row * 2 * size + at, mask=inside).to(tl.float32)
        up = tl.load(x_ptr + row * 2 * size + size + at, mask=inside).to(tl.float32)
        tl.store(y_ptr + row * size + at, (gate * tl.sigmoid(gate) * up).to(y_ptr.dtype.element_ty), mask=inside)

    @triton.jit
    def _head_vector(qkv_ptr, bias_ptr, head, d, mask, D: tl.constexpr, HAS_BIAS: tl.constexpr):
        """A head's vector(s) with the bias of the projection, in fp32."""
        x = tl.load(qkv_ptr + head * D + d, mask=mask, other=0.0).to(tl.float32)
        if HAS_BIAS:
            x += tl.load(bias_ptr + head * D + d, mask=mask, other=0.0).to(tl.float32)
        return x

    # Not compiled anew for other capacities and numbers of pieces: heads of D elements keep the addresses aligned anyhow.
    @triton.jit(do_not_specialize=["capacity", "splits"])
    def _decode_attention_kernel(
        qkv_ptr, bias_ptr, k_ptr, v_ptr, position_ptr, cos_ptr, sin_ptr, out_ptr, part_ptr, scale, capacity, splits,
        H: tl.constexpr, KV: tl.constexpr, G: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
        HAS_BIAS: tl.constexpr, ROPE: tl.constexpr, PARTS: tl.constexpr, OVERLAP: tl.constexpr,
    ):  # fmt: skip
        """One new token for each sequence: finishes q, k and v (bias, rotation), appends k and v to the cache, attends.

        A program for each (sequence, key head, piece of the context) serves the G query heads of its key head, padded
        to ROWS so that the products run on Tensor Cores. The new token takes part from registers, in piece 0, which is
        also the one that stores it: no program reads what another one writes. With PARTS each program leaves its
        unnormalised sum, maximum and weight for _combine_kernel.
        """
        _begin(OVERLAP)
        b = tl.program_id(0).to(tl.int64)
        kv = tl.program_id(1)
        piece = tl.program_id(2)
        position = tl.load(position_ptr + b)
        d = tl.arange(0, D)
        r = tl.arange(0, ROWS)
        used = (r < G)[:, None] & (d >= 0)[None, :]
        head = kv * G + r
        qkv_ptr += b * (H + 2 * KV) * D

        q = _head_vector(qkv_ptr, bias_ptr, head[:, None], d[None, :], used, D, HAS_BIAS)
        k_new = _head_vector(qkv_ptr, bias_ptr, H + kv, d, d >= 0, D, HAS_BIAS)
        v_new = _head_vector(qkv_ptr, bias_ptr, H + KV + kv, d, d >= 0, D, HAS_BIAS)
        if ROPE:
            other = (d + D // 2) % D
            sign = tl.where(d < D // 2, -1.0, 1.0)
            angle = position * (D // 2) + d % (D // 2)
            cos = tl.load(cos_ptr + angle)
            sin = tl.load(sin_ptr + angle) * sign
            q_other = _head_vector(qkv_ptr, bias_ptr, head[:, None], other[None, :], used, D, HAS_BIAS)
            q = q * cos[None, :] + q_other * sin[None, :]
            k_new = k_new * cos + _head_vector(qkv_ptr, bias_ptr, H + kv, other, d >= 0, D, HAS_BIAS) * sin
        dtype: tl.constexpr = k_ptr.dtype.element_ty
        q = q.to(dtype)
        k_new = k_new.to(dtype)
        v_new = v_new.to(dtype)
        cache = (b * KV + kv) * capacity * D
        k_ptr += cache
        v_ptr += cache
        first = piece == 0
        # All of the first piece and none of the others: Triton's interpreter does not take `first` for a mask of d's shape.
        own = d + piece * D < D
        tl.store(k_ptr + position * D + d, k_new, mask=own)
        tl.store(v_ptr + position * D + d, v_new, mask=own)

        # exp2 with the scale times log2(e): one instruction. -1e30 stands for minus infinity without making NaN.
        scale = scale * 1.4426950408889634
        score = tl.sum(q.to(tl.float32) * k_new.to(tl.float32)[None, :], axis=1) * scale
        top = tl.where(first, score, -1e30)
        weight = tl.where(first, 1.0, 0.0) + tl.zeros([ROWS], tl.float32)
        total = tl.where(first, v_new.to(tl.float32), 0.0)[None, :] + tl.zeros([ROWS, D], tl.float32)

        span = tl.cdiv(tl.cdiv(position, splits), BLOCK) * BLOCK
        begin = piece * span
        end = tl.minimum(begin + span, position)
        for start in range(begin, end, BLOCK):
            n = start + tl.arange(0, BLOCK)
            there = n < end
            at = n[:, None] * D + d[None, :]
            k = tl.load(k_ptr + at, mask=there[:, None], other=0.0)
            s = tl.dot(q, tl.trans(k)) * scale
            s = tl.where(there[None, :], s, -1e30)
            new_top = tl.maximum(top, tl.max(s, axis=1))
            shrink = tl.exp2(top - new_top)
            p = tl.exp2(s - new_top[:, None])
            weight = weight * shrink + tl.sum(p, axis=1)
            v = tl.load(v_ptr + at, mask=there[:, None], other=0.0)
            total = total * shrink[:, None] + tl.dot(p.to(dtype), v)
            top = new_top

        if PARTS:
            part = ((b * H + head) * splits + piece) * (D + 2)
            tl.store(part_ptr + part[:, None] + d[None, :], total, mask=used)
            tl.store(part_ptr + part + D, top, mask=r < G)
            tl.store(part_ptr + part + D + 1, weight, mask=r < G)
        else:
            out = total / weight[:, None]
            tl.store(out_ptr + (b * H + head)[:, None] * D + d[None, :], out.to(dtype), mask=used)

    @triton.jit(do_not_specialize=["splits"])
    def _combine_kernel(part_ptr, out_ptr, splits, D: tl.constexpr, PIECES: tl.constexpr, OVERLAP: tl.constexpr):
        """Joins the pieces of a (sequence, head), one program each."""
        _begin(OVERLAP)
        row = tl.program_id(0).to(tl.int64)
        piece = tl.arange(0, PIECES)
        d = tl.arange(0, D)
        there = piece < splits
        part = (row * splits + piece) * (D + 2)
        top = tl.load(part_ptr + part + D, mask=there, other=-1e30)
        factor = tl.exp2(top - tl.max(top, axis=0))
        weight = tl.load(part_ptr + part + D + 1, mask=there, other=0.0)
        total = tl.load(part_ptr + part[:, None] + d[None, :], mask=there[:, None], other=0.0)
        out = tl.sum(total * factor[:, None], axis=0) / tl.sum(weight * factor, axis=0)
        tl.store(out_ptr + row * D + d, out.to(out_ptr.dtype.element_ty))


def add_norm(
    x: Tensor,
    delta: Optional[Tensor],
    bias: Optional[Tensor],
    weight: Tensor,
    shift: Optional[Tensor],
    eps: float,
) -> Tensor:
    """x += delta + bias in place, then a norm of x: LayerNorm with a shift, RMSNorm without.

    x, delta: [tokens, hidden], contiguous. bias, weight, shift: [hidden].
    """
    rows, size = x.shape
    if _on_gpu(x):
        h = torch.empty_like(x)
        block = triton.next_power_of_2(size)
        # What is absent is never read: any tensor stands in for it.
        _add_norm_kernel[(rows,)](
            x, x if delta is None else delta, x if bias is None else bias, weight, x if shift is None else shift, h,
            size, eps,
            HAS_DELTA=delta is not None, HAS_BIAS=bias is not None, RMS=shift is None, BLOCK=block,
            num_warps=min(16, max(4, block // 1024)), **_overlap(x.device),
        )  # fmt: skip
        return h
    if delta is not None:
        total = x.float() + delta.float()
        x.copy_(total if bias is None else total + bias.float())
    if shift is None:
        return F.rms_norm(x.float(), (size,), weight.float(), eps).to(x.dtype)
    return F.layer_norm(x.float(), (size,), weight.float(), shift.float(), eps).to(x.dtype)


def bias_relu_(x: Tensor, bias: Tensor) -> Tensor:
    """x [tokens, size] = relu(x + bias), in place."""
    if _on_gpu(x):
        rows, size = x.shape
        _bias_relu_kernel[(rows, triton.cdiv(size, 2048))](
            x, bias, size, BLOCK=2048, num_warps=4, **_overlap(x.device)
        )
        return x
    return x.copy_((x.float() + bias.float()).relu_())


def silu_mul(x: Tensor) -> Tensor:
    """silu(gate) * up, of x [tokens, 2 ffn] = gate beside up."""
    size = x.shape[1] // 2
    if _on_gpu(x):
        y = torch.empty((x.shape[0], size), dtype=x.dtype, device=x.device)
        _silu_mul_kernel[(x.shape[0], triton.cdiv(size, 2048))](
            x, y, size, BLOCK=2048, num_warps=4, **_overlap(x.device)
        )
        return y
    gate, up = x.float().chunk(2, dim=1)
    return (F.silu(gate) * up).to(x.dtype)


def rotary_tables(positions: int, head_dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary embedding, [positions, head_dim / 2] in fp32."""
    inverse = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim)
    angles = torch.arange(positions, dtype=torch.float64, device=device)[:, None] * inverse
    return angles.cos().float().contiguous(), angles.sin().float().contiguous()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The rotary embedding of x [..., head_dim]; cos and sin [..., head_dim / 2] broadcast to it."""
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(x.dtype)


def split_heads(qkv: Tensor, bias: Optional[Tensor], heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v as [tokens, heads of it, head_dim]: views of qkv, to which the bias of the projection is added."""
    if bias is not None:
        qkv += bias  # PyTorch adds in fp32 and rounds once
    q, k, v = qkv.unflatten(-1, (heads + 2 * kv_heads, -1)).split((heads, kv_heads, kv_heads), dim=-2)
    return q, k, v


def decode_attention(
    qkv: Tensor,
    bias: Optional[Tensor],
    k_cache: Tensor,
    v_cache: Tensor,
    positions: Tensor,
    heads: int,
    rotary: Optional[tuple[Tensor, Tensor]],
    plan: AttentionPlan,
) -> Tensor:
    """Attention of one new token for each sequence over its cache, to which its key and value are appended.

    Args:
        qkv: [batch, (heads + 2 kv_heads) head_dim], the projection without its bias.
        bias: of the projection, or None.
        k_cache, v_cache: [batch, kv_heads, capacity, head_dim]; row positions[b] is written.
        positions: [batch] int32, tokens in the cache so far.
        heads: query heads.
        rotary: rotary_tables(), or None.
        plan: see AttentionPlan.

    Returns:
        [batch, heads * head_dim].
    """
    batch, kv_heads, capacity, head_dim = k_cache.shape
    scale = head_dim**-0.5
    if _on_gpu(qkv):
        out = torch.empty((batch, heads * head_dim), dtype=qkv.dtype, device=qkv.device)
        parts = out
        if plan.splits > 1:
            parts = torch.empty((batch * heads * plan.splits, head_dim + 2), dtype=torch.float32, device=qkv.device)
        group = heads // kv_heads
        cos, sin = rotary if rotary is not None else (qkv, qkv)
        _decode_attention_kernel[(batch, kv_heads, plan.splits)](
            qkv, qkv if bias is None else bias, k_cache, v_cache, positions, cos, sin, out, parts, scale, capacity, plan.splits,
            H=heads, KV=kv_heads, G=group, D=head_dim, ROWS=max(16, triton.next_power_of_2(group)), BLOCK=plan.block,
            HAS_BIAS=bias is not None, ROPE=rotary is not None, PARTS=plan.splits > 1,
            num_warps=plan.warps, num_stages=plan.stages, **_overlap(qkv.device),
        )  # fmt: skip
        if plan.splits > 1:
            _combine_kernel[(batch * heads,)](
                parts, out, plan.splits, D=head_dim, PIECES=triton.next_power_of_2(plan.splits), num_warps=2,
                **_overlap(qkv.device),
            )  # fmt: skip
        return out
    q, k, v = split_heads(qkv, bias, heads, kv_heads)
    where = positions.long()
    if rotary is not None:
        cos, sin = (table[where][:, None] for table in rotary)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    rows = torch.arange(batch, device=qkv.device)
    k_cache[rows, :, where] = k
    v_cache[rows, :, where] = v
    longest = int(where.max()) + 1
    mask = torch.arange(longest, device=qkv.device)[None] <= where[:, None]
    out = F.scaled_dot_product_attention(
        q[:, :, None].float(),
        k_cache[:, :, :longest].float(),
        v_cache[:, :, :longest].float(),
        attn_mask=mask[:, None, None],
        enable_gqa=heads != kv_heads,
    )
    return out.reshape(batch, heads * head_dim).to(qkv.dtype)


# What a candidate may fail with because there is too little of something, and another one may not.
_TOO_LARGE: tuple[type[Exception], ...] = (torch.OutOfMemoryError, FlashLLMError)
if triton is not None:
    _TOO_LARGE += (triton.runtime.errors.OutOfResources,)


def fastest(candidates: dict[Any, Callable[[], Any]], repeats: int = 10) -> Any:
    """The key of the candidate that takes the least time on the current CUDA device. Runs each once before timing."""
    times = {}
    failure: Optional[Exception] = None
    for key, run in candidates.items():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        try:
            run()
            # The queue gets ahead of the GPU, so that what is timed is not the launching.
            torch.cuda._sleep(10_000_000)
            start.record()
            for _ in range(repeats):
                run()
            end.record()
        except _TOO_LARGE as error:
            failure = error
            continue
        end.synchronize()
        times[key] = start.elapsed_time(end)
    if not times:
        assert failure is not None, "there are candidates"
        raise failure
    return min(times, key=lambda key: times[key])
