"""Recipes, plans, references, manifests and headers that are not trusted: refused in one short sentence."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest
from faceaug.recipes import recipe
from shard_samples import write_output

from faceaug import analyze, plan
from faceaug.errors import FaceaugError, IntegrityError, PlanError, UsageError
from faceaug.planning import Plan
from faceaug.shards.manifest import hash_line, read_manifest
from faceaug.utils.documents import load_document, parse_value
from faceaug.utils.files import expanded, inside, parse_json, read_json

LONGEST_MESSAGE = 1_000
TABLE = pd.DataFrame({"gender": ["a"] * 3 + ["b"]})


@pytest.mark.parametrize(
    "text",
    [
        *("a: !!bool zz", "a: !!timestamp zz", "a: !!int zz", "a: !!float zz", "a: !!binary zz", "a: !!set [1]"),
        *("a: !!omap x", "a: !!pairs [1]", "a: 2001-99-99", "a: !!str {x: y}", "<<: 3", "? [a]\n: b", "a: 1\na: 2"),
        *("a: !!python/object:os.system x", "a: !!python/object/apply:os.system [touch canary]", "a: &b 1\nc: *b"),
        *("[" * 5000, "a: 0x" + "f" * 20_000, "a: 1:" + "30:" * 5000 + "0", "\x00", "a: \ud800", "{" * 5000),
    ],
)
def test_yaml_that_is_no_document_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (lambda: load_document(path, "the recipe"), lambda: parse_value(text, "--set a")):
        with pytest.raises(FaceaugError) as caught:
            read()
        assert len(str(caught.value)) < LONGEST_MESSAGE
    assert not (tmp_path / "canary").exists()


def test_an_alias_bomb_takes_no_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 8)}]" for k in range(9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    start = time.process_time()
    with pytest.raises(PlanError, match="neither aliases nor anchors are read"):
        recipe.load(str(tmp_path / "bomb.yaml"))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "too many lists or mappings inside each other"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' occurs twice"),
        (r'{"a": "\ud800"}', "surrogates not allowed"),
        (r'{"\udfff": 1}', "surrogates not allowed"),
        ("9" * 5000, "digits"),
        ("\x00", "Expecting value"),
    ],
)
def test_json_that_no_reader_agrees_on_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    for value in (text, text.encode()):
        with pytest.raises(ValueError, match=said):
            parse_json(value)
    for read in (lambda: read_json(path, "a plan"), lambda: Plan.read(path), lambda: load_document(path, "the plan")):
        with pytest.raises(FaceaugError, match=said):
            read()


def test_json_with_pairs_of_surrogates_is_text() -> None:
    assert parse_json(r'{"a": "\ud83d\ude00"}') == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("change", ['"seed": 99,\n "seed"', '"seed": ' + "9" * 4000 + ', "x"', r'"\ud800": 1, "seed"'])
def test_a_manifest_that_readers_would_differ_on_is_refused(tmp_path: Path, change: str) -> None:
    write_output(tmp_path)
    data = (tmp_path / "manifest.json").read_bytes().replace(b'"seed"', change.encode(), 1)
    (tmp_path / "manifest.json").write_bytes(data)
    (tmp_path / "manifest.sha256").write_text(hash_line(data))
    with pytest.raises(IntegrityError) as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize("path", ["~nosuchuser/faces", "a\0b"])
def test_a_path_that_cannot_be_used_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        expanded(path)
    (tmp_path / "recipe.yaml").write_text(json.dumps({"dataset": {"path": path}}))
    with pytest.raises(UsageError, match="cannot be used"):
        recipe.load(str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "../x", "/etc/passwd", "loop/x"])
def test_a_name_that_leads_out_or_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(IntegrityError):
        inside(tmp_path, name)


def test_a_share_of_almost_nothing_plans_no_endless_number_of_faces(tmp_path: Path) -> None:
    (tmp_path / "shares.json").write_text(json.dumps([{"gender": "a", "share": 1e-300}, {"gender": "b", "share": 1.0}]))
    with pytest.raises(PlanError, match="asks for more than 1e\\+15 faces in a cell"):
        plan(analyze(TABLE, "gender"), f"match:{tmp_path / 'shares.json'}")


@pytest.mark.parametrize("value", [10**16, 10**4000, -1, True, 1.5, None, "NaN"])
def test_a_plan_with_an_absurd_count_is_refused(tmp_path: Path, value: object) -> None:
    content = plan(analyze(TABLE, "gender"), "min:5").to_dict()
    content["cells"][0]["planned"] = value
    (tmp_path / "plan.json").write_text(json.dumps(content)) if not isinstance(value, int) or value < 10**100 else None
    with pytest.raises(IntegrityError) as caught:
        Plan.from_dict(content) if not (tmp_path / "plan.json").exists() else Plan.read(tmp_path / "plan.json")
    assert len(str(caught.value)) < LONGEST_MESSAGE


def test_long_values_are_shortened_in_messages(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"run: {{seed: {'x' * 100_000}}}\n")
    with pytest.raises(UsageError) as caught:
        recipe.load(str(tmp_path / "recipe.yaml"))
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert re.search(r"run\.seed", str(caught.value))
