"""Inversion: from a photograph to the latent whose image is nearest to it, by an encoder and optimization steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.base import Generator
from faceaug.inversion.distance import ImageDistance, laplacian_bands
from faceaug.inversion.encoder import ENCODER_SIDE, EncoderConfig, EncoderNet, View, train_encoder
from faceaug.latents.whitening import Whitening, whitening
from faceaug.utils.files import write_bytes
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.typing import Floats

INVERSION_STEPS = 100
LEARNING_RATE = 0.2  # of Adam, in white coordinates; falls to 0 over the second half of the steps
TYPICAL_LENGTH, LENGTH_WEIGHT = 0.9, 0.1
"""Root mean square of white coordinates near which a latent is held, and the weight of its squared difference: samples
lie near 1, and much nearer to the mean or farther out a generator synthesizes no intact faces."""
TILE_SIZE = 8
"""Photographs that are inverted together, padded with grey ones, so that a result does not depend on the others."""
_SCALE_KEY = "likeness"  # of the file


@dataclass(frozen=True, eq=False)
class InvertedFaces:
    """Latents of N photographs.

    Attributes
    ----------
    w : float32 [N, D]
    error : float64 [N]
        `ImageDistance` of the photograph to the image of w: 0 for equal images, 1 for the mean distance of photographs
        of two people.
    """

    w: NDArray[np.float32]
    error: Floats


@dataclass(frozen=True, eq=False)
class Inverter:
    """Inverts photographs for one generator; see `train_inverter`.

    Attributes
    ----------
    generator : Generator
    view : callable
        From the generator's images to images as the data set shows them; differentiable.
    white : Whitening
        White coordinates of w.
    distance : ImageDistance
    encoder : EncoderNet
    """

    generator: Generator
    view: View
    white: Whitening
    distance: ImageDistance
    encoder: EncoderNet

    def __call__(self, photographs: Tensor, steps: int | None = None) -> InvertedFaces:
        """Invert photographs.

        Parameters
        ----------
        photographs : float32 [N, 3, 64, 64] in [-1, 1]
            In the framing of `view`.
        steps : int, optional
            Optimization steps, `INVERSION_STEPS` when None; 0 gives the latent of the encoder.

        Raises
        ------
        GeneratorError
            When the generator's images carry no gradient.
        """
        w, error = [np.empty((0, self.generator.w_dim), np.float32)], [np.empty(0)]
        size = tile_size_for(self.generator.resolution)
        for start in range(0, len(photographs), size):
            batch = photographs[start : start + size]
            tile = torch.cat([batch, batch.new_zeros(size - len(batch), *batch.shape[1:])])
            latent = self._optimize(tile, self.encoder.predict(tile), INVERSION_STEPS if steps is None else steps)
            with torch.no_grad():
                tile_w = self.white.latent(latent).cpu()
                tile_error = self.distance(self.synthesize(tile_w), tile)
            w.append(tile_w[: len(batch)].numpy().astype(np.float32))
            error.append(tile_error[: len(batch)].double().cpu().numpy())
        return InvertedFaces(np.concatenate(w), np.concatenate(error))

    def synthesize(self, w: Tensor) -> Tensor:
        """Return images of w [N, D] as the data set shows them: float32 [N, 3, 64, 64] in [-1, 1], on the CPU."""
        images = self.generator.synthesize(w.to(self.generator.device)).float()
        return resize_tensor(self.view(images), ENCODER_SIDE).cpu()

    def _optimize(self, photographs: Tensor, latent: Tensor, steps: int) -> Tensor:
        """Return white latents [N, K] after gradient steps from `latent`; each photograph on its own."""
        targets = laplacian_bands(photographs)
        with torch.enable_grad():
            latent = latent.clone().requires_grad_(True)
            adam = torch.optim.Adam([latent], lr=LEARNING_RATE, betas=(0.9, 0.99))
            for step in range(steps):
                for group in adam.param_groups:
                    group["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / steps))
                images = self.synthesize(self.white.latent(latent))
                if not images.requires_grad:
                    raise GeneratorError(
                        f"the generator {self.generator.name!r} cannot be inverted: its images carry no gradient with "
                        "respect to the latent; synthesize must not disable gradients"
                    )
                length = latent.square().mean(1).clamp(min=1e-12).sqrt()
                distance = self.distance.squared(laplacian_bands(images), targets)
                loss = distance + LENGTH_WEIGHT * (length - TYPICAL_LENGTH).square()
                # Gradient of the latent alone: other threads invert with the same weights.
                (latent.grad,) = torch.autograd.grad(loss.sum(), latent)
                adam.step()
        return latent.detach()

    def save(self, path: Path) -> None:
        """Write the encoder and the scale of the distance to a .safetensors file, atomically."""
        scale = torch.tensor(self.distance.scale, dtype=torch.float64)
        write_bytes(path, save({**self.encoder.state(), _SCALE_KEY: scale}))

    @classmethod
    def load(cls, path: Path, generator: Generator, view: View) -> Inverter:
        """Read a file of `save` for this generator; IntegrityError when it is damaged or for another generator."""
        white = whitening(generator)
        try:
            state = load_file(path)
            scale = tuple(state.pop(_SCALE_KEY).tolist())
            encoder = EncoderNet(white.width).with_state(state).eval().requires_grad_(False)
            if not all(bool(torch.isfinite(value).all()) for value in state.values()) or not min(scale) > 0:
                raise ValueError("numbers that are not finite")
        except (SafetensorError, OSError, KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise IntegrityError(f"{path} cannot be read ({reason}); start again in another folder") from error
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(generator, view, white, ImageDistance(scale), encoder)


def tile_size_for(resolution: int) -> int:
    """Return how many images of this side are synthesized together with their gradients; bounds the memory."""
    return max(1, TILE_SIZE * 128**2 // max(resolution, 128) ** 2)


def train_inverter(
    generator: Generator,
    view: View,
    photographs: Tensor,
    *,
    seed: int = 0,
    config: EncoderConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inverter:
    """Train an inverter.

    Parameters
    ----------
    generator : Generator
        Its `synthesize` is differentiable.
    view : callable
        From the generator's images [N, 3, R, R] to images in the framing and the colours of the photographs;
        differentiable, each image on its own.
    photographs : float32 [N, 3, 64, 64] in [-1, 1]
        Of different people in the same framing; their mean distance is the unit of errors.
    seed : int
    config : EncoderConfig, optional
        Of the training of the encoder.
    progress : callable (steps done, steps), optional

    Raises
    ------
    DatasetError
        When there are too few photographs.
    GeneratorError
        When the generator has no usable mean and covariance of w.
    """
    distance, white = ImageDistance.from_photographs(photographs), whitening(generator)
    encoder = train_encoder(generator, white, view, seed=seed, config=config, progress=progress)
    return Inverter(generator, view, white, distance, encoder)
