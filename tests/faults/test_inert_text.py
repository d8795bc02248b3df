"""Labels, file names and headers with markup, formulas and escape sequences: shown, never obeyed."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from command_line import IN_PROCESS
from PIL import Image
from shard_samples import cells, header, sample

from faceaug.exports.export import export_output
from faceaug.shards.description.data_card import data_card
from faceaug.shards.output_folder import OutputFolder
from faceaug.utils.text import plain_lines, without_formula

EVIL = "a\x1b[31m\x9b2J\u202eb"
MARKUP = (
    "[x](http://evil.example) ![y](https://evil.example/p.png) <img src=x> https://evil.example www.evil.example a@b.c"
)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_terminal_gets_no_control_characters(tmp_path: Path, capfd: pytest.CaptureFixture[str], as_json) -> None:
    space: dict[str, object] = {}
    exec(IN_PROCESS, space)
    for k in range(4):
        Image.new("RGB", (16, 16), (k, k, k)).save(tmp_path / f"{k}.png")
    (tmp_path / f"{EVIL}.png").write_bytes(b"no image")
    rows = "".join(f"{k}.png,{EVIL}{k % 2}\n" for k in range(4))
    (tmp_path / "labels.csv").write_text(f"file,{EVIL}\n{rows}{EVIL}.png,x\n")
    words = ["analyze", str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--by", EVIL]
    assert space["run"]([*words, "--json"] if as_json else words) == 0
    assert space["run"]([*words[:-1], f"{EVIL}x"]) != 0
    (tmp_path / "recipe.yaml").write_text(json.dumps({"run": {"device": EVIL, EVIL: 1}}))
    assert space["run"](["analyze", "--recipe", str(tmp_path / "recipe.yaml")]) != 0
    assert space["run"](["recipes", "show", str(tmp_path / "recipe.yaml")]) == 0
    shown = "".join(capfd.readouterr())
    assert [c for c in shown if not c.isprintable() and c not in "\n\t"] == []


def test_json_on_the_terminal_stays_json() -> None:
    value = {"name": EVIL + "\U000e0001", "text": "ä\n"}
    assert json.loads(plain_lines(json.dumps(value, ensure_ascii=False))) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-90 to -25", "-90 to -25"),
        ("-5.5", "-5.5"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_formulas_are_text_for_a_spreadsheet(text: str, shown: str) -> None:
    assert without_formula(text) == shown


def test_a_data_card_has_no_live_links(tmp_path: Path) -> None:
    with OutputFolder.open(tmp_path / "out", "f" * 64) as folder:
        folder.begin(header(), cells(), {"cells": []})
        named = folder.manifest.dataset.model_copy(update={"name": MARKUP})
        card = data_card(folder.manifest.model_copy(update={"dataset": named}), "out")
    body = card.partition("\n---\n")[2]
    for live in (r"(?<!\\)\]\(", r"(?<!\\)!\[", "<img", "https://evil", r"www\.evil", "a@b"):
        assert re.search(live, body) is None


def test_exported_labels_hold_no_formulas(tmp_path: Path) -> None:
    levels = ("=1+1", "@x")
    first = header()
    columns = tuple(c.model_copy(update={"levels": levels}) if c.name == "gender" else c for c in first.columns)
    with OutputFolder.open(tmp_path / "out", "f" * 64) as folder:
        folder.begin(header(columns=columns), cells(), {"cells": []})
        folder.append([sample(k, attr={"gender": levels[k % 2]}) for k in range(4)])
        folder.finish()
    export_output(tmp_path / "out", tmp_path / "images", "imagefolder", by="gender")
    with open(tmp_path / "images" / "metadata.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 5
    assert [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+")] == []
