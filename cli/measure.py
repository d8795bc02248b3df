"""`faceaug measure`: pose and light of photographs, without any label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, load_estimator, measured_dataset_options, output_options, read_unmeasured
from .terminal.console import Console

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".csv", ".tsv")


@click.command(short_help="Measure pose and light on photographs, without labels.")
@measured_dataset_options
@click.option(
    "-o", "--output", "file", metavar="FILE", type=PATH, help="Write a row an image there: .parquet, .csv or .tsv."
)
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
)
@output_options
def measure(file: Path | None, **options: Any) -> None:
    """Measure yaw, pitch, roll and light on photographs of faces, with how sure each value is.

    DATASET is a folder of images, with or without labels, a single image, an HDF5 file, or an output folder of faceaug.
    The file that is written also holds the labels and can be given as --labels, so that nothing is measured again.

    \b
    Example:
      faceaug measure faces/ -o measured.parquet
      faceaug analyze faces/ --labels measured.parquet --by yaw:5
    """
    if file is not None and file.suffix.lower() not in _SUFFIXES:
        raise click.UsageError(f"{file} must end in one of {', '.join(_SUFFIXES)}, which tells its kind")
    from faceaug.measurement.measure import measure as measured
    from faceaug.measurement.measure import summarize_measurements
    from faceaug.utils.files import check_writable

    if file is not None:
        check_writable(file)
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    measurer = load_estimator(options)
    options["split"] = options["split"] or "all"
    dataset = read_unmeasured(options, console)
    with console.counter("measuring", "image", len(dataset)) as progress:
        table = measured(dataset, measurer, aligned=options["aligned"], workers=options["workers"], progress=progress)
    if file is not None:
        write(table, file)
        for name in dataset.attributes:
            if name in measurer.names:
                console.remark(f"The labels have a {name!r} of their own; {file} holds the measured one.")
    found = summarize_measurements(table, measurer)
    console.show(as_text(found), found)
    if file is not None:
        console.remark(f"The table is in {file}; use it with: faceaug analyze ... --labels {file} --by yaw:5")


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a table atomically, as its suffix says."""
    from faceaug.utils.files import atomic

    with atomic(file) as temporary:
        if file.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, sep="\t" if file.suffix.lower() == ".tsv" else ",")


def as_text(found: dict[str, Any]) -> str:
    """Return the summarize_measurements of a measurement for people."""
    from faceaug.reconstruction.semantics import FACTOR_MEANINGS
    from faceaug.utils.text_table import render_table

    lines = [f"{found['measured']:,} of {found['images']:,} images measured"]
    lines += [f"  cannot tell: {why}, {count:,}" for why, count in found["cannot_tell"].items()]
    if found["measured"]:
        rows = [
            [name, *(f"{value:g}" for value in each["quantiles"]), f"{each['confidence']:.2f}", each["unit"]]
            for name, each in found["semantics"].items()
        ]
        lines += ["", *render_table(["", "5%", "median", "95%", "confidence", "unit"], rows)]
        known = {name: FACTOR_MEANINGS[name] for name in found["semantics"] if name in FACTOR_MEANINGS}
        wide = max(map(len, known), default=0)
        lines += ["", *(f"  {name:<{wide}}  {meaning}" for name, meaning in known.items())]
    return "\n".join(lines)
