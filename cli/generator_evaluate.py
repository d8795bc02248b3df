"""`faceaug generator evaluate`: how well a generator draws what a folder of faces shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .generator_train import default_device, device_option, picture_options, read_pictures
from .options import PATH
from .terminal.console import Console

RESULT, SAMPLES, REAL = "evaluation.json", "samples.png", "real.png"


@click.command(short_help="Compare what a generator draws with a folder of faces.")
@click.argument("name", metavar="GENERATOR")
@click.option("--against", "source", metavar="FACES", type=PATH, required=True, help="Real faces, cropped alike.")
@click.option(
    "-n",
    "--number",
    metavar="N",
    type=click.IntRange(min=32),
    help="Faces of each kind.  [default: as many as there are real ones, at most 5000]",
)
@click.option("--psi", metavar="P", type=float, help="Truncation of the draws.  [default: the generator's]")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws."
)
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FOLDER",
    type=PATH,
    help=f"Write {RESULT}, {SAMPLES} and {REAL} there.  [default: GENERATOR, if it is a folder]",
)
@click.option(
    "--fid-weights",
    metavar="FILE",
    type=PATH,
    help="Also compute FID, with torch-fidelity and the file of Inception's weights that it uses.",
)
@picture_options
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only what was asked for.")
def evaluate(name: str, **options: Any) -> None:
    """Compare what a generator draws with a folder of faces: distances, precision and recall, near-copies.

    GENERATOR is the folder of a training, or what other commands take. Distances are on EfficientNet-Lite0 features,
    from two packages that are installed apart; they are no FID and compare only with each other, for the same N.
    Beside them stands the distance of two halves of the real faces: nothing can be expected to come nearer.

    \b
    Example:
      faceaug generator evaluate mine/ --against faces/
    """
    from faceaug.gan_training.evaluation import evaluate, grid
    from faceaug.gan_training.features import load_efficientnet, load_inception
    from faceaug.generators.registry import load_generator
    from faceaug.utils.files import write_bytes, write_json
    from faceaug.utils.images import encode
    from faceaug.utils.training import checkpoints as snapshots

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    out: Path | None = options["out"]
    if Path(name).is_dir():
        out, name = out or Path(name), str(Path(name) / snapshots.EXPORT)
    device = options["device"] or default_device()
    features = load_efficientnet(device)
    fid = load_inception(options["fid_weights"], device) if options["fid_weights"] else None
    generator = load_generator(name, device)
    if out is not None:
        snapshots.make_folder(out)
    against, real = read_pictures(
        options, options["source"], generator.resolution, console, if_small="compare with larger ones"
    )
    with console.stages() as stages:
        found, made = evaluate(
            generator, real, features, n=options["number"], seed=options["seed"], psi=options["psi"], fid=fid,
            stages=stages,
        )  # fmt: skip
    found["against"] = {"name": against, "images": len(real)}
    if out is not None:
        write_json(out / RESULT, found)
        write_bytes(out / SAMPLES, encode(grid(made), "png"))
        write_bytes(out / REAL, encode(grid(real), "png"))
    console.show(as_text(found), found)
    if out is not None:
        console.remark(f"Look at {out / SAMPLES} beside {out / REAL}; the figures are in {out / RESULT}.")


def as_text(found: dict[str, Any]) -> str:
    """Return an evaluation for people."""
    half, copies, distance = found["split_half"], found["near_copies"], found["frechet"]
    lines = [
        f"{found['generator']['name']} against {found['against']['name']}: {found['n']:,} faces of each kind",
        "",
        f"{distance['name']}: {distance['value']:g}",
        f"  for {half['n']:,} of each kind: {half['frechet_of_draws']:g}; two halves of the real: {half['frechet']:g}",
        f"kernel distance: {found['kernel_distance']:g}; two halves of the real: {half['kernel_distance']:g}",
        f"precision {found['precision']:.3f}, recall {found['recall']:.3f} ({found['neighbours']} neighbours)",
        f"near-copies of real faces: {copies['share']:.1%} ({copies['of_real']:.0%} of the real are as near)",
    ]
    if "fid" in found:
        lines.append(f"{found['fid']['name']}: {found['fid']['value']:g}; two halves: {found['fid']['split_half']:g}")
    return "\n".join(lines)
