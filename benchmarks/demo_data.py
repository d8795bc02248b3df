"""Write the demo data set of `faceaug.demo` again.

Run from the root of the repository with faceaug installed:

    python benchmarks/demo_data.py POSE.npz FOLDER

POSE.npz holds latents of `digiface`, z float32 [N, 100], and the head pose that an independent landmark model measured
on their images, pose float32 [N, 3] (pitch, yaw, roll in degrees; NaN where it detected no face).
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.generators.registry import load_generator
from faceaug.utils.files import write_bytes
from faceaug.utils.images import encode
from faceaug.utils.typing import Floats

EDGES = (-90.0, -25.0, -10.0, 10.0, 25.0, 90.0)
COUNTS = (30, 170, 600, 170, 30)  # turned heads are rare, as in most collections of photographs
JPEG_QUALITY = 95
_BATCH_SIZE = 100


def select_rows(yaw: Floats) -> NDArray[np.int64]:
    """Return the rows that are used, ascending: in each bin of EDGES the first COUNTS rows with a known yaw [N]."""
    bins = np.digitize(yaw, EDGES) - 1
    rows = [np.flatnonzero(bins == index)[:count] for index, count in enumerate(COUNTS)]
    for index, (rows_of_bin, count) in enumerate(zip(rows, COUNTS, strict=True)):
        if len(rows_of_bin) < count:
            raise SystemExit(f"bin {index} of the yaw needs {count} samples, but there are only {len(rows_of_bin)}")
    return np.sort(np.concatenate(rows))


def write_demo(pose_file: Path, folder: Path) -> None:
    """Generate the faces and write them with labels.csv into `folder`."""
    with np.load(pose_file) as content:
        latents, pose = content["z"], content["pose"]
    # The landmark model has the opposite sign of yaw, as turned heads show. The yaw is rounded before the selection, so
    # that no written label lies in another bin than the one its face was selected for.
    yaw = -pose[:, 1].astype(np.float64).round(1)
    rows = select_rows(yaw)
    generator = load_generator("digiface")
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "yaw"])
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        images = generator.synthesize(torch.tensor(latents[batch]))
        pixels = ((images.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        for row, image in zip(batch, pixels, strict=True):
            name = f"draw-{row:04d}.jpg"
            write_bytes(folder / name, encode(image, "jpeg", JPEG_QUALITY))
            writer.writerow([name, f"{yaw[row]:.1f}"])
    write_bytes(folder / "labels.csv", table.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write the data set."""
    parser = argparse.ArgumentParser(description="Write the demo data set again.")
    parser.add_argument("pose", type=Path, help="POSE.npz with z [N, 100] and pose [N, 3]")
    parser.add_argument("folder", type=Path, help="folder for the JPEG files and labels.csv")
    options = parser.parse_args(arguments)
    write_demo(options.pose, options.folder)


if __name__ == "__main__":
    main()
