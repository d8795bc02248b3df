"""How near the samples of an output folder are to the photographs of their data set, whatever engine made them.

    python benchmarks/synthetic_quality.py OUT FACES LABELS --name morph   # writes benchmarks/results/morph.json

- Real against synthetic: AUC of a fresh linear classifier on frozen features of EfficientNet-Lite0, at 64 and 128
  pixels, on faces that it was not fitted on. A photograph and the samples made from it are in the same fold. Beside it
  real against real.
- Labels: accuracy of a fresh classifier on the same features, fitted on half of the photographs, on samples and on the
  other half of the photographs.
- Diversity: mean distance of features between two samples of a cell, relative to two photographs of it.
- Identity: distances to host and donors where the run measured them, and between photographs of the same cells.
- The run: what was planned, accepted and rejected, and how long it took.

The photographs are for running and measuring only.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _record import environment, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.identity.dlib_embedder import dlib_installed
from faceaug.identity.registry import load_embedder
from faceaug.measurement.measure import add_measured_columns, load_estimator
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.request import cells_of

FOLDS, REGULARIZATION = 5, 0.01
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--name", required=True, help="of the record in benchmarks/results")
    parser.add_argument("--samples", type=int, default=1500, help="of each kind that are compared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-memory", type=float, help="of the run, in megabytes")
    parser.add_argument("--load-average", type=float, help="of the machine during the run")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    manifest, axes = read_manifest(options.out), Plan.read(options.out / "plan.json").axes
    dataset = add_measured_columns(
        load_dataset(options.faces, options.labels), [axis.name for axis in axes], load_estimator
    )
    cells_of_faces = cells_of(dataset, axes)
    samples = Samples(options.out, manifest)
    rows = rng.permutation(len(samples))[: options.samples]
    real_rows = real_like(cells_of_faces, samples, rows, rng)
    synthetic, sources = [samples.image(int(k)) for k in rows], samples.sources(dataset, rows)
    real = [dataset.image(int(row)) for row in real_rows]
    features = load_efficientnet()
    record: dict[str, Any] = {
        **environment(options.seed, ("torch", "scikit-learn", *features.versions)),
        "run": {**run_summary(manifest, options.peak_memory), "load_average": options.load_average},
        "compared": len(rows),
        "real_against_synthetic": {},
        "real_against_real": {},
    }
    for side in (64, 128):
        found, own = embed(features, synthetic, side), embed(features, real, side)
        half = rng.permutation(len(own))
        record["real_against_synthetic"][f"{side} px"] = auc(own, found, real_rows, sources)
        first, second = half[::2], half[1::2]
        record["real_against_real"][f"{side} px"] = auc(own[first], own[second], real_rows[first], real_rows[second])
        if side == 128:
            cells = samples.cells[rows]
            record["labels"] = label_accuracy(own, found, cells_of_faces[real_rows], cells)
            record["diversity"] = diversity(own, found, cells_of_faces[real_rows], cells, rng)
    record["identity"] = identity(samples, dataset, cells_of_faces, rng)
    print(write_result(options.name, record))


class Samples:
    """The samples of an output folder."""

    def __init__(self, out: Path, manifest: Manifest) -> None:
        self._readers = [ShardReader(out / entry.name) for entry in manifest.shards]
        self._places = [(reader, row) for reader in self._readers for row in range(len(reader))]
        self.cells = np.concatenate([reader.column("cell") for reader in self._readers])

    def __len__(self) -> int:
        return len(self._places)

    def image(self, k: int) -> np.ndarray:
        reader, row = self._places[k]
        return reader.image(row)

    def column(self, key: str) -> np.ndarray | None:
        if any(key not in reader.keys for reader in self._readers):
            return None
        return np.concatenate([reader.column(key) for reader in self._readers])

    def sources(self, dataset: FaceDataset, rows: np.ndarray) -> np.ndarray:
        """Return the row of the host of each sample, or a number of its own."""
        digests = self.column("source_sha256")
        if digests is None:
            return np.arange(len(rows)) + len(dataset)
        known = {hashlib.sha256(dataset.encoded(row)).digest(): row for row in range(len(dataset))}
        return np.array([known.get(digests[k].tobytes(), len(dataset) + int(k)) for k in rows])


def real_like(cells: np.ndarray, samples: Samples, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return photographs of the same cells, as many of each cell as there are samples where it has as many.

    `cells` [N] are those of all photographs.
    """
    chosen = []
    for cell, count in zip(*np.unique(samples.cells[rows], return_counts=True), strict=True):
        chosen.append(rng.permutation(np.flatnonzero(cells == cell))[:count])
    return np.concatenate(chosen)


def embed(features: FeatureExtractor, images: Sequence[np.ndarray], side: int) -> np.ndarray:
    small = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images])
    return features.extract(small)


