"""Configuration of a discovery, and the options of a run that do not influence its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faceaug.cluster.placement import Placement
from faceaug.errors import OutputError, UsageError
from faceaug.latents.localization import AtomConfig
from faceaug.reconstruction.training.schedule import ReconstructionSchedule
from faceaug.utils.files import check_writable, check_writable_folder

DiscoveryProgress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with the stage, the number of its steps done, the number of all its steps, and figures of the last step."""

SYNTHESIS_STAGE = "synthesizing samples"
LINEAR_STAGE = "training the linear model"
READER_STAGE = "training the latent reader"
NETWORK_STAGE = "training the network"
FACTOR_STAGE = "estimating factors"
ALIGNMENT_STAGE = "training the alignment"
TURN_STAGE = "turning faces"
VIEW_READER_STAGE = "training the reader of view and light"
CALIBRATION_STAGE = "calibrating confidence"
CROP_STAGE = "aligning faces"
FINETUNE_STAGE = "fine-tuning"


@dataclass(frozen=True)
class DiscoveryConfig:
    """Everything that determines the result of a discovery besides the generator.

    Attributes
    ----------
    samples : int
        Samples that the networks are trained on and that are regressed on their latents, at least 10 for each
        independent direction of w.
    held_out : int
        Further samples, on which R² is measured and the confidence model is fitted.
    linear_steps, reader_steps : int
        Training steps of the linear model and of the latent reader.
    alignment_steps : int
        Training steps of the alignment.
    turned_faces, view_reader_steps : int
        Faces that are turned for the training of the reader of view and light, and its steps.
    calibration_samples : int
        Number of the held-out samples on which the confidence model is fitted.
    atoms : int
        Number of localized atoms; at most two for every three mirror-even directions of w are used.
    schedule : ReconstructionSchedule
        Of the training of the reconstruction network.
    seed : int
        Seed of the samples and of every training except that of the network, whose seed is in the schedule.

    Raises
    ------
    UsageError
        When a value is out of bounds.
    """

    samples: int = 20_000
    held_out: int = 2_000
    linear_steps: int = 1500
    reader_steps: int = 400
    alignment_steps: int = 1500
    turned_faces: int = 24_000
    view_reader_steps: int = 4000
    calibration_samples: int = 1024
    atoms: int = AtomConfig.count
    schedule: ReconstructionSchedule = field(default_factory=ReconstructionSchedule)
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict(samples=100, held_out=64, calibration_samples=64)
        least |= dict(linear_steps=1, reader_steps=1, alignment_steps=1, turned_faces=64, view_reader_steps=1, atoms=1)
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if self.calibration_samples > self.held_out:
            raise UsageError(
                f"calibration_samples is {self.calibration_samples} of {self.held_out} held-out samples: give at most "
                "as many"
            )


def ignore_progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class DiscoveryRun:
    """How a discovery or a fine-tuning runs: options that do not influence its result, except for the deadline.

    Attributes
    ----------
    work : Path, optional
        Folder of checkpoints, logs and cached samples; beside the output file by default.
    resume : bool
        Continue the run in `work`.
    deadline : float, optional
        `time.monotonic()` at which the training of the network ends, finished or not.
    progress : callable
    command : str
        The command line, which the output file records.
    save_every : float, optional
        Seconds between checkpoints; the default of `train_loop.run` when None.
    placement : Placement
        Where samples are synthesized and regressed; networks are trained in this process.
    """

    work: Path | None = None
    resume: bool = False
    deadline: float | None = None
    progress: DiscoveryProgress = ignore_progress
    command: str = ""
    save_every: float | None = None
    placement: Placement = field(default_factory=Placement)


def working_folder(out: Path, work: Path | None = None) -> Path:
    """Return the working folder: the given one, or the output file's name with .work."""
    return work or out.with_name(f"{out.stem}.work")


def check_output(out: Path, run: DiscoveryRun) -> Path:
    """Check the output file and the working folder, before images are read, and return the folder.

    Raises
    ------
    UsageError
        When the file does not end in .safetensors.
    OutputError
        When the file cannot be written, the folder is a file, or it holds a run that is not to be resumed.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors, which gives the format")
    check_writable(out)
    work = working_folder(out, run.work)
    if work.exists() and not work.is_dir():
        raise OutputError(f"{work} is a file; name another folder with --work")
    if not run.resume and work.is_dir() and any(work.iterdir()):
        raise OutputError(f"{work} holds a run: continue it with --resume, or name another folder with --work")
    check_writable_folder(work)
    return work


def prepare_output(out: Path, run: DiscoveryRun) -> Path:
    """Check the output file, and make and return the working folder.

    Raises
    ------
    UsageError, OutputError
        As `check_output`.
    """
    work = check_output(out, run)
    work.mkdir(parents=True, exist_ok=True)
    return work
