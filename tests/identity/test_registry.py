"""Embedders by name, and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from faceaug.errors import FaceaugError, UsageError
from faceaug.identity import FaceEmbedder, load_embedder, registry

PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in (0, 255)]


def plug_in(monkeypatch, **classes: str) -> None:
    """As if a package had registered the embedders of these names."""
    points = [EntryPoint(name, f"toy_embedder:{value}", "faceaug.identity") for name, value in classes.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "faceaug.identity" else [])


def test_an_embedder_of_another_package_is_used_by_its_name(monkeypatch):
    plug_in(monkeypatch, toy="ToyEmbedder")
    embedder = load_embedder("toy")
    assert isinstance(embedder, FaceEmbedder)
    assert (embedder.name, embedder.same_person.distance, embedder.is_identity) == ("toy", 0.1, True)
    rows = embedder.embed(PICTURES)
    assert rows.dtype == np.float32
    assert np.isnan(rows[0]).all()
    assert (rows[1] == 1).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fails", "the embedder 'toy' of a plug-in failed: RuntimeError: weights are missing"),
        ("WithoutLicence", "lacks licence, sha256, is_identity, same_person, embed"),
        ("NamelessThreshold", "same_person of the embedder 'toy' is a float"),
        ("no_such_thing", "AttributeError"),
    ],
)
def test_an_embedder_that_cannot_be_used_is_refused_by_its_name(monkeypatch, value, message):
    plug_in(monkeypatch, toy=value)
    with pytest.raises(FaceaugError, match=message):
        load_embedder("toy")


@pytest.mark.parametrize(
    ("value", "message"),
    [("BrokenEmbedder", "ZeroDivisionError: no face is as round"), ("ShortEmbedder", "must have a row for each")],
)
def test_what_goes_wrong_in_an_embedder_ends_in_one_sentence(monkeypatch, value, message):
    plug_in(monkeypatch, toy=value)
    with pytest.raises(FaceaugError, match=message):
        load_embedder("toy").embed(PICTURES)


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch):
    plug_in(monkeypatch, toy="ToyEmbedder")
    with pytest.raises(UsageError, match="no embedder of faces 'toi': did you mean 'toy'"):
        load_embedder("toi")


def test_the_name_of_the_built_in_embedder_cannot_be_taken(monkeypatch):
    plug_in(monkeypatch, dlib="ToyEmbedder")
    with pytest.raises(UsageError, match="it must be renamed"):
        load_embedder("toy")
