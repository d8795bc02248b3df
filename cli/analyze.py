"""`faceaug analyze`: how many faces are in each cell, how uneven that is, and what in a face carries an attribute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    PATH,
    by_option,
    count,
    counted_columns,
    dataset_options,
    load_estimator,
    measure_columns,
    output_options,
    read_dataset,
    read_unmeasured,
    require_by,
)
from .terminal.console import Console

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.explain.explain import Explanation
    from faceaug.latents.bundle import Bundle


@click.command(short_help="Count faces in cells; measure the imbalance.")
@dataset_options
@by_option
@click.option(
    "--minimum",
    metavar="N",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Faces that a cell should have; cells with fewer are counted.",
)
@click.option(
    "--reference",
    metavar="FILE",
    type=PATH,
    help="Shares to compare with (JSON or YAML, nested as {female: {asian: 0.1}}).  [default: uniform]",
)
@click.option(
    "--explain",
    metavar="ATTRIBUTES",
    multiple=True,
    help="Which parts of the face carry these labels, measured without labels: gender,age. May be repeated.",
)
@click.option("--explain-map", metavar="FILE", type=PATH, help="Draw where on the mean face they lie, as .png.")
@output_options
def analyze(**options: Any) -> None:
    """Count the faces of a data set in cells and measure how uneven they are.

    DATASET is a folder of images, an HDF5 file, or an output folder of faceaug.

    With --explain, labels are regressed sparsely on localised parts of the face's shape and colour, which are measured
    on every photograph (or are columns of the labels, from faceaug measure); view and light are taken off, and the
    result is judged on held-out faces: those of other splits, or folds in turn.

    \b
    Example:
      faceaug analyze faces/ --labels labels.csv --by gender,ethnicity
      faceaug analyze faces/ --labels labels.csv --by gender --by age:q4 --json
      faceaug analyze faces/ --labels labels.csv --explain gender --explain-map gender.png
    """
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    if options["explain"]:
        _explain(options, console)
        return
    if options["explain_map"]:
        raise click.UsageError("--explain-map draws what --explain finds: say what to explain, as --explain gender")
    by = require_by(options)
    reference = _read_reference(options["reference"])
    analysis = count(read_dataset(options, console), by, minimum=options["minimum"], reference=reference)
    console.show(analysis.to_text(), analysis.to_dict())


def _explain(options: dict[str, Any], console: Console) -> None:
    """Show which parts of the face carry attributes; and count by others, where that is asked for as well."""
    from faceaug.explain.explain import columns_for, explain, face_of
    from faceaug.utils.files import check_writable

    file, attributes = options["explain_map"], list(options["explain"])
    if file is not None:
        if file.suffix.lower() != ".png":
            raise click.UsageError(f"{file} must end in .png, which tells its kind")
        check_writable(file)
    reference = _read_reference(options["reference"])
    measurer = load_estimator(options)
    bundle = face_of(measurer)
    dataset = read_unmeasured(options | {"split": options["split"] or "all"}, console)
    needed = dict.fromkeys([*columns_for(dataset, attributes, bundle), *counted_columns(options)])
    dataset = measure_columns(dataset, needed, lambda: measurer, options, console)
    text, facts = [], {}
    if options["by"]:
        counted = _narrowed(dataset, options)
        analysis = count(counted, list(options["by"]), minimum=options["minimum"], reference=reference)
        text, facts = [analysis.to_text()], analysis.to_dict()
    found = explain(dataset, attributes, bundle, use_splits=options["split"] is None)
    if file is not None:
        _draw(file, found, bundle)
        console.remark(f"The maps are in {file}")
    console.show(
        "\n\n".join([*text, *(one.to_text() for one in found)]),
        facts | {"explanations": [one.to_dict() for one in found]},
    )


def _narrowed(dataset: FaceDataset, options: dict[str, Any]) -> FaceDataset:
    """Return the part that is counted when no split is named, of a dataset that was read whole."""
    from faceaug.datasets.splits import select_split

    table, split = select_split(dataset.table, options["split"], dataset.name)
    return replace(dataset, table=table, split=split)


def _draw(file: Path, found: list[Explanation], bundle: Bundle) -> None:
    from faceaug.explain.figure import explanation_picture
    from faceaug.utils.files import write_bytes
    from faceaug.utils.images import encode

    write_bytes(file, encode(explanation_picture(found, bundle), "png"))


def _read_reference(path: Path | None) -> Any:
    if path is None:
        return None
    from faceaug.utils.documents import load_document

    return load_document(path, "the reference distribution")
