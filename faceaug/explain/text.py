"""An explanation as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceaug.utils.text_table import clip, flow, percent, render_table

if TYPE_CHECKING:
    from faceaug.explain.explanation import Explanation, FacePart

_WIDTH = 100
_MAX_PARTS = 20
_HEADER = ["part", "region", "kind", "more of it", "coefficient", "share", "stable in"]


def explanation_text(explanation: Explanation) -> str:
    """Return an explanation as text without a final line feed, in lines of at most 100 characters."""
    lines = [clip(explanation.title, _WIDTH), *_score_lines(explanation)]
    if not any(part.share is not None for part in explanation.parts):
        return "\n".join([*lines, "  No part of the face carries it, as far as this can tell."])
    rows = [_row(part, explanation.fit.resamples) for part in explanation.parts[:_MAX_PARTS]]
    lines += render_table(_HEADER, rows, left=4)
    if len(explanation.parts) > _MAX_PARTS:
        lines.append(f"  and {len(explanation.parts) - _MAX_PARTS} more, in --json")
    regions = sorted(explanation.regions.items(), key=lambda region: -region[1])
    lines += flow([f"{name} {100 * share:.0f}%" for name, share in regions if share >= 0.01], first="  where: ")
    lines += flow([f"{name} {100 * share:.0f}%" for name, share in explanation.kinds.items()], first="  in what: ")
    return "\n".join(lines)


def _score_lines(explanation: Explanation) -> list[str]:
    """Return the score, and the baselines without any part of the face and with shuffled labels."""
    fit, question = explanation.fit, explanation.question
    left_out = [f"left out {count:,} {reason}" for reason, count in question.left_out.items() if count]
    score = f"{explanation.measure} {fit.score:.3f} ({fit.low:.3f} to {fit.high:.3f})"
    controls = f"view and light alone {fit.controls:.3f}"
    shuffled = f"labels shuffled {fit.shuffled:.3f} and at most {fit.shuffled_most:.3f}"
    return [
        *flow([f"{fit.rows:,} faces learnt from", *left_out], first="  "),
        *flow([score, f"on {fit.held_out:,} held-out faces ({question.judged_on})"], first="  ", separator=" "),
        *flow([controls, shuffled], first="  ", separator="; "),
    ]


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
