"""Pose and light of a data set's photographs, with no labels at all: as a table, or as columns of a dataset.

What measures is a file that `faceaug discover` writes: the reconstruction's weights, and, beside them under names of
their own, the alignment and the calibration (see `estimator_state`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.analysis.axes import NOT_ATTRIBUTES
from faceaug.datasets.dataset import FaceDataset, MeasuredColumns
from faceaug.datasets.registry import UNLABELLED
from faceaug.errors import DatasetError, FaceaugError, IntegrityError, nearest
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.measurement.alignment import CANVAS_SIDE, Aligner, lay_on_canvas
from faceaug.measurement.confidence import ConfidenceModel
from faceaug.measurement.estimator import AtomReader, FaceEstimator
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.networks import Reconstructor, network_from_weights
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES
from faceaug.utils.device import check_device
from faceaug.utils.images import decode
from faceaug.utils.threads import Progress, map_in_threads

__all__ = ["FaceEstimator", "estimator_from", "estimator_state", "measure", "summary", "with_measured"]

FILE_COLUMN, REASON_COLUMN, CONFIDENCE_SUFFIX = "file", "cannot_tell", "_confidence"
SMALLEST = 24
"""Pixels of a picture's shorter side below which nothing is told."""
UNREADABLE, TOO_SMALL, BLANK = "unreadable", f"smaller than {SMALLEST} pixels", "blank"
_FLAT = 4.0  # standard deviation of all values in 0 to 255 below which a picture is blank
_DECIMALS = {"degrees": 2}  # 3 for other units: no reading is that fine, and last bits shall not decide a bin
_ALIGNMENT, _CALIBRATION = "alignment.", "calibration."
SHIPPED_DIRECTIONS = Path(__file__).parents[1] / "generators" / "embedded" / "directions.safetensors"
"""What measures where no file is named."""
_log = logging.getLogger(__name__)