def auc(real: np.ndarray, other: np.ndarray, real_groups: np.ndarray, other_groups: np.ndarray) -> float:
    """Return the AUC of a linear classifier on faces that it was not fitted on, by folds of sources."""
    values, groups = np.concatenate([real, other]), np.concatenate([real_groups, other_groups])
    truth, score = np.repeat([0, 1], [len(real), len(other)]), np.zeros(len(real) + len(other))
    for fitted, held_out in GroupKFold(FOLDS).split(values, truth, groups):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=500, class_weight="balanced")
        )
        score[held_out] = model.fit(values[fitted], truth[fitted]).decision_function(values[held_out])
    return round(float(roc_auc_score(truth, score)), 3)


def label_accuracy(
    real: np.ndarray, samples: np.ndarray, real_cells: np.ndarray, sample_cells: np.ndarray
) -> dict[str, float]:
    """Return the accuracy of a fresh classifier of cells on held-out photographs and on samples."""
    fitted = np.arange(len(real)) % 2 == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=500))
    model.fit(real[fitted], real_cells[fitted])
    return {
        "cells": len(np.unique(real_cells)),
        "held_out_photographs": round(float(model.score(real[~fitted], real_cells[~fitted])), 3),
        "samples": round(float(model.score(samples, sample_cells)), 3),
    }


def diversity(
    real: np.ndarray, samples: np.ndarray, real_cells: np.ndarray, sample_cells: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Return the mean distance between two samples of a cell over that between two photographs of it."""

    def spread(values: np.ndarray) -> float:
        one, other = rng.integers(0, len(values), (2, 2000))
        apart = one != other
        return float(np.linalg.norm(values[one[apart]] - values[other[apart]], axis=1).mean())

    ratios = [
        spread(samples[sample_cells == cell]) / spread(real[real_cells == cell])
        for cell in np.unique(sample_cells)
        if min((sample_cells == cell).sum(), (real_cells == cell).sum()) > 10
    ]
    return {"mean": round(float(np.mean(ratios)), 3), "least": round(float(np.min(ratios)), 3)}


def identity(samples: Samples, dataset: FaceDataset, cells: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return distances between samples and their sources, and between two photographs of a cell."""
    measured = samples.column("semantic/identity_distance")
    result: dict[str, Any] = {"quantiles_at": QUANTILES}
    if measured is not None and np.isfinite(measured).any():
        result["to_nearest_source"] = np.nanquantile(measured, QUANTILES).round(3).tolist()
        result["below_0.6"] = round(float((measured < 0.6).mean()), 3)
        result["below_0.35"] = round(float((measured < 0.35).mean()), 3)
    if dlib_installed():
        embedder, filled = load_embedder(), [cell for cell in np.unique(samples.cells) if (cells == cell).sum() > 1]
        pairs = [rng.choice(np.flatnonzero(cells == cell), 2, replace=False) for cell in rng.choice(filled, 300)]
        one, other = (embedder.embed([dataset.image(int(pair[k])) for pair in pairs]) for k in (0, 1))
        distance = np.linalg.norm(one - other, axis=1)
        result["two_photographs_of_a_cell"] = np.nanquantile(distance, QUANTILES).round(3).tolist()
        result["two_photographs_below_0.6"] = round(float((distance < 0.6).mean()), 3)
        result["two_photographs_below_0.35"] = round(float((distance < 0.35).mean()), 3)
    return result


def run_summary(manifest: Manifest, peak_memory: float | None) -> dict[str, Any]:
    totals, seconds = manifest.totals, manifest.measured.get("seconds", {})
    assert isinstance(seconds, dict)
    rejected = sum(totals.rejected.values())
    progress = manifest.progress if isinstance(manifest.progress, dict) else {}
    synthesis = float(str(seconds.get("synthesis") or progress["seconds"]))  # the second of a run that was interrupted
    return {
        "engine": str(manifest.config["engine"]),
        "interrupted": not seconds,
        "planned": totals.planned,
        "accepted": totals.accepted,
        "share_accepted": round(totals.accepted / totals.planned, 3),
        "rejected": dict(totals.rejected),
        "share_of_attempts_accepted": round(totals.accepted / (totals.accepted + rejected), 3),
        "seconds": seconds,
        "accepted_per_second": round(totals.accepted / synthesis, 2),
        "peak_memory_megabytes": peak_memory,
        "cells": [
            {"labels": cell.attributes, "real": cell.real, "planned": cell.planned, "accepted": cell.accepted}
            for cell in manifest.cells
            if cell.planned
        ],
        "measured": {name: manifest.measured[name] for name in ("morph", "classifiers") if name in manifest.measured},
    }


if __name__ == "__main__":
    main()
