"""Gather what a run of `faceaug balance` measured into a result file: time, cells, classifiers, directions, edits.

    python benchmarks/real_faces.py OUT NAME IMAGES LABELS

reads the output folder OUT and the data set that it was made for, and writes benchmarks/results/NAME.json. Besides what
the manifest holds, accepted samples are synthesized again from their latents before and after the edit, to measure how
much the image outside the face and the face itself changed; how varied the samples of a cell are is measured beside
its real faces; and a DataLoader reads every sample.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from torch.utils.data import DataLoader

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Classifier
from faceaug.datasets import load_dataset
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import synthesize
from faceaug.shards.manifest import MODELS_FOLDER, Manifest, read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.label_classifiers import HELD_OUT_FILE
from faceaug.utils.images import LUMA_WEIGHTS, resize
from faceaug.utils.tensors import as_tensor

SAMPLED = 200  # accepted samples of a cell that are synthesized again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run")
    parser.add_argument("name", help="name of the result file, without .json")
    parser.add_argument("images", type=Path, help="the data set that the run was made for")
    parser.add_argument("labels", type=Path, help="its table of labels")
    given = parser.parse_args()
    manifest = read_manifest(given.out)
    report = verify(given.out)
    totals = manifest.totals
    record = {
        **environment(seed=manifest.seed, packages=("torch", "numpy", "albumentations", "scikit-learn")),
        "run": shortened(manifest.created_by.command),
        "generator": manifest.generator.name if manifest.generator else None,
        "config": manifest.config,
        "seconds": manifest.measured.get("seconds"),
        "totals": {**totals.model_dump(), "accepted_share": round(totals.accepted / max(totals.planned, 1), 4)},
        "cells": [cell.model_dump() for cell in manifest.cells],
        "classifiers": manifest.measured.get("classifiers"),
        "r2": manifest.measured.get("r2"),
        "framing": manifest.measured.get("framing"),
        "verify": {"problems": len(report.problems), "rows": report.rows, "complete": report.complete},
        "dataloader": read_all(given.out),
        "edits": edits(given.out, manifest),
        "variety": variety(given.out, manifest, load_dataset(given.images, labels=given.labels)),
    }
    print(write_result(given.name, record))


def shortened(command: str) -> str:
    """Return a command with absolute paths cut to their last two parts: where they lay on a machine says nothing."""
    words = (Path(word) for word in command.split())
    return " ".join("/".join(word.parts[-2:]) if word.is_absolute() else str(word) for word in words)


def read_all(out: Path) -> dict[str, Any]:
    """Read every sample through a DataLoader with two workers."""
    data = ShardDataset(out)
    start = time.perf_counter()
    loader = DataLoader(data, batch_size=64, num_workers=2, collate_fn=len)
    read = sum(loader)
    seconds = time.perf_counter() - start
    return {"samples": read, "seconds": round(seconds, 2), "samples_a_second": round(read / max(seconds, 1e-9), 1)}


def edits(out: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """Return for each cell the luminance outside the face and in it, before and after the edit: means on [-1, 1]."""
    assert manifest.generator is not None
    generator = load_generator(manifest.generator.name)
    data = ShardDataset(out, columns=["cell", "w", "origin_w"], check=False)
    cells = data.table(["cell"])["cell"].to_numpy()
    ellipse, found = scene.FaceEllipse(), []
    for cell in manifest.cells:
        rows = np.flatnonzero(cells == cell.index)[:SAMPLED]
        if not len(rows):
            continue
        labels = [item[1] for item in data.__getitems__(rows.tolist())]
        means = {}
        for when, column in (("before", "origin_w"), ("after", "w")):
            images = synthesize(generator, np.stack([np.asarray(row[column]) for row in labels]), 64)
            outside = scene.measure_scene(images, ellipse)[:, :3].double().numpy() @ np.array(LUMA_WEIGHTS)
            means[when] = (outside, scene.measure_exposure(images)[:, 0].double().numpy())
        (outside_0, face_0), (outside_1, face_1) = means["before"], means["after"]
        found.append({
            "attributes": cell.attributes, "samples": len(rows),
            "outside_before": round(float(outside_0.mean()), 4), "outside_after": round(float(outside_1.mean()), 4),
            "outside_mean_change": round(float(np.abs(outside_1 - outside_0).mean()), 4),
            "face_before": round(float(face_0.mean()), 4), "face_after": round(float(face_1.mean()), 4),
            "face_mean_change": round(float(np.abs(face_1 - face_0).mean()), 4),
        })  # fmt: skip
    return found


def variety(out: Path, manifest: Manifest, dataset: FaceDataset) -> list[dict[str, Any]]:
    """Return for each cell the mean distance between two synthetic faces, and between two real ones.

    Distances are between features of the held-out classifier, each standardized over the real faces.
    """
    held_out = Classifier.load(out / MODELS_FOLDER / HELD_OUT_FILE)
    data = ShardDataset(out, columns=["cell"], check=False)
    cells, table = data.table(["cell"])["cell"].to_numpy(), dataset.table
    rng, found = np.random.default_rng(0), []

    def features(pictures: list[np.ndarray[Any, Any]]) -> torch.Tensor:
        small = np.stack([resize(picture, (64, 64)) for picture in pictures])
        return torch.from_numpy(held_out.read(as_tensor(small))[1])

    def some(rows: np.ndarray[Any, Any]) -> list[int]:
        return sorted(rng.choice(rows, min(SAMPLED, len(rows)), replace=False).tolist())

    everybody = features([dataset.image(row) for row in some(np.arange(len(dataset)))])
    scale = everybody.std(0).clamp_min(1e-6)
    for cell in manifest.cells:
        synthetic = np.flatnonzero(cells == cell.index)
        own = np.all([table[name].astype(str) == level for name, level in cell.attributes.items()], axis=0)
        if len(synthetic) < 2 or own.sum() < 2:
            continue
        of_synthetic = features([item[0].permute(1, 2, 0).numpy() for item in data.__getitems__(some(synthetic))])
        of_real = features([dataset.image(row) for row in some(np.flatnonzero(own))])
        distances = [float(torch.pdist(part / scale).mean()) for part in (of_synthetic, of_real)]
        found.append(
            {"attributes": cell.attributes, "synthetic": round(distances[0], 3), "real": round(distances[1], 3)}
        )
    return found


if __name__ == "__main__":
    main()
