"""The result of `faceaug balance` as text and JSON, and the estimate of a dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from faceaug.planning.plan import Plan
    from faceaug.shards.manifest import CellRecord, Manifest
    from faceaug.synthesis.balance import RunResult

_MAX_REASONS = 2  # most frequent reasons of a cell that are shown
_MAX_CELLS = 60
_MAX_SHORT = 5  # cells that are expected to end short
_REPORT_NAME = "report.html"


def outcome(result: RunResult, out: Path | str) -> dict[str, Any]:
    """Return the result of a run as JSON values."""
    manifest = result.manifest
    return {
        "out": str(out),
        "planned": result.planned,
        "accepted": result.accepted,
        "short": result.short,
        "totals": manifest.totals.model_dump(mode="json"),
        "cells": [cell.model_dump(mode="json") for cell in manifest.cells],
        "timings": dict(result.timings),
        "measured": manifest.measured,
    }


def outcome_text(result: RunResult, out: Path | str) -> str:
    """Return the result of a run as text: the table of cells, totals, and what to do next."""
    return "\n\n".join([_table(result.manifest), *_sentences(result, out)])


def outcome_view(result: RunResult, out: Path | str) -> Sequence[RenderableType]:
    """Return the same for a terminal that shows colours: the table of cells has bars."""
    from rich.text import Text

    from faceaug.utils.text import plain_lines, without_secrets

    from .tables import cell_table

    shown = _shown_cells(result.manifest)
    table = cell_table(shown, [_reasons(cell, 1) for cell in shown]) if shown else []
    text = "\n\n".join(["\n".join(_left_out(result.manifest)).strip(), *_sentences(result, out)]).strip()
    return [*table, Text("\n" + plain_lines(without_secrets(text)))]


def _sentences(result: RunResult, out: Path | str) -> list[str]:
    """Return what stands below the table."""
    parts = [_totals(result), *_candidates(result.manifest)]
    short = [cell for cell in result.manifest.cells if cell.short]
    if short:
        parts.append(_short(short, alone=result.manifest.config.get("engine") == "external"))
        parts += _unused_generator(result.manifest)
    return [*parts, _people(out, result.manifest), _next(out)]


def estimate_text(plan: Plan, estimated: Mapping[str, Any]) -> str:
    """Return the estimated time, size and yield of a run of `plan` in sentences."""
    from faceaug.utils.text_table import duration

    kept = estimated.get("memory", 0.0)
    memory = f", and {byte_size(kept)} of memory for the real faces that are mixed" if kept else ""
    return (
        f"Nothing was synthesized. The {plan.total:,} faces would take about {duration(estimated['seconds'])} "
        f"and {byte_size(estimated['bytes'])} of disk space{memory}.{_yield_text(plan, estimated.get('cells', ()))}"
    )


def _yield_text(plan: Plan, cells: Sequence[Mapping[str, int]]) -> str:
    """Return how many samples are expected, and of which cells fewer than are planned; empty where nobody can tell."""
    from faceaug.analysis.axes import describe

    if not cells:
        return ""
    accepted, attempts = (sum(cell[name] for cell in cells) for name in ("accepted", "attempts"))
    planned = {cell.index: cell for cell in plan.cells}
    short = sorted(
        (cell for cell in cells if cell["accepted"] < planned[cell["cell"]].planned),
        key=lambda cell: cell["accepted"] - planned[cell["cell"]].planned,
    )
    named = "; ".join(
        f"{cell['accepted']:,} of {planned[cell['cell']].planned:,} for {describe(planned[cell['cell']].levels)}"
        for cell in short[:_MAX_SHORT]
    )
    more = f"; and {len(short) - _MAX_SHORT} more cells" if len(short) > _MAX_SHORT else ""
    too_few = f" Probably too few real faces to mix: {named}{more}." if short else ""
    return f" About {accepted:,} morphs are expected, from {attempts:,} attempts.{too_few}"


def byte_size(count: float) -> str:
    """Return a number of bytes with a decimal unit: "12 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _table(manifest: Manifest) -> str:
    from faceaug.utils.text_table import clip, label_columns, render_table

    shown_cells = _shown_cells(manifest)
    names = label_columns(list(manifest.cells[0].attributes))
    numbers = ["real", "planned", "accepted", "short"]
    rows = [
        [*label_columns(list(cell.attributes.values())), *(f"{getattr(cell, name):,}" for name in numbers)]
        for cell in shown_cells
    ]
    totals = [f"{getattr(manifest.totals, name):,}" for name in numbers]
    rows.append(["all cells", *[""] * (len(names) - 1), *totals])
    lines = render_table([*names, *numbers], rows, left=len(names), width=70)
    reasons = ["main reasons for rejection", *map(_reasons, shown_cells), ""]
    lines = [clip(f"{line}  {reason}".rstrip(), 120) for line, reason in zip(lines, reasons, strict=True)]
    return "\n".join([*lines, *_left_out(manifest)])


