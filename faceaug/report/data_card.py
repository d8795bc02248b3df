"""The data card as a part of the page: provenance, rights, limits, and the command that makes the folder again."""

from __future__ import annotations

from faceaug.shards.description.data_card import (
    copies_statement,
    image_licence,
    known_limits,
    people_statement,
    rights_statement,
    summary,
)
from faceaug.shards.manifest import Manifest


def card_facts(manifest: Manifest) -> dict[str, str]:
    """Return the lines of the card; the command names paths as they were typed."""
    dataset, generator, created = manifest.dataset, manifest.generator, manifest.created_by
    models = [f"{record.name}, SHA-256 {record.sha256}" for record in manifest.classifiers]
    if manifest.directions:
        models.insert(0, f"{manifest.directions.name}, SHA-256 {manifest.directions.sha256}")
    facts = {
        "content": summary(manifest),
        "command": created.command,
        "recipe": created.recipe or "",
        "made with": f"faceaug {created.faceaug}, seed {manifest.seed}, {created.date}".rstrip(", "),
        "data set": f"{dataset.name}{f', split {dataset.split}' if dataset.split else ''}: {dataset.rows:,} images, "
        f"labels SHA-256 {dataset.fingerprint}" + (f", images SHA-256 {dataset.images}" if dataset.images else ""),
        "generator": "",
        "models": "; ".join(models),
        "licence": f"{image_licence(manifest)}. {rights_statement(manifest)}",
        "people": people_statement(manifest),
        "copies": copies_statement(manifest),
        "limits": known_limits(manifest),
    }
    if generator:
        origin = f", {generator.origin}" if generator.origin else ""
        facts["generator"] = f"{generator.name}, SHA-256 {generator.sha256}{origin}"
    return {name: text for name, text in facts.items() if text}
