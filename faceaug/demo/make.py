"""Make the demo data set anew: `python -m faceaug.demo.make POSE.npz FOLDER`.

POSE.npz holds latents of `digiface`, z float32 [N, 100], and the head pose that an independent landmark model read from
their pictures, pose float32 [N, 3] (pitch, yaw, roll in degrees; NaN where it found no face).
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from faceaug.generators.registry import load_generator
from faceaug.utils.files import write_bytes
from faceaug.utils.images import encode

EDGES = (-90.0, -25.0, -10.0, 10.0, 25.0, 90.0)
COUNTS = (30, 170, 600, 170, 30)  # turned heads are rare, as in most collections of photographs
QUALITY = 95
_BATCH = 100


def choose(yaw: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return which draws are taken, ascending: in each bin of EDGES the first ones whose yaw [N] is known."""
    bins = np.digitize(yaw, EDGES) - 1
    rows = [np.flatnonzero(bins == place)[:count] for place, count in enumerate(COUNTS)]
    for place, (found, count) in enumerate(zip(rows, COUNTS, strict=True)):
        if len(found) < count:
            raise SystemExit(f"bin {place} of the yaw needs {count} draws, but only {len(found)} are there")
    return np.sort(np.concatenate(rows))


def make(pose_file: Path, folder: Path) -> None:
    """Draw the faces and write them with labels.csv into `folder`."""
    with np.load(pose_file) as content:
        latents, pose = content["z"], content["pose"]
    # The landmark model counts the other way, as looking at turned heads shows. Rounded as it is written, so that no
    # label lies in another bin than the one its face was taken for.
    yaw = -pose[:, 1].astype(np.float64).round(1)
    rows = choose(yaw)
    generator = load_generator("digiface")
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "yaw"])
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        images = generator.synthesize(torch.tensor(latents[part]))
        pixels = ((images.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        for row, image in zip(part, pixels, strict=True):
            name = f"draw-{row:04d}.jpg"
            write_bytes(folder / name, encode(image, "jpeg", QUALITY))
            writer.writerow([name, f"{yaw[row]:.1f}"])
    write_bytes(folder / "labels.csv", table.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and make the data set."""
    parser = argparse.ArgumentParser(description="Make the demo data set anew.")
    parser.add_argument("pose", type=Path, help="POSE.npz with z [N, 100] and pose [N, 3]")
    parser.add_argument("folder", type=Path, help="where the JPEG files and labels.csv are written")
    asked = parser.parse_args(arguments)
    make(asked.pose, asked.folder)


if __name__ == "__main__":
    main()
