"""The facts, tables and warnings of a report, from the manifest of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from faceaug.appearance.image_stats import ImageStatsSample
from faceaug.report.html import ReportTable
from faceaug.shards.manifest import Manifest

_LOW_RECALL = 0.6  # a class with less recall gets a warning

_CLASS_COLUMNS = {
    "accuracy": "accuracy",
    "mean recall": "mean_recall",
    "calibration error": "calibration_error",
    "effect of exposure": "exposure_pull",
    "images": "pictures",
}
_VALUE_COLUMNS = {
    "mean absolute error": "mean_absolute_error",
    "correlation": "correlation",
    "R²": "r2",
    "effect of exposure": "exposure_pull",
    "images": "pictures",
}


def report_facts(manifest: Manifest) -> dict[str, str]:
    """Return what the samples were made from, and with which command and seed."""
    created_by, dataset, generator = manifest.created_by, manifest.dataset, manifest.generator
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    facts = {
        "data set": f"{dataset.name} ({dataset.rows:,} images{f', split {dataset.split}' if dataset.split else ''})",
        "generator": f"{generator.name} ({generator.licence})" if generator else "none: made from real faces",
        "command": created_by.command,
        "recipe": created_by.recipe or "",
        "seed": str(manifest.seed),
        "created by": f"faceaug {created_by.faceaug}, {created_by.date}".rstrip(", "),
        "files": f"{len(manifest.shards)} shards, {megabytes:,.1f} MB, {manifest.codec}",
    }
    window = numbers_in(manifest.measured.get("framing"))
    if {"scale", "dx", "dy"} <= set(window):
        facts["framing"] = (
            f"a window of {window['scale']:.0%} of the generator's image, "
            f"moved by {window['dx']:+.1%} across and {window['dy']:+.1%} down"
        )
    return {name: text for name, text in facts.items() if text}


def report_tables(measured: Mapping[str, Any]) -> list[ReportTable]:
    """Return the tables of classifiers and directions for which there are measurements."""
    metrics = list(_classifier_metrics(measured))
    recall = tuple(
        (name, task["attribute"], level, value)
        for name, task in metrics
        for level, value in _mapping(task.get("recall")).items()
    )
    tables = [
        ReportTable(
            "Classifiers on held-out real faces: classes",
            ("classifier", "attribute", *_CLASS_COLUMNS),
            _task_rows(metrics, "classes", _CLASS_COLUMNS),
            note="Calibration error: mean gap between confidence and accuracy, with equal weight for all classes. "
            "Effect of exposure: change of the output for one stop of light, in standard deviations.",
            bars=("accuracy", "mean recall"),
        ),
        ReportTable("Recall of each class", ("classifier", "attribute", "level", "recall"), recall, bars=("recall",)),
        ReportTable(
            "Classifiers on held-out real faces: values",
            ("classifier", "attribute", *_VALUE_COLUMNS),
            _task_rows(metrics, "value", _VALUE_COLUMNS),
            bars=("R²",),
        ),
        ReportTable(
            "Directions: linearity of each semantic in the latent",
            ("semantic", "R²"),
            tuple(numbers_in(measured.get("r2")).items()),
            note="On held-out samples of the generator. Where R² is low, the first step of an edit misses its goal and "
            "has to be corrected.",
            bars=("R²",),
        ),
    ]
    return [table for table in tables if table.rows]


def report_warnings(manifest: Manifest, photographs_missing: int = 0) -> list[str]:
    """Return warnings: cells that ended short, classes with low recall, photographs that are missing."""
    warnings = []
    short = [cell for cell in manifest.cells if cell.short]
    if manifest.complete and short:
        total = sum(cell.short for cell in short)
        warnings.append(
            f"{len(short)} of {len(manifest.cells)} cells ended short, by {total:,} samples in total: candidates that "
            "did not pass the gates were left out. The data set is more even than before, but not even."
        )
    for name, task in _classifier_metrics(manifest.measured):
        recall = numbers_in(task.get("recall"))
        low = [f"{level} ({value:.0%})" for level, value in recall.items() if value < _LOW_RECALL]
        if low:
            warnings.append(
                f"The {name} classifier recognizes few real faces of these classes, so labels of samples in them are "
                f"less certain: {task['attribute']} {', '.join(low)}."
            )
    if photographs_missing:
        warnings.append(
            f"{photographs_missing:,} of the photographs that samples were made from are not in "
            f"{manifest.dataset.name} any more (their SHA-256 was not found); these samples are shown without them."
        )
    return warnings


def report_image_stats(measured: Mapping[str, Any], synthetic: ImageStatsSample | None) -> dict[str, Mapping[str, Any]]:
    """Return summaries of image statistics: of the data set, as far as they were measured, and of the samples."""
    dataset = _mapping(measured.get("image_stats"))
    summaries: dict[str, Mapping[str, Any]] = {"data set": dataset} if dataset else {}
    return {**summaries, "synthetic": synthetic.summary()} if synthetic else summaries


def numbers_in(value: Any) -> dict[str, float]:
    """Return the entries of a JSON object that are numbers; none for any other value."""
    return {name: float(v) for name, v in _mapping(value).items() if isinstance(v, int | float)}


def _classifier_metrics(measured: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of a classifier and its metrics, for each of its attributes."""
    for name, tasks in _mapping(measured.get("classifiers")).items():
        for task in tasks:
            yield name.replace("_", "-"), task


def _task_rows(
    metrics: list[tuple[str, Mapping[str, Any]]], kind: str, columns: Mapping[str, str]
) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (name, task["attribute"], *(task.get(key) for key in columns.values()))
        for name, task in metrics
        if task.get("kind") == kind
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
