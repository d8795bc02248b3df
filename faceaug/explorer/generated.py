"""Faces of a generator, edited by sliders: the semantics of its directions, one picture at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from torch import Tensor

from faceaug.discovery.atlas import HELD_SLACK, held_names
from faceaug.discovery.fit import SCALAR_UNITS, read_scalars
from faceaug.errors import UsageError
from faceaug.explorer.meters import FaceQualityMeter, MeterReading
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, sample_w, synthesize
from faceaug.latents.algebra import covariance_given
from faceaug.latents.bundle import Bundle
from faceaug.latents.directions import Directions
from faceaug.measurement.measure import estimator_from_bundle
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.reconstruction.semantics import FACTOR_MEANINGS, FACTOR_NAMES
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.editing.closed_loop import EditObjective, EditOptions, distance, extrapolate
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import resize_tensor, to_uint8
from faceaug.utils.typing import Floats

FACE_TRUNCATION = 0.7
"""Truncation of the faces toward the mean: an edit is easiest to see on a typical face."""
CORRECTIONS = 4
"""Corrections of an edit that is settled: with the straight step and the face itself six pictures are synthesized."""
_MEANINGS = FACTOR_MEANINGS | dict(
    tx="where the face lies, across",
    ty="where the face lies, up and down",
    tz="how far away the face is",
    ambient="strength of the light from everywhere",
    diffuse="strength of the directed light",
)
_TOLERANCE, _KEEP_TOLERANCE = 0.1, 0.3  # of the spread of a semantic
_SURVEYED = 4096  # latents from which the distance of plausible ones is learnt
_FACES_KEPT = 64
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Slider:
    """One semantic that can be moved.

    Attributes
    ----------
    name, kind, unit, meaning : str
        The meaning is "" where the name says it.
    group : str
        Heading under which it stands.
    low, high : float
        Its range over samples.
    """

    name: str
    kind: str
    unit: str
    meaning: str
    group: str
    low: float
    high: float


@dataclass(frozen=True)
class FaceEdit:
    """What is asked of a face.

    Attributes
    ----------
    seed : int
        Which face.
    values : mapping of str to float
        Values to reach, by semantic; the others follow, or are kept.
    keep : bool
        Whether the other semantics are held.
    settle : bool
        Whether what is missing is measured and corrected; otherwise the latent takes one straight step.
    """

    seed: int
    values: Mapping[str, float]
    keep: bool = True
    settle: bool = False


@dataclass(frozen=True, eq=False)
class EditedFace:
    """A face after an edit.

    Attributes
    ----------
    image : uint8 [R, R, 3]
    measured : dict of str to float
        Each semantic that has a slider, as it is measured on the image.
    meters : tuple of MeterReading
    """

    image: Rgb
    measured: dict[str, float]
    meters: tuple[MeterReading, ...]


class GeneratedFaces:
    """The faces of a generator, and edits of them.

    Parameters
    ----------
    generator : Generator
    bundle : Bundle
        Directions of this generator, with the network that reads its faces.
    thresholds : AcceptanceThresholds, optional
        Of the gates that the meters show.

    Raises
    ------
    GeneratorError
        When the directions were made for another generator.
    IntegrityError
        When the bundle holds no network.
    """

    def __init__(self, generator: Generator, bundle: Bundle, thresholds: AcceptanceThresholds | None = None) -> None:
        thresholds = thresholds or AcceptanceThresholds()
        bundle.directions.check_generator(generator.sha256)
        self.generator, self.bundle = generator, bundle
        self._estimator = estimator_from_bundle(bundle, device=generator.device)
        self._directions = bundle.directions
        self._read = (*SCALAR_UNITS, *bundle.atoms)  # what the network reads, in the order of `_measure`
        self.quality = FaceQualityMeter(generator, thresholds.face_quality)
        lengths = self._lengths(sample_latents(generator, latent_seeds(0, 0, _SURVEYED)))
        self._reach = float(np.quantile(lengths, thresholds.plausible))
        self._origin = lru_cache(_FACES_KEPT)(self._read_origin)

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """One for each semantic that is read from images and changes along the latents, in the directions' order."""
        directions = self._directions
        varies = np.einsum("sd,de,se->s", directions.B, directions.covariance, directions.B) > 0
        return tuple(self._slider(k) for k in np.flatnonzero(varies).tolist() if directions.names[k] in self._read)

    def original(self, seed: int) -> EditedFace:
        """Return a face as it is; seeds and faces are those of `faceaug generator sample`.

        Raises
        ------
        UsageError
            When the seed is negative or too large.
        """
        if not 0 <= seed <= LARGEST_SEED:
            raise UsageError(f"the number of a face is {seed}; it must be between 0 and {LARGEST_SEED}")
        w, image, measured = self._origin(seed)
        return self._result(w, image, measured)

    def edit(self, edit: FaceEdit) -> EditedFace:
        """Return a face after an edit.

        Raises
        ------
        UsageError
            When a semantic is unknown or is to become no finite number.
        """
        face = self.original(edit.seed)
        if not edit.values:
            return face
        w, _, measured = self._origin(edit.seed)
        names = list(edit.values)
        rows = self._directions.index(names)
        goals = np.array([edit.values[name] for name in names], np.float64)
        if not np.isfinite(goals).all():
            raise UsageError(f"{names[int(np.argmin(np.isfinite(goals)))]} cannot become infinite or NaN: give numbers")
        directions = self._holding(names) if edit.keep else self._directions
        if edit.settle:
            return self._settled(directions, edit, goals)
        moved = w + directions.steps(names) @ (goals - measured[rows])
        image = synthesize(self.generator, moved[None], 1)
        return self._result(moved, image, self._measure(image)[0])

    def _settled(self, directions: Directions, edit: FaceEdit, goals: Floats) -> EditedFace:
        """Return a face whose semantics are measured and corrected."""
        names = tuple(edit.values)
        kept = tuple(name for name in FACTOR_NAMES if name in directions.names and name not in names and edit.keep)
        spread = self._directions.spread
        objective = EditObjective(
            names=names,
            values=goals[None],
            at_least=np.zeros(len(names), bool),
            tolerance=_TOLERANCE * spread[directions.index(names)],
            keep=kept,
            keep_tolerance=_KEEP_TOLERANCE * spread[directions.index(kept)],
        )
        w = np.asarray(self._origin(edit.seed)[0][None], np.float32)
        options = EditOptions(covariance=directions.covariance, corrections=CORRECTIONS, batch_size=1)
        edited = extrapolate(self.generator, self._directions, self._measure, w, objective, options)
        return self._result(np.asarray(edited.w[0], np.float64), edited.images, edited.measured[0])

    def _holding(self, names: Sequence[str]) -> Directions:
        """Return directions whose steps hold what need not move with `names`."""
        held = set.intersection(*(set(held_names(self._directions, name)) for name in names)) - set(names)
        ordered = [name for name in self._directions.names if name in held]
        return replace(self._directions, covariance=covariance_given(self._directions, ordered, HELD_SLACK))

    def _read_origin(self, seed: int) -> tuple[Floats, Tensor, Floats]:
        w = sample_w(self.generator, 1, seed, FACE_TRUNCATION).double().cpu().numpy()
        image = synthesize(self.generator, w, 1)
        return np.asarray(w[0], np.float64), image, self._measure(image)[0]

    def _measure(self, images: Tensor) -> Floats:
        """Read images [N, 3, R, R]: float64 [N, S]; a semantic that has no slider stays at its mean."""
        estimator = self._estimator
        factors = mirror_averaged_factors(estimator.reconstruct, images.to(self.generator.device)).map(Tensor.cpu)
        side = self.bundle.depth.shape[-1]
        depth, albedo = (resize_tensor(maps, side).numpy() for maps in (factors.depth[:, None], factors.albedo))
        scalars = read_scalars(factors, images, estimator.reader)
        read = np.concatenate([scalars, self.bundle.values(depth[:, 0], albedo)], 1)
        values = np.tile(self._directions.offset, (len(images), 1))
        values[:, self._directions.index(self._read)] = read
        return values

    def _result(self, w: Floats, image: Tensor, measured: Floats) -> EditedFace:
        plausibility = MeterReading(
            "plausible",
            float(self._lengths(w[None])[0] / self._reach),
            1.0,
            "Distance of the latent from the mean, against the distance that nearly all generated latents stay within.",
        )
        quality = self.quality.read(image)
        names = self._directions.names
        return EditedFace(
            to_uint8(image)[0],
            {name: value for name, value in zip(names, measured.tolist(), strict=True) if name in self._read},
            (plausibility, *([quality] if quality else [])),
        )

    def _lengths(self, w: Floats) -> Floats:
        return distance(w, self._directions.w_mean, self._directions.precision)

    def _slider(self, k: int) -> Slider:
        directions = self._directions
        name, kind = directions.names[k], directions.kinds[k]
        region = self.bundle.region(name)
        group = name.partition("_")[0] if region else kind
        low, high = self.bundle.ranges[k].tolist()
        return Slider(name, kind, directions.units[k], _MEANINGS.get(name, ""), group, low, high)
