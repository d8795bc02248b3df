"""Tables of plain text, aligned, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH = 100
_GAP = "  "
_LABEL_COLUMNS = 6


def clip(text: str, width: int) -> str:
    """Return a text without control characters, cut to `width` characters with an ellipsis."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def render_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ", width: int = WIDTH
) -> list[str]:
    """Return the lines of a table: the first `left` columns left-aligned, the others (numbers) right-aligned.

    When the table is wider than `width`, the left columns are clipped, widest first.
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(len(clip(line[column], WIDTH)) for line in lines) for column in range(len(header))]
    while len(indent) + sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths[:left]) > 3:
        widest = max(range(left), key=lambda column: widths[column])
        widths[widest] -= 1
    text = []
    for line in lines:
        cells = [
            clip(cell, size).ljust(size) if column < left else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(line, widths, strict=True))
        ]
        text.append((indent + _GAP.join(cells)).rstrip())
    return text


def flow(
    words: Sequence[str], *, first: str = "", indent: str = "  ", separator: str = ", ", width: int = WIDTH
) -> list[str]:
    """Return words as lines of at most `width` characters, broken between words."""
    lines = [first]
    for position, word in enumerate(words):
        word = clip(word, width - len(indent) - len(separator))
        if position < len(words) - 1:
            word += separator
        if len(lines[-1]) + len(word.rstrip()) > width:
            lines.append(indent)
        lines[-1] += word
    return [line.rstrip() for line in lines]


def label_columns(labels: Sequence[str]) -> list[str]:
    """Return the cells of a table for some labels: one each, or a single cell for more than six labels."""
    return list(labels) if len(labels) <= _LABEL_COLUMNS else [", ".join(labels)]


def percent(share: float) -> str:
    """Return a share as "12.3%"."""
    return f"{100 * share:.1f}%"


def number(value: Value) -> str:
    """Return a value for people: thousands separated, three significant digits, a dash for an unknown value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 4)}f}"


def duration(seconds: float) -> str:
    """Return a duration in seconds as text: 0.4 s, 42 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


Value = str | int | float | None
