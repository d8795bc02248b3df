"""Runs on toy faces that are quick."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from faceaug.synthesis.config import AcceptanceThresholds, ConfigModel, RunConfig

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.planning.plan import Plan
    from faceaug.synthesis.engines.base import PreparationInputs
    from faceaug.synthesis.fitted_models import FittedModels
    from faceaug.utils.images import Codec
    from faceaug.utils.threads import StageProgress

_Config = TypeVar("_Config", bound=ConfigModel)

LOOSE = AcceptanceThresholds(
    drift=1.0, spill=5.0, realistic=1.0, face_quality=0.0, exposure=0.0, duplicate_bits=4, resemblance=1.0
)
"""Thresholds that toy faces can pass, which are no faces. What each gate refuses is tested with the gates."""
QUICK = RunConfig(
    engine="generator",
    survey_samples=256,
    workers=1,
    thresholds=LOOSE,
    report=False,
    corrections=2,
    origins=4,
)
"""A run of seconds that edits toy faces, with `make_small`."""


def changed(config: _Config, **values: Any) -> _Config:
    """Return a configuration with other values, checked as those of users are."""
    return type(config)(**{**dict(config), **values})


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace training by classifiers that read toy faces exactly, and make blocks, searches and shards small."""
    from fakes import ToyReader, toy_classifier

    from faceaug.classifiers import networks
    from faceaug.classifiers.training import TrainedClassifiers
    from faceaug.shards.output_folder import OutputFolder

    def exact_classifiers(images, tasks, labels, *, seed, measured, config, progress):
        progress(1, 1)
        labelled = [task for task in tasks if task.name not in measured]
        guidance = toy_classifier("residual", labelled, 4.0, 0.0, seed) if labelled else None
        held_out = toy_classifier("plain", tasks, 3.0, 0.05, seed + 1)
        return TrainedClassifiers(guidance, held_out, {"guidance": [], "held_out": []})

    for name in ("residual", "plain"):
        monkeypatch.setitem(networks.TRUNKS, name, ToyReader.trunk)
    monkeypatch.setattr("faceaug.synthesis.label_classifiers.train_classifiers", exact_classifiers)
    leave_face_quality_untrained(monkeypatch)
    make_blocks_small(monkeypatch)
    monkeypatch.setattr("faceaug.synthesis.stages.OutputFolder.open", functools.partial(OutputFolder.open, max_rows=8))


def leave_face_quality_untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the classifier of face quality by one that has learnt nothing."""
    from faceaug.classifiers.classifier import Calibration, Classifier, new_net
    from faceaug.classifiers.face_quality import FACE_QUALITY_TASK

    def untrained(real, intact, distorted, seed, config, progress):
        net, calibration = new_net("plain", [FACE_QUALITY_TASK], seed), Calibration(bias=(0.0, 0.0))
        return Classifier(net, "plain", [FACE_QUALITY_TASK], [calibration])

    for place in ("fitted_models", "engines.external.standards"):
        monkeypatch.setattr(f"faceaug.synthesis.{place}.train_face_quality", untrained)


def make_blocks_small(monkeypatch: pytest.MonkeyPatch, block: int = 8, offspring: int = 16) -> None:
    """Let blocks of edits be of `block` attempts, and searches of one generation of `offspring` mixtures."""
    engines = "faceaug.synthesis.engines.latent"
    for place in ("latent_editor", "latent_edit"):
        monkeypatch.setattr(f"{engines}.{place}.EDIT_BLOCK", block)
    monkeypatch.setattr(f"{engines}.latent_editor.OFFSPRING", offspring)
    monkeypatch.setattr(f"{engines}.latent_editor.GENERATIONS", 1)


def make_inversion_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train an encoder for a moment, invert in a few steps, and know the directions of toy faces."""
    from toy_directions import toy_directions

    from faceaug.inversion import inverter
    from faceaug.inversion.encoder import EncoderConfig
    from faceaug.synthesis.engines.latent import fitted_inversion

    encoder = EncoderConfig(samples=200, steps=8, batch_size=16)
    train = functools.partial(inverter.train_inverter, config=encoder)
    monkeypatch.setattr(fitted_inversion, "train_inverter", train)
    monkeypatch.setattr(inverter, "INVERSION_STEPS", 40)
    monkeypatch.setattr(fitted_inversion, "SURVEYED_PHOTOGRAPHS", 40)
    monkeypatch.setattr(fitted_inversion, "EVALUATED", 4)
    monkeypatch.setattr("faceaug.synthesis.engines.latent.inversion_edit.INVERSION_BLOCK", 8)
    monkeypatch.setattr("faceaug.synthesis.engines.latent.latent_edit._learned_directions", lambda *_: toy_directions())


def make_rerender_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warp on a coarse grid, and let blocks of rerendered faces be of four attempts."""
    monkeypatch.setattr("faceaug.reconstruction.warp.GRID", 32)
    monkeypatch.setattr("faceaug.synthesis.engines.rerendering.rerender.RERENDER_BLOCK", 4)


def small_plan(dataset: FaceDataset, by: str, total: int) -> Plan:
    """Return a plan of `total` samples, shared among the cells."""
    from faceaug.analysis.analyze import analyze
    from faceaug.planning.plan import Budget, plan

    return plan(analyze(dataset, by), "min:200", Budget(max_total=total))


def preparation_inputs(
    dataset: FaceDataset, folder: Path, codec: Codec = "png", progress: StageProgress | None = None
) -> PreparationInputs:
    """Return what an engine is prepared with."""
    from faceaug.datasets.thumbnails import load_thumbnails
    from faceaug.synthesis.engines.base import PreparationInputs

    return PreparationInputs(load_thumbnails(dataset, 64)[0], codec, codec, folder, progress or (lambda *_: None))


def fit_toys(
    dataset: FaceDataset,
    folder: Path,
    *,
    by: str = "bar,spot:-3/0/3",
    config: RunConfig = QUICK,
    codec: Codec = "png",
    progress: StageProgress | None = None,
    **given: Any,
) -> FittedModels:
    """Fit what edits of toy faces need, or read it from the folder; `given` replaces fields of the inputs."""
    from dataclasses import replace

    from fakes import ToyFaces

    from faceaug.synthesis.fitted_models import FitInputs, fit_models
    from faceaug.synthesis.request import check_request

    request = check_request(dataset, small_plan(dataset, by, 8), config)
    inputs = FitInputs(request, preparation_inputs(dataset, folder, codec, progress), ToyFaces(), None)
    return fit_models(replace(inputs, **given))
