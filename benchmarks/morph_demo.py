"""The picture of morphs in the documentation: generated people of the demo data set, mixed into new ones.

    python benchmarks/morph_demo.py   # writes docs/morphs.png

The label is derived for this picture alone: the tenth of the demo faces with the darkest skin, as the reconstruction
reads it (albedo of the cheeks, which is free of light), is labelled dark. `balance` fills that cell by morphs. Above
are faces of the data set in the cell, below samples. No real person is in the picture.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _record import ROOT

from faceaug import RunConfig, analyze, balance, demo, load_dataset, plan
from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.measure import load_estimator
from faceaug.planning.budget import Budget
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import write_bytes
from faceaug.utils.images import contact_sheet, encode

SHOWN, COLUMNS, SCALE = 24, 12, 2
DARKEST = 0.1


def main() -> None:
    dataset, estimator = load_dataset(demo.path()), load_estimator(None)
    skin = np.full(len(dataset), np.nan)
    for start in range(0, len(dataset), 16):
        rows = range(start, min(start + 16, len(dataset)))
        read = estimator.read(*lay_on_canvases([dataset.image(row) for row in rows]))
        side = read.factors.albedo.shape[-1]
        cheeks = read.factors.albedo[:, :, side // 2 : side * 5 // 8, side // 4 : side * 3 // 4].mean((1, 2, 3))
        skin[list(rows)] = np.where([not reason for reason in read.refusals], cheeks.numpy(), np.nan)
    is_dark = skin < np.nanquantile(skin, DARKEST)
    with tempfile.TemporaryDirectory() as folder:
        labels = pd.DataFrame({"file": dataset.keys, "skin": np.where(is_dark, "dark", "other")})
        labels[np.isfinite(skin)].to_csv(Path(folder) / "labels.csv", index=False)
        labelled = load_dataset(demo.path(), Path(folder) / "labels.csv")
        wanted = plan(analyze(labelled, "skin"), "uniform", Budget(max_total=SHOWN))
        config = RunConfig(engine="morph", embedder="none", report=False)
        result = balance(labelled, Path(folder) / "out", plan=wanted, config=config)
        samples = []
        for entry in result.manifest.shards:
            with ShardReader(Path(folder) / "out" / entry.name) as reader:
                samples += [reader.image(row) for row in range(len(reader))]
    real = [dataset.image(int(row)) for row in np.flatnonzero(is_dark)[:SHOWN]]
    sheet = contact_sheet([*real, *samples], columns=COLUMNS, scale=SCALE)
    path = ROOT / "docs" / "morphs.png"
    write_bytes(path, encode(sheet, "png"))
    print(f"{path}: {len(real)} faces of the data set, {len(samples)} morphs; {dict(result.manifest.totals.rejected)}")


if __name__ == "__main__":
    main()
