"""Balance a dataset: learn, then make, check and write samples cell by cell (method.md, section 7)."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from faceaug._version import __version__
from faceaug.analysis.axes import Axis, AxisSpec, build_axis
from faceaug.classifiers.classifier import Task
from faceaug.classifiers.training import tasks_of
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect, load_thumbnails
from faceaug.errors import DatasetError, UsageError, nearest
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.measurement.measure import FaceEstimator, load_estimator
from faceaug.planning.plan import Plan
from faceaug.reconstruction.semantics import NAMES
from faceaug.report.build import PAGE, build_report
from faceaug.shards.columns import RESERVED, Column
from faceaug.shards.manifest import (
    CellRecord,
    CreatedBy,
    DatasetRecord,
    GeneratorRecord,
    Manifest,
    ManifestHeader,
    ModelRecord,
)
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.writer import Codec
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds, all_gates, gate_marks
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.config import RunConfig, workers_of
from faceaug.synthesis.editing.pose_readout import LearnedDirections, find_directions, learned_directions
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.engines.base import ChainedEngine, Engine, LatentEditEngine
from faceaug.synthesis.engines.inversion_setup import ENCODER, FIGURES, check_turning, prepare_inversion
from faceaug.synthesis.engines.latent_edit import LatentEditor
from faceaug.synthesis.engines.rerender import RerenderEngine
from faceaug.synthesis.engines.source_faces import check_axes
from faceaug.synthesis.latent_survey import DIRECTIONS
from faceaug.synthesis.loop import fill_cells
from faceaug.synthesis.sample_schema import (
    ERROR,
    columns_from_real,
    columns_of,
    columns_of_rerendered,
    joined_columns,
    kept_labels,
)
from faceaug.synthesis.setup import FILES, PROBES, FittedModels, fit_models
from faceaug.utils.files import sha256_file
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import StageProgress

__all__ = ["AcceptanceThresholds", "RunConfig", "RunResult", "balance", "fingerprint", "workers_of"]

EMBEDDED = "embedded"
MODELS = "models"
DRAWS_PER_COORDINATE = 2  # fewer draws than this give directions that are mostly chance


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
    dataset: FaceDataset,
    out: Path | str,
    *,
    plan: Plan,
    generator: str | Path | Generator = EMBEDDED,
    directions: str | Path | None = None,
    reconstruction: str | Path | None = None,
    estimator: FaceEstimator | None = None,
    config: RunConfig | None = None,
    resume: bool = False,
    progress: StageProgress | None = None,
    command: str = "faceaug.balance",
    recipe: str | None = None,
) -> RunResult:
    """Make the samples that a plan asks for and write them to a folder (formats.md).

    Parameters
    ----------
    dataset : FaceDataset
        From `load_dataset`; the plan must be made from it.
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
        What measured the dataset's columns, where those did not come from labels; also what real faces are turned by.
    estimator : FaceEstimator, optional
        In place of `reconstruction`, for real faces; to resume, it needs its `sha256`.
    config : RunConfig, optional
    progress : callable (stage, done, total), optional
    command, recipe : str
        Noted in the manifest.

    Returns
    -------
    RunResult

    Raises
    ------
    DatasetError, PlanError, GeneratorError, OutputError
        Each in one sentence with the remedy. What was written until then is whole and can be resumed.

    Examples
    --------
    >>> from faceaug import analyze, balance, load_dataset, plan
    >>> dataset = load_dataset("faces/", labels="labels.csv")  # doctest: +SKIP
    >>> wish = plan(analyze(dataset, "gender,ethnicity"), "uniform")  # doctest: +SKIP
    >>> balance(dataset, "out/", plan=wish).accepted  # doctest: +SKIP
    """
    config, told = config or RunConfig(), progress or (lambda stage, done, total: None)
    keep = _kept_axes(dataset, plan, config.keep)
    _check_names([axis.name for axis in (*plan.axes, *keep)])
    if config.engine == "rerender":
        drawing = {"generator": not isinstance(generator, str) or generator != EMBEDDED, "directions": directions}
        check_no_generator([name for name, given in drawing.items() if given])
    generated = found = eye = None
    if config.engine != "generator":
        check_axes(plan.axes, config.engine)
        eye = estimator or load_estimator(reconstruction)  # photographs are rendered on the processor
        if resume and not eye.sha256:
            raise UsageError(
                "the measurer has no sha256, so it cannot be told whether it is the one that the run began with: give "
                "it one, load it from a file with load_estimator, or run without resume in another folder"
            )
    if config.engine != "rerender":
        generated = generator if not isinstance(generator, str | Path) else load_generator(generator, config.device)
        _check_generator(config, generated)
        found = _found(generated, dataset, directions, reconstruction)
        if config.from_real:
            check_turning(dataset, plan.axes, generated, found)
        if plan.total:
            tasks_of(dataset.table, [*plan.axes, *keep])  # what cannot be learnt is refused before anything is written
    folder = OutputFolder.open(out, fingerprint(dataset, plan, generated, config, found, eye), resume=resume)
    with folder, _one_thread():
        if folder.started and folder.complete:
            if config.report and not (Path(out) / PAGE).exists():
                build_report(Path(out), dataset)
            return RunResult(folder.manifest, {})
        clock = _Clock()
        told("reading", 0, len(dataset))
        arrays, infos = load_thumbnails(dataset, 64, config.workers)
        told("reading", len(dataset), len(dataset))
        clock.lap("reading")
        sizes = {(info.height, info.width) for info in infos}
        if config.layout == "raw" and (config.harmonize or eye) and len(sizes) > 1:
            raise UsageError(
                f"the images of {dataset.name} have {len(sizes)} different sizes, and --layout raw holds pictures of "
                f"one size: use the layout blob{'' if eye else ', or --no-finish'}"
            )
        if not folder.started:
            codec = config.image_format or Counter(info.codec for info in infos).most_common(1)[0][0]
            folder.begin(
                _header(dataset, plan, generated, config, keep, codec, command, recipe, found),
                _cells(plan),
                plan.to_dict(),
            )
        codec = folder.manifest.codec
        if not plan.total:
            return RunResult(folder.harmonize(measured={"seconds": dict(clock.seconds)}), clock.seconds)
        stored = codec if config.layout == "blob" else None  # pixels are kept as they are
        engines: list[Engine] = []
        files: list[str] = []
        probes: list[ModelRecord] = []
        lines: ModelRecord | None = None
        figures: dict[str, Any] = {"seconds": {}}
        if eye is not None:
            engines.append(_rerendering(dataset, arrays, plan, eye, config, stored))
            if eye.sha256:
                probes.append(ModelRecord(name="reconstruction", sha256=eye.sha256))
        if generated is not None:
            models = Path(out) / MODELS
            models.mkdir(exist_ok=True)
            models = fit_models(
                dataset, arrays, plan.axes, generated, models, seed=config.seed, keep=keep, survey_samples=config.survey_samples,
                thresholds=config.thresholds, harmonize=config.harmonize, codec=codec, workers=workers_of(config),
                batch_size=config.batch_size, device=config.device, progress=told, found=found,
            )  # fmt: skip
            if config.from_real:
                engines.append(
                    prepare_inversion(dataset, plan, _editor(generated, models, config, stored), models, config, told)
                )
            else:
                engines.append(LatentEditEngine(_editor(generated, models, config, stored), config.tries))
            files = [name for name in (*FILES, ENCODER, FIGURES) if (models / name).exists()]
            *more, lines = (
                ModelRecord(name=Path(name).stem, sha256=sha256_file(models / name))
                for name in (*PROBES[:2], DIRECTIONS) if name in files
            )  # fmt: skip
            probes, figures = [*more, *probes], models.figures
        clock.lap("learning")
        folder.describe(files=[f"{MODELS}/{name}" for name in files], directions=lines, probes=tuple(probes))
        making = fill_cells(folder, plan, engines[0] if len(engines) == 1 else ChainedEngine(engines), config, told)
        clock.lap("making")
        # Learning and making as long as they took, also where the run was interrupted in between.
        measured = {**figures, "seconds": {**clock.seconds, **figures["seconds"], "making": round(making, 2)}}
        manifest = folder.harmonize(measured=measured)
        if config.report:
            told("report", 0, 1)
            build_report(Path(out), dataset)
            told("report", 1, 1)
        clock.lap("writing")
    return RunResult(manifest, clock.seconds)


def check_no_generator(given: Sequence[str]) -> None:
    """Refuse options, by their names, that say what draws faces where none are drawn."""
    if given:
        options = " and ".join(f"--{name}" for name in given)
        raise UsageError(f"--engine rerender edits no generator: leave out {options}, or use --engine both")


def _found(
    generator: Generator, dataset: FaceDataset, directions: str | Path | None, reconstruction: str | Path | None
) -> LearnedDirections | None:
    """Put directions found without labels to work; columns count as measured where their own network measured them."""
    bundle = find_directions(generator, directions, reconstruction)
    if bundle is None:
        return None
    told = dataset.measured
    if told is None or told.by != bundle.reconstruction:
        return learned_directions(bundle)
    return learned_directions(bundle, [name for name in told.names if name in NAMES], told.aligned)


def fingerprint(
    dataset: FaceDataset, plan: Plan, generator: Generator | None, config: RunConfig, found: LearnedDirections | None = None,
    eye: FaceEstimator | None = None,
) -> str:  # fmt: skip
    """Return a hash of all that decides which samples are made; only a run with the same one may continue."""
    free = {"workers", "batch_size", "report"}
    goals = dict(
        dataset=dataset.fingerprint(), plan=plan.to_dict(),
        generator=generator and (generator.sha256, getattr(generator, "settings", None)),  # a file may be drawn anew
        config={k: v for k, v in asdict(config).items() if k not in free}, gates=gate_marks(), rules=3,
        found=found and [found.bundle.directions.sha256(), found.bundle.reconstruction, found.measured, found.aligned],
        eye=eye and eye.sha256,
    )  # fmt: skip
    return hashlib.sha256(json.dumps(goals, sort_keys=True, default=str).encode()).hexdigest()


def _editor(generator: Generator, models: FittedModels, config: RunConfig, codec: Codec | None) -> LatentEditor:
    return LatentEditor(
        generator, models, config.thresholds, all_gates(), seed=config.seed, candidates=config.candidates,
        truncation_psi=config.truncation_psi, corrections=config.corrections, batch_size=config.batch_size,
        codec=codec, workers=workers_of(config),
    )  # fmt: skip


def _rerendering(
    dataset: FaceDataset, arrays: Rgb, plan: Plan, estimator: FaceEstimator, config: RunConfig, codec: Codec | None
) -> RerenderEngine:
    told = dataset.measured
    pieces = np.array_split(arrays, max(1, len(arrays) // 1024))
    real = np.concatenate([hashes(as_tensor(piece)) for piece in pieces])
    return RerenderEngine(
        dataset, plan.axes, estimator, config.thresholds, real, aspect=common_aspect(dataset), keep=config.keep,
        tries=config.tries, seed=config.seed, aligned=told.aligned if told else config.aligned, codec=codec,
    )  # fmt: skip


def _check_generator(config: RunConfig, generator: Generator) -> None:
    precision = getattr(generator, "precision", "float32")
    if precision != "float32":
        raise UsageError(
            f"{generator.name!r} computes in {precision}, which changes pictures: faces are made in float32"
        )
    if config.survey_samples < DRAWS_PER_COORDINATE * generator.w_dim:
        raise UsageError(
            f"draws is {config.survey_samples}, but directions in the {generator.w_dim} coordinates of {generator.name!r} "
            f"need at least {DRAWS_PER_COORDINATE * generator.w_dim}"
        )


def _check_names(names: list[str]) -> None:
    """Refuse attributes whose names mean something else in an output folder."""
    for name in names:
        if name in (*RESERVED, *SCENE, ERROR):
            raise UsageError(f"an attribute is called {name!r}, a name that faceaug uses itself: rename the column")
        if names.count(name) > 1:
            raise UsageError(f"the attribute {name!r} is named twice: name it once")


def _kept_axes(dataset: FaceDataset, plan: Plan, keep: tuple[str, ...]) -> tuple[Axis, ...]:
    known = [a for a in dataset.attributes if a not in {axis.name for axis in plan.axes}]
    for name in keep:
        if name not in known:
            raise UsageError(f"the attribute {name!r} cannot be kept: {nearest(name, known)}")
    axes = []
    for name in keep:
        try:
            axes.append(build_axis(dataset.table, AxisSpec(name)))
        except (UsageError, DatasetError):  # too many distinct numbers for classes: a value
            axes.append(build_axis(dataset.table, AxisSpec(name, ("quantile", 4))))
    return tuple(axes)


def _header(
    dataset: FaceDataset, plan: Plan, generator: Generator | None, config: RunConfig, keep: tuple[Axis, ...], codec: Codec,
    command: str, recipe: str | None, found: LearnedDirections | None,
) -> ManifestHeader:  # fmt: skip
    axes = (*plan.axes, *keep)
    tasks = [Task(a.name, "value" if a.edges else "classes", () if a.edges else a.levels) for a in axes]
    columns: list[tuple[Column, ...]] = []
    if config.from_real:
        columns.append(columns_from_real(kept_labels(dataset, plan.axes)))
    if generator is not None:
        columns.append(columns_of(plan.axes, tasks, config.harmonize, found))
    if config.engine != "generator":
        columns.append(columns_of_rerendered(plan.axes, kept_labels(dataset, plan.axes)))
    return ManifestHeader(
        created_by=CreatedBy(faceaug=__version__, command=command, recipe=recipe),
        seed=config.seed,
        generator=None if generator is None else GeneratorRecord(
            name=generator.name, sha256=generator.sha256, licence=generator.licence, origin=generator.origin
        ),
        dataset=DatasetRecord(
            name=dataset.name, fingerprint=dataset.fingerprint(), rows=len(dataset),
            reader=dataset.reader, split=dataset.split,
        ),
        layout=config.layout, codec=codec, columns=joined_columns(*columns),
        config=json.loads(json.dumps(asdict(config), default=str)),
    )  # fmt: skip


def _cells(plan: Plan) -> list[CellRecord]:
    return [
        CellRecord.planned_only(c.index, c.levels, real=c.real, wanted=c.wanted, planned=c.planned) for c in plan.cells
    ]


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