def measure(
    source: FaceDataset | Sequence[str | Path],
    measurer: FaceEstimator,
    *,
    aligned: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure every picture of a data set.

    Parameters
    ----------
    source : FaceDataset, or paths of image files
    measurer : FaceEstimator
    aligned : bool
        The pictures are framed as the generator's pictures are: read the middle square as it is.
    workers : int, optional
        Threads that decode; as many as there are processors when None.
    progress : callable, optional
        Called with the number of images that were just measured.

    Returns
    -------
    DataFrame
        A row per picture, in order: "file"; the dataset's own columns, but for those whose names are measured; a column
        for each of `measurer.names` (NaN where nothing can be told) and its "_confidence" in [0, 1]; "cannot_tell",
        the reason for that or an empty text. Written to a file, it can be given as labels.
    """
    if isinstance(source, FaceDataset):
        names, encoded, most = source.keys, source.encoded, source.max_pixels
        kept = source.table.drop(columns="key")
    else:
        paths = [Path(path) for path in source]
        names, most = tuple(map(str, paths)), FaceDataset.max_pixels
        kept = pd.DataFrame(index=range(len(paths)))

        def encoded(index: int) -> bytes:
            return paths[index].read_bytes()

    table = _measured(names, encoded, most, measurer, aligned, workers, progress)
    kept = kept[[name for name in kept.columns if name not in (FILE_COLUMN, *table.columns)]]
    return pd.concat([pd.DataFrame({FILE_COLUMN: list(names)}), kept, table], axis=1)


def add_measured_columns(
    dataset: FaceDataset,
    names: Sequence[str],
    measurer: Callable[[], FaceEstimator],
    *,
    aligned: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FaceDataset:
    """Return a dataset in whose table those of `names` that it lacks and that can be measured are columns.

    A column of the labels wins over a measurement of the same name. Names that are neither are left to whoever looks
    for them, except where there are no labels at all.

    Parameters
    ----------
    dataset : FaceDataset
    names : sequence of str
        Columns that are needed.
    measurer : callable returning a Measurer
        Called only when a name is no column.

    Raises
    ------
    DatasetError
        When a name is needed of pictures that have no labels and it is not measured, or no picture can be measured.
    """
    wanted = [name for name in names if name not in dataset.table.columns and name not in NOT_ATTRIBUTES]
    if not wanted:
        return dataset
    if dataset.reader == UNLABELLED:
        check_measurable(dataset.location, wanted, measurer)
    found = _loaded(wanted, measurer)
    if found is None or not set(wanted) & set(found.names):
        return dataset
    table = _measured(dataset.keys, dataset.encoded, dataset.max_pixels, found, aligned, workers, progress)
    reasons = Counter(why for why in table[REASON_COLUMN] if why)
    lost = sum(reasons.values())
    if lost == len(table):
        raise DatasetError(
            f"nothing can be measured on the {lost:,} images of {dataset.name} ({_counted(reasons)}): give photographs "
            "of faces, or label them"
        )
    if lost:
        _log.warning("%s: nothing can be measured on %s of %s images (%s)", dataset.name, f"{lost:,}",
                     f"{len(table):,}", _counted(reasons))  # fmt: skip
    new = {name: table[name] for name in found.names if name in wanted}
    told = MeasuredColumns(tuple(new), found.sha256, aligned)
    return replace(dataset, table=dataset.table.assign(**new), measured=told)


def check_measurable(location: str | Path, names: Sequence[str], measurer: Callable[[], FaceEstimator]) -> None:
    """Refuse names that are not measured, before images without labels are looked at one by one for nothing.

    Parameters
    ----------
    location
        Where the images are, as the error is to say.
    names : sequence of str
        Columns that are needed.
    measurer : callable returning a Measurer

    Raises
    ------
    DatasetError
        When one of them is not measured.
    """
    wanted = [name for name in names if name not in NOT_ATTRIBUTES]
    found = _loaded(wanted, measurer) if wanted else None
    known = FACTOR_NAMES if found is None else found.names
    unknown = [name for name in wanted if name not in known]
    if unknown:
        hint = nearest(unknown[0], FACTOR_NAMES)  # not a list of all atoms
        raise DatasetError(
            f"{location} has images but no labels, and {unknown[0]!r} is not measured ({hint}): give a CSV, TSV or "
            "Parquet file of labels with --labels"
        )


def _loaded(wanted: Sequence[str], measurer: Callable[[], FaceEstimator]) -> FaceEstimator | None:
    """Return what measures, or None where nothing does and none of `attribute_goals` is known to be measured."""
    try:
        return measurer()
    except DatasetError:
        if set(wanted) & set(FACTOR_NAMES):
            raise
        return None  # a name that nobody knows, most likely: whoever looks for it says so


def summarize_measurements(table: pd.DataFrame, measurer: FaceEstimator) -> dict[str, Any]:
    """Return what a table of `measure` says as a whole, JSON-able: counts, reasons, and quantiles of each semantic."""
    reasons = Counter(why for why in table[REASON_COLUMN] if why)
    told = table[table[REASON_COLUMN] == ""]
    semantics = {
        name: {
            "unit": unit,
            "quantiles": [round(float(q), 3) for q in np.quantile(told[name], (0.05, 0.5, 0.95))]
            if len(told)
            else None,
            "confidence": round(float(told[name + CONFIDENCE_SUFFIX].median()), 3) if len(told) else None,
        }
        for name, unit in zip(measurer.names, measurer.units, strict=True)
    }
    return dict(images=len(table), measured=len(told), cannot_tell=dict(reasons.most_common()),
                quantiles_at=[0.05, 0.5, 0.95], semantics=semantics)  # fmt: skip


def load_estimator(path: str | Path | None = None, device: str | torch.device = "cpu") -> FaceEstimator:
    """Load what measures photographs from a file of `faceaug discover`, or what comes with faceaug.

    Raises
    ------
    DatasetError
        When no file is named and none comes with this faceaug.
    IntegrityError
        When the file is missing, damaged or of another kind.
    """
    if path is None and not SHIPPED_DIRECTIONS.is_file():
        raise DatasetError(
            "nothing that measures pictures comes with this faceaug: make it with faceaug discover and name the file "
            "as --reconstruction FILE_COLUMN, or label the images"
        )
    file = SHIPPED_DIRECTIONS if path is None else Path(path)
    return estimator_from_bundle(read_bundle(file), str(file), device)


def estimator_from_bundle(
    bundle: Bundle, where: str = "these directions", device: str | torch.device = "cpu"
) -> FaceEstimator:
    """Return what measures photographs from a bundle; IntegrityError, naming `where`, when it holds no such thing."""
    if not any(name.startswith(_ALIGNMENT) for name in bundle.weights):
        raise IntegrityError(
            f"{where} holds directions, but nothing that measures pictures: make it with faceaug discover"
        )
    place = check_device(device)
    found = estimator_from_state(
        bundle.weights,
        network_from_bundle(bundle, where).to(place),
        bundle if bundle.atoms else None,
        bundle.reconstruction,
    )
    found.aligner.to(place)
    return found


def network_from_bundle(bundle: Bundle, where: str = "these directions") -> Reconstructor:
    """Return the reconstruction network of a bundle."""
    beside = (_ALIGNMENT, _CALIBRATION)
    return network_from_weights(
        {name: value for name, value in bundle.weights.items() if not name.startswith(beside)}, where
    )


def estimator_state(measurer: FaceEstimator) -> dict[str, NDArray[Any]]:
    """Return the alignment and the calibration as arrays, to be stored in a bundle among the reconstruction's."""
    parts = ((_ALIGNMENT, measurer.aligner.state()), (_CALIBRATION, measurer.trust.state()))
    return {prefix + name: value.numpy() for prefix, state in parts for name, value in state.items()}


def estimator_from_state(
    state: Mapping[str, NDArray[Any]],
    reconstruct: Callable[[Tensor], FaceFactors],
    atoms: AtomReader | None = None,
    sha256: str = "",
) -> FaceEstimator:
    """Return the measurer whose arrays `estimator_state` returned; others in `state` are passed over.

    Raises
    ------
    IntegrityError
        When they are damaged, or are for other semantics.
    """
    alignment, calibration = (
        {
            n.removeprefix(prefix): torch.from_numpy(np.array(value))
            for n, value in state.items()
            if n.startswith(prefix)
        }
        for prefix in (_ALIGNMENT, _CALIBRATION)
    )
    count = len(FACTOR_NAMES) + (len(atoms.atoms) if atoms else 0)
    return FaceEstimator(
        reconstruct, Aligner.from_state(alignment), ConfidenceModel.from_state(calibration, count), atoms, sha256
    )


def _measured(
    names: Sequence[str], encoded: Callable[[int], bytes], max_pixels: int, measurer: FaceEstimator, aligned: bool,
    workers: int | None, progress: Progress | None,
) -> pd.DataFrame:  # fmt: skip
    """Return the columns that are measured, a row for each name."""
    canvases = np.zeros((ESTIMATOR_BATCH_SIZE, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
    shorter = np.ones(ESTIMATOR_BATCH_SIZE, np.float32)
    values, confidence = (np.zeros((len(names), len(measurer.names))) for _ in range(2))
    values[:] = np.nan
    reasons: list[str] = []
    rows: list[int] = []

    def task(index: int) -> tuple[Any, float] | str:
        return laid(encoded, index, names[index], max_pixels)

    def flush() -> None:
        n = len(rows)
        if n:
            pixels = torch.from_numpy(canvases[:n]).permute(0, 3, 1, 2).float() / 127.5 - 1
            found = measurer.read(pixels, torch.from_numpy(shorter[:n]), aligned=aligned)
            values[rows], confidence[rows] = found.values, found.confidence
            for row, why in zip(rows, found.refusals, strict=True):
                reasons[row] = why
            rows.clear()

    for row, looked in enumerate(map_in_threads(task, len(names), workers=workers)):
        reasons.append(looked if isinstance(looked, str) else "")
        if not isinstance(looked, str):
            canvases[len(rows)], shorter[len(rows)] = looked
            rows.append(row)
        if len(rows) == ESTIMATOR_BATCH_SIZE or row + 1 == len(names):
            flush()
        if progress:
            progress(1)
    columns: dict[str, Any] = {}
    for k, (name, unit) in enumerate(zip(measurer.names, measurer.units, strict=True)):
        columns[name] = values[:, k].round(_DECIMALS.get(unit, 3)) + 0.0  # no -0.0
        columns[name + CONFIDENCE_SUFFIX] = confidence[:, k].round(3)
    return pd.DataFrame(columns | {REASON_COLUMN: pd.Series(reasons, dtype=object)})


def laid(encoded: Callable[[int], bytes], index: int, name: str, max_pixels: int) -> tuple[Any, float] | str:
    """Return a picture on its canvas and half of its shorter side there, or why nothing can be told of it."""
    try:
        picture = decode(encoded(index), name=name, max_pixels=max_pixels)
    except (FaceaugError, OSError):
        return UNREADABLE
    if min(picture.shape[:2]) < SMALLEST:
        return TOO_SMALL
    canvas, shorter = lay_on_canvas(picture)
    return BLANK if canvas.std() < _FLAT else (canvas, shorter)


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{why} {count:,}" for why, count in reasons.most_common())
