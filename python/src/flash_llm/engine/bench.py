"""Measures the engine: python -m flash_llm.engine.bench --model opt-30b --dense --sparse --sparsity 0.8 --batch 8,16

Rows are appended to a CSV file, with the columns of the other benchmarks and some of their own (docs/end-to-end.md). A
model is made once and serves all batches. With --steps only so many decode steps are timed, around --context; without
it, prompts are read and --new tokens made.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import datetime
import gc
import math
import os
import re
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Optional, Sequence

import torch

from .. import build_info
from .._library import FlashLLMError, Status
from .config import PRESETS, ModelConfig
from .kernels import allow_overlap
from .model import Engine, Sampling
from .parallel import Group
from .weights import SparseLinear, Weights, free_scratch, random_weights

COLUMNS = (
    "date,commit,device,driver,toolkit,op,format,dtype,m,k,n,sparsity,us,us_p5,us_p95,baseline,baseline_us,ratio,bytes,"
    "gbps,floor_fraction,kernel,"
    "model,layers,gpus,batch,context,prompt,new,steps,tokens_per_s,tokens_per_gpu_s,ms_p50,ms_p99,prefill_ms,"
    "prefill_tokens_per_s,peak_bytes,device_bytes,build_s,copied_layers,note"
).split(",")

PROFILE_COLUMNS = "date,commit,device,model,format,sparsity,gpus,batch,context,part,kernel,calls,us,share".split(",")

# What a kernel's name says it is for; the first that matches.
PARTS = (
    ("attention", r"_decode_attention|_combine_kernel"),
    ("norm", r"_add_norm"),
    ("activation", r"_bias_relu|_silu_mul"),
    ("sparse product", r"^fl_|spmm"),
    ("communication", r"nccl"),
    ("dense product", r"gemm|gemv|cutlass|cublas|nvjet|xmma|splitK|aten::(add)?mm"),
    ("sampling and embedding", r""),
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = _arguments(argv)
    # The profiler runs more than once, and CUDA graphs do not survive that CUPTI is taken down and set up again.
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
    if "RANK" in os.environ:  # started by torchrun
        return _worker(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])), args, None)
    elif args.tp > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        torch.multiprocessing.spawn(_spawned, (args, port), nprocs=args.tp)
        return 0
    return _worker(0, args, None)


def _spawned(rank: int, args: argparse.Namespace, port: int) -> None:
    sys.exit(_worker(rank, args, port))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _fractions(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="flash_llm.engine.bench", description=__doc__)
    parser.add_argument("--model", required=True, choices=sorted(PRESETS))
    parser.add_argument("--layers", type=int, help="so many layers and not the model's: for trying things")
    parser.add_argument("--dense", action="store_true", help="measure dense weights")
    parser.add_argument("--sparse", action="store_true", help="measure compressed weights (the default)")
    parser.add_argument("--sparsity", type=_fractions, default=[0.8], help="fractions of zeros, default 0.8")
    parser.add_argument("--format", default="auto", choices=["auto", "slots", "banked", "sell", "bitmap", "tiled_csl"])
    parser.add_argument("--prefer", default="speed", choices=["speed", "size", "columns", "few_columns"], help="what format auto chooses for")
    parser.add_argument("--batch", type=_numbers, default=[8], help="sequences, for instance 8,16,32")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=512, help="tokens made for each prompt")
    parser.add_argument("--steps", type=int, help="time only so many decode steps, around --context, without prompts")
    parser.add_argument("--context", type=int, default=320, help="with --steps: tokens in the cache half way through")
    parser.add_argument("--top-p", type=float, help="sample, and not the likeliest token")
    parser.add_argument("--tp", type=int, default=1, help="devices that share the model")
    parser.add_argument("--copies", default="auto", choices=["auto", "none", "all"], help="see random_weights()")
    parser.add_argument("--prefill-tokens", type=int, default=8192, help="tokens of prompts worked on together")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--no-graph", action="store_true", help="launch each kernel, and not a CUDA graph")
    parser.add_argument("--profile", action="store_true", help="tell where a decode step's time goes, by kernel")
    parser.add_argument(
        "--no-overlap", action="store_true",
        help="begin each kernel when the one before has ended, so that the times of --profile add up; appends no row",
    )  # fmt: skip
    parser.add_argument(
        "--search", action="store_true", help="choose how to multiply by measurement, and not by the library's estimates"
    )
    parser.add_argument("--out", type=Path, help="CSV file to append rows to; --profile writes beside it")
    parser.add_argument("--commit", help="what the rows say was measured; git's answer if not given")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.steps is not None and not 0 < args.steps < 2 * args.context:
        parser.error(f"--steps is {args.steps}: from 1 to twice --context, less one, is needed")
    args.commit = args.commit or _commit()
    return args


def _commit() -> str:
    try:
        here = Path(__file__).parent
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _driver_version() -> int:
    """The driver's CUDA version as 1000 * major + 10 * minor; 0 if it does not say."""
    version = ctypes.c_int(0)
    if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) != 0:
        return 0
    return version.value


