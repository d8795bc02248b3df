"""Contact sheets of the report: real faces above synthetic ones, and photographs above the faces made from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faceaug.errors import UsageError
from faceaug.utils.images import Rgb, contact_sheet, crop_to_aspect, resize

BAND_COLOUR = (128, 128, 128)
"""Colour of the band between blocks of faces, visible on light and on dark pages."""
_BAND_HEIGHT = 8


def cell_sheet(real: Sequence[Rgb], synthetic: Sequence[Rgb], *, side: int = 96, columns: int = 12) -> Rgb:
    """Lay out the faces of a cell: real ones, a grey band, synthetic ones. Either kind may be missing.

    Parameters
    ----------
    real, synthetic : sequences of uint8 [H, W, 3]
        Faces of any size. Each is shown `side` pixels wide, in the proportions of the first one.
    side : int
        Width of a face in pixels.
    columns : int
        Faces in a row.

    Returns
    -------
    uint8 [height, columns * side, 3]

    Raises
    ------
    UsageError
        When there is no face at all.
    """
    if not real and not synthetic:
        raise UsageError("a contact sheet needs at least one face; give real or synthetic faces")
    blocks = []
    for faces in (real, synthetic):
        if faces:
            height, width = faces[0].shape[:2]
            shape = (max(1, round(side * height / width)), side)
            blocks.append(_padded(contact_sheet([resize(face, shape) for face in faces], columns), columns * side))
    if len(blocks) == 2:
        blocks.insert(1, _band(columns * side))
    return np.concatenate(blocks)


def pair_sheet(pairs: Sequence[tuple[Rgb, Rgb]], *, side: int = 96, columns: int = 12) -> Rgb:
    """Lay out photographs with the face made from each below it; a band separates rows of pairs.

    Parameters
    ----------
    pairs : sequence of (photograph, synthetic face), each uint8 [H, W, 3]
        At least one. All are shown in the proportions of the first synthetic face, to which photographs are cropped.
    side : int
        Width of a face in pixels.
    columns : int
        Pairs in a row.

    Returns
    -------
    uint8 [height, columns * side, 3]

    Raises
    ------
    UsageError
        When there is no pair.
    """
    if not pairs:
        raise UsageError("a sheet of pairs needs at least one photograph with the face that was made from it")
    height, width = pairs[0][1].shape[:2]
    shape = (max(1, round(side * height / width)), side)
    blocks: list[Rgb] = []
    for start in range(0, len(pairs), columns):
        row = pairs[start : start + columns]
        photographs = [resize(crop_to_aspect(photograph, width / height), shape) for photograph, _ in row]
        for faces in (photographs, [resize(synthetic, shape) for _, synthetic in row]):
            blocks.append(_padded(contact_sheet(faces, columns), columns * side))
        blocks.append(_band(columns * side))
    return np.concatenate(blocks[:-1])


def _band(width: int) -> Rgb:
    return np.full((_BAND_HEIGHT, width, 3), BAND_COLOUR, np.uint8)


def _padded(sheet: Rgb, width: int) -> Rgb:
    """Pad a sheet with white on the right, up to the width."""
    return np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255)
