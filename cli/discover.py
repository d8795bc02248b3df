"""`faceaug discover`: find the directions of a generator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import given, placement_options, read_placement
from .terminal.console import Console, StageBar, command_line
from .terminal.interrupt import Interrupted, Interruptible
from .terminal.paths import PATH

if TYPE_CHECKING:
    from faceaug.discovery.config import DiscoveryProgress, DiscoveryRun
    from faceaug.discovery.finetune import FinetuneResult
    from faceaug.generators.base import Generator
    from faceaug.latents.bundle import Bundle

_SHOWN = ("yaw", "pitch", "roll", "light_x", "light_y")  # whose R² the summary names


@click.command()
@click.option(
    "--generator",
    "name",
    metavar="NAME",
    default="embedded",
    show_default=True,
    help="Whose directions: embedded, digiface, or a .safetensors file.",
)
@click.option("-o", "--output", "out", metavar="FILE", type=PATH, required=True, help="The .safetensors file to write.")
@click.option(
    "--work",
    metavar="FOLDER",
    type=PATH,
    help="Folder of checkpoints, logs and up to 270 MB of samples.  [default: FILE with .work]",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run in the same folder.")
@click.option(
    "--tune-on",
    metavar="FOLDER",
    type=PATH,
    help="Fine-tune a trained network on these images, with or without labels; at most an hour for 5,000.",
)
@click.option(
    "--from",
    "start",
    metavar="FILE",
    type=PATH,
    help="The directions whose network is fine-tuned.  [default: the shipped directions of the generator]",
)
@click.option(
    "--aligned/--no-aligned", default=False, help="The images of --tune-on have the framing of the generator's faces."
)
@click.option(
    "--minutes",
    metavar="M",
    type=click.FloatRange(min=0),
    help="End the training of the network after M minutes and use what was trained by then.  [default: all steps]",
)
@click.option(
    "--steps",
    metavar="N",
    type=click.IntRange(min=1),
    help="Training steps of the network.  [default: 4000, and at most 1500 of fine-tuning]",
)
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(min=100),
    default=20_000,
    show_default=True,
    help="Samples of the generator to train on.",
)
@click.option(
    "--side",
    type=click.Choice(["16", "32", "64"]),
    help="Side of the network's images and maps in pixels.  [default: 64 on a GPU, 32 on a processor]",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same directions."
)
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
)
@placement_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only the result.")
@click.pass_context
def discover(context: click.Context, /, **options: Any) -> None:
    """Find the directions of a generator with no labels: view, light, and localized parts of the face.

    With --tune-on, nothing is trained anew: the network of --from is fine-tuned to explain the images of FOLDER, as
    long as it explains the generator's faces as before, and FILE holds the directions that it then finds. Use the file
    where those images are measured, turned or relit: --reconstruction FILE.

    FILE also holds the network, which measures photographs. A discovery takes long; most of its time goes into the
    synthesis of samples and the training of the network. An interrupted run is continued by the same command with
    --resume; log.jsonl in the working folder shows the loss, and R² of yaw on the latent, during the training.

    \b
    Example:
      faceaug discover --generator embedded -o directions.safetensors
      faceaug directions show directions.safetensors
      faceaug discover --tune-on faces/ -o tuned.safetensors
    """
    from faceaug.discovery.config import DiscoveryRun, check_output, working_folder
    from faceaug.generators.registry import load_generator

    start = time.monotonic()
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    _check_finetuning(context, options)
    out: Path = options["out"]
    work = working_folder(out, options["work"])
    placement = read_placement(context, options)
    deadline = None if options["minutes"] is None else start + 60 * options["minutes"]
    command = command_line(context.obj)
    forecast = _SynthesisForecast(console)
    result: FinetuneResult | None = None
    try:
        with Interruptible(lambda: _interruption(work)), console.stages() as bars:
            progress = _progress(bars, forecast)
            run = DiscoveryRun(work, options["resume"], deadline, progress, command, placement=placement)
            check_output(out, run)
            generator = load_generator(options["name"], options["device"])
            if options["tune_on"] is None:
                bundle = _discover(generator, options, run, forecast)
            else:
                result = _finetune(generator, options, run)
                bundle = result.bundle
    except KeyboardInterrupt as error:
        raise Interrupted(_interruption(work), error) from error
    _show(console, out, bundle, result.figures if result else {})


def _check_finetuning(context: click.Context, options: dict[str, Any]) -> None:
    """Refuse options that have no meaning with or without --tune-on."""
    if options["tune_on"] is not None and options["side"] is not None:
        raise click.UsageError("--side is for a network that is trained anew; --tune-on tunes one that has its side")
    for name, typed in (("--from", options["start"] is not None), ("--aligned", given(context, "aligned"))):
        if typed and options["tune_on"] is None:
            raise click.UsageError(f"{name} goes with --tune-on FOLDER")


def _discover(generator: Generator, options: dict[str, Any], run: DiscoveryRun, forecast: _SynthesisForecast) -> Bundle:
    """Discover the directions of a generator."""
    from faceaug.discovery.config import DiscoveryConfig
    from faceaug.discovery.discover import discover
    from faceaug.reconstruction.training.schedule import ReconstructionSchedule

    side = int(options["side"] or (32 if options["device"] == "cpu" else 64))
    steps = options["steps"] or ReconstructionSchedule.steps
    schedule = ReconstructionSchedule(steps=steps, side=side, seed=options["seed"])
    forecast.later_images = schedule.count_neutralized_images(generator)
    config = DiscoveryConfig(samples=options["samples"], seed=options["seed"], schedule=schedule)
    return discover(generator, options["out"], config, run)


def _finetune(generator: Generator, options: dict[str, Any], run: DiscoveryRun) -> FinetuneResult:
    """Fine-tune the network of a directions file on the images of a folder."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset
    from faceaug.discovery.config import DiscoveryConfig
    from faceaug.discovery.finetune import FinetuneConfig, finetune
    from faceaug.errors import DatasetError
    from faceaug.latents.bundle import read_bundle
    from faceaug.measurement.measure import SHIPPED_DIRECTIONS
    from faceaug.reconstruction.training.finetuning import FinetuneSchedule

    if options["start"] is None and not SHIPPED_DIRECTIONS.is_file():
        raise DatasetError("--tune-on begins with trained directions: name their file as --from FILE")
    start = read_bundle(options["start"] or SHIPPED_DIRECTIONS)
    start.directions.check_generator(generator.sha256)  # before the images are checked one by one
    dataset = load_dataset(options["tune_on"], options=LoadOptions(needs_labels=False))
    steps = options["steps"] or FinetuneSchedule.steps
    config = FinetuneConfig(
        FinetuneSchedule(steps=steps, seed=options["seed"]),
        DiscoveryConfig(samples=options["samples"], seed=options["seed"]),
        aligned=options["aligned"],
    )
    return finetune(generator, options["out"], dataset, start, config, run)


