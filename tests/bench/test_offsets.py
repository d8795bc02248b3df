"""Offsets of logits: they find the classes that a model names too rarely, and leave a fair one as it is."""

from __future__ import annotations

import numpy as np

from faceaug.bench.offsets import class_offsets


def _recalls(logits, labels):
    return [float((logits.argmax(1)[labels == k] == k).mean()) for k in range(logits.shape[1])]


def _logits(seed=0, count=600):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return (2 * np.eye(3)[labels] + rng.normal(size=(count, 3))).astype(np.float32), labels


def test_a_class_that_is_named_too_rarely_is_raised():
    logits, labels = _logits()
    fair = np.mean(_recalls(logits, labels))
    biased = logits - np.array([0, 0, 3], np.float32)
    offsets = class_offsets(biased, [3], labels[:, None])
    assert _recalls(biased, labels)[2] < 0.4
    assert np.mean(_recalls(biased + offsets, labels)) >= fair
    assert 2 <= offsets[2] - offsets[:2].mean() <= 4


def test_a_perfect_reading_keeps_its_logits():
    labels = np.arange(30) % 3
    logits = 10 * np.eye(3, dtype=np.float32)[labels]
    np.testing.assert_array_equal(class_offsets(logits, [3], labels[:, None]), 0)


def test_tasks_are_apart():
    logits, labels = _logits()
    both = np.concatenate([logits, logits - np.array([2, 0, 0], np.float32)], 1)
    offsets = class_offsets(both, [3, 3], np.stack([labels, labels], 1))
    np.testing.assert_array_equal(offsets[:3], class_offsets(logits, [3], labels[:, None]))
    np.testing.assert_array_equal(offsets[3:], class_offsets(both[:, 3:], [3], labels[:, None]))
