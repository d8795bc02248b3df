"""Head pose that faceaug measures on photographs, compared with that of an independent landmark model.

    python benchmarks/pose_accuracy.py utkface/images utkface/pose.csv

The table has a row a photograph: file, pitch, yaw and roll in degrees; rows without numbers are left out. Nothing is
trained or tuned by it. Of both, the reader and the reconstruction alone, the record gives the correlation with the
table, the slope (degrees measured for a degree of the table, by least squares), the share of the measured photographs
within 5 degrees, and the mean measured for bins of the table. Pitch is compared without its offset, since the zeros
differ. Photographs that look ahead are also turned by known angles by the warp of re-rendered faces, framed again and
read. The reading of framed faces is timed, one thread. Writes benchmarks/results/pose_accuracy.json.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _record import environment, write_result

from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import load_estimator
from faceaug.reconstruction.factors import concatenate_factors
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.warp import apply_warp, compute_changed_warp
from faceaug.utils.images import decode
from faceaug.utils.typing import Floats

BATCH_SIZE, MAX_PIXELS, ROUNDS = 16, 2**26, 9
YAW_BINS = (0, 5, 10, 15, 20, 30, 90)  # degrees of the table, both sides together
WITHIN = 5.0
TURNED, AHEAD = 256, 6.0  # photographs that are turned, at most, and their largest yaw in degrees
TURNS = {"yaw": (-35, -25, -15, 15, 25, 35), "pitch": (-20, -10, 10, 20)}
YAW, PITCH = FACTOR_NAMES.index("yaw"), FACTOR_NAMES.index("pitch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("pose", type=Path, help="CSV with file, pitch, yaw and roll")
    parser.add_argument("--photographs", type=int, default=2000, help="as many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(given.pose).dropna()
    table = table.sample(min(given.photographs, len(table)), random_state=given.seed)
    estimator = load_estimator()
    ways = {"reader": estimator, "reconstruction alone": replace(estimator, reader=None)}
    read = {name: _measure(given.images, table["file"].tolist(), way) for name, way in ways.items()}
    record = {
        **environment(given.seed, ("torch", "numpy")),
        "photographs": len(table),
        "ways": {name: _compared(values, table) for name, values in read.items()},
        "turned": _turned(
            given.images, table["file"].to_numpy()[np.abs(read["reader"][:, YAW]) < AHEAD][:TURNED], ways
        ),
        "milliseconds": _timed(ways, given.seed),
    }
    print(write_result("pose_accuracy", record))


def _measure(images: Path, files: list[str], estimator: FaceEstimator) -> Floats:
    """Return view and light [N, 6] of photographs, NaN where they are refused."""
    values = []
    for start in range(0, len(files), BATCH_SIZE):
        names = files[start : start + BATCH_SIZE]
        photographs = [decode((images / name).read_bytes(), name=name, max_pixels=MAX_PIXELS) for name in names]
        values.append(estimator.read(*lay_on_canvases(photographs)).values[:, : len(FACTOR_NAMES)])
    return np.concatenate(values)


def _compared(values: Floats, table: pd.DataFrame) -> dict[str, Any]:
    measured = np.isfinite(values[:, YAW])
    yaw, pitch = values[measured, YAW], values[measured, PITCH]
    true_yaw, true_pitch = (table[name].to_numpy()[measured] for name in ("yaw", "pitch"))
    bins = []
    for low, high in itertools.pairwise(YAW_BINS):
        inside = (np.abs(true_yaw) >= low) & (np.abs(true_yaw) < high)
        if inside.any():
            mean, truth = (float((x[inside] * np.sign(true_yaw[inside])).mean()) for x in (yaw, true_yaw))
            bins.append({"from": low, "to": high, "n": int(inside.sum()), "table": truth, "measured": mean})
    return {
        "measured": int(measured.sum()),
        "yaw": {**_agreement(yaw, true_yaw), "within": float((np.abs(yaw - true_yaw) <= WITHIN).mean()), "bins": bins},
        "pitch": _agreement(pitch, true_pitch),
    }


def _agreement(values: Floats, truth: Floats) -> dict[str, float]:
    return {"correlation": float(np.corrcoef(values, truth)[0, 1]), "slope": float(np.polyfit(truth, values, 1)[0])}


def _turned(images: Path, files: Sequence[str], ways: dict[str, FaceEstimator]) -> dict[str, Any]:
    """Return by how much the readings of photographs change on average when they are turned by known angles."""
    estimator = next(iter(ways.values()))
    canvases, shorter = lay_on_canvases(
        [decode((images / name).read_bytes(), name=name, max_pixels=MAX_PIXELS) for name in files]
    )
    before = [
        estimator.read(*batch) for batch in zip(canvases.split(BATCH_SIZE), shorter.split(BATCH_SIZE), strict=True)
    ]
    faces = torch.cat([each.faces.images for each in before])
    factors = concatenate_factors([each.factors for each in before])
    whole, windows = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(faces), -1), torch.zeros(len(faces), 4)
    changes: dict[str, Any] = {"photographs": len(faces)}
    for name, turns in TURNS.items():
        column = FACTOR_NAMES.index(name)
        for turn in turns:
            warp = compute_changed_warp(factors, [name], np.full((len(faces), 1), float(turn)))
            framed = estimator.aligner.refine(apply_warp(faces, warp, whole, windows), windows).images
            changes.setdefault(name, {})[str(turn)] = {
                way: float((each.read_framed(framed) - each.read_framed(faces))[:, column].mean())
                for way, each in ways.items()
            }
    return changes


def _timed(ways: dict[str, FaceEstimator], seed: int) -> dict[str, float]:
    """Return the milliseconds in which each way reads a framed face, in turns: the median of `ROUNDS` batches of 64."""
    images = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way.read_framed(images)
            seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * float(np.median(times)) / len(images) for name, times in seconds.items()}


if __name__ == "__main__":
    main()