def _show(console: Console, out: Path, bundle: Bundle, figures: dict[str, Any]) -> None:
    """Print what was found and, after a fine-tuning, its figures."""
    directions = bundle.directions
    r2 = {name: round(float(value), 3) for name, value in zip(directions.names, directions.r2, strict=True)}
    facts: dict[str, Any] = {
        "file": str(out),
        "semantics": len(directions.names),
        "atoms": len(bundle.atoms),
        "r2": r2,
    }
    if figures:
        facts["finetuning"] = figures
    shown = ", ".join(f"{name} {r2[name]:.2f}" for name in _SHOWN)
    console.show(f"{out}: {facts['semantics']} semantics, {facts['atoms']} of them atoms; held-out R²: {shown}", facts)
    if figures:
        (before, after), (samples_before, samples_after) = figures["error_on_photographs"], figures["error_on_samples"]
        console.remark(
            f"Fine-tuned on {figures['faces']:,} faces in {figures['steps']:,} steps ({figures['ended']}): error on "
            f"held-out photographs {before:.4f} -> {after:.4f}, on the generator's faces {samples_before:.4f} -> "
            f"{samples_after:.4f}"
        )
    console.remark(f"Look at them with: faceaug directions show {out}")


def _progress(bars: StageBar | None, forecast: _SynthesisForecast) -> DiscoveryProgress:
    """Return the callback of a run, which feeds the progress bars and the forecast."""

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if bars is not None:
            bars(stage, done, total, figures)
        forecast.update(stage, done, total)

    return progress


class _SynthesisForecast:
    """Remarks once how long the synthesis of samples will take, where it takes long.

    Training is not included: it takes no longer for a generator of larger images.

    Attributes
    ----------
    later_images : int
        Images that are synthesized besides those of the stage.
    """

    MIN_SECONDS = 1800.0  # of a synthesis that takes long

    def __init__(self, console: Console) -> None:
        self._console, self._last_time, self._last_done, self._has_remarked = console, time.monotonic(), 0, False
        self.later_images = 0

    def update(self, stage: str, done: int, total: int) -> None:
        """Take the progress of a stage into account."""
        from faceaug.discovery.config import SYNTHESIS_STAGE

        if stage != SYNTHESIS_STAGE or self._has_remarked:
            return
        now, remaining = time.monotonic(), total + self.later_images - done
        seconds = (now - self._last_time) / max(1, done - self._last_done)
        if self._last_done and seconds * remaining > self.MIN_SECONDS:  # the first block warms up and is not timed
            self._console.remark(
                f"Synthesizing {remaining:,} more images at {seconds:.2g} s each takes about "
                f"{seconds * remaining / 3600:.1f} hours; finished images are kept, and --resume reads them. Fewer "
                "--samples take less time."
            )
            self._has_remarked = True
        self._last_time, self._last_done = now, done


def _interruption(work: Path) -> str:
    """Return the sentence about what an interruption left."""
    if not work.is_dir() or not any(work.iterdir()):
        return "Interrupted before anything was written; run the same command again."
    return f"Interrupted; finished work is kept in {work}: run the same command with --resume to continue."
