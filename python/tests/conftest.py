"""What the tests share. Everything that is missing here (PyTorch, transformers, a GPU) makes its tests skip and say so."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def gpu_missing() -> str:
    """Why there is no GPU to test on; empty if there is one."""
    if not _has("torch"):
        return "PyTorch is not installed"
    import torch

    return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device"


GPU_MISSING = gpu_missing()
needs_torch = pytest.mark.skipif(not _has("torch"), reason="PyTorch is not installed")
needs_transformers = pytest.mark.skipif(not _has("transformers"), reason="transformers is not installed")
needs_gpu = pytest.mark.skipif(bool(GPU_MISSING), reason=GPU_MISSING)
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]



def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m gpu` runs what needs a GPU and nothing else, `-m "not gpu"` the rest."""
    for item in items:
        if any(mark == needs_gpu.mark for mark in item.iter_markers("skipif")):
            item.add_marker("gpu")


FORMATS = ["slots", "banked", "sell", "bitmap", "tiled_csl"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def pruned(rng: np.random.Generator, rows: int, cols: int, sparsity: float) -> np.ndarray:
    """Random values, of which a fraction is zero."""
    values = rng.standard_normal((rows, cols)).astype(np.float16)
    values[rng.random((rows, cols)) < sparsity] = 0
    return values


def integers(rng: np.random.Generator, rows: int, cols: int, sparsity: float) -> np.ndarray:
    """Small integers: their products and sums are exact, so that results can be compared bit by bit."""
    values = rng.integers(-3, 4, (rows, cols)).astype(np.float16)
    values[rng.random((rows, cols)) < sparsity] = 0
    return values


def demo_weights() -> Path | None:
    """The trained weights of `make demo`, if they have been fetched."""
    for folder in (os.environ.get("FLASHLLM_DEMO_WEIGHTS"), ROOT / "target" / "demo"):
        if folder and (Path(folder) / "model.safetensors").is_file():
            return Path(folder) / "model.safetensors"
    return None
