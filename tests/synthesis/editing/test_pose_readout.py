"""Directions found without labels in a run: edits are read, kept and guided by them, and samples are measured again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import small_bundle
from fake_estimator import fake_estimator, slope
from fakes import BlockGenerator, ToyFaces
from quick_runs import QUICK, changed, small_plan
from toy_directions import ToyPoseLightReader, toy_directions

from faceaug.errors import GeneratorError
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import balance
from faceaug.synthesis.editing import pose_readout
from faceaug.synthesis.editing.pose_readout import LearnedDirections, PoseLightReader, find_directions
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.engines.latent import latent_edit
from faceaug.synthesis.engines.latent.harmonized_samples import ELSEWHERE

YAW, LIGHT_X = FACTOR_NAMES.index("yaw"), FACTOR_NAMES.index("light_x")
READ = fake_estimator().read_framed


def images_of(strengths: list[float]) -> torch.Tensor:
    stacked = np.stack([slope(strength, 32) for strength in strengths])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_images_are_read_in_the_units_of_measurements():
    images = images_of(np.linspace(-0.8, 0.8, 70).tolist())  # more than go through the network at once
    read = PoseLightReader(READ)(images)
    assert read.shape == (70, len(FACTOR_NAMES))
    assert (np.diff(read[:, YAW]) > 0).all()
    np.testing.assert_allclose(read[:, YAW], -PoseLightReader(READ)(images.flip(-1))[:, YAW], atol=1e-4)
    scaled = PoseLightReader(READ, slope=np.full(6, 2.0), offset=np.full(6, 3.0))(images)
    np.testing.assert_allclose(scaled, 3 + 2 * read)
    assert PoseLightReader(READ)(images[:0]).shape == (0, 6)


def test_readings_are_put_in_the_terms_of_measurements():
    rng = np.random.default_rng(0)
    read = rng.normal(size=(400, 6)) * [10, 5, 3, 8, 8, 0.1]
    measured = 4 + 1.2 * read + rng.normal(size=read.shape) * [1, 1, 1, 1, 1, 0.01]
    measured[:, 1] = rng.normal(size=400) * 5  # has nothing to do with the reading
    measured[:, 2] *= 5  # is of another scale
    measured[::7] = np.nan
    fitted = PoseLightReader(READ).in_terms_of(read, measured)
    np.testing.assert_allclose(fitted.slope, [1.2, 1, 1, 1.2, 1.2, 1.2], rtol=0.05)
    assert fitted.offset[0] == pytest.approx(4, abs=0.3)
    assert fitted.sigma[0] == pytest.approx(1, rel=0.2)
    assert fitted.sigma[1] > 5
    again = PoseLightReader(READ).with_state(fitted.state())
    np.testing.assert_array_equal(again.sigma, fitted.sigma)


@pytest.mark.parametrize("count", [0, 20])
def test_too_few_measurements_are_refused(count):
    read = np.random.default_rng(0).normal(size=(60, 6))
    measured = np.full_like(read, np.nan)
    measured[:count] = 2 * read[:count]
    with pytest.raises(GeneratorError, match=f"{count} of 60 generated faces can be measured"):
        PoseLightReader(READ).in_terms_of(read, measured)


def test_samples_are_measured_as_photographs():
    learned = LearnedDirections(small_bundle(), PoseLightReader(READ), fake_estimator(), ("yaw",))
    values = learned.measure([slope(0.5, 60, 48), slope(-0.5, 48), slope(0.2, 48, red=1.0)])
    assert values.shape == (3, 6)
    assert values[0, YAW] > 0 > values[1, YAW]
    assert np.isnan(values[2]).all()  # nothing of it is explained
    assert learned.measure([]).shape == (0, 6)


def test_directions_must_fit_the_generator(tmp_path, monkeypatch):
    here, there = BlockGenerator(6), BlockGenerator(6, seed=1)
    own, other = tmp_path / "own.safetensors", tmp_path / "other.safetensors"
    small_bundle(here).save(own)
    small_bundle(there).save(other)
    monkeypatch.setattr(pose_readout, "SHIPPED_DIRECTIONS", other)
    assert find_directions(here, own).directions.generator == here.sha256
    with pytest.raises(GeneratorError, match="made for the generator"):
        find_directions(here, other)
    assert find_directions(here, None, own).directions.generator == here.sha256
    assert find_directions(here, None, other) is None  # it measured the data set, and cannot edit
    assert find_directions(there, None).directions.generator == there.sha256
    monkeypatch.setattr(pose_readout, "SHIPPED_DIRECTIONS", tmp_path / "none.safetensors")
    assert find_directions(there, None) is None


@pytest.fixture
def measured_dataset(toy_dataset):
    return replace(toy_dataset, table=toy_dataset.table.rename(columns={"spot": "yaw"}))


def balanced(dataset, out, monkeypatch, by, **learned):
    monkeypatch.setattr(latent_edit, "_learned_directions", lambda *_: toy_directions(**learned))
    config = changed(QUICK, generator=ToyFaces(), harmonize=False, image_format="png")
    return balance(dataset, out, plan=small_plan(dataset, by, 24), config=config)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_measured_attribute_is_guided_by_what_measured_it(measured_dataset, tmp_path, monkeypatch):
    result = balanced(measured_dataset, tmp_path / "out", monkeypatch, "yaw:-3/0/3")
    assert result.accepted > 6
    assert verify(tmp_path / "out").problems == ()
    manifest = read_manifest(tmp_path / "out")
    assert not (tmp_path / "out" / "models" / "guidance.safetensors").exists()  # no classifier is needed to guide
    assert [record.name for record in manifest.classifiers] == ["held_out"]
    (column,) = [c for c in manifest.columns if c.group == "attr"]
    assert (column.name, column.unit) == ("yaw", "degrees")
    exact = ToyPoseLightReader()
    for entry in manifest.shards:
        with ShardReader(tmp_path / "out" / entry.name) as shard:
            for name in (*FACTOR_NAMES, *SCENE):
                assert f"semantic/{name}" in shard.keys
            images = torch.from_numpy(np.stack([shard.image(i) for i in range(len(shard))])).permute(0, 3, 1, 2)
            again = exact(images.float() / 127.5 - 1)[:, YAW]
            np.testing.assert_allclose(shard.column("attr/yaw"), again, atol=1e-6)  # the label is the measurement
            for value, cell in zip(again, shard.column("cell"), strict=True):
                assert (-3, 0)[cell] <= value < (0, 3)[cell]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_sample_that_is_measured_outside_its_bin_is_refused(measured_dataset, tmp_path, monkeypatch):
    result = balanced(measured_dataset, tmp_path / "out", monkeypatch, "yaw:-1.5/0/1.5", off=0.45)
    refused = [cell.rejected.get(ELSEWHERE, 0) for cell in read_manifest(tmp_path / "out").cells]
    assert sum(refused) > 0
    assert result.accepted + result.short == result.planned


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_labels_and_measurements_together_keep_the_light(measured_dataset, tmp_path, monkeypatch):
    result = balanced(measured_dataset, tmp_path / "out", monkeypatch, "bar,yaw:-3/0/3")
    assert result.accepted > 6
    assert (tmp_path / "out" / "models" / "guidance.safetensors").exists()
    manifest = read_manifest(tmp_path / "out")
    assert [record.name for record in manifest.classifiers] == ["guidance", "held_out"]
    drift = []
    for entry in manifest.shards:
        with ShardReader(tmp_path / "out" / entry.name) as shard:
            drift.append((shard.column("w") - shard.column("origin_w"))[:, 4])
    assert np.abs(np.concatenate(drift)).max() < 1.05  # light_x is a kept semantic, to the gate's one deviation
