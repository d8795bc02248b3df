"""Balance a data set: fit models, then fill the cells of a plan with samples (docs/method.md, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from faceaug._version import __version__
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.places.filesystems import is_url
from faceaug.places.published import published_folder
from faceaug.planning.plan import Plan
from faceaug.report.notebook import CellFaces, cell_faces, run_html
from faceaug.shards.manifest import CreatedBy, Manifest
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.executors.base import Work
from faceaug.synthesis.executors.registry import check_executor, create_executor
from faceaug.synthesis.loop import fill_cells
from faceaug.synthesis.request import check_licences, check_request
from faceaug.synthesis.stages import (
    StageClock,
    begin_output,
    find_copies,
    open_output,
    prepare_engine,
    read_images,
    write_report,
    write_results,
)
from faceaug.utils.threads import StageProgress, single_threaded


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes
    ----------
    manifest : Manifest
        As written.
    timings : dict of str to float
        Seconds of each stage of this call.
    out : Path or str
        The output folder, or its URL.
    dataset : FaceDataset, optional
        That was balanced; its faces are shown beside the samples.
    """

    manifest: Manifest
    timings: dict[str, float]
    out: Path | str
    dataset: FaceDataset | None = field(default=None, repr=False, compare=False)

    @property
    def planned(self) -> int:
        """Samples that were planned."""
        return self.manifest.totals.planned

    @property
    def accepted(self) -> int:
        """Samples that passed every gate."""
        return self.manifest.totals.accepted

    @property
    def short(self) -> int:
        """Planned samples that are missing."""
        return self.manifest.totals.short

    def show(self, cell: int | Mapping[str, str]) -> CellFaces:
        """Return some synthetic and real faces of a cell, which a notebook shows.

        Parameters
        ----------
        cell : int or mapping
            Its index in the plan, or the level of each axis, as ``{"gender": "female"}``.

        Raises
        ------
        UsageError
            When there is no such cell, or the output is behind a URL.
        """
        if isinstance(self.out, str):
            raise UsageError(f"the faces are at {self.out}; copy them to a folder and look at its report.html")
        return cell_faces(self.out, self.manifest, cell, self.dataset)

    def _repr_html_(self) -> str:
        return run_html(self.manifest, self.out if isinstance(self.out, str) else None)


def balance(
    dataset: FaceDataset,
    out: Path | str,
    *,
    plan: Plan,
    config: RunConfig | None = None,
    resume: bool = False,
    progress: StageProgress | None = None,
    created_by: CreatedBy | None = None,
) -> RunResult:
    """Synthesize the samples of a plan and write them to a folder (docs/formats.md).

    Parameters
    ----------
    dataset : FaceDataset
        From `load_dataset`; the plan must be made from it.
    out : path
        A folder that is absent or empty, or holds this very run, interrupted, with `resume`; or the URL of one, as
        s3://bucket/out. What is written goes there shard by shard, the manifest last.
    plan : Plan
        From `faceaug.plan`.
    config : RunConfig, optional
        How the run is done, the generator and the engine among it; the defaults when None.
    resume : bool
        Continue an interrupted run.
    progress : callable (stage, done, total), optional
        Called from the thread of the caller.
    created_by : CreatedBy, optional
        The command and the recipe that the manifest names.

    Returns
    -------
    RunResult

    Raises
    ------
    UsageError, DatasetError, PlanError, GeneratorError, OutputError, IntegrityError
        Each in one sentence with the remedy. What was written until then is whole and can be resumed.

    Examples
    --------
    >>> from faceaug import RunConfig, analyze, balance, load_dataset, plan
    >>> dataset = load_dataset("faces/", labels="labels.csv")  # doctest: +SKIP
    >>> wanted = plan(analyze(dataset, "gender,ethnicity"), "uniform")  # doctest: +SKIP
    >>> balance(dataset, "out/", plan=wanted, config=RunConfig(seed=1)).accepted  # doctest: +SKIP
    """
    check_executor(config or RunConfig())
    if is_url(out):
        if config is not None and config.executor == "folder":
            raise UsageError(f"{out} is a URL, and the executor folder needs a folder that workers share: give one")
        with published_folder(str(out), resume=resume) as published:
            result = balance(
                dataset,
                published.folder,
                plan=plan,
                config=config,
                resume=resume,
                progress=published.following(progress),
                created_by=created_by,
            )
        return replace(result, out=published.url)
    out, progress = Path(out), progress or (lambda stage, done, total: None)
    request = check_request(dataset, plan, config or RunConfig(), resume)
    engine = create_engine(request)
    check_licences(request, engine.generator)
    with open_output(request, engine, out, resume) as output, single_threaded():
        if output.started and output.complete:
            write_report(request, out, progress)
            return RunResult(output.manifest, {}, out, dataset)
        clock = StageClock()
        images = read_images(request, progress)
        clock.lap("reading")
        begin_output(
            request, engine, images, output, created_by or CreatedBy(faceaug=__version__, command="faceaug.balance")
        )
        if not plan.total:
            manifest = output.finish(measured={"seconds": dict(clock.seconds)})
            write_report(request, out, progress)
            return RunResult(manifest, clock.seconds, out, dataset)
        preparation = prepare_engine(engine, images, output, progress)
        clock.lap("learning")
        copies = find_copies(request, images)
        executor = create_executor(Work(request, engine, output))
        accounting = fill_cells(request, engine, executor, output, progress, copies)
        clock.lap("synthesis")
        manifest = write_results(output, preparation, clock.seconds, accounting)
        write_report(request, out, progress)
        clock.lap("writing")
    return RunResult(manifest, clock.seconds, out, dataset)
