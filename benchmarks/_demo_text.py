"""The record of the demo as Markdown for docs/results.md, and its figures in README.md."""

from __future__ import annotations

import re
import sys
from typing import Any

from _markdown import table

_STAGES = ("reading", "learning", "synthesis")
_ACCEPTED = re.compile(r"Accepted [\d,]+ of .* attempts were rejected\.")
_MINUTES = re.compile(r"about \d+ minutes?(?=\s+on\s+two cores after the set-up)")


def demo_text(record: dict[str, Any]) -> str:
    """Return what the demo accepts, what it refuses by gate, and the seconds of its stages (demo_run.py)."""
    refused, seconds = record["refused"], record["seconds"]
    stages = {stage: seconds[stage] for stage in _STAGES}
    stages |= {f"in learning: {part}": value for part, value in seconds.items() if part not in _STAGES}
    lines = [
        f"{accepted_line(record)} `faceaug verify`: {'sound' if record['sound'] else 'damaged'}. On a "
        f"{record['machine']} with a load of {record['load_average']} at the start: {record['seconds_in_all']:.0f} "
        "seconds with an empty cache, from the start of Python to the report.",
        "",
        *table(["gate", "refused"], [[gate, f"{count:,}"] for gate, count in refused.items()], right={1}),
        "",
        *table(["stage", "seconds"], [[stage, f"{value:.1f}"] for stage, value in stages.items()], right={1}),
    ]
    return "\n".join(lines)


def accepted_line(record: dict[str, Any]) -> str:
    """Return the line that `faceaug balance` ends with, without the time."""
    share = f"{100 * record['accepted'] / record['planned']:.0f}%"
    return (
        f"Accepted {record['accepted']:,} of {record['planned']:,} planned faces ({share}); {record['short']:,} are "
        f"short. {sum(record['refused'].values()):,} attempts were rejected."
    )


def with_demo_figures(readme: str, record: dict[str, Any]) -> str:
    """Return README.md with the figures of the demo."""
    minutes = max(1, round(record["seconds_in_all"] / 60))
    for pattern, text in (
        (_ACCEPTED, accepted_line(record)),
        (_MINUTES, f"about {minutes} minute{'s' if minutes > 1 else ''}"),
    ):
        readme, found = pattern.subn(text, readme)
        if found != 1:
            sys.exit(f"README.md has {found} places for {text!r}; benchmarks/_demo_text.py looks for one")
    return readme
