"""The report: complete, escaped, independent of a network, and without real faces where none may be shown."""

from __future__ import annotations

import hashlib
import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shard_samples import header, sample, write_output

from faceaug.analysis.analyze import analyze
from faceaug.appearance.image_stats import measure_image_stats
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import plan
from faceaug.report.build import build_report, write_report_files
from faceaug.report.html import Report, ReportCell, ReportTable, render_page
from faceaug.shards.manifest import CellRecord
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.verify import verify
from faceaug.utils.images import Rgb, decode, encode, resize

HOSTILE = "<script>alert('x')</script>&\"'"


def face(value: int) -> Rgb:
    return np.full((16, 16, 3), value, np.uint8)


def cell(level: str, real: int, accepted: int, short: int, **options: Any) -> ReportCell:
    planned = accepted + short
    record = CellRecord.planned_only(0, {"group": level, "age": "0-9"}, real=real, wanted=planned, planned=planned)
    record = record.with_outcome(accepted, options.pop("rejected", {}), options.pop("note", ""))
    return ReportCell(record, **options)


def report(**changes: Any) -> Report:
    content: dict[str, Any] = {
        "title": "A balanced set",
        "facts": {"seed": "7"},
        "cells": [
            cell("a", 1000, 0, 0, real_faces=[face(11)] * 3),
            cell(
                "b",
                200,
                600,
                200,
                rejected={"not local": 1234},
                note="out of tries",
                real_faces=[face(11)] * 40,
                synthetic_faces=[face(222)] * 50,
            ),
            cell("c", 0, 0, 0),
        ],
    }
    return Report(**{**content, **changes})


