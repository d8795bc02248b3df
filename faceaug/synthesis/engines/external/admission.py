"""Which images that were made elsewhere pass the checks of a data set, without a plan: all that pass are written."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from faceaug._version import __version__
from faceaug.analysis.analyze import Analysis
from faceaug.analysis.axes import cell_levels
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError
from faceaug.planning.budget import Budget
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.columns import EXTERNAL_ENGINE
from faceaug.shards.manifest import CreatedBy
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.balance import RunResult, balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.base import BlockResult, Engine, PreparationInputs
from faceaug.synthesis.engines.external.external import create_engine
from faceaug.synthesis.engines.external.verdicts import CANDIDATES_FILE, table_of_verdicts, without_formulas
from faceaug.synthesis.request import RunRequest, check_request
from faceaug.synthesis.stages import SourceImages, find_copies, read_images
from faceaug.utils.files import atomic
from faceaug.utils.threads import StageProgress, single_threaded

STRATEGY = "admit"
"""The strategy that the plan of an admission names."""


@dataclass(frozen=True, eq=False)
class Admission:
    """What was found of candidates; nothing is written yet.

    Attributes
    ----------
    dataset : FaceDataset
    config : RunConfig
    plan : Plan
        As many samples of each cell as candidates passed.
    table : pandas.DataFrame
        A row a candidate, those that could not be listed last: `file`, `sha256`, `cell`, `reason` (empty where it
        passed), `detail`, what was claimed of it and read off it.
    """

    dataset: FaceDataset
    config: RunConfig
    plan: Plan
    table: pd.DataFrame = field(repr=False)

    @property
    def passed(self) -> int:
        """Candidates that passed every gate."""
        return self.plan.total

    @property
    def refused(self) -> pd.DataFrame:
        """The rows of the candidates that were refused, without columns that none of them has."""
        return self.table[self.table["reason"] != ""].dropna(axis=1, how="all").reset_index(drop=True)

    @property
    def reasons(self) -> dict[str, int]:
        """Refused candidates by reason, the most frequent first."""
        counts = Counter(self.refused["reason"].tolist())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def write_refusals(self, path: Path | str) -> None:
        """Write the refused candidates as CSV.

        Raises
        ------
        OutputError
            When the file cannot be written.
        """
        with atomic(Path(path)) as temporary:
            without_formulas(self.refused).to_csv(temporary, index=False)

    def write(
        self, out: Path | str, *, progress: StageProgress | None = None, created_by: CreatedBy | None = None
    ) -> RunResult:
        """Write what passed to an output folder that is absent or empty.

        Parameters
        ----------
        out : path
        progress : callable (stage, done, total), optional
        created_by : CreatedBy, optional
            The command that the manifest names.

        Raises
        ------
        DatasetError
            When no candidate passed.
        OutputError
            When the folder has other content or cannot be written.
        """
        if not self.passed:
            raise DatasetError(
                f"none of {len(self.table):,} candidates passed, so nothing is written to {out}; most were refused by: "
                f"{', '.join(list(self.reasons)[:3])}"
            )
        created_by = created_by or CreatedBy(faceaug=__version__, command="faceaug.admit")
        return balance(self.dataset, out, plan=self.plan, config=self.config, progress=progress, created_by=created_by)


def admit(
    analysis: Analysis, dataset: FaceDataset, *, config: RunConfig, progress: StageProgress | None = None
) -> Admission:
    """Check images that were made elsewhere: each is read strictly, put into a cell and held to the gates.

    Parameters
    ----------
    analysis : Analysis
        Of the data set; its axes are what classifiers learn and candidates are sorted by.
    dataset : FaceDataset
        The real faces, with which labels and look are compared.
    config : RunConfig
        With `candidates`, and with `candidate_labels` where labels are claimed; its engine is set to `external`.
    progress : callable (stage, done, total), optional

    Returns
    -------
    Admission

    Raises
    ------
    UsageError, DatasetError
        When there are no candidates, or labels cannot be learnt.
    ImageError
        When an image of the data set cannot be read.

    Examples
    --------
    >>> from faceaug import RunConfig, admit, analyze, load_dataset
    >>> dataset = load_dataset("faces/", labels="labels.csv")  # doctest: +SKIP
    >>> found = admit(analyze(dataset, "gender"), dataset, config=RunConfig(candidates="new/"))  # doctest: +SKIP
    >>> found.reasons, found.write("out/").accepted  # doctest: +SKIP
    """
    progress = progress or (lambda stage, done, total: None)
    config = type(config)(**{**dict(config), "engine": EXTERNAL_ENGINE})
    request = check_request(dataset, _plan(analysis, [0] * len(analysis.counts)), config)
    engine = create_engine(request)
    with tempfile.TemporaryDirectory(prefix="faceaug-") as folder, single_threaded():
        images = read_images(request, progress)
        codec = config.image_format or images.commonest_codec()
        stored_codec = codec if config.layout == "blob" else None
        engine.prepare(PreparationInputs(images.thumbnails, codec, stored_codec, Path(folder), progress))
        table = table_of_verdicts(Path(folder) / CANDIDATES_FILE)
        refused = _refused_by_a_run(request, engine, images, _passed(analysis, table))
    later = table["sha256"].map(refused)
    table["reason"] = table["reason"].where(later.isna(), later)
    return Admission(dataset, config, _passed(analysis, table), table)


def _refused_by_a_run(request: RunRequest, engine: Engine, images: SourceImages, plan: Plan) -> dict[str, str]:
    """Return why a run would refuse candidates in the light of real images and of others, by the SHA-256 of the file.

    Those that pass each for itself can still be turned or shifted copies of real images.
    """
    config, reasons = request.config, dict[str, str]()
    index = DuplicateIndex(engine.real_hashes, config.thresholds.duplicate_bits)
    accounting = Accounting(index, config.uses_limit, config.tries, find_copies(request, images))
    for cell in (cell for cell in plan.cells if cell.planned):
        for block in range(engine.blocks(cell)):
            for candidate in engine.propose(cell, block).candidates:
                before = Counter(accounting.refused.get(cell.index))
                taken = accounting.take(cell, block, BlockResult((candidate,), {}, {}))
                if not taken and candidate.source is not None:
                    (reason,) = accounting.refused[cell.index] - before
                    reasons[candidate.source.sha256.hex()] = reason
    return reasons


def _passed(analysis: Analysis, table: pd.DataFrame) -> Plan:
    """Return the plan of as many samples of each cell as candidates passed."""
    counts = Counter(table.loc[table["reason"] == "", "cell"].astype(int).tolist())
    return _plan(analysis, [counts[k] for k in range(len(analysis.counts))])


def _plan(analysis: Analysis, planned: Sequence[int]) -> Plan:
    cells = tuple(
        PlannedCell(index, cell_levels(analysis.axes, index), int(real), count, count)
        for index, (real, count) in enumerate(zip(analysis.counts, planned, strict=True))
    )
    return Plan(tuple(analysis.axes), cells, STRATEGY, Budget())
