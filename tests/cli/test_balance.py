"""faceaug balance: how options reach the run, and what is printed of it. The run itself is tested elsewhere."""

from __future__ import annotations

import inspect
import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from command_line import IN_PROCESS
from forked import start_forked
from shard_samples import cells, write_output

from faceaug.errors import GeneratorError
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import CellRecord, Totals, read_manifest
from faceaug.synthesis import balance as runs
from faceaug.synthesis.balance import RunResult
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.estimate import CellYield, RunEstimate

REAL_BALANCE = runs.balance


@dataclass
class Calls:
    """Stands in for `faceaug.synthesis.balance.balance`: keeps what it was given; `then` gives the result."""

    then: Callable[..., RunResult]
    given: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, dataset: Any, out: Path, **given: Any) -> RunResult:
        self.given.append({"dataset": dataset, "out": out, **given})
        return self.then(out)


def result(out: Path, accepted: tuple[int, int] = (40, 10)) -> RunResult:
    """A run that filled its first cell and fell short in its second."""
    done = [
        CellRecord(
            index=cell.index,
            attributes=cell.attributes,
            real=cell.real,
            wanted=cell.wanted,
            planned=cell.planned,
            accepted=count,
            short=cell.planned - count,
            tried=count + 12,
            rejected={"held-out classifier agrees": 9, "plausible": 2, "realistic": 1},
        )
        for cell, count in zip(cells(), accepted, strict=True)
    ]
    manifest = read_manifest(write_output(out)).model_copy(update={"cells": tuple(done), "totals": Totals.of(done)})
    return RunResult(manifest, {"reading": 1.5, "learning": 20.0, "synthesis": 100.0}, out)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls(result)
    monkeypatch.setattr(runs, "balance", found)
    return found


def test_defaults_are_those_of_the_configuration(faceaug_cli, faces, tmp_path, calls):
    outcome = faceaug_cli("balance", faces, "--by", "gender,ethnicity", "-o", tmp_path / "out")
    (given,) = calls.given
    assert outcome.status == 0  # short cells are no failure
    assert given["config"] == RunConfig()
    assert given["resume"] is False
    assert given["created_by"].recipe is None
    assert given["created_by"].command == "faceaug balance faces --by gender,ethnicity -o out"
    assert [cell.planned for cell in given["plan"].cells] == [0, 6, 4, 2]
    assert len(given["dataset"]) == 20


