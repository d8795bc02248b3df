"""Small experiments on toy faces: noise whose brightness tells the label, a network that learns it in a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.utils.images import encode

CELLS = (("female", "asian", 24), ("female", "white", 40), ("male", "asian", 24), ("male", "white", 40))
SIDE = 24


def toy_face(gender: str, number: int) -> np.ndarray:
    """A picture of noise, brighter above for one gender and below for the other."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 120, (SIDE, SIDE, 3))
    half = slice(0, SIDE // 2) if gender == "female" else slice(SIDE // 2, SIDE)
    image[half] += 100
    return image.astype(np.uint8)


def write_toys(folder: Path) -> Path:
    """Write images/ and labels.csv to a folder; one face is there twice, under another name."""
    (folder / "images").mkdir()
    rows = []
    for gender, ethnicity, count in CELLS:
        for _ in range(count):
            number = len(rows)
            (folder / "images" / f"{number:03d}.png").write_bytes(encode(toy_face(gender, number), "png"))
            rows.append(
                {"file": f"{number:03d}.png", "gender": gender, "ethnicity": ethnicity, "age": 20 + number % 50}
            )
    (folder / "images" / "again.png").write_bytes((folder / "images" / "000.png").read_bytes())
    rows.append({**rows[0], "file": "again.png"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


def toy_recipe(toys: Path) -> dict[str, Any]:
    """Return a recipe of seconds."""
    return {
        "about": "Toy faces",
        "dataset": {"path": str(toys / "images"), "labels": str(toys / "labels.csv")},
        "split": {"train": 0.5, "validation": 0.25, "test": 0.25},
        "imbalance": [{"by": "ethnicity", "levels": ["asian"], "count": 8}],
        "task": "gender",
        "groups": ["gender", "ethnicity"],
        "model": {"name": "resnet", "side": 16},
        "training": {"steps": 6, "batch_size": 8, "trials": 1, "evaluations": 2},
        "arms": ["erm", "rwg"],
        "seeds": 2,
    }
