"""Faces for explanations: a table as `faceaug measure` writes it, whose labels hang on known parts of the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from bundles import small_bundle
from fake_estimator import reconstruct, still_aligner

from faceaug.datasets.dataset import FaceDataset
from faceaug.latents.bundle import Bundle
from faceaug.measurement.confidence import ConfidenceModel
from faceaug.measurement.estimator import FaceEstimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import encode

MOUTH, EYES, WIDE = small_bundle().atoms


def measurer_of_parts(bundle: Bundle | None = None) -> FaceEstimator:
    """What reads view, light and the three parts of `small_bundle`, and trusts itself."""
    bundle = bundle or small_bundle()
    count = len(FACTOR_NAMES) + len(bundle.atoms)
    trust = ConfidenceModel(
        spread=np.ones(count), centre=np.zeros((count, 5)), scale=np.ones((count, 5)), weights=np.zeros((count, 5)),
        bias=np.full(count, 2.0), limits=np.array([1e9, 1e9, 1e9, 0.0]), presence=np.array([1.0, 0.0, 0.0]),
    )  # fmt: skip
    return FaceEstimator(reconstruct, still_aligner(), trust, bundle)


def measured_table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Women have dark mouths, the old deep eyes; group c is rare, and the light betrays who is in group b."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(rows, 3))
    around = rng.normal(size=(rows, len(FACTOR_NAMES))) * 5
    group = np.where(around[:, FACTOR_NAMES.index("light_x")] > 2, "b", "a").astype(object)
    group[:7] = "c"
    table = pd.DataFrame({
        "file": [f"{k:04d}.png" for k in range(rows)],
        "gender": np.where(1.5 * parts[:, 0] + 0.5 * rng.logistic(size=rows) > 0, "male", "female"),
        "age": (50 - 10 * parts[:, 1] + 5 * rng.normal(size=rows)).round(1),
        "group": group,
    })  # fmt: skip
    for name, column in zip((MOUTH, EYES, WIDE), parts.T, strict=True):
        table[name] = column
    for name, column in zip(FACTOR_NAMES, around.T, strict=True):
        table[name] = column
    return table


def as_dataset(table: pd.DataFrame) -> FaceDataset:
    """A dataset of a table; nobody opens its pictures."""

    class Nothing:
        def read(self, key: str) -> bytes:
            raise AssertionError(f"{key} was opened")

    return FaceDataset("faces", "folder", "faces", table.rename(columns={"file": "key"}), Nothing())


def write_faces(folder: Path, table: pd.DataFrame) -> Path:
    """Write a plain picture a row, and the table as labels.csv; return the folder."""
    folder.mkdir()
    data = encode(np.full((8, 8, 3), 90, np.uint8), "png")
    for name in table["file"]:
        (folder / name).write_bytes(data)
    table.to_csv(folder / "labels.csv", index=False)
    return folder
