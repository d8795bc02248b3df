"""Several processes that train one network together, each on a device of its own, as `torchrun` starts them.

Every process holds the same weights, draws its own part of the batch, and steps by the mean of all gradients: so the
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
    """This process among those that train together.

    Parameters
    ----------
    rank
        Its number, from 0.
    world
        How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Return this process's part of a batch.

        Raises
        ------
        GeneratorError
            When the batch cannot be divided evenly into parts of at least 2.
        """
        if batch % self.world or batch // self.world < 2:
            raise GeneratorError(
                f"a batch of {batch} cannot be shared by {self.world} processes: choose a --batch that is a multiple "
                f"of {self.world}, at least {2 * self.world}"
            )
        return batch // self.world

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of all processes' values; the tensor itself where there is one process."""
        if self.world == 1:
            return values
        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed / self.world

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the mean of all processes' gradients, in place."""
        if self.world == 1:
            return
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in found]))
        start = 0
        for gradient in found:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def agree(self, wish: bool, device: torch.device) -> bool:
        """Return what the first process wishes: clocks differ, and all must stop at the same step."""
        if self.world == 1:
            return wish
        told = torch.tensor([float(wish)], device=device)
        dist.broadcast(told, 0)
        return bool(told.item())


def join(device: str | torch.device) -> tuple[Workers, torch.device]:
    """Return this process's place among those that `torchrun` started, and its device.

    Without `torchrun` that is the only process and the device itself. With it, "cuda" becomes this process's own GPU.

    Raises
    ------
    GeneratorError
        When the device is not there.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    wanted = torch.device(device)
    if world == 1:
        return Workers(), check_device(wanted)
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if wanted.type == "cuda":
        wanted = torch.device("cuda", local)
    found = check_device(wanted)
    if found.type == "cuda":
        torch.cuda.set_device(found)
    if not dist.is_initialized():
        # Its functions take the group of all processes as a default argument. Imported later (an optimiser does that),
        # they would hold the group for ever: its threads would outlive `leave`, and abort the interpreter as it ends.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return Workers(rank, world), found


def leave() -> None:
    """End what `join` began; nothing happens where there is one process."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
