"""The README's Python runs as it stands, documents link to files that exist, and figures are those of the records."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from demo_faces import few_demo_faces
from quick_runs import make_blocks_small

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.slow
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    from faceaug.errors import GeneratorError
    from faceaug.generators.registry import load_generator

    try:
        load_generator("embedded")
    except GeneratorError as error:
        pytest.skip(str(error))
    # As few faces as a test can afford: what the blocks call is the same.
    few = few_demo_faces(tmp_path / "demo", 200)
    monkeypatch.setattr("faceaug.demo.path", lambda: few)
    make_blocks_small(monkeypatch)
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    assert len(blocks) >= 3
    for block in blocks[:2]:
        exec(compile(block, "README.md", "exec"), space)
    result = space["result"]
    assert result.accepted + result.short == result.planned == 20
    assert result.accepted > 0
    exec(compile(blocks[2], "README.md", "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_the_readme_is_read_in_one_sitting():
    assert len(TEXT.splitlines()) <= 130


def test_figures_are_those_of_the_records(monkeypatch):
    assert "<!-- figures: benchmarks/results/utkface.json -->" in (ROOT / "docs" / "results.md").read_text("utf-8")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["figures.py", "--check"])
    runpy.run_path(str(ROOT / "benchmarks" / "figures.py"), run_name="__main__")  # exits where one differs
