"""Morphs: how well faces lie on one another in the canonical frame, and what a morph costs at higher resolutions.

    python benchmarks/morph_frame.py FACES LABELS [--tuned FILE]   # writes benchmarks/results/morph_frame.json

- Alignment: corners of the eyes and the base of the nose, found on the photographs by dlib's 5-point model (extra
  `identity`), as places of the canonical picture of 128 pixels: their spread over people, and their distance between
  host and donor before and after registration.
- Resolution: seconds and memory of a morph of photographs that were enlarged to 200, 512 and 1,024 pixels (there are no
  larger ones), and the largest change away from the face.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from _record import environment, write_result

from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.identity.dlib_embedder import DlibEmbedder
from faceaug.measurement.measure import load_estimator
from faceaug.morphing.blend import plan_morph, render_morph
from faceaug.morphing.canonical import PICTURE_SIDE
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.face import CanonicalFace, canonical_faces
from faceaug.morphing.registration import register
from faceaug.reconstruction.warp import WIDE, positions_in_window
from faceaug.synthesis.engines.photographs import measured

LANDMARKS = (
    *("one eye, outer corner", "one eye, inner corner", "other eye, inner corner", "other eye, outer corner", "nose"),
)
SIDES = (200, 512, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--count", type=int, default=600, help="photographs, spread over the data set")
    parser.add_argument("--tuned", type=Path, help="a reconstruction of faceaug discover --tune-on FACES, beside")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(options.faces, options.labels)
    rows = np.unique(np.linspace(0, len(dataset) - 1, options.count).astype(int)).tolist()
    faces = read(dataset, rows, None)
    record: dict[str, Any] = {
        **environment(0, ("torch", "dlib-bin", "opencv-python-headless")),
        "photographs": len(rows),
        "faces": len(faces),
        "alignment": alignment(dataset, faces),
        "resolution": [resolution(dataset, faces, side) for side in SIDES],
    }
    if options.tuned:
        record["alignment_with_tuning"] = alignment(dataset, read(dataset, rows, options.tuned))
    print(write_result("morph_frame", record))


def read(dataset: FaceDataset, rows: list[int], reconstruction: Path | None) -> list[CanonicalFace]:
    estimator, faces = load_estimator(reconstruction), []
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16]
        pictures = [dataset.image(row) for row in part]
        values, extents = measured(estimator, pictures, aligned=False)
        faces += canonical_faces(part, [b""] * len(part), pictures, extents, values)
    return [face for face in faces if face is not None]


def alignment(dataset: FaceDataset, faces: list[CanonicalFace]) -> dict[str, Any]:
    embedder = DlibEmbedder()
    found = {face.row: places for face in faces if (places := canonical_landmarks(embedder, dataset, face)) is not None}
    known = [face for face in faces if face.row in found]
    spread = np.sqrt(np.stack(list(found.values())).var(0).sum(1))
    index = DonorIndex(known, np.empty((len(known), 0)), np.empty(0, bool), 1.0)
    before, after = [], []
    for host in range(len(known)):
        donor = known[int(index.nearest(host, 1, np.random.default_rng(0))[0][0])]
        one, other = found[known[host].row], found[donor.row]
        moved = one + flow_at(register(known[host].detail, donor.detail).flow, one)
        before.append(np.linalg.norm(one - other, axis=1))
        after.append(np.linalg.norm(moved - other, axis=1))
    return {
        "landmarks": LANDMARKS,
        "faces": len(known),
        "spread_over_people": rounded(spread),
        "between_host_and_donor": {
            name: {
                "median": rounded(np.median(values, 0)),
                "quantile_0.9": rounded(np.quantile(values, 0.9, 0)),
            }
            for name, values in (("before registration", before), ("after registration", after))
        },
    }


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]


def canonical_landmarks(embedder: DlibEmbedder, dataset: FaceDataset, face: CanonicalFace) -> np.ndarray | None:
    """Return the places [5, 2] of landmarks in pixels of the canonical picture, from its middle."""
    scaled, box = embedder._detect(dataset.image(face.row))
    if box is None:
        return None
    shape = embedder._landmarks(scaled, box)
    points = np.array([[shape.part(k).x + 0.5, shape.part(k).y + 0.5] for k in range(5)], np.float32)
    points = points / np.array(scaled.shape[1::-1], np.float32) * 2 - 1
    extent, window = torch.from_numpy(face.extent), torch.from_numpy(face.window)[None]
    on_canvas = torch.from_numpy(points)[None, None] * extent[2:] + extent[:2]
    positions = positions_in_window(on_canvas, window) / WIDE
    maps = torch.from_numpy(face.places.astype(np.float32)).permute(2, 0, 1)[None]
    return F.grid_sample(maps, positions, align_corners=False)[0, :, 0].T.numpy() * (PICTURE_SIDE / 2)


def flow_at(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    places = torch.from_numpy(points / (PICTURE_SIDE / 2)).float()[None, None]
    maps = torch.from_numpy(flow).permute(2, 0, 1)[None]
    return F.grid_sample(maps, places, align_corners=False)[0, :, 0].T.numpy() * (PICTURE_SIDE / 2)


def resolution(dataset: FaceDataset, faces: list[CanonicalFace], side: int) -> dict[str, Any]:
    seconds, outside = [], []
    for host, donor in itertools.pairwise(faces[:20]):
        pictures = [
            cv2.resize(dataset.image(face.row), (side, side), interpolation=cv2.INTER_CUBIC) for face in (host, donor)
        ]
        start = time.perf_counter()
        image, _ = render_morph(plan_morph(host, [donor], [0.7]), pictures)
        seconds.append(time.perf_counter() - start)
        change = np.abs(image.astype(int) - pictures[0].astype(int)).max(2)
        outside.append(int(np.median([change[0].max(), change[:, 0].max(), change[:, -1].max()])))
    return {
        "side": side,
        "median_seconds": round(float(np.median(seconds[2:])), 3),
        "peak_memory_of_process_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "median_change_at_the_border": int(np.median(outside)),
    }


if __name__ == "__main__":
    main()
