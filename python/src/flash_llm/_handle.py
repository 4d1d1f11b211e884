"""Library handles: one for the host, one for each CUDA device, made on first use and kept.

A CUDA handle loads every kernel, so there is one a device and not one a stream: each call sets the stream it wants,
and holds the handle's lock from there to the launch.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import byref, c_void_p
from typing import Any, Optional

from ._library import library


class Handle:
    """A flashllmHandle_t. `device` is a CUDA ordinal, or None for the host."""

    def __init__(self, device: Optional[int]) -> None:
        self.device = device
        self.lock = threading.RLock()
        self._stream = 0
        self._key = c_void_p()
        self._library = library()
        self._library.call("flashllmCreateHost" if device is None else "flashllmCreate", byref(self._key))

    def call(self, name: str, *arguments: Any) -> None:
        """A call with this handle first, on the stream that was chosen last. Hold the lock."""
        self._library.call(name, self._key, *arguments)

    def use_stream(self, stream: int) -> None:
        """Chooses the stream of the next calls. Hold the lock."""
        if stream != self._stream:
            self.call("flashllmSetStream", c_void_p(stream))
            self._stream = stream


_handles: dict[Optional[int], Handle] = {}
_making = threading.Lock()


def host_handle() -> Handle:
    """The handle that computes on this machine's cores."""
    return _get(None)


def cuda_handle(device: int) -> Handle:
    """The handle of a CUDA device, bound to the context that PyTorch uses there."""
    handle = _handles.get(device)
    if handle is not None:
        return handle
    import torch

    # flashllmCreate() binds to the calling thread's context: PyTorch's has to be there and current.
    with torch.cuda.device(device):
        torch.cuda.synchronize(device)
        return _get(device)


def _get(device: Optional[int]) -> Handle:
    with _making:
        handle = _handles.get(device)
        if handle is None:
            handle = _handles[device] = Handle(device)
        return handle


def float_pointer(value: float) -> Any:
    """A host scalar for alpha and beta, kept alive by the caller."""
    return byref(ctypes.c_float(value))
