"""`faceaug generator`: facts about a generator, an image of its samples, and imports."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_files import network, nvidia_bytes, nvidia_module

from faceaug.generators.stylegan import initialize, save
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.utils.images import decode


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("generator") / "small.safetensors"
    save(initialize(StyleGAN2Config(8, z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8), 1), path)
    return path


def test_info(faceaug_cli, file):
    outcome = faceaug_cli("generator", "info", file)
    assert (outcome.status, outcome.err) == (0, "")
    message = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert (message["architecture"], message["resolution"], message["w_dim"]) == ("stylegan2", "8", "5")
    assert message["source_sha256"] == "none"
    found = faceaug_cli("generator", "info", file, "--json").json
    assert found["channel_max"] == 8
    assert found["source_sha256"] is None
    assert len(found["sha256"]) == 64


def test_sample(faceaug_cli, file, tmp_path):
    outcome = faceaug_cli("generator", "sample", file, "-n", 5, "-o", tmp_path / "grid.png")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == f"5 faces are in {tmp_path / 'grid.png'}\n"
    grid = decode((tmp_path / "grid.png").read_bytes())
    assert grid.shape == (16, 24, 3), "three in a row"
    assert (grid[8:, 16:] == 255).all()
    assert np.ptp(grid[:8, :8]) > 0
    again = faceaug_cli("generator", "sample", file, "-n", 2, "-q", "-o", tmp_path / "two.png")
    assert (again.status, again.err) == (0, "")
    assert (decode((tmp_path / "two.png").read_bytes()) == grid[:8, :16]).all(), "a face is that of its seed and number"


def test_sample_truncated_smaller_and_of_another_seed(faceaug_cli, file, tmp_path):
    def drawn(name, *more):
        assert faceaug_cli("generator", "sample", file, "-n", 1, "-q", "-o", tmp_path / name, *more).status == 0
        return decode((tmp_path / name).read_bytes()).astype(int)

    plain, mean = drawn("a.png"), drawn("b.png", "--truncation-psi", "0.000001")
    assert abs(drawn("c.png", "--truncation-psi", "0.5") - mean).sum() < abs(plain - mean).sum()
    assert (drawn("d.png", "--seed", "7") != plain).any()
    assert drawn("e.jpg", "--side", "16").shape == (16, 16, 3)
    rough = drawn("f.png", "--precision", "bfloat16")
    assert 0 < abs(rough - plain).mean() < 2, "grey levels"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-o", "grid.txt"], 2, "let it end in .png"),
        (["-o", "grid.png", "--truncation-psi", "0"], 1, "truncation psi is 0.0"),
        (["-o", "grid.png", "--precision", "float8"], 2, "'float8' is not one of"),
        (["-o", "nowhere/grid.png"], 1, "could not be written"),
        (["-o", "grid.png", "-n", "400", "--side", "2048"], 2, "give a --side"),
    ],
)
def test_refusals(faceaug_cli, file, tmp_path, monkeypatch, words, status, message):
    monkeypatch.chdir(tmp_path)
    outcome = faceaug_cli("generator", "sample", file, *words)
    assert (outcome.status, outcome.out) == (status, "")
    assert message in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def foreign(tmp_path):
    """A pickle as NVIDIA's training writes it."""
    config = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4, classes=2)
    (tmp_path / "faces.pkl").write_bytes(nvidia_bytes(nvidia_module(network(config))))
    return tmp_path / "faces.pkl"


def test_import(faceaug_cli, foreign, tmp_path):
    out = tmp_path / "faces.safetensors"
    words = [
        "--truncation-psi",
        "0.7",
        "--truncation-cutoff",
        "2",
        "--class",
        "1",
        "--licence",
        "CC BY 4.0",
        "--noise-mode",
        "none",
        "--name",
        "mine",
    ]
    outcome = faceaug_cli("generator", "import", foreign, "-o", out, *words)
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.startswith(f"The generator is in {out}")
    found = faceaug_cli("generator", "info", out, "--json").json
    message = {
        key: found[key]
        for key in ("name", "truncation_psi", "truncation_cutoff", "label", "classes", "noise_mode", "licence")
    }
    assert message == {
        "name": "mine",
        "truncation_psi": 0.7,
        "truncation_cutoff": 2,
        "label": 1,
        "classes": 2,
        "noise_mode": "none",
        "licence": "CC BY 4.0",
    }
    assert len(found["source_sha256"]) == 64
    assert faceaug_cli("generator", "sample", out, "-n", 1, "-q", "-o", tmp_path / "one.png").status == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["faces.pkl", "-o", "x.pkl"], 2, "let it end in .safetensors"),
        (["nothing.pkl", "-o", "x.safetensors"], 1, "cannot be read"),
        (["faces.pkl", "-o", "x.safetensors", "--class", "2"], 1, "it has the classes 0 to 1"),
        (["faces.pkl", "-o", "x.safetensors", "--truncation-psi", "3"], 1, "truncation psi is 3"),
        (["faces.pkl", "-o", "x.safetensors", "--name", " "], 1, "no name"),
        (["faces.pkl", "-o", "nowhere/x.safetensors"], 1, "could not be written"),
    ],
)
def test_imports_that_cannot_be(faceaug_cli, foreign, tmp_path, monkeypatch, words, status, message):
    monkeypatch.chdir(tmp_path)
    outcome = faceaug_cli("generator", "import", *words)
    assert (outcome.status, outcome.out) == (status, "")
    assert message in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["faces.pkl"]


def test_a_pointer_in_the_place_of_a_generator(faceaug_cli, tmp_path):
    (tmp_path / "faces.pkl").write_text("version https://git-lfs.github.com/spec/v1\nsize 7\n")
    outcome = faceaug_cli("generator", "import", tmp_path / "faces.pkl", "-o", tmp_path / "faces.safetensors")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "faces.pkl is a Git LFS pointer that stands for 7 bytes, where a .pkl" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["faces.pkl"]