def _shown_cells(manifest: Manifest) -> list[CellRecord]:
    """Return the cells with the most planned faces, in their order."""
    cells = [cell for cell in manifest.cells if cell.planned]
    return sorted(sorted(cells, key=lambda cell: -cell.planned)[:_MAX_CELLS], key=lambda cell: cell.index)


def _left_out(manifest: Manifest) -> list[str]:
    """Return lines on cells that the table does not show."""
    from faceaug.utils.text_table import flow

    planned = sum(1 for cell in manifest.cells if cell.planned)
    unplanned, lines = len(manifest.cells) - planned, []
    if planned > _MAX_CELLS:
        lines.append(f"  The {_MAX_CELLS} of {planned:,} cells with the most planned faces.")
    if unplanned:
        lines += flow([f"  Nothing was planned in {unplanned:,} of the {len(manifest.cells):,} cells."])
    return lines


def _reasons(cell: CellRecord, most: int = _MAX_REASONS) -> str:
    frequent = sorted(cell.rejected.items(), key=lambda item: (-item[1], item[0]))[:most]
    return ", ".join(f"{reason} {number:,}" for reason, number in frequent if number)


def _totals(result: RunResult) -> str:
    from faceaug.utils.text_table import duration

    share = f" ({100 * result.accepted / result.planned:.0f}%)" if result.planned else ""
    text = f"Accepted {result.accepted:,} of {result.planned:,} planned faces{share}; {result.short:,} are short."
    rejected = sum(result.manifest.totals.rejected.values())
    text += f" {rejected:,} attempts were rejected."
    if result.timings:
        parts = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.timings.items())
        text += f" Took {duration(sum(result.timings.values()))}: {parts}."
    else:
        text += " The run was already complete, so nothing was synthesized."
    return text


def _candidates(manifest: Manifest) -> list[str]:
    """Return how many images that were made elsewhere passed, and where the reasons are, if there were any."""
    found = manifest.measured.get("external")
    if not isinstance(found, dict):
        return []
    refused: Any = found["refused"]
    often = max(refused.items(), key=lambda item: item[1], default=None)
    most = f"; the others were refused most often by {often[0]!r} ({often[1]:,})" if often else ""
    return [
        f"{found['passed']:,} of {found['candidates']:,} candidates passed the checks{most}. models/candidates.csv has "
        "the reason of each."
    ]


def _short(cells: list[CellRecord], alone: bool) -> str:
    """Return why cells are short; `alone` says that only candidates were tried, which are not made anew."""
    tried = sum(1 for cell in cells if cell.tried)
    sentences = []
    if alone:
        sentences.append(
            f"{_cells(len(cells))} short, because no more candidates passed: give more of them, or let another engine "
            "make the rest, as --engine external,morph."
        )
    elif tried:
        sentences.append(
            f"{_cells(tried)} short, because the attempts for the missing faces were rejected; --tries N allows more "
            "attempts."
        )
    if tried < len(cells) and not alone:
        sentences.append(f"{_cells(len(cells) - tried)} short without an attempt, because what it needs is missing.")
    return " ".join([*sentences, "The reasons are in manifest.json and the report."])


def _cells(count: int) -> str:
    return "1 cell ends" if count == 1 else f"{count:,} cells end"


def _unused_generator(manifest: Manifest) -> list[str]:
    """Return why the generator did not fill what is short, where it was left out."""
    domain = manifest.measured.get("domain")
    if not isinstance(domain, dict):
        return []
    if "missing" in domain:
        return [f"A generator could not fill them: {domain['missing']}."]
    if float(str(domain["auc"])) <= float(str(domain["limit"])):
        return []
    return [
        f"The generator {domain['generator']} was not used: a classifier tells its faces from the photographs with an "
        f"AUC of {domain['auc']}, more than the {domain['limit']} of the threshold domain. --engine generator uses it "
        "all the same."
    ]


def _people(out: Path | str, manifest: Manifest) -> str:
    """Return what is known of the people that the samples show, or how to find out."""
    from faceaug.identity.column import IDENTITY_DISTANCE
    from faceaug.report.identity import read_identity

    identity = read_identity(out) if isinstance(out, Path) else None
    if identity is not None:
        return identity.headline()
    if any(column.key == f"semantic/{IDENTITY_DISTANCE}" for column in manifest.columns):
        return (
            "Each sample's person was compared with those that it was made from; to compare them with all others: "
            f"faceaug compare {out} DATASET"
        )
    return f"Whether the people are new was not measured; it is by: faceaug compare {out} DATASET"


def _next(out: Path | str) -> str:
    page = out / _REPORT_NAME if isinstance(out, Path) else None
    look = f"Open {page} to look at the faces. " if page is not None and page.is_file() else ""
    return f"{look}Check the folder with: faceaug verify {out}"
