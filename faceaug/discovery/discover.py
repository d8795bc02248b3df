"""From a generator to its directions in one call, with no labels: the work behind `faceaug discover`.

Draws are split by the mirror, a linear model finds view and light, a network learns to read pictures, and everything
that it reads (view, light, every pixel of canonical depth and albedo) is regressed on the latent; the maps' regression
is cut into localised atoms (method.md, sections 2 to 4).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faceaug.errors import OutputError, UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import HELD_OUT_STREAM, SamplePool, sample_pool
from faceaug.latents.atoms import ATOMS, SparseAtoms, localize
from faceaug.latents.bundle import Bundle, range_seen, with_atoms
from faceaug.latents.directions import Directions
from faceaug.latents.face_regions import face_regions, face_weight, find_landmarks
from faceaug.latents.regression import StreamingRegression
from faceaug.measurement.alignment import Aligner, train_alignment
from faceaug.measurement.estimator import calibrate_estimator
from faceaug.measurement.measure import estimator_state
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import FOCAL
from faceaug.reconstruction.networks import NETWORK_SIDE, Reconstructor, export_weights, network_from_weights
from faceaug.reconstruction.semantics import FACTOR_UNITS, semantics_of
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import NetworkTrainer, ReconstructionSchedule
from faceaug.reconstruction.training.perceptual import LatentTrainer
from faceaug.reconstruction.training.symmetry import check_draws, mirror_split
from faceaug.utils.files import atomic, check_writable
from faceaug.utils.training.checkpoints import check_setup
from faceaug.utils.training.train_loop import StepTrainer, run
from faceaug.utils.typing import Floats

DiscoveryProgress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told (stage, done, total, what the last step said)."""

SCALAR_UNITS = dict(FACTOR_UNITS, tx="half pictures", ty="half pictures", tz="share", ambient="share", diffuse="share")
"""Every scalar that is read off a picture, with its unit; the first ones are those that `faceaug measure` gives."""
_LIGHTS = ("light_x", "light_y", "light", "ambient", "diffuse")
DRAWN, _ALIGNED = "draws", "alignment.safetensors"
FRAMED = 4096
"""Draws that the alignment learns from, at most."""
READ = 200
"""Pictures that are read together."""


@dataclass(frozen=True)
class DiscoveryConfig:
    """Everything that decides what a discovery finds, but the generator.

    Attributes
    ----------
    draws : int
        Pictures to learn from and to regress on their latents, at least 10 for each independent direction of w.
    held_out : int
        Further pictures, on which R² is measured and readings are weighed.
    linear_steps, reader_steps : int
        Steps of the linear model and of the encoder that begins by reading latents.
    alignment_steps : int
        Steps of the network that frames photographs as the generator frames faces.
    weighed : int
        Of these, pictures on which it is found out what a reading of a photograph is worth; at most `held_out`.
    atoms : int
        Localised atoms to look for; at most two for every three mirror-even directions of w are.
    schedule : ReconstructionSchedule
        Of the network's training.
    seed : int
        Of the draws and of every training but the network's, whose own is in the schedule.
    """

    draws: int = 20_000
    held_out: int = 2_000
    linear_steps: int = 1500
    reader_steps: int = 400
    alignment_steps: int = 1500
    weighed: int = 1024
    atoms: int = ATOMS
    schedule: ReconstructionSchedule = field(default_factory=ReconstructionSchedule)
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict(draws=100, held_out=64, linear_steps=1, reader_steps=1, alignment_steps=1, weighed=64, atoms=1)
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if self.weighed > self.held_out:
            raise UsageError(f"{self.weighed} of {self.held_out} held-out pictures cannot be weighed: hold out as many")


