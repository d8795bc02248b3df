"""`faceaug generator train` and `evaluate`: from a folder of faces to a generator that other commands take."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from faceaug.gan_training import config as presets
from faceaug.gan_training import features
from faceaug.gan_training.features import FeatureExtractor
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan import initialize, save
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.utils.images import decode, encode


@pytest.fixture
def folder(tmp_path):
    """Seventy pictures of 16 pixels without labels."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for k in range(70):
        pixels = np.random.default_rng(k).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        (folder / f"{k:03d}.png").write_bytes(encode(pixels, "png"))
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The preset tiny, tinier; and features that need no other package."""
    small = replace(
        presets.PRESETS["tiny"],
        network=StyleGAN2Config(16, 8, 8, 2, 64, 8),
        discriminator_channel_base=64,
        discriminator_channel_max=8,
        batch_size=8,
        statistics_samples=50,
        log_every=1,
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", small)
    simple = FeatureExtractor(
        "Fréchet distance on EfficientNet-Lite0 features", {"simple": "1"}, lambda x: x.float().mean((2, 3))
    )
    monkeypatch.setattr(features, "load_efficientnet", lambda device="cpu": simple)


def tiny(faceaug_cli, folder, out, *more):
    return faceaug_cli(
        "generator", "train", folder, "-o", out, "--preset", "tiny", "--resolution", 16, "--device", "cpu", *more
    )


@pytest.mark.slow
def test_train_evaluate_and_sample(faceaug_cli, folder, tmp_path):
    out = tmp_path / "mine"
    outcome = tiny(faceaug_cli, folder, out, "--kimg", 0.04, "--curve", 40, "--snapshots", 2, "--json")
    assert outcome.status == 0, outcome.err
    assert (outcome.json["step"], outcome.json["images_seen"]) == (5, 40)
    assert outcome.json["frechet_least"] <= outcome.json["frechet"]
    assert "balance ... --generator" in outcome.err
    assert {file.name for file in out.iterdir()} == {
        "generator.safetensors",
        "best.safetensors",
        "checkpoint.safetensors",
        "log.jsonl",
        "grid.png",
        "grids",
    }
    found = load_generator(out / "generator.safetensors")
    assert found.w_covariance.shape == (8, 8)
    assert "54 images of faces and their mirror images" in found.origin
    assert "not stated" in found.licence

    outcome = faceaug_cli("generator", "evaluate", out, "--against", folder, "--device", "cpu")
    assert outcome.status == 0, outcome.err
    assert "stylegan2-16 against faces: 70 faces of each kind" in outcome.out
    assert "Fréchet distance on EfficientNet-Lite0 features" in outcome.out
    assert "two halves of the real" in outcome.out
    saved = json.loads((out / "evaluation.json").read_text())
    assert (saved["n"], saved["against"]) == (70, {"name": "faces", "images": 70})
    assert decode((out / "samples.png").read_bytes()).shape == decode((out / "real.png").read_bytes()).shape
    assert faceaug_cli("generator", "sample", out / "generator.safetensors", "-o", tmp_path / "s.png").status == 0


def points(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "frechet" in line]


@pytest.mark.slow
def test_a_short_run_has_one_snapshot_unless_more_are_requested(faceaug_cli, folder, tmp_path):
    for name, more, steps in (("a", (), [9]), ("b", ("--snapshots", 3), [3, 6, 9]), ("c", ("--snapshots", 2), [5, 9])):
        outcome = tiny(faceaug_cli, folder, tmp_path / name, "--kimg", 0.072, "--curve", 40, *more)
        assert outcome.status == 0, outcome.err
        assert points(tmp_path / name) == steps
        assert len(list((tmp_path / name / "grids").iterdir())) == len(steps)
    drawn = [(tmp_path / name / "generator.safetensors").read_bytes() for name in "ab"]
    assert drawn[0] == drawn[1], "evaluation changes nothing"


@pytest.mark.slow
def test_a_resumed_run_is_measured_where_an_uninterrupted_one_is(faceaug_cli, folder, tmp_path):
    options = ("--kimg", 0.96, "--batch-size", 64, "--curve", 32)  # two points
    assert tiny(faceaug_cli, folder, tmp_path / "whole", *options).status == 0
    assert points(tmp_path / "whole") == [8, 15]
    assert tiny(faceaug_cli, folder, tmp_path / "parts", *options, "--seconds", 0.001).status == 0
    assert tiny(faceaug_cli, folder, tmp_path / "parts", *options, "--resume").status == 0
    assert points(tmp_path / "parts") == [8, 15]


def test_it_is_resumed_and_not_overwritten(faceaug_cli, folder, tmp_path):
    out = tmp_path / "mine"
    assert tiny(faceaug_cli, folder, out, "--kimg", 0.016, "--curve", 0, "--licence", "mine").status == 0
    again = tiny(faceaug_cli, folder, out, "--kimg", 0.016, "--curve", 0)
    assert (again.status, again.out) == (1, "")
    assert again.err == f"Error: {out} holds a run already: resume it, or choose another folder\n"
    more = tiny(faceaug_cli, folder, out, "--kimg", 0.024, "--curve", 0, "--resume", "--json")
    assert more.status == 0, more.err
    assert more.json["step"] == 3
    assert "frechet" not in more.json
    other = tiny(faceaug_cli, folder, tmp_path / "other", "--resume")
    assert (
        other.err
        == f"Error: {tmp_path / 'other'} holds no run that could be resumed: leave --resume out to start one\n"
    )
    assert not (tmp_path / "other").exists()


def test_time_that_is_up_is_told(faceaug_cli, folder, tmp_path):
    outcome = tiny(faceaug_cli, folder, tmp_path / "mine", "--kimg", 100, "--seconds", 0.001, "--curve", 0)
    assert outcome.status == 0
    assert "8 images seen in 1 of 12,500 steps" in outcome.out
    assert "The time is over; the same command with --resume continues." in outcome.err


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            [(8, 8)],
            "Error: of 71 images 1 are smaller than 16 pixels (first: odd0.png, 8 by 8): choose a lower "
            "--resolution, or leave them out with --leave-out\n",
        ),
        (
            [(16, 60)],
            "Error: of 71 images 1 are far from square (first: odd0.png, 16 by 60): take the middle squares "
            "with --crop, or leave them out with --leave-out\n",
        ),
    ],
    ids=["small", "long"],
)
def test_images_that_do_not_fit(faceaug_cli, folder, tmp_path, sizes, sentence):
    for k, (width, height) in enumerate(sizes):
        (folder / f"odd{k}.png").write_bytes(encode(np.zeros((height, width, 3), np.uint8), "png"))
    outcome = tiny(faceaug_cli, folder, tmp_path / "mine", "--kimg", 0.008, "--curve", 0)
    assert (outcome.status, outcome.err) == (1, sentence)
    assert not (tmp_path / "mine").exists()
    left = tiny(faceaug_cli, folder, tmp_path / "mine", "--kimg", 0.008, "--curve", 0, "--leave-out")
    assert left.status == 0
    assert "1 of 71 images were left out" in left.err


def test_init_takes_a_stylegan2_of_the_same_size(faceaug_cli, folder, tmp_path):
    outcome = tiny(faceaug_cli, folder, tmp_path / "mine", "--init", "digiface")
    if "needs the weights of a package" in outcome.err:
        pytest.skip(outcome.err)
    assert (outcome.status, outcome.err) == (
        1,
        "Error: --init starts with a StyleGAN2, and 'digiface' is digiface, a DCGAN: leave --init out, or name the "
        ".safetensors file of a StyleGAN2\n",
    )
    start = tmp_path / "start.safetensors"
    save(initialize(StyleGAN2Config(8, 6, 5, 2, 64, 8), 1), start)
    wrong = tiny(faceaug_cli, folder, tmp_path / "mine", "--init", start)
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "has 8 pixels" in wrong.err
    right = faceaug_cli(
        "generator",
        "train",
        folder,
        "-o",
        tmp_path / "mine",
        "--preset",
        "tiny",
        "--init",
        start,
        "--device",
        "cpu",
        "--kimg",
        0.008,
        "--curve",
        0,
        "--json",
    )
    assert right.status == 0, right.err
    assert "generator" not in right.json, "the discriminator is trained first"
    assert load_generator(tmp_path / "mine" / "generator.safetensors").z_dim == 6


def test_bad_requests(faceaug_cli, folder, tmp_path, monkeypatch):
    few = tiny(faceaug_cli, folder, tmp_path / "mine", "--curve", 5)
    assert (few.status, few.err) == (2, "Error: --curve 5 is too few faces for a distance: give 0, or at least 32\n")
    for number in range(10):
        (folder / f"{number:03d}.png").unlink()
    lacking = tiny(faceaug_cli, folder, tmp_path / "mine", "--curve", 0)
    assert lacking.status == 1
    assert "faces has 60 images, and a generator needs at least 64" in lacking.err
    assert tiny(faceaug_cli, tmp_path / "nowhere", tmp_path / "mine").status == 1
    assert not (tmp_path / "mine").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = faceaug_cli("generator", "train", folder, "-o", tmp_path / "mine", "--device", "cuda:7")
    assert "'cuda:7' is not available here" in gpu.err


def test_evaluating_what_is_no_generator(faceaug_cli, folder, tmp_path):
    outcome = faceaug_cli("generator", "evaluate", tmp_path, "--against", folder, "--device", "cpu")
    assert outcome.status == 1
    assert f"the generator {tmp_path / 'generator.safetensors'} cannot be read" in outcome.err
    start = tmp_path / "start.safetensors"
    save(initialize(StyleGAN2Config(32, 6, 5, 2, 64, 8), 1), start)
    small = faceaug_cli("generator", "evaluate", start, "--against", folder, "--device", "cpu")
    assert "70 are smaller than 32 pixels (first: 000.png, 16 by 16): compare with larger ones" in small.err


def test_an_interruption_says_how_to_continue(faceaug_cli, folder, tmp_path, monkeypatch):
    from faceaug.gan_training import trainer as training

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    outcome = tiny(faceaug_cli, folder, tmp_path / "mine", "--curve", 0)
    assert outcome.status == 130
    assert outcome.err == "Interrupted before the first checkpoint; run the same command again.\n"
