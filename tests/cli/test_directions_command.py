"""`faceaug directions`: the contents of a file as text and as JSON, an atlas, and refusals in one sentence."""

from __future__ import annotations

import pytest
from bundles import NAMES, small_bundle
from fakes import BlockGenerator


@pytest.fixture
def file(tmp_path):
    small_bundle().save(tmp_path / "d.safetensors")
    return tmp_path / "d.safetensors"


@pytest.fixture
def blocks(monkeypatch):
    """Make the fake generator of the bundle, and another one, loadable by name."""
    generators = {"blocks-6-0": BlockGenerator(6), "other": BlockGenerator(6, seed=1)}
    monkeypatch.setattr("faceaug.generators.registry.load_generator", lambda name, device="cpu": generators[name])


def test_show(faceaug_cli, file):
    outcome = faceaug_cli("directions", "show", file)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "generator: blocks-6-0"
    assert lines[2] == f"weights' hash: {small_bundle().reconstruction}"
    for name in NAMES:
        assert sum(f" {name} " in line for line in lines) == 1
    mouth = next(line for line in lines if " mouth_texture_1 " in line)
    assert " ".join(mouth.split()).startswith("mouth_texture_1 texture atom standard deviations mouth 100% 0.70 ")
    assert max(map(len, lines[4:])) <= 100


def test_show_as_json(faceaug_cli, file):
    bundle = small_bundle()
    shown = faceaug_cli("directions", "show", file, "--json").json
    assert shown["generator"] == bundle.directions.generator
    assert shown["reconstruction"] == bundle.reconstruction
    assert [line["name"] for line in shown["semantics"]] == list(NAMES)
    yaw, _, mouth, *_ = shown["semantics"]
    assert (yaw["kind"], yaw["unit"], yaw["region"]) == ("view", "degrees", None)
    assert yaw["seen"] == list(bundle.ranges[0])
    assert (mouth["region"], mouth["region_share"], mouth["r2"]) == ("mouth", 1.0, pytest.approx(0.7))


def test_show_directions_without_a_face(faceaug_cli, tmp_path):
    small_bundle().directions.save(tmp_path / "old.safetensors")
    shown = faceaug_cli("directions", "show", tmp_path / "old.safetensors", "--json").json
    assert {line["seen"] for line in shown["semantics"]} == {None}
    text = faceaug_cli("directions", "show", tmp_path / "old.safetensors")
    assert text.status == 0
    assert "yaw" in text.out


def test_atlas(faceaug_cli, file, tmp_path, blocks):
    outcome = faceaug_cli("directions", "atlas", file, "-o", tmp_path / "new" / "atlas", "--faces", "2")
    assert (outcome.status, outcome.out) == (0, "")
    assert "index.html" in outcome.err
    assert len(list((tmp_path / "new" / "atlas").glob("*.png"))) == len(NAMES)
    assert faceaug_cli("directions", "atlas", file, "-o", tmp_path / "new" / "atlas", "-q").err == ""


def test_atlas_with_another_generator(faceaug_cli, file, tmp_path, blocks):
    outcome = faceaug_cli("directions", "atlas", file, "-o", tmp_path / "atlas", "--generator", "other")
    assert outcome.status == 1
    assert outcome.err.startswith("Error: these directions were made for the generator")
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "atlas").exists()


def test_atlas_needs_to_know_the_generator(faceaug_cli, tmp_path):
    small_bundle(generator_name="").save(tmp_path / "d.safetensors")
    outcome = faceaug_cli("directions", "atlas", tmp_path / "d.safetensors", "-o", tmp_path / "atlas")
    assert outcome.status == 2
    assert "--generator NAME" in outcome.err


@pytest.mark.parametrize("command", [["show"], ["atlas", "-o", "atlas"]])
@pytest.mark.parametrize("content", [None, b"", b"hello", b'\x08\0\0\0\0\0\0\0{"a":1}'])
def test_other_files_are_refused(faceaug_cli, tmp_path, command, content):
    file = tmp_path / "d.safetensors"
    if content is not None:
        file.write_bytes(content)
    outcome = faceaug_cli("directions", command[0], file, *command[1:])
    assert outcome.status == 1
    assert str(file) in outcome.err
    assert len(outcome.err.splitlines()) == 1
