"""Write the image of morphs in docs/usage.md: open mouths in the demo data set, before and after.

    python benchmarks/demo_morphs.py work/demo-morphs docs/demo_morphs.png

The demo data set has no label of what faces look like, so one is derived: the leading principal component of the part
around the mouth of all canonical pictures separates open mouths from moustaches, and the faces furthest on the side of
the open mouths (`OPEN_SHARE`) are labelled "open", all others "other". `faceaug balance --engine morph` then raises
them. The people in the demo data set do not exist.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from before_after import LONGEST_ROW, SheetRow, before_after
from PIL import Image

from faceaug import demo
from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.measurement.measure import load_estimator
from faceaug.morphing.face import CanonicalFace, canonical_faces
from faceaug.planning.budget import Budget
from faceaug.planning.plan import plan
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.photographs import measured, read_photograph

OPEN_SHARE = 0.06
MOUTH = slice(94, 120), slice(44, 84)  # rows and columns of the canonical picture
INSIDE = slice(10, 18), slice(14, 26)  # of these, where an open mouth is dark
MORPHS = 200
_TOGETHER = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", type=Path, help="folder of the labels and of the output; absent or empty")
    parser.add_argument("picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    faces = read_faces(load_dataset(demo.path()))
    options.work.mkdir(parents=True, exist_ok=True)
    labels = options.work / "labels.csv"
    table(faces).to_csv(labels, index=False)
    dataset = load_dataset(demo.path(), labels)
    wanted = plan(analyze(dataset, "mouth"), "uniform", Budget(max_total=MORPHS))
    out = options.work / "out"
    result = balance(dataset, out, plan=wanted, config=RunConfig(engine="morph", aligned=True, report=False, seed=1))
    print(f"{result.accepted} of {result.planned} accepted; {result.manifest.totals.rejected}")
    Image.fromarray(before_after(rows(dataset, out), title="Open mouths in the demo data set", side=56)).save(
        options.picture, optimize=True
    )


def read_faces(dataset: FaceDataset) -> dict[str, CanonicalFace]:
    """Return the faces that were found in the canonical frame, by file."""
    estimator, faces = load_estimator(), {}
    for start in range(0, len(dataset), _TOGETHER):
        photographs = [read_photograph(dataset, row) for row in range(start, min(start + _TOGETHER, len(dataset)))]
        pictures = [photograph.pixels for photograph in photographs]
        values, extents = measured(estimator, pictures, aligned=True)
        numbers, digests = [p.row for p in photographs], [p.sha256 for p in photographs]
        found = canonical_faces(numbers, digests, pictures, extents, values)
        faces.update({dataset.keys[face.row]: face for face in found if face is not None})
    return faces


def table(faces: dict[str, CanonicalFace]) -> pd.DataFrame:
    """Return the labels of the faces: file and mouth."""
    parts = [cv2.GaussianBlur(face.detail[MOUTH].astype(np.float64), (0, 0), 2)[::2, ::2] for face in faces.values()]
    values = np.stack(parts).reshape(len(parts), -1)
    _, _, components = np.linalg.svd(values - values.mean(0), full_matrices=False)
    score = (values - values.mean(0)) @ components[0]
    dark = -np.stack([face.detail[MOUTH][INSIDE].mean() for face in faces.values()])
    score *= np.sign(np.corrcoef(score, dark)[0, 1])
    is_open = score >= np.quantile(score, 1 - OPEN_SHARE)
    return pd.DataFrame({"file": list(faces), "mouth": np.where(is_open, "open", "other")})


def rows(dataset: FaceDataset, out: Path) -> list[SheetRow]:
    """Return the rows of the picture."""
    synthetic = ShardDataset(out, columns=["mouth"])
    made, real = synthetic.table()["mouth"].to_numpy(), dataset.table["mouth"].astype(str).to_numpy()
    result = []
    for level in ("other", "open"):
        added, own = np.flatnonzero(made == level), np.flatnonzero(real == level)
        items = synthetic.__getitems__(added[: 2 * LONGEST_ROW].tolist())
        pictures = [image.permute(1, 2, 0).numpy() for image, _ in items]
        photographs = [dataset.image(int(row)) for row in own[:LONGEST_ROW]]
        result.append(SheetRow(f"mouth {level}", photographs, pictures, len(own), len(added)))
    return result


if __name__ == "__main__":
    main()
