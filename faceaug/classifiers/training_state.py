"""The state of a training in the cache, so that an interrupted one goes on where it was, with the same numbers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from faceaug.cache.key import CacheKey, array_sha256
from faceaug.cache.store import open_cache
from faceaug.classifiers.losses import RandomBatches

SAVE_EVERY = 10.0
"""Seconds of work that an interruption of a training may lose."""
_VERSION = 1
_ITEM, _MOMENTS = "state.safetensors", ("exp_avg", "exp_avg_sq")


class TrainingState:
    """All that a training changes: the network, its optimizer and schedule, the batches, the random numbers.

    Parameters
    ----------
    parts : mapping
        JSON values that decide the training, besides the network and the weights that it begins with.
    net : Module
    optimizer : Optimizer
    schedule : LRScheduler
        Which depends on the number of its steps alone.
    batches : RandomBatches
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        batches: RandomBatches,
    ) -> None:
        self._net, self._optimizer, self._schedule, self._batches = net, optimizer, schedule, batches
        begins = [array_sha256(value.cpu().numpy()) for value in net.state_dict().values()]
        self._key = CacheKey("training", {"version": _VERSION, "network": str(net), "begins": begins, **parts})
        self._saved = time.monotonic()

    def restore(self, rng: torch.Generator) -> int:
        """Take over what an interrupted call has left, and return the number of steps that it has done."""
        items = open_cache().read(self._key)
        if not items:
            return 0
        tensors = safetensors.torch.load(items[_ITEM])  # the cache has checked that it is whole
        step = int(tensors["step"])
        self._batches.order = tensors["order"]
        self._net.load_state_dict({name: tensors[f"net.{name}"] for name in self._net.state_dict()})
        for number, parameter in enumerate(self._parameters()):
            # As the optimizer makes them, also in the order in memory, on which rounding may depend.
            moments = {name: torch.zeros_like(parameter).copy_(tensors[f"{name}.{number}"]) for name in _MOMENTS}
            self._optimizer.state[parameter] = {"step": tensors[f"step.{number}"], **moments}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer has done no step yet
            for _ in range(step):
                self._schedule.step()
        rng.set_state(tensors["rng"])
        return step

    def keep(self, step: int, rng: torch.Generator) -> None:
        """Leave the state after a step in the cache, every `SAVE_EVERY` seconds."""
        if time.monotonic() - self._saved < SAVE_EVERY or not open_cache().enabled:
            return
        tensors: dict[str, Tensor] = {"step": torch.tensor(step), "rng": rng.get_state(), "order": self._batches.order}
        tensors |= {f"net.{name}": value for name, value in self._net.state_dict().items()}
        for number, parameter in enumerate(self._parameters()):
            state = self._optimizer.state[parameter]
            tensors |= {f"{name}.{number}": state[name] for name in ("step", *_MOMENTS)}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        open_cache().write(self._key, {_ITEM: safetensors.torch.save(plain)})
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove the state of a training that has come to its end."""
        open_cache().remove(self._key)

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
