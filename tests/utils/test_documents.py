"""JSON and YAML documents: what is read, and content that is refused in a short line."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceaug.errors import IntegrityError, PlanError
from faceaug.planning.plan import Plan
from faceaug.utils.documents import load_document
from faceaug.utils.files import MOST_DOCUMENT_BYTES


@pytest.mark.parametrize("name", ["counts.json", "counts.yaml", "COUNTS.YML"])
def test_documents_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('\ufeff{"f": {"True": 5}}', encoding="utf-8")
    assert load_document(path, "the counts") == {"f": {"True": 5}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"f": 1, "f": 2}', "'f' occurs twice"),
        ("a.yaml", "f: 1\nf: 2\n", "'f' occurs twice"),
        ("a.yaml", "a:\n  yes: 1\n  true: 2\n", "True occurs twice"),
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
        (f"{'x' * 100}: 1\n{'x' * 100}: 2\n", "occurs twice"),
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
    with pytest.raises(PlanError, match="cannot be read: it is a pipe, device or socket, not a file"):
        load_document(path, "the counts")
