"""The audit of a data set: wrong labels, pictures that occur twice, and labels that the files give away."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from faceaug.audit import audit as module
from faceaug.audit import label_issues
from faceaug.audit.audit import audit
from faceaug.audit.duplicates import duplicate_groups
from faceaug.datasets.dataset import load_dataset
from faceaug.errors import UsageError
from faceaug.pretrained.efficientnet import efficientnet_weights_installed
from faceaug.utils.images import encode

COUNT, WRONG = 72, (8, 21, 40)
needs_packages = pytest.mark.skipif(
    importlib.util.find_spec("cleanlab") is None or not efficientnet_weights_installed(),
    reason="the extras audit and evaluate are not installed",
)


def picture(kind: int, seed: int) -> np.ndarray:
    """Stripes one way in red, or the other way in blue."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(48) * rng.uniform(0.5, 0.8) + rng.uniform(0, 6))
    stripes = np.broadcast_to(waves[:, None] if kind else waves[None], (48, 48))
    base = np.array([60, 70, 190] if kind else [190, 70, 60]) + rng.normal(0, 10, 3)
    colours = base + 40 * stripes[:, :, None] + rng.normal(0, 12, (48, 48, 3))
    return colours.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    rows = []
    for k in range(COUNT):
        (folder / f"{k:02d}.png").write_bytes(encode(picture(k % 2, k), "png"))
        rows.append((f"{k:02d}.png", "ab"[(k % 2) ^ (k in WRONG)], k % 5))
    (folder / "copy.png").write_bytes((folder / "04.png").read_bytes())
    rows.append(("copy.png", "b", 4))
    pd.DataFrame(rows, columns=["file", "kind", "number"]).to_csv(folder / "labels.csv", index=False)
    return load_dataset(folder)


@pytest.fixture(scope="module")
def found(dataset):
    return audit(dataset, "kind")


@needs_packages
def test_wrong_labels_are_found(found, dataset):
    files = [dataset.keys[issue.row] for issue in found.issues]
    assert {f"{k:02d}.png" for k in WRONG} <= set(files)
    assert len(files) <= len(WRONG) + 4
    assert all(issue.given != issue.suggested for issue in found.issues)


@needs_packages
def test_the_same_picture_with_another_label_is_found(found, dataset):
    copy = [one for one in found.duplicates if dataset.keys[one.row] == "copy.png"]
    assert [(dataset.keys[one.of], one.same_file, one.other_labels) for one in copy] == [("04.png", True, ("kind",))]


@needs_packages
def test_the_result_is_text_json_and_labels_without_suspects(found, dataset, tmp_path):
    assert "suspected to be wrong" in found.to_text()
    assert "copy.png" in found.to_text()
    assert found.to_dict()["duplicates"][0]["file"]
    table = found.table()
    table.to_csv(tmp_path / "checked.csv", index=False)
    again = load_dataset(dataset.location, tmp_path / "checked.csv")
    unlabelled = again.table["key"][again.table["kind"].isna()]
    assert {"copy.png", *(f"{k:02d}.png" for k in WRONG)} <= set(unlabelled)
    assert again.table["kind"].notna().sum() > COUNT / 2


@needs_packages
def test_a_level_that_the_size_of_the_files_gives_away_is_named(tmp_path):
    for k in range(60):
        (tmp_path / f"{k}.png").write_bytes(encode(picture(0, k)[: 48 - 8 * (k % 2)], "png"))
    labels = pd.DataFrame({"file": [f"{k}.png" for k in range(60)], "kind": list("ab") * 30})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    spurious = audit(load_dataset(tmp_path), "kind").spurious
    assert ("kind", "a", "height", 1.0, True) in [(s.attribute, s.level, s.prop, s.auc, s.larger) for s in spurious]


@needs_packages
def test_pictures_are_computed_in_blocks_with_the_same_result(found, dataset, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10)
    assert audit(dataset, "kind").to_dict() == found.to_dict()


def test_a_near_duplicate_joins_the_first_picture_that_it_is_near_to():
    hashes = np.array([0b1111, 0xFF << 40, 0b1, 0b1111, 0b1 | 0xFF << 40, 0xFFFF << 20], np.uint64)
    digests = [b"a", b"b", b"c", b"a", b"d", b"b"]
    assert duplicate_groups(digests, hashes, 4).tolist() == [0, 1, 0, 0, 1, 1]


def test_without_cleanlab_one_sentence_says_what_to_install(dataset, monkeypatch):
    monkeypatch.setattr(label_issues.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"faceaug\[audit\]"):
        audit(dataset)
