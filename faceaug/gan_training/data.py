"""Where a training's images come from: endless draws of another generator, or a folder of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
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
from faceaug.utils.threads import Progress, map_in_threads

FEWEST = 64
"""Images below which nothing is trained."""
WIDEST = 1.25
"""Longer side over shorter side up to which the middle square of an image is taken without asking."""


class TrainingImages(Protocol):
    """Where the images come from that the generator learns to draw."""

    licence: str
    origin: str
    sha256: str

    def draw(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        """Return images float32 [n, 3, resolution, resolution] in [-1, 1] on the device of `rng`."""

    def held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        """Return images of the same kind that `sample_latents` never returns; None where it never repeats itself."""


class GeneratorImageSource:
    """Endless images of another generator, its latents kept within `limit` standard deviations by clamping.

    Parameters
    ----------
    teacher
        The generator.
    limit
        Standard deviations.
    judge, keep
        Images are screened: of n / keep of them those n are kept that `judge` gives the highest numbers (one an
        image). Without a judge all are.
    """

    def __init__(
        self, teacher: Generator, limit: float = 2.5, judge: Callable[[Tensor], Tensor] | None = None, keep: float = 1.0
    ) -> None:
        if not 0 < keep <= 1:
            raise GeneratorError(f"keep is {keep}; it is the share of draws that are kept, above 0 and at most 1")
        self.teacher, self.limit, self.judge, self.keep = teacher, limit, judge, keep
        self.licence = teacher.licence
        self.sha256 = teacher.sha256
        self.origin = f"draws of {teacher.name} ({teacher.origin}), latents clamped to {limit} standard deviations"
        if judge is not None:
            self.origin += f", the soundest {keep:.0%} of them"
            self.sha256 = hashlib.sha256(f"{teacher.sha256} {limit} {keep}".encode()).hexdigest()

    @torch.no_grad()
    def draw(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        count = n if self.judge is None else round(n / self.keep)
        z = torch.randn(count, self.teacher.z_dim, generator=rng, device=rng.device).clamp(-self.limit, self.limit)
        images = self.teacher.synthesize(self.teacher.map(z))
        if images.shape[-1] < resolution:
            raise GeneratorError(
                f"images of {images.shape[-1]} pixels cannot teach {resolution} pixels: choose a lower resolution"
            )
        if self.judge is not None:
            best = self.judge(images).to(images.device).topk(n).indices
            images = images[best.sort().values]
        return F.interpolate(images, size=(resolution, resolution), mode="area")

    def held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        return None


class FolderImageSource:
    """The images of a folder, each as often as any other, a part of them held out.

    Parameters
    ----------
    pixels : uint8 [N, R, R, 3]
        At least `FEWEST` of them.
    name
        What to call them.
    licence
        What is known of the licence of weights that learn from them.
    mirror
        Also learn from their mirror images. A face's left and right are learnt twice as well, and `faceaug discover`
        counts on a generator that draws both alike.
    device
        Where to keep them.
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
        if len(pixels) < FEWEST:
            raise DatasetError(
                f"{name} has {len(pixels):,} images, and a generator needs at least {FEWEST} (some thousand to be of "
                "use): give more images, or use a generator that is trained already"
            )
        digest = hashlib.sha256(f"{pixels.shape} {mirror}".encode())
        for part in pixels:
            digest.update(part.tobytes())
        self.sha256 = digest.hexdigest()
        self.licence = licence or f"not stated: what the images of {name} allow, and the people on them, decides"
        order = np.random.default_rng(0).permutation(len(pixels))
        apart = min(max(16, len(pixels) // 20), 1000)  # tells of learning by heart; too few would tell nothing
        self.mirror, self.count = mirror, len(pixels) - apart
        told = " and their mirror images" if mirror else ""
        self.origin = f"{self.count:,} images of {name}{told}"
        whole = torch.from_numpy(np.ascontiguousarray(pixels))
        self._seen, self._apart = (whole[part].to(device) for part in (order[apart:], order[:apart]))

    def draw(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        return self._some(self._seen, n, resolution, rng)

    def held_out(self, n: int, resolution: int, rng: torch.Generator) -> Tensor | None:
        return self._some(self._apart, n, resolution, rng)

    def _some(self, pixels: Tensor, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        if pixels.shape[1] != resolution:
            raise GeneratorError(f"the images have {pixels.shape[1]} pixels a side; {resolution} are asked for")
        rows = torch.randint(0, len(pixels), (n,), generator=rng, device=rng.device)
        images = pixels[rows.to(pixels.device)].to(rng.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.mirror:
            turned = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.5
            images = torch.where(turned, images.flip(3), images)
        return images


def load_pictures(
    dataset: FaceDataset,
    resolution: int,
    *,
    crop: bool = False,
    leave_out: bool = False,
    if_small: str = "choose a lower --resolution",
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.uint8], int]:
    """Read a data set's images as squares of one size.

    Parameters
    ----------
    dataset
        The data set.
    resolution
        Side of the squares. No image is enlarged.
    crop
        Take the middle square of an image whatever its shape, not only of one that is nearly square.
    leave_out
        Leave out images that are too small or not square enough, instead of refusing the data set.
    if_small
        What the error advises where images are too small.
    workers, progress
        Threads that decode; called with the number of images that were just read.

    Returns
    -------
    uint8 [N, resolution, resolution, 3], and how many were left out

    Raises
    ------
    DatasetError
        When images are too small or not square enough.
    """
    pixels = np.empty((len(dataset), resolution, resolution, 3), np.uint8)
    wrong: list[tuple[str, int, int, bool]] = []
    row = 0

    def task(index: int) -> npt.NDArray[np.uint8] | tuple[int, int]:
        image = dataset.image(index)
        height, width = image.shape[:2]
        side = min(height, width)
        if side < resolution or (not crop and max(height, width) > WIDEST * side):
            return height, width
        top, left = (height - side) // 2, (width - side) // 2
        return resize(image[top : top + side, left : left + side], (resolution, resolution))

    for index, found in enumerate(map_in_threads(task, len(dataset), workers=workers, progress=progress)):
        if isinstance(found, tuple):
            wrong.append((dataset.keys[index], found[1], found[0], min(found) < resolution))
        else:
            pixels[row] = found
            row += 1
    if wrong and not (leave_out and row):
        raise DatasetError(_refusal(wrong, len(dataset), resolution, if_small))
    return pixels[:row], len(wrong)


def _refusal(wrong: list[tuple[str, int, int, bool]], count: int, resolution: int, if_small: str) -> str:
    name, width, height, _ = wrong[0]
    small = sum(is_small for *_, is_small in wrong)
    told, remedy = [], []
    if small:
        told.append(f"{small:,} are smaller than {resolution} pixels")
        remedy.append(if_small)
    if small < len(wrong):
        told.append(f"{len(wrong) - small:,} are far from square")
        remedy.append("take the middle squares with --crop")
    return (
        f"of {count:,} images {' and '.join(told)} (first: {name}, {width} by {height}): {', '.join(remedy)}, "
        "or leave them out with --leave-out"
    )
