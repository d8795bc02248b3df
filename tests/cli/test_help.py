"""Every command explains itself, with an example, and quickly."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import IN_PROCESS

import faceaug


def commands() -> Iterator[tuple[str, click.Command]]:
    from faceaug.cli.main import cli

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                yield from walk(f"{name} {child}", command.get_command(context, child))

    return walk("faceaug", cli)


def examples(command: click.Command) -> list[list[str]]:
    lines = (command.help or "").replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip().startswith("faceaug ")]


def test_the_commands_are_these():
    groups = {
        "generator": ["evaluate", "import", "info", "sample", "train"],
        "cache": ["clear", "list"],
        "directions": ["atlas", "show"],
        "bench": ["compare", "run"],
        "recipes": ["list", "show"],
    }
    names = [
        "analyze",
        "plan",
        "balance",
        "worker",
        "admit",
        "verify",
        "sign",
        "evaluate",
        "compare",
        "report",
        "export",
        "merge",
        "subset",
        "split",
        "upgrade",
        "explore",
        "measure",
        "generator",
        "discover",
        "directions",
        "bench",
        "recipes",
        "cache",
    ]
    expected = [[name, *(f"{name} {child}" for child in groups.get(name, []))] for name in names]
    assert [name.removeprefix("faceaug ") for name, _ in commands()] == ["faceaug", *itertools.chain(*expected)]


def test_every_command_has_help_with_an_example(faceaug_cli):
    for name, command in commands():
        shown = faceaug_cli(*name.split()[1:], "--help")
        assert shown.status == 0
        assert "Usage: " + name in shown.out
        assert examples(command), f"{name} has no example"
        assert shown.err == ""


def test_every_option_has_help():
    for name, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts[0]}"


def test_examples_are_valid_command_lines():
    """Each example parses; its options exist and its choices are allowed."""
    from faceaug.cli.main import cli

    for _, command in commands():
        for words in examples(command):
            context = click.Context(cli)
            found, rest = cli, words[1:]
            while isinstance(found, click.Group):
                _, found, rest = found.resolve_command(context, rest)
            found.make_context(found.name, rest)


def test_help_is_quick_since_it_loads_nothing_heavy():
    # The options of balance come from pydantic's models, so it is loaded for these, and not for the list of commands.
    code = f"""{IN_PROCESS}
import sys
assert run(["--help"]) == 0
assert "pydantic" not in sys.modules
assert run(["balance", "--help"]) == 0
heavy = {{"torch", "numpy", "pandas", "sklearn", "yaml", "h5py", "PIL", "rich", "tqdm"}} & sys.modules.keys()
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("start", [["-m", "faceaug.cli"], None], ids=["module", "script"])
def test_both_ways_to_start_it(start):
    script = Path(sys.executable).with_name("faceaug")
    if not script.exists():
        pytest.skip("faceaug is not installed in this environment")
    command = [sys.executable, *start] if start else [str(script)]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"faceaug, version {faceaug.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [["analize", "faces"], ["analyze", "faces", "--bi", "gender"], ["verify"], ["balance", "x", "--layout", "zip"]],
)
def test_wrong_usage_is_status_2(faceaug_cli, words):
    outcome = faceaug_cli(*words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "Error: " in outcome.err


def test_a_worker_has_no_option_that_does_nothing():
    names = {name: {parameter.name for parameter in command.params} for name, command in commands()}
    assert {"executor", "address"} <= names["faceaug balance"]
    assert not {"executor", "address"} & names["faceaug worker"]
