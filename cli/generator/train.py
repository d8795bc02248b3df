"""`faceaug generator train`: train a generator on a folder of faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..options import decorated
from ..terminal.console import Console
from ..terminal.interrupt import Interrupted, Interruptible
from ..terminal.paths import PATH

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from faceaug.gan_training.config import TrainingConfig, TrainingSchedule
    from faceaug.gan_training.data import FolderImageSource, SquareConfig
    from faceaug.gan_training.evaluation import FrechetCurve
    from faceaug.gan_training.trainer import GanTrainer
    from faceaug.generators.stylegan import StyleGAN2

DEFAULT_CURVE_FACES = 500

image_options = decorated(
    click.option(
        "--reader",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="Layout of the images: unlabelled, folder, classes, celeba, fairface, utkface, hdf5, parquet, tar, "
        "shards, auto.",
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
    help="Size of the network and its configuration; tiny is for a CPU.  [default: by resolution, 64 without one]",
)
@click.option("--init", metavar="NAME", help="Start with the weights of a StyleGAN2: a .safetensors file.")
@click.option(
    "--kimg",
    metavar="K",
    type=click.FloatRange(min=0, min_open=True),
    help="Thousand images to train on in all.  [default: the preset's: 60, 2000, 5000, 10000]",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop this call after this time; --resume continues.",
)
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in FOLDER, exact to the step.")
@click.option("--batch-size", metavar="N", type=click.IntRange(min=2), help="Images per step.  [default: the preset's]")
@click.option("--mirror/--no-mirror", default=True, help="Also train on mirror images.  [default: mirror]")
@image_options
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
@click.option("--licence", metavar="TEXT", help="Licence of the weights, for the generator's file.")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights and steps."
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only the result.")
def train(**options: Any) -> None:
    """Train a StyleGAN2 on a folder of faces, with adaptive discriminator augmentation.

    FOLDER gets generator.safetensors (the input of other commands), log.jsonl, grid.png, grids/ and a checkpoint. Some
    thousand faces, cropped alike, are needed, and a GPU for all presets but tiny. Several GPUs:
    torchrun --nproc_per_node 4 -m faceaug.cli generator train ...

    \b
    Example:
      faceaug generator train faces/ -o mine/ --resolution 64 --kimg 2000
      faceaug generator sample mine/generator.safetensors -n 64 -o faces.png
    """
    from faceaug.gan_training.config import PRESET_KIMG, TrainingSchedule
    from faceaug.gan_training.distributed import join_workers, leave_workers
    from faceaug.gan_training.evaluation import affordable_points
    from faceaug.gan_training.trainer import GanTrainer
    from faceaug.utils.training import checkpoints

    workers, device = join_workers(options["device"] or default_device())
    console = Console(as_json=options["as_json"], quiet=options["quiet"] or not workers.is_main)
    out: Path = options["out"]
    start = _load_start(options["init"])
    name, config = _training_config(options, start)
    checkpoints.check_folder(out, resume=options["resume"])
    source, curve, faces = _read_source(options, config, device, console, with_curve=workers.is_main)
    steps = config.steps(options["kimg"] or PRESET_KIMG[name])
    snapshots = options["snapshots"] or affordable_points(steps * config.batch_size, faces)
    schedule = TrainingSchedule(
        steps=steps,
        seconds=options["seconds"],
        resume=options["resume"],
        snapshot_every=-(-steps // snapshots),  # the last step is one of them
    )
    run = _Run(out, steps, console)
    try:
        run.train(GanTrainer(config, source, device, workers, start), schedule, curve)
    finally:
        leave_workers()
    if workers.is_main:
        run.report()


@dataclass
class _Run:
    """A training run and what its last line of the log says."""

    out: Path
    steps: int
    console: Console
    last_row: Mapping[str, float] = field(default_factory=dict)

    def train(self, trainer: GanTrainer, schedule: TrainingSchedule, curve: FrechetCurve | None) -> None:
        """Train with a progress bar; Ctrl-C ends in a sentence that says how to continue."""
        from faceaug.gan_training import trainer as gan_training

        try:
            with Interruptible(lambda: _kept_message(self.out)), self.console.stages() as show_stage:

                def progress(done: int, total: int | None, row: Mapping[str, float]) -> None:
                    self.last_row = dict(row)
                    if show_stage:
                        show_stage("training", done, total or done)

                gan_training.train(trainer, self.out, schedule, snapshot_metrics=curve, progress=progress)
        except KeyboardInterrupt as error:
            raise Interrupted(_kept_message(self.out), error) from error

    def report(self) -> None:
        """Print the result."""
        from faceaug.gan_training.run_writer import BEST_GENERATOR_FILE, GENERATOR_FILE, GRID_FILE
        from faceaug.utils.training import checkpoints

        path, console = self.out / GENERATOR_FILE, self.console
        log = checkpoints.read_log(self.out)
        last: Mapping[str, float] = self.last_row or log[-1]
        curve = [row["frechet"] for row in log if "frechet" in row]
        facts: dict[str, Any] = {"file": str(path), "steps_requested": self.steps, **last}
        text = f"{path}: {last['images_seen']:,} images seen in {last['step']:,} of {self.steps:,} steps"
        if curve:
            best = self.out / BEST_GENERATOR_FILE
            facts |= {"frechet": curve[-1], "frechet_least": min(curve), "best": str(best)}
            text += f"; Fréchet distance on EfficientNet-Lite0 features {curve[-1]:g}, least {min(curve):g}"
        console.show(text, facts)
        if last["step"] < self.steps:
            console.remark("The time is over; the same command with --resume continues.")
        if curve and curve[-1] > 1.1 * min(curve):
            console.remark(f"An earlier generator is better: {best} has the least distance of the curve.")
        console.remark(f"Look at {self.out / GRID_FILE}; use it with: faceaug balance ... --generator {path}")


def default_device() -> str:
    """Return cuda where there is a GPU, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_start(init: str | None) -> StyleGAN2 | None:
    """Load the generator whose weights to start with, on the CPU: the trainer copies them."""
    if init is None:
        return None
    from faceaug.errors import GeneratorError
    from faceaug.generators.registry import load_generator
    from faceaug.generators.stylegan import StyleGAN2

    start = load_generator(init)
    if not isinstance(start, StyleGAN2):
        kind = "a DCGAN" if start.name == "digiface" else "another kind of network"
        raise GeneratorError(
            f"--init starts with a StyleGAN2, and {init!r} is {start.name}, {kind}: leave --init out, or name the "
            ".safetensors file of a StyleGAN2"
        )
    if start.header.classes:
        raise GeneratorError(
            f"{init!r} has {start.header.classes} classes, and training is unconditional: start with a generator "
            "without classes, or leave --init out"
        )
    return start


