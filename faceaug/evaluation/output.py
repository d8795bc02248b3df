"""The evaluation of an output folder: its samples against the photographs of its data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceaug.datasets.dataset import FaceDataset, local_place
from faceaug.datasets.readers.shards import read as read_shards
from faceaug.errors import UsageError
from faceaug.evaluation.comparison import FeatureSet, SampleEvaluation, evaluate_samples, matched_rows
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.places.mirrored import place_of
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import PLAN_NAME, Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.request import cells_of
from faceaug.utils.files import inside
from faceaug.utils.images import decode, resize
from faceaug.utils.threads import Progress, map_in_threads
from faceaug.utils.typing import Floats32, Indices

SIDE = 128
"""Pixels to which pictures are squeezed before the network sees them, so that sizes are not told apart."""
MOST_COMPARED = 2000
_BATCH = 256  # pictures in memory at once


@dataclass(frozen=True, eq=False)
class OutputEvaluation:
    """The evaluation of an output folder.

    Attributes
    ----------
    out, dataset : str
        Names of the folder and of the data set.
    features : str
        The network, and the size at which it saw the pictures.
    versions : dict of str to str
        Of the packages of the network.
    held_out : str or None
        Name of the held-out data set; None where half of the photographs took its place.
    samples : int
        Samples in the folder, of which some may be compared.
    levels : dict of int to dict
        By cell, its levels.
    figures : SampleEvaluation
    """

    out: str
    dataset: str
    features: str
    versions: dict[str, str]
    held_out: str | None
    samples: int
    levels: dict[int, dict[str, str]]
    figures: SampleEvaluation

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; figures that are not known are null."""
        content = {**vars(self), "figures": self.figures.to_dict()}
        content["levels"] = {str(cell): levels for cell, levels in self.levels.items()}
        known: dict[str, Any] = _without_nan({"format": "faceaug-sample-evaluation", "version": 1, **content})
        return known


def evaluate_output(
    out: Path | str,
    dataset: FaceDataset,
    held_out: FaceDataset | None = None,
    *,
    most: int = MOST_COMPARED,
    seed: int = 0,
    progress: Progress | None = None,
) -> OutputEvaluation:
    """Compare the samples of an output folder with photographs.

    Parameters
    ----------
    out : path or URL
        A complete output folder.
    dataset : FaceDataset
        The data set that was balanced, with the columns that its plan counts.
    held_out : FaceDataset, optional
        Photographs that took no part in the run, with the same columns.
    most : int
        Largest number of samples that are compared, spread at random; of photographs, twice as many for distances.
    seed : int
        Of the choice of samples and photographs.
    progress : callable, optional
        Called with the number of pictures whose features were just computed.

    Raises
    ------
    UsageError
        When the run is unfinished, a column is missing, or there are too few samples or photographs.
    GeneratorError
        When the packages of the network are not installed.
    ImageError
        When an image cannot be read.
    """
    folder = local_place(out)
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise UsageError(f"the run in {place_of(folder)} is unfinished; continue it with --resume, then evaluate it")
    network, rng = load_efficientnet(), np.random.default_rng(seed)
    axes = Plan.read(folder / PLAN_NAME).axes
    stored = StoredPictures.of(folder, manifest, dataset)
    chosen = np.sort(rng.permutation(len(stored.cells))[:most])

    def features(encoded: Callable[[int], bytes], rows: Indices) -> Floats32:
        return squeezed_features(network, lambda k: encoded(int(rows[k])), len(rows), progress=progress)

    samples = FeatureSet(features(stored.encoded, chosen), stored.cells[chosen], stored.groups[chosen])
    cells = cells_of(dataset, axes)
    rows = np.sort(matched_rows(cells, np.repeat(samples.cells, 2), rng))
    real, other = FeatureSet(features(dataset.encoded, rows), cells[rows], rows), None
    if held_out is not None:
        cells = cells_of(held_out, axes)
        rows = np.sort(matched_rows(cells, samples.cells, rng))
        other = FeatureSet(features(held_out.encoded, rows), cells[rows], -1 - rows)
    return OutputEvaluation(
        out=folder.resolve().name,
        dataset=dataset.name,
        features=f"EfficientNet-Lite0 (ImageNet), {SIDE} px",
        versions=dict(network.versions),
        held_out=held_out.name if held_out is not None else None,
        samples=manifest.totals.accepted,
        levels={cell.index: dict(cell.attributes) for cell in manifest.cells},
        figures=evaluate_samples(real, samples, other, seed=seed),
    )


def squeezed_features(
    network: FeatureExtractor,
    encoded: Callable[[int], bytes],
    count: int,
    *,
    side: int = SIDE,
    progress: Progress | None = None,
) -> Floats32:
    """Return the features [count, F] of encoded pictures, each squeezed to `side` pixels first.

    Parameters
    ----------
    network : FeatureExtractor
    encoded : callable
        From 0 to `count` - 1 to the encoded bytes of a picture.
    count, side : int
    progress : callable, optional
        Called with the number of pictures that were just done.
    """
    parts, batch = [], []
    for picture in map_in_threads(lambda k: resize(decode(encoded(k)), (side, side)), count):
        batch.append(picture)
        if len(batch) == _BATCH:
            parts.append(network.extract(np.stack(batch), progress))
            batch = []
    if batch:
        parts.append(network.extract(np.stack(batch), progress))
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


@dataclass(frozen=True, eq=False)
class StoredPictures:
    """The samples of an output folder, numbered over all shards.

    Attributes
    ----------
    encoded : callable
        From the number of a sample to its encoded picture.
    cells : int64 [N]
    groups : int64 [N]
        The row of the photograph that each was made from, or else a number of its own.
    """

    encoded: Callable[[int], bytes]
    cells: Indices
    groups: Indices

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, dataset: FaceDataset) -> StoredPictures:
        """Find the samples of a folder, and their photographs in a data set."""
        if not manifest.totals.accepted:
            none = np.empty(0, np.int64)
            return cls(lambda k: b"", none, none)
        raw = read_shards(folder, None)
        keys = [str(key) for key in raw.table["key"]]
        known = {hashlib.sha256(dataset.encoded(row)).digest(): row for row in range(len(dataset))}
        cells, rows = [], []
        for entry in manifest.shards:
            with ShardReader(inside(folder, entry.name)) as reader:
                cells.append(reader.column("cell").astype(np.int64))
                has_source = "source_sha256" in reader.keys
                sources = reader.column("source_sha256") if has_source else [np.zeros(32, np.uint8)] * len(reader)
                rows += [known.get(source.tobytes(), -1) for source in sources]
        groups = np.array(rows, np.int64)
        own = len(dataset) + np.arange(len(groups))
        return cls(lambda k: raw.images.read(keys[k]), np.concatenate(cells), np.where(groups >= 0, groups, own))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
