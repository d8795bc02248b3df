"""`faceaug plan`: how many faces to synthesize in each cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    by_option,
    check_files,
    dataset_options,
    html_option,
    make_plan,
    output_options,
    plan_options,
    read_dataset,
    require_by,
    settle_marginals,
    write_page,
)
from .terminal.console import Console
from .terminal.paths import PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from faceaug.planning.plan import Plan


@click.command()
@dataset_options
@by_option
@plan_options
@click.option(
    "-o", "--output", "file", metavar="FILE", type=PATH, help="Write the plan to this file, for balance --plan FILE."
)
@html_option
@output_options
@click.pass_context
def plan(context: click.Context, /, file: Path | None, html: Path | None, **options: Any) -> None:
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
    check_files(file, html)
    dataset = read_dataset(options, console)
    result = make_plan(dataset, options)
    if file is not None:
        result.write(file)
    console.show(result.to_text(), result.to_dict(), lambda: _view(result))
    write_page(html, lambda: _page(result, dataset.name), console)
    if file is not None:
        console.remark(f"The plan was written to {file}; carry it out with: faceaug balance ... --plan {file} -o out/")


def _view(plan: Plan) -> Sequence[RenderableType]:
    from .terminal.tables import plan_view

    return plan_view(plan)


def _page(plan: Plan, name: str) -> str:
    from faceaug.report.counts_page import render_plan_page

    return render_plan_page(plan, name)
