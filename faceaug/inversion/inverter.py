"""From a photograph to the latent whose picture is nearest to it: a guess, and a few dozen steps downhill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.base import Generator
from faceaug.inversion.distance import ImageDistance, bands
from faceaug.inversion.encoder import ENCODER_SIDE, EncoderNet, View, train_encoder
from faceaug.latents.whitening import Whitening, whitening
from faceaug.utils.files import atomic
from faceaug.utils.tensors import at_side
from faceaug.utils.typing import Floats

STEPS = 100
RATE = 0.2  # of Adam, in white coordinates; falls to nothing over the second half
USUAL, UNUSUAL = 0.9, 0.1
"""Distance from the mean, root mean square over white coordinates, that a latent is held near, and how firmly: draws
lie near 1, and nearer to the mean as well as farther out a generator draws no whole faces."""
TILE = 8
"""Photographs that are inverted together, filled up with grey ones: a result does not depend on the company."""
_SCALE = "likeness"


@dataclass(frozen=True, eq=False)
class InvertedFaces:
    """What photographs were inverted to.

    Attributes
    ----------
    w : float32 [N, D]
    error : float64 [N]
        Distance of the photograph to what is drawn of it: 0 is the same picture, 1 as far apart as the photographs of
        two people are on average (`ImageDistance`).
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
        What the generator's pictures look like where they stand beside the photographs; differentiable.
    white : Whitening
    likeness : ImageDistance
    net : EncoderNet
    """

    generator: Generator
    view: View
    white: Whitening
    likeness: ImageDistance
    net: EncoderNet

    def __call__(self, photographs: Tensor, steps: int | None = None) -> InvertedFaces:
        """Invert photographs.

        Parameters
        ----------
        photographs : Tensor [N, 3, 64, 64] in [-1, 1]
            Framed as `view` frames the generator's pictures.
        steps : int, optional
            Downhill, `STEPS` when None; 0 takes the encoder's guess.

        Raises
        ------
        GeneratorError
            When the generator's pictures do not tell how they change with the latent.
        """
        w, error = [np.empty((0, self.generator.w_dim), np.float32)], [np.empty(0)]
        tile = tile_for(self.generator.resolution)
        for start in range(0, len(photographs), tile):
            part = photographs[start : start + tile]
            filled = torch.cat([part, part.new_zeros(tile - len(part), *part.shape[1:])])
            latent = self._downhill(filled, self.net.guess(filled), STEPS if steps is None else steps)
            with torch.no_grad():
                found = self.white.latent(latent).cpu()
                off = self.likeness(self.drawn(found), filled)
            w.append(found[: len(part)].numpy().astype(np.float32))
            error.append(off[: len(part)].double().cpu().numpy())
        return InvertedFaces(np.concatenate(w), np.concatenate(error))

    def drawn(self, w: Tensor) -> Tensor:
        """Return the pictures [N, 3, 64, 64] of latents w [N, D], on the CPU, as they stand beside photographs."""
        return at_side(self.view(self.generator.synthesize(w.to(self.generator.device)).float()), ENCODER_SIDE).cpu()

    def _downhill(self, photographs: Tensor, latent: Tensor, steps: int) -> Tensor:
        """Return white latents [N, K] after a few steps from `latent`; each goes its own way."""
        wanted = bands(photographs)
        with torch.enable_grad():
            latent = latent.clone().requires_grad_(True)
            adam = torch.optim.Adam([latent], lr=RATE, betas=(0.9, 0.99))
            for step in range(steps):
                for group in adam.param_groups:
                    group["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
                pictures = self.drawn(self.white.latent(latent))
                if not pictures.requires_grad:
                    raise GeneratorError(
                        f"the generator {self.generator.name!r} cannot be inverted: its pictures carry no gradient, so "
                        "nothing tells how a latent must change; synthesize must not switch it off"
                    )
                length = latent.square().mean(1).clamp(min=1e-12).sqrt()
                loss = self.likeness.squares(bands(pictures), wanted) + UNUSUAL * (length - USUAL).square()
                # Of the latent alone: other threads invert with the same weights.
                (latent.grad,) = torch.autograd.grad(loss.sum(), latent)
                adam.step()
        return latent.detach()

    def save(self, path: Path) -> None:
        """Write what was learnt to a .safetensors file."""
        scale = torch.tensor(self.likeness.scale, dtype=torch.float64)
        with atomic(path) as temporary:
            save_file({**self.net.state(), _SCALE: scale}, temporary)

    @classmethod
    def load(cls, path: Path, generator: Generator, view: View) -> Inverter:
        """Read what `save` wrote for this generator; IntegrityError when it is damaged or for another."""
        white = whitening(generator)
        try:
            state = load_file(path)
            scale = tuple(state.pop(_SCALE).tolist())
            net = EncoderNet(white.width).with_state(state).eval().requires_grad_(False)
            if not all(bool(torch.isfinite(value).all()) for value in state.values()) or not min(scale) > 0:
                raise ValueError("numbers that are not finite")
        except (SafetensorError, OSError, KeyError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise IntegrityError(f"{path} cannot be read ({why}); start again in another folder") from error
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(generator, view, white, ImageDistance(scale), net)


def tile_for(resolution: int) -> int:
    """Return how many pictures of this side are drawn together with all that their gradients need."""
    return max(1, TILE * 128**2 // max(resolution, 128) ** 2)


def train_inverter(
    generator: Generator,
    view: View,
    photographs: Tensor,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Inverter:
    """Learn to invert photographs.

    Parameters
    ----------
    generator : Generator
        Any whose `synthesize` can be differentiated.
    view : callable
        Pictures [N, 3, R, R] of the generator, framed and coloured as the photographs are; differentiable, each picture
        on its own.
    photographs : Tensor [N, 3, 64, 64] in [-1, 1]
        Of different people, framed in the same way: what tells two of them apart is the unit of errors.
    seed : int
    progress : callable (steps done, steps), optional

    Raises
    ------
    DatasetError
        When there are too few photographs.
    GeneratorError
        When the generator has no usable mean and covariance of w.
    """
    likeness, white = ImageDistance.among(photographs), whitening(generator)
    net = train_encoder(generator, white, view, seed=seed, progress=progress)
    return Inverter(generator, view, white, likeness, net)
