"""flash_llm: compressed pruned LLM weights and their product with dense activations on Tensor Cores.

Everything here works with numpy alone, without a GPU and without PyTorch::

    import numpy as np, flash_llm

    w = np.random.randn(4096, 4096).astype(np.float16)
    w[np.random.rand(*w.shape) < 0.8] = 0
    a = flash_llm.SparseMatrix.compress(w)
    c = a @ np.ones((4096, 8), np.float16)

With PyTorch, tensors on a GPU take the place of arrays, and there are :class:`FlashLinear` and :func:`sparsify` for
models, and `flash_llm.engine`, a small inference engine. They are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._library import FlashLLMError, LibraryNotFoundError, Status
from ._version import __version__
from .files import load_file, save_file
from .matrix import SparseMatrix, spmm

if TYPE_CHECKING:
    from .linear import FlashLinear
    from .models import load_sparsified, prune_magnitude, save_sparsified, sparsify

__all__ = [
    "FlashLLMError",
    "FlashLinear",
    "LibraryNotFoundError",
    "SparseMatrix",
    "Status",
    "__version__",
    "build_info",
    "load_file",
    "load_sparsified",
    "prune_magnitude",
    "save_file",
    "save_sparsified",
    "sparsify",
    "spmm",
]

_NEED_TORCH = {
    "FlashLinear": "linear",
    "load_sparsified": "models",
    "prune_magnitude": "models",
    "save_sparsified": "models",
    "sparsify": "models",
}


def build_info() -> str:
    """One line about the loaded library: its version, profile, kernels and their compiler."""
    from ._library import library

    return library().build_info()


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module 'flash_llm' has no attribute {name!r}")
    import importlib

    module = importlib.import_module("." + _NEED_TORCH[name], __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value
