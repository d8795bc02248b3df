"""`faceaug recipes`: list the recipes that come with faceaug, and show them."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

import click

from ..terminal.console import Console, echo

if TYPE_CHECKING:
    from faceaug.recipes.experiment import ListedRecipe


@click.group()
def recipes() -> None:
    """List and show the recipes that come with faceaug: runs of balance, and experiments of bench.

    \b
    Example:
      faceaug recipes list
    """


@recipes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def list_command(as_json: bool) -> None:
    """Say of every recipe what it does, what data it needs, and how long it takes.

    \b
    Example:
      faceaug recipes list
    """
    from faceaug.recipes.experiment import list_recipes

    listed = list_recipes()
    Console(as_json=as_json).show(_text(listed), [dataclasses.asdict(each) for each in listed])


@recipes.command("show")
@click.argument("name", metavar="NAME")
def show_command(name: str) -> None:
    """Print a recipe, to be read or saved and changed.

    \b
    Example:
      faceaug recipes show group-gap
    """
    from faceaug.recipes.experiment import recipe_text

    echo(recipe_text(name).rstrip("\n"))


def _text(listed: list[ListedRecipe]) -> str:
    lines = []
    width = max(len(each.name) for each in listed)
    for command, group in groupby(listed, key=lambda each: each.command):
        how = "faceaug balance DATASET --recipe NAME" if command == "balance" else "faceaug bench NAME -o OUT"
        lines.append(f"{how}:")
        lines += [f"  {each.name:{width}}  {each.about} [{each.data}; {each.cost}]" for each in group]
    return "\n".join(lines)
