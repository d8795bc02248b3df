"""`faceaug explore`: what it refuses before it serves anything, and that it serves and ends."""

from __future__ import annotations

import shlex
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import IN_PROCESS
from faceaug.cli.explore import _dataset
from faceaug.cli.terminal.console import Console
from faceaug.recipes.recipe import load
from forked import start_forked

import faceaug
from faceaug.explorer.cells import PlanWish
from faceaug.utils.images import encode


def test_without_the_extra_it_says_how_to_install_it(faceaug_cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = faceaug_cli("explore")
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert "pip install 'faceaug[explore]'" in refused.err


def test_real_faces_are_those_of_an_output_folder(faceaug_cli):
    pytest.importorskip("starlette", reason="the extra explore is not installed")
    refused = faceaug_cli("explore", faceaug.demo.path(), "--dataset", faceaug.demo.path())
    assert refused.status == 2
    assert "output folder" in refused.err


def test_recipe_and_command_name_all_options_of_the_data_set(tmp_path, monkeypatch, faceaug_cli):
    pytest.importorskip("starlette", reason="the extra explore is not installed")
    from faceaug.explorer.cell_routes import plan_command
    from faceaug.explorer.saving import SaveFolder

    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()
    names = [f"{k}.png" for k in range(4)]
    for k, name in enumerate(names):
        Path("faces", name).write_bytes(encode(np.full((16, 16, 3), 50 * k, np.uint8), "png"))
    table = {"file": names, "m": [1, 0, 1, 0], "f": [0, 1, 0, 1]}
    pd.DataFrame(table).to_csv("a.csv", index=False)
    pd.DataFrame({"file": names, "age": [3, 40, 50, 60]}).to_csv("b.csv", index=False)
    options = dict(labels=(Path("a.csv"), Path("b.csv")), one_hot=("gender=m,f",), map=("age=<13=child,else=adult",))
    options |= dict(follow_links=True, strict=True, split=None, file_column="file", reader="auto", by=("gender,age",))
    options |= dict(check="decode", reconstruction=None, aligned=False, workers=1)
    cells = _dataset(Path("faces"), options, Console(quiet=True))

    command = plan_command(cells.place, PlanWish("gender,age", "uniform", max_total=3))
    planned = faceaug_cli(*shlex.split(command)[1:], "--quiet")
    assert planned.status == 0, planned.err
    assert "adult" in planned.out
    for words in ("--labels a.csv --labels b.csv", "--strict", "--follow-links"):
        assert words in command, words

    saved = SaveFolder(Path("recipes")).recipe("mine.yaml", {"dataset": cells.place, "plan": {"by": "gender,age"}})
    read = load(str(saved)).options()
    assert [Path(file).resolve() for file in read["labels"]] == [tmp_path / "a.csv", tmp_path / "b.csv"]
    for key in ("one_hot", "map", "follow_links", "strict", "file_column"):
        assert read[key] == (list(options[key]) if isinstance(options[key], tuple) else options[key]), key


@pytest.mark.slow
def test_it_serves_a_page_until_ctrl_c():
    pytest.importorskip("uvicorn", reason="the extra explore is not installed")
    with start_forked(f"{IN_PROCESS}\nmain()", "explore", "--quiet") as process:
        address = process.wait_for("\n", errors=False).strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"faceaug explore" in page.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
