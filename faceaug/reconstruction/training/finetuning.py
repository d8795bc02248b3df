"""Tuning a trained reconstruction on unlabelled photographs, and stopping before it forgets what it knew.

Photographs are explained by rendering what is read off them, as in training; the mirrored picture must give the
mirrored reading. So that readings keep their meaning, the network must go on reading its generator's pictures as it did
before: that is asked of it in every step, and checked on draws that it does not learn from.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from faceaug.reconstruction.factors import FaceFactors, concatenate_factors
from faceaug.reconstruction.networks import Reconstructor, on_device
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES, semantics_of
from faceaug.reconstruction.training import losses
from faceaug.reconstruction.training.augmentation import degraded, sample_augmentation
from faceaug.reconstruction.training.linear_init import roughness
from faceaug.utils.tensors import at_side
from faceaug.utils.training.train_loop import descend, rng_of

RATE = 1e-4
MEMORY = 0.99  # of the running average of the weights
COPY, MIRROR, ROUGH, ANCHOR = 0.5, 0.1, 10.0, 0.3
CHECK_EVERY = 50  # steps
WORSE, DRIFT = 1.05, 0.35
"""Error on held-out draws, in that of the start, and change of a semantic there, in its standard deviation, at most."""
PATIENCE = 6  # checks without a gain on held-out photographs
GOES_ON, WORSENED, DRIFTED, SETTLED = range(4)
REASONS = (
    "all steps were done", "its generator's faces were explained worse", "readings of its generator's faces drifted",
    "held-out photographs were explained no better",
)  # fmt: skip


class HeldOutMonitor(nn.Module):
    """What is known of the held-out pictures, kept with the checkpoint.

    Attributes
    ----------
    ended : Tensor, int64 []
        `GOES_ON`, or why it was stopped.
    stale : Tensor, int64 []
        Checks since the last gain.
    seen : Tensor, float32 [2, 3]
        At the start and at the best: error on photographs, error on draws, drift.
    """

    ended: Tensor
    stale: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ended", torch.tensor(GOES_ON))
        self.register_buffer("stale", torch.tensor(0))
        self.register_buffer("seen", torch.zeros(2, 3))


class FinetuneTrainer:
    """The network, its running average, the best of those, and one step (protocol `loop.Trainer`).

    Parameters
    ----------
    network
        Trained; it is copied.
    photographs, held_photographs
        Faces cut from photographs in the generator's framing, uint8 [N, 3, S, S].
    draws, held_draws
        The generator's pictures, uint8 [N, 3, S, S].
    steps, batch
        Most steps, and photographs in each; half as many draws go along.
    seed
    device
    """

    def __init__(
        self, network: Reconstructor, photographs: Tensor, held_photographs: Tensor, draws: Tensor, held_draws: Tensor,
        *, steps: int, batch: int = 24, seed: int = 0, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self.device = device or torch.device("cpu")
        self.first = copy.deepcopy(network).to(self.device).eval().requires_grad_(False)
        self.network = on_device(copy.deepcopy(network), self.device).train().requires_grad_(True)
        self.average, self.best = copy.deepcopy(self.first), copy.deepcopy(self.first)
        self.photographs, self.draws = photographs, draws
        self._held, self._held_draws = held_photographs, held_draws
        self.total, self.batch, self.seed = steps, batch, seed
        self.watch = HeldOutMonitor()
        self.watch.seen[:] = torch.tensor([*self._errors(self.first), 0.0])
        self._before = self._semantics(self.first)
        self.adam = torch.optim.Adam(self.network.parameters(), RATE)
        self.step = 0

    @property
    def steps(self) -> int:
        """Steps in all; as many as were done, once it was stopped."""
        return self.step if int(self.watch.ended) != GOES_ON else self.total

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average, "best": self.best, "watch": self.watch}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    @property
    def reason(self) -> str:
        """Why it ended."""
        if self.step < self.steps:
            return "the time was up"
        return REASONS[int(self.watch.ended)]

    def advance(self) -> dict[str, float]:
        """Learn from one batch, and now and then look at what is held out."""
        rng = rng_of(self.seed, 0x7E, self.step)
        clean = self._some(self.photographs, self.batch, rng)
        drawn = self._some(self.draws, max(1, self.batch // 2), rng)
        loss, said = self._explained(clean, rng)
        done = sample_augmentation(len(drawn), rng, self.device)
        with torch.no_grad():
            known = done.reading(self.first(drawn))
        kept = losses.distance(self.network(degraded(done.images(drawn), rng)), known)
        loss = loss + ANCHOR * kept
        descend(self.adam, loss)
        with torch.no_grad():
            for slow, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(new, 1 - MEMORY)
        said |= {"loss": loss.item(), "kept": kept.item()}
        if (self.step + 1) % CHECK_EVERY == 0 or self.step + 1 == self.total:
            said |= self._check()
        return said

    def _some(self, images: Tensor, n: int, rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (n,), generator=rng)
        return images[rows].to(self.device).float() / 127.5 - 1

    def _explained(self, clean: Tensor, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Readings of photographs, rendered, are to give them again; the mirrored one is to be read mirrored."""
        n = len(clean)
        done = sample_augmentation(n, rng, self.device)
        wanted = done.images(clean)
        seen = degraded(wanted, rng)
        reading, sigma = self.network.with_confidence(torch.cat([seen, seen.flip(-1)]))
        first = reading[:n]
        both = concatenate_factors([first, first.flipped()])
        made = render(both.albedo, both.depth, both.light, both.view)
        error = (made.image - torch.cat([wanted, wanted])).abs().mean(1, keepdim=True)
        loss = losses.laplace(error[:n], sigma[:n, :1], made.mask[:n])
        loss = loss + COPY * losses.laplace(error[n:], sigma[:n, 1:2], made.mask[n:])
        apart = losses.distance(reading[n:], first.mirrored())
        loss = loss + MIRROR * apart + ROUGH * self.network.side**2 / 1024 * roughness(first.depth)
        return loss, {"l1": _masked(error[:n], made.mask[:n]).item(), "mirror": apart.item()}

    def _check(self) -> dict[str, float]:
        """Keep the average if it explains held-out photographs better and draws as well as ever, or stop."""
        photographs, draws = self._errors(self.average)
        drift = float(((self._semantics(self.average) - self._before).square().mean(0).sqrt() / self._spread).max())
        watch = self.watch
        if draws > WORSE * float(watch.seen[0, 1]):
            watch.ended.fill_(WORSENED)
        elif drift > DRIFT:
            watch.ended.fill_(DRIFTED)
        elif photographs < float(watch.seen[1, 0]):
            self.best.load_state_dict(self.average.state_dict())
            watch.seen[1] = torch.tensor([photographs, draws, drift])
            watch.stale.zero_()
        else:
            watch.stale += 1
            if int(watch.stale) >= PATIENCE:
                watch.ended.fill_(SETTLED)
        return {"photographs": photographs, "draws": draws, "drift": drift}

    @property
    def _spread(self) -> Tensor:
        return self._before.std(0).clamp(min=1e-6)

    def _errors(self, network: Reconstructor) -> tuple[float, float]:
        return tuple(  # type: ignore[return-value]
            float(torch.cat([self._error(network, part) for part in torch.split(held, ESTIMATOR_BATCH_SIZE)]).mean())
            for held in (self._held, self._held_draws)
        )

    @torch.no_grad()
    def _error(self, network: Reconstructor, images: Tensor) -> Tensor:
        images = at_side(images.to(self.device).float() / 127.5 - 1, network.side)
        reading: FaceFactors = network(images)
        made = render(reading.albedo, reading.depth, reading.light, reading.view)
        error = (made.image - images).abs().mean(1, keepdim=True)
        seen = made.mask[:, None].to(error.dtype)
        return (error * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)

    @torch.no_grad()
    def _semantics(self, network: Reconstructor) -> Tensor:
        parts = [
            part.to(self.device).float() / 127.5 - 1 for part in torch.split(self._held_draws, ESTIMATOR_BATCH_SIZE)
        ]
        return torch.cat([semantics_of(network(part))[:, : len(FACTOR_NAMES)] for part in parts])


def _masked(error: Tensor, mask: Tensor) -> Tensor:
    seen = mask[:, None].to(error.dtype)
    return (error * seen).sum() / seen.sum().clamp(min=1)
