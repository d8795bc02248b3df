"""`faceaug generator train`: a generator of one's own faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, decorated
from .terminal.console import Console
from .terminal.interrupt import Interrupted, Interruptible

if TYPE_CHECKING:
    import torch

    from faceaug.gan_training.data import FolderImageSource
    from faceaug.gan_training.evaluation import Curve
    from faceaug.gan_training.trainer import TrainingConfig
    from faceaug.generators.stylegan import StyleGAN2

picture_options = decorated(
    click.option(
        "--reader",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="How the images are laid out: unlabelled, folder, classes, celeba, fairface, utkface, hdf5, shards, auto.",
    ),
    click.option(
        "--split", metavar="NAME", help='The split to use, or "all".  [default: the training part where there are any]'
    ),
    click.option("--crop", is_flag=True, help="Take the middle square also of images that are far from square."),
    click.option("--leave-out", is_flag=True, help="Leave out images that do not fit, instead of refusing them all."),
    click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Threads.  [default: one a processor]"),
)
device_option = click.option(
    "--device", metavar="NAME", help="Where to compute: cpu, cuda, cuda:1 ...  [default: cuda where there is one]"
)


@click.command(short_help="Train a StyleGAN2 on a folder of faces.")
@click.argument("source", metavar="FACES", type=PATH)
@click.option("-o", "--output", "out", metavar="FOLDER", type=PATH, required=True, help="The folder of the run.")
@click.option(
    "--resolution",
    type=click.Choice(["16", "32", "64", "128", "256", "512", "1024"]),
    help="Side of the faces in pixels.  [default: the preset's, or that of --init]",
)
@click.option(
    "--preset",
    "name",
    type=click.Choice(["tiny", "64", "128", "256"]),
    help="Size of the network and settings; tiny is for a CPU.  [default: what suits the resolution, 64 without one]",
)
@click.option("--init", metavar="NAME", help="Begin with a StyleGAN2 that can draw: embedded, or a .safetensors file.")
@click.option(
    "--kimg",
    metavar="K",
    type=click.FloatRange(min=0, min_open=True),
    help="Thousand images to see in all.  [default: the preset's: 60, 2000, 5000, 10000]",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop this call after so long; --resume goes on.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in FOLDER, to the step.")
@click.option("--batch", metavar="N", type=click.IntRange(min=2), help="Images in a step.  [default: the preset's]")
@click.option("--mirror/--no-mirror", default=True, help="Also learn from mirror images.  [default: mirror]")
@picture_options
@click.option(
    "--snapshots",
    metavar="N",
    type=click.IntRange(min=1),
    help="Sample grids to keep, and points of the curve, over the run.  [default: 20, or as many as take a fifth of a "
    "short run's time, at least 1]",
)
@click.option(
    "--curve",
    metavar="N",
    type=click.IntRange(min=0),
    help="Faces of each kind for a point of the curve of the Fréchet distance; 0 for no curve.  "
    "[default: 500 where the packages that it needs are installed]",
)
@click.option("--licence", metavar="TEXT", help="What the generator's file says of the licence of its weights.")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights and steps."
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only what was asked for.")
def train(**options: Any) -> None:
    """Train a StyleGAN2 on a folder of faces, with augmentation that adapts to how few they are.

    FOLDER gets generator.safetensors (what other commands take), log.jsonl, grid.png, grids/ and a checkpoint. Some
    thousand faces, cropped alike, are needed, and a GPU for all but the preset tiny. Several GPUs:
    torchrun --nproc_per_node 4 -m faceaug.cli generator train ...

    \b
    Example:
      faceaug generator train faces/ -o mine/ --resolution 64 --kimg 2000
      faceaug generator sample mine/generator.safetensors -n 64 -o faces.png
    """
    from faceaug.gan_training import distributed as parallel
    from faceaug.gan_training import trainer as library
    from faceaug.gan_training.evaluation import affordable_points
    from faceaug.utils.training import checkpoints as snapshots

    workers, device = parallel.join(options["device"] or default_device())
    console = Console(as_json=options["as_json"], quiet=options["quiet"] or not workers.first)
    out: Path = options["out"]
    start = _start(options["init"])
    name, config = _config(options, start)
    snapshots.check_folder(out, resume=options["resume"])
    pictures, curve, faces = _pictures(options, config, device, console, with_curve=workers.first)
    steps = config.steps(options["kimg"] or library.BUDGETS[name])
    wanted = options["snapshots"] or affordable_points(steps * config.batch, faces)
    last = _Last()
    try:
        with Interruptible(lambda: _kept(out)), console.stages() as bars:

            def tell(done: int, total: int | None, said: Mapping[str, float]) -> None:
                last.said = dict(said)
                if bars:
                    bars("training", done, total or done)

            path = library.train(
                config,
                pictures,
                out,
                options["seconds"],
                options["resume"],
                device=device,
                steps=steps,
                snapshot_every=-(-steps // wanted),  # the last step is one of them
                watch=curve,
                start=start,
                workers=workers,
                progress=tell,
            )
    except KeyboardInterrupt as error:
        raise Interrupted(_kept(out)) from error
    finally:
        parallel.leave()
    if workers.first:
        _tell(console, path, steps, last.said)


class _Last:
    """What the last line of the log said."""

    def __init__(self) -> None:
        self.said: dict[str, float] = {}


def default_device() -> str:
    """Return cuda where there is a GPU, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _start(init: str | None) -> StyleGAN2 | None:
    """Load the generator to begin with, on the CPU: the trainer copies its weights."""
    if init is None:
        return None
    from faceaug.errors import GeneratorError
    from faceaug.generators.registry import load_generator
    from faceaug.generators.stylegan import StyleGAN2

    found = load_generator(init)
    if not isinstance(found, StyleGAN2):
        kind = "a DCGAN" if found.name == "digiface" else "another kind of network"
        raise GeneratorError(
            f"--init begins with a StyleGAN2, and {init!r} is {found.name}, {kind}: leave --init out, or name the "
            ".safetensors file of a StyleGAN2"
        )
    if found.header.classes:
        raise GeneratorError(
            f"{init!r} was trained with {found.header.classes} labels that it needs to draw, and training knows none: "
            "begin with one without labels, or leave --init out"
        )
    return found


