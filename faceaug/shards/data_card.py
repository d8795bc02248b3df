"""The data card, README.md of an output folder: what it is, from what, how it may be used, known limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from faceaug.shards.columns import Column
from faceaug.shards.manifest import Manifest

FORMAT = "faceaug-card"
VERSION = 1

_LIMITS = """\
- Made samples cannot show what the generator never saw. They fill cells; they do not bring in new people.
- A label says what was asked for and what a probe recognised, not what a person would say of themselves.
- Whether balancing helps a model is to be measured, group by group, on real images that were not balanced.
- Do not use these images to identify anyone, to pass as photographs of people, or as the only test of fairness."""

_READING = """\
```python
from faceaug.data import BalancedDataset, ShardDataset

images = ShardDataset("{folder}")
image, labels = images[0]  # uint8 tensor [3, H, W] and a dictionary
```

`faceaug verify` re-reads everything and names what is damaged; `faceaug export --to imagefolder` writes plain image
files; `samples.parquet` opens with pandas."""


def summary(manifest: Manifest) -> str:
    """Return one paragraph that says what the folder holds."""
    axes = ", ".join(manifest.cells[0].attributes) if manifest.cells else "no attribute"
    totals = manifest.totals
    return (
        f"{totals.accepted:,} face images made to balance {manifest.dataset.name} ({manifest.dataset.rows:,} images) "
        f"by {axes}: {totals.planned:,} were planned, {totals.short:,} could not be made to pass the checks. "
        f"{people(manifest)}"
    )


def people(manifest: Manifest) -> str:
    """Say whether the pictures show real people."""
    made = "Faces of engine 'generator' are drawn, not photographed, and near-copies of real images were refused."
    turned = "Faces of engine 'rerender' are photographs of that data set, turned or relit: they show real people."
    if manifest.settings.get("from_real"):
        turned += " Drawn faces begin with real ones, named by source_sha256, and may resemble these people."
    return turned if manifest.generator is None else f"{made} {turned}"


def licence(manifest: Manifest) -> str:
    """Return what is known of the licence of the images."""
    if manifest.generator is None:
        return f"that of the data set {manifest.dataset.name}"
    return manifest.generator.licence


def limitations(manifest: Manifest) -> str:
    """Return the known limits in one string, with the cells that stayed short."""
    short = [f"{_cell(cell.attributes)} ({cell.short:,} of {cell.planned:,})" for cell in manifest.cells if cell.short]
    lines = [line.removeprefix("- ") for line in _LIMITS.splitlines()]
    return " ".join([*lines, f"Cells that stayed short: {'; '.join(short)}." if short else "No cell stayed short."])


def card(manifest: Manifest, folder: str) -> str:
    """Return the data card as Markdown with a YAML header; `folder` is what the examples call the folder."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "pretty_name": f"{manifest.dataset.name} balanced",
        "license": "other",
        "license_name": licence(manifest),
        "task_categories": ["image-classification"],
        "tags": ["face", "synthetic", "balanced", "faceaug"],
    }
    parts = [
        "---\n"
        + "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items())
        + "\n---",
        f"# {_text(manifest.dataset.name)}, balanced",
        _text(summary(manifest)),
        f"## Made from\n\n{_sources(manifest)}",
        f"## Cells\n\n{_cells(manifest)}",
        f"## Columns\n\n{_columns(manifest.columns)}",
        "## How to read it\n\n" + _READING.format(folder=folder.replace("\\", "\\\\").replace('"', '\\"')),
        f"## Licence\n\n{_text(licence(manifest))}. The images of {_text(manifest.dataset.name)} keep theirs.",
        f"## Known limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _sources(manifest: Manifest) -> str:
    dataset, created = manifest.dataset, manifest.created_by
    rows: list[Sequence[object]] = [
        ("dataset", f"{dataset.name}{f', split {dataset.split}' if dataset.split else ''}, {dataset.rows:,} images"),
        ("fingerprint of its labels", dataset.fingerprint),
    ]
    if manifest.generator is not None:
        rows.append(("generator", f"{manifest.generator.name}, SHA-256 {manifest.generator.sha256}"))
        if manifest.generator.origin:
            rows.append(("its origin", manifest.generator.origin))
    if manifest.directions is not None:
        rows.append(("directions", f"{manifest.directions.name}, SHA-256 {manifest.directions.sha256}"))
    rows += [("probe", f"{probe.name}, SHA-256 {probe.sha256}") for probe in manifest.probes]
    rows += [("seed", manifest.seed), ("faceaug", f"{created.faceaug}, {created.date}"), ("command", created.command)]
    if created.recipe:
        rows.append(("recipe", created.recipe))
    return _table(("what", "which"), rows)


def _cells(manifest: Manifest) -> str:
    axes = list(manifest.cells[0].attributes) if manifest.cells else []
    rows: list[Sequence[object]] = []
    for c in manifest.cells:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in c.rejected.items() if count)
        counts = (f"{n:,}" for n in (c.real, c.planned, c.accepted, c.short))
        rows.append((*(c.attributes.get(axis, "") for axis in axes), *counts, reasons, c.note))
    return _table((*axes, "real", "planned", "accepted", "short", "attempts rejected for", "note"), rows)


def _columns(columns: Iterable[Column]) -> str:
    rows = [(c.key, f"{c.type}{' of ' + ', '.join(c.levels) if c.levels else ''}", c.unit, c.meaning) for c in columns]
    return _table(("column", "type", "unit", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_text(str(value)) for value in line) + " |" for line in lines)


def _cell(attributes: dict[str, str]) -> str:
    return ", ".join(f"{axis}={level}" for axis, level in attributes.items()) or "all"


def _text(text: str) -> str:
    """Keep a name from being read as Markdown or HTML."""
    for mark in "\\|*_`":
        text = text.replace(mark, "\\" + mark)
    return text.replace("<", "&lt;").replace("\n", " ")
