"""The stages of a run. Each takes the request and what the stages before it gave, and knows no engine by its name."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceaug._version import __version__
from faceaug.datasets.content import image_digests
from faceaug.datasets.thumbnails import common_aspect, load_thumbnails
from faceaug.errors import FaceaugError, OutputError, UsageError
from faceaug.report.build import REPORT_PAGE, build_report
from faceaug.shards.columns import BUILT_IN_ENGINES, Column, engine_column
from faceaug.shards.manifest import (
    MODELS_FOLDER,
    PLAN_NAME,
    CellRecord,
    CreatedBy,
    DatasetRecord,
    Manifest,
    ManifestHeader,
)
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.refused import REFUSED_NAME, write_refused
from faceaug.shards.takeover import OtherRunError
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.base import Engine, Preparation, PreparationInputs
from faceaug.synthesis.request import RunRequest
from faceaug.utils.files import inside, read_json
from faceaug.utils.images import Codec, ImageInfo, Rgb
from faceaug.utils.text import one_line, shown
from faceaug.utils.threads import StageProgress

THUMBNAIL_SIDE = 64
SAMPLE_STREAM = 12
"""Raised whenever the same request gives other samples than before, so that no run is continued with others."""
_DO_NOT_CHANGE_SAMPLES = (
    *("workers", "batch_size", "report", "keep_refused", "executor", "address"),
    *("licence", "consent", "allow_research_only"),
)


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The data set's images as they are read once.

    Attributes
    ----------
    thumbnails : uint8 [N, 64, 64, 3]
    infos : tuple of ImageInfo
        Size, codec and quality of each file.
    digests : tuple of bytes
        SHA-256 of each file.
    aspect : float
        Proportions that the thumbnails were cropped to.
    """

    thumbnails: Rgb
    infos: tuple[ImageInfo, ...]
    digests: tuple[bytes, ...]
    aspect: float

    @property
    def sha256(self) -> str:
        """SHA-256 of the SHA-256 of all files, in their order."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    def commonest_codec(self) -> Codec:
        """Return the codec of most files."""
        return Counter(info.codec for info in self.infos).most_common(1)[0][0]


class StageClock:
    """Seconds of each stage of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage], self._last = round(now - self._last, 2), now


def open_output(request: RunRequest, engine: Engine, out: Path, resume: bool) -> OutputFolder:
    """Make or take over the output folder of a run.

    Raises
    ------
    OutputError, IntegrityError
        When the folder holds something else, is in use, or is damaged.
    """
    try:
        return OutputFolder.open(out, fingerprint(request, engine), resume=resume)
    except OtherRunError as error:
        differences = _differences(request, engine, out, error.manifest)
        raise OutputError(
            f"{out} has the run of another configuration: {differences}; continue with what it was begun with, or "
            "choose another folder"
        ) from error


