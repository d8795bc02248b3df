"""Readers of other packages, from the entry point group "faceaug.datasets"."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest
from dataset_files import face

from faceaug.datasets import LoadOptions, RawDataset, load_dataset, registry
from faceaug.errors import DatasetError
from faceaug.utils.images import encode


class Memory:
    def read(self, key: str) -> bytes:
        return encode(face(int(key)), "png")


def read(path, labels, *, file_column):
    table = pd.DataFrame({"key": ["3", "4"], "kind": ["x", "y"], "file": [str(path), str(file_column)]})
    return RawDataset(table, Memory())


def repeats(path, labels, *, file_column):
    return RawDataset(pd.DataFrame({"key": ["3", "3"]}), Memory())


NOT_CALLABLE = 7


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """As if a package had registered these names."""
    here = __name__
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])
    objects = {
        "memory": f"{here}:read",
        "folder": f"{here}:read",  # the name of one of faceaug's own
        "unlabelled": f"{here}:read",  # another
        "repeats": f"{here}:repeats",
        "seven": f"{here}:NOT_CALLABLE",
        "gone": "no_such_module_anywhere:read",
    }
    points = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in objects.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.ENTRY_POINT_GROUP else [])


def test_a_registered_reader_is_used(tmp_path):
    dataset = load_dataset(tmp_path, reader="memory", strict=True, options=LoadOptions(file_column="anything"))
    assert dataset.reader == "memory"
    assert dataset.attributes == ("kind", "file")
    assert np.array_equal(dataset.image(1), face(4))
    assert list(dataset.table["file"]) == [str(tmp_path), "anything"]
    assert registry.reader_names()[-5:] == ("unlabelled", "gone", "memory", "repeats", "seven")


def test_names_of_built_in_readers_cannot_be_replaced():
    assert registry.find_reader("folder") is registry.BUILT_IN_READERS["folder"].read
    assert registry.find_reader("unlabelled") is registry.unlabelled.read


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memmory", r"no reader 'memmory'; did you mean 'memory'\?"),
        ("unlabeled", "did you mean 'unlabelled'"),
        ("nothing like it", "there are: 'auto', 'shards', .*'classes', 'unlabelled', 'gone'"),
        ("gone", "'gone' .* cannot be loaded: No module named"),
        ("seven", "is not callable"),
        ("repeats", "no table with a column of unique keys"),
    ],
)
def test_errors_name_the_reader_and_the_remedy(tmp_path, name, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path, reader=name)
