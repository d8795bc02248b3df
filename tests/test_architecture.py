"""The code keeps to docs/architecture.md: the order of packages, and limits of size."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_BODY, LONGEST_FILE, MOST_PARAMETERS, MOST_FILES = 50, 400, 7, 12
SOURCES = sorted([*ROOT.glob("faceaug/**/*.py"), *ROOT.glob("cli/**/*.py"), *ROOT.glob("recipes/*.py")])
TREES = {path: ast.parse(path.read_text("utf-8")) for path in SOURCES}
CONTRACTS = {"detect", "read", "load", "create_engine"}  # functions that every module of a kind has


def _order() -> list[str]:
    """Return the packages in the order of the document, top first."""
    listed = (ROOT / "docs/architecture.md").read_text("utf-8").split("```text\n")[1].split("```")[0]
    return re.findall(r"^(\w+)", listed, re.MULTILINE)


def _package(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] != "faceaug" else parts[1].removesuffix(".py")


def _imported(path: Path) -> Iterator[str]:
    """Yield the packages of faceaug that a module imports, anywhere in it and in whatever form."""
    here = (*path.relative_to(ROOT).with_suffix("").parts,)
    here = here if here[0] == "faceaug" else ("faceaug", *here)
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*here[: -node.level], *(node.module or "").split(".")]
                if node.level
                else (node.module or "").split(".")
            )
            names = [[part for part in (*base, alias.name) if part] for alias in node.names]
        else:
            continue
        for parts in names:
            if parts[0] == "faceaug" and len(parts) > 1:
                yield parts[1]


def test_every_package_is_in_the_document():
    assert {_package(path) for path in SOURCES} - {"__init__", "_version"} == set(_order())


def test_packages_import_only_from_below():
    place = {name: k for k, name in enumerate(_order())}
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        if _package(path) in place
        for name in _imported(path)
        if name in place and name != _package(path) and place[name] < place[_package(path)]
    ]
    assert upwards == []


def _functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_bodies_are_short():
    long = []
    for path, node in _functions():
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > LONGEST_BODY:
            long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert long == []


def test_signatures_are_short():
    wide = []
    for path, node in _functions():
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        callback = any("click" in ast.unparse(decorator) for decorator in node.decorator_list)
        if count > MOST_PARAMETERS and not callback:
            wide.append(f"{path.relative_to(ROOT)}: {node.name} has {count} parameters")
    assert wide == []


def test_files_and_folders_are_small():
    large = [f"{p.relative_to(ROOT)}" for p in SOURCES if p.read_text("utf-8").count("\n") > LONGEST_FILE]
    assert large == []
    files = Counter(path.parent for path in SOURCES if path.name not in ("__init__.py", "__main__.py"))
    full = [f"{folder.relative_to(ROOT)}: {count}" for folder, count in files.items() if count > MOST_FILES]
    assert full == []


@pytest.mark.parametrize("kind", [ast.ClassDef, ast.FunctionDef])
def test_a_public_name_means_one_thing(kind: type[ast.AST]):
    homes = Counter(
        node.name
        for path, tree in TREES.items()
        if path.relative_to(ROOT).parts[0] == "faceaug"
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        and isinstance(node, kind)
        and not node.name.startswith("_")
        and node.name not in CONTRACTS
    )
    assert [name for name, count in homes.items() if count > 1] == []
