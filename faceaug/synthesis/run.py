"""Balance a target: learn, then make, check and write samples cell by cell (method.md, section 7)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

import torch
from threadpoolctl import threadpool_limits

from faceaug import __version__
from faceaug.axes import Axis, AxisSpec, build_axis
from faceaug.errors import TargetError, UsageError, nearest
from faceaug.files import sha256_file
from faceaug.generators.base import Generator, load_generator
from faceaug.planning import Plan, PlannedCell
from faceaug.reconstruction.measurer import NAMES
from faceaug.report import PAGE, report_run
from faceaug.semantics.learning import tasks_of
from faceaug.semantics.probes import Task
from faceaug.semantics.reading import SCENE
from faceaug.shards.columns import RESERVED
from faceaug.shards.folder import OutputFolder
from faceaug.shards.manifest import CellRecord, CreatedBy, GeneratorRecord, Header, Manifest, Reference, TargetRecord
from faceaug.shards.writer import Codec, Layout
from faceaug.synthesis.account import columns_of
from faceaug.synthesis.asks import Readings, out_of_reach, wanted
from faceaug.synthesis.block import BlockResult, Workshop, attempts_for
from faceaug.synthesis.environment import Found, at_work, find_directions
from faceaug.synthesis.gates import Limits, all_gates, gate_marks
from faceaug.synthesis.guide import FILES, PROBES, Guide, prepare
from faceaug.synthesis.ledger import Ledger
from faceaug.synthesis.survey import DIRECTIONS, Progress, in_order
from faceaug.targets.arrays import load_arrays
from faceaug.targets.table import Target

MODELS = "models"
DRAWS_PER_COORDINATE = 2  # fewer draws than this give directions that are mostly chance


@dataclass(frozen=True)
class Settings:
    """How a run is done; the defaults are those of the command line.

    Attributes
    ----------
    seed : int
        Everything random comes from it.
    device : str
        For the training of probes, and for the generator where it is given by name; one that is passed stays where it
        is.
    workers : int, optional
        Threads that make blocks; as many as there are processors when None, and one where `device` is a GPU. They do
        not change the samples.
    batch_size : int
        Pictures that go through a network at once.
    limits : Limits
        What gates refuse.
    tries : int
        Attempts allowed for each planned sample before a cell ends short.
    candidates : int
        Draws among which an attempt takes the one nearest to its cell.
    truncation : float
        1 takes draws as they are, less pulls them towards the mean face.
    corrections : int
        Corrections of an edit after its first step.
    finish : bool
        Give samples the target's size, colour, sharpness, noise and codec quality.
    image_format : "jpeg", "png", "webp" or None
        Codec of the samples; the target's own when None.
    layout : "blob" or "raw"
        Encoded images, or plain pixels (formats.md).
    draws : int
        Generated faces on which directions are fitted.
    keep : tuple of str
        Labelled attributes that edits must leave alone.
    report : bool
        Write report.html at the end.
    """

    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    batch_size: int = 64
    limits: Limits = field(default_factory=Limits)
    tries: int = 8
    candidates: int = 16
    truncation: float = 0.9
    corrections: int = 5
    finish: bool = True
    image_format: Codec | None = None
    layout: Layout = "blob"
    draws: int = 8192
    keep: tuple[str, ...] = ()
    report: bool = True

    def __post_init__(self) -> None:
        least = dict(seed=0, batch_size=1, tries=1, candidates=1, corrections=0, draws=256)
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}; it must be at least 1")
        if not 0 < self.truncation <= 1:
            raise UsageError(f"truncation is {self.truncation}; it must be above 0 and at most 1")
        if self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}; it must be below 2^32")
        for name, known in (("image_format", (None, *get_args(Codec))), ("layout", get_args(Layout))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(map(str, known))}")


@dataclass(frozen=True)
class RunResult:
    """What a run gave: the manifest as written, and the seconds of each stage of this call."""

    manifest: Manifest
    timings: dict[str, float]

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
        """Planned samples that could not be made."""
        return self.manifest.totals.short


def balance(
    target: Target,
    out: Path | str,
    *,
    plan: Plan,
    generator: str | Path | Generator = "embedded",
    directions: str | Path | None = None,
    reconstruction: str | Path | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "faceaug.balance",
    recipe: str | None = None,
) -> RunResult:
    """Make the samples that a plan asks for and write them to a folder (formats.md).

    Parameters
    ----------
    target : Target
        From `load_target`; the plan must be made from it.
    out : path
        A folder that is absent or empty, or holds this very run, interrupted, with `resume`.
    plan : Plan
        From `faceaug.plan`.
    generator : name, path of a .safetensors file, or a Generator
    directions : path, optional
        What `discover` found in this generator: view and light are then read, kept and steered by it, and edits of
        those alone spare the atoms of the face. By default `reconstruction`, or what comes with faceaug, where it was
        found in this generator.
    reconstruction : path, optional
        What measured the target's columns, where those did not come from labels.
    settings : Settings, optional
    progress : callable (stage, done, total), optional
    command, recipe : str
        Noted in the manifest.

    Returns
    -------
    RunResult

    Raises
    ------
    TargetError, PlanError, GeneratorError, OutputError
        Each in one sentence with the remedy. What was written until then is whole and can be resumed.

    Examples
    --------
    >>> from faceaug import analyze, balance, load_target, plan
    >>> target = load_target("faces/", labels="labels.csv")  # doctest: +SKIP
    >>> wish = plan(analyze(target, "gender,ethnicity"), "uniform")  # doctest: +SKIP
    >>> balance(target, "out/", plan=wish).accepted  # doctest: +SKIP
    """
    settings, told = settings or Settings(), progress or (lambda stage, done, total: None)
    made = generator if not isinstance(generator, str | Path) else load_generator(generator, settings.device)
    if settings.draws < DRAWS_PER_COORDINATE * made.w_dim:
        raise UsageError(
            f"draws is {settings.draws}, but directions in the {made.w_dim} coordinates of {made.name!r} need at least "
            f"{DRAWS_PER_COORDINATE * made.w_dim}"
        )
    keep = _kept_axes(target, plan, settings.keep)
    _check_names([axis.name for axis in (*plan.axes, *keep)])
    found = _found(made, target, directions, reconstruction)
    if plan.total:
        tasks_of(target.table, [*plan.axes, *keep])  # what cannot be learnt is refused before anything is written
    folder = OutputFolder.open(out, fingerprint(target, plan, made, settings, found), resume=resume)
    with folder, _one_thread():
        if folder.started and folder.complete:
            if settings.report and not (Path(out) / PAGE).exists():
                report_run(Path(out), target)
            return RunResult(folder.manifest, {})
        clock = _Clock()
        told("reading", 0, len(target))
        arrays, infos = load_arrays(target, 64, settings.workers)
        told("reading", len(target), len(target))
        clock.lap("reading")
        sizes = {(info.height, info.width) for info in infos}
        if settings.layout == "raw" and settings.finish and len(sizes) > 1:
            raise UsageError(
                f"the images of {target.name} have {len(sizes)} different sizes, and --layout raw holds pictures of "
                "one size: use the layout blob, or --no-finish"
            )
        if not folder.started:
            codec = settings.image_format or Counter(info.codec for info in infos).most_common(1)[0][0]
            folder.begin(
                _header(target, plan, made, settings, keep, codec, command, recipe, found), _cells(plan), plan.to_dict()
            )
        if not plan.total:
            return RunResult(folder.finish(measured={"seconds": dict(clock.seconds)}), clock.seconds)
        models = Path(out) / MODELS
        models.mkdir(exist_ok=True)
        guide = prepare(
            target, arrays, plan.axes, made, models, seed=settings.seed, keep=keep, draws=settings.draws,
            limits=settings.limits, finish=settings.finish, codec=folder.manifest.codec, workers=workers_of(settings),
            batch_size=settings.batch_size, device=settings.device, progress=told, found=found,
        )  # fmt: skip
        clock.lap("learning")
        files = [name for name in FILES if (models / name).exists()]
        *probes, lines = (
            Reference(name=Path(name).stem, sha256=sha256_file(models / name))
            for name in (*PROBES[:2], DIRECTIONS) if name in files
        )  # fmt: skip
        folder.describe(files=[f"{MODELS}/{name}" for name in files], directions=lines, probes=tuple(probes))
        making = _make(folder, plan, made, guide, settings, told)
        clock.lap("making")
        # Learning and making as long as they took, also where the run was interrupted in between.
        measured = {
            **guide.figures,
            "seconds": {**clock.seconds, **guide.figures["seconds"], "making": round(making, 2)},
        }
        manifest = folder.finish(measured=measured)
        if settings.report:
            told("report", 0, 1)
            report_run(Path(out), target)
            told("report", 1, 1)
        clock.lap("writing")
    return RunResult(manifest, clock.seconds)


def _found(
    generator: Generator, target: Target, directions: str | Path | None, reconstruction: str | Path | None
) -> Found | None:
    """Put directions found without labels to work; columns count as measured where their own network measured them."""
    bundle = find_directions(generator, directions, reconstruction)
    if bundle is None:
        return None
    told = target.measured
    if told is None or told.by != bundle.reconstruction:
        return at_work(bundle)
    return at_work(bundle, [name for name in told.names if name in NAMES], told.aligned)


def fingerprint(
    target: Target, plan: Plan, generator: Generator, settings: Settings, found: Found | None = None
) -> str:
    """Return a hash of all that decides which samples are made; only a run with the same one may continue."""
    free = {"workers", "batch_size", "report"}
    parts = dict(
        target=target.fingerprint(), plan=plan.to_dict(), generator=generator.sha256,
        settings={k: v for k, v in asdict(settings).items() if k not in free}, gates=gate_marks(), rules=2,
        found=found and [found.bundle.directions.sha256(), found.bundle.reconstruction, found.measured, found.aligned],
    )  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _make(
    folder: OutputFolder, plan: Plan, generator: Generator, guide: Guide, settings: Settings, told: Progress
) -> float:
    """Fill the cells in order; return the seconds that this took, those before an interruption included.

    Workers compute blocks ahead; what is accepted is decided here, in order of attempts.
    """
    workshop = Workshop(
        generator, guide, settings.limits, all_gates(), seed=settings.seed, candidates=settings.candidates,
        truncation=settings.truncation, corrections=settings.corrections, batch_size=settings.batch_size,
        codec=folder.manifest.codec if settings.layout == "blob" else None, workers=workers_of(settings),
    )  # fmt: skip
    cells = [cell for cell in plan.cells if cell.planned]
    ledger = Ledger.continued(folder, generator, guide, settings.limits.duplicate_bits, settings.batch_size)
    total, workers = sum(cell.planned for cell in cells), workers_of(settings)
    judges: tuple[tuple[Readings, float], ...] = (
        (guide.reader, settings.limits.confidence),
        (guide.judge, settings.limits.judge),
    )
    for cell in cells:
        why = out_of_reach(wanted(guide.axes, cell.levels, guide.tasks), guide.directions, judges)
        if why:
            ledger.beyond[cell.index] = why
    told("making", sum(ledger.accepted.values()), total)

    def jobs() -> Iterator[tuple[PlannedCell, int]]:
        for cell in cells:
            if cell.index in ledger.beyond:
                continue
            for block in range(ledger.next_block(cell.index), attempts_for(cell.planned, settings.tries)):
                if ledger.accepted[cell.index] >= cell.planned:
                    break
                yield cell, block

    def work(job: tuple[PlannedCell, int]) -> tuple[PlannedCell, int, BlockResult]:
        cell, block = job
        return cell, block, workshop.make(cell.index, cell.levels, block)

    with ThreadPoolExecutor(workers) as pool:
        for cell, block, result in in_order(pool, work, jobs(), workers + 1):
            if ledger.accepted[cell.index] < cell.planned:  # else it was computed ahead and is not needed
                samples = ledger.take(cell, block, result)
                folder.append(samples, {cell.index: ledger.state(cell)}, ledger.progress())
                told("making", sum(ledger.accepted.values()), total)
    folder.update({cell.index: ledger.state(cell, ended=True) for cell in cells}, ledger.progress())
    return ledger.seconds()


def _check_names(names: list[str]) -> None:
    """Refuse attributes whose names mean something else in an output folder."""
    for name in names:
        if name in (*RESERVED, *SCENE):
            raise UsageError(f"an attribute is called {name!r}, a name that faceaug uses itself: rename the column")
        if names.count(name) > 1:
            raise UsageError(f"the attribute {name!r} is named twice: name it once")


def _kept_axes(target: Target, plan: Plan, keep: tuple[str, ...]) -> tuple[Axis, ...]:
    known = [a for a in target.attributes if a not in {axis.name for axis in plan.axes}]
    for name in keep:
        if name not in known:
            raise UsageError(f"the attribute {name!r} cannot be kept: {nearest(name, known)}")
    axes = []
    for name in keep:
        try:
            axes.append(build_axis(target.table, AxisSpec(name)))
        except (UsageError, TargetError):  # too many distinct numbers for classes: a value
            axes.append(build_axis(target.table, AxisSpec(name, ("quantile", 4))))
    return tuple(axes)


def _header(
    target: Target, plan: Plan, generator: Generator, settings: Settings, keep: tuple[Axis, ...], codec: Codec,
    command: str, recipe: str | None, found: Found | None,
) -> Header:  # fmt: skip
    axes = (*plan.axes, *keep)
    tasks = [Task(a.name, "value" if a.edges else "classes", () if a.edges else a.levels) for a in axes]
    return Header(
        created_by=CreatedBy(faceaug=__version__, command=command, recipe=recipe),
        seed=settings.seed,
        generator=GeneratorRecord(
            name=generator.name, sha256=generator.sha256, licence=generator.licence, origin=generator.origin
        ),
        target=TargetRecord(
            name=target.name, fingerprint=target.fingerprint(), rows=len(target),
            reader=target.reader, split=target.split,
        ),
        layout=settings.layout, codec=codec, columns=columns_of(plan.axes, tasks, settings.finish, found),
        settings=json.loads(json.dumps(asdict(settings), default=str)),
    )  # fmt: skip


def _cells(plan: Plan) -> list[CellRecord]:
    return [
        CellRecord.planned_only(c.index, c.levels, real=c.real, wanted=c.wanted, planned=c.planned) for c in plan.cells
    ]


def workers_of(settings: Settings) -> int:
    """Return how many threads make blocks."""
    if settings.device != "cpu":
        return 1  # one queue is what a GPU has; blocks still overlap with writing
    return settings.workers or os.cpu_count() or 1


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage], self._last = round(now - self._last, 2), now


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread a worker: results then do not depend on how many there are. Undone at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
