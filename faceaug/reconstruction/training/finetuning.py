"""Fine-tuning of a trained reconstruction network on unlabelled photographs, stopped before its factors drift.

The photometric and the mirror loss are those of the training, on photographs. So that factors keep their meaning, the
factors that the network predicts for samples of its generator must stay as they were: a loss holds them in every step,
and held-out samples are checked regularly (docs/method.md, section 2, "Fine-tuning").
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faceaug.errors import UsageError
from faceaug.reconstruction.factors import FaceFactors, concatenate_factors
from faceaug.reconstruction.networks import Reconstructor, channels_last
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, semantics_of
from faceaug.reconstruction.training import losses
from faceaug.reconstruction.training.augmentation import degrade, sample_augmentation
from faceaug.utils.tensors import normalize_pixels, resize_tensor
from faceaug.utils.training.train_loop import descend, rng_of

FLIPPED_WEIGHT, MIRROR_WEIGHT, ROUGHNESS_WEIGHT, ANCHOR_WEIGHT = 0.5, 0.1, 10.0, 0.3
RUNNING, SAMPLES_WORSE, FACTORS_DRIFTED, NO_GAIN = range(4)
STOP_REASONS = (
    "all steps were done",
    "its generator's faces were explained worse",
    "factors of its generator's faces drifted",
    "held-out photographs were explained no better",
)


@dataclass(frozen=True)
class FinetuneSchedule:
    """Configuration of a fine-tuning.

    Attributes
    ----------
    steps : int
        Steps at most.
    batch_size : int
        Photographs of a step; half as many samples are added.
    seed : int
    lr, ema_decay : float
        Learning rate of Adam; decay of the running average of the weights.
    check_every : int
        Steps between two checks on held-out images.
    max_error_ratio : float
        Largest error on held-out samples, relative to the error at the start.
    max_drift : float
        Largest root mean square change of a semantic factor on held-out samples, in its standard deviation over them.
    patience : int
        Checks without a gain on held-out photographs after which the training stops.

    Raises
    ------
    UsageError
        When there is no step.
    """

    steps: int = 1500
    batch_size: int = 24
    seed: int = 0
    lr: float = 1e-4
    ema_decay: float = 0.99
    check_every: int = 50
    max_error_ratio: float = 1.05
    max_drift: float = 0.35
    patience: int = 6

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps is {self.steps}; it must be at least 1")


@dataclass(frozen=True, eq=False)
class FinetuneImages:
    """Images of a fine-tuning, all uint8 [N, 3, S, S] with N of their own.

    Attributes
    ----------
    photographs, held_out_photographs
        Faces cropped from photographs in the generator's framing.
    samples, held_out_samples
        Images of the generator.
    """

    photographs: Tensor
    held_out_photographs: Tensor
    samples: Tensor
    held_out_samples: Tensor


class HeldOutMonitor(nn.Module):
    """The state of the checks on held-out images, part of a checkpoint.

    Attributes
    ----------
    stop_code : int64 []
        `RUNNING`, or the index in `STOP_REASONS` of why the training stopped.
    checks_without_gain : int64 []
    records : float32 [2, 3]
        At the start and at the best check: error on photographs, error on samples, drift.
    """

    stop_code: Tensor
    checks_without_gain: Tensor
    records: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stop_code", torch.tensor(RUNNING))
        self.register_buffer("checks_without_gain", torch.tensor(0))
        self.register_buffer("records", torch.zeros(2, 3))


class FinetuneTrainer:
    """The network, its running average, the best average, and one training step (protocol `train_loop.StepTrainer`).

    Parameters
    ----------
    network
        Trained; it is copied.
    images
    schedule
    device
        Device to compute on; the CPU by default.
    """

    def __init__(
        self,
        network: Reconstructor,
        images: FinetuneImages,
        schedule: FinetuneSchedule,
        device: torch.device | None = None,
    ) -> None:
        self.device, self.schedule, self.images = device or torch.device("cpu"), schedule, images
        self.original = copy.deepcopy(network).to(self.device).eval().requires_grad_(False)
        self.network = channels_last(copy.deepcopy(network), self.device).train().requires_grad_(True)
        self.average, self.best = copy.deepcopy(self.original), copy.deepcopy(self.original)
        self.monitor = HeldOutMonitor()
        self.monitor.records[:] = torch.tensor([*self.held_out_errors(self.original), 0.0])
        self._original_semantics = self._semantics(self.original)
        self.adam = torch.optim.Adam(self.network.parameters(), schedule.lr)
        self.step = 0

    @property
    def steps(self) -> int:
        """All steps; after an early stop, the number of steps done."""
        return self.step if int(self.monitor.stop_code) != RUNNING else self.schedule.steps

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average, "best": self.best, "monitor": self.monitor}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    @property
    def stop_reason(self) -> str:
        """Why the training ended, for people."""
        if self.step < self.steps:
            return "the time was up"
        return STOP_REASONS[int(self.monitor.stop_code)]

    def advance(self) -> dict[str, float]:
        """Train on one batch and, where due, check held-out images; return the loss, its terms and the check."""
        rng = rng_of(self.schedule.seed, 0x7E, self.step)
        photographs = self._batch(self.images.photographs, self.schedule.batch_size, rng)
        samples = self._batch(self.images.samples, max(1, self.schedule.batch_size // 2), rng)
        loss, terms = self._photograph_loss(photographs, rng)
        augmentation = sample_augmentation(len(samples), rng, self.device)
        with torch.no_grad():
            expected = augmentation.apply_to_factors(self.original(samples))
        factors = self.network(degrade(augmentation.apply_to_images(samples), rng))
        anchor = losses.factor_distance(factors, expected)
        loss = loss + ANCHOR_WEIGHT * anchor
        descend(self.adam, loss)
        with torch.no_grad():
            for average, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(new, 1 - self.schedule.ema_decay)
        terms |= {"loss": loss.item(), "anchor": anchor.item()}
        if (self.step + 1) % self.schedule.check_every == 0 or self.step + 1 == self.schedule.steps:
            terms |= self._check()
        return terms

    def _batch(self, images: Tensor, n: int, rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (n,), generator=rng)
        return normalize_pixels(images[rows].to(self.device))

    def _photograph_loss(self, photographs: Tensor, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the photometric and the mirror loss of photographs, and its terms."""
        n = len(photographs)
        targets = sample_augmentation(n, rng, self.device).apply_to_images(photographs)
        inputs = degrade(targets, rng)
        factors, log_sigma = self.network.with_confidence(torch.cat([inputs, inputs.flip(-1)]))
        upright = factors[:n]
        both = concatenate_factors([upright, upright.flipped()])
        rendering = render(both.albedo, both.depth, both.light, both.view)
        error = (rendering.image - torch.cat([targets, targets])).abs().mean(1, keepdim=True)
        loss = losses.laplace_loss(error[:n], log_sigma[:n, :1], rendering.mask[:n])
        loss = loss + FLIPPED_WEIGHT * losses.laplace_loss(error[n:], log_sigma[:n, 1:2], rendering.mask[n:])
        mirror = losses.factor_distance(factors[n:], upright.mirrored())
        roughness = ROUGHNESS_WEIGHT * self.network.side**2 / 1024 * losses.roughness(upright.depth)
        loss = loss + MIRROR_WEIGHT * mirror + roughness
        return loss, {"l1": losses.masked_mean(error[:n], rendering.mask[:n]).item(), "mirror": mirror.item()}

    def _check(self) -> dict[str, float]:
        """Keep the average as the best if it explains held-out photographs better and samples as before, or stop."""
        photographs, samples = self.held_out_errors(self.average)
        change = self._semantics(self.average) - self._original_semantics
        spread = self._original_semantics.std(0).clamp(min=1e-6)
        drift = float((change.square().mean(0).sqrt() / spread).max())
        monitor = self.monitor
        if samples > self.schedule.max_error_ratio * float(monitor.records[0, 1]):
            monitor.stop_code.fill_(SAMPLES_WORSE)
        elif drift > self.schedule.max_drift:
            monitor.stop_code.fill_(FACTORS_DRIFTED)
        elif photographs < float(monitor.records[1, 0]):
            self.best.load_state_dict(self.average.state_dict())
            monitor.records[1] = torch.tensor([photographs, samples, drift])
            monitor.checks_without_gain.zero_()
        else:
            monitor.checks_without_gain += 1
            if int(monitor.checks_without_gain) >= self.schedule.patience:
                monitor.stop_code.fill_(NO_GAIN)
        return {"photographs": photographs, "samples": samples, "drift": drift}

    def held_out_errors(self, network: Reconstructor) -> tuple[float, float]:
        """Return the mean absolute error of rendered held-out photographs and samples, on images in [-1, 1]."""
        held_out = (self.images.held_out_photographs, self.images.held_out_samples)
        photographs, samples = (
            torch.cat([self._errors(network, batch) for batch in torch.split(images, ESTIMATOR_BATCH_SIZE)]).mean()
            for images in held_out
        )
        return float(photographs), float(samples)

    @torch.no_grad()
    def _errors(self, network: Reconstructor, images: Tensor) -> Tensor:
        """Return the mean absolute error [N] of each rendered image."""
        images = resize_tensor(normalize_pixels(images.to(self.device)), network.side)
        factors: FaceFactors = network(images)
        rendering = render(factors.albedo, factors.depth, factors.light, factors.view)
        error = (rendering.image - images).abs().mean(1, keepdim=True)
        visible = rendering.mask[:, None].to(error.dtype)
        return (error * visible).sum((1, 2, 3)) / visible.sum((1, 2, 3)).clamp(min=1)

    @torch.no_grad()
    def _semantics(self, network: Reconstructor) -> Tensor:
        """Return the semantic factors [N, 6] of held-out samples."""
        batches = torch.split(self.images.held_out_samples, ESTIMATOR_BATCH_SIZE)
        return torch.cat([semantics_of(network(normalize_pixels(batch.to(self.device)))) for batch in batches])
