"""The contract of engines, which propose candidates for the cells of a plan.

An engine is created from a `RunRequest`, says what decides its samples and which columns they have, learns what it
needs once (`prepare`), and then proposes candidates in blocks of attempts (`propose`). What a block holds depends on
the seed, the cell and the number of the block alone, so blocks may be computed anywhere and in any order. Engines of
other packages plug in through the entry point group ``faceaug.engines`` (`faceaug.synthesis.engines.registry`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import GeneratorRecord, ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.utils.images import Codec, Rgb
from faceaug.utils.threads import StageProgress

if TYPE_CHECKING:
    from faceaug.synthesis.estimate import RunEstimate


@dataclass(frozen=True)
class SourceImage:
    """A real image from which a sample was synthesized.

    Attributes
    ----------
    sha256 : bytes
        Of its file.
    hash : uint64, optional
        Its perceptual hash, where a sample may be near to it as to no other image.
    """

    sha256: bytes
    hash: np.uint64 | None = None


@dataclass(frozen=True)
class Candidate:
    """A sample that passed every gate but the one on near-copies, which knows all samples of the run.

    Attributes
    ----------
    attempt : int
        The number of its attempt in its cell.
    seed : int
        Its own seed.
    engine : str
        The engine that synthesized it.
    image : uint8 [H, W, 3] or bytes
        Harmonized pixels, or the picture encoded as it is to be stored.
    quality : int or None
        Quality of the codec.
    harmonize : dict
        The parameters that were drawn for its harmonization.
    w, origin_w : float32 [D] or None
        The latent, and the latent before the edit.
    attr : dict
        The labels given to it.
    confidence : dict
        Calibrated probability of each of them.
    semantic : dict
        What was measured.
    plausibility, realism : float
        At most 1 passes; NaN where the engine has none.
    hash : uint64
        Perceptual hash.
    source : SourceImage, optional
        Of a face that was re-rendered, inverted and edited, or the host of a morph.
    donors : tuple of SourceImage
        Real faces whose features were mixed in, at most three.
    """

    attempt: int
    seed: int
    engine: str
    image: NDArray[np.uint8] | bytes
    quality: int | None
    harmonize: dict[str, float]
    w: NDArray[np.float32] | None
    origin_w: NDArray[np.float32] | None
    attr: dict[str, Any]
    confidence: dict[str, float]
    semantic: dict[str, float]
    plausibility: float
    realism: float
    hash: np.uint64
    source: SourceImage | None = None
    donors: tuple[SourceImage, ...] = ()


@dataclass(frozen=True)
class BlockResult:
    """The result of a block of attempts.

    Attributes
    ----------
    candidates : tuple of Candidate
        In the order of attempts.
    refused : dict of int to str
        By attempt, the gate that rejected it.
    nearest : dict of str to float
        By attribute, the highest probability of what is requested that the held-out classifier gave.
    next_engine : int, optional
        The first block of the engine that takes over where this one gives the cell up; None where none does.
    steady : bool
        Whether a cell is given up where few of its attempts were accepted. Not so where an attempt costs next to
        nothing, or is one of a given number that must all be looked at.
    pictures : dict of int to uint8 [H, W, 3]
        By attempt, pictures of rejected attempts that may be kept to look at. There is none where nothing was rendered,
        and none of a picture that was rejected since it is nearly a real one or shows its person.
    from_photographs : bool
        Whether these pictures were made from photographs, so that they may show real people.
    """

    candidates: tuple[Candidate, ...]
    refused: dict[int, str]
    nearest: dict[str, float]
    next_engine: int | None = None
    steady: bool = True
    pictures: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    from_photographs: bool = True

    @property
    def attempts(self) -> int:
        """Number of attempts; a block without any says that there is nothing more to try."""
        return len(self.candidates) + len(self.refused)

    def refusals(self, before: int | None = None) -> Counter[str]:
        """Return the number of rejected attempts by reason, of those before `before` or of all."""
        return Counter(reason for attempt, reason in self.refused.items() if before is None or attempt < before)


@dataclass(frozen=True, eq=False)
class PreparationInputs:
    """What an engine may use to prepare.

    Attributes
    ----------
    thumbnails : uint8 [N, 64, 64, 3]
        All images of the data set, squeezed into squares.
    codec : "jpeg", "png" or "webp"
        In which the run's images are encoded, or would be where pixels are stored.
    stored_codec : "jpeg", "png", "webp" or None
        In which samples are stored; None where pixels are stored as they are.
    folder : Path
        Where models of the run are kept; what an interrupted run learnt is read from there.
    progress : callable (stage, done, total)
    """

    thumbnails: Rgb
    codec: Codec
    stored_codec: Codec | None
    folder: Path
    progress: StageProgress


@dataclass(frozen=True)
class Preparation:
    """What an engine learnt, for the manifest.

    Attributes
    ----------
    files : tuple of str
        Names of the files that it keeps in the folder of models.
    directions : ModelRecord, optional
    classifiers : tuple of ModelRecord
    metrics : dict
        What was measured on the way, as JSON values; "seconds" holds the seconds of its stages.
    """

    files: tuple[str, ...] = ()
    directions: ModelRecord | None = None
    classifiers: tuple[ModelRecord, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Proposes candidates for the cells of a plan."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its samples in the column `engine`: that of ``--engine``, or those of the engines of a chain."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of its samples."""

    @property
    def generator(self) -> GeneratorRecord | None:
        """The generator whose samples are edited, if there is one."""

    @property
    def takes_image_sizes(self) -> bool:
        """Whether samples have the sizes of the data set's images, which may differ, rather than one size."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values that decide its samples beside data set, plan and settings.

        The hashes of all weights that take part are among them, also of those that the settings `generator`,
        `directions` and `reconstruction` name: a run is resumed only with the same identity.
        """

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        """Perceptual hashes [N] of the data set's images, of which samples must be no near-copies; once prepared."""

    def estimate(self) -> RunEstimate:
        """Return the expected seconds and bytes of the run; called before anything is prepared, or never."""

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Learn what attempts need, or read what an interrupted run has learnt; called once, before all below."""

    def unreachable(self, cell: PlannedCell) -> str:
        """Return why no attempt at a cell could ever be accepted, or an empty text where one could."""

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks after which a cell is given up."""

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return the candidates of a block of attempts. Called from several threads at a time."""

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        """Yield the perceptual hashes of its samples in a shard, as `propose` gave them."""


def sample_seed(seed: int, cell: int, attempt: int) -> np.random.SeedSequence:
    """Return the seed sequence of one attempt, the same for any block, batch or worker."""
    return np.random.SeedSequence(seed, spawn_key=(cell, attempt))


def seed_number(seed: np.random.SeedSequence) -> int:
    """Return a seed sequence as the number that is stored with a sample."""
    return int(seed.generate_state(1, np.uint64)[0])
