"""What networks read: examples of real and synthetic faces as arrays, the same for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.bench.recipe import FEATURES_MODEL, BenchModel
from faceaug.classifiers.feature_net import FROZEN_TRUNKS
from faceaug.classifiers.feature_training import picture_features
from faceaug.classifiers.networks import DEFAULT_INPUT_SIZE
from faceaug.utils.images import Rgb
from faceaug.utils.typing import Bools, Indices

BENCH_TRUNK = "lite0-stage4"
"""The frozen features that the model `features` reads, a key of `FROZEN_TRUNKS`."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Faces to learn from or to evaluate on.

    Attributes
    ----------
    inputs : float16 [N, F] or uint8 [N, S, S, 3]
        Frozen features, or images.
    varied : float16 [N, F], optional
        Features of the same images varied in framing, exposure, colour and sharpness.
    labels : int64 [N, T]
        Class of each task.
    cells : int64 [N]
        Combination of the columns of tasks and groups.
    synthetic : bool [N]
    """

    inputs: NDArray[Any]
    varied: NDArray[Any] | None
    labels: Indices
    cells: Indices
    synthetic: Bools

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, rows: NDArray[Any]) -> Examples:
        """Return some of the examples, by a mask or by numbers."""
        return Examples(
            self.inputs[rows],
            None if self.varied is None else self.varied[rows],
            self.labels[rows],
            self.cells[rows],
            self.synthetic[rows],
        )

    def joined(self, other: Examples) -> Examples:
        """Return these examples followed by others of the same kind."""
        varied = None
        if self.varied is not None and other.varied is not None:
            varied = np.concatenate([self.varied, other.varied])
        return Examples(
            np.concatenate([self.inputs, other.inputs]),
            varied,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.cells, other.cells]),
            np.concatenate([self.synthetic, other.synthetic]),
        )


def input_side(model: BenchModel) -> int:
    """Return the side in pixels at which a model reads faces."""
    if model.name == FEATURES_MODEL:
        return FROZEN_TRUNKS[BENCH_TRUNK].side
    return model.side or DEFAULT_INPUT_SIZE


def model_inputs(
    images: Rgb,
    model: BenchModel,
    augmentations: dict[str, bool],
    device: str,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return what a model reads of images uint8 [N, S, S, 3] of its side: `inputs` and `varied` of `Examples`.

    Features come from the cache where it has them; `progress` is called with the blocks of images that were done.
    """
    if model.name != FEATURES_MODEL:
        return images, None
    if not len(images):
        return (none := np.empty((0, FROZEN_TRUNKS[BENCH_TRUNK].width), np.float16)), none
    features = picture_features(images, BENCH_TRUNK, augmentations, device, progress)
    return features.plain, features.varied


def stacked_labels(codes: Sequence[Indices]) -> Indices:
    """Return the classes [N, T] of tasks from the codes [N] of each."""
    return np.stack(codes, 1).astype(np.int64)
