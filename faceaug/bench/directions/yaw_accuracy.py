"""Accuracy of yaw: faces are turned to given degrees by each method, and the held-out classifier reads what came of it.

A method's step is straight: the missing degrees, by the estimator, over the degrees that a step of length 1 turned the
selection faces. `closed_loop` is the edit of `faceaug balance`, which measures and corrects (docs/method.md, section
5).
The landmarks of dlib, where it is installed, know neither the estimator nor its readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from faceaug.bench.directions.attribute_readers import READ_SIDE, AttributeReaders
from faceaug.bench.directions.direction_methods import DirectionFinder
from faceaug.bench.directions.edit_effects import EditedFaces, edited_images
from faceaug.bench.directions.face_statistics import mean_over_faces
from faceaug.generators.base import Generator
from faceaug.identity.dlib_embedder import DlibEmbedder, dlib_installed
from faceaug.synthesis.editing.closed_loop import EditObjective, EditOptions, extrapolate
from faceaug.synthesis.editing.objectives import KEEP_TOLERANCE
from faceaug.utils.tensors import resize_tensor, to_uint8
from faceaug.utils.typing import Floats

YAW = "yaw"
CLOSED_LOOP = "closed_loop"
MOST_DEGREES, NEAR_DEGREES = 20.0, 5.0
"""Faces are turned to degrees that are uniform within ± the first; the second counts as near."""
_TOLERANCE = 0.4  # of `NEAR_DEGREES`: the loop stops this near
_PLAUSIBLE = 0.999  # share of the samples that are as near to the mean as edited latents may be
_STREAM = 0xD5  # of the degrees
_LEAST_LANDMARKS = 8  # faces whose landmarks are found, without which there is no correlation


def yaw_accuracy(
    generator: Generator,
    readers: AttributeReaders,
    finder: DirectionFinder,
    faces: EditedFaces,
    turns: Mapping[str, tuple[Floats, float]],
    samples: Floats,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return the figures of each method, and of the closed loop.

    Parameters
    ----------
    generator, readers, finder
    faces : EditedFaces
    turns : mapping of str to (float64 [D], float)
        For each method the step of length 1, and the degrees of yaw by which it turns a face.
    samples : float64 [N, D]
        By which the distance from the mean is bounded in the closed loop.
    seed : int
    """
    asked = np.random.default_rng((seed, _STREAM)).uniform(-MOST_DEGREES, MOST_DEGREES, len(faces.w))
    now = readers.guidance(faces.images)[:, readers.semantics.index(YAW)]
    landmarks, result = DlibEmbedder() if dlib_installed() else None, {}
    for name, (step, degrees) in turns.items():
        images = edited_images(generator, faces.w + ((asked - now) / degrees)[:, None] * step)
        result[name] = _figures(readers, faces, asked, images, landmarks)
    images = _closed_loop(generator, readers, finder, faces.w, asked, samples)
    result[CLOSED_LOOP] = _figures(readers, faces, asked, images, landmarks)
    return result


def _closed_loop(
    generator: Generator,
    readers: AttributeReaders,
    finder: DirectionFinder,
    w: Floats,
    asked: Floats,
    samples: Floats,
) -> Tensor:
    """Return images of faces that the closed loop turned, as balance does."""
    directions, keep = finder.guidance, finder.kept(YAW)
    held = KEEP_TOLERANCE * directions.spread[directions.index(keep)]
    tolerance = np.array([_TOLERANCE * NEAR_DEGREES])
    objective = EditObjective((YAW,), asked[:, None], np.array([False]), tolerance, keep, held)
    off = samples - directions.w_mean
    distances = np.sqrt(np.einsum("nd,de,ne->n", off, directions.precision, off))
    options = EditOptions(covariance=finder.spared(YAW), reach=float(np.quantile(distances, _PLAUSIBLE)))

    def measure(images: Tensor) -> Floats:
        return readers.guidance(resize_tensor(images, READ_SIDE).clamp(-1, 1))

    edited = extrapolate(generator, directions, measure, w.astype(np.float32), objective, options)
    return edited_images(generator, edited.w.astype(np.float64))


def _figures(
    readers: AttributeReaders, faces: EditedFaces, asked: Floats, images: Tensor, landmarks: DlibEmbedder | None
) -> dict[str, Any]:
    """Return the errors of edited images, and what else changed."""
    yaw = readers.names.index(YAW)
    after = readers.held_out(images)
    error = np.abs(after[:, yaw] - asked)
    others = np.delete(np.abs(after - faces.readings) / readers.spread, yaw, 1).mean(1)
    return {
        "within_5_degrees": mean_over_faces((error <= NEAR_DEGREES).astype(np.float64)),
        "mean_error": mean_over_faces(error),
        "degrees_per_degree": float(asked @ after[:, yaw] / (asked @ asked)),
        "correlation": float(np.corrcoef(asked, after[:, yaw])[0, 1]),
        "others_changed": mean_over_faces(others),
        "landmark_correlation": _landmark_correlation(asked, images, landmarks) if landmarks else None,
    }


def _landmark_correlation(asked: Floats, images: Tensor, landmarks: DlibEmbedder) -> dict[str, Any] | None:
    """Return the correlation of asked degrees with the turn that landmarks show, and on how many faces these are found.

    The turn is the place of the nose between the eyes, along the line of the eyes and in their distances.
    """
    turns = np.full(len(images), np.nan)
    for k, image in enumerate(to_uint8(images)):
        points = landmarks.landmarks(image)
        if points is not None:
            one, other = points[:2].mean(0), points[2:4].mean(0)
            across = one - other if one[0] > other[0] else other - one
            turns[k] = (points[4] - (one + other) / 2) @ across / (across @ across)
    found = np.isfinite(turns)
    if found.sum() < _LEAST_LANDMARKS:
        return None
    return {"correlation": float(np.corrcoef(asked[found], turns[found])[0, 1]), "faces": int(found.sum())}
