"""Faces of the demo data set, which show no real person, with a label that tests can plan by."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from faceaug import demo
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import load_estimator
from faceaug.morphing.face import CanonicalFace, canonical_faces
from faceaug.synthesis.engines.photographs import measured


@functools.cache
def estimator() -> FaceEstimator:
    """Return the shipped estimator."""
    return load_estimator(None)


@functools.cache
def faces(count: int = 12) -> tuple[tuple[CanonicalFace, np.ndarray], ...]:
    """Return faces of the demo data set that are found, each with its picture."""
    dataset = load_dataset(demo.path())
    pictures = [dataset.image(row) for row in range(2 * count)]
    values, extents = measured(estimator(), pictures, aligned=False)
    rows = list(range(len(pictures)))
    read = canonical_faces(rows, [bytes([row + 1]) * 32 for row in rows], pictures, extents, values)
    return tuple((face, picture) for face, picture in zip(read, pictures, strict=True) if face is not None)[:count]


def write_demo_faces(folder: Path, first: int, count: int) -> Path:
    """Write the files of some demo faces to a folder."""
    dataset = load_dataset(demo.path())
    for row in range(first, first + count):
        (folder / f"{row:03d}{Path(dataset.keys[row]).suffix}").write_bytes(dataset.encoded(row))
    return folder


def few_demo_faces(folder: Path, count: int) -> Path:
    """Write every so many of the demo faces to a folder, with their labels."""
    folder.mkdir()
    table = pd.read_csv(demo.path() / "labels.csv")
    table = table.iloc[:: len(table) // count]
    for file in table["file"]:
        (folder / file).write_bytes((demo.path() / file).read_bytes())
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def labelled_demo(folder: Path, count: int = 40, rare: int = 10, alone: bool = False) -> FaceDataset:
    """Write some demo faces to a folder, `rare` of them labelled so, with a number and a side beside.

    With `alone` only one of the rare ones is on the left.
    """
    dataset = load_dataset(demo.path())
    folder.mkdir(parents=True)
    rows = []
    for row in range(count):
        name = f"{row:03d}{Path(dataset.keys[row]).suffix}"
        (folder / name).write_bytes(dataset.encoded(row))
        kind = "common" if row % (count // rare) else "rare"
        side = "left" if (row == 0 if alone and kind == "rare" else row % 3) else "right"
        rows.append({"file": name, "kind": kind, "age": 20.0 + row % 5, "side": side})
    table = folder.parent / f"{folder.name}.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return load_dataset(folder, table)
