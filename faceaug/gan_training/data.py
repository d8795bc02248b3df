"""Sources of training images: samples of another generator, or the images of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError, GeneratorError
from faceaug.generators.base import Generator
from faceaug.utils.images import resize
from faceaug.utils.tensors import normalize_pixels
from faceaug.utils.threads import Progress, map_in_threads

MIN_TRAINING_IMAGES = 64
MAX_ASPECT_RATIO = 1.25
"""Longer side over shorter side up to which the middle square of an image is taken without --crop."""


class TrainingImages(Protocol):
    """A source of the images that a generator is trained on."""

    licence: str
    origin: str
    sha256: str

    def sample(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        """Return images float32 [n, 3, resolution, resolution] in [-1, 1] on the device of `rng`."""

    def sample_held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        """Return images that `sample` never returns; None where no image is returned twice."""


class GeneratorImageSource:
    """Samples of another generator, with z clamped to `max_z` standard deviations.

    Parameters
    ----------
    teacher
        The generator.
    max_z
        Standard deviations.
    score, keep
        Of n / keep samples, those n are used to which `score` gives the highest values (one per image). Without a
        score, all samples are used.

    Raises
    ------
    GeneratorError
        When `keep` is not above 0 and at most 1.
    """

    def __init__(
        self,
        teacher: Generator,
        max_z: float = 2.5,
        score: Callable[[Tensor], Tensor] | None = None,
        keep: float = 1.0,
    ) -> None:
        if not 0 < keep <= 1:
            raise GeneratorError(f"keep is {keep}; it is the share of samples that are used, above 0 and at most 1")
        self.teacher, self.max_z, self.score, self.keep = teacher, max_z, score, keep
        self.licence = teacher.licence
        self.sha256 = teacher.sha256
        self.origin = f"samples of {teacher.name} ({teacher.origin}), latents clamped to {max_z} standard deviations"
        if score is not None:
            self.origin += f", the {keep:.0%} of highest face quality"
            self.sha256 = hashlib.sha256(f"{teacher.sha256} {max_z} {keep}".encode()).hexdigest()

    @torch.no_grad()
    def sample(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        """Return images as `TrainingImages.sample` does, reduced to the resolution."""
        count = n if self.score is None else round(n / self.keep)
        z = torch.randn(count, self.teacher.z_dim, generator=rng, device=rng.device).clamp(-self.max_z, self.max_z)
        images = self.teacher.synthesize(self.teacher.map(z))
        if images.shape[-1] < resolution:
            raise GeneratorError(
                f"images of {images.shape[-1]} pixels are too small to train {resolution} pixels: choose a lower "
                "resolution"
            )
        if self.score is not None:
            best = self.score(images).to(images.device).topk(n).indices
            images = images[best.sort().values]
        return F.interpolate(images, size=(resolution, resolution), mode="area")

    def sample_held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        """Return None: samples never repeat."""
        return None


class FolderImageSource:
    """Images in memory, sampled uniformly, with a part of them held out.

    Parameters
    ----------
    pixels : uint8 [N, R, R, 3]
        At least `MIN_TRAINING_IMAGES` of them.
    name
        Name of the data set.
    licence
        What is known of the licence of weights that are trained on them.
    mirror
        Also train on their mirror images. Left and right of a face are then learnt from twice as many images, and
        `faceaug discover` relies on a generator that is symmetric.
    device
        Where the images are stored.

    Raises
    ------
    DatasetError
        When there are too few images.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        name: str,
        licence: str | None = None,
        *,
        mirror: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(pixels) < MIN_TRAINING_IMAGES:
            raise DatasetError(
                f"{name} has {len(pixels):,} images, and a generator needs at least {MIN_TRAINING_IMAGES} (some "
                "thousand to be of use): give more images, or use a generator that is trained already"
            )
        digest = hashlib.sha256(f"{pixels.shape} {mirror}".encode())
        for image in pixels:
            digest.update(image.tobytes())
        self.sha256 = digest.hexdigest()
        self.licence = licence or f"not stated: what the images of {name} allow, and the people on them, decides"
        order = np.random.default_rng(0).permutation(len(pixels))
        held_out_count = min(max(16, len(pixels) // 20), 1000)  # fewer would not give a stable r_v
        self.mirror, self.count = mirror, len(pixels) - held_out_count
        mirrored = " and their mirror images" if mirror else ""
        self.origin = f"{self.count:,} images of {name}{mirrored}"
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        self._training, self._held_out = (
            tensor[rows].to(device) for rows in (order[held_out_count:], order[:held_out_count])
        )

    def sample(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        """Return training images as `TrainingImages.sample` does."""
        return self._sample_from(self._training, n, resolution, rng)

    def sample_held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        """Return held-out images."""
        return self._sample_from(self._held_out, n, resolution, rng)

    def _sample_from(self, pixels: Tensor, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        if pixels.shape[1] != resolution:
            raise GeneratorError(f"the images have {pixels.shape[1]} pixels a side; {resolution} are needed")
        rows = torch.randint(0, len(pixels), (n,), generator=rng, device=rng.device)
        images = normalize_pixels(pixels[rows.to(pixels.device)].to(rng.device).permute(0, 3, 1, 2))
        if self.mirror:
            flipped = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.5
            images = torch.where(flipped, images.flip(3), images)
        return images


@dataclass(frozen=True)
class SquareConfig:
    """How images become squares of one size.

    Parameters
    ----------
    resolution
        Side of the squares in pixels. No image is enlarged.
    crop
        Take the middle square of any image, not only of one that is nearly square.
    leave_out
        Leave out images that are too small or not square enough, instead of refusing the data set.
    small_advice
        What the error recommends when images are too small.
    """

    resolution: int
    crop: bool = False
    leave_out: bool = False
    small_advice: str = "choose a lower --resolution"


@dataclass(frozen=True)
class _UnfitImage:
    """An image that is too small or not square enough."""

    name: str
    width: int
    height: int

    def is_small(self, resolution: int) -> bool:
        return min(self.width, self.height) < resolution


def load_squares(
    dataset: FaceDataset, config: SquareConfig, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[npt.NDArray[np.uint8], int]:
    """Read a data set's images as squares of one size.

    Parameters
    ----------
    dataset
        The data set.
    config
        Side of the squares, and which images are used.
    workers, progress
        Threads that decode; called with the number of images since the last call.

    Returns
    -------
    uint8 [N, resolution, resolution, 3], and the number of images left out

    Raises
    ------
    DatasetError
        When images are too small or not square enough.
    """
    resolution = config.resolution
    pixels = np.empty((len(dataset), resolution, resolution, 3), np.uint8)
    unfit: list[_UnfitImage] = []

    def task(index: int) -> npt.NDArray[np.uint8] | _UnfitImage:
        image = dataset.image(index)
        height, width = image.shape[:2]
        side = min(height, width)
        if side < resolution or (not config.crop and max(height, width) > MAX_ASPECT_RATIO * side):
            return _UnfitImage(dataset.keys[index], width, height)
        top, left = (height - side) // 2, (width - side) // 2
        return resize(image[top : top + side, left : left + side], (resolution, resolution))

    row = 0
    for square in map_in_threads(task, len(dataset), workers=workers, progress=progress):
        if isinstance(square, _UnfitImage):
            unfit.append(square)
        else:
            pixels[row] = square
            row += 1
    if unfit and not (config.leave_out and row):
        raise DatasetError(_refusal(unfit, len(dataset), config))
    return pixels[:row], len(unfit)


def _refusal(unfit: list[_UnfitImage], count: int, config: SquareConfig) -> str:
    first, small = unfit[0], sum(image.is_small(config.resolution) for image in unfit)
    problems, remedies = [], []
    if small:
        problems.append(f"{small:,} are smaller than {config.resolution} pixels")
        remedies.append(config.small_advice)
    if small < len(unfit):
        problems.append(f"{len(unfit) - small:,} are far from square")
        remedies.append("take the middle squares with --crop")
    return (
        f"of {count:,} images {' and '.join(problems)} (first: {first.name}, {first.width} by {first.height}): "
        f"{', '.join(remedies)}, or leave them out with --leave-out"
    )
