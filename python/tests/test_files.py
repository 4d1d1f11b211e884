"""safetensors files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from conftest import FORMATS, needs_torch, pruned
from safetensors import safe_open

from flash_llm import FlashLLMError, SparseMatrix, load_file, save_file


@pytest.mark.parametrize("format", FORMATS)
def test_a_matrix_is_the_same_after_save_and_load(rng, tmp_path, format) -> None:
    a = SparseMatrix.compress(pruned(rng, 100, 200, 0.7), format)
    a.save(tmp_path / "a.safetensors")
    b = SparseMatrix.load(tmp_path / "a.safetensors")
    assert np.array_equal(a.buffer, b.buffer) and b.format == format


def test_a_file_follows_the_convention(rng, tmp_path) -> None:
    xxhash = pytest.importorskip("xxhash", reason="xxhash is not installed")
    a = SparseMatrix.compress(pruned(rng, 100, 203, 0.7), "slots")
    bias = np.arange(100, dtype=np.float16)
    path = tmp_path / "m.safetensors"
    save_file({"fc.weight": a, "fc.bias": bias}, path, {"by": "test"})
    with safe_open(path, framework="numpy") as file:
        notes = file.metadata()
        assert sorted(file.keys()) == ["fc.bias", "fc.weight.flash_llm"]
        stored = file.get_tensor("fc.weight.flash_llm")
    assert stored.dtype == np.uint8 and len(stored) % 256 == 0 and len(stored) - a.nbytes < 256
    assert np.array_equal(stored[: a.nbytes], a.buffer) and not stored[a.nbytes :].any()
    assert notes["flash_llm.version"] == "1" and notes["by"] == "test"
    text = notes["flash_llm.fc.weight"]
    assert " " not in text
    assert json.loads(text) == {
        "format": "slots", "dtype": "F16", "rows": 100, "cols": 203, "nnz": a.nnz,
        "xxh3": xxhash.xxh3_64_hexdigest(stored.tobytes()),
    }  # fmt: skip
    loaded = load_file(path)
    assert np.array_equal(loaded["fc.bias"], bias)
    assert np.array_equal(loaded["fc.weight"].to_dense(), a.to_dense())


def test_one_matrix_of_several_is_named(rng, tmp_path) -> None:
    a, b = (SparseMatrix.compress(pruned(rng, 10, 20, s)) for s in (0.5, 0.9))
    path = tmp_path / "two.safetensors"
    save_file({"a": a, "b": b}, path)
    assert SparseMatrix.load(path, "b").nnz == b.nnz
    with pytest.raises(ValueError, match="2 compressed matrices"):
        SparseMatrix.load(path)
    with pytest.raises(KeyError, match="no compressed matrix 'c'"):
        SparseMatrix.load(path, "c")


def test_a_file_that_is_damaged_is_refused(rng, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    SparseMatrix.compress(pruned(rng, 100, 200, 0.7)).save(path)
    good = path.read_bytes()
    for at in (len(good) - 300, len(good) // 2):
        bad = bytearray(good)
        bad[at] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises((ValueError, FlashLLMError)):
            SparseMatrix.load(path)


def test_a_later_version_is_refused(rng, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    SparseMatrix.compress(pruned(rng, 10, 20, 0.7)).save(path)
    path.write_bytes(path.read_bytes().replace(b'"flash_llm.version":"1"', b'"flash_llm.version":"2"'))
    with pytest.raises(ValueError, match="flash_llm.version '2'"):
        load_file(path)


def test_metadata_that_contradicts_the_matrix_is_refused(rng, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    SparseMatrix.compress(pruned(rng, 10, 20, 0.7)).save(path)
    path.write_bytes(path.read_bytes().replace(b'\\"rows\\":10', b'\\"rows\\":11'))
    with pytest.raises(ValueError, match="rows 11, the matrix has 10"):
        load_file(path)


def test_an_ordinary_file_has_no_compressed_matrices(tmp_path) -> None:
    from safetensors.numpy import save_file as write

    path = tmp_path / "a.safetensors"
    plain = np.arange(3, dtype=np.float32)
    write({"x.flash_llm": plain}, path, {"format": "pt"})
    loaded = load_file(path)
    assert list(loaded) == ["x.flash_llm"] and np.array_equal(loaded["x.flash_llm"], plain)
    with pytest.raises(ValueError, match="0 compressed matrices"):
        SparseMatrix.load(path)


@pytest.mark.parametrize(
    ("tensors", "entry", "message"),
    [
        (["a.flash_llm"], {}, "its metadata needs 'flash_llm.a'"),
        (["b"], {"flash_llm.a": "{}"}, "it needs the tensor 'a.flash_llm'"),
        (["a.flash_llm"], {"flash_llm.a": "{"}, "flash_llm.a is not JSON"),
        (["a.flash_llm"], {"flash_llm.a": "[1]"}, "an object is needed"),
    ],
)
def test_matrices_and_entries_belong_together(tmp_path, tensors, entry, message) -> None:
    from safetensors.numpy import save_file as write

    path = tmp_path / "a.safetensors"
    write({name: np.zeros(256, np.uint8) for name in tensors}, path, {"flash_llm.version": "1", **entry})
    with pytest.raises(ValueError, match=message):
        load_file(path)


def test_what_could_not_be_read_back_is_not_saved(rng, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    a = SparseMatrix.compress(pruned(rng, 10, 20, 0.7))
    with pytest.raises(ValueError, match="a compressed matrix is called 'version'"):
        save_file({"version": a}, path)
    with pytest.raises(ValueError, match="a dense tensor is called 'a.flash_llm'"):
        save_file({"a.flash_llm": np.ones(3, np.float32)}, path)
    with pytest.raises(ValueError, match="metadata has 'flash_llm.b'"):
        save_file({"a": a}, path, {"flash_llm.b": "mine"})
    assert not path.exists()


def test_a_dense_type_that_numpy_has_not_is_named(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    header = json.dumps({"b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    try:
        loaded = load_file(path)
    except TypeError as error:
        assert "b: " in str(error) and "import ml_dtypes, or load to a device" in str(error)
    else:
        assert loaded["b"].dtype.name == "bfloat16", "somebody has imported ml_dtypes"


def test_a_failed_save_leaves_the_old_file(rng, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    a = SparseMatrix.compress(pruned(rng, 10, 20, 0.7))
    a.save(path)
    before = path.read_bytes()
    with pytest.raises(Exception):
        save_file({"a": a, "b": np.array([object()])}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"], "no temporary file is left"


def test_the_file_has_the_rights_of_any_new_file(rng, tmp_path) -> None:
    SparseMatrix.compress(pruned(rng, 10, 20, 0.7)).save(tmp_path / "a.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_replaced_gives_its_rights(rng, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_file({"x": np.ones(4, np.float16)}, path)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_is_followed_and_a_pipe_is_refused(rng, tmp_path) -> None:
    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    link.symlink_to(target)
    save_file({"x": np.ones(4, np.float16)}, link)
    assert link.is_symlink() and load_file(target)["x"].tolist() == [1, 1, 1, 1]
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is not a regular file"):
        save_file({"x": np.ones(4, np.float16)}, pipe)
    assert pipe.is_fifo() and sorted(os.listdir(tmp_path)) == ["link", "pipe", "target"]


def test_any_name_can_be_saved(rng, tmp_path) -> None:
    path = tmp_path / ("n" * 255)
    save_file({"x": np.ones(4, np.float16)}, path)
    assert os.listdir(tmp_path) == [path.name]


@needs_torch
def test_numpy_and_torch_read_the_same_file(rng, tmp_path) -> None:
    import torch

    dense = pruned(rng, 100, 200, 0.7)
    path = tmp_path / "a.safetensors"
    SparseMatrix.compress(torch.from_numpy(dense)).save(path)
    assert np.array_equal(SparseMatrix.load(path).to_dense(), dense)
    assert torch.equal(SparseMatrix.load(path, device="cpu").to_dense(), torch.from_numpy(dense))