def _worker(rank: int, args: argparse.Namespace, port: Optional[int]) -> int:
    """One rank: all configurations, one after the other. Returns 1 if one of them failed, 0 if not."""
    allow_overlap(not args.no_overlap)
    if args.device == "cuda":
        torch.cuda.set_device(rank)
    distributed = args.tp > 1 or "RANK" in os.environ
    if distributed:
        backend = "nccl" if args.device == "cuda" else "gloo"
        where = {} if port is None else {"init_method": f"tcp://127.0.0.1:{port}", "rank": rank, "world_size": args.tp}
        torch.distributed.init_process_group(
            backend, device_id=torch.device("cuda", rank) if args.device == "cuda" else None, **where
        )
    try:
        group = Group()
        config = PRESETS[args.model]
        if args.layers:
            config = config.scaled(layers=args.layers)
        if args.device == "cpu":
            config = config.scaled(dtype=torch.float16)
        wanted: list[Optional[float]] = [None] if args.dense else []
        if args.sparse or not args.dense:
            wanted += args.sparsity
        failures = [_measure_model(args, config, sparsity, group) for sparsity in wanted]
        return int(any(failures))
    finally:
        if distributed:
            torch.distributed.destroy_process_group()


def _measure_model(args: argparse.Namespace, config: ModelConfig, sparsity: Optional[float], group: Group) -> bool:
    """All batches of one model. Whether one failed for another reason than memory."""
    failed = False
    began = time.monotonic()
    weights: Optional[Weights] = None
    note = ""
    try:
        weights = random_weights(
            config, sparsity=sparsity, format=args.format, prefer=args.prefer, device=args.device, group=group,
            seed=args.seed, copies=args.copies, progress=True,
        )  # fmt: skip
    except (RuntimeError, FlashLLMError) as error:
        if not _is_memory(error):
            raise
        note = "out of memory making the model"
    build = time.monotonic() - began
    for batch in args.batch:
        row = _row(args, config, sparsity, group, batch, weights, build)
        if weights is None:
            row["note"] = note
            _write(row, COLUMNS, args.out, group)
        else:
            try:
                _measure_batch(args, weights, batch, row, group)
            except Exception as error:
                if _is_memory(error):
                    row["note"] = "out of memory running"
                    _write(row, COLUMNS, args.out, group)
                elif group.size > 1:
                    raise  # the other ranks would wait for this one
                else:  # the rows that come after it are worth having
                    traceback.print_exc()
                    failed = True
        _release()
    del weights
    _release()
    return failed


def _is_memory(error: Exception) -> bool:
    """Whether there was too little memory: PyTorch's own error, ours, or one of CUDA's and cuBLAS's by its text."""
    if isinstance(error, FlashLLMError):
        return error.status == Status.ALLOC_FAILED
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and re.search("out of memory|ALLOC_FAILED", str(error)) is not None
    )


