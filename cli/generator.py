"""`faceaug generator`: other people's generators made readable, what is known of one, and what it draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Console
from .generator_evaluate import evaluate
from .generator_train import train
from .options import PATH

if TYPE_CHECKING:
    from faceaug.generators.base import Generator
    from faceaug.generators.stylegan import Precision

_name = click.argument("name", metavar="NAME", default="embedded")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_device = click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda ..."
)
_quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")


@click.group(short_help="Look at generators, train one, and tell how good it is.")
def generator() -> None:
    """Look at generators, the networks that draw faces, and make one of one's own.

    NAME is embedded, digiface, one that another package registers, or a .safetensors file.

    \b
    Example:
      faceaug generator info embedded
    """


@generator.command("import")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("-o", "--output", "out", metavar="FILE", type=PATH, required=True, help="What to write: .safetensors.")
@click.option("--name", metavar="NAME", help="What the generator is called.  [default: the file's name]")
@click.option("--licence", metavar="TEXT", help="What is known of the licence of the weights; the file does not say.")
@click.option(
    "--psi",
    metavar="P",
    type=float,
    default=1.0,
    show_default=True,
    help="Truncation of what is drawn: 1 for none, less for plainer faces.",
)
@click.option(
    "--cutoff", metavar="LAYER", type=int, help="Layers from this one on are not truncated.  [default: all are]"
)
@click.option(
    "--noise",
    type=click.Choice(["const", "none"]),
    default="const",
    show_default=True,
    help="The stored noise, or none.",
)
@click.option(
    "--class",
    "label",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="The class, if it draws several.  [default: 0]",
)
@click.option("--half", is_flag=True, help="Write half precision: half the size, pictures the same to a grey level.")
@_quiet
def import_(file: Path, out: Path, quiet: bool, **settings: Any) -> None:
    """Make a generator of FILE, somebody else's checkpoint.

    FILE is of NVIDIA's StyleGAN2, StyleGAN2-ADA or StyleGAN3 in PyTorch (.pkl), or of rosinality's stylegan2-pytorch
    (.pt). Nothing in it is run. Mean and covariance of the latents are measured on draws, the same for the same file.

    \b
    Example:
      faceaug generator import ffhq.pkl -o ffhq.safetensors
    """
    from faceaug.generators.importers.convert import write_import
    from faceaug.utils.files import check_writable

    if out.suffix != ".safetensors":
        raise click.UsageError(f"{out} is no name of a generator's file; let it end in .safetensors")
    check_writable(out)
    write_import(file, out, **settings)
    Console(quiet=quiet).remark(f"The generator is in {out}; faceaug generator sample {out} -o grid.png draws faces")


@generator.command()
@_name
@_json
def info(name: str, as_json: bool) -> None:
    """Tell what a generator is, where it comes from and under which licence.

    \b
    Example:
      faceaug generator info digiface
    """
    from faceaug.generators.registry import load_generator

    facts = _facts(load_generator(name))
    width = max(map(len, facts))
    told = ((key, "none" if value is None else value) for key, value in facts.items())
    Console(as_json=as_json).show("\n".join(f"{key.ljust(width)}  {value}" for key, value in told), facts)


@generator.command()
@_name
@click.option("-o", "--output", "out", metavar="FILE", type=PATH, required=True, help="The picture: .png, .jpg, .webp.")
@click.option("-n", "--number", metavar="N", type=click.IntRange(1, 4096), default=64, show_default=True, help="Faces.")
@click.option(
    "--psi", metavar="P", type=float, help="Truncation: 1 for none, less for plainer faces.  [default: the generator's]"
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the faces."
)
@click.option(
    "--side", metavar="PIXELS", type=click.IntRange(8, 2048), help="Size of a face.  [default: the generator's]"
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="In what a StyleGAN computes; bfloat16 is for GPUs and changes pictures by a few grey levels.",
)
@_device
@_quiet
def sample(
    name: str,
    out: Path,
    number: int,
    psi: float | None,
    seed: int,
    side: int | None,
    precision: Precision,
    device: str,
    quiet: bool,
) -> None:
    """Draw faces and lay them out in one picture.

    \b
    Example:
      faceaug generator sample embedded -n 64 --psi 0.7 -o grid.png
    """
    from faceaug.generators.registry import load_generator
    from faceaug.generators.sampling import sample_grid
    from faceaug.utils.files import check_writable, write_bytes
    from faceaug.utils.images import encode

    codecs = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    codec = codecs.get(out.suffix.lower())
    if codec is None:
        raise click.UsageError(f"{out} is no name of a picture; let it end in {', '.join(codecs)}")
    check_writable(out)
    found, console = load_generator(name, device), Console(quiet=quiet)
    longest = 16383 if codec == "webp" else 32767  # what these formats, and those who show them, can take
    columns = -(-longest // (side or found.resolution))
    if number > columns**2:
        raise click.UsageError(f"{number} faces of {side or found.resolution} pixels are no one picture; give a --side")
    with console.counter("drawing", "face", number) as progress:
        grid = sample_grid(found, number, psi=psi, seed=seed, side=side, precision=precision, progress=progress)
    write_bytes(out, encode(grid, codec, 95))  # type: ignore[arg-type]
    console.remark(f"{number} faces are in {out}")


for command in (train, evaluate):
    generator.add_command(command)


def _facts(found: Generator) -> dict[str, Any]:
    """Return what is known of a generator: of any what the protocol asks for, of a file also what its header says."""
    facts: dict[str, Any] = {
        "name": found.name,
        "resolution": found.resolution,
        "z_dim": found.z_dim,
        "w_dim": found.w_dim,
    }
    header = getattr(found, "header", None)
    if header is not None:
        told = header.model_dump()
        hidden = {"format", "version", "licence", "origin", *facts}
        facts = {"architecture": told["architecture"], **facts} | {k: v for k, v in told.items() if k not in hidden}
    return facts | {"licence": found.licence, "origin": found.origin, "sha256": found.sha256}
