"""Compressed matrices in safetensors files.

The convention, which the C library's file functions follow too: a matrix called NAME is the uint8 tensor
`NAME.flash_llm` of shape [bytes] that holds its compressed buffer and zeros up to a multiple of 256. The file's
metadata has `flash_llm.version` = "1" and for each matrix `flash_llm.NAME`, compact JSON with its format, dtype, rows,
cols, nnz and xxh3, XXH3-64 of the tensor's bytes in 16 hexadecimal digits. Other tensors are as in any safetensors
file.

The checksum needs the package xxhash. Without it files are written without, which only this package reads, and read
unchecked; the matrices' own structure is always checked.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from typing import Any, Mapping, Optional, Union

import numpy as np
from safetensors import safe_open

from . import _dense as dn
from .matrix import ALIGNMENT, SparseMatrix, allocate

Path = Union[str, "os.PathLike[str]"]

SUFFIX = ".flash_llm"
PREFIX = "flash_llm."
VERSION_KEY = PREFIX + "version"
VERSION = "1"


def _xxh3(buffer: Any) -> Optional[str]:
    try:
        import xxhash
    except ImportError:
        return None
    array = buffer.cpu().numpy() if dn.is_tensor(buffer) else buffer
    digest: str = xxhash.xxh3_64_hexdigest(memoryview(array))
    return digest


def _stored(matrix: SparseMatrix) -> Any:
    """The tensor that holds a matrix in a file."""
    size = -(-matrix.nbytes // ALIGNMENT) * ALIGNMENT
    buffer = matrix.buffer.cpu() if dn.is_tensor(matrix.buffer) else matrix.buffer
    stored = allocate(size, None, dn.is_tensor(buffer))
    stored[: matrix.nbytes] = buffer
    stored[matrix.nbytes :] = 0
    return stored


def _describe(matrix: SparseMatrix, stored: Any) -> str:
    """The metadata entry of a matrix."""
    entry: dict[str, Any] = {
        "format": matrix.format,
        "dtype": {"float16": "F16", "bfloat16": "BF16"}[matrix.dtype],
        "rows": matrix.shape[0],
        "cols": matrix.shape[1],
        "nnz": matrix.nnz,
    }
    digest = _xxh3(stored)
    if digest is not None:
        entry["xxh3"] = digest
    return json.dumps(entry, separators=(",", ":"))


def save_file(
    tensors: Mapping[str, Any], path: Path, metadata: Optional[Mapping[str, str]] = None
) -> None:
    """Writes compressed matrices and dense arrays to one safetensors file.

    The file is written under a temporary name, which nobody else can read, and renamed, so that a crash leaves an older file
    as it was. A symbolic link is followed, and a file that is replaced gives the new one its permissions.

    Args:
        tensors: names to :class:`SparseMatrix`, numpy arrays or tensors (all dense ones of one kind).
        path: the file.
        metadata: further entries for its metadata.

    Raises:
        ValueError: two tensors would have one name, a name is one that the convention uses, or something that is not a
            regular file has the path.
    """
    plain: dict[str, Any] = {}
    notes = dict(metadata or {})
    reserved = [key for key in notes if key.startswith(PREFIX)]
    if reserved:
        raise ValueError(f"metadata has {reserved[0]!r}: entries of this package alone begin with {PREFIX!r}")
    notes[VERSION_KEY] = VERSION
    torch_wanted = any(dn.is_tensor(t.buffer if isinstance(t, SparseMatrix) else t) for t in tensors.values())
    for name, tensor in tensors.items():
        if isinstance(tensor, SparseMatrix):
            if PREFIX + name == VERSION_KEY:
                raise ValueError(f"a compressed matrix is called {name!r}: the file's metadata has the version there")
            plain[name + SUFFIX] = _stored(tensor)
            notes[PREFIX + name] = _describe(tensor, plain[name + SUFFIX])
        elif name.endswith(SUFFIX):
            raise ValueError(f"a dense tensor is called {name!r}: names of compressed matrices alone end with {SUFFIX!r}")
        else:
            plain[name] = tensor
    if len(plain) != len(tensors):
        raise ValueError("two tensors would have the same name in the file")
    path = os.path.realpath(path)
    old = os.stat(path).st_mode if os.path.exists(path) else None
    if old is not None and not stat.S_ISREG(old):
        raise ValueError(f"{path} is not a regular file: it is not replaced by one")
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".flash_llm-", suffix=".tmp")
    os.close(handle)
    try:
        if torch_wanted:
            import torch
            from safetensors.torch import save_file as write

            write({k: (v if dn.is_tensor(v) else torch.from_numpy(v)).contiguous() for k, v in plain.items()},
                  temporary, notes)
        else:
            from safetensors.numpy import save_file as write_numpy

            write_numpy({k: np.ascontiguousarray(v) for k, v in plain.items()}, temporary, notes)
        os.chmod(temporary, stat.S_IMODE(old) if old is not None else _mode_of_new(temporary + "-mode"))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode_of_new(probe: str) -> int:
    """The permissions that open() gives a new file. The umask can be read only by setting it, for all threads."""
    handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        os.unlink(probe)


def load_file(path: Path, device: Optional[str] = None) -> dict[str, Any]:
    """Reads a safetensors file: compressed matrices as :class:`SparseMatrix`, everything else as it is.

    Args:
        path: the file.
        device: None for numpy, or a PyTorch device such as "cpu" or "cuda:0".

    Raises:
        ValueError: the file does not follow the convention, or a later version of it, or a checksum is wrong.
        TypeError: a dense tensor has a type that numpy has not.
        FlashLLMError: a compressed matrix is not valid.
    """
    with _open(path, device) as file:
        entries = _entries(file, path)
        loaded: dict[str, Any] = {}
        for key in file.keys():
            name = key[: -len(SUFFIX)]
            if key.endswith(SUFFIX) and name in entries:
                loaded[name] = _adopt(file.get_tensor(key), name, entries[name], path, device)
            else:
                tensor = _dense(file, key, path)
                loaded[key] = tensor if device is None else tensor.to(device)
        return loaded


def load_matrix(path: Path, name: Optional[str], device: Optional[str]) -> SparseMatrix:
    """One compressed matrix of a file."""
    with _open(path, device) as file:
        entries = _entries(file, path)
        names = list(entries)
        if name is None:
            if len(names) != 1:
                raise ValueError(f"{os.fspath(path)} has {len(names)} compressed matrices: name one of {names}")
            name = names[0]
        if name not in names:
            raise KeyError(f"{os.fspath(path)} has no compressed matrix {name!r}: it has {names}")
        return _adopt(file.get_tensor(name + SUFFIX), name, entries[name], path, device)


def _open(path: Path, device: Optional[str]) -> Any:
    # On the host first, where checksums are taken.
    return safe_open(os.fspath(path), framework="numpy" if device is None else "pt")


def _dense(file: Any, key: str, path: Path) -> Any:
    try:
        return file.get_tensor(key)
    except TypeError as error:
        # numpy knows bfloat16 once ml_dtypes is imported.
        raise TypeError(f"{os.fspath(path)}: {key}: {error}; import ml_dtypes, or load to a device such as 'cpu'") from None


def _entries(file: Any, path: Path) -> dict[str, dict[str, Any]]:
    """What the metadata says of each compressed matrix; nothing in an ordinary file."""
    notes: dict[str, str] = file.metadata() or {}
    if VERSION_KEY not in notes:
        return {}
    where = os.fspath(path)
    if notes[VERSION_KEY] != VERSION:
        raise ValueError(f"{where} has {VERSION_KEY} {notes[VERSION_KEY]!r}: this package reads {VERSION!r}")
    stored = [key[: -len(SUFFIX)] for key in file.keys() if key.endswith(SUFFIX)]
    noted = {key[len(PREFIX) :]: text for key, text in notes.items() if key.startswith(PREFIX) and key != VERSION_KEY}
    entries = {}
    for name in stored:
        if name not in noted:
            raise ValueError(f"{where} has the tensor {name + SUFFIX!r}: its metadata needs {PREFIX + name!r}")
        try:
            entries[name] = json.loads(noted.pop(name))
        except ValueError as error:
            raise ValueError(f"{where}: {PREFIX + name} is not JSON: {error}") from None
        if not isinstance(entries[name], dict):
            raise ValueError(f"{where}: {PREFIX + name} is {entries[name]!r}: an object is needed")
    if noted:
        name = next(iter(noted))
        raise ValueError(f"{where} has {PREFIX + name!r} in its metadata: it needs the tensor {name + SUFFIX!r}")
    return entries


def _adopt(buffer: Any, name: str, entry: Mapping[str, Any], path: Path, device: Optional[str]) -> SparseMatrix:
    where = f"{os.fspath(path)}: {name}"
    if "xxh3" in entry:
        found = _xxh3(buffer)
        if found is not None and found != entry["xxh3"]:
            raise ValueError(f"{where}: the checksum of the bytes is {found}, the file says {entry['xxh3']}")
    total = int.from_bytes(bytes(buffer[88:96].tolist()), "little")  # the header's size of the whole
    padding = buffer[total:]
    if 0 < len(padding) < ALIGNMENT and not padding.any():
        buffer = buffer[:total]
    matrix = SparseMatrix.from_buffer(buffer if device is None else buffer.to(device))
    for key, value in (("rows", matrix.shape[0]), ("cols", matrix.shape[1]), ("nnz", matrix.nnz)):
        if entry.get(key, value) != value:
            raise ValueError(f"{where}: the metadata says {key} {entry[key]}, the matrix has {value}")
    return matrix
