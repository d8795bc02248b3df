"""Computations of the benchmarks of semantics: errors of shape, the pose regressor, and summaries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from faceaug.errors import UsageError
from faceaug.generators.pool import sample_stream
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.synthetic_scenes import Scenes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_true_factors_have_hardly_an_error_of_shape_at_any_scale():
    from reconstruction import shape_errors

    scenes = Scenes(64)
    w = sample_stream(scenes, 6, (3,))
    truth, observation = scenes.truth(w), scenes.observe(w)
    right = FaceFactors(truth.depth, truth.albedo, truth.light, truth.view)
    flat = FaceFactors(torch.ones_like(truth.depth), truth.albedo, truth.light, truth.view)
    error, angle, share = shape_errors(right, observation).unbind(1)
    assert error.max() < 0.002
    assert angle.max() < 4
    assert (share > 0.3).all()
    worse, off, _ = shape_errors(flat, observation).unbind(1)
    assert (worse > 3 * error).all()
    assert (off > 15).all()
    farther = observation._replace(depth=1.3 * observation.depth)
    assert torch.allclose(shape_errors(right, farther)[:, 0], error, atol=1e-4)


def test_the_pose_regressor_reads_mirrors_mirrored_and_is_read_back(tmp_path):
    from pose_regressor import PoseRegressor, load_pose_regressor, train
    from safetensors.torch import save_file

    rng = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 64, 64, generator=rng) * 2 - 1
    regressor = train(images, np.random.default_rng(0).normal(0, 10, (8, 3)), seed=1, steps=2, log_every=9)
    save_file(regressor.state_dict(), tmp_path / "pose_regressor.safetensors")
    again = load_pose_regressor(tmp_path / "pose_regressor.safetensors")
    assert isinstance(again, PoseRegressor)
    read = again.read(images)
    assert read.shape == (8, 3)
    assert np.array_equal(read, regressor.read(images))
    assert np.allclose(again.read(images.flip(-1)), read * [1, -1, -1], atol=1e-4)


def test_pose_has_the_signs_of_faceaug_and_omits_undetected_faces(tmp_path):
    from pose_regressor import read_pose

    pose = np.array([[8, 20, 1], [np.nan, np.nan, np.nan], [9, -30, 2]], np.float32)
    np.savez(tmp_path / "pose.npz", z=np.arange(300, dtype=np.float32).reshape(3, 100), pose=pose)
    z, found = read_pose(tmp_path / "pose.npz")
    assert z[:, 0].tolist() == [0, 200]
    assert found.tolist() == [[-8, -20, 1], [-9, 30, 2]]


def test_runs_of_another_setup_are_refused(tmp_path):
    from ablation import file_of, finished

    setup = {"steps": 5}
    assert finished(tmp_path, 0, "none", setup) is None
    file_of(tmp_path, 0, "none").write_text(json.dumps({"setup": setup, "outcome": {"seed": 0}}))
    assert finished(tmp_path, 0, "none", setup) == {"seed": 0}
    with pytest.raises(UsageError, match="--work"):
        finished(tmp_path, 0, "none", {"steps": 6})


def test_the_runs_of_a_coupling_are_summarized():
    from ablation import summary

    runs = [
        {"right_side_out": True, "found": True, "yaw_correlation": 0.8},
        {"right_side_out": True, "found": False, "yaw_correlation": 0.1},
        {"right_side_out": False, "found": False, "yaw_correlation": -0.7},
    ]
    figures = summary(runs)
    assert (figures["seeds"], figures["right_side_out"], figures["found"]) == (3, 2, 1)
    assert figures["yaw_correlation"] == {"median": 0.1, "least": -0.7, "most": 0.8}


def test_a_saturating_estimate_is_not_mended_by_a_scale():
    """Right near the front and too small far out: a factor improves far faces only at the cost of near ones."""
    from yaw_scale import compared

    rng = np.random.default_rng(0)
    w = rng.normal(size=(4000, 5))
    true = 20 * w[:, 0]
    found = compared(w, 22 * np.tanh(true / 22), 0.9 * true, true)
    moved = found["degrees_per_standard_deviation_of_w"]
    assert moved["landmarks"] == pytest.approx(20, rel=0.03)
    assert moved["linear"] == pytest.approx(18, rel=0.03)
    assert found["scale_from_the_linear_model"] == pytest.approx(moved["linear"] / moved["network"], abs=2e-3)
    slopes = found["found_degree_per_landmark_degree"]
    assert slopes["over all faces"] < 0.8
    assert slopes["up to 10 degrees"] > 0.9
    first, *_, last = found["read_alike"]
    assert first["landmarks"] == pytest.approx(first["found"], abs=0.5)
    assert last["landmarks"] > last["found"] + 5
    before, after = found["errors"]["as found"], found["errors"]["scaled"]
    assert after["up to 10"] > before["up to 10"]
    assert after["beyond 20"] < before["beyond 20"]
