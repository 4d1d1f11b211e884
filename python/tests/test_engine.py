"""The engine against transformers: the same logits and tokens, dense and compressed, alone and in parallel."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from conftest import DEVICES, needs_gpu

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from flash_llm import engine  # noqa: E402
from flash_llm.engine import bench, kernels  # noqa: E402

BENCH = [sys.executable, "-m", "flash_llm.engine.bench"]


def pruned_model(kind: str, device: str):
    pytest.importorskip("transformers", reason="transformers is not installed")
    from test_models import random_model

    from flash_llm import prune_magnitude

    model = random_model(kind, device)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            prune_magnitude(module.weight.data, 0.7, inplace=True)
    return model


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", ["opt", "llama", "mistral", "qwen2"])
@torch.no_grad()
def test_logits_are_those_of_transformers(kind, dense, device) -> None:
    import copy

    model = pruned_model(kind, device)
    torch.manual_seed(4)
    ids = torch.randint(3, 512, (8, 30), device=device)
    exact = copy.deepcopy(model).float()(ids).logits
    limit = 2 * ((model(ids).logits - exact).norm() / exact.norm()).item()

    e = engine.Engine(engine.weights_of(model, dense=dense), batch=8, max_len=100, prefill_tokens=90)

    def error(logits, position):
        return ((logits - exact[:, position]).norm() / exact[:, position].norm()).item()

    assert error(e.prefill(ids), 29) <= limit
    e.prefill(ids[:, :10])
    for position in range(10, 30):
        e.newest.copy_(ids[:, position])  # what the text says, and not what the engine chose
        e.decode()
        assert error(e.logits, position) <= limit, f"at {position}"
    assert e.captured == (device == "cuda")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["opt", "llama"])
@torch.no_grad()
def test_greedy_tokens_are_those_of_transformers(kind, device) -> None:
    """64 tokens of 8 sequences; each choice is compared after the same prefix."""
    model = pruned_model(kind, device)
    torch.manual_seed(4)
    ids = torch.randint(3, 512, (8, 20), device=device)
    e = engine.Engine(engine.weights_of(model, dense=False), batch=8, max_len=84)
    made = e.generate(ids, 64)
    assert made.shape == (8, 64)
    whole = torch.cat((ids, made), dim=1)
    expected = model(whole).logits[:, 19:-1].argmax(-1)
    assert (made == expected).float().mean().item() >= 0.99
    assert torch.equal(e.generate(ids, 64), made), "the same again"


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_prompts_of_several_lengths(device) -> None:
    weights = engine.random_weights(engine.PRESETS["tiny-llama"], sparsity=0.6, device=device)
    torch.manual_seed(0)
    prompts, lengths = torch.randint(512, (3, 20)), torch.tensor([20, 7, 13])
    together = engine.Engine(weights, 3, 60)
    logits = [together.prefill(prompts, lengths)]
    fed = []  # to those alone too: the batch changes how sums are cut, and ties may fall the other way
    for _ in range(10):
        fed.append(together.newest.clone())
        together.decode()
        logits.append(together.logits.clone())
    for row in range(3):
        alone = engine.Engine(weights, 1, 60)
        made = [alone.prefill(prompts[row : row + 1, : lengths[row]])]
        for tokens in fed:
            alone.newest.copy_(tokens[row])
            alone.decode()
            made.append(alone.logits.clone())
        for ours, theirs in zip(made, logits):
            assert ((ours[0] - theirs[row]).float().norm() / theirs[row].float().norm()).item() < 5e-3


@pytest.mark.parametrize("device", DEVICES)
def test_two_engines_share_weights_and_end_tokens_are_kept(device, monkeypatch) -> None:
    # Not a choice by the clock, so that both add in the same order.
    monkeypatch.setattr(kernels, "fastest", lambda candidates, repeats=0: next(iter(candidates)))
    weights = engine.random_weights(engine.PRESETS["tiny-opt"], sparsity=0.8, device=device)
    prompts = torch.randint(512, (2, 8))
    one, two = (engine.Engine(weights, 2, length) for length in (40, 64))
    made = one.generate(prompts, 32)
    assert torch.equal(two.generate(prompts, 32), made)
    eos = int(made[0, 3])
    ended = one.generate(prompts, 32, eos=eos)
    first = made[0].tolist().index(eos)
    assert torch.equal(ended[0, : first + 1], made[0, : first + 1]) and (ended[0, first:] == eos).all()


@pytest.mark.parametrize("device", DEVICES)
def test_top_p_samples_from_the_likely_tokens_only(device) -> None:
    torch.manual_seed(0)
    logits = torch.log(torch.tensor([[0.5, 0.05, 0.3, 0.15]], device=device)).repeat(4000, 1)
    counts = torch.bincount(engine.Sampling(top_p=0.8)(logits), minlength=4).cpu() / 4000
    assert counts[1] == 0 and counts[3] == 0
    assert abs(counts[0].item() - 0.625) < 0.04
    assert (engine.Sampling(top_p=0.5)(logits) == 0).all()
    counts = torch.bincount(engine.Sampling(top_p=1.0)(logits), minlength=4).cpu() / 4000
    assert abs(counts[1].item() - 0.05) < 0.02
    cold = engine.Sampling(top_p=1.0, temperature=0.01)
    assert (cold(logits) == 0).all()
    weights = engine.random_weights(engine.PRESETS["tiny-opt"], sparsity=0.8, device=device)
    e = engine.Engine(weights, 4, 40, engine.Sampling(top_p=0.9))
    made = e.generate(torch.zeros(4, 8, dtype=torch.int64), 32)
    assert len({tuple(row.tolist()) for row in made}) == 4, "four sequences from one prompt part"


@pytest.mark.parametrize("device", DEVICES)
def test_random_weights_have_the_sparsity(device) -> None:
    config = engine.PRESETS["tiny-llama"]
    for copies in ("none", "all"):
        weights = engine.random_weights(config, sparsity=0.8, device=device, copies=copies)
        assert weights.sparsity == pytest.approx(0.8, abs=0.003)
        assert weights.about["copied_layers"] == (copies == "all")
        first, second = (layer.qkv.matrix for layer in weights.layers)
        assert torch.equal(first.buffer, second.buffer) == (copies == "all")
        assert first.buffer.data_ptr() != second.buffer.data_ptr(), "each layer has its own memory"
    dense = engine.random_weights(config, device=device)
    assert dense.sparsity is None
    assert dense.nbytes == 2 * config.parameters()


def test_what_cannot_be_is_refused() -> None:
    config = engine.PRESETS["tiny-opt"]
    weights = engine.random_weights(config, sparsity=0.8, device="cpu")
    with pytest.raises(ValueError, match="max_len is 513"):
        engine.Engine(weights, 1, 513)
    e = engine.Engine(weights, 2, 16)
    with pytest.raises(ValueError, match="prefill"):
        e.decode()
    with pytest.raises(ValueError, match="new_tokens is 10: from 1 to 9"):
        e.generate(torch.zeros(2, 8, dtype=torch.int64), 10)
    e.generate(torch.zeros(2, 8, dtype=torch.int64), 9)
    with pytest.raises(ValueError, match="16 has 16 positions"):
        e.decode()
    with pytest.raises(ValueError, match=r"shape \(3, 8\)"):
        e.prefill(torch.zeros(3, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="from 1 to 8"):
        e.prefill(torch.zeros(2, 8, dtype=torch.int64), torch.tensor([8, 0]))
    with pytest.raises(ValueError, match="tp is 3"):
        config.matrices(3)
    with pytest.raises(ValueError, match="top_p is 0"):
        engine.Sampling(top_p=0.0)


# ------------------------------------------------------------------------------------------------------- kernels


def both(function, *arguments, **named):
    """What the kernels and what PyTorch make of the same arguments, those that are written included."""
    results = []
    for reference in (False, True):
        copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
        on_gpu, kernels._on_gpu = kernels._on_gpu, (lambda x: False) if reference else kernels._on_gpu
        try:
            results.append((function(*copies, **named), copies))
        finally:
            kernels._on_gpu = on_gpu
    return results


def close(a: "torch.Tensor", b: "torch.Tensor", ulps: float = 2.0) -> None:
    limit = ulps * torch.finfo(a.dtype).eps * max(1.0, b.float().abs().max().item())
    assert (a.float() - b.float()).abs().max().item() <= limit


def check_kernels(device: str, dtypes) -> None:
    torch.manual_seed(0)
    for dtype in dtypes:
        def random(*shape):  # noqa: E306
            return torch.randn(shape).to(dtype).to(device)

        for heads, kv_heads, dim, rope, bias in ((4, 4, 64, False, True), (8, 2, 32, True, False), (6, 2, 16, True, True),
                                                 (16, 1, 128, True, False)):  # fmt: skip
            qkv = random(3, (heads + 2 * kv_heads) * dim)
            added = random(qkv.shape[1]) if bias else None
            caches = random(3, kv_heads, 200, dim), random(3, kv_heads, 200, dim)
            positions = torch.tensor([0, 77, 199], dtype=torch.int32, device=device)
            rotary = kernels.rotary_tables(200, dim, 1e4, torch.device(device)) if rope else None
            for plan in (kernels.AttentionPlan(), kernels.AttentionPlan(3, 32, 2, 3), kernels.AttentionPlan(8, 128, 4, 2)):
                (ours, mine), (theirs, yours) = both(
                    kernels.decode_attention, qkv, added, *caches, positions, heads, rotary, plan
                )
                close(ours, theirs, 4)
                for index in (2, 3):  # the caches
                    close(mine[index], yours[index])
                    untouched = torch.ones(3, 200, dtype=torch.bool, device=device)
                    untouched[torch.arange(3), positions.long()] = False
                    before, after = caches[index - 2].transpose(1, 2), mine[index].transpose(1, 2)
                    assert torch.equal(after[untouched], before[untouched])
        for size in (256, 300):
            for shift in (None, random(size)):
                for delta, added in ((None, None), (random(5, size), None), (random(5, size), random(size))):
                    (ours, mine), (theirs, yours) = both(
                        kernels.add_norm, random(5, size), delta, added, random(size), shift, 1e-5
                    )
                    close(mine[0], yours[0], 1)
                    close(ours, theirs, 8)
        (ours, _), (theirs, _) = both(kernels.silu_mul, random(3, 1400))
        close(ours, theirs, 1)
        (ours, _), (theirs, _) = both(kernels.bias_relu_, random(3, 5000), random(5000))
        close(ours, theirs, 1)


@needs_gpu
def test_kernels_agree_with_pytorch_on_the_gpu() -> None:
    check_kernels("cuda", [torch.float16, torch.bfloat16])


def test_kernels_agree_with_pytorch_in_tritons_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    import numpy as np

    if tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 3):
        pytest.skip("Triton's interpreter needs a numpy older than 2.3")
    # It has to be chosen before Triton is imported. bfloat16 is not what the interpreter computes well.
    code = "import torch, test_engine; test_engine.check_kernels('cpu', [torch.float16])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), capture_output=True, text=True,
        # A relative PYTHONPATH would mean another directory there.
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import torch, triton
from flash_llm.engine import kernels, model

def compiles(function, types, constants, warps=4, stages=2):
    compiled(function, types, dict(constants, OVERLAP=False), warps, stages)
    ptx = compiled(function, types, dict(constants, OVERLAP=True), warps, stages, launch_pdl=True)
    accesses = [ptx.find(access) for access in ("ld.global", "st.global", "cp.async") if access in ptx]
    assert 0 <= ptx.find("griddepcontrol.wait") < min(accesses), "it waits before it touches memory"
    return ptx

def compiled(function, types, constants, warps, stages, **options):
    names = function.arg_names
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name, kind in types.items() if kind[0] == "*"}
    source = ASTSource(function, {**types, **dict.fromkeys(constants, "constexpr")}, constants, aligned)
    made = triton.compile(source, GPUTarget("cuda", 90, 32), dict(num_warps=warps, num_stages=stages, **options))
    assert made.metadata.shared <= 227 << 10, (function, constants, made.metadata.shared)
    return made.asm["ptx"]

p, f, i = "*bf16", "*fp32", "i32"
add_norm = dict(x_ptr=p, delta_ptr=p, bias_ptr=p, weight_ptr=p, shift_ptr=p, h_ptr=p, size=i, eps="fp32")
compiles(kernels._add_norm_kernel, add_norm, dict(HAS_DELTA=True, HAS_BIAS=True, RMS=False, BLOCK=16384), 16)
compiles(kernels._bias_relu_kernel, dict(x_ptr=p, bias_ptr=p, size=i), dict(BLOCK=2048))
compiles(kernels._silu_mul_kernel, dict(x_ptr=p, y_ptr=p, size=i), dict(BLOCK=2048))
compiles(kernels._combine_kernel, dict(part_ptr=f, out_ptr=p, splits=i), dict(D=128, PIECES=64), 2)
attention = dict(qkv_ptr=p, bias_ptr=p, k_ptr=p, v_ptr=p, position_ptr="*i32", cos_ptr=f, sin_ptr=f, out_ptr=p, part_ptr=f,
                 scale="fp32", capacity=i, splits=i)
for block, warps, stages in model.ATTENTION_SHAPES:
    ptx = compiles(kernels._decode_attention_kernel, attention,
                   dict(H=64, KV=8, G=8, D=128, ROWS=16, BLOCK=block, HAS_BIAS=True, ROPE=True, PARTS=True), warps, stages)
    assert "mma" in ptx and "cp.async" in ptx, "on Tensor Cores, the next block on its way"
"""


