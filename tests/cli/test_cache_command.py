"""`faceaug cache`: what there is, as text and as JSON, and its removal."""

from __future__ import annotations

import pytest

from faceaug.cache.key import CacheKey
from faceaug.cache.store import open_cache


@pytest.fixture
def filled(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    for kind, size in (("features", 3_000_000), ("measured", 1000)):
        open_cache().write(CacheKey(kind, {"of": 1}), {"x": bytes(size)})
    return tmp_path / "cache"


def test_list(faceaug_cli, filled):
    outcome = faceaug_cli("cache", "list")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{filled}: 3.0 MB of at most 2,000.0 MB"
    assert any(line.split()[0] == "features" and "3.0 MB" in line for line in lines[2:])
    found = faceaug_cli("cache", "list", "--json").json
    assert found["folder"] == str(filled)
    assert {kind: own["entries"] for kind, own in found["kinds"].items()} == {"features": 1, "measured": 1}


def test_clear(faceaug_cli, filled):
    outcome = faceaug_cli("cache", "clear", "--kind", "features")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.startswith("1 entries of 3.0 MB were removed.")
    assert [entry.kind for entry in open_cache().entries()] == ["measured"]
    assert faceaug_cli("cache", "clear", "-q").err == ""
    assert open_cache().entries() == []


def test_off(faceaug_cli):
    outcome = faceaug_cli("cache", "list")
    assert outcome.status == 0
    assert "nothing is cached" in outcome.out
    assert faceaug_cli("cache", "clear").status == 0


def test_a_size_that_is_none_is_wrong_usage(faceaug_cli, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE_GB", "much")
    outcome = faceaug_cli("cache", "list")
    assert outcome.status == 2
    assert "FACEAUG_CACHE_GB" in outcome.err