def test_every_option_reaches_the_run(faceaug_cli, faces, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(
        "faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "none"
    )  # it would be loaded to where there is no GPU
    faceaug_cli(
        *("balance", faces, "--by", "ethnicity", "-o", tmp_path / "out", "--resume", "--max-total", 2),
        *("--seed", 7, "--device", "cuda", "--workers", 3, "--batch-size", 8, "--tries", 5, "--origins", 8),
        *("--corrections", 2, "--survey-samples", 512, "--max-uses", 2, "--truncation-psi", 0.7),
        *("--keep", "age,gender", "--keep", "glasses", "--generator", "digiface", "--directions", "found.safetensors"),
        *("--engine", "both", "--aligned"),
        *("--no-harmonize", "--image-format", "webp", "--layout", "blob", "--no-report"),
        *("--threshold", "held_out=0.5", "--threshold", "duplicate_bits=4"),
    )
    (given,) = calls.given
    assert given["config"] == RunConfig(
        seed=7,
        device="cuda",
        workers=3,
        batch_size=8,
        tries=5,
        origins=8,
        corrections=2,
        survey_samples=512,
        max_uses=2,
        truncation_psi=0.7,
        keep=("age", "gender", "glasses"),
        generator="digiface",
        directions=Path("found.safetensors"),
        engine="both",
        aligned=True,
        harmonize=False,
        image_format="webp",
        report=False,
        thresholds=AcceptanceThresholds(held_out=0.5, duplicate_bits=4),
    )
    assert (given["resume"], given["plan"].total) == (True, 2)
    words = ("--engine", "generator", "--from-real", "--max-uses", 5, "--reconstruction", "measured.safetensors")
    faceaug_cli("balance", faces, "--by", "ethnicity", "-o", tmp_path / "second", *words)
    assert calls.given[1]["config"] == RunConfig(
        engine="generator", from_real=True, max_uses=5, reconstruction=Path("measured.safetensors")
    )
    words = ("--engine", "morph", "--donors", 2, "--embedder", "toy", "--allow-same-identity")
    faceaug_cli("balance", faces, "--by", "ethnicity", "-o", tmp_path / "third", *words)
    assert calls.given[2]["config"] == RunConfig(engine="morph", donors=2, embedder="toy", allow_same_identity=True)


def test_every_setting_has_an_option_with_its_help_and_default(faceaug_cli):
    shown = " ".join(faceaug_cli("balance", "--help").out.split()).replace("- ", "-")
    for name, setting in RunConfig.model_fields.items():
        if name == "thresholds":
            continue
        option = f"--{name.replace('_', '-')}"
        assert f"{option} " in shown, name
        assert setting.description.replace("- ", "-") in shown, name
        if setting.annotation is bool:
            assert f"[default: {option if setting.default else option.replace('--', '--no-', 1)}]" in shown, name
        elif setting.default not in (None, ()):
            assert f"[default: {setting.default}]" in shown, name
    for name in AcceptanceThresholds.model_fields:
        assert name in shown


def test_every_threshold_can_be_given(faceaug_cli, faces, tmp_path, calls):
    given = {name: 0.1 + k / 1000 for k, name in enumerate(AcceptanceThresholds.model_fields)} | {"duplicate_bits": 3}
    words = [word for name, value in given.items() for word in ("--threshold", f"{name}={value}")]
    faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", *words)
    assert dict(calls.given[0]["config"].thresholds) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("held_out", "--threshold 'held_out' must be NAME=VALUE, as --threshold confidence=0.8"),
        ("judge=0.5", "there is no threshold 'judge': "),
        ("heldout=0.5", "there is no threshold 'heldout': did you mean 'held_out'?"),
        ("held_out=high", "the threshold held_out is 'high'; it must be a number"),
        ("held_out=1.5", "held_out is 1.5; it must be less than or equal to 1"),
        ("duplicate_bits=1.5", "the threshold duplicate_bits is '1.5'; it must be a whole number"),
        ("drift=nan", "drift is nan; it must be "),
    ],
)
def test_bad_thresholds_are_refused(faceaug_cli, faces, tmp_path, calls, text, message):
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--threshold", text)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err
    assert calls.given == []


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", -1),
        ("--seed", 2**32),
        ("--tries", 0),
        ("--truncation-psi", 0),
        ("--survey-samples", 100),
        ("--layout", "zip"),
        ("--engine", "generate"),
    ],
)
def test_settings_out_of_bounds_are_refused(faceaug_cli, faces, tmp_path, calls, words):
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert str(words[1]) in outcome.err
    assert calls.given == []


def test_settings_that_would_do_nothing_are_refused(faceaug_cli, faces, tmp_path, calls):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("generator:\n  name: digiface\nrun:\n  engine: rerender\n")
    uses = tmp_path / "uses.yaml"
    uses.write_text("run:\n  engine: generator\n  max_uses: 2\n")
    rerender = ("--engine", "rerender")
    unused = "does nothing with the engine rerender: leave it out, or use the engine both"
    for words, message in (
        ((*rerender, "--generator", "digiface"), f"generator is 'digiface', which {unused}"),
        ((*rerender, "--directions", "any.safetensors"), f"which {unused}"),
        (("--recipe", recipe), f"generator is 'digiface', which {unused}"),
        ((*rerender, "--no-harmonize"), f"harmonize is False, which {unused}"),
        ((*rerender, "--from-real"), f"from_real is True, which {unused}"),
        (("--recipe", uses), "max_uses is 2, which does nothing with the engine generator"),
        (
            ("--engine", "generator", "--from-real", "--origins", 3),
            "origins is 3, which does nothing with the engine generator and from_real",
        ),
        (("--engine", "generator", "--donors", 2), "donors is 2, which does nothing with the engine generator"),
        (("--engine", "both", "--embedder", "dlib"), "embedder is 'dlib', which does nothing with the engine both"),
        (("--engine", "morph", "--keep", "age"), "keep is ('age',), which does nothing with the engine morph"),
        (("--from-real",), "from_real is True, which does nothing with the engine auto"),
        (("--engine", "both", "--layout", "raw", "--no-harmonize"), "raw holds images of one size"),
        (("--layout", "raw", "--no-harmonize"), "raw holds images of one size"),
    ):
        for more in ((), ("--dry-run",)):
            outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", *words, *more)
            assert (outcome.status, outcome.out) == (2, "")
            assert message in outcome.err
    assert calls.given == []
    faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--layout", "raw")
    assert calls.given[0]["config"] == RunConfig(layout="raw")


def test_real_faces_cannot_fill_labels(faceaug_cli, faces, tmp_path):
    for more in ((), ("--dry-run",)):
        outcome = faceaug_cli("balance", faces, "--by", "gender", "--engine", "rerender", "-o", tmp_path / "out", *more)
        assert outcome.status == 2
        assert "--by gender has none of them: add one, such as yaw:5, or use --engine generator" in outcome.err
    assert not (tmp_path / "out").exists()


