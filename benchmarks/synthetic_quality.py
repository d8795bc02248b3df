"""How near the samples of an output folder are to the photographs of their data set, whatever engine made them.

    python benchmarks/synthetic_quality.py OUT FACES LABELS --name morph   # writes benchmarks/results/morph.json

- Real against synthetic, labels, diversity and distances of distributions, at 64 and 128 pixels:
  `faceaug.evaluation.comparison`.
- Identity: distances to host and donors where the run measured them, and between photographs of the same cells.
- The run: what was planned, accepted and rejected, and how long it took.

The photographs are for running and measuring only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result

from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.evaluation.comparison import FeatureSet, evaluate_samples, matched_rows
from faceaug.evaluation.output import StoredPictures, squeezed_features
from faceaug.gan_training.features import load_efficientnet
from faceaug.identity.dlib_embedder import dlib_installed
from faceaug.identity.registry import load_embedder
from faceaug.measurement.measure import add_measured_columns, load_estimator
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.request import cells_of

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
    samples = StoredPictures.of(options.out, manifest, dataset)
    rows = rng.permutation(len(samples.cells))[: options.samples]
    real_rows = matched_rows(cells_of_faces, np.repeat(samples.cells[rows], 2), rng)
    network = load_efficientnet()
    record: dict[str, Any] = {
        **environment(options.seed, ("torch", "scikit-learn", *network.versions)),
        "run": {**run_summary(manifest, options.peak_memory), "load_average": options.load_average},
        "compared": len(rows),
        "real_against_synthetic": {},
        "real_against_real": {},
    }
    for side in (64, 128):
        real, found = (
            squeezed_features(network, lambda k, chosen=chosen, of=of: of(int(chosen[k])), len(chosen), side=side)
            for of, chosen in ((dataset.encoded, real_rows), (samples.encoded, rows))
        )
        figures = evaluate_samples(
            FeatureSet(real, cells_of_faces[real_rows], real_rows),
            FeatureSet(found, samples.cells[rows], samples.groups[rows]),
            seed=options.seed,
        )
        record["real_against_synthetic"][f"{side} px"] = round(figures.auc, 3)
        record["real_against_real"][f"{side} px"] = round(figures.auc_photographs, 3)
    record["labels"] = {
        "cells": len(figures.cells),
        "held_out_photographs": figures.agreement_photographs,
        "samples": figures.agreement,
    }
    known = [cell.diversity for cell in figures.cells if cell.diversity is not None]
    record["diversity"] = {"mean": round(float(np.mean(known)), 3), "least": round(min(known), 3)}
    record["figures_128_px"] = figures.to_dict()
    record["identity"] = identity(options.out, manifest, dataset, cells_of_faces, rng)
    print(write_result(options.name, record))


def column(out: Path, manifest: Manifest, key: str) -> np.ndarray | None:
    """Return a column of all samples, or None where a shard lacks it."""
    parts = []
    for entry in manifest.shards:
        with ShardReader(out / entry.name) as reader:
            if key not in reader.keys:
                return None
            parts.append(reader.column(key))
    return np.concatenate(parts)


def identity(
    out: Path, manifest: Manifest, dataset: FaceDataset, cells: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Return distances between samples and their sources, and between two photographs of a cell."""
    measured = column(out, manifest, "semantic/identity_distance")
    result: dict[str, Any] = {"quantiles_at": QUANTILES}
    if measured is not None and np.isfinite(measured).any():
        result["to_nearest_source"] = np.nanquantile(measured, QUANTILES).round(3).tolist()
        result["below_0.6"] = round(float((measured < 0.6).mean()), 3)
        result["below_0.35"] = round(float((measured < 0.35).mean()), 3)
    if dlib_installed():
        embedder, filled = load_embedder(), [cell for cell in np.unique(cells[cells >= 0]) if (cells == cell).sum() > 1]
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
