"""The engine `generator`: generated faces near a cell, edited by guided extrapolation (docs/method.md, section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.classifiers.training import tasks_of
from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import synthesize
from faceaug.measurement.estimator import FaceEstimator
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import Column
from faceaug.shards.manifest import GeneratorRecord, ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.acceptance.gates import all_gates, gate_identities
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.pose_readout import LearnedDirections, find_directions, learned_directions
from faceaug.synthesis.engines.base import BlockResult, Engine, Preparation, PreparationInputs
from faceaug.synthesis.engines.latent.latent_editor import EDIT_BLOCK, LatentEditor
from faceaug.synthesis.estimate import RunEstimate, latent_edit_estimate
from faceaug.synthesis.fitted_models import MODEL_FILES, FitInputs, fit_models
from faceaug.synthesis.label_classifiers import GUIDANCE_FILE, HELD_OUT_FILE
from faceaug.synthesis.latent_survey import DIRECTIONS_FILE
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import latent_edit_columns
from faceaug.utils.files import sha256_file

SAMPLES_PER_COORDINATE = 2  # with fewer surveyed faces for each coordinate of w, directions are mostly chance


def create_engine(request: RunRequest) -> Engine:
    """Load the generator and its directions, and return the engine that edits its faces or inverted real ones.

    Raises
    ------
    UsageError
        When the generator or the settings do not allow it.
    DatasetError
        When an attribute cannot be learnt.
    GeneratorError, IntegrityError
        When the generator or its directions cannot be loaded.
    """
    return engine_of(request, loaded_generator(request.config))


def engine_of(request: RunRequest, generator: Generator) -> Engine:
    """Return the engine of `create_engine` for a generator that is loaded already."""
    learned = prepared_directions(request, generator)
    engine: Engine
    if request.config.from_real:
        from faceaug.synthesis.engines.latent.inversion_edit import InversionEngine

        engine = InversionEngine(request, generator, learned)
    else:
        engine = LatentEditEngine(request, generator, learned)
    check_labels(request)
    return engine


def prepared_directions(request: RunRequest, generator: Generator) -> LearnedDirections | None:
    """Return the directions found without labels, once the generator is known to allow edits.

    Raises
    ------
    UsageError, IntegrityError
        As `create_engine`.
    """
    _check_generator(request.config, generator)
    return _learned_directions(request, generator)


def check_labels(request: RunRequest) -> None:
    """Refuse what cannot be learnt, before anything is written.

    Raises
    ------
    DatasetError
    """
    if request.plan.total:
        tasks_of(request.dataset.table, list(request.axes))


def loaded_generator(config: RunConfig) -> Generator:
    """Return the generator of a configuration; one that is given as an object stays on its device."""
    given = config.generator
    return load_generator(given, config.device) if isinstance(given, str | Path) else given


def reconstruction_file(config: RunConfig) -> str | Path | None:
    """Return the file of what measures view and light, where a file is given."""
    given = config.reconstruction
    return None if isinstance(given, FaceEstimator) else given


def _check_generator(config: RunConfig, generator: Generator) -> None:
    precision = getattr(getattr(generator, "config", None), "precision", "float32")
    if precision != "float32":
        raise UsageError(
            f"{generator.name!r} computes in {precision}, which changes images: samples are made in float32"
        )
    least = SAMPLES_PER_COORDINATE * generator.w_dim
    if config.survey_samples < least:
        raise UsageError(
            f"survey_samples is {config.survey_samples}, but directions in the {generator.w_dim} coordinates of "
            f"{generator.name!r} need at least {least}"
        )


def _learned_directions(request: RunRequest, generator: Generator) -> LearnedDirections | None:
    """Return directions found without labels; columns count as measured where their own network measured them."""
    config = request.config
    bundle = find_directions(generator, config.directions, reconstruction_file(config))
    if bundle is None:
        return None
    measured = request.dataset.measured
    if measured is None or measured.by != bundle.reconstruction:
        return learned_directions(bundle)
    return learned_directions(bundle, [name for name in measured.names if name in FACTOR_NAMES], measured.aligned)


class LatentEditBase:
    """What engines that edit the latents of a generator have in common.

    Parameters
    ----------
    request : RunRequest
    generator : Generator
    learned : LearnedDirections, optional
        Directions found without labels in this generator.
    """

    names = ("generator",)

    def __init__(self, request: RunRequest, generator: Generator, learned: LearnedDirections | None) -> None:
        self.request, self.source_generator, self.learned = request, generator, learned
        self._editor: LatentEditor | None = None

    @property
    def editor(self) -> LatentEditor:
        """What edits and decides; there once the engine is prepared."""
        assert self._editor is not None, "an engine is prepared before it proposes"
        return self._editor

    @property
    def columns(self) -> tuple[Column, ...]:
        measured = None if self.learned is None else self.learned.measured
        request = self.request
        return latent_edit_columns(request.plan.axes, request.tasks, request.config.harmonize, measured)

    @property
    def generator(self) -> GeneratorRecord:
        source = self.source_generator
        return GeneratorRecord(
            name=source.name,
            sha256=source.sha256,
            licence=source.licence,
            origin=source.origin,
            w_dim=source.w_dim,
        )

    @property
    def takes_image_sizes(self) -> bool:
        return self.request.config.harmonize

    @property
    def identity(self) -> Mapping[str, Any]:
        learned, generator = self.learned, self.source_generator
        return {
            # One file synthesizes other images with another truncation or noise.
            "generator": [generator.sha256, getattr(generator, "synthesis_key", None)],
            "learned_directions": learned
            and [learned.bundle.directions.sha256(), learned.bundle.reconstruction, learned.measured, learned.aligned],
            "gates": gate_identities(),
        }

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self.editor.models.real.hashes

    def estimate(self) -> RunEstimate:
        return latent_edit_estimate(self.request, self.source_generator)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Fit classifiers and directions, or read those of an interrupted run."""
        config = self.request.config
        models = fit_models(FitInputs(self.request, inputs, self.source_generator, self.learned))
        self._editor = LatentEditor(
            self.source_generator, models, all_gates(), config, inputs.stored_codec, self.request.plan.cells
        )
        files = files_in(inputs.folder, MODEL_FILES)
        classifiers = tuple(
            model_record(inputs.folder, name) for name in (GUIDANCE_FILE, HELD_OUT_FILE) if name in files
        )
        return Preparation(files, model_record(inputs.folder, DIRECTIONS_FILE), classifiers, models.metrics)

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        """Yield hashes of a shard's edited faces as they were before harmonization, synthesized from their latents."""
        if "w" not in reader.keys:
            return
        w = np.asarray(reader.column("w")[reader.made_by(self.names[0])])
        for start in range(0, len(w), 256):
            part = w[start : start + 256]
            images = synthesize(self.source_generator, part, self.request.config.batch_size)
            yield from hashes(self.editor.models.reader.view(images))


class LatentEditEngine(LatentEditBase):
    """Edits generated faces; an `Engine`."""

    def unreachable(self, cell: PlannedCell) -> str:
        return self.editor.unreachable(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks that hold `tries` attempts for each planned sample; at least two."""
        return max(2, math.ceil(cell.planned * self.request.config.tries / EDIT_BLOCK))

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        return self.editor.propose(cell, block)


def model_record(folder: Path, name: str) -> ModelRecord:
    """Return how the manifest names a file of models: by its stem and its hash."""
    return ModelRecord(name=Path(name).stem, sha256=sha256_file(folder / name))


def files_in(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of `names` that are files of a folder."""
    return tuple(name for name in names if (folder / name).exists())
