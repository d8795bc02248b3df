"""`faceaug bench`: the group; a recipe alone is run."""

from __future__ import annotations

import click

from .compare import compare_command
from .run import run_command


class _RecipeGroup(click.Group):
    """A group whose command `run` may be left out: `faceaug bench group-gap -o out/`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            return run_command.name, run_command, args
        return super().resolve_command(ctx, args)


@click.group(cls=_RecipeGroup, subcommand_metavar="RECIPE [OPTIONS] | COMMAND [ARGS]...")
def bench() -> None:
    """Run an experiment: do synthetic faces help a model, against the ways that need none?

    RECIPE is one that comes with faceaug (faceaug recipes list), or the path of a YAML file. Its options are those of
    the command run, whose name can be left out.

    \b
    Example:
      faceaug bench group-gap -o bench-out/
      faceaug bench my-recipe.yaml -o bench-out/ --set task=smiling --seeds 5
      faceaug bench compare bench-a/ bench-b/
    """


bench.add_command(run_command)
bench.add_command(compare_command)
