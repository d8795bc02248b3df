"""Which refused pictures a run keeps to look at: the first few of each cell and reason, in the order of attempts."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from faceaug.shards.refused import RefusedPicture
from faceaug.utils.images import Rgb, encode, resize

KEPT = 2
"""Pictures that are kept of each cell and reason."""
MOST_KEPT = 600
"""Pictures that are kept in all."""
_SIDE, _QUALITY = 96, 80  # pixels of the width, and of WebP


class RefusedPictures:
    """Collects refused pictures.

    Parameters
    ----------
    wanted : bool
        Whether any are kept.
    """

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._counts = Counter[tuple[int, str]]()
        self.kept: list[RefusedPicture] = []
        self._stored: list[list[Any]] = []  # the same as JSON values: asked for with every block

    def add(self, cell: int, attempt: int, reason: str, image: Rgb, from_photographs: bool) -> None:
        """Keep a picture, uint8 [H, W, 3], unless there are enough of its cell and reason."""
        if not self._wanted or self._counts[cell, reason] >= KEPT or len(self.kept) >= MOST_KEPT:
            return
        height, width = image.shape[:2]
        if width > _SIDE:
            image = resize(image, (max(1, round(height * _SIDE / width)), _SIDE))
        self._keep(RefusedPicture(cell, attempt, reason, from_photographs, encode(image, "webp", _QUALITY)))

    def state(self) -> list[list[Any]]:
        """Return what was kept as JSON values, for an interrupted run."""
        return list(self._stored)

    def restore(self, state: Iterable[Sequence[Any]]) -> None:
        """Take over what `state` returned, where pictures are kept at all."""
        if not self._wanted:
            return
        for cell, attempt, reason, from_photographs, image in state:
            self._keep(RefusedPicture(cell, attempt, reason, from_photographs, base64.b64decode(image)))

    def _keep(self, picture: RefusedPicture) -> None:
        self._counts[picture.cell, picture.reason] += 1
        self.kept.append(picture)
        image = base64.b64encode(picture.image).decode()
        self._stored.append([picture.cell, picture.attempt, picture.reason, picture.from_photographs, image])
