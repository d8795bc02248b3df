"""Fine-tuning from end to end: from photographs and a directions file to another such file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_estimator import still_aligner
from quick_discovery import QUICK
from quick_discovery import discovered as discovered

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.discovery import finetune as module
from faceaug.discovery.config import (
    CALIBRATION_STAGE,
    CROP_STAGE,
    FACTOR_STAGE,
    FINETUNE_STAGE,
    SYNTHESIS_STAGE,
    TURN_STAGE,
    VIEW_READER_STAGE,
    DiscoveryRun,
)
from faceaug.discovery.finetune import FinetuneConfig, FinetuneResult, finetune
from faceaug.errors import DatasetError, GeneratorError, OutputError
from faceaug.generators.pool import sample_pool
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.measurement.measure import estimator_from_bundle, load_estimator
from faceaug.reconstruction.networks import export_weights
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.finetuning import FinetuneSchedule
from faceaug.utils.images import encode

pytestmark = pytest.mark.slow

SHORT = FinetuneConfig(FinetuneSchedule(steps=5, batch_size=8), QUICK, aligned=True, min_faces=20, held_out_samples=40)


@pytest.fixture(scope="module")
def start(discovered) -> Bundle:
    """A discovery whose estimator accepts all faces: a network of a few steps estimates nothing with confidence."""
    bundle = read_bundle(discovered / "directions.safetensors")
    still = {f"alignment.{name}": value.numpy() for name, value in still_aligner().state().items()}
    limits = np.array([1e6, 1e6, 1e6, -99.0])
    return replace(bundle, weights={**bundle.weights, **still, "calibration.limits": limits})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of faces, a little dark, and one without a face."""
    place = tmp_path_factory.mktemp("photographs") / "faces"
    place.mkdir()
    for k, image in enumerate((sample_pool(Scenes(32), 30, 9, 32).images * 0.8).byte().permute(0, 2, 3, 1).numpy()):
        (place / f"{k:02d}.png").write_bytes(encode(image, "png"))
    (place / "blank.png").write_bytes(encode(np.zeros((40, 40, 3), np.uint8), "png"))
    return place


def finetuned(folder, start, out, config=SHORT, **run) -> FinetuneResult:
    dataset = load_dataset(folder, options=LoadOptions(needs_labels=False))
    return finetune(Scenes(16), out, dataset, start, config, DiscoveryRun(**run))


def test_the_file_can_take_the_place_of_the_one_it_started_from(folder, start, tmp_path):
    out = tmp_path / "tuned.safetensors"
    stages = []
    result = finetuned(
        folder,
        start,
        out,
        progress=lambda stage, *_: stages.append(stage),
        command="faceaug discover --tune-on faces/",
    )
    assert list(dict.fromkeys(stages)) == [
        *(CROP_STAGE, SYNTHESIS_STAGE, FINETUNE_STAGE, TURN_STAGE, VIEW_READER_STAGE, FACTOR_STAGE, CALIBRATION_STAGE)
    ]
    again = read_bundle(out)
    again.directions.check_generator(Scenes(16).sha256)
    assert again.made_by == "faceaug discover --tune-on faces/"
    assert load_estimator(out).names[:6] == FACTOR_NAMES
    figures = json.loads((tmp_path / "tuned.work" / "finetuning.json").read_text())
    assert figures == result.figures
    assert (figures["photographs"], figures["faces"], figures["steps"]) == (31, 30, 5)
    assert figures["error_on_photographs"][1] <= figures["error_on_photographs"][0]
    # The alignment is that of the start.
    for name, value in load_estimator(out).aligner.state().items():
        assert np.array_equal(value, estimator_from_bundle(start).aligner.state()[name])


def test_an_interrupted_finetuning_continues(folder, start, tmp_path, monkeypatch):
    # The search for directions, which is that of `discover`, is left out.
    monkeypatch.setattr(module, "view_reader", lambda *_: None)
    monkeypatch.setattr(
        module, "fit_bundle", lambda generator, network, *_: replace(start, weights=export_weights(network))
    )
    monkeypatch.setattr(module, "add_estimator", lambda bundle, *_: bundle)
    out = tmp_path / "tuned.safetensors"

    def interrupt(stage, done, total, figures):
        if stage == FINETUNE_STAGE and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetuned(folder, start, out, progress=interrupt)
    assert not out.exists()
    with pytest.raises(OutputError, match="continue it with --resume"):
        finetuned(folder, start, out)
    stages = []
    resumed = finetuned(folder, start, out, resume=True, progress=lambda stage, *_: stages.append(stage))
    assert CROP_STAGE not in stages
    whole = finetuned(folder, start, tmp_path / "whole.safetensors")
    assert resumed.bundle.reconstruction == whole.bundle.reconstruction
    with pytest.raises(GeneratorError, match="another configuration"):
        finetuned(folder, start, out, replace(SHORT, schedule=replace(SHORT.schedule, steps=6)), resume=True)


def test_invalid_runs_are_refused(folder, start, tmp_path):
    with pytest.raises(DatasetError, match="30 faces were found on the 31 images of faces: fine-tuning needs at least"):
        finetuned(folder, start, tmp_path / "few.safetensors", replace(SHORT, min_faces=64))
    dataset = load_dataset(folder, options=LoadOptions(needs_labels=False))
    with pytest.raises(GeneratorError):
        finetune(Scenes(32), tmp_path / "x.safetensors", dataset, start, SHORT)
