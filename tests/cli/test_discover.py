"""`faceaug discover`: one command from a generator to a file, and how it stops."""

from __future__ import annotations

import json

import pytest

from faceaug import generators
from faceaug.discovery import discover as discovery
from faceaug.errors import GeneratorError
from faceaug.latents.bundle import read_bundle
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.network_trainer import ReconstructionSchedule


@pytest.fixture
def small(monkeypatch):
    """Scenes for the generator, and short stages for what the command line does not set."""
    monkeypatch.setattr(generators, "load_generator", lambda name, device: Scenes(16))
    whole = discovery.discover

    def short(generator, out, settings, **rest):
        schedule = ReconstructionSchedule(
            side=16, steps=settings.schedule.steps, distil=2, batch=4, pairs=1, refit_every=2
        )
        quick = discovery.DiscoveryConfig(
            draws=settings.draws, held_out=64, linear_steps=20, reader_steps=2, alignment_steps=2, weighed=64, atoms=4,
            schedule=schedule,
        )  # fmt: skip
        return whole(generator, out, quick, **rest)

    monkeypatch.setattr(discovery, "discover", short)


@pytest.mark.usefixtures("small")
def test_it_writes_the_file_and_tells_r2_also_when_the_time_is_up_and_then_goes_on(faceaug_cli, tmp_path):
    out, log = tmp_path / "d.safetensors", tmp_path / "d.work" / "network" / "log.jsonl"
    told = faceaug_cli("discover", "-o", out, "--steps", 4, "--draws", 420, "--minutes", 0, "--json")
    assert told.status == 0, told.err
    assert json.loads(log.read_text().splitlines()[-1])["step"] == 1  # at least one is done
    assert told.json["atoms"] == 4
    assert told.json["semantics"] == len(told.json["r2"]) == 15
    assert "directions show" in told.err
    assert read_bundle(out).made_by.startswith("faceaug discover -o")
    again = faceaug_cli("discover", "-o", out, "--steps", 4, "--draws", 420)
    assert again.status == 1
    assert "holds a run: continue it with --resume" in again.err
    resumed = faceaug_cli("discover", "-o", out, "--steps", 4, "--draws", 420, "--resume", "-q")
    assert resumed.status == 0
    assert "held-out R²: yaw" in resumed.out
    assert resumed.err == ""
    assert json.loads(log.read_text().splitlines()[-1])["step"] == 4


def test_an_interruption_says_how_to_go_on(faceaug_cli, tmp_path, monkeypatch):
    def interrupted(*_, work, **__):
        work.mkdir()
        (work / "linear").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(discovery, "discover", interrupted)
    told = faceaug_cli("discover", "--generator", "digiface", "-o", tmp_path / "d.safetensors")
    assert told.status == 130
    assert f"kept in {tmp_path / 'd.work'}: run the same command with --resume" in told.err


def test_a_generator_without_statistics_is_one_sentence(faceaug_cli, tmp_path, monkeypatch):
    bare = Scenes(16)
    bare.w_covariance = None
    monkeypatch.setattr(generators, "load_generator", lambda name, device: bare)
    told = faceaug_cli("discover", "-o", tmp_path / "d.safetensors")
    assert told.status == 1
    assert told.err.startswith("Error: the generator 'scenes' has no usable mean and covariance of w")
    assert told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_generator_is_looked_for_first(faceaug_cli, tmp_path, monkeypatch):
    def missing(name, device):
        raise GeneratorError(f"there is no generator {name!r}")

    monkeypatch.setattr(generators, "load_generator", missing)
    told = faceaug_cli("discover", "--generator", "nobody", "-o", tmp_path / "d.safetensors")
    assert (told.status, told.err) == (1, "Error: there is no generator 'nobody'\n")
