"""The ctypes declarations against the header, and finding the library."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import flash_llm
from flash_llm import _library

HEADER = ROOT / "include" / "flash_llm.h"
needs_header = pytest.mark.skipif(not HEADER.is_file(), reason="include/flash_llm.h is not here")


def declarations() -> dict[str, list[str]]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = {}
    for name, arguments in re.findall(r"(flashllm\w+)\(([^)]*)\)\s*;", text):
        found[name] = [a.strip() for a in arguments.split(",") if a.strip() not in ("", "void")]
    return found


def enumerators(prefix: str) -> dict[str, int]:
    text = HEADER.read_text()
    return {name: int(value) for name, value in re.findall(rf"\b{prefix}(\w+) = (\d+),", text)}


def kind(declaration: str) -> str:
    """What an argument is for a calling convention."""
    if "*" in declaration or re.search(r"flashllm(Handle|Stream|\w*Descr|SpMMPlan)_t", declaration):
        return "pointer"
    for c_type in ("int64_t", "size_t", "int32_t", "int", "float", "double"):
        if re.match(rf"(const )?{c_type}\b", declaration):
            return "int" if c_type == "int32_t" else c_type  # to ctypes they are one type
    assert re.match(r"flashllm\w+_t\b", declaration), declaration
    return "int"  # an enumeration


def python_kind(argument: type) -> str:
    import ctypes

    if argument is ctypes.c_void_p or argument is ctypes.c_char_p or hasattr(argument, "contents"):
        return "pointer"
    names = {ctypes.c_int: "int", ctypes.c_int64: "int64_t", ctypes.c_size_t: "size_t", ctypes.c_double: "double"}
    return names[argument]


@needs_header
@pytest.mark.parametrize("name", sorted({**_library.PROTOTYPES, **_library.STRINGS}))
def test_a_prototype_is_that_of_the_header(name: str) -> None:
    declared = declarations()
    ours = {**_library.PROTOTYPES, **_library.STRINGS}[name]
    assert [python_kind(a) for a in ours] == [kind(d) for d in declared[name]]


@needs_header
@pytest.mark.parametrize(
    ("enum", "prefix"),
    [
        (_library.Status, "FLASHLLM_STATUS_"),
        (_library.Format, "FLASHLLM_FORMAT_"),
        (_library.Order, "FLASHLLM_ORDER_"),
        (_library.DataType, "FLASHLLM_"),
    ],
)
def test_an_enumeration_is_that_of_the_header(enum, prefix: str) -> None:
    declared = enumerators(prefix)
    ours = {member.name: member.value for member in enum}
    assert ours.items() <= declared.items()
    if enum in (_library.Format, _library.Order):
        assert set(declared) <= {member.name for member in enum}, "the header has more"


@needs_header
def test_activations_are_those_of_the_header() -> None:
    declared = enumerators("FLASHLLM_ACTIVATION_")
    names = {"none": "NONE", "relu": "RELU", "gelu_tanh": "GELU_TANH", "gelu": "GELU_ERF", "silu": "SILU"}
    assert {names[name]: value for name, value in _library.ACTIVATIONS.items()} == declared


@needs_header
def test_preferences_are_those_of_the_header() -> None:
    declared = enumerators("FLASHLLM_PREFERENCE_")
    assert {name.upper(): value for name, value in _library.PREFERENCE.items()} == declared


@needs_header
def test_pruning_algorithms_are_those_of_the_header() -> None:
    declared = enumerators("FLASHLLM_PRUNE_ALG_")
    assert {f"MAGNITUDE_{scope.upper()}": value for scope, value in _library.PRUNE_ALG.items()} == declared


@needs_header
def test_plan_attributes_are_those_of_the_header() -> None:
    declared = enumerators("FLASHLLM_SPMM_PLAN_")
    assert declared["BIAS"] == _library.PLAN_BIAS
    assert declared["BIAS_TYPE"] == _library.PLAN_BIAS_TYPE
    assert declared["ACTIVATION"] == _library.PLAN_ACTIVATION
    assert declared["RESIDUAL"] == _library.PLAN_RESIDUAL


def test_the_version_is_that_of_the_crate() -> None:
    manifest = ROOT / "Cargo.toml"
    if not manifest.is_file():
        pytest.skip("Cargo.toml is not here")
    version = re.search(r'^version = "(.*)"', manifest.read_text(), re.M)
    assert version is not None and version.group(1) == flash_llm.__version__


def test_build_info_names_the_version() -> None:
    assert flash_llm.__version__ in flash_llm.build_info()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_a_missing_library_is_an_import_error_that_says_where_it_was_looked_for() -> None:
    done = run("import flash_llm; flash_llm.build_info()", FLASHLLM_LIBRARY="/nowhere/libflash_llm.so")
    assert done.returncode != 0
    assert "LibraryNotFoundError" in done.stderr and "/nowhere/libflash_llm.so (FLASHLLM_LIBRARY)" in done.stderr


def test_another_library_is_refused() -> None:
    import ctypes.util

    name = ctypes.util.find_library("m") or "libm.so.6"
    done = run("import flash_llm; flash_llm.build_info()", FLASHLLM_LIBRARY=name)
    assert done.returncode != 0 and "flashllmGetBuildInfo" in done.stderr


def test_numpy_use_imports_no_torch() -> None:
    done = run(
        "import sys, numpy as np, flash_llm as f\n"
        "a = f.SparseMatrix.compress(np.eye(64, dtype=np.float16))\n"
        "assert (a @ np.ones(64, np.float16) == 1).all()\n"
        "assert 'torch' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_an_error_carries_the_status_and_the_sentence() -> None:
    import numpy as np

    with pytest.raises(flash_llm.FlashLLMError, match="needs 256") as caught:
        flash_llm.SparseMatrix.from_buffer(np.zeros(10, np.uint8))
    assert caught.value.status is flash_llm.Status.CORRUPT_DATA
    assert caught.value.function == "flashllmSpMatSetBuffer"
