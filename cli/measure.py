"""`faceaug measure`: view and light of photographs, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    load_estimator,
    measured_dataset_options,
    output_options,
    placement_options,
    read_placement,
    read_unmeasured,
    write_table,
)
from .terminal.console import Console
from .terminal.paths import PATH

_SUFFIXES = (".parquet", ".csv", ".tsv")


@click.command()
@measured_dataset_options
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    type=PATH,
    help="Write a table with a row per image: .parquet, .csv or .tsv.",
)
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
)
@placement_options
@output_options
@click.pass_context
def measure(context: click.Context, /, file: Path | None, **options: Any) -> None:
    """Measure yaw, pitch, roll, light and skin tone on photographs of faces, with the confidence of each value.

    DATASET is a folder of images, with or without labels, a single image, an HDF5 file, or an output folder of faceaug.
    The file that is written also holds the labels and can be given as --labels, so that images are not measured again.

    \b
    Example:
      faceaug measure faces/ -o measured.parquet
      faceaug analyze faces/ --labels measured.parquet --by yaw:5
    """
    if file is not None and file.suffix.lower() not in _SUFFIXES:
        raise click.UsageError(f"{file} must end in one of {', '.join(_SUFFIXES)}, which gives the format")
    from faceaug.measurement import measure as measurement
    from faceaug.utils.files import check_writable

    if file is not None:
        check_writable(file)
    placement = read_placement(context, options)
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    estimator = load_estimator(options)
    options["split"] = options["split"] or "all"
    dataset = read_unmeasured(options, console)
    with console.counter("measuring", "image", len(dataset)) as progress:
        table = measurement.measure(
            dataset,
            estimator,
            aligned=options["aligned"],
            workers=options["workers"],
            progress=progress,
            placement=placement,
        )
    if file is not None:
        write_table(table, file)
        for name in dataset.attributes:
            if name in estimator.column_names:
                console.remark(f"The labels have a {name!r} of their own; {file} holds the measured one.")
    summary = measurement.summarize_measurements(table, estimator)
    console.show(_as_text(summary), summary)
    if file is not None:
        console.remark(f"The table is in {file}; use it with: faceaug analyze ... --labels {file} --by yaw:5")


def _as_text(summary: dict[str, Any]) -> str:
    """Return the summary of measurements as text."""
    from faceaug.measurement.skin_tone import SKIN_TONE, SKIN_TONE_MEANING
    from faceaug.reconstruction.semantics import FACTOR_MEANINGS
    from faceaug.utils.text_table import render_table

    lines = [f"{summary['measured']:,} of {summary['images']:,} images measured"]
    lines += [f"  cannot tell: {reason}, {count:,}" for reason, count in summary["cannot_tell"].items()]
    if summary["measured"]:
        rows = [
            [name, *(f"{value:g}" for value in one["quantiles"]), f"{one['confidence']:.2f}", one["unit"]]
            for name, one in summary["semantics"].items()
        ]
        lines += ["", *render_table(["", "5%", "median", "95%", "confidence", "unit"], rows)]
        known = {**FACTOR_MEANINGS, SKIN_TONE: SKIN_TONE_MEANING}
        meanings = {name: known[name] for name in summary["semantics"] if name in known}
        width = max(map(len, meanings), default=0)
        lines += ["", *(f"  {name:<{width}}  {meaning}" for name, meaning in meanings.items())]
    return "\n".join(lines)
