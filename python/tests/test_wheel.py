"""The wheel that is installed (FLASHLLM_WHEEL names its file): what is in it, and that it is what the tests use."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import flash_llm
from flash_llm._library import library

WHEEL = os.environ.get("FLASHLLM_WHEEL")
pytestmark = pytest.mark.skipif(not WHEEL, reason="the package is not tested from a wheel")


def test_the_installed_package_and_its_library_are_used() -> None:
    package = Path(flash_llm.__file__).parent
    assert ROOT / "python" not in package.parents
    assert Path(library().path) == package / "lib" / "libflash_llm.so"


def test_the_wheel_has_all_and_nothing_else() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = set(wheel.namelist())
    source = ROOT / "python" / "src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    rest = {name for name in names - modules if ".dist-info/" not in name}
    assert modules <= names
    assert rest == {"flash_llm/py.typed", "flash_llm/lib/libflash_llm.so"}
    assert any(name.endswith("LICENSE") for name in names) and any(name.endswith("NOTICE") for name in names)


def test_the_tag_says_what_the_library_needs() -> None:
    tag = re.search(r"-py3-none-manylinux_2_(\d+)_x86_64\.whl$", WHEEL)
    assert tag is not None, WHEEL
    with zipfile.ZipFile(WHEEL) as wheel:
        symbols = re.findall(rb"GLIBC_2\.(\d+)", wheel.read("flash_llm/lib/libflash_llm.so"))
    assert max(map(int, symbols)) <= int(tag.group(1))
