"""Draw the README's picture: the demo data set before and after `make demo`.

python benchmarks/before_after.py demo-out docs/before_after.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from faceaug import demo
from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import load_dataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.report.contact_sheets import SheetRow, before_after
from faceaug.shards.manifest import read_manifest

SHOWN = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of the demo")
    parser.add_argument("picture", type=Path, help="PNG to write")
    given = parser.parse_args()
    dataset, made = load_dataset(demo.path()), ShardDataset(given.out, columns=["cell"])
    codes, cells = analyze(dataset, demo.BY).codes, made.table(["cell"])["cell"].to_numpy()
    groups = []
    for cell in read_manifest(given.out).cells:
        real, synthetic = np.flatnonzero(codes == cell.index), np.flatnonzero(cells == cell.index)
        faces = [image.permute(1, 2, 0).numpy() for image, _ in made.__getitems__(synthetic[:SHOWN].tolist())]
        label = f"yaw {cell.attributes['yaw']}"
        shown = [dataset.image(int(i)) for i in real[:SHOWN]]
        groups.append(SheetRow(label, shown, faces, len(real), len(synthetic)))
    Image.fromarray(before_after(groups, title="The demo data set")).save(given.picture, optimize=True)


if __name__ == "__main__":
    main()
