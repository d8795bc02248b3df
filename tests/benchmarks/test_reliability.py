"""Campaigns go on where their record has them."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """Return a function that runs a campaign and returns its record."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    reliability = importlib.import_module("reliability")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["reliability.py", *words, "--out", str(tmp_path / "record.json")])
        reliability.main()
        return json.loads((tmp_path / "record.json").read_text())

    yield run
    logging.disable(logging.NOTSET)


def test_a_campaign_goes_on_and_begins_anew_on_request(campaign):
    assert campaign("flips", "--flips", "2")["flips"] == {"flipped": 2, "found": 2, "named": 2}
    second = campaign("flips", "--flips", "5")
    assert second["flips"] == {"flipped": 5, "found": 5, "named": 5}
    assert [words.split(" --out")[0][-9:] for words in second["command"].split("; ")] == ["--flips 2", "--flips 5"]
    assert campaign("flips", "--flips", "1", "--anew")["flips"] == {"flipped": 1, "found": 1, "named": 1}


def test_another_seed_does_not_continue_a_record(campaign):
    campaign("flips", "--flips", "1")
    with pytest.raises(SystemExit, match="has the seed 0"):
        campaign("flips", "--flips", "2", "--seed", "1")
