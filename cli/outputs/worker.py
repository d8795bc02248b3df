"""`faceaug worker`: compute a share of the blocks of a run whose driver is another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..balance import read_run, run_options, worker_setting_options
from ..options import recipe_option
from ..terminal.console import Console, echo
from ..terminal.paths import PATH


@click.command()
@run_options
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=PATH, required=True, help="The output folder of the driver."
)
@click.option("--rank", metavar="I", type=click.IntRange(min=0), required=True, help="Which worker this is, from 0.")
@click.option("--of", metavar="N", type=click.IntRange(min=1), required=True, help="Number of workers.")
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="End after so long without a block to compute, as when the driver is gone; while it learns does not count.",
)
@worker_setting_options
@recipe_option
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and remarks.")
@click.pass_context
def worker(context: click.Context, /, **options: Any) -> int:
    """Compute samples for a run of faceaug balance --executor folder, in a folder that machines share.

    Takes the data set, plan and settings of that command, which decides what is accepted and writes it. Workers and
    driver may be begun in any order; one that was ended is begun again by the same command.

    \b
    Example (in a Slurm array of 64 tasks the rank is $SLURM_ARRAY_TASK_ID):
      faceaug balance faces/ --recipe balance_faces --executor folder -o /shared/out
      faceaug worker  faces/ --recipe balance_faces -o /shared/out --rank 0 --of 64
    """
    from faceaug.synthesis.executors.worker import Share, work_share
    from faceaug.synthesis.request import check_request

    share = Share(options["rank"], options["of"])
    dataset, plan, config = read_run(context, options, Console(as_json=False, quiet=options["quiet"]))
    out: Path = options["out"]
    computed = work_share(check_request(dataset, plan, config), out, share, patience=options["patience"])
    if not options["quiet"]:
        echo(f"Worker {share.rank} of {share.of} computed {computed:,} blocks of the run in {out}.")
    return 0
