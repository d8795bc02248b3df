"""The data card, README.md of an output folder: content, sources, licence and known limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from faceaug.shards.columns import EXTERNAL_ENGINE, Column
from faceaug.shards.description.licence import is_research_only
from faceaug.shards.manifest import Manifest
from faceaug.utils.text import plain_lines

CARD_FORMAT = "faceaug-card"
CARD_VERSION = 1

_LIMITS = """\
- Synthetic images cannot show what the generator was not trained on. They fill cells and do not add new people.
- A label states what was requested and what a classifier recognized, not how a person would describe themselves.
- Whether balancing helps a model has to be measured for each group, on real images that were not balanced.
- Do not use these images to identify anyone, to pass as photographs of people, or as the only test of fairness."""

_READING = """\
```python
from faceaug import ShardDataset

images = ShardDataset("{folder}")
image, labels = images[0]  # uint8 tensor [3, H, W] and a dictionary
```

`BalancedDataset` joins these images with the real ones. `faceaug verify` reads the whole folder and names what is
damaged. `faceaug export --to imagefolder` writes plain image files. `samples.parquet` opens with pandas."""


def summary(manifest: Manifest) -> str:
    """Return a paragraph that says what the folder contains."""
    axes = ", ".join(manifest.cells[0].attributes) if manifest.cells else "no attribute"
    totals, dataset = manifest.totals, manifest.dataset
    return (
        f"{totals.accepted:,} face images that balance {dataset.name} ({dataset.rows:,} images) by {axes}: "
        f"{totals.planned:,} were planned, and {totals.short:,} of them are missing because no candidate passed the "
        f"checks. {people_statement(manifest)}"
    )


def people_statement(manifest: Manifest) -> str:
    """Return the sentences that say which images show real people."""
    generated = "Images of the engines 'generator', 'unguided' and 'mirrored' are synthesized, not photographed."
    rerendered = (
        "Images of the engine 'rerender' are photographs of the data set in another pose or light: they show real "
        "people."
    )
    elsewhere = (
        "Images of the engine 'external' were made elsewhere, and faceaug does not know how; models/candidates.csv "
        "names the file of each by its source_sha256."
    )
    rerenders = not {"rerender", "both", "auto"}.isdisjoint(str(manifest.config.get("engine", "rerender")).split(","))
    external = _has_external(manifest)
    sourced = (
        f"Any {'other ' if external else ''}image with a source_sha256 was made from that photograph and shows, or may "
        "resemble, its person."
    )
    said = ((manifest.generator is not None, generated), (rerenders, rerendered), (external, elsewhere))
    return " ".join([*(text for holds, text in said if holds), sourced])


def copies_statement(manifest: Manifest) -> str:
    """Return the sentences that say what samples were compared with, and how near the nearest came."""
    measured = manifest.measured.get("resemblance")
    hashed = (
        "Samples whose perceptual hash is near to that of a real image or of another sample were rejected: identical, "
        "recompressed, tinted and noisy copies."
    )
    if not isinstance(measured, dict) or not measured:
        return f"{hashed} Copies of real images that are mirrored, shifted, zoomed or turned were not looked for."
    return (
        f"{hashed} {measured['compared']:,} samples were laid on the real images nearest to each, without those "
        "that it was made from: also mirrored, shifted by 5%, zoomed by 20% or turned by 10 degrees. Their details "
        f"correlate by {measured['median']} in the median and by {measured['largest']} at most, and candidates above "
        f"{measured['limit']} were rejected. Images that a generator was trained on were not compared."
    )


def image_licence(manifest: Manifest) -> str:
    """Return the licence of the images: that of the generator, or else that of the data set."""
    own = manifest.generator.licence if manifest.generator else f"that of the data set {manifest.dataset.name}"
    return f"of images made elsewhere their own; else {own}" if _has_external(manifest) else own


def _has_external(manifest: Manifest) -> bool:
    return EXTERNAL_ENGINE in str(manifest.config.get("engine", "")).split(",")


def rights_statement(manifest: Manifest) -> str:
    """Return the sentences on licence and consent of the data set, as whoever made the run stated them."""
    licence, consent = manifest.config.get("licence"), manifest.config.get("consent")
    licences = (str(licence or ""), manifest.generator.licence if manifest.generator else "")
    research_only = (
        " The samples are for research or non-commercial use alone." if any(map(is_research_only, licences)) else ""
    )
    stated = [f"is stated as: {text}" if text else "was not stated" for text in (licence, consent)]
    return (
        f"The images of {manifest.dataset.name} keep their own licence, which {stated[0]}. The consent of the people "
        f"in them {stated[1]}.{research_only}"
    )


def known_limits(manifest: Manifest) -> str:
    """Return the known limits as one paragraph, with the cells that ended short."""
    short = [f"{_cell_name(c.attributes)} ({c.short:,} of {c.planned:,})" for c in manifest.cells if c.short]
    limits = [line.removeprefix("- ") for line in _LIMITS.splitlines()]
    return " ".join([*limits, f"Cells that ended short: {'; '.join(short)}." if short else "No cell ended short."])


def data_card(manifest: Manifest, folder: str) -> str:
    """Return the data card as Markdown with a YAML header.

    Parameters
    ----------
    manifest : Manifest
        With all shards.
    folder : str
        Name of the folder in the examples.
    """
    dataset = _escaped(manifest.dataset.name)
    header = {
        "format": CARD_FORMAT,
        "version": CARD_VERSION,
        "pretty_name": f"{manifest.dataset.name} balanced",
        "license": "other",
        "license_name": image_licence(manifest),
        "task_categories": ["image-classification"],
        "tags": ["face", "synthetic", "balanced", "faceaug"],
    }
    parts = [
        "---\n"
        + "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items())
        + "\n---",
        f"# {dataset}, balanced",
        _escaped(summary(manifest)),
        f"## Sources\n\n{_sources(manifest)}",
        f"## Cells\n\n{_cells(manifest)}",
        f"## Columns\n\n{_columns(manifest.columns)}",
        "## Reading\n\n" + _READING.format(folder=folder.replace("\\", "\\\\").replace('"', '\\"')),
        f"## Licence and consent\n\n{_escaped(image_licence(manifest))}. {_escaped(rights_statement(manifest))}",
        f"## Copies\n\n{_escaped(copies_statement(manifest))}",
        f"## Known limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _sources(manifest: Manifest) -> str:
    dataset, created_by = manifest.dataset, manifest.created_by
    rows: list[Sequence[object]] = [
        ("data set", f"{dataset.name}{f', split {dataset.split}' if dataset.split else ''}, {dataset.rows:,} images"),
        ("fingerprint of its labels", dataset.fingerprint),
    ]
    if dataset.follow_links:
        rows.append(("links", "links in its folder that lead to images elsewhere were followed"))
    if manifest.generator is not None:
        rows.append(("generator", f"{manifest.generator.name}, SHA-256 {manifest.generator.sha256}"))
        if manifest.generator.origin:
            rows.append(("origin of the generator", manifest.generator.origin))
    if manifest.directions is not None:
        rows.append(("directions", f"{manifest.directions.name}, SHA-256 {manifest.directions.sha256}"))
    rows += [("classifier", f"{record.name}, SHA-256 {record.sha256}") for record in manifest.classifiers]
    rows += [
        ("seed", manifest.seed),
        ("faceaug", f"{created_by.faceaug}, {created_by.date}"),
        ("command", created_by.command),
    ]
    if created_by.recipe:
        rows.append(("recipe", created_by.recipe))
    return _table(("source", "value"), rows)


def _cells(manifest: Manifest) -> str:
    axes = list(manifest.cells[0].attributes) if manifest.cells else []
    rows: list[Sequence[object]] = []
    for cell in manifest.cells:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in cell.rejected.items() if count)
        counts = (f"{count:,}" for count in (cell.real, cell.planned, cell.accepted, cell.short))
        rows.append((*(cell.attributes.get(axis, "") for axis in axes), *counts, reasons, cell.note))
    return _table((*axes, "real", "planned", "accepted", "short", "reasons of rejected attempts", "note"), rows)


def _columns(columns: Iterable[Column]) -> str:
    rows = [(c.key, f"{c.type}{' of ' + ', '.join(c.levels) if c.levels else ''}", c.unit, c.meaning) for c in columns]
    return _table(("column", "type", "unit", "meaning"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_escaped(str(value)) for value in line) + " |" for line in lines)


def _cell_name(attributes: dict[str, str]) -> str:
    return ", ".join(f"{axis}={level}" for axis, level in attributes.items()) or "all"


def _escaped(text: str) -> str:
    """Escape text so that Markdown and HTML show it as it is: no link, no image, no markup, in one line."""
    text = " ".join(plain_lines(text).split("\n"))
    text = re.sub(r"[\\|*_`\[\]!#~]", r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))
    # What GitHub makes a link of without any markup.
    return text.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")