class Page(html.parser.HTMLParser):
    """Parser of a page that collects its tags and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(" ".join(data.split()))

    @property
    def images(self) -> list[str]:
        return [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]


def test_page_and_contact_sheets_are_written_and_belong_together(tmp_path: Path) -> None:
    page = write_report_files(tmp_path, report())
    assert page == tmp_path / "report.html"
    content = Page(page.read_text(encoding="utf-8"))
    assert content.open == []  # every tag closed
    assert content.images == ["report_files/cell-0000.png", "report_files/cell-0001.png"]
    sheet = decode((tmp_path / content.images[1]).read_bytes())
    assert sheet.shape == (96 + 8 + 3 * 96, 12 * 96, 3)  # 12 of the real faces, 36 of the synthetic ones
    assert (sheet[:96] == 11).all()
    assert (sheet[104:] == 222).all()
    for words in ("A balanced set", "a, 0-9", "out of tries", "1,234", "not local", "800", "200 → 800"):
        assert words in content.words, words


def test_the_page_fetches_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = write_report_files(tmp_path, report()).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//|@import|url\(", text)
    content = Page(text)
    assert not {tag for tag, _ in content.tags} & {"script", "link", "iframe", "object", "embed"}
    assert not [name for _, attributes in content.tags for name in attributes if name.startswith("on")]


def test_all_text_is_escaped() -> None:
    text = render_page(
        report(
            title=HOSTILE,
            facts={HOSTILE: HOSTILE},
            cells=[cell(HOSTILE, 3, 1, 1, rejected={HOSTILE: 2}, note=HOSTILE)],
            tables=[ReportTable(HOSTILE, (HOSTILE, "n"), ((HOSTILE, 1),), note=HOSTILE)],
            image_stats={HOSTILE: measure_image_stats([(face(9), None)]).summary()},
            seconds={HOSTILE: 2.0},
            warnings=[HOSTILE],
        ),
        {0: {"cell": 'x" onerror="y.png', "pairs": 'z" onerror="y.png'}},
    )
    content = Page(text)
    assert "script" not in {tag for tag, _ in content.tags}
    assert not [name for _, attributes in content.tags for name in attributes if name.startswith("on")]
    assert sum(HOSTILE in words for words in content.words) >= 12
    assert "<script" not in text


def test_real_faces_are_left_out_and_those_of_an_earlier_page_are_removed(tmp_path: Path) -> None:
    write_report_files(tmp_path, report())
    (tmp_path / "report_files" / "notes.txt").write_text("mine")
    text = write_report_files(tmp_path, report(), real_faces=False).read_text(encoding="utf-8")
    assert Page(text).images == ["report_files/cell-0001.png"]
    assert sorted(path.name for path in (tmp_path / "report_files").iterdir()) == ["cell-0001.png", "notes.txt"]
    assert (decode((tmp_path / "report_files" / "cell-0001.png").read_bytes()) == 222).all()
    assert "real ones are left out" in text


def test_figures_of_balance_are_those_of_the_counts() -> None:
    cells = [cell("a", 100, 0, 0), cell("b", 25, 75, 0)]
    words = Page(render_page(report(cells=cells))).words
    assert "4 → 1" in words  # largest : smallest
    assert "0.722 → 1" in words  # entropy of (0.8, 0.2) over ln 2
    assert "0 → 0" in words


def test_measurements_are_shown() -> None:
    summary = measure_image_stats([(face(60), None), (face(90), None)]).summary()
    rows = (("gender", 0.843, 1300), ("age", None, float("nan")))
    table = ReportTable("Classifiers", ("attribute", "accuracy", "images"), rows, bars=("accuracy",))
    image_stats = {"data set": summary, "synthetic": summary}
    text = render_page(report(tables=[table], image_stats=image_stats, seconds={"classifiers": 83}))
    words = Page(text).words
    for expected in ("0.843", "1,300", "1 min 23 s", "75", "data set", "synthetic"):
        assert expected in words, expected
    assert words.count("\N{EN DASH}") >= 2
    assert 'style="width:84.3%"' in text
    assert table.numeric == {"accuracy", "images"}
    with pytest.raises(UsageError, match="do not fit its 2 columns"):
        ReportTable("x", ("a", "b"), ((1,),))


def test_an_interrupted_or_empty_run_has_a_page_too() -> None:
    assert "not complete" in render_page(report(complete=False))
    assert "not complete" not in render_page(report())
    assert Page(render_page(report(cells=[], facts={}))).open == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "report_files").write_text("in the way")
    with pytest.raises(OutputError, match="report_files could not be written"):
        write_report_files(tmp_path, report())
    assert not (tmp_path / "report.html").exists()


def faces_folder(path: Path) -> FaceDataset:
    """Write 30 real faces, all black, of two genders, and load them."""
    (path / "faces").mkdir(parents=True)
    genders = ["female"] * 10 + ["male"] * 20
    for k in range(30):
        (path / "faces" / f"{k:02}.png").write_bytes(encode(face(0), "png"))
    pd.DataFrame({"file": [f"{k:02}.png" for k in range(30)], "gender": genders}).to_csv(path / "l.csv", index=False)
    return load_dataset(path / "faces", path / "l.csv")


MEASURED: dict[str, Any] = {
    "framing": {"scale": 0.75, "dx": 0.0, "dy": 0.125, "match": None},
    "classifiers": {
        "held_out": [
            {
                "attribute": "gender",
                "kind": "classes",
                "accuracy": 0.91,
                "mean_recall": 0.74,
                "pictures": 400,
                "calibration_error": 0.03,
                "exposure_pull": 0.21,
                "recall": {"female": 0.98, "male": 0.5},
            },
            {"attribute": "age", "kind": "value", "mean_absolute_error": 7.25, "correlation": None, "r2": 0.61},
        ]
    },
    "r2": {"gender=male": 0.4321},
    "seconds": {"synthesis": 61.0},
}


def output_folder(path: Path, dataset: FaceDataset, **changes: Any) -> Path:
    cells_plan = plan(analyze(dataset, "gender"), "min:25")
    records = [
        CellRecord.planned_only(c.index, c.levels, real=c.real, wanted=c.wanted, planned=c.planned)
        for c in cells_plan.cells
    ]
    with OutputFolder.open(path, "f" * 64, max_rows=5) as folder:
        folder.begin(header(), records, cells_plan.to_dict())
        first = [sample(k, cell=0, **changes) for k in range(5)]
        folder.append(first, {0: CellState({"not local": 17}, note="out of tries")})
        folder.append([sample(k, cell=k % 2) for k in range(5, 10)])
        folder.finish(measured=MEASURED)
    return path


def test_a_run_is_reported_from_the_content_of_its_folder(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    text = build_report(out, dataset).read_text(encoding="utf-8")
    words = Page(text).words
    counts = ("female", "10 → 17", "20 → 23", "out of tries", "not local")
    for expected in (*counts, "held-out", "0.910", "7.25", "0.432", "1 min 01 s", "faces|old (90 images)", "synthetic"):
        assert expected in words, expected
    assert "moved by +0.0% across and +12.5% down" in text
    assert "The held-out classifier recognizes few" in text
    assert "gender male (50%)" in text  # a class with low recall
    assert "2 of 2 cells ended short, by 10 samples" in text
    sheets = [decode((out / name).read_bytes()) for name in Page(text).images]
    assert [sheet.shape[0] for sheet in sheets] == [96 + 8 + 96] * 2
    assert (sheets[0][:96, : 10 * 96] == 0).all()  # ten real ones
    assert (sheets[0][:96, 10 * 96 :] == 255).all()
    assert not verify(out).problems


def test_a_run_is_reported_without_real_faces(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    for options in ({"dataset": dataset, "real_faces": False}, {}):
        text = build_report(out, **options).read_text(encoding="utf-8")  # type: ignore[arg-type]
        assert "real ones are left out" in text
        for name in Page(text).images:
            assert decode((out / name).read_bytes()).shape[0] == 96


def test_samples_stand_below_the_photographs_that_they_were_made_from(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    photograph = hashlib.sha256(dataset.encoded(3)).digest()
    out = output_folder(tmp_path / "out", dataset, source_sha256=photograph)  # of generated and of rerendered samples
    content = Page(build_report(out, dataset).read_text(encoding="utf-8"))
    assert content.images == [f"report_files/{name}-000{k}.png" for k, name in ((0, "cell"), (0, "pairs"), (1, "cell"))]
    pairs = decode((out / "report_files" / "pairs-0000.png").read_bytes())
    assert pairs.shape == (2 * 96, 12 * 96, 3)
    assert (pairs[:96, : 5 * 96] == 0).all()
    assert (pairs[:, 5 * 96 :] == 255).all()
    for k in range(5):
        expected = resize(sample(k, cell=0).image, (96, 96))
        assert np.abs(pairs[96:, 96 * k : 96 * (k + 1)].astype(int) - expected).mean() < 8  # the shard has JPEG files
    words = " ".join(content.words)
    assert (
        "6 of the synthetic faces were made from a photograph and show, or resemble, its person; up to 24 per cell"
        in words
    )
    assert "no real person" not in words


def test_missing_photographs_are_counted_and_their_samples_shown_alone(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    (tmp_path / "real" / "faces" / "07.png").unlink()  # an image that cannot be read is skipped
    words = " ".join(Page(build_report(out, dataset).read_text(encoding="utf-8")).words)
    assert "1 of the photographs that samples were made from are not in faces|old any more" in words
    assert not list((out / "report_files").glob("pairs-*"))
    sheet = decode((out / "report_files" / "cell-0000.png").read_bytes())
    assert (sheet[104:, 6 * 96 : 7 * 96] != 255).any()  # the seventh of seven samples of this cell


def test_samples_of_real_people_are_left_out_with_them(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset, source_sha256=hashlib.sha256(dataset.encoded(3)).digest())
    build_report(out, dataset)
    words = " ".join(Page(build_report(out, dataset, real_faces=False).read_text(encoding="utf-8")).words)
    assert "its person; they are left out too." in words
    sheet = decode((out / "report_files" / "cell-0000.png").read_bytes())
    assert (sheet[:, 2 * 96 :] == 255).all()  # two of seven samples were not made from a photograph
    assert sorted(path.name for path in (out / "report_files").iterdir()) == ["cell-0000.png", "cell-0001.png"]


def test_an_interrupted_run_has_a_report(tmp_path: Path) -> None:
    text = build_report(write_output(tmp_path / "out", finish=False)).read_text(encoding="utf-8")
    assert "not complete" in text
    assert "only so far" in text
