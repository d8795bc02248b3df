"""What values show of themselves in a notebook: a title, lines, a table with bars, and strips of faces."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from faceaug.pages.template import page_template
from faceaug.utils.images import Rgb, encode, resize
from faceaug.utils.text_table import label_columns

MOST_ROWS = 60
"""Cells that a table in a notebook shows."""
FACE_SIDE = 72
"""Pixels to which the longer side of a face in a notebook is reduced."""


def notebook_html(
    title: str,
    lines: Sequence[str] = (),
    cells: Sequence[tuple[Mapping[str, str], Mapping[str, int], Mapping[str, int]]] = (),
    strips: Mapping[str, Iterable[Rgb]] | None = None,
) -> str:
    """Return a value as HTML for a notebook; all text is escaped.

    Parameters
    ----------
    title : str
    lines : sequence of str
    cells : sequence of (levels, numbers, parts)
        Rows of a table: the levels of a cell by axis, numbers by the heads of their columns, and the parts of its bar
        by what they are: "real", "synthetic", "short" or "wanted". At most `MOST_ROWS` are shown.
    strips : mapping of str to images uint8 [H, W, 3]
        Faces in a row, by what they are.
    """
    shown = cells[:MOST_ROWS]
    header: list[str] = []
    rows, bars, names = [], [], 0
    longest = max((sum(parts.values()) for _, _, parts in shown), default=0) or 1
    for levels, numbers, parts in shown:
        labels = label_columns(list(levels.values()))
        names, header = len(labels), [*label_columns(list(levels)), *numbers]
        rows.append([*labels, *(f"{value:,}" for value in numbers.values())])
        bars.append({name: value / longest for name, value in parts.items() if value})
    if len(cells) > len(shown):
        lines = [*lines, f"The first {len(shown):,} of {len(cells):,} cells:"]
    faces = {words: [_address(image) for image in images] for words, images in (strips or {}).items()}
    template = page_template("notebook.html.jinja")
    return template.render(title=title, lines=lines, header=header, rows=rows, bars=bars, names=names, strips=faces)


def _address(image: Rgb) -> str:
    """Return a face as an address that holds it."""
    height, width = image.shape[:2]
    scale = FACE_SIDE / max(height, width)
    small = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return f"data:image/jpeg;base64,{base64.b64encode(encode(small, 'jpeg')).decode()}"
