"""Figures of docs/results.md are written from records of this version and of earlier ones alike."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/figures.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import figures

    return figures


@pytest.fixture
def earlier_records(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/_earlier_records.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _earlier_records

    return _earlier_records


GENDER = {
    "attribute": "gender", "kind": "classes", "accuracy": 0.8, "mean_recall": 0.75, "calibration_error": 0.02,
    "exposure_pull": 0.1,
}  # fmt: skip
YAW = {"attribute": "yaw", "kind": "value", "correlation": 0.97}
CELL = {"attributes": {"gender": "female"}, "real": 10, "planned": 5, "accepted": 4, "short": 1, "tried": 9}
TOTALS = {"planned": 5, "accepted": 4, "short": 1, "accepted_share": 0.8}
MEASURED = {
    "images": 10, "cannot_tell": {"no face found": 1}, "quantiles_at": [0.05, 0.5, 0.95],
    "semantics": {
        "yaw": {"quantiles": [-9, 0, 9], "confidence": 0.9, "unit": "degrees", "share_beyond": {"20": [0.1, 0.2]}}
    },
}  # fmt: skip
COMMON = {
    "run": "faceaug balance faces -o out", "machine": "2-core x86-64 CPU", "totals": TOTALS, "r2": {"yaw": 0.9},
    "verify": {"problems": 0}, "dataloader": {"samples": 4}, "edits": [],
}  # fmt: skip
PRESENT = {
    **COMMON,
    "seconds": {
        "classifiers": 60, "framing and image statistics": 30, "face quality": 20, "directions": 10, "synthesis": 300,
    },
    "classifiers": {"guidance": [GENDER], "held_out": [GENDER]},
    "cells": [{**CELL, "rejected": {"held-out classifier agrees": 3, "measured value in its bin": 2}}],
    "variety": [{"synthetic": 6.0, "real": 10.0}],
}  # fmt: skip
EARLIER = {
    **COMMON,
    "seconds": {"probes": 60, "framing and photometry": 30, "soundness": 20, "directions": 10, "making": 300},
    "probes": {"steering": [GENDER], "judge": [GENDER]},
    "cells": [{**CELL, "rejected": {"judge agrees": 3, "measured again": 2}}],
    "variety": [{"made": 6.0, "real": 10.0}],
}


def page_text(earlier_records: ModuleType, as_text, record: dict, folder: Path) -> str:
    """Return the text of a record as `figures.up_to_date` writes it."""
    path = folder / "record.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return earlier_records.current(as_text(earlier_records.load_record(path)))


def test_a_run_is_described_alike_from_a_record_of_this_version_and_an_earlier_one(figures, earlier_records, tmp_path):
    text = page_text(earlier_records, figures.real_run, PRESENT, tmp_path)
    assert "training 2 minutes, synthesis 5 minutes" in text
    assert "| female | 10 | 5 | 4 | 1 | held-out classifier agrees 3, measured value in its bin 2 |" in text
    assert "| guidance: gender | 80.0%" in text
    assert "| held-out: gender | 80.0%" in text
    assert "differ 60% to 60%" in text
    assert page_text(earlier_records, figures.real_run, EARLIER, tmp_path) == text


def test_a_run_without_labels_is_described_alike_from_both(figures, earlier_records, tmp_path):
    present = {
        **PRESENT,
        "classifiers": {"guidance": [], "held_out": [YAW]},
        "measured": {**MEASURED, "accepted": 9},
        "learned_directions": None,
    }
    earlier = {
        **EARLIER,
        "probes": {"steering": [], "judge": [YAW]},
        "measured": {**MEASURED, "told": 9},
        "found": None,
    }
    text = page_text(earlier_records, figures.unlabelled, present, tmp_path)
    assert "9 of 10 photographs are measured (no face found 1); 30.0% are turned" in text
    assert "2 minutes of training and 5 of synthesis" in text
    assert page_text(earlier_records, figures.unlabelled, earlier, tmp_path) == text


def test_names_that_replace_earlier_ones_are_names_in_the_code(figures, earlier_records):
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "faceaug" / "synthesis").rglob("*.py")))
    stages = {*figures.FITTING_STAGES, *earlier_records.RENAMED_KEYS["seconds"].values()}
    for name in (*earlier_records.RENAMED_GATES.values(), *stages):
        assert f'"{name}"' in code, f"faceaug.synthesis has no {name!r}"


def test_the_readme_gets_the_figures_of_the_demo(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from _demo_text import with_demo_figures

    record = {"accepted": 190, "planned": 200, "short": 10, "refused": {"realistic": 1000, "plausible": 1}}
    readme = (ROOT / "README.md").read_text("utf-8")
    written = with_demo_figures(readme, {**record, "seconds_in_all": 340.0})
    assert "Accepted 190 of 200 planned faces (95%); 10 are short. 1,001 attempts were rejected." in written
    assert "takes about 6 minutes on\ntwo cores" in written
    with pytest.raises(SystemExit, match="has 0 places for 'Accepted 190"):
        with_demo_figures(readme.replace("attempts were rejected", ""), {**record, "seconds_in_all": 340.0})
