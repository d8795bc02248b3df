"""`faceaug discover`: one command from a generator to a file, and how it stops."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from quick_discovery import QUICK
from quick_discovery import discovered as discovered

from faceaug.discovery import discover as discovery
from faceaug.errors import GeneratorError
from faceaug.latents.bundle import read_bundle
from faceaug.reconstruction.synthetic_scenes import Scenes

LOAD_GENERATOR = "faceaug.generators.registry.load_generator"


@pytest.fixture
def small(monkeypatch):
    """Scenes as the generator, and short trainings where the command line has no option."""
    monkeypatch.setattr(LOAD_GENERATOR, lambda name, device: Scenes(16))
    whole = discovery.discover

    def short(generator, out, config, run):
        schedule = replace(QUICK.schedule, steps=config.schedule.steps)
        return whole(generator, out, replace(QUICK, samples=config.samples, schedule=schedule), run)

    monkeypatch.setattr(discovery, "discover", short)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_it_writes_the_file_when_the_time_is_up_and_continues(faceaug_cli, discovered, tmp_path):
    out, log = tmp_path / "d.safetensors", tmp_path / "d.work" / "network" / "log.jsonl"
    # What comes before the network has been trained, with the same settings.
    shutil.copytree(discovered / "directions.work", tmp_path / "d.work", ignore=shutil.ignore_patterns("network"))
    command = ("discover", "-o", out, "--steps", QUICK.schedule.steps, "--samples", QUICK.samples)
    again = faceaug_cli(*command)
    assert again.status == 1
    assert "holds a run: continue it with --resume" in again.err
    outcome = faceaug_cli(*command, "--resume", "--minutes", 0, "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads(log.read_text().splitlines()[-1])["step"] == 1  # at least one step
    assert outcome.json["atoms"] == QUICK.atoms
    assert outcome.json["semantics"] == len(outcome.json["r2"]) == 11 + QUICK.atoms
    assert "directions show" in outcome.err
    assert read_bundle(out).made_by.startswith("faceaug discover -o")
    resumed = faceaug_cli(*command, "--resume", "-q")
    assert resumed.status == 0
    assert "held-out R²: yaw" in resumed.out
    assert resumed.err == ""
    assert json.loads(log.read_text().splitlines()[-1])["step"] == QUICK.schedule.steps


def test_an_interruption_says_how_to_continue(faceaug_cli, tmp_path, monkeypatch):
    def interrupted(generator, out, config, run):
        run.work.mkdir()
        (run.work / "linear").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(LOAD_GENERATOR, lambda name, device: Scenes(16))
    monkeypatch.setattr(discovery, "discover", interrupted)
    outcome = faceaug_cli("discover", "-o", tmp_path / "d.safetensors")
    assert outcome.status == 130
    assert f"kept in {tmp_path / 'd.work'}: run the same command with --resume" in outcome.err


def test_a_generator_without_statistics_is_one_sentence(faceaug_cli, tmp_path, monkeypatch):
    bare = Scenes(16)
    bare.w_covariance = None
    monkeypatch.setattr(LOAD_GENERATOR, lambda name, device: bare)
    outcome = faceaug_cli("discover", "-o", tmp_path / "d.safetensors")
    assert outcome.status == 1
    assert outcome.err.startswith("Error: the generator 'scenes' has no usable mean and covariance of w")
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_generator_is_refused_first(faceaug_cli, tmp_path, monkeypatch):
    def missing(name, device):
        raise GeneratorError(f"there is no generator {name!r}")

    monkeypatch.setattr(LOAD_GENERATOR, missing)
    outcome = faceaug_cli("discover", "--generator", "nobody", "-o", tmp_path / "d.safetensors")
    assert (outcome.status, outcome.err) == (1, "Error: there is no generator 'nobody'\n")
