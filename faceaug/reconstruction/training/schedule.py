"""The schedule of a reconstruction training: everything that determines it besides the generator and its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faceaug.errors import UsageError
from faceaug.generators.base import Generator

Coupling = Literal["none", "paper", "mirror", "both"]
"""What stabilizes the training (docs/method.md, section 2): refit, neutralize and agree (paper), mirror, or both."""


@dataclass(frozen=True)
class ReconstructionSchedule:
    """Configuration of a training.

    Attributes
    ----------
    coupling : "none", "paper", "mirror" or "both"
    side : 16, 32 or 64
        Side of the images and of the canonical maps in pixels.
    steps : int
        All steps.
    distil_steps : int
        The first steps, which distil the linear model (with the mirror only).
    batch_size, pairs : int
        Images of a step, and how many of them are also neutralized.
    refit_every : int
        Steps between two regressions of light and view on the latent.
    seed : int
    large_resolution, neutralize_every : int
        For generators of a higher resolution than `large_resolution`, where synthesis dominates the cost, faces are
        neutralized only in every `neutralize_every`-th step, and the loss of these steps has that weight.

    Raises
    ------
    UsageError
        When a value is out of bounds.
    """

    coupling: Coupling = "both"
    side: int = 64
    steps: int = 4000
    distil_steps: int = 800
    batch_size: int = 32
    pairs: int = 8
    refit_every: int = 200
    seed: int = 0
    large_resolution: int = 128
    neutralize_every: int = 8

    def __post_init__(self) -> None:
        if self.coupling not in get_args(Coupling):
            raise UsageError(f"the coupling {self.coupling!r} is unknown; there are {', '.join(get_args(Coupling))}")
        if self.side not in (16, 32, 64):
            raise UsageError(f"there is no network for {self.side} pixels: choose 16, 32 or 64")
        for name, least in dict(
            steps=1, distil_steps=0, batch_size=1, pairs=0, refit_every=1, neutralize_every=1
        ).items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.pairs > self.batch_size:
            raise UsageError(f"{self.pairs} pairs do not fit a batch of {self.batch_size}: give at most as many")

    @property
    def uses_mirror(self) -> bool:
        """Whether the mirror takes part."""
        return self.coupling in ("mirror", "both")

    @property
    def uses_pairs(self) -> bool:
        """Whether refit, neutralized pairs, agreement and convexity take part."""
        return self.coupling in ("paper", "both")

    @property
    def distillation(self) -> int:
        """Number of steps that distil the linear model."""
        return min(self.distil_steps, self.steps) if self.uses_mirror else 0

    def neutralization_interval(self, generator: Generator) -> int:
        """Return the number of steps between two in which faces of a generator are neutralized."""
        return self.neutralize_every if generator.resolution > self.large_resolution else 1

    def count_neutralized_images(self, generator: Generator) -> int:
        """Return how many images of neutralized latents a whole training synthesizes."""
        if not self.uses_pairs:
            return 0
        interval = self.neutralization_interval(generator)
        return self.pairs * (-(-self.steps // interval) - -(-self.distillation // interval))
