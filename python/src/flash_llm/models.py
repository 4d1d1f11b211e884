"""Prunes and compresses the linear layers of a model, and keeps such models in safetensors files."""

from __future__ import annotations

import re
import sys
from typing import Any, Callable, Iterator, Literal, Mapping, Optional, Sequence, TypeVar, Union

import torch
from torch import Tensor, nn

from . import ops
from .files import SUFFIX, Path, load_file, save_file
from .linear import KEY, FlashLinear
from .matrix import FormatName, Preference, SparseMatrix, prune_in_place

Scope = Literal["matrix", "row"]
Progress = Union[bool, Callable[[int, int, str], None]]
Model = TypeVar("Model", bound=nn.Module)


def _check_sparsity(sparsity: float) -> None:
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"sparsity is {sparsity}: a fraction from 0 to 1 is needed")


@torch.no_grad()
def prune_magnitude(weight: Tensor, sparsity: float, scope: Scope = "matrix", inplace: bool = False) -> Tensor:
    """Sets the elements of smallest magnitude to zero: exactly the asked count, ties by index (the first ones go).

    Args:
        weight: [rows, cols] of float16 or bfloat16.
        sparsity: fraction of elements to be zero, from 0 to 1. Zeros that are there already count.
        scope: "matrix" counts over the whole matrix, "row" in each row.
        inplace: write to `weight` (which must be contiguous) and not to a copy.

    Returns:
        The pruned weight.
    """
    if weight.dtype not in (torch.float16, torch.bfloat16) or weight.ndim != 2:
        raise TypeError(
            f"weight is {weight.dtype} with {weight.ndim} dimensions: float16 or bfloat16 with two is needed"
        )
    if inplace and not weight.is_contiguous():
        raise ValueError("weight is not contiguous: it cannot be pruned in place")
    if scope not in ("matrix", "row"):
        raise ValueError(f"scope is {scope!r}: 'matrix' or 'row' is needed")
    _check_sparsity(sparsity)
    out = weight if inplace else weight.clone(memory_format=torch.contiguous_format)
    if out.numel():
        prune_in_place(out, sparsity, scope)
    return out


def sparsify(
    model: Model,
    sparsity: float,
    *,
    pattern: Optional[str] = None,
    skip: Sequence[str] = ("lm_head",),
    scope: Scope = "matrix",
    format: FormatName = "auto",
    prefer: Preference = "speed",
    progress: Progress = True,
) -> Model:
    """Prunes the linear layers of a model by magnitude and puts compressed ones in their place, one after another.

    It works on any model that has torch.nn.Linear layers (or GPT-2's Conv1D), for instance OPT, Llama, Mistral and
    Qwen of transformers, on the device where each layer is. Memory peaks at the model plus one layer.

    Args:
        model: the model, changed in place. Its linear layers must be float16 or bfloat16.
        sparsity: fraction of each layer's weights to be zero, from 0 to 1; 0 compresses what is zero already.
        pattern: regular expression; only layers where it is found in the qualified name are replaced.
        skip: regular expressions; layers where one is found are left alone.
        scope: what the sparsity holds for, "matrix" or "row".
        format: format of the compressed matrices.
        prefer: what format "auto" chooses for, "speed", "size", "columns" or "few_columns": see SparseMatrix.compress().
        progress: True for a bar on stderr, or a function of (layers done, layers, name).

    Returns:
        The model.

    Raises:
        ValueError: no layer is chosen, or the sparsity is not a fraction.
        TypeError: a chosen layer has another type.
    """
    _check_sparsity(sparsity)
    chosen = [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if _weight_of(module) is not None
        and (pattern is None or re.search(pattern, name))
        and not any(re.search(expression, name) for expression in skip)
    ]
    if not chosen:
        raise ValueError("no linear layer is chosen by pattern and skip")
    for name, module in chosen:
        weight = _weight_of(module)
        assert weight is not None
        if weight.dtype not in (torch.float16, torch.bfloat16):
            raise TypeError(f"{name} is {weight.dtype}: convert the model to float16 or bfloat16 first, model.half()")
        if weight.is_meta:
            raise TypeError(f"{name} has no values yet: it is on the meta device")
    # Layers that share a weight, and modules that are in the model twice, go on sharing it.
    matrices: dict[int, SparseMatrix] = {}
    replaced: dict[int, FlashLinear] = {}
    for name, module in _track(chosen, progress):
        if id(module) not in replaced:
            weight = _weight_of(module)
            assert weight is not None
            if id(module.weight) not in matrices:
                pruned = prune_magnitude(weight, sparsity, scope)
                matrices[id(module.weight)] = SparseMatrix.compress(pruned, format, prefer=prefer)
                del pruned
            layer = FlashLinear(matrices[id(module.weight)], getattr(module, "bias", None))
            replaced[id(module)] = layer.train(module.training)
        _replace(model, name, replaced[id(module)])
    return model