def test_the_table_at_the_end(faceaug_cli, faces, tmp_path, calls):
    out = tmp_path / "out"
    printed = faceaug_cli("balance", faces, "--by", "gender", "-o", out).out
    assert re.search(r"gender +real +planned +accepted +short +main reasons", printed)
    assert re.search(r"male +40 +30 +10 +20 +held-out classifier agrees 9, plausible 2", printed)
    assert re.search(r"all cells +90 +70 +50 +20", printed)
    assert "Accepted 50 of 70 planned faces (71%); 20 are short. 24 attempts were rejected." in printed
    assert "Took 2 min 02 s: reading 1.5 s, learning 20 s, synthesis 1 min 40 s." in printed
    assert "1 cell ends short" in printed
    assert f"faceaug verify {out}" in printed
    assert "report.html" not in printed  # there is none


@pytest.mark.parametrize(
    ("domain", "accepted", "says"),
    [
        ({"generator": "toy", "auc": 0.93, "limit": 0.75, "faces": 90}, (40, 10), True),
        ({"generator": "toy", "auc": 0.93, "limit": 0.75, "faces": 90}, (40, 30), False),  # nothing is short
        ({"generator": "toy", "auc": 0.6, "limit": 0.75, "faces": 90}, (40, 10), False),  # it was used
        (None, (40, 10), False),
    ],
)
def test_what_is_short_because_the_generator_was_left_out_says_so(
    faceaug_cli, faces, tmp_path, calls, domain, accepted, says
):
    def checked(out: Path) -> RunResult:
        found = result(out, accepted)
        measured = {**found.manifest.measured, **({"domain": domain} if domain else {})}
        return replace(found, manifest=found.manifest.model_copy(update={"measured": measured}))

    calls.then = checked
    printed = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out").out
    assert ("The generator toy was not used" in printed) is says
    assert ("an AUC of 0.93, more than the 0.75 of the threshold domain" in printed) is says


def test_json_is_the_outcome(faceaug_cli, faces, tmp_path, calls):
    value = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out", "--json", "-q").json
    assert (value["planned"], value["accepted"], value["short"]) == (70, 50, 20)
    assert [cell["short"] for cell in value["cells"]] == [0, 20]
    assert value["timings"]["learning"] == 20.0


def test_quiet_prints_nothing(faceaug_cli, faces, tmp_path, calls):
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


def test_a_plan_and_options_of_a_plan_contradict_each_other(faceaug_cli, faces, tmp_path, calls):
    outcome = faceaug_cli(
        "balance", faces, "--plan", "p.json", "--by", "gender", "--max-total", 3, "-o", tmp_path / "o"
    )
    assert outcome.status == 2
    assert "leave out --by, --max-total" in outcome.err


@pytest.mark.parametrize(("words", "printed"), [(["--by", "gender"], "-o out/"), (["-o", "out"], "--by gender")])
def test_what_is_missing_is_named(faceaug_cli, faces, words, printed):
    outcome = faceaug_cli("balance", faces, *words)
    assert outcome.status == 2
    assert printed in outcome.err


def test_a_recipe_gives_settings_and_thresholds(faceaug_cli, faces, tmp_path, calls):
    recipe = tmp_path / "run.yaml"
    recipe.write_text(
        "dataset: {path: faces}\nplan: {by: gender, strategy: 'min:11'}\n"
        "generator: {name: digiface, truncation_psi: 0.7}\nthresholds: {held_out: 0.6, duplicate_bits: 4, drift: 1}\n"
        "run: {seed: 5, tries: 3, origins: 8, corrections: 2, survey_samples: 512, keep: age, require_full: true}\n"
        "output: {path: out, layout: raw, image_format: png, harmonize: false, report: false}\n"
    )
    words = ("--seed", 6, "--harmonize", "--threshold", "drift=2")
    outcome = faceaug_cli("balance", "--recipe", recipe, *words)
    (given,) = calls.given
    assert outcome.status == 1  # require_full
    assert given["config"] == RunConfig(
        generator="digiface",
        seed=6,
        tries=3,
        origins=8,
        corrections=2,
        survey_samples=512,
        keep=("age",),
        truncation_psi=0.7,
        layout="raw",
        image_format="png",
        harmonize=True,
        report=False,
        thresholds=AcceptanceThresholds(held_out=0.6, duplicate_bits=4, drift=2),
    )
    assert (given["out"], given["created_by"].recipe) == (tmp_path / "out", "run.yaml")
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


