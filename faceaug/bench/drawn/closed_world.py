"""Closed worlds: a data set drawn from a generator, so that the labels of every face and of every sample are known.

Label noise and domain gap of synthetic faces can then be set apart from one another, and the share of wrong labels that
an engine makes by itself can be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from faceaug.bench.drawn.drawn_data import HIGH, LOW, DrawnData
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_stream, synthesize_at
from faceaug.generators.registry import load_generator
from faceaug.latents.directions import Directions
from faceaug.synthesis.editing.pose_readout import find_directions
from faceaug.utils.images import Rgb, encode
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats

_WORLD_STREAM, _NOISE_STREAM = 0xC1, 0xC2
_BLOCK = 256  # faces that are synthesized, or samples that are read, at a time
_BLUR, _NOISE = 1.2, 12.0  # of a gap of 1: pixels on a side of 64, and steps of 255
_GAINS = np.array([1.1, 0.95, 0.8])  # of a gap of 1, for each channel: a warmer, darker picture
_READER = "closed world"


class DrawnImages:
    """Images in memory, as PNG; a key is a number. An `ImageSource`."""

    def __init__(self, encoded: list[bytes]) -> None:
        self._encoded = encoded

    def read(self, key: str) -> bytes:
        """Return the encoded bytes of an image."""
        return self._encoded[int(key)]


def draw_dataset(world: DrawnData, device: str, advance: Callable[[int], object]) -> FaceDataset:
    """Draw the data set of a closed world, the same on every call.

    Parameters
    ----------
    world : DrawnData
    device : str
        Where the generator computes.
    advance : callable
        Called with the number of faces that were just drawn.

    Raises
    ------
    UsageError
        When the generator has no directions, or an attribute is not among them.
    """
    generator = load_generator(world.generator, device)
    directions = world_directions(world, generator)
    w = sample_stream(generator, world.count, (_WORLD_STREAM,))
    encoded: list[bytes] = []
    for start in range(0, world.count, _BLOCK):
        images = to_uint8(synthesize_at(generator, w[start : start + _BLOCK], generator.resolution).clamp(-1, 1))
        encoded += [
            encode(_across_gap(image, world.gap, start + k) if world.gap else image, "png")
            for k, image in enumerate(images)
        ]
        advance(len(images))
    keys = [f"{number:06d}" for number in range(world.count)]
    table = pd.DataFrame({"key": keys, **true_classes(world, directions, w.double().cpu().numpy())})
    name = f"drawn from {generator.name}"
    return FaceDataset(name, _READER, name, table, DrawnImages(encoded))


def world_directions(world: DrawnData, generator: Generator) -> Directions:
    """Return the directions that define the classes; see `draw_dataset` for what is raised."""
    bundle = find_directions(generator, None)
    if bundle is None:
        raise UsageError(
            f"dataset.generator is {generator.name!r}, of which no directions are included that could define classes: "
            "give embedded"
        )
    bundle.directions.index(list(world.attributes.values()))
    return bundle.directions


def true_classes(world: DrawnData, directions: Directions, w: Floats) -> dict[str, list[str]]:
    """Return the classes of latents [N, D] by column: by the sign of what a direction says beyond the mean."""
    columns = directions.index(list(world.attributes.values()))
    beyond = (w - directions.w_mean) @ directions.B[columns].T
    return {name: np.where(beyond[:, k] > 0, HIGH, LOW).tolist() for k, name in enumerate(world.attributes)}


def wrong_labels(world: DrawnData, samples: ShardDataset) -> dict[str, Any] | None:
    """Return the share of samples whose label is not that of their latent, by column, and how many were compared.

    None where there are no samples, or they have no latents of the world's generator.
    """
    generator = load_generator(world.generator)
    record = samples.manifest.generator
    if record is None or record.sha256 != generator.sha256 or "w" not in {c.key for c in samples.manifest.columns}:
        return None
    directions = world_directions(world, generator)
    read = ShardDataset(samples.folder, ["cell", "w"])
    names = [name for name in world.attributes if name in samples.manifest.cells[0].attributes]
    w, labels = [], []
    for start in range(0, len(read), _BLOCK):
        for _, values in read.__getitems__(range(start, min(start + _BLOCK, len(read)))):
            w.append(values["w"].double().numpy())
            labels.append(samples.manifest.cells[int(values["cell"])].attributes)
    if not w:
        return None
    true = true_classes(world, directions, np.stack(w))
    wrong = {
        name: float(np.mean([own[name] != level for own, level in zip(labels, true[name], strict=True)]))
        for name in names
    }
    return {"samples": len(w), "wrong": wrong}


def _across_gap(image: Rgb, gap: float, number: int) -> Rgb:
    """Return an image [H, W, 3] as the data set shows it: blurred, tinted, and with noise of its own."""
    blurred = gaussian_filter(image.astype(np.float64), (gap * _BLUR * image.shape[0] / 64,) * 2 + (0,))
    noise = np.random.default_rng((_NOISE_STREAM, number)).normal(0, gap * _NOISE, image.shape)
    return np.asarray((blurred * _GAINS**gap + noise).round().clip(0, 255), np.uint8)
