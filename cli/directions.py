"""`faceaug directions`: the contents of a file of directions, and an atlas of their effects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .terminal.console import Console
from .terminal.paths import PATH

if TYPE_CHECKING:
    from faceaug.latents.bundle import Bundle
    from faceaug.latents.directions import Directions


@click.group()
def directions() -> None:
    """Look at directions: semantics that vary along the latents of a generator.

    \b
    Example:
      faceaug directions show directions.safetensors
    """


@directions.command()
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def show(file: Path, as_json: bool) -> None:
    """List every semantic: its kind, unit, region, R² of its direction, and its range over samples.

    \b
    Example:
      faceaug directions show directions.safetensors
    """
    from faceaug.latents.bundle import is_bundle, read_bundle
    from faceaug.latents.directions import read_directions

    bundle = read_bundle(file) if is_bundle(file) else None
    directions = bundle.directions if bundle else read_directions(file)
    facts = {
        "generator": directions.generator,
        "generator_name": bundle.generator_name if bundle else "",
        "reconstruction": bundle.reconstruction if bundle else "",
        "made_by": bundle.made_by if bundle else "",
        "semantics": _semantics(directions, bundle),
    }
    Console(as_json=as_json).show(_text(facts), facts)


@directions.command()
@click.argument("file", metavar="FILE", type=PATH)
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=PATH, required=True, help="The folder to write the atlas to."
)
@click.option("--generator", metavar="NAME", help="The generator.  [default: the one that the file names]")
@click.option(
    "--faces",
    metavar="N",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    help="Faces on which each direction is shown.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the faces."
)
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda ...")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
def atlas(file: Path, out: Path, generator: str | None, faces: int, seed: int, device: str, quiet: bool) -> None:
    """Render the effect of each direction: faces from -3 to +3 standard deviations, and its map on the mean face.

    \b
    Example:
      faceaug directions atlas directions.safetensors -o atlas/
    """
    from faceaug.discovery.atlas import write_atlas
    from faceaug.generators.registry import load_generator
    from faceaug.latents.bundle import read_bundle

    bundle = read_bundle(file)
    name = generator or bundle.generator_name
    if not name:
        raise click.UsageError(f"{file} does not name its generator; give it as --generator NAME")
    console = Console(quiet=quiet)
    with console.counter("rendering", "direction", len(bundle.directions.names)) as progress:
        page = write_atlas(bundle, load_generator(name, device), out, faces=faces, seed=seed, progress=progress)
    console.remark(f"The atlas is in {page}")


def _semantics(directions: Directions, bundle: Bundle | None) -> list[dict[str, Any]]:
    """Return a line per semantic; region, its share and the range are None where the file does not hold them."""
    lines = []
    for k, name in enumerate(directions.names):
        region = bundle.region(name) if bundle else None
        lines.append(
            {
                "name": name,
                "kind": directions.kinds[k],
                "unit": directions.units[k],
                "r2": float(directions.r2[k]),
                "spread": float(directions.spread[k]),
                "region": region[0] if region else None,
                "region_share": region[1] if region else None,
                "seen": [float(edge) for edge in bundle.ranges[k]] if bundle else None,
            }
        )
    return lines


def _text(facts: dict[str, Any]) -> str:
    from faceaug.utils.text_table import clip, number, render_table

    rows = []
    for line in facts["semantics"]:
        region = f"{line['region']} {100 * line['region_share']:.0f}%" if line["region"] else ""
        values = f"{number(line['seen'][0])} to {number(line['seen'][1])}" if line["seen"] else ""
        rows.append([line["name"], line["kind"], line["unit"], region, f"{line['r2']:.2f}", values])
    head = [
        clip(f"{label}: {facts[key]}", 200)
        for label, key in (
            ("generator", "generator_name"),
            ("its hash", "generator"),
            ("weights' hash", "reconstruction"),
            ("made by", "made_by"),
        )
        if facts[key]
    ]
    return "\n".join([*head, *render_table(("semantic", "kind", "unit", "region", "R²", "range"), rows, left=4)])
