"""The section of the report on whether the people are new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shard_samples import write_output

from faceaug.errors import IntegrityError
from faceaug.identity.summary import REAL_TO_REAL, SAMPLE_TO_REAL, SAMPLE_TO_SOURCE, IdentitySummary
from faceaug.report.build import build_report
from faceaug.report.identity import IDENTITY_FILE, read_identity, write_identity
from faceaug.shards.verify import verify


def distribution(n: int, median: float, below: int | None) -> dict[str, Any]:
    counts = [0] * 4 if n == 0 else [n - 1, 1, 0, 0]
    return {"n": n, "quantiles": [median] * 5 if n else [], "counts": counts, "below": below}


def summary(**changes: Any) -> IdentitySummary:
    content: dict[str, Any] = {
        "embedder": "toy<b>", "sha256": "ab" * 32, "licence": "none needed", "is_identity": True, "same_person": 0.5,
        "same_person_source": "chosen for tests", "real": 50, "real_without_face": 0, "stored": 30, "compared": 30,
        "without_face": 2, "sourced": 8, "sources_missing": 1, "nearest_to_source": 3, "judged_by_rank": 8,
        "edges": [0, 0.25, 0.5, 0.75, 1.0],
        "distances": {
            SAMPLE_TO_SOURCE: distribution(8, 0.3, 6),
            SAMPLE_TO_REAL: distribution(28, 0.4, 7),
            REAL_TO_REAL: distribution(50, 0.42, 10),
        },
    }  # fmt: skip
    return IdentitySummary.model_validate({**content, **changes})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_output(tmp_path / "out")


def test_the_comparison_stands_in_the_report_and_stays_when_it_is_built_again(out: Path) -> None:
    build_report(out)
    write_identity(out, summary())
    for text in ((out / "report.html").read_text("utf-8"), build_report(out).read_text("utf-8")):
        assert text.count('<section id="people">') == text.count('<dt id="people-line">') == 1
        assert "6 of 8 samples made from photographs (75%) lie nearer to one of them than 0.5" in text
        assert "for 3 of 8, no other real face is as near to the photograph" in text
        assert text.count('<div class="bars-of-distances') == 3
        assert text.count('<b style="left:50.0%">') == 3
        assert "n = 28, median 0.400, 25.0 % below that of one person" in text
        assert "toy&lt;b&gt;" in text
        assert "toy<b>" not in text
    assert not verify(out).problems


def test_a_report_without_a_comparison_says_how_to_make_one(out: Path) -> None:
    text = build_report(out).read_text("utf-8")
    assert "Are the people new?" in text
    assert "Not measured. <code>faceaug compare</code>" in text
    assert read_identity(out) is None


def test_a_stand_in_is_named_and_has_no_line_and_no_verdict(out: Path) -> None:
    distances = {
        name: distribution(n, 0.4, None)
        for name, n in ((SAMPLE_TO_SOURCE, 0), (SAMPLE_TO_REAL, 28), (REAL_TO_REAL, 50))
    }
    write_identity(out, summary(is_identity=False, same_person=None, distances=distances))
    text = build_report(out).read_text("utf-8")
    assert "a stand-in that does not tell people apart, so there is no verdict" in text
    assert text.count('<div class="bars-of-distances') == 2
    assert '<b style="left' not in text
    assert "below that of one person" not in text


def test_a_damaged_comparison_is_refused(out: Path) -> None:
    write_identity(out, summary())
    (out / IDENTITY_FILE).write_text('{"version": 2}')
    with pytest.raises(IntegrityError, match="compare again with faceaug compare"):
        build_report(out)
