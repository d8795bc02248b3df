"""The accounting of a run that is under way: what was accepted and rejected, cell by cell, in the order of attempts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import SOURCE_COLUMNS
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.writer import Sample
from faceaug.synthesis.acceptance.gates import DUPLICATE, REAL_COPY
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.acceptance.refused_pictures import RefusedPictures
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.base import BlockResult, Candidate, Engine, SourceImage
from faceaug.utils.images import Rgb, decode

USED_UP = "source below its limit of uses"
"""The reason of faces whose real picture has given as many samples as it may."""

LOST = "block computed"
"""The reason that counts blocks whose worker was lost each time; how many attempts they held is not known."""
LOST_IN_TURN = 3
"""So many of them one after the other, and a cell is given up."""

WINDOW = 256
"""Attempts at a cell by which it is decided whether to go on."""
_RARE = 0.05


class Accounting:
    """What has been accepted and rejected so far, and every hash from which a new sample must differ.

    Parameters
    ----------
    duplicates : DuplicateIndex
    max_uses : int
        Samples that one real picture may take part in.
    tries : int
        Attempts allowed for each planned sample.
    copies : RealCopies, optional
        The real images, of which samples must be no copies; without, that is not asked.
    keep_refused : bool
        Whether a few refused pictures are kept.
    """

    def __init__(
        self,
        duplicates: DuplicateIndex,
        max_uses: int = 1,
        tries: int = 1,
        copies: RealCopies | None = None,
        keep_refused: bool = False,
    ) -> None:
        self.duplicates, self._tries, self._copies = duplicates, tries, copies
        self.refused_pictures = RefusedPictures(keep_refused)
        self._resemblances = Counter[int]()  # of accepted samples to the nearest real image, in percent
        self._max_uses, self._uses = max_uses, Counter[bytes]()
        self.accepted: Counter[int] = Counter()
        self.total_accepted = 0  # in all cells
        self.refused: dict[int, Counter[str]] = {}
        self.nearest: dict[int, dict[str, float]] = {}
        self.blocks: dict[int, int] = {}
        self.unreachable: dict[int, str] = {}  # cells for which nothing is tried, and why
        self._recent: dict[int, list[list[int]]] = {}  # of the last blocks of a cell, attempts and accepted ones
        self._given_up: dict[int, str] = {}  # cells that were given up, and why
        self._lost_in_turn: Counter[int] = Counter()
        self._lost_since: dict[int, int] = {}  # by cell, the first block lost since one of any cell was computed
        self._cells_with_losses: set[int] = set()
        self._last_computed: tuple[int, int] | None = None  # cell and block
        self._next_engines: dict[int, int | None] = {}  # of the last result of a cell
        self._seconds_before, self._start = 0.0, time.perf_counter()

    @classmethod
    def resumed(
        cls, output: OutputFolder, engine: Engine, config: RunConfig, copies: RealCopies | None = None
    ) -> Accounting:
        """Return the accounting as an interrupted run left it with its last whole shard, or a fresh one."""
        accounting = cls(
            DuplicateIndex(engine.real_hashes, config.thresholds.duplicate_bits),
            config.uses_limit,
            config.tries,
            copies,
            config.keep_refused,
        )
        for reader in output.readers():
            for value in engine.stored_hashes(reader):
                accounting.duplicates.add(value)
            for name in (name for name in SOURCE_COLUMNS if name in reader.keys):
                accounting._uses.update(row.tobytes() for row in reader.column(name) if row.any())
        accounting.accepted = output.accepted()
        accounting.total_accepted = accounting.accepted.total()
        accounting.refused = {cell.index: Counter(cell.rejected) for cell in output.manifest.cells}
        state = output.manifest.progress
        if isinstance(state, dict):
            values: Mapping[str, Any] = state
            accounting.blocks = {int(k): int(v) for k, v in values["blocks"].items()}
            accounting._seconds_before = float(values.get("seconds", 0.0))
            accounting.nearest = {int(k): dict(v) for k, v in values["nearest"].items()}
            accounting._recent = {int(k): [list(block) for block in v] for k, v in values["recent"].items() if v}
            accounting._given_up = {int(k): str(v) for k, v in values["given_up"].items() if v}
            accounting._resemblances.update({int(k): int(v) for k, v in values.get("resemblances", {}).items()})
            accounting.refused_pictures.restore(values.get("refused_pictures", ()))
        return accounting

    def next_block(self, cell: int) -> int:
        """Return the first block of a cell that has not been accounted for."""
        return self.blocks.get(cell, 0)

    def needs(self, cell: PlannedCell, block: int) -> bool:
        """Tell whether a block is still to be accounted for: the cell is not full, and the block is not left out."""
        return self.accepted[cell.index] < cell.planned and block >= self.next_block(cell.index)

    def take(self, cell: PlannedCell, block: int, result: BlockResult) -> list[Sample]:
        """Accept a block's candidates in order while the cell needs them, and account for the rest."""
        samples: list[Sample] = []
        refused = self.refused.setdefault(cell.index, Counter())
        self._lost_in_turn.pop(cell.index, None)
        self._lost_since.clear()
        self._last_computed = cell.index, block
        self._next_engines[cell.index] = result.next_engine
        last = None
        for candidate in result.candidates:
            if self.accepted[cell.index] + len(samples) >= cell.planned:
                break
            last = candidate.attempt
            reason, resemblance = self._refusal(candidate), None
            if not reason and self._copies is not None:
                sources = [image.sha256 for image in _sources(candidate)]
                resemblance = self._copies.resemblance(_pixels(candidate), sources)
                reason = REAL_COPY if resemblance > self._copies.limit else ""
            if reason:
                refused[reason] += 1
                if reason == USED_UP:  # the others are copies
                    self.refused_pictures.add(cell.index, candidate.attempt, reason, _pixels(candidate), True)
                continue
            self.duplicates.add(candidate.hash)
            if resemblance is not None:
                self._resemblances[round(100 * resemblance)] += 1
            self._uses.update(image.sha256 for image in _sources(candidate))
            samples.append(_sample(cell.index, candidate))
        self.accepted[cell.index] += len(samples)
        self.total_accepted += len(samples)
        full = self.accepted[cell.index] >= cell.planned
        refused.update(result.refusals(before=last if full else None))
        for attempt, picture in sorted(result.pictures.items()):
            if not full or last is None or attempt < last:
                self.refused_pictures.add(
                    cell.index, attempt, result.refused[attempt], picture, result.from_photographs
                )
        self._recent.setdefault(cell.index, []).append([result.attempts, len(samples)])
        self.blocks[cell.index] = block + 1
        nearest = self.nearest.setdefault(cell.index, {})
        for name, value in result.nearest.items():
            nearest[name] = max(value, nearest.get(name, 0.0))
        return samples

    def lose(self, cell: PlannedCell, block: int, blocks: int, why: str) -> None:
        """Go on without a block that could not be computed; give the engine up after `LOST_IN_TURN` of them in turn.

        That is, the next engine of the cell takes over, if results have named one, or the cell ends. A run that is
        resumed before another block was computed tries what was lost again.

        Parameters
        ----------
        cell : PlannedCell
        block : int
        blocks : int
            Number of blocks of the cell.
        why : str
            What happened to the last worker.

        Raises
        ------
        FaceaugError
            When that is so for a second cell and nothing was computed in between: the workers are gone.
        """
        self.refused.setdefault(cell.index, Counter())[LOST] += 1
        self._lost_in_turn[cell.index] += 1
        self._cells_with_losses.add(cell.index)
        self._lost_since.setdefault(cell.index, block)
        self.blocks[cell.index] = block + 1
        if self._lost_in_turn[cell.index] < LOST_IN_TURN:
            return
        if len(self._lost_since) > 1:
            raise FaceaugError(
                f"the blocks of {len(self._lost_since)} cells in turn were lost with their workers ({why}); see to the "
                "workers, and run the same command with --resume"
            )
        del self._lost_in_turn[cell.index]
        self._recent.pop(cell.index, None)
        after = self._next_engines.get(cell.index)
        if after is not None and after > block:
            self.blocks[cell.index] = after
        else:
            self._given_up[cell.index] = f"since {LOST_IN_TURN} blocks in turn were lost with their workers ({why})"
            self.blocks[cell.index] = blocks

    @property
    def unsure_of_workers(self) -> bool:
        """Whether the last blocks were all lost, so that there may be no workers any more."""
        return bool(self._lost_since)

    @property
    def computed_before(self) -> tuple[int, int] | None:
        """Cell and number of a block that workers could compute: the last one, or the first of a cell with samples."""
        began = ((cell, 0) for cell, count in self.accepted.items() if count)
        return self._last_computed or next(began, None)

    def end_hopeless(self, cell: PlannedCell, result: BlockResult, blocks: int) -> None:
        """Leave out the blocks of an engine that has nothing more to try in a cell, or hardly any success.

        That is decided on the last `WINDOW` attempts: if one in twice `tries` were accepted, so few would be in one
        case of twenty. The next engine begins anew.

        Parameters
        ----------
        cell : PlannedCell
        result : BlockResult
            The last one of the cell that was taken.
        blocks : int
            Number of blocks of the cell.
        """
        recent = self._recent[cell.index]
        while sum(attempts for attempts, _ in recent[1:]) >= WINDOW:
            del recent[0]
        attempts, accepted = (sum(column) for column in zip(*recent, strict=True))
        end = blocks if result.next_engine is None else result.next_engine
        if not result.attempts:
            self._given_up[cell.index] = "when there was nothing more to try"
        elif (
            result.steady and attempts >= WINDOW and _chance_of_fewer(accepted, attempts, 1 / (2 * self._tries)) < _RARE
        ):
            self._given_up[cell.index] = (
                f"since {accepted} of the last {attempts} attempts were accepted, and another sample would cost more "
                f"than {2 * self._tries}"
            )
        elif self.blocks[cell.index] != end and self.accepted[cell.index] < cell.planned:
            return
        else:
            self._given_up.pop(cell.index, None)  # what an engine before said
        self.blocks[cell.index] = end
        del self._recent[cell.index]

    def _refusal(self, candidate: Candidate) -> str:
        """Return why a candidate is rejected in the light of all accepted samples, or an empty text."""
        source = candidate.source
        if any(self._uses[image.sha256] >= self._max_uses for image in _sources(candidate)):
            return USED_UP
        if self.duplicates.near(candidate.hash, source.hash if source else None):
            return DUPLICATE
        return ""

    def state(self, cell: PlannedCell, ended: bool = False) -> CellState:
        """Return the cell's account for the manifest, with the reason where it has ended short."""
        refused = self.refused.get(cell.index, Counter())
        short = cell.planned - self.accepted[cell.index]
        if not (ended and short):
            return CellState(dict(refused), "")
        note = self.unreachable.get(cell.index) or shortfall_note(
            short, refused, self.nearest.get(cell.index, {}), self._given_up.get(cell.index, "")
        )
        return CellState(dict(refused), note)

    def seconds(self) -> float:
        """Return the seconds that synthesis has taken, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._start

    def progress(self, cell: int) -> dict[str, Any]:
        """Return where the run stands, as JSON values: what is true of all cells, and of the one cell that changed.

        Lost blocks count as taken only once another block was computed, so cells that have some are among them.
        """
        lost, cells = self._lost_since, sorted({cell, *self._cells_with_losses})
        return {
            "seconds": round(self.seconds(), 2),
            "blocks": {str(k): lost.get(k, self.next_block(k)) for k in cells},
            "nearest": {str(cell): self.nearest.get(cell, {})},
            "recent": {str(cell): self._recent.get(cell, [])},
            "given_up": {str(k): "" if k in lost else self._given_up.get(k, "") for k in cells},
            "resemblances": {str(k): v for k, v in sorted(self._resemblances.items())},
            "refused_pictures": self.refused_pictures.state(),
        }

    def real_resemblance(self) -> dict[str, Any]:
        """Return how much accepted samples look like the real image nearest to each, as JSON values for the manifest.

        The keys are the `limit`, the number of samples `compared`, and the `median` and `largest` correlation; there
        are none where nothing was compared.
        """
        if self._copies is None or not self._resemblances:
            return {}
        values = sorted(self._resemblances.elements())
        return {
            "limit": self._copies.limit,
            "compared": len(values),
            "median": values[len(values) // 2] / 100,
            "largest": values[-1] / 100,
        }


def shortfall_note(short: int, refused: Mapping[str, int], nearest: Mapping[str, float], given_up: str = "") -> str:
    """Return in a sentence why a cell ended short, and the highest probability that was reached.

    `given_up` says why not all attempts were made, where that is so.
    """
    most_frequent = sorted(refused.items(), key=lambda item: (-item[1], item[0]))[:3]
    reasons = ", ".join(f"{name} {count}" for name, count in most_frequent)
    reached = ", ".join(f"{name} {value:.2f}" for name, value in nearest.items())
    why = f"most attempts were rejected by: {reasons}" if reasons else "no attempt was rejected"
    highest = f"; the held-out classifier gave at most: {reached}" if reached else ""
    end = f", given up {given_up}" if given_up else " after all attempts"
    return f"{short} short{end}; {why}{highest}"


def _chance_of_fewer(accepted: int, attempts: int, rate: float) -> float:
    """Return the probability that so few of independent attempts, or fewer, are accepted at a rate."""
    return sum(math.comb(attempts, k) * rate**k * (1 - rate) ** (attempts - k) for k in range(accepted + 1))


def _pixels(candidate: Candidate) -> Rgb:
    """Return the image of a candidate, decoded where it is to be stored as it is encoded."""
    return decode(candidate.image) if isinstance(candidate.image, bytes) else candidate.image


def _sources(candidate: Candidate) -> tuple[SourceImage, ...]:
    """Return the real images that take part in a candidate."""
    return (*((candidate.source,) if candidate.source else ()), *candidate.donors)


def _sample(cell: int, candidate: Candidate) -> Sample:
    return Sample(
        image=candidate.image,
        w=candidate.w,
        origin_w=candidate.origin_w,
        engine=candidate.engine,
        source_sha256=candidate.source.sha256 if candidate.source else None,
        donors=tuple(image.sha256 for image in candidate.donors),
        harmonize=candidate.harmonize,
        cell=cell,
        attr=candidate.attr,
        attr_confidence=candidate.confidence,
        semantic=candidate.semantic,
        plausibility=candidate.plausibility,
        realism=candidate.realism,
        seed=candidate.seed,
        quality=candidate.quality,
    )
