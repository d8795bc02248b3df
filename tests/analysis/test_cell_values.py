"""Numbers for cells: nested, as records, from files, and every way they can be wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceaug.analysis.axes import Axis
from faceaug.analysis.cell_values import as_shares, read_values
from faceaug.errors import IntegrityError, PlanError
from faceaug.planning.plan import Plan
from faceaug.utils.documents import load_document
from faceaug.utils.files import MOST_DOCUMENT_BYTES

AXES = (Axis("gender", "categorical", ("f", "m")), Axis("glasses", "categorical", ("False", "True")))


def read(content: Any) -> dict[int, float]:
    return dict(read_values(content, AXES, field="count", source="the counts"))


def test_three_ways_to_write_the_same() -> None:
    nested = {"f": {True: 5}, "m": {"False": 7.0, "True": np.int64(0)}}
    records = [
        {"gender": "m", "glasses": False, "count": 7},
        {"gender": "f", "glasses": True, "count": 5},
        {"count": 0, "glasses": "True", "gender": "m"},
    ]
    tuples = {("f", "True"): 5, ("m", "False"): 7, ("m", True): 0}
    assert read(nested) == read(records) == read(tuples) == {1: 5, 2: 7, 3: 0}
    assert all(isinstance(value, int) for value in read(nested).values())


def test_levels_that_are_numbers_or_bins() -> None:
    axes = (Axis("age", "continuous", ("0 to 20", "20 to 60"), (0, 20, 60)), Axis("label", "categorical", ("0", "1")))
    assert read_values({"20 to 60": {1: 3, 0.0: 2}}, axes, field="count", source="x") == {3: 3, 2: 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": {"True": 1}}, "'gender' has no level 'w'"),
        ({"f": {"Tru": 1}}, "'glasses' has no level 'Tru'; did you mean 'True'"),
        ({"f": 3}, "nested as gender > glasses > number, but is not at f"),
        ({"f": {"True": {"x": 1}}}, "is not at f / True"),
        ({("f", "True", "x"): 1}, "is not at f / True / x"),
        ({"f": {"True": 1, True: 2}}, "names the cell gender=f, glasses=True twice"),
        ([{"gender": "f", "glasses": True}], "without 'count'"),
        ([{"gender": "f", "count": 2}], "without 'glasses'"),
        ([{"gender": "f", "glasses": True, "cuont": 2}], "unknown key 'cuont'; did you mean 'count'"),
        (["f"], "holds 'f' where a cell with gender, glasses, count was expected"),
        ({"f": {"True": -1}}, "count of gender=f, glasses=True in the counts must be a number from 0"),
        ({"f": {"True": float("nan")}}, "must be a number from 0"),
        ({"f": {"True": 10**400}}, "must be a number from 0"),
        ({"f": {"True": True}}, "must be a number from 0"),
        ({"f": {"True": "5"}}, "must be a number from 0"),
        ({}, "names no cell"),
        ([], "names no cell"),
        (7, "must be a list of cells"),
        ("text", "must be a list of cells"),
        ({"format": "faceaug-plan", "version": 1}, "is a file of the format 'faceaug-plan'"),
    ],
)
def test_what_is_wrong_is_named(content: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read(content)


def test_shares_are_exact_and_counts_are_divided_by_their_sum() -> None:
    assert as_shares({0: 1, 1: 3}, "x") == {0: Fraction(1, 4), 1: Fraction(3, 4)}
    assert as_shares({0: 0.1, 1: 0.9}, "x") == {0: Fraction(1, 10), 1: Fraction(9, 10)}
    assert as_shares({0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, "x") == dict.fromkeys(range(3), Fraction(1, 3))
    assert as_shares({0: 1.0, 1: 0.0}, "x") == {0: 1, 1: 0}
    tiny = as_shares({0: 1e-12, 1: 1 - 1e-12}, "x")
    assert tiny[0] > 0
    assert sum(tiny.values()) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({0: 0.5, 1: 0.49}, "sum to 0.99, not to 1"),
        ({0: 33.3, 1: 66.7}, "sum to 100, not to 1"),
        ({0: 0}, "is 0 in every cell"),
    ],
)
def test_shares_that_are_no_shares(values: dict[int, float], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        as_shares(values, "x")


@pytest.mark.parametrize("name", ["counts.json", "counts.yaml", "COUNTS.YML"])
def test_documents_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('\ufeff{"f": {"True": 5}}', encoding="utf-8")
    assert load_document(path, "the counts") == {"f": {"True": 5}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"f": 1, "f": 2}', "'f' stands twice"),
        ("a.yaml", "f: 1\nf: 2\n", "'f' stands twice"),
        ("a.yaml", "a:\n  yes: 1\n  true: 2\n", "True stands twice"),
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "f: [", "cannot be read"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("a.yaml", "? [a]\n: 1\n", "cannot be read"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.txt", "f: 1", "must be a .json, .yaml or .yml file"),
    ],
)
def test_documents_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match=message) as caught:
        load_document(path, "the counts")
    assert "\n" not in str(caught.value)


def test_a_missing_document(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="does not exist"):
        load_document(tmp_path / "none.yaml", "the counts")


def test_nested_aliases_do_not_blow_up(tmp_path: Path) -> None:
    """Nine levels of nine references each would be 400 million cells."""
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1]"] + [
        f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)
    ]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(
        PlanError, match="line 1 has the anchor 'a0', and neither aliases nor anchors are read"
    ) as caught:
        load_document(path, "the counts")
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f: 1\nm: *f\n", "line 2 has the alias 'f'"),
        ("- 1\n- &x {f: 1}\n", "line 2 has the anchor 'x'"),
        ("- &x a\n", "line 1 has the anchor 'x'"),
        (f"f: &{'x' * 100_000} 1\n", "line 1 has the anchor 'xxx"),
        (f"f: {':'.join(['1'] * 100_000)}\n", "line 1 has a number of more than 100 digits"),
        (f"f: {'9' * 100_000}\n", "line 1 has a number of more than 100 digits"),
        (f"{'x' * 100}: 1\n{'x' * 100}: 2\n", "stands twice"),
        (f"f: !{'t' * 100_000} 1\n", "could not determine a constructor"),
    ],
)
def test_yaml_that_would_grow_is_refused_in_a_short_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "counts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match=message) as caught:
        load_document(path, "the counts")
    assert len(str(caught.value)) < len(str(path)) + 350
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["counts.json", "counts.yaml"])
def test_a_document_has_at_most_so_many_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"f": 1}'.ljust(MOST_DOCUMENT_BYTES))
    if name.endswith(".json"):
        assert load_document(path, "the counts") == {"f": 1}
    path.write_bytes(b'{"f": 1}'.ljust(MOST_DOCUMENT_BYTES + 1))
    with pytest.raises(PlanError, match="is larger than the 8 MiB"):
        load_document(path, "the counts")
    with pytest.raises(IntegrityError, match="is larger than the 8 MiB"):
        Plan.read(path)


def test_an_endless_file_is_read_no_further_than_that(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.symlink_to("/dev/zero")
    with pytest.raises(PlanError, match="is larger than"):
        load_document(path, "the counts")
