"""`faceaug generator`: import checkpoints of other programs, describe a generator, and sample it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..terminal.console import Console
from ..terminal.paths import PATH
from .evaluate import evaluate
from .train import train

if TYPE_CHECKING:
    from faceaug.generators.base import Generator
    from faceaug.utils.images import Codec

_CODECS: dict[str, Codec] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_MAX_SIDE: dict[Codec, int] = {"webp": 16383, "png": 32767, "jpeg": 32767}  # limits of the formats and of viewers

_name = click.argument("name", metavar="NAME", default="embedded")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_device = click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda ..."
)
_quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")


@click.group()
def generator() -> None:
    """Inspect, sample, import, train and evaluate generators, the networks that synthesize faces.

    NAME is embedded, digiface, the name of a generator of another package, or a .safetensors file.

    \b
    Example:
      faceaug generator info embedded
    """


@generator.command("import")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("-o", "--output", "out", metavar="FILE", type=PATH, required=True, help="File to write: .safetensors.")
@click.option("--name", metavar="NAME", help="Name of the generator.  [default: the file's name]")
@click.option("--licence", metavar="TEXT", help="Licence of the weights, which the file does not state.")
@click.option(
    "--truncation-psi",
    metavar="P",
    type=float,
    default=1.0,
    show_default=True,
    help="Truncation: 1 for none, less for more typical faces.",
)
@click.option(
    "--truncation-cutoff",
    metavar="LAYER",
    type=int,
    help="Layers from this one on are not truncated.  [default: all are]",
)
@click.option(
    "--noise-mode",
    type=click.Choice(["const", "none"]),
    default="const",
    show_default=True,
    help="Add the stored noise, or none.",
)
@click.option(
    "--class",
    "label",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Class of a network that has classes.  [default: 0]",
)
@click.option("--half", is_flag=True, help="Write half precision: half the size, images the same to a grey level.")
@_quiet
def import_(file: Path, out: Path, quiet: bool, **options: Any) -> None:
    """Convert FILE, a checkpoint of another program, to a generator.

    FILE is of NVIDIA's StyleGAN2, StyleGAN2-ADA or StyleGAN3 in PyTorch (.pkl), or of rosinality's stylegan2-pytorch
    (.pt). Nothing in it is executed. Mean and covariance of the latents are estimated from samples, the same for the
    same file.

    \b
    Example:
      faceaug generator import ffhq.pkl -o ffhq.safetensors
    """
    from faceaug.generators.importers.convert import ImportConfig, write_import
    from faceaug.generators.stylegan import SynthesisConfig
    from faceaug.utils.files import check_writable

    if out.suffix != ".safetensors":
        raise click.UsageError(f"{out} is no name of a generator's file; let it end in .safetensors")
    check_writable(out)
    name, licence, half = (options.pop(key) for key in ("name", "licence", "half"))
    write_import(file, out, ImportConfig(name, licence, SynthesisConfig(**options), half))
    Console(quiet=quiet).remark(
        f"The generator is in {out}; faceaug generator sample {out} -o grid.png synthesizes faces"
    )


@generator.command()
@_name
@_json
def info(name: str, as_json: bool) -> None:
    """Show what a generator is, where it comes from and its licence.

    \b
    Example:
      faceaug generator info digiface
    """
    from faceaug.generators.registry import load_generator

    facts = _facts(load_generator(name))
    width = max(map(len, facts))
    lines = [f"{key.ljust(width)}  {'none' if value is None else value}" for key, value in facts.items()]
    Console(as_json=as_json).show("\n".join(lines), facts)


@generator.command()
@_name
@click.option(
    "-o", "--output", "out", metavar="FILE", type=PATH, required=True, help="Image to write: .png, .jpg, .webp."
)
@click.option("-n", "--number", metavar="N", type=click.IntRange(1, 4096), default=64, show_default=True, help="Faces.")
@click.option(
    "--truncation-psi",
    metavar="P",
    type=float,
    help="Truncation: 1 for none, less for more typical faces.  [default: the generator's]",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the faces."
)
@click.option(
    "--side",
    metavar="PIXELS",
    type=click.IntRange(8, 2048),
    help="Side of a face in pixels.  [default: the generator's]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of a StyleGAN's activations; bfloat16 is for GPUs and changes images by a few grey levels.",
)
@_device
@_quiet
def sample(name: str, out: Path, number: int, device: str, quiet: bool, **options: Any) -> None:
    """Sample faces and lay them out in one image.

    \b
    Example:
      faceaug generator sample embedded -n 64 --truncation-psi 0.7 -o grid.png
    """
    from faceaug.generators.registry import load_generator
    from faceaug.generators.sampling import sample_grid
    from faceaug.utils.files import check_writable, write_bytes
    from faceaug.utils.images import encode

    codec = _CODECS.get(out.suffix.lower())
    if codec is None:
        raise click.UsageError(f"{out} is no name of an image; let it end in {', '.join(_CODECS)}")
    check_writable(out)
    network, console = load_generator(name, device), Console(quiet=quiet)
    side = options["side"] or network.resolution
    columns = -(-_MAX_SIDE[codec] // side)
    if number > columns**2:
        raise click.UsageError(f"{number} faces of {side} pixels do not fit into one image; give a --side")
    with console.counter("synthesizing", "face", number) as progress:
        grid = sample_grid(network, number, progress=progress, **options)
    write_bytes(out, encode(grid, codec, 95))
    console.remark(f"{number} faces are in {out}")


for command in (train, evaluate):
    generator.add_command(command)


def _facts(network: Generator) -> dict[str, Any]:
    """Return what is known of a generator: the protocol's attributes and, for a file, its header."""
    facts: dict[str, Any] = {
        "name": network.name,
        "resolution": network.resolution,
        "z_dim": network.z_dim,
        "w_dim": network.w_dim,
    }
    header = getattr(network, "header", None)
    if header is not None:
        fields = header.model_dump()
        hidden = {"format", "version", "licence", "origin", *facts}
        facts = {"architecture": fields["architecture"], **facts} | {k: v for k, v in fields.items() if k not in hidden}
    return facts | {"licence": network.licence, "origin": network.origin, "sha256": network.sha256}
