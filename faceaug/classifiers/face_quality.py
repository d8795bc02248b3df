"""Face quality: a classifier that tells intact faces from distorted ones, trained without any label.

Far from the mean of its latents a generator distorts faces: eyes run, two faces overlap, a cheek dissolves. The
classifier learns the difference from images whose class is known by construction. Intact are the faces of the data set
and samples near the mean; distorted are samples from beyond the range of the generator, and faces that were warped or
blended on purpose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.classifiers.calibration import calibrate
from faceaug.classifiers.classifier import Classifier, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FeatureNet
from faceaug.classifiers.feature_training import compute_features, train_on_features
from faceaug.classifiers.training import augmentations_of, train_net
from faceaug.utils.tensors import as_tensor, to_uint8

FACE_QUALITY_TASK = Task("face", "classes", ("distorted", "intact"))
INTACT_TRUNCATION, DISTORTED_TRUNCATION = 0.7, 1.7
"""Truncation psi of the samples that are taken for intact, and of those that are taken for distorted."""


def train_face_quality(
    real: NDArray[np.uint8],
    intact: NDArray[np.uint8],
    distorted: NDArray[np.uint8],
    seed: int,
    config: ClassifierConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Classifier:
    """Train the classifier of face quality.

    Parameters
    ----------
    real : uint8 [N, S, S, 3]
        Faces of the data set, of the input size of the configuration.
    intact, distorted : uint8 [M, S, S, 3]
        Samples with `INTACT_TRUNCATION` and with `DISTORTED_TRUNCATION`, in framing and colour of the data set.
    seed : int
    config : ClassifierConfig, optional
        By default `ClassifierConfig.for_face_quality`.
    progress : callable, optional
        Called with the number of steps done and of all steps.

    Returns
    -------
    Classifier
        Of `FACE_QUALITY_TASK`; the second column that it reads, `face=intact`, is the log-odds of an intact face.
    """
    config = config or ClassifierConfig.for_face_quality(len(real))
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(seed + 0x534F)
    rows = np.linspace(0, len(real) - 1, min(len(real), len(intact))).astype(int)  # spread: the data may be sorted
    faces = as_tensor(np.concatenate([real[rows], intact]))
    order = torch.randperm(len(faces), generator=rng)
    half = len(faces) // 2
    damaged = torch.cat([warp_faces(faces[order[:half]], rng), blend_faces(faces[order[half:]], rng)])
    labels = torch.cat([torch.ones(len(faces)), torch.zeros(len(damaged) + len(distorted))]).double()
    everything = torch.cat([faces, damaged, as_tensor(distorted)])
    shuffle = torch.randperm(len(everything), generator=rng)
    images, y = to_uint8(everything[shuffle]), labels[shuffle].numpy()
    held_out, steps, tasks = max(1, len(images) // 10), config.steps, [FACE_QUALITY_TASK]

    def report(step: int, _: float) -> None:
        if progress:
            progress(step, steps)

    trunk = "lite0-stage3" if config.pretrained else "plain"
    net = new_net(trunk, tasks, seed + 2)
    if isinstance(net, FeatureNet):
        features = compute_features(images[held_out:], trunk, augmentations_of(tasks), config.device)
        train_on_features(net, tasks, features, [y[held_out:]], config, seed + 2, report)
    else:
        train_net(net, tasks, images[held_out:], [y[held_out:]], config, seed + 2, report)
    return calibrate(net.to("cpu"), trunk, tasks, [y[held_out:]], images[:held_out], [y[:held_out]], config)


def warp_faces(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images distorted by a smooth random displacement of several pixels.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    rng : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    """
    strength = 0.08 + 0.14 * torch.rand(len(images), 1, 1, 1, generator=rng)
    coarse = torch.randn(len(images), 2, 6, 6, generator=rng) * strength
    size = images.shape[-2:]
    displacement = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    identity = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    sampled = F.grid_sample(images, identity + displacement, padding_mode="reflection", align_corners=False)
    return sampled.clamp(-1, 1)


def blend_faces(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images that are blended with one another under a smooth random mask.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    rng : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor of float32 [N, 3, S, S]
        In [-1, 1]; both faces have a share of at least 25% everywhere, as in a double exposure.
    """
    others = torch.roll(images.flip(3) if images.shape[0] < 2 else torch.roll(images, 1, 0), 6, 2)
    coarse = torch.randn(len(images), 1, 5, 5, generator=rng) * 2
    mask = F.interpolate(coarse, size=images.shape[-2:], mode="bicubic", align_corners=False)
    share = 0.25 + 0.5 * torch.sigmoid(mask)
    return images * (1 - share) + others * share
