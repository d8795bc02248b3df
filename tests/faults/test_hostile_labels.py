"""Label tables in every form that programs write, and with rows that do not fit: counted with their row, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError

ROWS = (("file", "g"), *((f"{k}.png", "é" if k % 2 else "b") for k in range(4)))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    (tmp_path / "faces").mkdir()
    for k in range(5):
        Image.new("RGB", (8, 8), (k, k, k)).save(tmp_path / "faces" / f"{k}.png")
    return tmp_path / "faces"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_ends_of_lines_and_byte_order_marks_make_no_difference(faces, separator, end, encoding) -> None:
    text = end.join(separator.join(row) for row in ROWS) + end
    (faces.parent / "labels.csv").write_bytes(text.encode(encoding))
    dataset = load_dataset(faces, faces.parent / "labels.csv")
    assert dataset.attributes == ("g",)
    assert dataset.table["g"].tolist() == ["b", "é", "b", "é"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32", "cp037"])
def test_other_encodings_are_refused_with_the_byte_and_the_remedy(faces, encoding) -> None:
    (faces.parent / "labels.csv").write_bytes("\n".join(",".join(row) for row in ROWS).encode(encoding))
    with pytest.raises(DatasetError, match=r"is not UTF-8 text \(byte \d+\); save it as UTF-8"):
        load_dataset(faces, faces.parent / "labels.csv")


def test_rows_that_do_not_fit_are_counted_with_their_number_and_strict_refuses_them(faces) -> None:
    lines = ["file,g", "0.png,a", "1.png,b", "1.png,a", "0.png,a", "9.png,b", ",a", "2.png,", "3.png,b"]
    (faces.parent / "labels.csv").write_text("\n".join(lines))
    dataset = load_dataset(faces, faces.parent / "labels.csv")
    assert len(dataset) == 4
    found = {(problem.kind, problem.name): problem.detail for problem in dataset.problems}
    assert found.keys() == {
        *(("duplicate label", "1.png"), ("duplicate label", "0.png"), ("missing file", "9.png")),
        *(("label without image", "row 6"), ("image without label", "4.png")),
    }
    assert found["duplicate label", "1.png"] == "row 3 repeats row 2 with other labels; the first row is used"
    assert found["duplicate label", "0.png"] == "row 4 repeats row 1 with the same labels; the first row is used"
    with pytest.raises(DatasetError, match="is not clean"):
        load_dataset(faces, faces.parent / "labels.csv", strict=True)