def _config(options: dict[str, Any], start: StyleGAN2 | None) -> tuple[str, TrainingConfig]:
    from dataclasses import replace

    from faceaug.errors import UsageError
    from faceaug.gan_training.config import continued, preset

    resolution = int(options["resolution"]) if options["resolution"] else None
    if start is not None:
        if resolution not in (None, start.resolution):
            raise UsageError(
                f"--resolution {resolution} was asked for, and {start.name} draws {start.resolution} pixels: "
                f"leave one of --resolution and --init out"
            )
        resolution = start.resolution
    name, config = preset(options["name"], resolution, options["seed"])
    if start is not None:
        config = continued(name, config, start.header.config)
    return name, config if options["batch"] is None else replace(config, batch=options["batch"])


def _pictures(
    options: dict[str, Any], config: TrainingConfig, device: torch.device, console: Console, *, with_curve: bool
) -> tuple[FolderImageSource, Curve | None, int]:
    """Read the images, and make ready what the curve needs; also return of how many faces a point of it is."""
    from faceaug.errors import UsageError
    from faceaug.gan_training.data import FolderImageSource
    from faceaug.gan_training.evaluation import FEWEST, Curve
    from faceaug.gan_training.features import efficientnet_installed, load_efficientnet

    count = options["curve"]
    if count is None:
        count = 500 if efficientnet_installed() else 0
    elif 0 < count < FEWEST:
        raise UsageError(f"--curve {count} is too few to tell anything: give 0, or at least {FEWEST}")
    features = load_efficientnet(device) if count and with_curve else None
    name, pixels = read_pictures(options, options["source"], config.network.resolution, console)
    pictures = FolderImageSource(
        pixels,
        name,
        options["licence"],
        mirror=options["mirror"],
        device=device if pixels.nbytes < 4e9 else "cpu",
    )
    compared = pixels[:: max(1, len(pixels) // max(count, 1))][:count]
    return pictures, None if features is None else Curve(compared, features, device), len(compared)


def read_pictures(
    options: dict[str, Any], source: Path, resolution: int, console: Console, **advice: str
) -> tuple[str, Any]:
    """Read a data set's images as squares of one size; return its name and uint8 [N, R, R, 3]."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset
    from faceaug.gan_training.data import load_pictures

    dataset = load_dataset(
        source,
        reader=options["reader"],
        split=options["split"],
        options=LoadOptions(check="header", workers=options["workers"], needs_labels=False),
    )
    with console.counter("reading images", "image", len(dataset)) as progress:
        pixels, left_out = load_pictures(
            dataset,
            resolution,
            crop=options["crop"],
            leave_out=options["leave_out"],
            workers=options["workers"],
            progress=progress,
            **advice,
        )
    if left_out:
        console.remark(f"{left_out:,} of {len(dataset):,} images were left out: too small, or far from square.")
    return dataset.name, pixels


def _kept(out: Path) -> str:
    from faceaug.utils.training import checkpoints as snapshots

    if not (out / snapshots.CHECKPOINT).exists():
        return "Interrupted before anything was kept; run the same command again."
    return f"Interrupted; the last checkpoint is in {out}: run the same command with --resume to go on from it."


def _tell(console: Console, path: Path, steps: int, said: Mapping[str, float]) -> None:
    """Say what came out of it."""
    from faceaug.utils.training import checkpoints as snapshots

    log = snapshots.read_log(path.parent)
    last: Mapping[str, float] = said or log[-1]
    curve = [row["frechet"] for row in log if "frechet" in row]
    facts: dict[str, Any] = {"file": str(path), "steps_asked": steps, **last}
    text = f"{path}: {last['seen']:,} images seen in {last['step']:,} of {steps:,} steps"
    if curve:
        facts |= {"frechet": curve[-1], "frechet_least": min(curve), "best": str(path.parent / snapshots.BEST)}
        text += f"; Fréchet distance on EfficientNet-Lite0 features {curve[-1]:g}, least {min(curve):g}"
    console.show(text, facts)
    if last["step"] < steps:
        console.remark("The time was up; the same command with --resume goes on.")
    if curve and curve[-1] > 1.1 * min(curve):
        console.remark(f"It has been better: {path.parent / snapshots.BEST} is the generator at the curve's least.")
    console.remark(f"Look at {path.parent / snapshots.GRID}; use it with: faceaug balance ... --generator {path}")