def test_kernels_compile_for_hopper(tmp_path) -> None:
    """Without a GPU too: what Triton's interpreter runs need not be what its compiler takes."""
    language = pytest.importorskip("triton.language", reason="Triton is not installed")
    if not hasattr(language.extra.cuda, "gdc_wait"):
        pytest.skip("this Triton launches no kernel early, and the engine runs without its kernels")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@needs_gpu
@pytest.mark.parametrize("name", ["tiny-opt", "tiny-llama"])
def test_bfloat16_on_the_gpu(name) -> None:
    config = engine.PRESETS[name].scaled(dtype=torch.bfloat16)
    weights = engine.random_weights(config, sparsity=0.7, device="cuda")
    prompts = torch.randint(512, (4, 16))
    graph, plain = (engine.Engine(weights, 4, 64, use_graph=use) for use in (True, False))
    made = graph.generate(prompts, 40)
    plain._attention = graph._attention
    assert torch.equal(made, plain.generate(prompts, 40))


@needs_gpu
def test_a_graph_makes_the_tokens_that_launches_make() -> None:
    weights = engine.random_weights(engine.PRESETS["tiny-opt"], sparsity=0.8, device="cuda")
    prompts = torch.randint(512, (16, 16))
    graph, plain = (engine.Engine(weights, 16, 200, use_graph=use) for use in (True, False))
    made = graph.generate(prompts, 150)
    plain._attention = graph._attention
    assert graph.captured and not plain.captured
    assert torch.equal(made, plain.generate(prompts, 150))


