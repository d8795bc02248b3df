"""Training that can stop at any moment and goes on as if it had not: steps, checkpoints, a log, and a limit of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from faceaug.errors import FaceaugError
from faceaug.utils import checkpoints as snapshots

SAVE_EVERY = 45.0  # seconds between checkpoints
LOG_EVERY = 25  # steps between lines of the log


class StepTrainer(Protocol):
    """What is trained: what a step does depends on the seed, the step's number and the state alone."""

    step: int

    @property
    def steps(self) -> int:
        """How many there are in all; a trainer that ends early says so here."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Everything that changes and is no optimiser, by name."""

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers, by name."""

    def advance(self) -> dict[str, float]:
        """Do one step and return what there is to say about it."""


StepProgress = Callable[[int, int, Mapping[str, float]], None]
"""Told (steps done, steps, what the last step said)."""


def rng_of(*stream: int) -> torch.Generator:
    """Return the source of randomness of one step, from its numbers."""
    seed = np.random.SeedSequence(stream).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step of an optimiser down a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def run(
    trainer: StepTrainer,
    folder: Path | None = None,
    setup: Mapping[str, Any] | None = None,
    *,
    until: float | None = None,
    progress: StepProgress | None = None,
) -> bool:
    """Train to the last step, or until the time is up; return whether the last step was reached.

    Parameters
    ----------
    trainer
        Goes on from the folder's checkpoint if there is one.
    folder
        Where checkpoint.safetensors and log.jsonl are kept; made if it is not there. Nothing is kept without one.
    setup
        Everything that decides what is computed, JSON-able. Another run's checkpoint is refused.
    until
        `time.monotonic()` at which to stop; at least one step is done.
    progress : callable, optional

    Raises
    ------
    GeneratorError
        When the checkpoint is damaged or belongs to another setup.
    FaceaugError
        When the loss stops being a number.
    """
    setup = dict(setup or {})
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / snapshots.CHECKPOINT).exists():
            read = snapshots.read_checkpoint(folder, setup, trainer.networks, trainer.optimisers)
            trainer.step = read["step"]
            snapshots.cut_log(folder, trainer.step)
    begin = saved = time.monotonic()
    first = trainer.step
    while trainer.step < trainer.steps:
        said = trainer.advance()
        trainer.step += 1
        now = time.monotonic()
        over = trainer.step >= trainer.steps or (until is not None and now >= until)
        if not math.isfinite(said["loss"]):
            raise FaceaugError(
                f"the training fell apart at step {trainer.step}, as it would again: run it with another --seed and a "
                "fresh --work folder"
            )
        if folder is not None:
            if over or trainer.step % LOG_EVERY == 0:
                left = (now - begin) / (trainer.step - first) * (trainer.steps - trainer.step)
                rounded = {name: float(f"{value:.5g}") for name, value in said.items()}
                snapshots.append_log(folder, {"step": trainer.step, **rounded, "seconds_left": round(left, 1)})
            if over or now - saved >= SAVE_EVERY:
                snapshots.write_checkpoint(folder, {"step": trainer.step}, setup, trainer.networks, trainer.optimisers)
                saved = now
        if progress:
            progress(trainer.step, trainer.steps, said)
        if over:
            break
    return trainer.step >= trainer.steps
