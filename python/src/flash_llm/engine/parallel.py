"""Tensor parallelism: one process a device, sums and gatherings over torch.distributed."""

from __future__ import annotations

from typing import Optional

import torch
import torch.distributed as dist
from torch import Tensor


class Group:
    """The ranks that share a model. Without torch.distributed it is a group of one, and costs nothing."""

    def __init__(self, group: Optional["dist.ProcessGroup"] = None) -> None:
        on = dist.is_available() and dist.is_initialized()
        self._group = group
        self.rank: int = dist.get_rank(group) if on else 0
        self.size: int = dist.get_world_size(group) if on else 1

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the ranks, in place. Captured into a CUDA graph like any kernel."""
        if self.size > 1:
            dist.all_reduce(x, group=self._group)
        return x

    def gather_columns(self, x: Tensor) -> Tensor:
        """[rows, columns] of each rank, side by side."""
        if self.size == 1:
            return x
        rows, columns = x.shape
        parts = torch.empty((self.size * rows, columns), dtype=x.dtype, device=x.device)
        dist.all_gather_into_tensor(parts, x.contiguous(), group=self._group)
        return parts.view(self.size, rows, columns).transpose(0, 1).reshape(rows, self.size * columns)

    def slice(self, x: Tensor, dim: int) -> Tensor:
        """This rank's share of a tensor that every rank has."""
        return x.chunk(self.size, dim)[self.rank] if self.size > 1 else x