def _weight_of(module: nn.Module) -> Optional[Tensor]:
    """The weight [out, in] of a layer that sparsify() can replace, else None."""
    if isinstance(module, nn.Linear):
        return module.weight
    if type(module).__name__ == "Conv1D" and isinstance(getattr(module, "weight", None), Tensor):
        weight: Tensor = module.weight  # type: ignore[assignment]
        return weight.t() if weight.ndim == 2 else None
    return None


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    if not child:
        raise ValueError("the model is itself a linear layer: use FlashLinear.from_dense()")
    setattr(model.get_submodule(parent), child, layer)


def _track(layers: list[tuple[str, Any]], progress: Progress) -> Iterator[tuple[str, Any]]:
    if progress is True:
        try:
            from tqdm import tqdm
        except ImportError:

            def show(done: int, total: int, name: str) -> None:
                end = "\n" if done == total else ""
                print(f"\rsparsify: {done}/{total} {name}\033[K", end=end, file=sys.stderr, flush=True)

            progress = show
        else:
            bar = tqdm(layers, desc="sparsify", unit="layer")
            for name, module in bar:
                bar.set_postfix_str(name)
                yield name, module
            return
    for done, (name, module) in enumerate(layers, 1):
        yield name, module
        if callable(progress):
            progress(done, len(layers), name)


def save_sparsified(model: nn.Module, path: Path, metadata: Optional[Mapping[str, str]] = None) -> None:
    """Writes a sparsified model's state to one safetensors file (see flash_llm.files).

    Tensors that share memory are written once; the metadata has "name": "name of the one that was written". Where a layer
    has an activation of its own, it has "layer.activation": "name of the activation".
    """
    tensors: dict[str, Any] = {}
    notes = {"format": "pt", **(metadata or {})}
    written: dict[tuple[Any, ...], str] = {}
    layers = {name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, FlashLinear)}
    for name, layer in layers.items():
        if layer.activation != "none":
            notes[name + ".activation"] = layer.activation
    for name, tensor in model.state_dict().items():
        where = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and where in written:
            notes[name] = written[where]
            continue
        written[where] = name
        if name.endswith("." + KEY) and name[: -len(KEY) - 1] in layers:
            layer = layers[name[: -len(KEY) - 1]]
            tensors[name[: -len(SUFFIX)]] = layer.matrix or ops.adopt(layer.compressed)
        else:
            tensors[name] = tensor
    save_file(tensors, path, notes)


def load_sparsified(model: Model, path: Path, device: str = "cpu") -> Model:
    """Fills a model of the same architecture from a file of save_sparsified(), replacing its layers as it was done there.

    Args:
        model: a fresh model, for instance AutoModelForCausalLM.from_config(config).
        path: the file.
        device: where the tensors go.

    Raises:
        ValueError: the file does not fit the model.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        notes = file.metadata() or {}
    loaded = load_file(path, device)
    state: dict[str, Tensor] = {}
    for name, value in loaded.items():
        if not isinstance(value, SparseMatrix):
            state[name] = value
    matrices = {name: value for name, value in loaded.items() if isinstance(value, SparseMatrix)}
    # Other entries of the metadata are whoever's, whatever they say.
    expected = model.state_dict().keys()
    for name, kept in notes.items():
        weight = name[: -len(SUFFIX)]
        if name in expected and kept in state:
            state[name] = state[kept]
        elif name.endswith(SUFFIX) and weight in expected and kept[: -len(SUFFIX)] in matrices:
            matrices[weight] = matrices[kept[: -len(SUFFIX)]]
    for name, matrix in matrices.items():
        layer_name = name.rpartition(".")[0]
        try:
            layer = model.get_submodule(layer_name)
        except AttributeError:
            raise ValueError(f"the file has {name}, and the model no such layer") from None
        weight = _weight_of(layer)
        if weight is None or tuple(weight.shape) != matrix.shape:
            raise ValueError(f"the file has {name} as {matrix.shape}, the model {layer_name} as {layer}")
        bias = state.get(layer_name + ".bias")
        if (bias is None) != (getattr(layer, "bias", None) is None):
            raise ValueError(f"the file has {'no' if bias is None else 'a'} bias for {layer_name}, unlike the model")
        _replace(model, layer_name, FlashLinear(matrix, bias, notes.get(layer_name + ".activation", "none")))
        state[layer_name + "." + KEY] = matrix.buffer
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the file does not fit the model: {error}") from None
    if missing or unexpected:
        raise ValueError(f"the file does not fit the model: missing {list(missing)}, unexpected {list(unexpected)}")
    tie = getattr(model, "tie_weights", None)
    if callable(tie):
        tie()
    return model.to(device)
