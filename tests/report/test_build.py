"""The report: complete, escaped, independent of a network, and without real faces where none may be shown."""

from __future__ import annotations

import hashlib
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import FakeGenerator
from shard_samples import header, sample, write_output

from faceaug.analysis.analyze import analyze
from faceaug.appearance.image_stats import measure_image_stats
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import plan
from faceaug.report.build import build_report
from faceaug.report.faces import strips
from faceaug.report.html import Report, ReportTable, render_page
from faceaug.shards.manifest import CellRecord
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.verify import verify
from faceaug.utils.images import Rgb, decode, encode

HOSTILE = "<script>alert('x')</script>&\"'"


def face(value: int) -> Rgb:
    return np.full((16, 16, 3), value, np.uint8)


def cell(index: int, level: str, real: int, accepted: int, short: int, **options: Any) -> CellRecord:
    planned = accepted + short
    record = CellRecord.planned_only(index, {"group": level, "age": "0-9"}, real=real, wanted=planned, planned=planned)
    return record.with_outcome(accepted, options.pop("rejected", {}), options.pop("note", ""))


def report(**changes: Any) -> Report:
    content: dict[str, Any] = {
        "title": "A balanced set",
        "facts": {"seed": "7"},
        "cells": [
            cell(0, "a", 1000, 0, 0),
            cell(1, "b", 200, 600, 200, rejected={"not local": 1234}, note="out of tries"),
            cell(2, "c", 0, 0, 0),
        ],
        "by_engine": {"morph": np.array([0, 400, 0]), "generator": np.array([0, 200, 0])},
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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script") and data.strip():
            self.words.append(" ".join(data.split()))


def data_of(out: Path) -> dict[str, Any]:
    """Return what the page's script knows."""
    text = (out / "report_files" / "data.js").read_text("utf-8")
    content: dict[str, Any] = json.loads(text.removeprefix("window.faceaugReport=").removesuffix(";\n"))
    return content


def sheet(out: Path, name: str) -> Rgb:
    return decode((out / "report_files" / name).read_bytes())


def test_counts_stand_by_engine_with_what_is_short_and_what_the_figures_mean() -> None:
    text = render_page(report())
    content = Page(text)
    assert content.open == []  # every tag closed
    for words in ("A balanced set", "out of tries", "1,234", "not local", "200 → 800", "synthetic, morph"):
        assert words in content.words, words
    assert 'aria-label="b, age 0-9: 200 real, 400 morph, 200 generator, 200 short"' in text
    assert "5 → 1.25" in content.words  # largest : smallest
    assert any("smallest one that is not empty" in words for words in content.words)


def test_the_page_fetches_nothing() -> None:
    text = render_page(report())
    assert not re.search(r"https?:|@import", text)
    content = Page(text)
    assert "default-src 'none'" in text
    assert not {tag for tag, _ in content.tags} & {"link", "iframe", "object", "embed"}
    assert not [name for _, attributes in content.tags for name in attributes if name.startswith("on")]


def test_all_text_is_escaped() -> None:
    text = render_page(
        report(
            title=HOSTILE,
            facts={HOSTILE: HOSTILE},
            cells=[cell(0, HOSTILE, 3, 1, 1, rejected={HOSTILE: 2}, note=HOSTILE)],
            by_engine={HOSTILE: np.array([1])},
            tables=[ReportTable(HOSTILE, (HOSTILE, "n"), ((HOSTILE, 1),), note=HOSTILE)],
            image_stats={HOSTILE: measure_image_stats([(face(9), None)]).summary()},
            seconds={HOSTILE: 2.0},
            warnings=[HOSTILE],
            card={HOSTILE: HOSTILE},
        )
    )
    content = Page(text)
    assert [tag for tag, _ in content.tags].count("script") == 1  # the page's own
    assert "alert('x')" not in text
    assert " ".join(content.words).count(HOSTILE) >= 10


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
    assert Page(render_page(report(cells=[], facts={}, by_engine={}))).open == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out")
    (out / "report_files").write_text("in the way")
    with pytest.raises(OutputError, match="report_files could not be written"):
        build_report(out)
    assert not (out / "report.html").exists()


def faces_folder(path: Path) -> FaceDataset:
    """Write 30 real faces of two genders, all but one black, and load them."""
    (path / "faces").mkdir(parents=True)
    genders = ["female"] * 10 + ["male"] * 20
    for k in range(30):
        (path / "faces" / f"{k:02}.png").write_bytes(encode(face(200 if k == 3 else 0), "png"))
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
    counts = ("10 → 17", "20 → 23", "out of tries", "not local")
    for expected in (*counts, "held-out", "0.910", "7.25", "0.432", "1 min 01 s", "faces|old (90 images)", "synthetic"):
        assert expected in words, expected
    assert "moved by +0.0% across and +12.5% down" in text
    assert "The held-out classifier recognizes few" in text
    assert "gender male (50%)" in text  # a class with low recall
    assert "2 of 2 cells ended short, by 10 samples" in text
    assert "faceaug balance faces/ -o out/" in words  # the data card names the command
    assert next(e.sha256 for e in verify_entries(out)) in words
    assert not verify(out).problems


def verify_entries(out: Path) -> Any:
    from faceaug.shards.manifest import read_manifest

    return read_manifest(out).shards


def test_each_sample_has_its_thumbnail_its_readings_and_its_place(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    build_report(out, dataset)
    data = data_of(out)
    assert data["samples"]["cell"] == [0] * 7 + [1] * 3  # cell by cell
    assert data["samples"]["place"][0] == [0, 0]
    assert [data["samples"]["engines"][k] for k in data["samples"]["engine"]][:5] == ["generator"] * 4 + ["rerender"]
    fields = {field["key"]: field for field in data["fields"]}
    assert fields["confidence"]["values"] == [0.75] * 10
    assert fields["plausibility"]["limit"] == "at most 1"
    assert fields["plausibility"]["values"][4] is None  # a rerendered face has no latent
    assert data["samples"]["edit"][0] == pytest.approx(6**0.5, abs=1e-3)
    height, width = data["shape"]
    assert width == 24  # thumbnails are not enlarged
    faces = sheet(out, data["sheets"]["faces"][0])
    assert faces.shape == (height, 16 * width, 3)
    expected = sample(1, cell=0).image
    assert np.abs(faces[:, width : 2 * width].astype(int) - expected).mean() < 25
    assert len(data["cells"][0]["beside"]) == 10
    assert len(data["samples"]["nearest"][0]) == 3


def test_a_run_is_reported_without_real_faces(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    build_report(out, dataset)
    assert list((out / "report_files").glob("real-*"))
    for options in ({"dataset": dataset, "real_faces": False}, {}):
        text = build_report(out, **options).read_text(encoding="utf-8")  # type: ignore[arg-type]
        assert "real ones are left out" in text
        data = data_of(out)
        assert data["real"] == data["sheets"]["real"] == []
        assert not any(data["samples"]["madeOf"])
        assert not list((out / "report_files").glob("real-*"))  # those of the earlier report are removed


def test_a_sample_names_the_photographs_that_it_was_made_from(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    photograph = hashlib.sha256(dataset.encoded(3)).digest()
    out = output_folder(tmp_path / "out", dataset, source_sha256=photograph)
    words = " ".join(Page(build_report(out, dataset).read_text(encoding="utf-8")).words)
    data = data_of(out)
    (number,) = data["samples"]["madeOf"][0]
    assert data["real"][number] == "03.png"
    width = data["shape"][1]
    real = sheet(out, data["sheets"]["real"][0])
    assert real[:width, number * width : (number + 1) * width].mean() == pytest.approx(200, abs=12)
    assert number not in [near for near, _ in data["samples"]["nearest"][0]]
    assert "6 of the synthetic faces were made from a photograph and show, or resemble, its person" in words
    assert "no real person" not in words


def test_missing_photographs_are_counted(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset)
    (tmp_path / "real" / "faces" / "07.png").unlink()  # an image that cannot be read is skipped
    words = " ".join(Page(build_report(out, dataset).read_text(encoding="utf-8")).words)
    assert "1 of the photographs that samples were made from are not in faces|old any more" in words


def test_samples_of_real_people_are_left_out_with_them(tmp_path: Path) -> None:
    dataset = faces_folder(tmp_path / "real")
    out = output_folder(tmp_path / "out", dataset, source_sha256=hashlib.sha256(dataset.encoded(3)).digest())
    words = " ".join(Page(build_report(out, dataset, real_faces=False).read_text(encoding="utf-8")).words)
    assert "its person; they are left out too." in words
    assert len(data_of(out)["samples"]["cell"]) == 4  # six of ten were made from a photograph


def test_an_interrupted_run_has_a_report(tmp_path: Path) -> None:
    text = build_report(write_output(tmp_path / "out", finish=False)).read_text(encoding="utf-8")
    assert "not complete" in text
    assert "only so far" in text


class Grey(FakeGenerator):
    """Images of one grey, that of the first coordinate of w; its hash is that of the runs of these tests."""

    def __init__(self) -> None:
        super().__init__("toy", 16, np.zeros(6), np.eye(6))
        self.sha256 = "a" * 64

    def synthesize(self, w: torch.Tensor) -> torch.Tensor:
        return w[:, :1, None, None].expand(-1, 3, 16, 16)


def test_an_edit_is_shown_as_a_strip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "load_generator", lambda name: Grey())
    monkeypatch.setattr(strips, "_MOST_PIXELS", 8 * 5 * 16 * 16)
    dataset = faces_folder(tmp_path / "real")
    w = np.array([0.5, 0, 0, 0, 0, 0], np.float32)
    photograph = hashlib.sha256(dataset.encoded(3)).digest()
    out = output_folder(tmp_path / "out", dataset, w=w, origin_w=-w, source_sha256=photograph)
    assert "8 of 9 edits of a latent are shown as a strip" in build_report(out).read_text("utf-8")
    data = data_of(out)
    assert data["samples"]["strip"] == [0, 1, 2, 3, 4, 6, None, 5, 7, None]
    (name,) = data["sheets"]["strips"]
    width, images = data["stripShape"][1], data["stripImages"]
    greys = sheet(out, name)[: data["stripShape"][0], : images * width].reshape(-1, images, width, 3).mean((0, 2, 3))
    np.testing.assert_allclose(greys, 127.5 + 127.5 * np.linspace(-0.5, 0.5, images), atol=3)
    build_report(out, real_faces=False)  # the samples of photographs are left out, and their strips
    assert len(data_of(out)["samples"]["strip"]) == 4


@pytest.mark.parametrize(("name", "why"), [("toy", "no generator toy is installed"), ("a/b", "names a file")])
def test_without_its_generator_a_report_has_no_strips(tmp_path: Path, name: str, why: str) -> None:
    generator = header().generator
    assert generator is not None
    out = write_output(tmp_path / "out", generator=generator.model_copy(update={"name": name}))
    assert why in build_report(out).read_text("utf-8")
    assert data_of(out)["sheets"]["strips"] == []


def test_another_version_of_the_generator_makes_no_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Grey()
    other.sha256 = "b" * 64
    monkeypatch.setattr(strips, "load_generator", lambda name: other)
    out = write_output(tmp_path / "out")
    assert "toy has other weights here" in build_report(out).read_text("utf-8")
