"""`faceaug generator evaluate`: compare samples of a generator with a folder of faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..terminal.console import Console
from ..terminal.paths import PATH
from .train import default_device, device_option, image_options, read_squares

RESULT_FILE, SAMPLES_FILE, REAL_FILE = "evaluation.json", "samples.png", "real.png"


@click.command(short_help="Compare samples of a generator with a folder of faces.")
@click.argument("name", metavar="GENERATOR")
@click.option(
    "--against", "source", metavar="FACES", type=PATH, required=True, help="Real faces, cropped like the generator's."
)
@click.option(
    "-n",
    "--number",
    metavar="N",
    type=click.IntRange(min=32),
    help="Faces of each kind.  [default: as many as there are real ones, at most 5000]",
)
@click.option(
    "--truncation-psi", metavar="P", type=float, help="Truncation of the samples.  [default: the generator's]"
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the samples."
)
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FOLDER",
    type=PATH,
    help=f"Write {RESULT_FILE}, {SAMPLES_FILE} and {REAL_FILE} there.  [default: GENERATOR, if it is a folder]",
)
@click.option(
    "--fid-weights",
    metavar="FILE",
    type=PATH,
    help="Also compute FID, with torch-fidelity and the file of Inception's weights that it uses.",
)
@image_options
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only the result.")
def evaluate(name: str, **options: Any) -> None:
    """Compare samples of a generator with a folder of faces: distances, precision and recall, near-copies.

    GENERATOR is the folder of a training, or a generator as for other commands. Distances are on EfficientNet-Lite0
    features, from two packages that are installed separately; they are not FID and compare only with each other, for
    the same N. The distance between two halves of the real faces is the smallest that can be expected.

    \b
    Example:
      faceaug generator evaluate mine/ --against faces/
    """
    from faceaug.gan_training.data import SquareConfig
    from faceaug.gan_training.evaluation import EvaluationConfig, evaluate_generator, image_grid
    from faceaug.gan_training.features import load_efficientnet, load_inception
    from faceaug.gan_training.run_writer import GENERATOR_FILE
    from faceaug.generators.registry import load_generator
    from faceaug.utils.files import write_bytes, write_json
    from faceaug.utils.images import encode
    from faceaug.utils.training import checkpoints

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    out: Path | None = options["out"]
    if Path(name).is_dir():
        out, name = out or Path(name), str(Path(name) / GENERATOR_FILE)
    device = options["device"] or default_device()
    features = load_efficientnet(device)
    fid = load_inception(options["fid_weights"], device) if options["fid_weights"] else None
    generator = load_generator(name, device)
    if out is not None:
        checkpoints.make_folder(out)
    squares = SquareConfig(generator.resolution, options["crop"], options["leave_out"], "compare with larger ones")
    dataset_name, real = read_squares(options, options["source"], squares, console)
    config = EvaluationConfig(options["number"], options["seed"], options["truncation_psi"])
    with console.stages() as progress:
        result, generated = evaluate_generator(generator, real, features, config, fid=fid, progress=progress)
    result["against"] = {"name": dataset_name, "images": len(real)}
    if out is not None:
        write_json(out / RESULT_FILE, result)
        write_bytes(out / SAMPLES_FILE, encode(image_grid(generated), "png"))
        write_bytes(out / REAL_FILE, encode(image_grid(real), "png"))
    console.show(as_text(result), result)
    if out is not None:
        console.remark(f"Compare {out / SAMPLES_FILE} with {out / REAL_FILE}; the metrics are in {out / RESULT_FILE}.")


def as_text(result: dict[str, Any]) -> str:
    """Return the text of an evaluation."""
    half, copies, distance = result["split_half"], result["near_copies"], result["frechet"]
    lines = [
        f"{result['generator']['name']} against {result['against']['name']}: {result['n']:,} faces of each kind",
        "",
        f"{distance['name']}: {distance['value']:g}",
        f"  for {half['n']:,} of each kind: {half['frechet_generated']:g}; two halves of the real: {half['frechet']:g}",
        f"kernel distance: {result['kernel_distance']:g}; two halves of the real: {half['kernel_distance']:g}",
        f"precision {result['precision']:.3f}, recall {result['recall']:.3f} ({result['neighbours']} neighbours)",
        f"near-copies of real faces: {copies['share']:.1%} ({copies['quantile']:.0%} of the real are as near)",
    ]
    if "fid" in result:
        fid = result["fid"]
        lines.append(f"{fid['name']}: {fid['value']:g}; two halves: {fid['split_half']:g}")
    return "\n".join(lines)