def _differences(request: RunRequest, engine: Engine, out: Path, begun: Manifest) -> str:
    """Return what an interrupted run was begun with and what it is now, as far as the folder says."""
    before, now, generator = _flat(begun.config), _flat(request.config.to_json()), engine.generator
    pairs: dict[str, tuple[object, object]] = {
        name: (before.get(name), now[name]) for name in now if name not in _DO_NOT_CHANGE_SAMPLES
    }
    pairs["weights of the generator"] = (
        begun.generator.sha256 if begun.generator else None,
        generator.sha256 if generator else None,
    )
    pairs["labels of the data set"] = (begun.dataset.fingerprint, request.dataset.fingerprint())
    pairs["plan"] = (_plan_sha256(read_json(inside(out, PLAN_NAME), "the plan")), _plan_sha256(request.plan.to_dict()))
    found = [f"{name} was {shown(old)} and is {shown(new)}" for name, (old, new) in pairs.items() if old != new]
    if found:
        return ", ".join(found)
    return (
        f"it was begun with other models or candidates, or by a version of faceaug that makes other samples "
        f"({begun.created_by.faceaug}, now {__version__})"
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of thresholds beside the others, as thresholds.held_out."""
    thresholds = settings.get("thresholds") or {}
    return {**settings, "thresholds": None, **{f"thresholds.{name}": value for name, value in thresholds.items()}}


def _plan_sha256(plan: Any) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def fingerprint(request: RunRequest, engine: Engine) -> str:
    """Return a hash of all that decides which samples are made; only a run with the same one may continue."""
    settings = {k: v for k, v in request.config.to_json().items() if k not in _DO_NOT_CHANGE_SAMPLES}
    parts = {
        "dataset": request.dataset.fingerprint(),
        "plan": request.plan.to_dict(),
        "config": settings,
        "engine": engine.identity,
        "sample_stream": SAMPLE_STREAM,
    }
    try:
        text = json.dumps(parts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        names = " and ".join(engine.names)
        raise FaceaugError(f"the identity of the engine {names} must be of JSON values: {one_line(error)}") from error
    return hashlib.sha256(text.encode()).hexdigest()


def read_images(request: RunRequest, progress: StageProgress) -> SourceImages:
    """Read all images of the data set as thumbnails.

    Raises
    ------
    ImageError
        When an image cannot be read.
    """
    total = len(request.dataset)
    progress("reading", 0, total)
    dataset, workers = request.dataset, request.config.workers
    thumbnails, infos = load_thumbnails(dataset, THUMBNAIL_SIDE, workers)
    digests = tuple(image_digests(dataset.encoded, total, workers))
    progress("reading", total, total)
    return SourceImages(thumbnails, infos, digests, common_aspect(dataset))


def begin_output(
    request: RunRequest, engine: Engine, images: SourceImages, output: OutputFolder, created_by: CreatedBy
) -> None:
    """Write the plan and the first manifest, unless an interrupted run has.

    Raises
    ------
    UsageError
        When the layout cannot hold the images.
    OutputError
        When the interrupted run had other images under the same names.
    """
    config = request.config
    sizes = {(info.height, info.width) for info in images.infos}
    if config.layout == "raw" and engine.takes_image_sizes and len(sizes) > 1:
        raise UsageError(
            f"the images of {request.dataset.name} have {len(sizes)} different sizes, samples take these sizes, and "
            "--layout raw holds images of one size: use the layout blob"
        )
    dataset = _dataset_record(request, images)
    if output.started:
        _check_images(output, dataset)
        return
    header = ManifestHeader(
        created_by=created_by,
        seed=config.seed,
        generator=engine.generator,
        dataset=dataset,
        layout=config.layout,
        codec=config.image_format or images.commonest_codec(),
        columns=_columns(engine),
        config=config.to_json(),
    )
    output.begin(header, [_cell_record(cell) for cell in request.plan.cells], request.plan.to_dict())


def prepare_engine(engine: Engine, images: SourceImages, output: OutputFolder, progress: StageProgress) -> Preparation:
    """Let the engine learn what it needs, and note in the manifest what that was."""
    folder = output.path / MODELS_FOLDER
    folder.mkdir(exist_ok=True)
    codec = output.manifest.codec
    stored_codec = codec if output.manifest.layout == "blob" else None
    preparation = engine.prepare(PreparationInputs(images.thumbnails, codec, stored_codec, folder, progress))
    for path in folder.glob(".*.tmp"):  # of a run that was killed while it wrote
        path.unlink()
    written = {path.name for path in folder.iterdir()}
    if written != set(preparation.files):
        unlisted = one_line(", ".join(sorted(written ^ set(preparation.files))))
        name = " and ".join(engine.names)
        raise FaceaugError(f"the engine {name} must list the files that it keeps in {folder}: {unlisted}")
    if not written:
        folder.rmdir()
    output.describe(
        files=[f"{MODELS_FOLDER}/{name}" for name in preparation.files],
        directions=preparation.directions,
        classifiers=preparation.classifiers,
    )
    return preparation


def find_copies(request: RunRequest, images: SourceImages) -> RealCopies | None:
    """Return the real images, of which samples must be no copies; None where the threshold refuses none."""
    limit = request.config.thresholds.resemblance
    return RealCopies(images.thumbnails, images.digests, images.aspect, limit) if limit < 1 else None


def write_results(
    output: OutputFolder, preparation: Preparation, stages: dict[str, float], accounting: Accounting
) -> Manifest:
    """Write the table of samples, refused pictures, the data card and the last manifest.

    The manifest states the seconds of this call for reading, and those of all calls for fitting and synthesis.
    """
    metrics: dict[str, Any] = dict(preparation.metrics)
    seconds = {**stages, **metrics.get("seconds", {}), "synthesis": round(accounting.seconds(), 2)}
    measured = {**metrics, "resemblance": accounting.real_resemblance(), "seconds": seconds}
    kept = accounting.refused_pictures.kept
    if kept:
        write_refused(output.path, kept)
    return output.finish(measured=measured, files=[REFUSED_NAME] if kept else [])


def write_report(request: RunRequest, out: Path, progress: StageProgress) -> None:
    """Write the report, if it is wanted and is not there yet."""
    if request.config.report and not (out / REPORT_PAGE).exists():
        progress("report", 0, 1)
        build_report(out, request.dataset)
        progress("report", 1, 1)


def _columns(engine: Engine) -> tuple[Column, ...]:
    """Return an engine's columns, with that of the engines' names where others than the built-in ones take part."""
    extra = () if set(engine.names) <= set(BUILT_IN_ENGINES) else (engine_column(engine.names),)
    return (*engine.columns, *extra)


def _dataset_record(request: RunRequest, images: SourceImages) -> DatasetRecord:
    dataset = request.dataset
    return DatasetRecord(
        name=dataset.name,
        fingerprint=dataset.fingerprint(),
        images=images.sha256,
        rows=len(dataset),
        reader=dataset.reader,
        split=dataset.split,
        follow_links=dataset.follow_links,
    )


def _check_images(output: OutputFolder, dataset: DatasetRecord) -> None:
    before = output.manifest.dataset.images
    if before not in (None, dataset.images):
        raise OutputError(
            f"the images of {dataset.name} are not those with which the run in {output.path} began (SHA-256 {before}, "
            f"now {dataset.images}); put the former ones back, or start in another folder"
        )


def _cell_record(cell: Any) -> CellRecord:
    return CellRecord.planned_only(cell.index, cell.levels, real=cell.real, wanted=cell.wanted, planned=cell.planned)
