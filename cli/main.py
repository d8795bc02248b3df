"""The entry point: the group of commands, and the conversion of errors to one sentence and an exit status.

Exit status: 0 success, 1 failure, 2 wrong usage, 130 interruption (143 by SIGTERM, 129 by SIGHUP).
Commands import heavy packages when they run, so that help is quick.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import faceaug
from faceaug.errors import FaceaugError, RemoteError, UsageError

from .terminal.console import echo
from .terminal.interrupt import ENDING_SIGNALS, Interrupted, Interruptible, status_of

_FAILURE_STATUS, _USAGE_STATUS = 1, 2


_COMMANDS = {
    "analyze": (".analyze", "Count faces in cells; measure the imbalance."),
    "plan": (".plan", "Decide how many faces to synthesize in each cell."),
    "balance": (".balance", "Synthesize the faces, check each, write them."),
    "worker": (".outputs.worker", "Compute a share of a run on another machine, over a common folder."),
    "admit": (".admit", "Check images that were made elsewhere; say what passes."),
    "verify": (".outputs.verify", "Read an output folder completely; report damage."),
    "sign": (".outputs.sign", "Sign a finished output folder with a key of your own."),
    "evaluate": (".outputs.evaluate", "Measure how good the faces are, per cell and in all."),
    "compare": (".compare", "Compare the faces with the real people of the data set."),
    "report": (".outputs.report", "Write the page of an output folder, with its faces."),
    "export": (".outputs.export", "Write the faces as image files."),
    "merge": (".outputs.merge", "Write several output folders to one."),
    "subset": (".outputs.subset", "Write the faces that meet a condition to a folder."),
    "split": (".outputs.split", "Divide the faces of an output folder into parts."),
    "upgrade": (".outputs.upgrade", "Write an output folder of an earlier version anew."),
    "explore": (".explore", "Look at it all in the browser: faces, photographs, data sets, outputs."),
    "measure": (".measure", "Measure pose and light on photographs, without labels."),
    "generator": (".generator.commands", "Inspect, sample, import, train and evaluate generators."),
    "discover": (".discover", "Find yaw, light and the parts of a face in a generator, without labels."),
    "directions": (".directions", "Look at directions: what changes along the latents of a generator."),
    "bench": (".bench.commands", "Run an experiment: do synthetic faces help? Compare two of them."),
    "recipes": (".recipes.commands", "List or show the recipes that come with faceaug."),
    "cache": (".cache.commands", "List or clear what was learnt and measured, and is not computed again."),
}
"""By command, in the order of help: the module that holds it under its own name, and its line in the list."""


class _LazyGroup(click.Group):
    """Imports a command when it is used, so that the list of commands is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name][0], __package__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(faceaug.__version__, prog_name="faceaug")
def cli() -> None:
    """Balance face data sets with synthetic faces that are checked one by one.

    \b
    A run in four steps:
      faceaug analyze faces/ --labels labels.csv --by gender,ethnicity
      faceaug plan    faces/ --labels labels.csv --by gender,ethnicity -o plan.json
      faceaug balance faces/ --labels labels.csv --plan plan.json -o out/
      faceaug verify  out/
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with _WarningHandler(), Interruptible(lambda: "Interrupted."):
        try:
            status = cli.main(args=arguments, prog_name="faceaug", standalone_mode=False, obj=tuple(arguments))
        except click.Abort as error:  # Ctrl-C in a command without results to keep
            return _fail("interrupted", status_of(error.__cause__ or error.__context__))
        except Interrupted as error:
            error.show()
            return error.status
        except click.ClickException as error:
            error.show(text := io.StringIO())
            echo(text.getvalue().rstrip("\n"), err=True)
            return error.exit_code
        except UsageError as error:
            return _fail(str(error), _USAGE_STATUS)
        except (FaceaugError, RemoteError) as error:
            return _fail(str(error), _FAILURE_STATUS)
        except (OSError, MemoryError) as error:
            return _fail(_system_message(error), _FAILURE_STATUS)
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":  # of torch, without importing torch
                raise
            return _fail("the device is out of memory; use a smaller --batch-size, or --device cpu", _FAILURE_STATUS)
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """Run the command line of this process."""
    status = run()
    if status in map(status_of, ENDING_SIGNALS):  # threads that still compute a block would be waited for
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _fail(sentence: str, status: int) -> int:
    echo(f"Error: {sentence}", err=True)
    return status


def _system_message(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or use a smaller --batch-size or fewer --workers"
    message = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {message}" if error.filename else message


class _WarningHandler(logging.Handler):
    """Prints the warnings of faceaug to stderr while a command runs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        echo(f"Warning: {record.getMessage()}", err=True)

    def __enter__(self) -> None:
        logging.getLogger("faceaug").addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("faceaug").removeHandler(self)
