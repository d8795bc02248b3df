"""faceaug balance: how the command line reaches the run, and what it says of it. The run itself is tested elsewhere."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_line import IN_PROCESS
from shard_samples import cells, write_output

from faceaug.errors import GeneratorError
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import CellRecord, Totals, read_manifest
from faceaug.synthesis import balance as run
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
from faceaug.synthesis.balance import RunConfig, RunResult


@dataclass
class Calls:
    """Stands in for `faceaug.synthesis.balance.balance`: keeps what it was given; `then` decides what comes of it."""

    then: Callable[..., RunResult]
    given: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, dataset: Any, out: Path, **given: Any) -> RunResult:
        self.given.append({"dataset": dataset, "out": out, **given})
        return self.then(out)


def result(out: Path, accepted: tuple[int, int] = (40, 10)) -> RunResult:
    """A run that filled its first cell and fell short in its second."""
    done = [
        CellRecord(
            index=cell.index, attributes=cell.attributes, real=cell.real, wanted=cell.wanted, planned=cell.planned,
            accepted=got, short=cell.planned - got, tried=got + 12,
            rejected={"judge agrees": 9, "plausible": 2, "realistic": 1},
        )
        for cell, got in zip(cells(), accepted, strict=True)
    ]  # fmt: skip
    manifest = read_manifest(write_output(out)).model_copy(update={"cells": tuple(done), "totals": Totals.of(done)})
    return RunResult(manifest, {"reading": 1.5, "learning": 20.0, "making": 100.0})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls(result)
    monkeypatch.setattr(run, "balance", found)
    return found


def test_defaults_are_those_of_the_settings(faceaug_cli, faces, tmp_path, calls):
    outcome = faceaug_cli("balance", faces, "--by", "gender,ethnicity", "-o", tmp_path / "out")
    (given,) = calls.given
    assert outcome.status == 0  # short cells are no failure
    assert given["settings"] == RunConfig()
    assert given["generator"] == "embedded"
    assert given["resume"] is False
    assert given["recipe"] is None
    assert given["command"] == f"faceaug balance {faces} --by gender,ethnicity -o {tmp_path / 'out'}"
    assert [cell.planned for cell in given["plan"].cells] == [0, 6, 4, 2]
    assert len(given["dataset"]) == 20


def test_every_option_reaches_the_run(faceaug_cli, faces, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(
        "faceaug.measurement.measure.SHIPPED", tmp_path / "none"
    )  # it would be loaded to where there is no GPU
    faceaug_cli(
        "balance", faces, "--by", "ethnicity", "-o", tmp_path / "out", "--seed", 7, "--device", "cuda", "--workers", 3,
        "--batch-size", 8, "--tries", 5, "--no-finish", "--image-format", "webp", "--no-report",
        "--keep", "age,gender", "--keep", "glasses", "--generator", "digiface", "--resume", "--max-total", 2,
        "--engine", "both", "--aligned", "--from-real",
    )  # fmt: skip
    (given,) = calls.given
    assert given["settings"] == RunConfig(
        seed=7, device="cuda", workers=3, batch_size=8, tries=5, harmonize=False, image_format="webp", report=False,
        keep=("age", "gender", "glasses"), engine="both", aligned=True, from_real=True,
    )  # fmt: skip
    assert (given["generator"], given["resume"], given["plan"].total) == ("digiface", True, 2)


def test_what_would_do_nothing_is_refused(faceaug_cli, faces, tmp_path, calls):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("generator:\n  name: embedded\nrun:\n  engine: rerender\n")
    used = tmp_path / "uses.yaml"
    used.write_text("run:\n  uses: 2\n")
    turned = ("--engine", "rerender")
    for words, said in (
        ((*turned, "--generator", "embedded"), "leave out --generator, or use --engine both"),
        ((*turned, "--directions", "any.safetensors"), "leave out --directions, or use --engine both"),
        (("--recipe", recipe), "leave out --generator, or use --engine both"),
        ((*turned, "--no-finish"), "finish is False, which does nothing with the engine rerender"),
        (("--recipe", used), "uses is 2, which does nothing with the engine generator"),
        (("--engine", "both", "--layout", "raw", "--no-finish"), "holds pictures of one size"),
    ):
        for more in ((), ("--dry-run",)):
            outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", *words, *more)
            assert (outcome.status, outcome.out) == (2, "")
            assert said in outcome.err
    assert calls.given == []
    faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--layout", "raw")
    assert calls.given[0]["settings"] == RunConfig(layout="raw")


def test_real_faces_cannot_fill_labels(faceaug_cli, faces, tmp_path):
    for more in ((), ("--dry-run",)):
        outcome = faceaug_cli("balance", faces, "--by", "gender", "--engine", "rerender", "-o", tmp_path / "out", *more)
        assert outcome.status == 2
        assert "--by gender has none of them: add one, such as yaw:5, or use --engine generator" in outcome.err
    assert not (tmp_path / "out").exists()


def test_real_faces_begin_edits_of_a_generator_alone(faceaug_cli, faces, tmp_path):
    for more in ((), ("--dry-run",)):
        outcome = faceaug_cli(
            "balance", faces, "--by", "gender", "--from-real", "--engine", "rerender", "-o", tmp_path / "out", *more
        )
        assert outcome.status == 2
        assert "--engine rerender has none: leave out one of the two, or use --engine both" in outcome.err
    assert not (tmp_path / "out").exists()


def test_the_table_at_the_end(faceaug_cli, faces, tmp_path, calls):
    out = tmp_path / "out"
    said = faceaug_cli("balance", faces, "--by", "gender", "-o", out).out
    assert re.search(r"gender +real +planned +accepted +short +main reasons", said)
    assert re.search(r"male +40 +30 +10 +20 +judge agrees 9, plausible 2", said)
    assert re.search(r"all cells +90 +70 +50 +20", said)
    assert "Accepted 50 of 70 planned faces (71%); 20 are short. 24 attempts were refused." in said
    assert "Took 2 min: reading 2 s, learning 20 s, making 2 min." in said
    assert "1 cell ends short" in said
    assert f"faceaug verify {out}" in said
    assert "report.html" not in said  # there is none


def test_json_is_the_outcome(faceaug_cli, faces, tmp_path, calls):
    value = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--json", "-q").json
    assert (value["planned"], value["accepted"], value["short"]) == (70, 50, 20)
    assert [cell["short"] for cell in value["cells"]] == [0, 20]
    assert value["timings"]["learning"] == 20.0


def test_quiet_says_nothing(faceaug_cli, faces, tmp_path, calls):
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_require_full_is_status_1_when_a_cell_is_short(faceaug_cli, faces, tmp_path, calls):
    short = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "a", "--require-full")
    assert short.status == 1
    assert short.err == "Error: 20 planned faces are short, and --require-full was given\n"
    calls.then = lambda out: result(out, (40, 30))
    assert faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "b", "--require-full").status == 0


def test_an_edited_plan_is_carried_out(faceaug_cli, faces, tmp_path, calls):
    file = tmp_path / "plan.json"
    faceaug_cli("plan", faces, "--by", "gender,ethnicity", "-o", file)
    content = json.loads(file.read_text())
    content["cells"][1]["planned"] = 1
    content["totals"]["planned"] -= 5
    file.write_text(json.dumps(content))
    faceaug_cli("balance", faces, "--plan", file, "-o", tmp_path / "out")
    assert calls.given[0]["plan"] == Plan.read(file)
    assert calls.given[0]["plan"].cells[1].planned == 1


def test_a_plan_of_another_data_set_is_refused(faceaug_cli, faces, tmp_path, calls):
    file = tmp_path / "plan.json"
    faceaug_cli("plan", faces, "--by", "gender", "-o", file)
    labels = (faces / "labels.csv").read_text().splitlines()
    (faces / "labels.csv").write_text("\n".join(labels[:-1]))
    (faces / "020.png").unlink()
    outcome = faceaug_cli("balance", faces, "--plan", file, "-o", tmp_path / "out")
    assert outcome.status == 1
    assert "it counts 10 faces in (gender=male), but faces has 9; plan again" in outcome.err
    assert not calls.given


def test_a_plan_and_what_it_says_already_contradict(faceaug_cli, faces, tmp_path, calls):
    outcome = faceaug_cli(
        "balance", faces, "--plan", "p.json", "--by", "gender", "--max-total", 3, "-o", tmp_path / "o"
    )
    assert outcome.status == 2
    assert "leave out --by, --max-total" in outcome.err


@pytest.mark.parametrize(("words", "said"), [(["--by", "gender"], "-o out/"), (["-o", "out"], "--by gender")])
def test_what_is_missing_is_named(faceaug_cli, faces, words, said):
    outcome = faceaug_cli("balance", faces, *words)
    assert outcome.status == 2
    assert said in outcome.err


def test_a_recipe_gives_settings_and_gates(faceaug_cli, faces, tmp_path, calls):
    recipe = tmp_path / "run.yaml"
    recipe.write_text(
        "dataset: {path: faces}\nplan: {by: gender, strategy: 'min:11'}\n"
        "generator: {name: digiface, truncation: 0.7}\ngates: {judge: 0.6, duplicate_bits: 4}\n"
        "run: {seed: 5, tries: 3, candidates: 8, corrections: 2, draws: 512, keep: age, require_full: true}\n"
        "output: {path: out, layout: raw, image_format: png, finish: false, report: false}\n"
    )
    outcome = faceaug_cli("balance", "--recipe", recipe, "--seed", 6, "--finish")
    (given,) = calls.given
    assert outcome.status == 1  # require_full
    assert given["settings"] == RunConfig(
        seed=6, tries=3, candidates=8, corrections=2, survey_samples=512, keep=("age",), truncation_psi=0.7, layout="raw",
        image_format="png", harmonize=True, report=False, thresholds=AcceptanceThresholds(held_out=0.6, duplicate_bits=4),
    )  # fmt: skip
    assert (given["generator"], given["out"], given["recipe"]) == ("digiface", tmp_path / "out", str(recipe))
    assert given["plan"].strategy == "min:11"


def test_a_recipe_may_name_a_plan_and_the_command_line_override_it(faceaug_cli, faces, tmp_path, calls):
    faceaug_cli("plan", faces, "--by", "gender", "--max-total", 1, "-o", tmp_path / "plan.json")
    faceaug_cli("plan", faces, "--by", "ethnicity", "-o", tmp_path / "other.json")
    recipe = tmp_path / "run.yaml"
    recipe.write_text("plan: {file: other.json}\n")
    faceaug_cli("balance", faces, "--recipe", recipe, "-o", tmp_path / "a")
    faceaug_cli("balance", faces, "--recipe", recipe, "-o", tmp_path / "b", "--plan", tmp_path / "plan.json")
    faceaug_cli("balance", faces, "--recipe", recipe, "-o", tmp_path / "c", "--by", "age:2")
    assert [given["plan"].axes[0].name for given in calls.given] == ["ethnicity", "gender", "age"]


def test_dry_run_prints_plan_and_estimate_and_writes_nothing(faceaug_cli, faces, tmp_path, monkeypatch):
    seen = []

    def estimate(*given: Any) -> dict[str, float]:
        seen.append(given)
        return {"seconds": 754.0, "bytes": 2_500_000.0}

    monkeypatch.setattr("faceaug.synthesis.estimate.estimate", estimate)
    words = ["balance", faces, "--by", "gender,ethnicity", "--dry-run", "-o", tmp_path / "out", "--seed", 9]
    shown = faceaug_cli(*words)
    assert shown.status == 0
    assert "12 faces to make" in shown.out
    assert "The 12 faces would take about 13 min and 2.5 MB of disk." in shown.out
    value = faceaug_cli(*words, "--json").json
    assert value["estimate"] == {"seconds": 754.0, "bytes": 2_500_000.0}
    assert value["plan"]["totals"]["planned"] == 12
    assert not (tmp_path / "out").exists()
    assert seen[0][1:] == (Plan.from_dict(value["plan"]), "embedded", RunConfig(seed=9), None, None)


def test_interruption_is_status_130_and_names_resume(faceaug_cli, faces, tmp_path, calls):
    def interrupted(out: Path) -> RunResult:
        write_output(out, harmonize=False)
        raise KeyboardInterrupt

    calls.then = interrupted
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert outcome.status == 130
    assert outcome.err.startswith(f"Interrupted; what is finished is kept in {tmp_path / 'out'}: ")
    assert "--resume" in outcome.err
    sound = faceaug_cli("verify", tmp_path / "out")
    assert sound.status == 0
    assert "unfinished" in sound.out


def test_interruption_before_anything_is_written(faceaug_cli, faces, tmp_path, calls):
    def interrupted(out: Path) -> RunResult:
        raise KeyboardInterrupt

    calls.then = interrupted
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert outcome.status == 130
    assert "before anything was written" in outcome.err


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GeneratorError("no such generator"), "no such generator"),
        (OutOfMemoryError("CUDA out of memory"), "--batch-size"),
        (MemoryError(), "memory is used up"),
        (PermissionError(13, "Permission denied", "/there"), "/there: Permission denied"),
    ],
)
def test_failures_are_one_sentence_with_status_1(faceaug_cli, faces, tmp_path, calls, error, said):
    def failing(out: Path) -> RunResult:
        raise error

    calls.then = failing
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: ")
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_fault_of_our_own_is_not_hidden(faceaug_cli, faces, tmp_path, calls):
    def failing(out: Path) -> RunResult:
        raise ZeroDivisionError

    calls.then = failing
    with pytest.raises(ZeroDivisionError):
        faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")


def test_the_stand_in_has_the_real_thing_s_parameters():
    """What the command line passes on is what `run.balance` takes."""
    names = list(inspect.signature(run.balance).parameters)
    paths = ["generator", "directions", "reconstruction"]
    assert names == ["dataset", "out", "plan", *paths, "measurer", "settings", "resume", "progress", "command", "recipe"]


SLOW = f"""{IN_PROCESS}
import concurrent.futures, sys, time
from faceaug.cli import interrupt
from faceaug.synthesis import run as runs
interrupt.GRACE = float(sys.argv[1])

def slow(dataset, out, **given):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # whose end waits for its threads
        future = pool.submit(time.sleep, 60)
        print("started", flush=True)
        future.result()

runs.balance = slow
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize(("grace", "presses"), [(0.2, 1), (60, 2)])
def test_ctrl_c_does_not_wait_for_threads_that_compute(faces, tmp_path, grace, presses):
    words = ["balance", str(faces), "--by", "gender", "-o", str(tmp_path / "out")]
    started = [sys.executable, "-c", SLOW, str(grace), *words]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        assert "press Ctrl-C again" in process.stderr.readline() + process.stderr.readline()
        if presses == 2:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
