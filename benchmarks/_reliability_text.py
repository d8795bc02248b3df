"""The counts of the campaigns of reliability.py as Markdown for docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Counts = Mapping[str, int]


def reliability_text(record: Mapping[str, Any]) -> str:
    """Return a line for each campaign that has begun."""
    return "\n".join(f"- `{name}`: {text(record[name])}" for name, text in _TEXTS.items() if name in record)


def _fuzzed(readers: Mapping[str, Counts]) -> str:
    least = min(counts["inputs"] for counts in readers.values())
    sums = {
        key: sum(counts[key] for counts in readers.values())
        for key in ("inputs", "refused", "accepted", "stray", "hangs", "crashes")
    }
    return (
        f"{sums['inputs']:,} mutated files for {len(readers)} readers, at least {least:,} each; {sums['refused']:,} "
        f"were refused with an error of faceaug, {sums['accepted']:,} were read; other errors {sums['stray']}, hangs "
        f"{sums['hangs']}, crashes {sums['crashes']}."
    )


def _killed(counts: Counts) -> str:
    return (
        f"{counts['killed']} kills, {counts['killed_with_samples']} of them with samples on the disk; {_ended(counts)}."
    )


def _ended(counts: Counts) -> str:
    return (
        f"{counts['identical']} of {counts['runs']} runs ended with the samples of an unbroken one, "
        f"{counts['verified']} were sound; folders that were damaged in between {counts['damaged']}"
    )


def _learning(counts: Counts) -> str:
    if not counts["ended"]:
        end = "did not end in the time of the campaign"
    elif counts["identical"]:
        end = "ended with the samples of an unbroken one"
    else:
        end = "ended with other samples than an unbroken one"
    return (
        f"a run of {counts['seconds_unbroken']} seconds was killed {counts['killed']} times, at most "
        f"{counts['longest_processor_seconds_between_kills']} seconds of a processor apart, and {end}."
    )


def _flipped(counts: Counts) -> str:
    return f"{counts['flipped']} bits; {counts['found']} were found, and the file of {counts['named']} named."


def _soaked(counts: Counts) -> str:
    signals = ", ".join(f"{counts[f'killed_by_{name}']} by {name}" for name in ("SIGKILL", "SIGTERM", "SIGHUP"))
    return (
        f"{counts['cycles']} cycles in {counts['seconds'] / 60:.0f} minutes, {counts['killed']} interruptions "
        f"({signals}); {_ended(counts)}; files left over {counts['left_over']}; {_flipped(counts)}"
    )


_TEXTS = {
    "fuzz": _fuzzed,
    "guided": _fuzzed,
    "kills": _killed,
    "learning": _learning,
    "flips": _flipped,
    "soak": _soaked,
}
