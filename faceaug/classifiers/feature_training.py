"""Training of a classifier on frozen features: they are computed once per picture, and two layers are learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.appearance.augmentations import jitter
from faceaug.cache.arrays import cached_arrays
from faceaug.cache.key import CacheKey, array_sha256, device_identity
from faceaug.classifiers.classifier import READ_BATCH, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FROZEN_TRUNKS, FeatureNet
from faceaug.classifiers.losses import RandomBatches, multitask_loss, targets_and_weights
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import Progress, map_in_order, worker_count
from faceaug.utils.typing import Floats, Indices

FEATURES_VERSION = 1
"""Raised whenever the same pictures give other features than before."""
_VARIED_SEED = 0x4641  # of the variations, which are the same for all runs, so that their features are shared
_CACHED_TOGETHER = 32 * READ_BATCH  # pictures: an interrupted call loses the work of some seconds
_INPUT_DROPOUT, _HIDDEN_DROPOUT = 0.1, 0.3
_LR, _WEIGHT_DECAY = 2e-3, 0.05

Half = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class PictureFeatures:
    """Frozen features of pictures, and of the same pictures varied in framing, exposure, colour and sharpness.

    Attributes
    ----------
    plain, varied : float16 [N, F]
    """

    plain: Half
    varied: Half

    def rows(self, rows: Indices) -> PictureFeatures:
        """Return those of some pictures."""
        return PictureFeatures(self.plain[rows], self.varied[rows])


def picture_features(
    images: NDArray[np.uint8],
    trunk: str,
    augmentations: Mapping[str, bool],
    device: str = "cpu",
    progress: Progress | None = None,
) -> PictureFeatures:
    """Compute the features of pictures, or read them from the cache, where an interrupted call has left a part of them.

    Parameters
    ----------
    images : uint8 [N, S, S, 3]
    trunk : str
        A key of `FROZEN_TRUNKS`.
    augmentations : dict of str to bool
        Arguments of `jitter`: those that leave the attributes as they are.
    device : str
    progress : callable, optional
        Called with the number of blocks of `READ_BATCH` pictures that were done since the last call.
    """
    source = FROZEN_TRUNKS[trunk]
    settings = {
        "version": FEATURES_VERSION,
        "network": source.sha256,
        "trunk": [source.stages, source.side, source.grid],
        "augmentations": dict(augmentations),
        "device": device_identity(device),
    }

    def compute(first: int) -> dict[str, Half]:
        part = images[first : first + _CACHED_TOGETHER]
        computed = compute_features(part, trunk, augmentations, device, progress, first)
        return {"plain": computed.plain, "varied": computed.varied}

    parts = []
    for first in range(0, len(images), _CACHED_TOGETHER):
        pictures = array_sha256(images[first : first + _CACHED_TOGETHER])
        key = CacheKey("features", {**settings, "pictures": pictures, "first": first})
        parts.append(cached_arrays(key, partial(compute, first)))
    return PictureFeatures(*(np.concatenate([part[name] for part in parts]) for name in ("plain", "varied")))


def compute_features(
    images: NDArray[np.uint8],
    trunk: str,
    augmentations: Mapping[str, bool],
    device: str = "cpu",
    progress: Progress | None = None,
    first: int = 0,
) -> PictureFeatures:
    """Compute the features of pictures, as `picture_features` does, without the cache.

    Blocks have a fixed size, and each is computed by one thread, so that the number of threads does not change them.
    The variations of a picture follow from its number; `first` is that of the first one.
    """
    net = new_net(trunk, [Task("", "value")], 0)
    assert isinstance(net, FeatureNet)
    net.to(device)

    def block(start: int) -> list[Half]:
        torch.set_num_threads(1)
        rng = torch.Generator().manual_seed(_VARIED_SEED + first + start)
        plain = as_tensor(images[start : start + READ_BATCH])
        views = (plain, jitter(plain, rng, **augmentations))
        with torch.inference_mode():
            return [net.frozen_features(view.to(device)).half().cpu().numpy() for view in views]

    workers = worker_count(None) if device == "cpu" else 1
    blocks = []
    with ThreadPoolExecutor(workers) as pool:
        for done in map_in_order(pool, block, iter(range(0, len(images), READ_BATCH)), 2 * workers):
            blocks.append(done)
            if progress:
                progress(1)
    return PictureFeatures(*(np.concatenate([block[k] for block in blocks]) for k in range(2)))


def train_on_features(
    net: FeatureNet,
    tasks: Sequence[Task],
    features: PictureFeatures,
    labels: Sequence[Floats],
    config: ClassifierConfig,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train the two layers of a network in place; it stays on the CPU, where steps take about a millisecond.

    Parameters
    ----------
    net : FeatureNet
    tasks : sequence of Task
    features : PictureFeatures
        Of N pictures; each step takes those of a picture, or those of the picture varied, at random.
    labels : sequence of float64 [N]
        Per task, class numbers or values in the unit of the label; NaN where unknown (not trained on).
    config : ClassifierConfig
    seed : int
        Of batches and dropout.
    progress : callable, optional
        Called after each step with the number of steps done and the loss.
    """
    rng = torch.Generator().manual_seed(seed)
    plain, varied = torch.from_numpy(features.plain), torch.from_numpy(features.varied)
    spread = features.plain.std(0, dtype=np.float64)
    net.mean = torch.from_numpy(features.plain.mean(0, dtype=np.float64)).float()
    net.scale = torch.from_numpy(spread + 0.01 * spread.mean() + 1e-6).float()
    targets, weights = targets_and_weights(tasks, labels, config.weight_power)
    learnt = [p for layer in (net.hidden, net.norm, net.head) for p in layer.parameters()]
    net.train()
    net.frozen.eval()
    adam = torch.optim.AdamW(learnt, _LR / 2, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, _LR, total_steps=config.steps, pct_start=0.2)
    batches = RandomBatches(len(plain), config.batch_size, rng)
    for step in range(1, config.steps + 1):
        rows = batches.draw()
        frozen = torch.where(torch.rand(len(rows), 1, generator=rng) < 0.5, plain[rows], varied[rows]).float()
        kept = (torch.rand(frozen.shape, generator=rng) >= _INPUT_DROPOUT) / (1 - _INPUT_DROPOUT)
        centred = net.mean + (frozen - net.mean) * kept  # what is dropped reads as the mean face
        pooled = net.learnt_features(centred)
        kept = (torch.rand(pooled.shape, generator=rng) >= _HIDDEN_DROPOUT) / (1 - _HIDDEN_DROPOUT)
        outputs = net.head(pooled * kept)
        loss = multitask_loss(outputs, tasks, [y[rows] for y in targets], [weight[rows] for weight in weights])
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
        if progress:
            progress(step, float(loss.detach()))
    net.eval()
