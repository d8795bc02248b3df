"""What carries an attribute, as a table that a person can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceaug.utils.text_table import clip, flow, percent, render_table

if TYPE_CHECKING:
    from faceaug.explain.explain import Explanation, FacePart

SHOWN = 20
"""Parts that the text lists."""
_HEAD = ["part", "region", "kind", "more of it", "coefficient", "share", "stable in"]


def render(found: Explanation) -> str:
    """Return the whole text, without a final line feed; no line is longer than 100 characters."""
    lines = [clip(found.title, 100), *_judgement(found)]
    if not any(part.share is not None for part in found.parts):
        return "\n".join([*lines, "  No part of the face carries it, as far as this can tell."])
    lines += render_table(_HEAD, [_row(part, found.fit.resamples) for part in found.parts[:SHOWN]], left=4)
    if len(found.parts) > SHOWN:
        lines.append(f"  and {len(found.parts) - SHOWN} more, in --json")
    places = sorted(found.regions.items(), key=lambda place: -place[1])
    lines += flow([f"{name} {100 * share:.0f}%" for name, share in places if share >= 0.01], first="  where: ")
    lines += flow([f"{name} {100 * share:.0f}%" for name, share in found.kinds.items()], first="  in what: ")
    return "\n".join(lines)


def _judgement(found: Explanation) -> list[str]:
    """Return the lines that say how well it is told, and how well without any part of the face."""
    fit = found.fit
    left = [f"{count:,} {why}" for why, count in found.left_out.items() if count]
    lines = flow([f"{fit.rows:,} faces learnt from", *(f"left out {words}" for words in left)], first="  ")
    lines += flow(
        [
            f"{found.measure} {fit.score:.3f} ({fit.low:.3f} to {fit.high:.3f})",
            f"on {fit.held_out:,} held-out faces ({found.judged_on})",
        ],
        first="  ", separator=" ",
    )  # fmt: skip
    return lines + flow(
        [
            f"view and light alone {fit.controls:.3f}",
            f"labels shuffled {fit.shuffled:.3f} and at most {fit.shuffled_most:.3f}",
        ],
        first="  ", separator="; ",
    )  # fmt: skip


def _row(part: FacePart, resamples: int) -> list[str]:
    return [
        part.name,
        f"{part.region} {100 * part.region_share:.0f}%" if part.region else "",
        part.kind,
        part.shows,
        f"{part.coefficient:+.3g}",
        "" if part.share is None else percent(part.share),
        f"{part.stable} of {resamples}",
    ]
