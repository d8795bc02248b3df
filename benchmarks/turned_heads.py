"""How far re-rendered heads are turned, by a regression of frozen features on an independent landmark model.

    python benchmarks/turned_heads.py utkface/images utkface/pose.csv

A ridge regression from features of EfficientNet-Lite0 to the yaw of the table is fitted on photographs, most of them
turned, and checked on others. It sees the whole picture, hair and background too, and knows neither reconstruction nor
the warp. Photographs that look ahead, and that it was not fitted on, are turned by known angles, with the face kept
where it is (as re-rendering does) and with the background kept; and, for comparison, moved as in the first case without
being turned. Writes benchmarks/results/turned_heads.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _record import environment, write_result
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from faceaug.bench.examples import input_side, model_inputs
from faceaug.bench.recipe import BenchModel
from faceaug.classifiers.classifier import Task
from faceaug.classifiers.training import augmentations_of
from faceaug.measurement.alignment import canvas_extent, lay_on_canvases
from faceaug.measurement.estimator import Measurements
from faceaug.measurement.measure import load_estimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.warp import apply_warp, compute_changed_warp
from faceaug.utils.images import Rgb, decode, resize
from faceaug.utils.tensors import as_tensor, to_uint8
from faceaug.utils.typing import Floats

MAX_PIXELS = 2**26
TURNS = (-30, -20, -10, 0, 10, 20, 30)
FAR, AHEAD = 10.0, 5.0  # degrees of the table: turned heads, and heads that look ahead
FITTED_AHEAD = 1200  # photographs between, beside all that are turned
CHECKED = 0.25  # share of the photographs on which the regression is checked
PENALTY = 3000.0
FACE, BACKGROUND, MOVED = "face kept in place", "background kept", "moved alike, not turned"
MODEL = BenchModel(name="features")
YAW = FACTOR_NAMES.index("yaw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("pose", type=Path, help="CSV with file and yaw")
    parser.add_argument("--photographs", type=int, default=100, help="that are turned, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(given.pose).dropna().sample(frac=1, random_state=given.seed)
    turned, ahead = table[table["yaw"].abs() > FAR], table[table["yaw"].abs() < AHEAD]
    chosen, ahead = ahead[: given.photographs], ahead[given.photographs :]
    fitted = pd.concat([turned, ahead[:FITTED_AHEAD]]).sample(frac=1, random_state=given.seed)
    regression, check = fit_regression(given.images, fitted)
    photographs = [read(given.images, name) for name in chosen["file"]]
    record = {
        **environment(given.seed, ("torch", "numpy", "scikit-learn")),
        "photographs": len(chosen),
        "regression": check,
        "turned": {way: turned_by(regression, photographs, way) for way in (FACE, BACKGROUND, MOVED)},
    }
    print(write_result("turned_heads", record))


def read(images: Path, name: str) -> Rgb:
    """Return a photograph."""
    return decode((images / name).read_bytes(), name=name, max_pixels=MAX_PIXELS)


def features(photographs: list[Rgb]) -> Floats:
    """Return the frozen features of photographs."""
    side = input_side(MODEL)
    small = np.stack([resize(photograph, (side, side)) for photograph in photographs])
    inputs, _ = model_inputs(small, MODEL, augmentations_of([Task("any", "classes", ("a", "b"))]), "cpu")
    return np.asarray(inputs, np.float64)


def fit_regression(images: Path, table: pd.DataFrame) -> tuple[Pipeline, dict[str, Any]]:
    """Return the regression of yaw on features, and how it does on photographs that it was not fitted on."""
    found = features([read(images, name) for name in table["file"]])
    yaw, count = table["yaw"].to_numpy(), round((1 - CHECKED) * len(table))
    regression = make_pipeline(StandardScaler(), Ridge(PENALTY)).fit(found[:count], yaw[:count])
    predicted = regression.predict(found[count:])
    slope = np.polyfit(yaw[count:], predicted, 1)[0]
    return regression, {
        "fitted": count,
        "checked": len(table) - count,
        "correlation": float(np.corrcoef(predicted, yaw[count:])[0, 1]),
        "slope": float(slope),
    }


def warped(photograph: Rgb, measured: Measurements, angle: float, way: str) -> Rgb:
    """Return a photograph whose head is turned, or that is only moved as if it were."""
    warp = compute_changed_warp(measured.factors, ("yaw",), np.array([[angle]]))
    if way == MOVED:
        still = compute_changed_warp(measured.factors, ("yaw",), np.zeros((1, 1)))
        warp = replace(still, movement=warp.movement)
    extent = torch.tensor([canvas_extent(*photograph.shape[:2])])
    windows = measured.faces.windows
    return to_uint8(apply_warp(as_tensor(photograph)[None], warp, extent, windows, in_place=way != BACKGROUND))[0]


def turned_by(regression: Pipeline, photographs: list[Rgb], way: str) -> dict[str, Any]:
    """Return, by angle, the means of what the estimator and the regression read of photographs turned by it."""
    estimator = load_estimator()
    before = [estimator.read(*lay_on_canvases([photograph])) for photograph in photographs]
    readings: dict[str, Any] = {}
    for angle in TURNS:
        pictures = [
            warped(photograph, measured, float(angle), way)
            for photograph, measured in zip(photographs, before, strict=True)
        ]
        ours = [estimator.read(*lay_on_canvases([picture])).values[0, YAW] for picture in pictures]
        own = regression.predict(features(pictures))
        readings[str(angle)] = {"estimator": float(np.nanmean(ours)), "regression": float(own.mean())}
    return readings


if __name__ == "__main__":
    main()
