"""`faceaug plan`: how many faces to synthesize in each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    PATH,
    by_option,
    dataset_options,
    make_plan,
    output_options,
    plan_options,
    read_dataset,
    require_by,
    settle_marginals,
)
from .terminal.console import Console


@click.command()
@dataset_options
@by_option
@plan_options
@click.option(
    "-o", "--output", "file", metavar="FILE", type=PATH, help="Write the plan to this file, for balance --plan FILE."
)
@output_options
@click.pass_context
def plan(context: click.Context, /, file: Path | None, **options: Any) -> None:
    """Decide how many faces to synthesize in each cell, without synthesizing them.

    \b
    Example:
      faceaug plan faces/ --labels labels.csv --by gender,ethnicity \\
          --strategy uniform --max-synthetic-ratio 3 -o plan.json
      faceaug plan faces/ --labels labels.csv --marginal gender --marginal age:5
    """
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    settle_marginals(context, options)
    require_by(options)
    result = make_plan(read_dataset(options, console), options)
    if file is not None:
        result.write(file)
    console.show(result.to_text(), result.to_dict())
    if file is not None:
        console.remark(f"The plan was written to {file}; carry it out with: faceaug balance ... --plan {file} -o out/")