def _release() -> None:
    gc.collect()
    free_scratch()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _row(
    args: argparse.Namespace,
    config: ModelConfig,
    sparsity: Optional[float],
    group: Group,
    batch: int,
    weights: Optional[Weights],
    build: float,
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    on_gpu = args.device == "cuda"
    driver = _driver_version() if on_gpu else 0
    formats = set()
    if weights is not None:
        for linear in weights.layers[0].linears().values():
            formats.add(linear.matrix.format if isinstance(linear, SparseLinear) else "dense")
    kernels = re.search(r"GPU kernels .* by (\S+)", build_info())
    row.update(
        date=datetime.date.today().isoformat(),
        commit=args.commit,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        driver=f"{driver // 1000}.{driver // 10 % 100}" if on_gpu else "none",
        toolkit=(kernels.group(1) if kernels else "none") if sparsity is not None else torch.version.cuda or "none",
        op="e2e",
        format="+".join(sorted(formats)) if formats else ("dense" if sparsity is None else args.format),
        dtype={torch.float16: "f16", torch.bfloat16: "bf16"}.get(config.dtype, str(config.dtype)),
        n=batch,
        sparsity="" if sparsity is None else f"{sparsity:.4f}",
        model=config.name + (f" ({config.layers} layers)" if args.layers else ""),
        layers=config.layers,
        gpus=group.size,
        batch=batch,
        build_s=f"{build:.1f}",
    )
    if weights is not None:
        row["bytes"] = weights.nbytes
        if weights.sparsity is not None:
            row["sparsity"] = f"{weights.sparsity:.4f}"
        row["copied_layers"] = int(weights.about.get("copied_layers", False))
    return row


def _measure_batch(args: argparse.Namespace, weights: Weights, batch: int, row: dict[str, Any], group: Group) -> None:
    on_gpu = args.device == "cuda"
    steps = args.steps if args.steps is not None else args.new - 1
    if args.steps is not None:
        start = args.context - steps // 2
        capacity = start + steps + _PROFILED
    else:
        start = args.prompt
        capacity = args.prompt + args.new + (_PROFILED if args.profile else 0)
    sampling = Sampling(top_p=args.top_p)
    engine = Engine(
        weights, batch, capacity, sampling, prefill_tokens=args.prefill_tokens, use_graph=not args.no_graph,
        search=args.search,
    )  # fmt: skip
    if args.steps is not None:
        engine.start_at(start)
        engine.capture(args.context)
        if not engine.captured:
            engine.decode(1)  # whatever is lazy
            engine.start_at(start)
    else:
        generator = torch.Generator().manual_seed(args.seed)
        prompts = torch.randint(weights.config.vocab, (batch, args.prompt), generator=generator)
        engine.prefill(prompts)
        engine.capture(args.prompt + args.new // 2)
        _wait(on_gpu)
        began = time.perf_counter()
        engine.prefill(prompts)
        _wait(on_gpu)
        prefill = time.perf_counter() - began
        row.update(
            prompt=args.prompt,
            new=args.new,
            prefill_ms=f"{prefill * 1e3:.2f}",
            prefill_tokens_per_s=f"{batch * args.prompt / prefill:.0f}",
        )
    times, total = _time_steps(engine, steps, on_gpu)
    assert engine.logits is not None
    if not bool(torch.isfinite(engine.logits).all()):
        raise RuntimeError("the logits are not finite: what was timed is not a working model")
    rate = batch * steps / total
    us = sorted(1e6 * t for t in times)
    row.update(
        us=f"{_quantile(us, 0.5):.1f}",
        us_p5=f"{_quantile(us, 0.05):.1f}",
        us_p95=f"{_quantile(us, 0.95):.1f}",
        gbps=f"{weights.nbytes / _quantile(us, 0.5) / 1e3:.1f}",
        kernel=f"engine; {engine.describe()}",
        context=start + steps // 2,
        steps=steps,
        tokens_per_s=f"{rate:.1f}",
        tokens_per_gpu_s=f"{rate / group.size:.1f}",
        ms_p50=f"{_quantile(us, 0.5) / 1e3:.3f}",
        ms_p99=f"{_quantile(us, 0.99) / 1e3:.3f}",
    )
    if on_gpu:
        free, whole = torch.cuda.mem_get_info()
        row.update(peak_bytes=torch.cuda.max_memory_allocated(), device_bytes=whole - free)
    _write(row, COLUMNS, None if args.no_overlap else args.out, group)
    if args.profile:
        _profile(args, engine, row, group, _quantile(us, 0.5))


# Decode steps that the profiler watches.
_PROFILED = 5


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


def _time_steps(engine: Engine, steps: int, on_gpu: bool) -> tuple[list[float], float]:
    """Seconds of each step, and of all of them."""
    if not on_gpu:
        marks = [time.perf_counter()]
        for _ in range(steps):
            engine.decode(1)
            marks.append(time.perf_counter())
        return [b - a for a, b in zip(marks, marks[1:])], marks[-1] - marks[0]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        engine.decode(1)
        event.record()
    events[-1].synchronize()
    each = [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:])]
    return each, events[0].elapsed_time(events[-1]) / 1e3


