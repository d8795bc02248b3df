"""Indexing a folder of images by their headers: `load_dataset` beside PIL.Image.open in a loop, and imagesize.

faceaug lists the folder, refuses links that lead out of it, and checks every header; the others read width and height
of files that are listed already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from benchmarks.speed.data import smooth_images
from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work, find_opponents
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.utils.images import encode

TITLE = "indexing a folder by headers"
AIM = 4.0
COUNT, FOLDERS = {"full": 100_000, "tiny": 60}, 100
_DIFFERENT = 50  # images, each written many times


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the case of a folder with 100 folders in it."""
    opponents = find_opponents(imagesize="imagesize")
    files = [encode(image, "jpeg") for image in smooth_images(_DIFFERENT, 64)]
    for k in range(FOLDERS):
        (folder / f"{k:03d}").mkdir()
    paths = [folder / f"{k % FOLDERS:03d}" / f"{k:06d}.jpg" for k in range(COUNT[size])]
    for k, path in enumerate(paths):
        path.write_bytes(files[k % _DIFFERENT])
    names = list(map(str, paths))

    def agree() -> str:
        dataset = _index(folder)
        if len(dataset) != len(paths) or dataset.problems or {_pil(name) for name in names[:500]} != {(64, 64)}:
            raise Disagreement(f"{len(dataset)} of {len(paths)} images are indexed, {len(dataset.problems)} refused")
        return f"{len(dataset):,} images are indexed, none is refused"

    works: dict[str, Work] = {OURS: lambda: _index(folder), "PIL.Image.open": lambda: [_pil(name) for name in names]}
    if imagesize := opponents.modules.get("imagesize"):
        works["imagesize"] = lambda: [imagesize.get(name) for name in names]
    yield Case(
        f"{len(paths):,} JPEG files", "images", len(paths), works, agree, AIM, missing=opponents.missing, rounds=5
    )


def _index(folder: Path) -> FaceDataset:
    options = LoadOptions(check="header", needs_labels=False)
    return load_dataset(folder, reader="unlabelled", options=options)


def _pil(name: str) -> tuple[int, int]:
    with Image.open(name) as image:
        return image.size
