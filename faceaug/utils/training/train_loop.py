"""A training loop that can stop at any step and continues with the same numbers: checkpoints, log, time limit."""

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
from faceaug.utils.training import checkpoints

SAVE_EVERY = 45.0  # seconds between checkpoints
LOG_EVERY = 25  # steps between lines of the log


class StepTrainer(Protocol):
    """What `run` trains. What a step computes depends on the seed, the number of the step and the state alone."""

    step: int

    @property
    def steps(self) -> int:
        """Number of all steps; a trainer that ends early returns fewer from then on."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Modules that hold all state except that of the optimizers, by name."""

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers, by name."""

    def advance(self) -> dict[str, float]:
        """Do one step and return its metrics by name; "loss" is one of them."""


StepProgress = Callable[[int, int, Mapping[str, float]], None]
"""Called with the number of steps done, the number of all steps, and the metrics of the last step."""


def rng_of(*stream: int) -> torch.Generator:
    """Return the random number generator of one step, on the CPU.

    Parameters
    ----------
    *stream : int
        What identifies the step: the run's seed, a number of its own for each purpose, and the step's number.
    """
    seed = np.random.SeedSequence(stream).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step of an optimizer down a scalar loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def run(
    trainer: StepTrainer,
    folder: Path | None = None,
    setup: Mapping[str, Any] | None = None,
    *,
    until: float | None = None,
    save_every: float | None = None,
    progress: StepProgress | None = None,
) -> bool:
    """Train to the last step, or until the time is up.

    Parameters
    ----------
    trainer : StepTrainer
        Continues from the folder's checkpoint if there is one.
    folder : Path, optional
        Where checkpoint.safetensors and log.jsonl are kept; it is created if it does not exist. Without a folder
        nothing is stored.
    setup : mapping, optional
        Everything that decides what is computed, as JSON values. A checkpoint of another setup is refused.
    until : float, optional
        Time of `time.monotonic()` at which to stop; at least one step is done.
    save_every : float, optional
        Seconds between checkpoints, 45 by default; one is written at the end in any case.
    progress : callable, optional
        See `StepProgress`; called after each step.

    Returns
    -------
    bool
        Whether the last step was reached.

    Raises
    ------
    GeneratorError
        When the checkpoint is damaged or belongs to another setup.
    FaceaugError
        When the loss is no longer a finite number.
    """
    setup = dict(setup or {})
    save_every = SAVE_EVERY if save_every is None else save_every
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / checkpoints.CHECKPOINT_FILE).exists():
            counters = checkpoints.read_checkpoint(folder, setup, trainer.networks, trainer.optimizers)
            trainer.step = counters["step"]
            checkpoints.cut_log(folder, trainer.step)
    begin = saved = time.monotonic()
    first = trainer.step
    while trainer.step < trainer.steps:
        metrics = trainer.advance()
        trainer.step += 1
        now = time.monotonic()
        over = trainer.step >= trainer.steps or (until is not None and now >= until)
        if not math.isfinite(metrics["loss"]):
            raise FaceaugError(
                f"the training diverged at step {trainer.step}, and the same steps would diverge again: run it with "
                "another --seed and a fresh --work folder"
            )
        if folder is not None:
            if over or trainer.step % LOG_EVERY == 0:
                left = (now - begin) / (trainer.step - first) * (trainer.steps - trainer.step)
                rounded = {name: float(f"{value:.5g}") for name, value in metrics.items()}
                checkpoints.append_log(folder, {"step": trainer.step, **rounded, "seconds_left": round(left, 1)})
            if over or now - saved >= save_every:
                counters = {"step": trainer.step}
                checkpoints.write_checkpoint(folder, counters, setup, trainer.networks, trainer.optimizers)
                saved = now
        if progress:
            progress(trainer.step, trainer.steps, metrics)
        if over:
            break
    return trainer.step >= trainer.steps
