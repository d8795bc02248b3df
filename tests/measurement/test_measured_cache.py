"""Measurements in the cache: the same images are measured once, and come back as they were measured."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from fake_estimator import fake_estimator, write_slopes

from faceaug import load_dataset
from faceaug.cache.store import open_cache
from faceaug.datasets import LoadOptions
from faceaug.measurement import measure as module
from faceaug.measurement.image_batches import UNREADABLE
from faceaug.measurement.measure import measure


@pytest.fixture
def faces(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    folder = write_slopes(tmp_path / "faces", [-0.9, 0.0, 0.3])
    (folder / "blank.png").write_bytes(next(folder.glob("*.png")).read_bytes()[:40])
    return folder


def load(folder):
    return load_dataset(folder, None, options=LoadOptions(needs_labels=False))


class MeasuredAgain(Exception):
    """Images are measured though they need not be."""


def never(*given):
    raise MeasuredAgain


def test_the_same_images_are_measured_once(faces, monkeypatch):
    (faces / "blank.png").unlink()
    estimator = replace(fake_estimator(), sha256="1" * 64)
    one = measure(load(faces), estimator)
    monkeypatch.setattr(module, "_measure_images", never)
    pd.testing.assert_frame_equal(measure(load(faces), estimator), one, check_exact=True)
    for other in (dict(estimator=replace(estimator, sha256="2" * 64)), dict(estimator=estimator, aligned=True)):
        with pytest.raises(MeasuredAgain):
            measure(load(faces), **other)
    (faces / "00.png").write_bytes((faces / "01.png").read_bytes())
    with pytest.raises(MeasuredAgain):
        measure(load(faces), estimator)


def test_reasons_of_refusals_come_back(faces):
    files = sorted(faces.glob("*.png"))
    estimator = replace(fake_estimator(), sha256="1" * 64)
    one, two = measure(files, estimator), measure(files, estimator)
    assert set(one["cannot_tell"]) == {"", UNREADABLE}
    pd.testing.assert_frame_equal(two, one, check_exact=True)
    assert [entry.kind for entry in open_cache().entries()] == ["measured"]


@pytest.mark.parametrize("changed", ["vanished", "exchanged"])
def test_what_was_read_from_other_bytes_than_were_hashed_is_not_kept(faces, monkeypatch, changed):
    (faces / "blank.png").unlink()
    files, estimator = sorted(faces.glob("*.png")), replace(fake_estimator(), sha256="1" * 64)
    right, data, key_of = measure(files, replace(estimator, sha256="")), files[0].read_bytes(), module.measurements_key

    def hashed_before(*words):
        key = key_of(*words)
        files[0].unlink() if changed == "vanished" else files[0].write_bytes(files[1].read_bytes())
        return key

    with monkeypatch.context() as patched:
        patched.setattr(module, "measurements_key", hashed_before)
        found = measure(files, estimator)
    assert found["cannot_tell"][0] == (UNREADABLE if changed == "vanished" else "")
    assert open_cache().entries() == []
    files[0].write_bytes(data)
    pd.testing.assert_frame_equal(measure(files, estimator), right, check_exact=True)


def test_an_interrupted_call_leaves_the_measurements_that_it_has_come_to(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_TOGETHER", 2)
    monkeypatch.setattr(module, "ESTIMATOR_BATCH_SIZE", 2)
    faces = load(write_slopes(tmp_path / "faces", [-0.9, -0.4, 0.0, 0.3, 0.7]))
    estimator = replace(fake_estimator(), sha256="1" * 64)
    whole = measure(faces, replace(estimator, sha256=""))  # nothing of it is cached
    measured, measure_now = [], module._measure_images

    def interrupted(images, *words):
        measured.append(images.names)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure_now(images, *words)

    monkeypatch.setattr(module, "_measure_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(faces, estimator)
    pd.testing.assert_frame_equal(measure(faces, estimator), whole, check_exact=True)
    assert [len(names) for names in measured] == [2, 2, 2, 1]


def test_an_estimator_whose_weights_have_no_hash_is_not_cached(faces):
    (faces / "blank.png").unlink()
    measure(load(faces), replace(fake_estimator(), sha256=""))
    assert open_cache().entries() == []
