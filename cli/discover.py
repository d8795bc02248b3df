"""`faceaug discover`: find the directions of a generator."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, given
from .terminal.console import Console, StageBar
from .terminal.interrupt import Interrupted, Interruptible

if TYPE_CHECKING:
    from faceaug.discovery.discover import DiscoveryConfig
    from faceaug.discovery.finetune import FinetuneResult
    from faceaug.generators.base import Generator


@click.command(short_help="Find yaw, light and the parts of a face in a generator, without labels.")
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
    help="What is under way: checkpoints, log, up to 270 MB of draws.  [default: FILE with .work]",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted search in the same folder.")
@click.option(
    "--tune-on",
    "tune_on",
    metavar="FOLDER",
    type=PATH,
    help="First tune a trained network on these pictures, whose labels do not matter; at most an hour for 5,000.",
)
@click.option(
    "--from",
    "begin",
    metavar="FILE",
    type=PATH,
    help="The directions whose network is tuned.  [default: those that come with the generator]",
)
@click.option(
    "--aligned/--no-aligned", default=False, help="The pictures to tune on are framed as the generator frames faces."
)
@click.option(
    "--minutes",
    metavar="M",
    type=click.FloatRange(min=0),
    help="End the training after so long, and go on with what was learnt by then.  [default: all steps]",
)
@click.option(
    "--steps",
    metavar="N",
    type=click.IntRange(min=1),
    help="Length of the network's training.  [default: 4000, and at most 1500 of tuning]",
)
@click.option(
    "--draws",
    metavar="N",
    type=click.IntRange(min=100),
    default=20_000,
    show_default=True,
    help="Faces to learn from.",
)
@click.option(
    "--side",
    type=click.Choice(["16", "32", "64"]),
    help="Pixels of what the network reads and of its maps.  [default: 64 on a GPU, 32 on a processor]",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same directions."
)
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only what was asked for.")
@click.pass_context
def discover(context: click.Context, /, **options: Any) -> None:
    """Find the directions of a generator with no labels: view, light, and localised parts of the face.

    With --tune-on, nothing is trained anew: the network of --from learns to explain the pictures of FOLDER, as long as
    it still reads the generator's faces as before, and FILE holds the directions as it then reads them. Use it where
    those pictures are measured, turned or relit: --reconstruction FILE.

    FILE also holds the network that found them, which measures photographs. It takes half an hour on two cores. An
    interrupted search is continued by the same command with --resume; log.jsonl in the working folder tells the loss
    and R² of yaw on the latent as it goes.

    \b
    Example:
      faceaug discover --generator embedded -o directions.safetensors
      faceaug directions show directions.safetensors
      faceaug discover --tune-on faces/ -o tuned.safetensors
    """
    from dataclasses import replace

    from faceaug.discovery.discover import DiscoveryConfig, discover, working_folder
    from faceaug.generators.registry import load_generator
    from faceaug.reconstruction.training.network_trainer import count_neutralized_images

    begin = time.monotonic()
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    out: Path = options["out"]
    work = working_folder(out, options["work"])
    settings = DiscoveryConfig(draws=options["draws"], seed=options["seed"])
    _check_tuning(context, options)
    forecast = _Forecast(console)

    figures: dict[str, Any] = {}
    shared: dict[str, Any] = dict(
        work=work,
        resume=options["resume"],
        until=None if options["minutes"] is None else begin + 60 * options["minutes"],
        command=shlex.join(["faceaug", *context.obj]),
    )
    try:
        with Interruptible(lambda: _kept(work)), console.stages() as bars:
            shared["progress"] = _progress(bars, forecast)
            generator = load_generator(options["name"], options["device"])
            if options["tune_on"] is None:
                side = int(options["side"] or (32 if options["device"] == "cpu" else 64))
                steps = options["steps"] or settings.schedule.steps
                schedule = replace(settings.schedule, steps=steps, side=side, seed=options["seed"])
                forecast.later = count_neutralized_images(generator, schedule)
                bundle = discover(generator, out, replace(settings, schedule=schedule), **shared)
            else:
                tuned = _tuned(generator, out, settings, options, shared)
                bundle, figures = tuned.bundle, tuned.figures
    except KeyboardInterrupt as error:
        raise Interrupted(_kept(work)) from error
    found = bundle.directions
    r2 = {name: round(float(value), 3) for name, value in zip(found.names, found.r2, strict=True)}
    facts = {
        "file": str(out),
        "semantics": len(found.names),
        "atoms": len(bundle.atoms),
        "r2": r2,
    } | ({"tuning": figures} if figures else {})
    told = ", ".join(f"{name} {r2[name]:.2f}" for name in ("yaw", "pitch", "roll", "light_x", "light_y"))
    console.show(f"{out}: {len(found.names)} semantics, {len(bundle.atoms)} of them atoms; held-out R²: {told}", facts)
    if figures:
        (before, after), (drawn, later) = figures["error_on_photographs"], figures["error_on_draws"]
        console.remark(
            f"Tuned on {figures['faces']:,} faces in {figures['steps']:,} steps ({figures['ended']}): error on "
            f"photographs that were held out {before:.4f} -> {after:.4f}, on the generator's faces {drawn:.4f} -> "
            f"{later:.4f}"
        )
    console.remark(f"Look at them with: faceaug directions show {out}")


def _check_tuning(context: click.Context, options: dict[str, Any]) -> None:
    """Refuse options that mean nothing with or without --tune-on."""
    if options["tune_on"] is not None and options["side"] is not None:
        raise click.UsageError("--side is for a network that is trained anew; --tune-on tunes one that has its side")
    for name, typed in (("--from", options["begin"] is not None), ("--aligned", given(context, "aligned"))):
        if typed and options["tune_on"] is None:
            raise click.UsageError(f"{name} goes with --tune-on FOLDER")


def _tuned(
    generator: Generator, out: Path, settings: DiscoveryConfig, options: dict[str, Any], shared: dict[str, Any]
) -> FinetuneResult:
    """Tune the network of trained directions on the pictures of a folder."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset
    from faceaug.discovery import finetune as tuning
    from faceaug.errors import DatasetError
    from faceaug.latents.bundle import read_bundle
    from faceaug.measurement.measure import SHIPPED_DIRECTIONS

    file = options["begin"] or SHIPPED_DIRECTIONS
    if options["begin"] is None and not SHIPPED_DIRECTIONS.is_file():
        raise DatasetError("--tune-on begins with trained directions: name their file as --from FILE")
    trained = read_bundle(file)
    trained.directions.check_generator(generator.sha256)  # before pictures are looked at one by one for nothing
    dataset = load_dataset(options["tune_on"], options=LoadOptions(needs_labels=False))
    steps = options["steps"] or tuning.STEPS
    return tuning.finetune(
        generator, out, dataset, trained, settings, steps=steps, aligned=options["aligned"], **shared
    )


