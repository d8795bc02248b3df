"""The page of faults names tests that exist, and every test of this folder."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__)
TESTS = HERE.parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")


def test_the_page_and_the_tests_agree() -> None:
    named: dict[str, set[str]] = {}
    for file, names in re.findall(r"`([\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", PAGE):
        named.setdefault(file, set()).update(re.findall(r"test_\w+", names))
    assert named
    for file, names in named.items():
        assert names <= _tests(TESTS / file), file
    for path in HERE.parent.glob("test_*.py"):
        if path != HERE:
            assert _tests(path) <= named.get(f"faults/{path.name}", set()), path.name


def test_every_fault_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| fault |"))]
    assert len(rows) > 20
    assert [row[:60] for row in rows if "`: `test_" not in row] == []


def _tests(path: Path) -> set[str]:
    return set(re.findall(r"^(?:    )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
