"""Data-parallel training in several processes, each on a device of its own, as `torchrun` starts them.

Every process holds the same weights, samples its own share of the batch, and steps by the mean of all gradients, so the
weights stay the same everywhere. Only the first process writes files.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from faceaug.errors import GeneratorError
from faceaug.utils.device import check_device


@dataclass(frozen=True)
class Workers:
    """This process within the group that trains together.

    Parameters
    ----------
    rank
        Number of this process, from 0.
    world_size
        Number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def local_batch_size(self, batch_size: int) -> int:
        """Return this process's share of a batch.

        Raises
        ------
        GeneratorError
            When the batch cannot be divided evenly into shares of at least 2.
        """
        if batch_size % self.world_size or batch_size // self.world_size < 2:
            raise GeneratorError(
                f"a batch of {batch_size} cannot be divided among {self.world_size} processes: choose a --batch-size "
                f"that is a multiple of {self.world_size}, at least {2 * self.world_size}"
            )
        return batch_size // self.world_size

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of all processes' values; the tensor itself where there is one process."""
        if self.world_size == 1:
            return values
        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed / self.world_size

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the mean of all processes' gradients, in place."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def broadcast(self, value: bool, device: torch.device) -> bool:
        """Return the first process's value: clocks differ, and all processes must stop at the same step."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor([float(value)], device=device)
        dist.broadcast(tensor, 0)
        return bool(tensor.item())


def join_workers(device: str | torch.device) -> tuple[Workers, torch.device]:
    """Return this process's place in the group that `torchrun` started, and its device.

    Without `torchrun` that is the only process and the device itself. With it, "cuda" becomes this process's own GPU.

    Raises
    ------
    GeneratorError
        When the device is not available.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    requested = torch.device(device)
    if world_size == 1:
        return Workers(), check_device(requested)
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if requested.type == "cuda":
        requested = torch.device("cuda", local_rank)
    own_device = check_device(requested)
    if own_device.type == "cuda":
        torch.cuda.set_device(own_device)
    if not dist.is_initialized():
        # Functions of this module take the group of all processes as a default argument. Imported later (by an
        # optimizer), they would hold the group for ever: its threads would outlive `leave_workers`, and abort the
        # interpreter as it ends.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if own_device.type == "cuda" else "gloo")
    return Workers(rank, world_size), own_device


def leave_workers() -> None:
    """Destroy the group of `join_workers`; does nothing where there is one process."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