def _progress(bars: StageBar | None, forecast: _Forecast) -> Callable[[str, int, int, Mapping[str, float]], None]:
    """Return the callback of a discovery, which feeds the progress bars and the forecast."""

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if bars is not None:
            bars(stage, done, total, figures)
        forecast.tell(stage, done, total)

    return progress


class _Forecast:
    """Says once, where it is long, how long drawing will take; learning takes no longer for larger pictures.

    Attributes
    ----------
    later : int
        Pictures that are drawn beside those that the stage counts.
    """

    LONG = 1800.0  # seconds

    def __init__(self, console: Console) -> None:
        self._console, self._then, self._before, self._told = console, time.monotonic(), 0, False
        self.later = 0

    def tell(self, stage: str, done: int, total: int) -> None:
        if stage != "drawing faces" or self._told:
            return
        now, left = time.monotonic(), total + self.later - done
        each = (now - self._then) / max(1, done - self._before)
        if self._before and each * left > self.LONG:  # the first is not timed: it warms up
            self._console.remark(
                f"Drawing {left:,} more pictures at {each:.2g} s each takes about {each * left / 3600:.1f} hours; what "
                "is drawn is kept and read back by --resume. Fewer --draws take less time."
            )
            self._told = True
        self._then, self._before = now, done


def _kept(work: Path) -> str:
    """What an interruption left, in a sentence."""
    if not work.is_dir() or not any(work.iterdir()):
        return "Interrupted before anything was written; run the same command again."
    return f"Interrupted; what was done is kept in {work}: run the same command with --resume to continue."