def _quantile(ordered: list[float], q: float) -> float:
    """The smallest value that at least a fraction q does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def _profile(args: argparse.Namespace, engine: Engine, row: dict[str, Any], group: Group, step_us: float) -> None:
    """Kernels of a few decode steps, by what they are for; idle is what the timed step has beyond them."""
    on_gpu = args.device == "cuda"
    activity = torch.profiler.ProfilerActivity
    watched = [activity.CUDA] if on_gpu else [activity.CPU]
    with torch.profiler.profile(activities=watched) as profiler:
        engine.decode(_PROFILED)
        _wait(on_gpu)
    kernels: dict[tuple[str, str], list[float]] = {}
    for event in profiler.key_averages():
        us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if us <= 0:
            continue
        part = next(name for name, pattern in PARTS if re.search(pattern, event.key))
        entry = kernels.setdefault((part, event.key), [0.0, 0.0])
        entry[0] += event.count / _PROFILED
        entry[1] += us / _PROFILED
    if group.rank:
        return
    busy = sum(us for _, us in kernels.values())
    kernels["idle", "between kernels"] = [0, max(0.0, step_us - busy)]
    whole = max(step_us, busy)
    totals: dict[str, float] = {}
    for (part, _), (_, us) in kernels.items():
        totals[part] = totals.get(part, 0.0) + us
    print(f"\n{row['model']} {row['format']} {row['sparsity']} batch {row['batch']}: {step_us:.0f} us a step")
    for part, us in sorted(totals.items(), key=lambda item: -item[1]):
        print(f"  {us:9.1f} us {100 * us / whole:5.1f} %  {part}")
    same = {name: row[name] for name in PROFILE_COLUMNS if name in row and name != "kernel" and name != "us"}
    beside = args.out.with_name(args.out.stem + "-profile.csv") if args.out else None
    for (part, kernel), (calls, us) in sorted(kernels.items(), key=lambda item: -item[1][1]):
        line = dict(same, part=part, kernel=kernel[:200], calls=f"{calls:.1f}", us=f"{us:.2f}", share=f"{us / whole:.4f}")
        _write(line, PROFILE_COLUMNS, beside, group, quiet=True)


def _write(
    row: dict[str, Any], columns: Sequence[str], path: Optional[Path], group: Group, quiet: bool = False
) -> None:
    """Appends a row, and tells it. The first rank does."""
    if group.rank:
        return
    if not quiet:
        told = ("model", "format", "sparsity", "gpus", "batch", "context", "tokens_per_s", "tokens_per_gpu_s", "ms_p50",
                "ms_p99", "prefill_ms", "peak_bytes", "build_s", "note")  # fmt: skip
        print("  ".join(f"{name}={row[name]}" for name in told if row[name] != ""), flush=True)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    if not new:
        with path.open(newline="") as file:
            if next(csv.reader(file), None) != list(columns):
                raise SystemExit(f"{path} has other columns: give another --out")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        # No quotes, as in the other benchmarks' files: what would need them is made harmless.
        writer.writerow({name: re.sub(r'[,"\r\n]', " ", str(value)) for name, value in row.items()})


if __name__ == "__main__":
    sys.exit(main())
