"""Classifiers on frozen features: what they read, their file, and results that nothing but content decides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import signs
from safetensors import safe_open

from faceaug.classifiers import classifier as classifier_module
from faceaug.classifiers import feature_training
from faceaug.classifiers.classifier import READ_BATCH, Calibration, Classifier, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FROZEN_TRUNKS, HIDDEN, FeatureNet
from faceaug.classifiers.feature_training import picture_features
from faceaug.classifiers.training import train_classifiers
from faceaug.errors import IntegrityError
from faceaug.pretrained.efficientnet import EFFICIENTNET_INSTALL, efficientnet_weights_installed
from faceaug.utils.tensors import as_tensor

pytestmark = pytest.mark.skipif(not efficientnet_weights_installed(), reason=EFFICIENTNET_INSTALL)
PATCH, ROLL = Task("patch", "classes", ("no", "yes")), Task("roll", "value", (), 0.0, 20.0)
CONFIG = ClassifierConfig(120, batch_size=64, pretrained=True)


@pytest.fixture(scope="module")
def trained():
    """Both classifiers, on 400 pictures of signs, and the calls of their progress."""
    images, patch, roll = signs(400, 0, 64)
    calls: list[tuple[int, int]] = []
    both = train_classifiers(
        images,
        (PATCH, ROLL),
        [patch.astype(float), roll],
        seed=3,
        config=CONFIG,
        progress=lambda done, total: calls.append((done, total)),
    )
    return both, calls


@pytest.mark.slow
def test_they_read_what_is_there(trained):
    images, patch, roll = signs(200, 1, 64)
    x = as_tensor(images)
    for classifier in (trained[0].guidance, trained[0].held_out):
        values, features = classifier.read(x)
        assert classifier.semantics == ("patch=no", "patch=yes", "roll")
        assert features.shape == (200, HIDDEN)
        assert ((values[:, 1] > 0) == patch).mean() > 0.9
        assert 1 - np.mean((values[:, 2] - roll) ** 2) / roll.var() > 0.7


@pytest.mark.slow
def test_the_second_opinion_is_of_other_features(trained):
    guidance, held_out = (FROZEN_TRUNKS[c.trunk] for c in (trained[0].guidance, trained[0].held_out))
    assert guidance.stages != held_out.stages
    assert guidance.side != held_out.side


@pytest.mark.slow
def test_progress_counts_features_and_steps_to_the_end(trained):
    calls, total = trained[1], 2 * (-(-400 // READ_BATCH) + 120)
    assert max(calls) == (total, total)
    assert {whole for _, whole in calls} == {total}


@pytest.mark.slow
def test_training_on_features_repeats_bit_for_bit():
    images, patch, _ = signs(60, 4, 64)
    config = ClassifierConfig(4, batch_size=16, pretrained=True)

    def once(seed):
        torch.manual_seed(seed + 100)
        both = train_classifiers(images, (PATCH,), [patch.astype(float)], seed=seed, config=config)
        return both.guidance.read(as_tensor(images))[0], both.held_out.read(as_tensor(images))[0], both.metrics

    one, two, other = once(5), once(5), once(6)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[2] == two[2]
    assert not np.array_equal(one[1], other[1])


@pytest.mark.slow
def test_features_do_not_depend_on_threads():
    images = np.random.default_rng(0).integers(0, 256, (READ_BATCH + 22, 64, 64, 3), dtype=np.uint8)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(picture_features(images, "lite0-stage4", {"mirror": True}))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].plain, found[1].plain)
    np.testing.assert_array_equal(found[0].varied, found[1].varied)


def untrained(trunk: str = "lite0-stage3") -> Classifier:
    calibrations = [Calibration(0.9, (0.1, -0.1)), Calibration(sigma=3.0)]
    return Classifier(new_net(trunk, (PATCH, ROLL), 7), trunk, (PATCH, ROLL), calibrations)


@pytest.mark.parametrize("trunk", FROZEN_TRUNKS)
def test_a_picture_is_read_alike_in_any_batch(trunk):
    torch.set_num_threads(1)
    x = as_tensor(signs(70, 0, 64)[0])
    classifier = untrained(trunk)
    values, features = classifier.read(x)
    for shift in (1, 7, 16):
        rolled = classifier.read(x.roll(shift, 0))
        np.testing.assert_array_equal(np.roll(rolled[0], -shift, 0), values)
        np.testing.assert_array_equal(np.roll(rolled[1], -shift, 0), features)
    for count in (1, 3, 5, 17, 66):
        fewer = classifier.read(x[:count])
        np.testing.assert_array_equal(fewer[0], values[:count])
        np.testing.assert_array_equal(fewer[1], features[:count])
    assert classifier.read(x[:0])[0].shape == (0, 3)


def test_features_are_differentiable():
    net = new_net("lite0-stage3", (PATCH,), 0).eval()
    x = as_tensor(signs(2, 0, 64)[0]).requires_grad_()
    net(x)[:, 1].sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


def test_a_saved_one_reads_the_same_and_holds_no_weights_of_the_pretrained_network(tmp_path):
    path, original = tmp_path / "classifier.safetensors", untrained()
    original.save(path)
    with safe_open(str(path), "pt") as file:
        assert not [name for name in file.keys() if name.startswith("frozen")]  # noqa: SIM118
        header = json.loads(file.metadata()["faceaug"])
    assert header["pretrained"] == FROZEN_TRUNKS["lite0-stage3"].sha256
    loaded = Classifier.load(path)
    assert isinstance(loaded.net, FeatureNet)
    assert not any(parameter.requires_grad for parameter in loaded.net.parameters())
    x = as_tensor(signs(3, 0, 64)[0])
    for one, two in zip(original.read(x), loaded.read(x), strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_the_network_a_file_is_refused_in_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "classifier.safetensors"
    untrained().save(path)
    monkeypatch.setattr(classifier_module, "efficientnet_weights_installed", lambda: False)
    with pytest.raises(IntegrityError) as error:
        Classifier.load(path)
    assert str(path) in str(error.value)
    assert EFFICIENTNET_INSTALL in str(error.value)
    assert "\n" not in str(error.value)


def test_features_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path))
    images = signs(70, 0, 64)[0]
    one = picture_features(images, "lite0-stage3", {"mirror": True})
    counted: list[int] = []
    other = picture_features(images, "lite0-stage3", {"mirror": False}, progress=counted.append)
    assert sum(counted) == 2
    np.testing.assert_array_equal(one.plain, other.plain)
    assert not np.array_equal(one.varied, other.varied)
    monkeypatch.setattr(feature_training, "compute_features", None)
    again = picture_features(images, "lite0-stage3", {"mirror": True})
    np.testing.assert_array_equal(again.plain, one.plain)
    np.testing.assert_array_equal(again.varied, one.varied)
    assert again.plain.dtype == np.float16


def test_an_interrupted_call_leaves_the_features_that_it_has_come_to(tmp_path, monkeypatch):
    images = signs(3 * READ_BATCH, 5, 64)[0]
    whole = picture_features(images, "lite0-stage3", {"mirror": True})
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path))
    monkeypatch.setattr(feature_training, "_CACHED_TOGETHER", READ_BATCH)
    computed, compute = [], feature_training.compute_features

    def interrupted(images, *words):
        computed.append(words[-1])
        if len(computed) == 3:
            raise KeyboardInterrupt
        return compute(images, *words)

    monkeypatch.setattr(feature_training, "compute_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        picture_features(images, "lite0-stage3", {"mirror": True})
    again = picture_features(images, "lite0-stage3", {"mirror": True})
    assert computed == [0, READ_BATCH, 2 * READ_BATCH, 2 * READ_BATCH]
    np.testing.assert_array_equal(again.plain, whole.plain)
    np.testing.assert_array_equal(again.varied, whole.varied)


@pytest.mark.slow
@pytest.mark.skipif("FACEAUG_UTKFACE" not in os.environ, reason="FACEAUG_UTKFACE is not set")
def test_photographs_are_read_better_than_by_networks_from_nothing():
    """Which reach 84% of gender and 74% of ethnicity on 6,500 faces; here there are fewer."""
    from faceaug.analysis.analyze import analyze
    from faceaug.classifiers.training import tasks_of
    from faceaug.datasets import LoadOptions, load_dataset
    from faceaug.datasets.thumbnails import load_thumbnails

    folder = Path(os.environ["FACEAUG_UTKFACE"])
    options = LoadOptions(check="none")
    dataset = load_dataset(folder / "images", labels=folder / "labels.csv", options=options)
    rows = np.random.default_rng(0).permutation(len(dataset))[:1600]
    part = dataset.select(rows)
    tasks, labels = tasks_of(part.table, analyze(part, "gender,ethnicity").axes)
    images = load_thumbnails(part, 64)[0]
    both = train_classifiers(images, tasks, labels, seed=0, config=ClassifierConfig(200, 128, pretrained=True))
    for found in both.metrics.values():
        gender, ethnicity = (task["accuracy"] for task in found)
        assert gender > 0.8
        assert ethnicity > 0.66
