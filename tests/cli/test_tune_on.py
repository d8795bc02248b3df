"""`faceaug discover --tune-on`: what reaches the fine-tuning, what the command prints, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bundles import small_bundle
from fakes import BlockGenerator

from faceaug.discovery import finetune as module
from faceaug.reconstruction.training.finetuning import FinetuneSchedule
from faceaug.utils.images import encode

FIGURES = dict(
    photographs=3,
    faces=2,
    steps=40,
    ended="all steps were done",
    error_on_photographs=[0.2, 0.15],
    error_on_samples=[0.1, 0.101],
    drift=0.05,
)


@pytest.fixture
def calls(monkeypatch):
    """Replaces the fine-tuning and keeps its arguments."""
    arguments = []

    def finetune(generator, out, dataset, start, config, run):
        arguments.append(SimpleNamespace(dataset=dataset, start=start, config=config, run=run))
        directions = SimpleNamespace(names=("yaw", "pitch", "roll", "light_x", "light_y"), r2=start.directions.r2)
        return module.FinetuneResult(SimpleNamespace(directions=directions, atoms=start.atoms), FIGURES)

    monkeypatch.setattr(module, "finetune", finetune)
    monkeypatch.setattr("faceaug.generators.registry.load_generator", lambda name, device: BlockGenerator(6))
    return arguments


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "faces"
    place.mkdir()
    for k in range(3):
        image = np.random.default_rng(k).integers(0, 255, (30, 30, 3), dtype=np.uint8)
        (place / f"{k}.png").write_bytes(encode(image, "png"))
    return place


@pytest.fixture
def start(tmp_path):
    file = tmp_path / "directions.safetensors"
    small_bundle().save(file)
    return file


def test_every_option_reaches_the_finetuning_and_its_figures_are_printed(faceaug_cli, folder, start, tmp_path, calls):
    out = tmp_path / "tuned.safetensors"
    words = ("discover", "--tune-on", folder, "--from", start, "-o", out, "--samples", 500, "--aligned", "--seed", 3)
    outcome = faceaug_cli(*words, "--json")
    assert outcome.status == 0, outcome.err
    (call,) = calls
    config = call.config
    assert (config.schedule.steps, config.schedule.seed, config.aligned) == (FinetuneSchedule.steps, 3, True)
    assert (config.discovery.samples, config.discovery.seed, call.run.resume) == (500, 3, False)
    assert (len(call.dataset), call.start.generator_name) == (3, small_bundle().generator_name)
    assert call.run.command.startswith("faceaug discover --tune-on")
    assert outcome.json["finetuning"] == FIGURES
    sentence = "Fine-tuned on 2 faces in 40 steps (all steps were done): error on held-out photographs 0.2000 -> "
    assert sentence in outcome.err
    faceaug_cli(*words, "--steps", 7, "--resume", "--quiet")
    assert (calls[1].config.schedule.steps, calls[1].run.resume) == (7, True)


@pytest.mark.usefixtures("calls")
def test_invalid_options_are_one_sentence(faceaug_cli, folder, start, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "tuned.safetensors"
    outcome = faceaug_cli("discover", "--tune-on", empty, "--from", start, "-o", out)
    assert (outcome.status, "no images are in" in outcome.err) == (1, True)
    monkeypatch.setattr("faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "none.safetensors")
    outcome = faceaug_cli("discover", "--tune-on", folder, "-o", out)
    assert (outcome.status, "name their file as --from FILE" in outcome.err) == (1, True)
    for words, reason in (
        (("--from", start), "--from goes with --tune-on"),
        (("--aligned",), "--aligned goes with --tune-on"),
        (("--tune-on", folder, "--side", "16"), "--side is for a network that is trained anew"),
    ):
        outcome = faceaug_cli("discover", "-o", out, *words)
        assert (outcome.status, reason in outcome.err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directions.safetensors", "empty", "faces"]
