"""Gather what a run of `faceaug balance` measured into a result file: time, cells, probes, directions, edits.

    python benchmarks/real_faces.py OUT NAME    # reads the output folder OUT, writes benchmarks/results/NAME.json

Besides what the manifest holds, accepted samples are synthesised again from their latents before and after the edit, to
measure how much the picture outside the face and the face itself changed; and a DataLoader reads every sample.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result
from torch.utils.data import DataLoader

from faceaug.data import ShardDataset
from faceaug.generators import load_generator
from faceaug.semantics import scene
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.extrapolate import synthesize

SAMPLED = 200  # accepted samples of a cell that are synthesised again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run")
    parser.add_argument("name", help="name of the result file, without .json")
    given = parser.parse_args()
    manifest = read_manifest(given.out)
    report = verify(given.out)
    totals = manifest.totals
    record = {
        **environment(seed=manifest.seed, packages=("torch", "numpy", "albumentations", "scikit-learn")),
        "run": shortened(manifest.created_by.command),
        "generator": manifest.generator.name if manifest.generator else None,
        "settings": manifest.settings,
        "seconds": manifest.measured.get("seconds"),
        "totals": {**totals.model_dump(), "accepted_share": round(totals.accepted / max(totals.planned, 1), 4)},
        "cells": [cell.model_dump() for cell in manifest.cells],
        "probes": manifest.measured.get("probes"),
        "r2": manifest.measured.get("r2"),
        "framing": manifest.measured.get("framing"),
        "verify": {"problems": len(report.problems), "rows": report.rows, "complete": report.complete},
        "dataloader": read_all(given.out),
        "edits": edits(given.out, manifest),
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
            outside = scene.measure(images, ellipse)[:, :3].double().numpy() @ np.array(scene.LUMA)
            means[when] = (outside, scene.exposure(images)[:, 0].double().numpy())
        (outside_0, face_0), (outside_1, face_1) = means["before"], means["after"]
        found.append({
            "attributes": cell.attributes, "samples": len(rows),
            "outside_before": round(float(outside_0.mean()), 4), "outside_after": round(float(outside_1.mean()), 4),
            "outside_mean_change": round(float(np.abs(outside_1 - outside_0).mean()), 4),
            "face_before": round(float(face_0.mean()), 4), "face_after": round(float(face_1.mean()), 4),
            "face_mean_change": round(float(np.abs(face_1 - face_0).mean()), 4),
        })  # fmt: skip
    return found


if __name__ == "__main__":
    main()