@pytest.mark.parametrize(
    ("memory", "kept"), [(0.0, "."), (98_000_000.0, ", and 98 MB of memory for the real faces that are mixed.")]
)
def test_dry_run_prints_plan_and_estimate_and_writes_nothing(faceaug_cli, faces, tmp_path, monkeypatch, memory, kept):
    estimated = []

    def estimate(*given: Any) -> RunEstimate:
        estimated.append(given)
        return RunEstimate(754.0, 2_500_000.0, memory)

    monkeypatch.setattr("faceaug.synthesis.estimate.estimate", estimate)
    words = ["balance", faces, "--by", "gender,ethnicity", "--dry-run", "-o", tmp_path / "out", "--seed", 9]
    shown = faceaug_cli(*words)
    assert shown.status == 0
    assert "12 faces to synthesize" in shown.out
    assert "The 12 faces would take about 12 min 34 s and 2.5 MB of disk space" + kept in shown.out
    value = faceaug_cli(*words, "--json").json
    assert value["estimate"] == {"seconds": 754.0, "bytes": 2_500_000.0, "memory": memory, "cells": []}
    assert value["plan"]["totals"]["planned"] == 12
    assert not (tmp_path / "out").exists()
    assert estimated[0][1:] == (Plan.from_dict(value["plan"]), RunConfig(seed=9))


def test_dry_run_says_how_many_morphs_are_expected(faceaug_cli, faces, tmp_path, monkeypatch):
    cells = (CellYield(cell=0, accepted=2, attempts=90), CellYield(cell=1, accepted=0, attempts=0))
    monkeypatch.setattr("faceaug.synthesis.estimate.estimate", lambda *_: RunEstimate(754.0, 2e6, 0.0, cells))
    words = ["balance", faces, "--by", "gender,ethnicity", "--dry-run"]
    shown, value = faceaug_cli(*words), faceaug_cli(*words, "--json").json
    assert "About 2 morphs are expected, from 90 attempts." in shown.out
    short = [c for c in value["plan"]["cells"][:2] if c["planned"] > (2, 0)[c["index"]]]
    assert ("Probably too few real faces to mix" in shown.out) == bool(short)
    assert value["estimate"]["cells"][0] == {"cell": 0, "accepted": 2, "attempts": 90}


def test_interruption_is_status_130_and_names_resume(faceaug_cli, faces, tmp_path, calls):
    def interrupted(out: Path) -> RunResult:
        write_output(out, finish=False)
        raise KeyboardInterrupt

    calls.then = interrupted
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert outcome.status == 130
    assert outcome.err.startswith(f"Interrupted; what is finished is kept in {tmp_path / 'out'}: ")
    assert "--resume" in outcome.err
    verified = faceaug_cli("verify", tmp_path / "out")
    assert verified.status == 0
    assert "unfinished" in verified.out


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
    ("error", "printed"),
    [
        (GeneratorError("no such generator"), "no such generator"),
        (OutOfMemoryError("CUDA out of memory"), "--batch-size"),
        (MemoryError(), "not enough memory"),
        (PermissionError(13, "Permission denied", "/there"), "/there: Permission denied"),
    ],
)
def test_failures_are_one_sentence_with_status_1(faceaug_cli, faces, tmp_path, calls, error, printed):
    def failing(out: Path) -> RunResult:
        raise error

    calls.then = failing
    outcome = faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: ")
    assert printed in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_fault_of_our_own_is_not_hidden(faceaug_cli, faces, tmp_path, calls):
    def failing(out: Path) -> RunResult:
        raise ZeroDivisionError

    calls.then = failing
    with pytest.raises(ZeroDivisionError):
        faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")


def test_the_command_line_gives_what_the_run_takes(faceaug_cli, faces, tmp_path, calls):
    faceaug_cli("balance", faces, "--by", "gender", "-o", tmp_path / "out")
    (given,) = calls.given
    inspect.signature(REAL_BALANCE).bind(**given)


SLOW = f"""{IN_PROCESS}
import concurrent.futures, sys, time
from faceaug.cli.terminal import interrupt
from faceaug.synthesis import balance as runs
interrupt.GRACE = float(sys.argv[1])

def slow(dataset, out, **given):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # whose end waits for its threads
        future = pool.submit(time.sleep, 60)
        print("started", flush=True)
        future.result()

runs.balance = slow
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("grace", "presses"), [(0.2, 1), (60, 2)])
def test_ctrl_c_does_not_wait_for_threads_that_compute(faces, tmp_path, grace, presses):
    with start_forked(SLOW, grace, "balance", faces, "--by", "gender", "-o", tmp_path / "out") as process:
        process.wait_for("started\n")
        process.send_signal(signal.SIGINT)
        process.wait_for("press Ctrl-C again")
        if presses == 2:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
