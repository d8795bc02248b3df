"""Sheets of thumbnails: many faces in one file, so that a page of thousands is quick to open and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceaug.utils.files import write_bytes
from faceaug.utils.images import Rgb, encode

SHEET_COLUMNS = 16
SHEET_FACES = SHEET_COLUMNS * SHEET_COLUMNS
"""Faces of a full sheet."""
_QUALITY = 76  # of WebP, at which faces of 64 pixels show no artefacts


class SheetWriter:
    """Collects thumbnails of one kind and writes each sheet once it is full.

    Parameters
    ----------
    folder : Path
    kind : str
        First part of the names of files: "faces" gives faces-000.webp, faces-001.webp ...
    shape : (int, int)
        Height and width of a thumbnail.
    """

    def __init__(self, folder: Path, kind: str, shape: tuple[int, int]) -> None:
        self._folder, self._kind, self.shape = folder, kind, shape
        self._waiting: list[Rgb] = []
        self.count = 0
        self.names: list[str] = []

    def add(self, thumbnail: Rgb) -> int:
        """Add a thumbnail, uint8 of the shape of all, and return its number among those of this kind."""
        self._waiting.append(thumbnail)
        self.count += 1
        if len(self._waiting) == SHEET_FACES:
            self._write()
        return self.count - 1

    def close(self) -> None:
        """Write the last sheet, which may have empty places."""
        if self._waiting:
            self._write()

    def _write(self) -> None:
        height, width = self.shape
        rows = -(-len(self._waiting) // SHEET_COLUMNS)
        sheet = np.zeros((rows * height, SHEET_COLUMNS * width, 3), np.uint8)
        for k, image in enumerate(self._waiting):
            top, left = k // SHEET_COLUMNS * height, k % SHEET_COLUMNS * width
            sheet[top : top + height, left : left + width] = image
        name = f"{self._kind}-{len(self.names):03d}.webp"
        write_bytes(self._folder / name, encode(sheet, "webp", _QUALITY))
        self.names.append(name)
        self._waiting = []