# ------------------------------------------------------------------------------------------- processes and bench


PARALLEL = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, {tests!r})
import torch.multiprocessing as mp

def work(rank, size, port, path, device):
    if device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method=f"tcp://127.0.0.1:{{port}}",
                            rank=rank, world_size=size)
    from flash_llm import engine
    from test_engine import pruned_model
    for kind in ("opt", "llama"):
        model = pruned_model(kind, device)
        for dense in (True, False):
            e = engine.Engine(engine.weights_of(model, dense=dense, group=engine.Group()), batch=4, max_len=60)
            ids = torch.arange(4 * 12).view(4, 12) * 7 % 509 + 3
            logits = e.prefill(ids.to(device))
            tokens = e.generate(ids, 32)
            torch.save((logits.cpu(), tokens.cpu()), f"{{path}}/{{kind}}-{{dense}}-{{size}}-{{rank}}.pt")
            e.close()
    dist.destroy_process_group()

if __name__ == "__main__":
    import socket
    for size in (1, 2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.spawn(work, (size, port, {path!r}, {device!r}), nprocs=size)
"""


@pytest.mark.parametrize("device", DEVICES)
def test_a_closed_engine_captures_again_and_makes_the_same(device) -> None:
    weights = engine.random_weights(engine.PRESETS["tiny-opt"], sparsity=0.8, device=device)
    e = engine.Engine(weights, batch=2, max_len=40)
    ids = torch.arange(2 * 12).view(2, 12) * 7 % 97 + 3
    first = e.generate(ids, 8)
    assert e.captured == (device == "cuda")
    e.close()
    assert not e.captured
    assert torch.equal(e.generate(ids, 8), first)


@pytest.mark.parametrize("device", DEVICES)
def test_two_ranks_make_what_one_makes(device, tmp_path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL.format(tests=os.path.dirname(__file__), path=str(tmp_path), device=device))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for kind in ("opt", "llama"):
        for dense in (True, False):
            (one, tokens), *parts = (
                torch.load(tmp_path / f"{kind}-{dense}-{size}-{rank}.pt") for size, rank in ((1, 0), (2, 0), (2, 1))
            )
            for logits, made in parts:
                assert ((logits - one).norm() / one.norm()).item() < 5e-3
                assert (made[:, 0] == tokens[:, 0]).all()
            assert torch.equal(parts[0][0], parts[1][0]) and torch.equal(parts[0][1], parts[1][1])


@pytest.mark.parametrize("device", DEVICES)
def test_the_benchmark_writes_rows(device, tmp_path) -> None:
    out = tmp_path / "rows.csv"
    done = subprocess.run(
        [*BENCH, "--model", "tiny-llama", "--dense", "--sparse", "--sparsity", "0.6,0.8", "--batch", "2,4", "--steps", "6",
         "--context", "40", "--device", device, "--profile", "--out", str(out), "--commit", "abc"]
        + (["--no-graph"] if device == "cpu" else []),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == bench.COLUMNS
    assert [(r["sparsity"][:3], r["n"]) for r in rows] == [
        ("", "2"), ("", "4"), ("0.6", "2"), ("0.6", "4"), ("0.8", "2"), ("0.8", "4")
    ] or all(abs(float(r["sparsity"] or s) - s) < 0.01 for r, s in zip(rows, (0, 0, 0.6, 0.6, 0.8, 0.8)))  # fmt: skip
    for row in rows:
        assert row["op"] == "e2e" and row["commit"] == "abc" and row["context"] == "40" and row["note"] == ""
        assert float(row["tokens_per_s"]) > 0 and float(row["ms_p50"]) <= float(row["ms_p99"])
    assert int(rows[4]["bytes"]) < int(rows[2]["bytes"]) < int(rows[0]["bytes"])
    with (tmp_path / "rows-profile.csv").open() as file:
        profile = list(csv.DictReader(file))
    assert {row["part"] for row in profile} >= {"idle"} and all(float(row["us"]) >= 0 for row in profile)


def test_the_benchmark_generates_from_prompts(tmp_path) -> None:
    out = tmp_path / "rows.csv"
    assert bench.main(["--model", "tiny-opt", "--device", "cpu", "--prompt", "8", "--new", "8", "--out", str(out)]) == 0
    with out.open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["prefill_ms"]) > 0 and row["steps"] == "7" and row["prompt"] == "8"
    with pytest.raises(SystemExit):
        bench.main(["--model", "tiny-opt", "--steps", "0"])
