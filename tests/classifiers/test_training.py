"""Training on labels: tasks, weights of rare classes, missing labels, and two classifiers that are trained apart."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import signs

from faceaug.analysis.axes import AxisSpec, build_axis
from faceaug.cache.store import open_cache
from faceaug.classifiers import training
from faceaug.classifiers.classifier import Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.losses import multitask_loss, sample_weights
from faceaug.classifiers.training import (
    MIN_CLASS_IMAGES,
    _split,
    _strata,
    tasks_of,
    train_classifiers,
    train_net,
)
from faceaug.errors import DatasetError
from faceaug.utils.tensors import as_tensor

PATCH = Task("patch", "classes", ("no", "yes"))
ROLL = Task("roll", "value", (), 0.0, 20.0)


def table(**columns):
    return pd.DataFrame({"key": [str(i) for i in range(len(next(iter(columns.values()))))], **columns})


def axes(frame, *specs):
    return [build_axis(frame, spec) for spec in specs]


def test_tasks_follow_the_axes():
    frame = table(hair=["dark", "fair", None, "dark"] * 10, age=[20.0, 30.0, np.nan, 50.0] * 10)
    found = axes(frame, AxisSpec("age", ("edges", (0.0, 25.0, 60.0))), AxisSpec("hair"))
    (age, hair), (years, codes) = tasks_of(frame, found)
    assert (age.name, age.kind, age.levels) == ("age", "value", ())
    assert age.mean == pytest.approx(100 / 3)
    assert age.scale == pytest.approx(np.std([20, 30, 50]))
    assert hair == Task("hair", "classes", ("dark", "fair"))
    np.testing.assert_array_equal(years[:4], [20, 30, np.nan, 50])
    np.testing.assert_array_equal(codes[:4], [0, 1, np.nan, 0])


def test_a_class_with_too_few_pictures_is_refused():
    frame = table(hair=["dark"] * 50 + ["fair"] * (MIN_CLASS_IMAGES - 1))
    with pytest.raises(DatasetError) as error:
        tasks_of(frame, axes(frame, AxisSpec("hair")))
    assert str(error.value).startswith(f"only {MIN_CLASS_IMAGES - 1} faces are labelled 'fair' in 'hair'")
    enough = table(hair=["dark"] * 50 + ["fair"] * MIN_CLASS_IMAGES)
    assert len(tasks_of(enough, axes(enough, AxisSpec("hair")))[0]) == 1


@pytest.mark.parametrize("n", [30, 400, 1001])
def test_splits_do_not_overlap_and_use_everything(n):
    strata = np.arange(n) % 3
    parts = _split(strata, 7)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert abs(len(parts[1]) - n / 10) <= 1
    assert abs(len(parts[2]) - n / 10) <= 1
    assert not np.array_equal(parts[1], _split(strata, 8)[1])


def test_rare_classes_are_in_every_part():
    rare = np.zeros(2000)
    rare[np.random.default_rng(0).choice(2000, 30, replace=False)] = 1
    strata = _strata((Task("a", "classes", ("no", "yes")), Task("b", "value")), (rare, np.arange(2000.0)))
    for seed in range(20):
        assert [int(rare[part].sum()) for part in _split(strata, seed)] == [24, 3, 3]


def test_of_very_many_images_rare_classes_are_kept():
    strata = np.array([0] * 900 + [1] * 80 + [2] * 20)
    np.random.default_rng(0).shuffle(strata)
    rows = training._rare_first(strata, 200, 3)
    assert np.bincount(strata[rows]).tolist() == [100, 80, 20]
    assert (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, training._rare_first(strata, 200, 4))
    np.testing.assert_array_equal(training._rare_first(strata, 1000, 3), np.arange(1000))


def test_unknown_labels_are_a_stratum_of_their_own():
    codes = np.array([0, 1, np.nan, 0, np.nan])
    assert _strata((Task("a", "classes", ("x", "y")),), (codes,)).tolist() == [1, 2, 0, 1, 0]
    assert _strata((Task("b", "value"),), (codes,)).tolist() == [0] * 5


@pytest.mark.slow
def test_both_classifiers_read_what_is_there(trained):
    classifiers, _ = trained
    images, patch, roll = signs(200, 1)
    x = as_tensor(images)
    for classifier in (classifiers.guidance, classifiers.held_out):
        values, _ = classifier.read(x)
        assert classifier.semantics == ("patch=no", "patch=yes", "roll")
        assert ((values[:, 1] > 0) == patch).mean() > 0.95
        assert 1 - np.mean((values[:, 2] - roll) ** 2) / roll.var() > 0.85


@pytest.mark.slow
def test_the_classifiers_are_trained_apart(trained):
    classifiers, _ = trained
    assert (classifiers.guidance.trunk, classifiers.held_out.trunk) == ("residual", "plain")
    x = as_tensor(signs(50, 2)[0])
    one, two = classifiers.guidance.read(x)[0][:, 2], classifiers.held_out.read(x)[0][:, 2]
    assert np.abs(one - two).max() > 0.1  # of one opinion, but not one and the same
    assert np.corrcoef(one, two)[0, 1] > 0.9


@pytest.mark.slow
def test_metrics_tell_how_good_they_are(trained):
    classifiers, _ = trained
    assert set(classifiers.metrics) == {"guidance", "held_out"}
    for patch, roll in classifiers.metrics.values():
        assert patch["accuracy"] > 0.9
        assert roll["r2"] > 0.8
        assert 30 < patch["pictures"] <= 40
        assert 30 < roll["pictures"] <= 40


@pytest.mark.slow
def test_progress_counts_both_to_the_end(trained):
    _, calls = trained
    assert len(calls) == 80
    assert calls[-1] == (80, 80) or max(calls) == (80, 80)
    assert {total for _, total in calls} == {80}


@pytest.mark.slow
def test_training_both_repeats_bit_for_bit():
    """Whatever the global random state, and leaving it as it was; another seed trains another classifier."""
    images, patch, roll = signs(60, 4)
    x = as_tensor(images)

    def once(seed):
        classifiers = train_classifiers(
            images,
            (PATCH, ROLL),
            [patch.astype(float), roll],
            seed=seed,
            config=ClassifierConfig(3, batch_size=16, input_size=32),
        )
        return classifiers.guidance.read(x)[0], classifiers.held_out.read(x)[0], classifiers.metrics

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = once(5)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    two = once(5)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[2] == two[2]
    assert not np.array_equal(once(6)[0], one[0])


@pytest.mark.parametrize("power", [0.0, 0.5, 0.7, 1.0])
def test_classes_weigh_by_their_count(power):
    labels = np.array([0.0] * 90 + [1.0] * 9 + [np.nan] * 5 + [2.0])
    weights = sample_weights(Task("c", "classes", ("a", "b", "c")), labels, power)
    assert (weights[99:104] == 0).all()
    assert weights[np.isfinite(labels)].mean() == pytest.approx(1, abs=1e-6)
    assert weights[90] / weights[0] == pytest.approx(10**power, rel=1e-5)
    assert weights[-1] / weights[0] == pytest.approx(90**power, rel=1e-5)
    sums = [weights[labels == k].sum() for k in range(3)]
    np.testing.assert_allclose(sums / sums[0], np.array([90, 9, 1.0]) ** (1 - power) / 90 ** (1 - power), rtol=1e-5)


def test_values_weigh_by_their_tenth_of_the_range():
    labels = np.concatenate([np.linspace(0, 9.99, 900), np.linspace(90, 100, 100), [np.nan]])
    weights = sample_weights(ROLL, labels, 1.0)
    assert weights[-1] == 0
    low, high = weights[:899], weights[905:1000]
    assert high.mean() / low.mean() == pytest.approx(9, rel=0.15)
    assert weights[:-1].mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("labels", [[np.nan] * 4, [1.0] * 4, []])
@pytest.mark.parametrize("task", [PATCH, ROLL])
def test_weights_of_labels_that_say_nothing(task, labels):
    weights = sample_weights(task, np.array(labels, float), 0.7)
    np.testing.assert_array_equal(weights, [0.0 if math.isnan(v) else 1.0 for v in labels])


def test_labels_that_are_missing_are_not_trained_on():
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes = torch.as_tensor([0.0, 1.0, math.nan, math.nan, 1.0, 0.0])
    values = torch.as_tensor([0.3, math.nan, 0.1, math.nan, -1.0, 0.0])
    weights = [torch.isfinite(y).float() for y in (classes, values)]
    loss = multitask_loss(outputs, (PATCH, ROLL), [classes, values], weights)
    loss.backward()
    assert torch.isfinite(loss)
    gradient = outputs.grad.abs()
    assert (gradient[:, :2].sum(1) > 0).tolist() == [True, True, False, False, True, True]
    assert (gradient[:, 2] > 0).tolist() == [True, False, True, False, True, True]


def test_an_attribute_without_any_label_costs_nothing():
    images, _, _ = signs(20, 0)
    losses = []
    net = new_net("plain", (PATCH,), 0)
    unknown = [np.full(20, np.nan)]
    train_net(
        net,
        (PATCH,),
        images,
        unknown,
        ClassifierConfig(2, batch_size=8, input_size=32),
        0,
        progress=lambda s, v: losses.append((s, v)),
    )
    assert losses == [(1, 0.0), (2, 0.0)]
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_training_repeats_bit_for_bit_and_leaves_the_global_state_alone():
    images, patch, _ = signs(24, 0)

    def once(seed, own):
        torch.manual_seed(own)
        state = torch.get_rng_state()
        net = new_net("residual", (PATCH,), seed)
        train_net(net, (PATCH,), images, [patch.astype(float)], ClassifierConfig(3, batch_size=8, input_size=32), seed)
        assert torch.equal(torch.get_rng_state(), state)
        assert not net.training
        return torch.cat([value.flatten().float() for value in net.state_dict().values()])

    one = once(1, 10)
    assert torch.equal(one, once(1, 20))
    assert not torch.equal(one, once(2, 10))


@pytest.mark.parametrize(
    ("names", "left_alone"),
    [
        (["age"], []),
        (["roll"], ["mirror", "rotate"]),
        (["Yaw"], ["mirror"]),
        (["light_x"], ["mirror", "rotate"]),
        (["light_y"], ["rotate"]),
        (["light"], ["contrast"]),
        (["Brightness"], ["exposure", "contrast"]),
        (["age", "light", "yaw"], ["mirror", "contrast"]),
    ],
)
def test_what_would_change_an_attribute_is_not_varied(monkeypatch, names, left_alone):
    images, patch, roll = signs(8, 0)
    seen = []

    def spied(x, rng, **varied):
        seen.append(varied)
        return x

    monkeypatch.setattr(training, "jitter", spied)
    tasks = (PATCH, *(Task(name, "value") for name in names))
    labels = [patch.astype(float), *(roll for _ in names)]
    train_net(new_net("plain", tasks, 0), tasks, images, labels, ClassifierConfig(1, batch_size=4, input_size=32), 0)
    assert seen == [{kind: kind not in left_alone for kind in ("mirror", "rotate", "exposure", "contrast")}]


def test_every_picture_is_seen_once_a_round(monkeypatch):
    images = np.zeros((12, 32, 32, 3), np.uint8)
    images[:] = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    seen = []

    def spied(x, rng, **varied):
        seen.extend(((x[:, 0, 0, 0] + 1) * 127.5 / 20).round().int().tolist())
        return x

    monkeypatch.setattr(training, "jitter", spied)
    train_net(
        new_net("plain", (PATCH,), 0),
        (PATCH,),
        images,
        [np.arange(12.0) % 2],
        ClassifierConfig(6, batch_size=4, input_size=32),
        0,
    )
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    assert seen[:12] != seen[12:]


@pytest.mark.parametrize(("n", "steps"), [(10, 200), (2000, 500), (6500, 1625), (1_000_000, 4000)])
def test_schedule_from_nothing_follows_the_size(n, steps, monkeypatch):
    monkeypatch.setattr("faceaug.classifiers.config.efficientnet_weights_installed", lambda: False)
    assert ClassifierConfig.for_size(n) == ClassifierConfig(steps)


@pytest.mark.parametrize(("n", "steps"), [(10, 200), (6500, 609), (1_000_000, 4000)])
def test_schedule_on_features_follows_the_size(n, steps, monkeypatch):
    monkeypatch.setattr("faceaug.classifiers.config.efficientnet_weights_installed", lambda: True)
    assert ClassifierConfig.for_size(n) == ClassifierConfig(steps, batch_size=128, pretrained=True)


@pytest.mark.parametrize("trunk", ["plain", "residual"])
def test_an_interrupted_training_goes_on_with_the_same_numbers(tmp_path, monkeypatch, trunk):
    images, patch, _ = signs(40, 0, 32)

    def trained(stop=0):
        def progress(step, loss):
            done.append(step)
            if step == stop:
                raise KeyboardInterrupt

        net, done = new_net(trunk, (PATCH,), 0), []
        config = ClassifierConfig(9, batch_size=16, input_size=32)
        with contextlib.suppress(KeyboardInterrupt):
            train_net(net, (PATCH,), images, [patch.astype(float)], config, 5, progress)
        return net.state_dict(), done

    whole, _ = trained()
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path))
    monkeypatch.setattr("faceaug.classifiers.training_state.SAVE_EVERY", 0.0)
    for stop in (4, 7):
        trained(stop)
    again, done = trained()
    assert done == [8, 9]
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert [entry.kind for entry in open_cache().entries()] == []  # what has ended is kept by whoever asked for it