def _training_config(options: dict[str, Any], start: StyleGAN2 | None) -> tuple[str, TrainingConfig]:
    """Return the name of the preset and its configuration with the options."""
    from dataclasses import replace

    from faceaug.errors import UsageError
    from faceaug.gan_training.config import select_preset, transfer_config

    resolution = int(options["resolution"]) if options["resolution"] else None
    if start is not None:
        if resolution not in (None, start.resolution):
            raise UsageError(
                f"--resolution is {resolution}, and {start.name} has {start.resolution} pixels: leave one of "
                "--resolution and --init out"
            )
        resolution = start.resolution
    name, config = select_preset(options["name"], resolution, options["seed"])
    if start is not None:
        config = transfer_config(name, config, start.header.config)
    return name, config if options["batch_size"] is None else replace(config, batch_size=options["batch_size"])


def _read_source(
    options: dict[str, Any], config: TrainingConfig, device: torch.device, console: Console, *, with_curve: bool
) -> tuple[FolderImageSource, FrechetCurve | None, int]:
    """Return the training images, the curve, and the number of faces of each kind for a point of it."""
    from faceaug.errors import UsageError
    from faceaug.gan_training.data import FolderImageSource, SquareConfig
    from faceaug.gan_training.evaluation import MIN_EVALUATION_IMAGES, FrechetCurve
    from faceaug.gan_training.features import efficientnet_installed, load_efficientnet

    count = options["curve"]
    if count is None:
        count = DEFAULT_CURVE_FACES if efficientnet_installed() else 0
    elif 0 < count < MIN_EVALUATION_IMAGES:
        raise UsageError(
            f"--curve {count} is too few faces for a distance: give 0, or at least {MIN_EVALUATION_IMAGES}"
        )
    features = load_efficientnet(device) if count and with_curve else None
    squares = SquareConfig(config.network.resolution, options["crop"], options["leave_out"])
    name, pixels = read_squares(options, options["source"], squares, console)
    source = FolderImageSource(
        pixels,
        name,
        options["licence"],
        mirror=options["mirror"],
        device=device if pixels.nbytes < 4e9 else "cpu",
    )
    compared = pixels[:: max(1, len(pixels) // max(count, 1))][:count]
    return source, None if features is None else FrechetCurve(compared, features, device), len(compared)


def read_squares(
    options: dict[str, Any], source: Path, config: SquareConfig, console: Console
) -> tuple[str, npt.NDArray[np.uint8]]:
    """Read a data set's images as squares of one size; return its name and uint8 [N, R, R, 3]."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset
    from faceaug.gan_training.data import load_squares

    dataset = load_dataset(
        source,
        reader=options["reader"],
        split=options["split"],
        options=LoadOptions(check="header", workers=options["workers"], needs_labels=False),
    )
    with console.counter("reading images", "image", len(dataset)) as progress:
        pixels, left_out = load_squares(dataset, config, workers=options["workers"], progress=progress)
    if left_out:
        console.remark(f"{left_out:,} of {len(dataset):,} images were left out: too small, or far from square.")
    return dataset.name, pixels


def _kept_message(out: Path) -> str:
    from faceaug.utils.training import checkpoints

    if not (out / checkpoints.CHECKPOINT_FILE).exists():
        return "Interrupted before the first checkpoint; run the same command again."
    return f"Interrupted; the last checkpoint is in {out}: run the same command with --resume to continue from it."
