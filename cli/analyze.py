"""`faceaug analyze`: counts of faces per cell, their imbalance, and the parts of the face that carry an attribute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    by_option,
    check_files,
    count,
    counted_columns,
    dataset_options,
    html_option,
    load_estimator,
    measure_columns,
    output_options,
    read_dataset,
    read_unmeasured,
    require_by,
    write_page,
    write_table,
)
from .terminal.console import Console
from .terminal.paths import PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from faceaug.analysis.analyze import Analysis
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.explain.explanation import Explanation
    from faceaug.latents.bundle import Bundle


@click.command()
@dataset_options
@by_option
@click.option(
    "--minimum",
    metavar="N",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Least number of faces that a cell should have; cells with fewer are counted.",
)
@click.option(
    "--reference",
    metavar="FILE",
    type=PATH,
    help="Reference distribution: shares in JSON or YAML, nested as {female: {asian: 0.1}}.  [default: uniform]",
)
@click.option(
    "--explain",
    metavar="ATTRIBUTES",
    multiple=True,
    help="Find the parts of the face that carry these labels, as gender,age. May be repeated.",
)
@click.option("--explain-map", metavar="FILE", type=PATH, help="Write a PNG map of these parts on the mean face.")
@click.option(
    "--audit",
    "audited",
    is_flag=True,
    help="Look for wrong labels (of --by, or all), near-duplicates, the same image with other labels, and labels that "
    "properties of the files give away. Needs the extra faceaug[audit].",
)
@click.option(
    "--audit-file",
    metavar="FILE",
    type=PATH,
    help="Write labels without the suspects (CSV), to be given as --labels.",
)
@html_option
@output_options
def analyze(**options: Any) -> None:
    """Count the faces of a data set in cells and measure how uneven they are.

    DATASET is a folder of images, an HDF5, Parquet or tar file, a folder of Hugging Face's save_to_disk, or an output
    folder of faceaug.

    With --explain, labels are predicted by a sparse regression on local parts of the shape and colour of the face,
    which are measured on every image (or are columns of the labels, from faceaug measure). The effect of
    view and light is removed, and the result is evaluated on held-out faces: those of other splits, or cross-validation
    folds.

    \b
    Example:
      faceaug analyze faces/ --labels labels.csv --by gender,ethnicity
      faceaug analyze faces/ --labels labels.csv --by gender --by age:q4 --json
      faceaug analyze faces/ --labels labels.csv --explain gender --explain-map gender.png
      faceaug analyze faces/ --labels labels.csv --audit --audit-file checked.csv
    """
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    if options["explain"]:
        if options["html"]:
            raise click.UsageError("--html shows counts; leave out --explain, or write its picture by --explain-map")
        _explain(options, console)
        return
    if options["audited"]:
        _audit(options, console)
        return
    if options["audit_file"]:
        raise click.UsageError("--audit-file needs --audit")
    if options["explain_map"]:
        raise click.UsageError("--explain-map needs --explain; name the labels to explain, as --explain gender")
    by = require_by(options)
    check_files(options["html"])
    reference = _read_reference(options["reference"])
    dataset = read_dataset(options, console)
    analysis = count(dataset, by, minimum=options["minimum"], reference=reference)
    console.show(analysis.to_text(), analysis.to_dict(), lambda: _view(analysis))
    write_page(options["html"], lambda: _page(analysis, dataset.name), console)


def _view(analysis: Analysis) -> Sequence[RenderableType]:
    from .terminal.tables import analysis_view

    return analysis_view(analysis)


def _page(analysis: Analysis, name: str) -> str:
    from faceaug.report.counts_page import render_analysis_page

    return render_analysis_page(analysis, name)


def _explain(options: dict[str, Any], console: Console) -> None:
    """Show the parts of the face that carry attributes, and the counts by --by if it was given."""
    from faceaug.explain.explain import ExplainConfig, columns_for, explain, face_of
    from faceaug.utils.files import check_writable

    file, attributes = options["explain_map"], list(options["explain"])
    if file is not None:
        if file.suffix.lower() != ".png":
            raise click.UsageError(f"{file} must end in .png")
        check_writable(file)
    reference = _read_reference(options["reference"])
    measurer = load_estimator(options)
    bundle = face_of(measurer)
    dataset = read_unmeasured(options | {"split": options["split"] or "all"}, console)
    needed = dict.fromkeys([*columns_for(dataset, attributes, bundle), *counted_columns(options)])
    dataset = measure_columns(dataset, needed, lambda: measurer, options, console)
    text, facts = [], {}
    if options["by"]:
        counted = _selected_split(dataset, options)
        analysis = count(counted, list(options["by"]), minimum=options["minimum"], reference=reference)
        text, facts = [analysis.to_text()], analysis.to_dict()
    explanations = explain(dataset, attributes, bundle, ExplainConfig(use_splits=options["split"] is None))
    if file is not None:
        _write_map(file, explanations, bundle)
        console.remark(f"The maps were written to {file}.")
    console.show(
        "\n\n".join([*text, *(explanation.to_text() for explanation in explanations)]),
        facts | {"explanations": [explanation.to_dict() for explanation in explanations]},
    )


def _audit(options: dict[str, Any], console: Console) -> None:
    """Show what is suspect about the labels and images, and write the labels without it."""
    from faceaug.audit.audit import audit
    from faceaug.audit.label_issues import check_cleanlab
    from faceaug.utils.files import check_writable

    check_cleanlab()
    file = options["audit_file"]
    if file is not None:
        if file.suffix.lower() != ".csv":
            raise click.UsageError(f"{file} must end in .csv")
        check_writable(file)
    found = audit(read_dataset(options, console), list(options["by"]), options["workers"])
    if file is not None:
        write_table(found.table(), file)
    console.show(found.to_text(), found.to_dict())
    if file is not None:
        console.remark(f"Labels without the suspects are in {file}; use them with: faceaug ... --labels {file}")


def _selected_split(dataset: FaceDataset, options: dict[str, Any]) -> FaceDataset:
    """Return the split that is counted, of a data set that was read with all its splits."""
    from faceaug.datasets.splits import select_split

    table, split = select_split(dataset.table, options["split"], dataset.name)
    return replace(dataset, table=table, split=split)


def _write_map(file: Path, explanations: list[Explanation], bundle: Bundle) -> None:
    from faceaug.explain.figure import draw_explanations
    from faceaug.utils.files import write_bytes
    from faceaug.utils.images import encode

    write_bytes(file, encode(draw_explanations(explanations, bundle), "png"))


def _read_reference(path: Path | None) -> Any:
    if path is None:
        return None
    from faceaug.utils.documents import load_document

    return load_document(path, "the reference distribution")
