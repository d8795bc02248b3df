"""Pictures that people look at: the contact sheet of a cell, and a data set before and after in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceaug.errors import UsageError
from faceaug.utils.images import Rgb, contact_sheet, resize
from faceaug.utils.tensors import cut_to

BAND = (128, 128, 128)  # between real and made faces; seen on light and on dark pages
_INK, _FAINT, _MADE = (34, 40, 49), (120, 128, 138), (42, 120, 214)
_GAP = 12  # pixels round everything in `before_after`


def cell_sheet(real: Sequence[Rgb], made: Sequence[Rgb], *, side: int = 96, columns: int = 12) -> Rgb:
    """Lay a cell's faces out: real ones above, a grey band, made ones below; either may be missing.

    Parameters
    ----------
    real, made : sequences of uint8 [H, W, 3]
        Faces of any size; each is shown `side` pixels wide, as high as the first one's proportions say.
    side, columns : int
        Width of a face in pixels; faces in a row.

    Returns
    -------
    ndarray of uint8, shape [height, columns * side, 3]

    Raises
    ------
    UsageError
        When there is no face at all.
    """
    if not real and not made:
        raise UsageError("a contact sheet of no faces was asked for: give real or made faces")
    blocks = []
    for faces in (real, made):
        if faces:
            height, width = faces[0].shape[:2]
            shape = (max(1, round(side * height / width)), side)
            blocks.append(_padded(contact_sheet([resize(face, shape) for face in faces], columns), columns * side))
    if len(blocks) == 2:
        blocks.insert(1, _band(columns * side))
    return np.concatenate(blocks)


def pair_sheet(pairs: Sequence[tuple[Rgb, Rgb]], *, side: int = 96, columns: int = 12) -> Rgb:
    """Lay out photographs, and below each what was made of it; a band sets rows of pairs apart.

    Parameters
    ----------
    pairs : sequence of (photograph, made), each uint8 [H, W, 3]
        At least one. All are shown in the proportions of the first made face, photographs cut to them.
    side, columns : int
        Width of a face in pixels; pairs in a row.

    Returns
    -------
    ndarray of uint8, shape [height, columns * side, 3]

    Raises
    ------
    UsageError
        When there is no pair.
    """
    if not pairs:
        raise UsageError("a sheet of no pairs was asked for: give at least one photograph and what was made of it")
    height, width = pairs[0][1].shape[:2]
    shape = (max(1, round(side * height / width)), side)
    blocks: list[Rgb] = []
    for start in range(0, len(pairs), columns):
        row = pairs[start : start + columns]
        photographs = [resize(cut_to(photograph, width / height), shape) for photograph, _ in row]
        for faces in (photographs, [resize(made, shape) for _, made in row]):
            blocks.append(_padded(contact_sheet(faces, columns), columns * side))
        blocks.append(_band(columns * side))
    return np.concatenate(blocks[:-1])


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row of `before_after`: some faces of a cell, and how many there really are.

    Attributes
    ----------
    label : str
        What the group is called.
    real, made : sequences of uint8 [H, W, 3]
        Faces to show; they are repeated by none, so a row may show fewer than its share.
    real_count, made_count : int
        How many there are.
    """

    label: str
    real: Sequence[Rgb]
    made: Sequence[Rgb]
    real_count: int
    made_count: int


def before_after(groups: Sequence[SheetRow], *, side: int = 44, longest: int = 14, title: str = "") -> Rgb:
    """Draw a data set before and after: a row of faces a group, as long as the group is large; made ones underlined.

    Parameters
    ----------
    groups : sequence of SheetRow
        In the order of the rows.
    side : int
        Pixels of a face.
    longest : int
        Faces in the longest row; one face stands for so many.
    title : str
        A line above.

    Returns
    -------
    ndarray of uint8, shape [H, W, 3]

    Raises
    ------
    UsageError
        When there are no groups, or no faces in any.
    """
    largest = max((group.real_count + group.made_count for group in groups), default=0)
    if not largest:
        raise UsageError("a picture of no faces was asked for: give at least one group with faces")
    small, large = ImageFont.load_default(15), ImageFont.load_default(19)
    gutter = 2 * _GAP + max(int(small.getlength(group.label)) for group in groups)
    panel = longest * (side + 2) + 90  # room for the number behind the row
    head = (34 if title else 0) + 40
    row = side + 12
    picture = Image.new("RGB", (gutter + 2 * panel + _GAP, head + len(groups) * row + 44), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((_GAP, _GAP), title, _INK, large)
    for left, words in ((gutter, "before"), (gutter + panel, "after")):
        draw.text((left, head - 30), words, _FAINT, large)
    for k, group in enumerate(groups):
        top = head + k * row
        draw.text((_GAP, top + side / 2), group.label, _INK, small, anchor="lm")
        real = _share(group.real_count, largest, longest)
        made = max(0, _share(group.real_count + group.made_count, largest, longest) - real)
        _draw_row(picture, (gutter, top), group.real[:real], [], side, f"{group.real_count:,}")
        count = group.real_count + group.made_count
        _draw_row(picture, (gutter + panel, top), group.real[:real], group.made[:made], side, f"{count:,}")
    foot = head + len(groups) * row + 8
    draw.rectangle((gutter, foot + 8, gutter + 28, foot + 11), _MADE)
    each = largest / longest
    scale = f"a face stands for about {each:,.0f}" if each >= 1.5 else "a face stands for one"
    draw.text((gutter + 36, foot), f"made by faceaug; {scale}", _FAINT, small)
    return np.asarray(picture)


def _draw_row(
    picture: Image.Image, corner: tuple[int, int], real: Sequence[Rgb], made: Sequence[Rgb], side: int, words: str
) -> None:
    draw = ImageDraw.Draw(picture)
    left, top = corner
    for k, face in enumerate([*real, *made]):
        picture.paste(Image.fromarray(resize(face, (side, side))), (left, top))
        if k >= len(real):
            draw.rectangle((left, top + side + 1, left + side - 1, top + side + 4), _MADE)
        left += side + 2
    draw.text((left + 8, top + side / 2), words, _FAINT, ImageFont.load_default(15), anchor="lm")


def _share(count: int, largest: int, longest: int) -> int:
    """Return how many faces stand for `count`: at least one for any at all."""
    return max(round(longest * count / largest), 1 if count else 0)


def _band(width: int) -> Rgb:
    return np.full((8, width, 3), BAND, np.uint8)


def _padded(sheet: Rgb, width: int) -> Rgb:
    """Fill a sheet up to the width with white, on the right."""
    return np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255)
