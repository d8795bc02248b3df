"""The photographs of the data set for a report: which samples were made from them, and which are near to a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faceaug.analysis.axes import attribute, cell_codes
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.planning.plan import Plan
from faceaug.shards.columns import SOURCE_COLUMNS
from faceaug.utils.images import Rgb, crop_to_aspect, decode, resize
from faceaug.utils.threads import map_in_threads
from faceaug.utils.typing import Floats32

NEAREST_SHOWN = 3
"""Photographs that are shown as nearest to a sample."""
MOST_COMPARED = 20_000  # photographs that samples are compared with, spread evenly over the data set
_SIDE = 24  # pixels of the pictures that are compared
_TOGETHER = 512  # samples that are compared at once


@dataclass(frozen=True, eq=False)
class Photographs:
    """The images of a data set.

    Attributes
    ----------
    dataset : FaceDataset
    rows : dict of bytes to int
        Row of each of the requested files, by its SHA-256.
    compared : int64 [M]
        Rows whose pictures can be compared.
    pictures : float32 [M, P]
        Their pictures: small, grey, of zero mean and unit length.
    """

    dataset: FaceDataset
    rows: Mapping[bytes, int]
    compared: npt.NDArray[np.int64]
    pictures: Floats32

    @classmethod
    def read(cls, dataset: FaceDataset, digests: Collection[bytes]) -> Photographs:
        """Read all images once; those that cannot be read are left out.

        Parameters
        ----------
        dataset : FaceDataset
        digests : collection of bytes
            SHA-256 of the files that are to be found.
        """
        chosen = set(np.unique(np.linspace(0, len(dataset) - 1, MOST_COMPARED).round().astype(int)).tolist())

        def look(row: int) -> tuple[bytes, Floats32 | None] | None:
            try:
                data = dataset.encoded(row)
                image = decode(data, name=dataset.keys[row], max_pixels=dataset.max_pixels) if row in chosen else None
                return hashlib.sha256(data).digest(), None if image is None else small_picture(image)
            except (FaceaugError, OSError):
                return None

        rows: dict[bytes, int] = {}
        compared, pictures = [], [np.zeros((0, _SIDE * _SIDE), np.float32)]
        for row, found in enumerate(map_in_threads(look, len(dataset))):
            if found is None:
                continue
            digest, picture = found
            if digest in digests:
                rows.setdefault(digest, row)
            if picture is not None:
                compared.append(row)
                pictures.append(picture[None])
        return cls(dataset, rows, np.array(compared, np.int64), np.concatenate(pictures))

    def nearest(self, pictures: Sequence[Floats32], made_of: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
        """Return, for each picture [P] of `small_picture`, rows and distances of the photographs nearest to it.

        The distance is one minus the correlation of the small grey pictures: 0 for the same picture. Rows of
        photographs that a sample was made from do not count for it.
        """
        found: list[list[tuple[int, float]]] = []
        for start in range(0, len(pictures), _TOGETHER):
            part = np.stack(pictures[start : start + _TOGETHER])
            correlation = part @ self.pictures.T
            most = min(NEAREST_SHOWN + len(SOURCE_COLUMNS), correlation.shape[1])
            near = np.argpartition(-correlation, most - 1, axis=1)[:, :most] if most else np.zeros((len(part), 0), int)
            for k, (row, columns) in enumerate(zip(correlation, near, strict=True), start):
                order = sorted(columns.tolist(), key=lambda column: (-row[column], column))
                others = [column for column in order if int(self.compared[column]) not in made_of[k]]
                found.append(
                    [(int(self.compared[column]), float(1 - row[column])) for column in others[:NEAREST_SHOWN]]
                )
        return found

    def by_cell(self, plan: Plan) -> dict[int, npt.NDArray[np.int64]]:
        """Return the rows of each cell of a plan, as far as the table has its attributes."""
        table = self.dataset.table
        if any(axis.name not in table.columns for axis in plan.axes):
            return {}
        codes = cell_codes([axis.assign(attribute(table, axis.name)) for axis in plan.axes], plan.axes)
        return {int(k): np.flatnonzero(codes == k) for k in np.unique(codes[codes >= 0])}

    def images(self, rows: Iterable[int], aspect: float, side: int) -> dict[int, Rgb]:
        """Return thumbnails by row; images that cannot be read any more are left out."""
        wanted = list(rows)

        def thumbnail_of(k: int) -> Rgb | None:
            try:
                return face_thumbnail(self.dataset.image(wanted[k]), aspect, side)
            except (FaceaugError, OSError):
                return None

        found = zip(wanted, map_in_threads(thumbnail_of, len(wanted)), strict=True)
        return {row: image for row, image in found if image is not None}

    def file_name(self, row: int) -> str:
        """Return the name of a file without the folders around it."""
        return Path(self.dataset.keys[row]).name


def small_picture(image: Rgb) -> Floats32:
    """Return an image, uint8 [H, W, 3], as a small grey picture of zero mean and unit length: float32 [P]."""
    grey = resize(crop_to_aspect(image, 1.0), (_SIDE, _SIDE)).astype(np.float32).mean(2).ravel()
    grey -= grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1e-6), np.float32)


def face_thumbnail(image: Rgb, aspect: float, side: int) -> Rgb:
    """Return an image cropped to an aspect (width over height) and reduced to `side` pixels of width."""
    return resize(crop_to_aspect(image, aspect), (max(1, round(side / aspect)), side))