def discover(
    generator: Generator,
    out: Path,
    settings: DiscoveryConfig | None = None,
    *,
    work: Path | None = None,
    resume: bool = False,
    until: float | None = None,
    progress: DiscoveryProgress | None = None,
    command: str = "",
) -> Bundle:
    """Find a generator's directions and write them with the network that found them.

    Parameters
    ----------
    generator
        Its w must have a mean and a covariance.
    out
        The file to write, .safetensors.
    settings
    work
        Folder for what is under way; beside `out` by default. It keeps the logs and the last checkpoints.
    resume
        Go on with what is in `work`.
    until
        `time.monotonic()` at which the network's training stops, finished or not.
    progress : callable, optional
    command : str
        What was asked for, as the file is to tell.

    Raises
    ------
    GeneratorError
        When the generator has no usable covariance, or `work` is of another generator or of other settings.
    FaceaugError
        When the draws are too few for the generator's w.
    OutputError
        When `work` holds a run and `resume` is not set.
    """
    settings = settings or DiscoveryConfig()
    check_draws(generator, settings.draws)  # what is lacking is told before anything is made or drawn
    work = working_folder(out, work)
    prepare(out, work, resume)
    setup = {"generator": generator.sha256, **asdict(settings)}
    for name in ("linear", "reader", "network"):
        check_setup(work / name, setup)
    tell = progress or silent
    device = generator.device
    side = settings.schedule.side
    pool, held = sample_pools(
        generator, settings, max(side, min(NETWORK_SIDE, generator.resolution)), work / DRAWN, tell
    )
    split = mirror_split(generator, pool, min(side, 32))

    def train(name: str, what: str, trainer: StepTrainer, end: float | None = None) -> None:
        run(trainer, work / name, setup, until=end, progress=lambda step, of, said: tell(what, step, of, said))

    linear = LinearTrainer(pool, split, settings.seed, settings.linear_steps, side=min(side, 32), device=device)
    train("linear", "finding the view", linear)
    reader = LatentTrainer(pool, split, settings.seed, settings.reader_steps, side=side, device=device)
    train("reader", "learning to see", reader)
    network = NetworkTrainer(generator, pool, split, reader.model, linear.model, settings.schedule, device)
    train("network", "learning to read faces", network, until)
    count = max(1, min(settings.atoms, 2 * split.even.shape[1] // 3))
    # Half precision, as it is kept: what is measured here is what the file holds.
    reads = network_from_weights(export_weights(network.average)).to(device)
    bundle = bundle_of(generator, reads, pool, held, count, command, tell)
    measurer = calibrate_estimator(
        reads, _aligner(pool, settings, work / _ALIGNED, device, tell), held.images[: settings.weighed],
        atoms=bundle, seed=settings.seed, progress=lambda k, of: tell("weighing readings", k, of, {}),
    )  # fmt: skip
    bundle = replace(bundle, weights={**bundle.weights, **estimator_state(measurer)})
    bundle.save(out)
    shutil.rmtree(work / DRAWN, ignore_errors=True)  # large, and drawn again if it is wanted
    return bundle


def sample_pools(
    generator: Generator, settings: DiscoveryConfig, side: int, folder: Path, tell: DiscoveryProgress
) -> tuple[SamplePool, SamplePool]:
    """Draw all that is learnt from, and all that is held out; what is in the folder already is read back."""
    done, total = 0, settings.draws + settings.held_out

    def drawn(n: int) -> None:
        nonlocal done
        done += n
        tell("drawing faces", done, total, {})

    pool = sample_pool(generator, settings.draws, settings.seed, side, folder, drawn)
    # Readings are weighed on pictures of the side that photographs are cut to.
    held = sample_pool(
        generator, settings.held_out, settings.seed, max(side, NETWORK_SIDE), folder, drawn, HELD_OUT_STREAM
    )
    return pool, held


def silent(stage: str, done: int, total: int, said: Mapping[str, float]) -> None:
    """Tell nobody."""


def working_folder(out: Path, work: Path | None = None) -> Path:
    """Return the folder for what is under way: the one given, or the file's name with .work."""
    return work or out.with_name(f"{out.stem}.work")


def prepare(out: Path, work: Path, resume: bool) -> None:
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors, which tells its kind")
    check_writable(out)
    if work.exists() and not work.is_dir():
        raise OutputError(f"{work} is a file; name a folder for the work under way with --work")
    if not resume and work.is_dir() and any(work.iterdir()):
        raise OutputError(f"{work} holds a run: continue it with --resume, or name another folder with --work")
    work.mkdir(parents=True, exist_ok=True)


def mirror_averaged_factors(network: Reconstructor, images: Tensor) -> FaceFactors:
    """Read pictures [N, 3, S, S] and their mirrors, and return the mean of both."""
    with torch.no_grad():
        one, other = network(images), network(images.flip(-1)).mirrored()
    parts = ((getattr(one, name), getattr(other, name)) for name in ("depth", "albedo", "light", "view"))
    return FaceFactors(*((a + b) / 2 for a, b in parts))


def scalar_factors(reading: FaceFactors) -> Tensor:
    """Return the scalar semantics [N, 11] of readings, in the order and the units of `SCALAR_UNITS`."""
    shift = reading.view[:, 3:5] * FOCAL
    return torch.cat([semantics_of(reading), shift, reading.view[:, 5:], reading.light[:, :2]], 1)


def stack_maps(reading: FaceFactors) -> Tensor:
    """Return the canonical maps [N, 4, S, S] of readings: depth and the three channels of albedo."""
    return torch.cat([reading.depth[:, None], reading.albedo], 1)


@dataclass(eq=False)
class _Readings:
    """What is read off many draws: scalars [N, S], and their and the maps' regressions on w."""

    values: Floats
    scalars: StreamingRegression
    maps: StreamingRegression


def _read(
    network: Reconstructor, batches: Iterable[tuple[Tensor, Tensor]], d: int, tell: Callable[[int], None]
) -> _Readings:
    """Read batches of latents [n, d] and their pictures."""
    values = []
    scalars = StreamingRegression(d, len(SCALAR_UNITS))
    maps = StreamingRegression(d, 4 * network.side**2)
    for w, images in batches:
        reading = mirror_averaged_factors(network, images)
        values.append(scalar_factors(reading).cpu().double().numpy())
        scalars.update(w, values[-1])
        maps.update(w, stack_maps(reading).flatten(1))
        tell(len(w))
    return _Readings(np.concatenate(values), scalars, maps)


def _aligner(
    pool: SamplePool, settings: DiscoveryConfig, file: Path, device: torch.device, tell: DiscoveryProgress
) -> Aligner:
    """Train the alignment, or read it back where an interrupted run had done so; the folder is of one setup."""
    if not file.exists():
        trained = train_alignment(
            pool.images[:FRAMED], steps=settings.alignment_steps, seed=settings.seed, device=device,
            progress=lambda k, of, loss: tell("learning to frame", k, of, {"loss": loss}),
        )  # fmt: skip
        with atomic(file) as temporary:
            save_file(trained.state(), temporary)
    return Aligner.from_state(load_file(file)).to(device)


def bundle_of(
    generator: Generator,
    network: Reconstructor,
    pool: SamplePool,
    held: SamplePool,
    count: int,
    made_by: str,
    progress: DiscoveryProgress,
) -> Bundle:
    """Regress what a network reads on the latent, cut the maps into atoms, and put all of it together."""
    side, d = network.side, generator.w_dim
    total, done = len(pool) + len(held), 0

    def tell(n: int) -> None:
        nonlocal done
        done += n
        progress("reading faces", done, total, {})

    learnt, fresh = (_read(network, _batches(part, generator.device), d, tell) for part in (pool, held))
    scalars, maps = learnt.scalars.solve(), learnt.maps.solve()
    mean, covariance = (np.array(getattr(generator, name), np.float64) for name in ("w_mean", "w_covariance"))
    directions = Directions(
        names=tuple(SCALAR_UNITS),
        kinds=tuple("light" if name in _LIGHTS else "view" for name in SCALAR_UNITS),
        units=tuple(SCALAR_UNITS.values()),
        B=scalars.B,
        offset=scalars.predict(mean[None])[0],
        spread=learnt.values.std(0),
        r2=scalars.r2(fresh.scalars),
        w_mean=mean,
        covariance=covariance,
        generator=generator.sha256,
    )
    face = maps.predict(mean[None])[0].reshape(4, side, side)
    regions = face_regions(side, find_landmarks(face[0], face[1:]))
    atoms = localize(maps.B.reshape(4, side, side, d), covariance, weight=face_weight(regions), count=count)
    read = np.concatenate([_atoms_of(network, atoms, face, images) for _, images in _batches(held, generator.device)])
    told = (held.w.double().numpy() - mean) @ atoms.reading
    directions, shares = with_atoms(directions, atoms, regions, _r2(read, told))
    weights = export_weights(network)
    return Bundle(
        directions,
        seen=range_seen(np.concatenate([fresh.values, read], 1)),
        depth=face[0].astype(np.float32),
        albedo=face[1:].clip(0, 1).astype(np.float32),
        regions=regions,
        maps=atoms.maps.astype(np.float32),
        shares=shares.astype(np.float32),
        scale=atoms.scale,
        explained=atoms.explained,
        weights=weights,
        generator_name=generator.name,
        made_by=made_by,
    )


def _batches(pool: SamplePool, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(pool), READ):
        rows = slice(start, start + READ)
        yield pool.w[rows], pool.float_images(rows, device)


def _atoms_of(network: Reconstructor, atoms: SparseAtoms, face: Floats, images: Tensor) -> Floats:
    """Return the atoms' values [N, K] as pictures show them."""
    return atoms.values(stack_maps(mirror_averaged_factors(network, images)).cpu().double().numpy(), face)


def _r2(values: Floats, told: Floats) -> Floats:
    error, varied = np.square(values - told).mean(0), values.var(0)
    return np.where(varied > 0, 1 - error / np.where(varied > 0, varied, 1), 0.0)
