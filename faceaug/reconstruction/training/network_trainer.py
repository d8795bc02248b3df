"""Training of the reconstruction network on a generator (docs/method.md, section 2, "Network").

1. With the mirror, the network first distils the linear model: from augmented samples and their mirror images it
predicts
   the factors that the linear model gives for their latents.
2. Then the losses compare the images with what is rendered from the predicted factors (Unsup3D, CVPR 2020): photometric
   and perceptual, with predicted confidence, once with the canonical face and once with its mirror image. The factors
   of the mirrored image must be the mirrored factors, and images are coupled with latents (arXiv 2103.16605): light and
   view are regressed on the latent every few hundred steps, and a face and its neutralized self must agree.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, synthesize_at
from faceaug.reconstruction.factors import LIGHT_NAMES, FaceFactors, concatenate_factors
from faceaug.reconstruction.networks import Reconstructor, channels_last
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.training import losses
from faceaug.reconstruction.training.augmentation import degrade, sample_augmentation
from faceaug.reconstruction.training.latent_regression import LIGHT_VIEW_NAMES, LatentRegressor
from faceaug.reconstruction.training.linear_init import LinearFace
from faceaug.reconstruction.training.perceptual import LatentReader, PerceptualFeatures
from faceaug.reconstruction.training.schedule import ReconstructionSchedule
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.training.train_loop import descend, rng_of

DISTIL_LEARNING_RATE, LEARNING_RATE = 1e-3, 2e-4
EMA_DECAY = 0.998  # of the running average of the weights
FLIPPED_WEIGHT, PERCEPTUAL_WEIGHT, MIRROR_WEIGHT, AGREEMENT_WEIGHT = 0.5, 0.5, 0.1, 0.1
ROUGHNESS_WEIGHT, ANGLE_WEIGHT, CONVEXITY_WEIGHT = 10.0, 0.01, 0.2
_CONVEXITY_SHARE = 0.3  # of the photometric steps, over which the convexity loss fades


class NetworkTrainer:
    """The network, the running average of its weights, and one training step (protocol `train_loop.StepTrainer`).

    Parameters
    ----------
    generator, pool, split
        The generator, samples of it and its mirror split.
    reader : perceptual.LatentReader
        Trained; its layers become the perceptual features and the initial weights of the encoder.
    linear : LinearFace or None
        Trained; not needed without the mirror.
    schedule
    device
        Device to compute on; the CPU by default.

    Raises
    ------
    UsageError
        When the schedule uses the mirror and `linear` is None.
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
        if schedule.uses_mirror and linear is None:
            raise UsageError(f"the coupling {schedule.coupling!r} begins with the linear model: give one")
        self.generator, self.pool, self.whitening, self.schedule = generator, pool, split.whitening, schedule
        self.device = device or torch.device("cpu")
        self.step, self.steps = 0, schedule.steps
        self.interval = schedule.neutralization_interval(generator)
        self.u = split.whitening.white(pool.w)
        self.linear = None
        if linear is not None and schedule.uses_mirror:
            self.linear = linear.to(self.device).eval().requires_grad_(False)
        network = Reconstructor(schedule.side, schedule.seed)
        network.encoder.load_state_dict(reader.encoder.state_dict())
        self.network = channels_last(network, self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        samples = resize_tensor(pool.float_images(slice(0, 256), self.device), schedule.side)
        self.features = PerceptualFeatures(reader.to(self.device), samples)
        self.regressor = LatentRegressor(self.u.shape[1], schedule.refit_every * schedule.batch_size)
        if self.linear is not None and schedule.uses_pairs:
            u = self.u[: len(self.regressor.u)]
            factors = concatenate_factors([self.linear(batch.to(self.device)) for batch in torch.split(u, 512)])
            self.regressor.fit(u, torch.cat([factors.light, factors.view], 1).cpu())
        self.adam = torch.optim.Adam(self.network.parameters(), DISTIL_LEARNING_RATE)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average, "regressor": self.regressor}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Train on one batch; return the loss and its terms."""
        rng = rng_of(self.schedule.seed, 0x13, self.step)
        rows = torch.randint(len(self.pool), (self.schedule.batch_size,), generator=rng)
        clean = resize_tensor(self.pool.float_images(rows, self.device), self.schedule.side)
        augmentation = sample_augmentation(len(rows), rng, self.device)
        targets = augmentation.apply_to_images(clean)
        inputs = degrade(targets, rng)
        distilling = self.step < self.schedule.distillation
        self.adam.param_groups[0]["lr"] = DISTIL_LEARNING_RATE if distilling else LEARNING_RATE
        u = self.u[rows].to(self.device)
        terms: dict[str, float] = {}
        if distilling:
            loss = self._distillation_loss(inputs, augmentation.apply_to_factors(self._linear_factors(u)))
        else:
            loss, terms = self._rendering_loss(inputs, targets, u)
        descend(self.adam, loss)
        self._update_average()
        return {"loss": loss.item(), **terms}

    def _linear_factors(self, u: Tensor) -> FaceFactors:
        """Return the factors of the linear model, with maps of this network's side."""
        assert self.linear is not None
        with torch.no_grad():
            factors = self.linear(u)
        depth = resize_tensor(factors.depth[:, None], self.schedule.side)[:, 0]
        return FaceFactors(depth, resize_tensor(factors.albedo, self.schedule.side), factors.light, factors.view)

    def _distillation_loss(self, inputs: Tensor, expected: FaceFactors) -> Tensor:
        """Return the distance of the factors of images and of their mirror images to the expected ones."""
        factors = self.network(torch.cat([inputs, inputs.flip(-1)]))
        return losses.factor_distance(factors, concatenate_factors([expected, expected.mirrored()]))

    def _rendering_loss(self, inputs: Tensor, targets: Tensor, u: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the rendered factors and of the couplings, and its terms."""
        n, schedule = len(inputs), self.schedule
        batch = torch.cat([inputs, inputs.flip(-1)]) if schedule.uses_mirror else inputs
        factors, log_sigma = self.network.with_confidence(batch)
        upright, log_sigma = factors[:n], log_sigma[:n]
        both = concatenate_factors([upright, upright.flipped()])
        loss, l1 = self._photometric_loss(both, log_sigma, targets)
        terms = {"l1": l1}
        if schedule.uses_mirror:
            distance = losses.factor_distance(factors[n:], upright.mirrored())
            loss = loss + MIRROR_WEIGHT * distance
            terms["mirror"] = distance.item()
        loss = loss + ROUGHNESS_WEIGHT * schedule.side**2 / 1024 * losses.roughness(upright.depth)
        loss = loss + ANGLE_WEIGHT * upright.view[:, :3].square().mean()
        if schedule.uses_pairs:
            photometric_steps = self.steps - schedule.distillation
            fade = 1 - (self.step - schedule.distillation) / max(1.0, _CONVEXITY_SHARE * photometric_steps)
            loss = loss + CONVEXITY_WEIGHT * max(0.0, fade) * losses.convexity_loss(upright.depth)
            if self.regressor.ready and schedule.pairs and self.step % self.interval == 0:
                distance = self._agreement_loss(upright[: schedule.pairs], u[: schedule.pairs])
                loss = loss + AGREEMENT_WEIGHT * self.interval * distance
                terms["agree"] = distance.item()
        r2 = self.regressor.update(u, upright)
        if r2 is not None:
            terms["r2_yaw"] = float(r2[LIGHT_VIEW_NAMES.index("yaw")])
        return loss, terms

    def _photometric_loss(self, both: FaceFactors, log_sigma: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """Return the photometric and perceptual loss, and the L1 error without the flipped faces.

        `both` are the factors of N images followed by the same with flipped canonical faces.
        """
        n = len(targets)
        rendering = render(both.albedo, both.depth, both.light, both.view)
        twice = torch.cat([targets, targets])
        error = (rendering.image - twice).abs().mean(1, keepdim=True)
        # Pixels that the face does not cover are filled with the target, so that features see no edge there.
        filled = torch.where(rendering.mask[:, None], rendering.image.clamp(-1.5, 1.5), twice)
        with torch.no_grad():
            expected = self.features(targets)
        features = self.features(filled)
        loss = error.new_zeros(())
        for k, weight in ((0, 1.0), (1, FLIPPED_WEIGHT)):
            rows = slice(k * n, k * n + n)
            mask = rendering.mask[rows]
            loss = loss + weight * losses.laplace_loss(error[rows], log_sigma[:, k : k + 1], mask)
            perceptual = losses.gaussian_loss(features[rows], expected, log_sigma[:, 2 + k : 3 + k], mask)
            loss = loss + weight * PERCEPTUAL_WEIGHT * perceptual
        return loss, losses.masked_mean(error[:n], rendering.mask[:n]).item()

    def _agreement_loss(self, factors: FaceFactors, u: Tensor) -> Tensor:
        """Return how far faces and their neutralized selves are from one face that is frontal under neutral light."""
        images = synthesize_at(self.generator, self.whitening.latent(self.regressor.neutralize(u)), self.schedule.side)
        neutral = self.network(images)
        values = self.regressor.neutral_values().to(images).expand(len(images), -1)
        n_light = len(LIGHT_NAMES)
        expected = FaceFactors(neutral.depth, neutral.albedo, values[:, :n_light], values[:, n_light:])
        rendering = render(factors.albedo, factors.depth, neutral.light, neutral.view)
        visible = rendering.mask[:, None].to(images.dtype)
        error = ((rendering.image - images).abs() * visible).sum() / (3 * visible.sum()).clamp(min=1)
        canonical, pose = losses.canonical_distance(factors, neutral), losses.pose_distance(neutral, expected)
        return canonical + pose + error / losses.ALBEDO_UNIT

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the running average toward the weights; the first steps move it farther."""
        weight = 1 - min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        for average, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
            average.lerp_(new, weight)
