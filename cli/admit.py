"""`faceaug admit`: which images that were made elsewhere pass the checks of a data set."""

from __future__ import annotations

from typing import Any

import click

from .config_options import config_options, read_config, threshold_option
from .options import by_option, count, output_options, read_dataset, recipe_of, reference_options, require_by
from .terminal.admission import admission_json, admission_text
from .terminal.console import Console, command_line
from .terminal.paths import DESTINATION, PATH, SOURCE

_SETTINGS = ("candidate_labels", "seed", "device", "embedder", "harmonize", "image_format", "layout", "report")
"""Settings of a run that the engine external uses."""


@click.command()
@click.argument("candidates", metavar="CANDIDATES", type=SOURCE)
@reference_options
@by_option
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FOLDER",
    type=DESTINATION,
    help="Write what passes to an output folder, or its URL.",
)
@click.option(
    "--refusals", metavar="FILE", type=PATH, help="Write a CSV of the refused candidates: file, reason, values."
)
@click.option("--explain-refusals", is_flag=True, help="Say what each reason means, and name some candidates of each.")
@config_options(_SETTINGS)
@threshold_option
@output_options
@click.pass_context
def admit(context: click.Context, /, **options: Any) -> int:
    """Check images that were made elsewhere, without a plan: what passes?

    CANDIDATES is a folder of images, a tar file, Parquet with images, a folder of Hugging Face, or an output folder
    of faceaug. Each is read strictly, put into the cell that both classifiers find, given the look of the data set,
    and held to the gates. The engine external of faceaug balance does the same for a plan.

    \b
    Example:
      faceaug admit generated/ --dataset faces/ --labels labels.csv --by gender --explain-refusals
      faceaug admit generated.parquet --dataset faces/ --labels labels.csv --by gender,age:10 -o out/
    """
    from faceaug._version import __version__
    from faceaug.places.published import check_run_destination
    from faceaug.shards.manifest import CreatedBy
    from faceaug.synthesis.engines.external.admission import admit as admit_candidates
    from faceaug.utils.files import check_writable

    if options["refusals"] is not None:
        check_writable(options["refusals"])
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    recipe = recipe_of(context)
    config = read_config(options, recipe[1] if recipe else None)
    by = require_by(options)
    if options["out"] is not None:
        check_run_destination(options["out"])
    dataset = read_dataset(options, console)
    with console.stages() as progress:
        found = admit_candidates(count(dataset, by), dataset, config=config, progress=progress)
        if options["refusals"] is not None:
            found.write_refusals(options["refusals"])
        if options["out"] is not None and found.passed:
            command = CreatedBy(faceaug=__version__, command=command_line(context.obj))
            found.write(options["out"], progress=progress, created_by=command)
    console.show(admission_text(found, explain=options["explain_refusals"]), admission_json(found))
    if options["out"] is not None:
        if not found.passed:
            click.echo(f"Error: no candidate passed, so nothing was written to {options['out']}", err=True)
            return 1
        console.remark(f"What passed is in {options['out']}; check the folder with: faceaug verify {options['out']}")
    return 0
