"""Training the reconstruction network on a generator: from the linear model's readings to pictures alone.

1. With the mirror, the network first learns what the linear model says of each draw, of the draw and of its mirror
   image alike, disturbed as photographs are.
2. Then it learns by rendering what it reads (Unsup3D, CVPR 2020): photometric and perceptual terms with confidence,
   once with the canonical face and once with its mirror image. Reading the mirrored picture must give the mirrored
   reading, and pictures are coupled with latents (arXiv 2103.16605): light and view are fitted on the latents every
   few hundred steps, and a face and its count_neutralized_images self must agree.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, synthesize_at
from faceaug.reconstruction.factors import LIGHT_NAMES, FaceFactors, concatenate_factors
from faceaug.reconstruction.networks import Reconstructor, on_device
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.training import losses
from faceaug.reconstruction.training.augmentation import degraded, sample_augmentation
from faceaug.reconstruction.training.latent_regression import LIGHT_VIEW_NAMES, LatentRegressor
from faceaug.reconstruction.training.linear_init import LinearFace, roughness
from faceaug.reconstruction.training.perceptual import LatentReader, PerceptualFeatures
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import at_side
from faceaug.utils.training.train_loop import descend, rng_of

Coupling = Literal["none", "paper", "mirror", "both"]
"""What stabilises the training: nothing; refit, neutralise and agree; the mirror; all of it."""


@dataclass(frozen=True)
class ReconstructionSchedule:
    """Everything that decides what a training computes, but the generator and the draws.

    Attributes
    ----------
    coupling : "none", "paper", "mirror" or "both"
    side : 16, 32 or 64
        Pixels of the pictures that are read and of the canonical maps.
    steps : int
        In all.
    distil : int
        Of these, steps that learn from the linear model (with the mirror only).
    batch, pairs : int
        Pictures in a step; how many of them are also count_neutralized_images.
    refit_every : int
        Steps between two fits of light and view on the latent.
    seed : int
    """

    coupling: Coupling = "both"
    side: int = 64
    steps: int = 4000
    distil: int = 800
    batch: int = 32
    pairs: int = 8
    refit_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.coupling not in get_args(Coupling):
            raise UsageError(f"the coupling {self.coupling!r} is unknown; there are {', '.join(get_args(Coupling))}")
        if self.side not in (16, 32, 64):
            raise UsageError(f"a network for {self.side} pixels is not made; there are 16, 32 and 64")
        if not (self.steps >= 1 and self.distil >= 0 and self.batch >= 1 and 0 <= self.pairs <= self.batch):
            raise UsageError(
                f"a training of {self.steps} steps, {self.distil} of them distilling, with batches of {self.batch} and "
                f"{self.pairs} pairs cannot be made: steps and batch are at least 1, pairs at most the batch"
            )
        if self.refit_every < 1:
            raise UsageError(f"a fit every {self.refit_every} steps cannot be made: it must be at least 1")

    @property
    def mirror(self) -> bool:
        """Whether the mirror takes part."""
        return self.coupling in ("mirror", "both")

    @property
    def paired(self) -> bool:
        """Whether refit, count_neutralized_images pairs, agreement and convexity take part."""
        return self.coupling in ("paper", "both")


RATES = (1e-3, 2e-4)  # while distilling, and after
MEMORY = 0.998  # of the running average of the weights
COPY = 0.5  # the mirrored canonical face's picture beside the picture
PERCEPTUAL, MIRROR, AGREE, ROUGH, SMALL_TURNS, CONVEX = 0.5, 0.1, 0.1, 10.0, 0.01, 0.2
LARGE, SELDOM = 128, 8
"""Where pictures have more pixels a side than LARGE, drawing them is what costs: faces are then count_neutralized_images every
SELDOM-th step only, and what they say counts so many times."""
_CONVEX_FOR = 0.3  # share of the photometric steps over which the convexity prior fades


def seldom(generator: Generator) -> int:
    """Return every how many steps faces of a generator are count_neutralized_images."""
    return SELDOM if generator.resolution > LARGE else 1


def count_neutralized_images(generator: Generator, schedule: ReconstructionSchedule) -> int:
    """Return how many pictures a whole training draws anew."""
    if not schedule.paired:
        return 0
    distil, often = min(schedule.distil, schedule.steps) if schedule.mirror else 0, seldom(generator)
    return schedule.pairs * (-(-schedule.steps // often) - -(-distil // often))


class NetworkTrainer:
    """The network, its running average, and one step.

    Parameters
    ----------
    generator, pool, split
        What is learnt from; the pool and the split are of this generator.
    reader : perceptual.LatentReader
        Trained; its layers become the perceptual features and the network's first weights.
    linear : LinearFace or None
        Trained; not needed without the mirror.
    schedule
    device
        Where to compute.
    """

    def __init__(
        self,
        generator: Generator,
        pool: SamplePool,
        split: MirrorSplit,
        reader: LatentReader,
        linear: LinearFace | None,
        schedule: ReconstructionSchedule,
        device: torch.device | None = None,
    ) -> None:
        if schedule.mirror and linear is None:
            raise UsageError(f"the coupling {schedule.coupling!r} begins with the linear model: give one")
        self.generator, self.pool, self.white, self.schedule = generator, pool, split.whitening, schedule
        self.device = device or torch.device("cpu")
        self.step, self.steps = 0, schedule.steps
        self.seldom = seldom(generator)
        self.distil = min(schedule.distil, schedule.steps) if schedule.mirror else 0
        self.u = split.whitening.white(pool.w)
        self.linear = None
        if linear is not None and schedule.mirror:
            self.linear = linear.to(self.device).eval().requires_grad_(False)
        network = Reconstructor(schedule.side, schedule.seed)
        network.encoder.load_state_dict(reader.encoder.state_dict())
        self.network = on_device(network, self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        some = at_side(pool.float_images(slice(0, 256), self.device), schedule.side)
        self.features = PerceptualFeatures(reader.to(self.device), some)
        self.fit = LatentRegressor(self.u.shape[1], schedule.refit_every * schedule.batch)
        if self.linear is not None and schedule.paired:
            said = concatenate_factors(
                [self.linear(part.to(self.device)) for part in torch.split(self.u[: len(self.fit.u)], 512)]
            )
            self.fit.fit(self.u[: len(said)], torch.cat([said.light, said.view], 1).cpu())
        self.adam = torch.optim.Adam(self.network.parameters(), RATES[0])

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average, "fit": self.fit}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Learn from one batch."""
        rng = rng_of(self.schedule.seed, 0x13, self.step)
        rows = torch.randint(len(self.pool), (self.schedule.batch,), generator=rng)
        clean = at_side(self.pool.float_images(rows, self.device), self.schedule.side)
        done = sample_augmentation(len(rows), rng, self.device)
        wanted = done.images(clean)
        seen = degraded(wanted, rng)
        distilling = self.step < self.distil
        self.adam.param_groups[0]["lr"] = RATES[0] if distilling else RATES[1]
        u = self.u[rows].to(self.device)
        if distilling:
            loss, said = self._distil(seen, done.reading(self._linear(u)))
        else:
            loss, said = self._explain(seen, wanted, u)
        descend(self.adam, loss)
        self._follow()
        return {"loss": loss.item(), **said}

    def _linear(self, u: Tensor) -> FaceFactors:
        """Return the linear model's readings at this network's side."""
        assert self.linear is not None
        with torch.no_grad():
            said = self.linear(u)
        depth = at_side(said.depth[:, None], self.schedule.side)[:, 0]
        return FaceFactors(depth, at_side(said.albedo, self.schedule.side), said.light, said.view)

    def _distil(self, seen: Tensor, wanted: FaceFactors) -> tuple[Tensor, dict[str, float]]:
        """Pictures and their mirrors are to be read as the linear model says."""
        reading = self.network(torch.cat([seen, seen.flip(-1)]))
        loss = losses.distance(reading, concatenate_factors([wanted, wanted.mirrored()]))
        return loss, {}

    def _explain(self, seen: Tensor, wanted: Tensor, u: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Readings, rendered, are to give the pictures again."""
        n, schedule = len(seen), self.schedule
        reading, sigma = self.network.with_confidence(torch.cat([seen, seen.flip(-1)]) if schedule.mirror else seen)
        first, sigma = reading[:n], sigma[:n]
        loss, l1 = self._photometric(concatenate_factors([first, first.flipped()]), sigma, wanted)
        said = {"l1": l1}
        if schedule.mirror:
            apart = losses.distance(reading[n:], first.mirrored())
            loss = loss + MIRROR * apart
            said["mirror"] = apart.item()
        loss = loss + ROUGH * schedule.side**2 / 1024 * roughness(first.depth)
        loss = loss + SMALL_TURNS * first.view[:, :3].square().mean()
        if schedule.paired:
            fade = 1 - (self.step - self.distil) / max(1.0, _CONVEX_FOR * (self.steps - self.distil))
            loss = loss + CONVEX * max(0.0, fade) * losses.convexity(first.depth)
            if self.fit.ready and schedule.pairs and self.step % self.seldom == 0:
                apart = self._agree(first[: schedule.pairs], u[: schedule.pairs])
                loss = loss + AGREE * self.seldom * apart
                said["agree"] = apart.item()
        told = self.fit.take(u, first)
        if told is not None:
            said["r2_yaw"] = float(told[LIGHT_VIEW_NAMES.index("yaw")])
        return loss, said

    def _photometric(self, both: FaceFactors, sigma: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
        """Return the loss of pictures made of readings and of the same with mirrored faces, and the former's L1."""
        n = len(wanted)
        made = render(both.albedo, both.depth, both.light, both.view)
        twice = torch.cat([wanted, wanted])
        error = (made.image - twice).abs().mean(1, keepdim=True)
        # What is not covered is filled with the picture itself, so that features see no edge there.
        filled = torch.where(made.mask[:, None], made.image.clamp(-1.5, 1.5), twice)
        with torch.no_grad():
            features = self.features(wanted)
        found = self.features(filled)
        loss = error.new_zeros(())
        for k, weight in ((0, 1.0), (1, COPY)):
            part = slice(k * n, k * n + n)
            loss = loss + weight * losses.laplace(error[part], sigma[:, k : k + 1], made.mask[part])
            deep = losses.gaussian(found[part], features, sigma[:, 2 + k : 3 + k], made.mask[part])
            loss = loss + weight * PERCEPTUAL * deep
        seen = made.mask[:n, None].to(error.dtype)
        return loss, ((error[:n] * seen).sum() / seen.sum().clamp(min=1)).item()

    def _agree(self, reading: FaceFactors, u: Tensor) -> Tensor:
        """A face and its count_neutralized_images self are one face, and the latter is frontal and lit as usual."""
        images = synthesize_at(self.generator, self.white.latent(self.fit.neutral(u)), self.schedule.side)
        neutral = self.network(images)
        usual = self.fit.usual().to(images).expand(len(images), -1)
        asked = FaceFactors(neutral.depth, neutral.albedo, usual[:, : len(LIGHT_NAMES)], usual[:, len(LIGHT_NAMES) :])
        made = render(reading.albedo, reading.depth, neutral.light, neutral.view)
        seen = made.mask[:, None].to(images.dtype)
        error = ((made.image - images).abs() * seen).sum() / (3 * seen.sum()).clamp(min=1)
        return losses.faces_apart(reading, neutral) + losses.poses_apart(neutral, asked) + error / losses.ALBEDO_UNIT

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average; at first it follows closely."""
        share = 1 - min(MEMORY, (1 + self.step) / (10 + self.step))
        for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(new, share)
