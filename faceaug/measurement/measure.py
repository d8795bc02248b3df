"""Measurement of view and light on photographs, without labels: as a table, or as columns of a data set.

The estimator is stored in a file that `faceaug discover` writes: the weights of the reconstruction and, under names of
their own, those of the alignment and of the confidence model (see `estimator_state`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from faceaug.analysis.axes import NOT_ATTRIBUTES
from faceaug.analysis.intervals import ERROR_SUFFIX
from faceaug.datasets.dataset import FaceDataset, MeasuredColumns
from faceaug.datasets.registry import UNLABELLED_READER
from faceaug.errors import DatasetError, FaceaugError, IntegrityError
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.measurement.alignment import Aligner, lay_on_canvas, stack_canvases
from faceaug.measurement.confidence import ConfidenceModel
from faceaug.measurement.estimator import CONFIDENCE_SUFFIX, AtomReader, FaceEstimator, Measurements, Reconstruct
from faceaug.measurement.measured_cache import CACHED_TOGETHER, cached_table, encoded_from, measurements_key
from faceaug.measurement.reader import FactorReader
from faceaug.measurement.skin_tone import SKIN_TONE
from faceaug.reconstruction.networks import Reconstructor, network_from_weights
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES
from faceaug.utils.device import check_device
from faceaug.utils.images import Rgb, decode
from faceaug.utils.text import nearest
from faceaug.utils.threads import Progress, map_in_order, single_threaded, worker_count

FILE_COLUMN, REASON_COLUMN = "file", "cannot_tell"
MIN_SIDE = 24
"""Shorter side of an image in pixels below which it is refused."""
UNREADABLE, TOO_SMALL, BLANK = "unreadable", f"smaller than {MIN_SIDE} pixels", "blank"
SHIPPED_DIRECTIONS = Path(__file__).parents[1] / "generators" / "embedded" / "directions.safetensors"
"""The estimator that comes with faceaug."""
_COARSE = (*FACTOR_NAMES, SKIN_TONE)  # all but the atoms of the file
QUANTILES = (0.05, 0.5, 0.95)
_BLANK_CONTRAST = 4.0  # standard deviation of all values in 0 to 255 below which an image is blank
_DECIMALS = {"degrees": 2}
_OTHER_DECIMALS = 3  # no estimate is that exact, and the last bits shall not decide the bin of a value
_ALIGNMENT_PREFIX, _CALIBRATION_PREFIX, _READER_PREFIX = "alignment.", "calibration.", "reader."
_TONE_PREFIX = "skin_tone."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images to measure.

    Attributes
    ----------
    names : tuple of str
        For error messages and the table.
    encoded : callable
        From index to the encoded bytes.
    max_pixels : int
        Largest number of pixels of an image that is decoded.
    """

    names: tuple[str, ...]
    encoded: Callable[[int], bytes]
    max_pixels: int

    @classmethod
    def of_dataset(cls, dataset: FaceDataset) -> EncodedImages:
        """Return the images of a data set."""
        return cls(tuple(dataset.keys), dataset.encoded, dataset.max_pixels)

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> EncodedImages:
        """Return the images in files."""
        return cls(tuple(map(str, paths)), lambda index: paths[index].read_bytes(), FaceDataset.max_pixels)

    def __len__(self) -> int:
        return len(self.names)

    def load_canvas(self, index: int) -> tuple[Rgb, float] | str:
        """Return an image on its canvas (`alignment.lay_on_canvas`), or why it cannot be measured."""
        try:
            image = decode(self.encoded(index), name=self.names[index], max_pixels=self.max_pixels)
        except (FaceaugError, OSError):
            return UNREADABLE
        if min(image.shape[:2]) < MIN_SIDE:
            return TOO_SMALL
        canvas, shorter = lay_on_canvas(image)
        return BLANK if canvas.std() < _BLANK_CONTRAST else (canvas, shorter)


def measure(
    source: FaceDataset | Sequence[str | Path],
    estimator: FaceEstimator,
    *,
    aligned: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure every image of a data set.

    Parameters
    ----------
    source : FaceDataset, or paths of image files
    estimator : FaceEstimator
    aligned : bool
        The images have the framing of the generator's: the central square is read as it is.
    workers : int, optional
        Threads that decode images; one per processor when None.
    progress : callable, optional
        Called with the number of images that were just measured.

    Returns
    -------
    DataFrame
        A row per image, in order: "file"; the data set's own columns, except for those whose names are measured; a
        column for each of `estimator.column_names` (NaN where the estimate is refused) and its "_confidence" in [0, 1];
        for view, light and skin tone also their standard "_error"; "cannot_tell", the reason of the refusal or an empty
        text. Written to a file, it can be given as labels.
    """
    if isinstance(source, FaceDataset):
        images, columns = EncodedImages.of_dataset(source), source.table.drop(columns="key")
    else:
        images = EncodedImages.of_files([Path(path) for path in source])
        columns = pd.DataFrame(index=range(len(images)))
    table = _measure_columns(images, estimator, aligned, workers, progress)
    for name, errors in estimator.errors(table).items():
        table.insert(list(table.columns).index(name + CONFIDENCE_SUFFIX) + 1, name + ERROR_SUFFIX, errors)
    columns = columns[[name for name in columns.columns if name not in (FILE_COLUMN, *table.columns)]]
    return pd.concat([pd.DataFrame({FILE_COLUMN: list(images.names)}), columns, table], axis=1)


def add_measured_columns(
    dataset: FaceDataset,
    names: Sequence[str],
    load: Callable[[], FaceEstimator],
    *,
    aligned: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FaceDataset:
    """Return a data set whose table also holds those of `names` that it lacks and that can be measured.

    A label has precedence over a measurement of the same name. Names that are neither are left to the caller, except
    where there are no labels at all.

    Parameters
    ----------
    dataset : FaceDataset
    names : sequence of str
        Columns that are needed.
    load : callable returning a FaceEstimator
        Called only when a name is no column.
    aligned, workers, progress
        As in `measure`.

    Raises
    ------
    DatasetError
        When a name is needed of images that have no labels and it is not measured, or every estimate is refused.
    """
    missing = [name for name in names if name not in dataset.table.columns and name not in NOT_ATTRIBUTES]
    if not missing:
        return dataset
    if dataset.reader == UNLABELLED_READER:
        check_measurable(dataset.location, missing, load)
    estimator = _load_if_measurable(missing, load)
    if estimator is None or not set(missing) & set(estimator.column_names):
        return dataset
    table = _measure_columns(EncodedImages.of_dataset(dataset), estimator, aligned, workers, progress)
    reasons = Counter(reason for reason in table[REASON_COLUMN] if reason)
    refused, counts = sum(reasons.values()), ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    if refused == len(table):
        raise DatasetError(
            f"nothing can be measured on the {refused:,} images of {dataset.name} ({counts}): give photographs "
            "of faces, or label them"
        )
    if refused:
        total = f"{len(table):,}"
        _log.warning("%s: nothing can be measured on %s of %s images (%s)", dataset.name, f"{refused:,}", total, counts)
    new = {name: table[name] for name in estimator.column_names if name in missing}
    errors = pd.DataFrame(estimator.errors(table)).set_axis(dataset.table["key"])
    measured = MeasuredColumns(tuple(new), estimator.sha256, aligned, errors[[n for n in new if n in errors]])
    return replace(dataset, table=dataset.table.assign(**new), measured=measured)


def check_measurable(location: str | Path, names: Sequence[str], load: Callable[[], FaceEstimator]) -> None:
    """Refuse names that are not measured, before the images of an unlabelled data set are checked one by one.

    Parameters
    ----------
    location
        Where the images are, for the error message.
    names : sequence of str
        Columns that are needed.
    load : callable returning a FaceEstimator

    Raises
    ------
    DatasetError
        When one of them is not measured.
    """
    needed = [name for name in names if name not in NOT_ATTRIBUTES]
    estimator = _load_if_measurable(needed, load) if needed else None
    measurable = _COARSE if estimator is None else estimator.column_names
    unknown = [name for name in needed if name not in measurable]
    if unknown:
        hint = nearest(unknown[0], _COARSE)  # not a list of all atoms
        raise DatasetError(
            f"{location} has images but no labels, and {unknown[0]!r} is not measured ({hint}): give a CSV, TSV or "
            "Parquet file of labels with --labels"
        )


def _load_if_measurable(names: Sequence[str], load: Callable[[], FaceEstimator]) -> FaceEstimator | None:
    """Return the estimator; None where there is none and none of `names` is a factor that all estimators measure."""
    try:
        return load()
    except DatasetError:
        if set(names) & set(_COARSE):
            raise
        return None  # the names are probably misspelt, which the caller reports


def summarize_measurements(table: pd.DataFrame, estimator: FaceEstimator) -> dict[str, Any]:
    """Return counts, reasons of refusals, and quantiles of each semantic of a table of `measure`, JSON-able."""
    reasons = Counter(reason for reason in table[REASON_COLUMN] if reason)
    accepted = table[table[REASON_COLUMN] == ""]
    semantics: dict[str, dict[str, Any]] = {}
    for name, unit in zip(estimator.column_names, estimator.column_units, strict=True):
        quantiles, confidence = None, None
        if len(accepted):
            quantiles = [round(float(q), 3) for q in np.quantile(accepted[name], QUANTILES)]
            confidence = round(float(accepted[name + CONFIDENCE_SUFFIX].median()), 3)
        semantics[name] = {"unit": unit, "quantiles": quantiles, "confidence": confidence}
    return dict(
        images=len(table),
        measured=len(accepted),
        cannot_tell=dict(reasons.most_common()),
        quantiles_at=list(QUANTILES),
        semantics=semantics,
    )


def load_estimator(path: str | Path | None = None, device: str | torch.device = "cpu") -> FaceEstimator:
    """Load an estimator from a file of `faceaug discover`, or the one that comes with faceaug.

    Parameters
    ----------
    path : path, optional
        A directions file; the shipped one when None.
    device : str or torch.device
        Where its networks compute.

    Returns
    -------
    FaceEstimator
        Measures yaw, pitch, roll, light_x, light_y and skin_tone in degrees and light as a share, and the atoms of its
        file.

    Raises
    ------
    DatasetError
        When no file is named and none comes with this faceaug.
    IntegrityError
        When the file is missing, damaged or of another kind.
    """
    if path is None and not SHIPPED_DIRECTIONS.is_file():
        raise DatasetError(
            "no estimator of view and light comes with this faceaug: make one with faceaug discover and name the file "
            "as --reconstruction FILE, or label the images"
        )
    file = SHIPPED_DIRECTIONS if path is None else Path(path)
    return estimator_from_bundle(read_bundle(file), str(file), device)


def estimator_from_bundle(
    bundle: Bundle, where: str = "these directions", device: str | torch.device = "cpu"
) -> FaceEstimator:
    """Return the estimator of a bundle; IntegrityError, naming `where`, when it holds none."""
    if not any(name.startswith(_ALIGNMENT_PREFIX) for name in bundle.weights):
        raise IntegrityError(
            f"{where} holds directions, but no estimator of view and light: make one with faceaug discover"
        )
    target_device = check_device(device)
    network = network_from_bundle(bundle, where).to(target_device)
    if target_device.type == "cpu":  # the faster layout there
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    atoms = bundle if bundle.atoms else None
    estimator = estimator_from_state(bundle.weights, network, atoms, bundle.reconstruction)
    estimator.aligner.to(target_device)
    return replace(estimator, reader=estimator.reader.to(target_device)) if estimator.reader else estimator


def network_from_bundle(bundle: Bundle, where: str = "these directions") -> Reconstructor:
    """Return the reconstruction network of a bundle; IntegrityError, naming `where`, when it holds none."""
    others = (_ALIGNMENT_PREFIX, _CALIBRATION_PREFIX, _READER_PREFIX, _TONE_PREFIX)
    weights = {name: value for name, value in bundle.weights.items() if not name.startswith(others)}
    return network_from_weights(weights, where)


def estimator_state(estimator: FaceEstimator) -> dict[str, NDArray[Any]]:
    """Return the arrays of alignment, confidence model and reader, which a bundle stores besides the network's."""
    states = {
        _ALIGNMENT_PREFIX: estimator.aligner.state(),
        _CALIBRATION_PREFIX: estimator.confidence_model.state(),
        _READER_PREFIX: estimator.reader.state() if estimator.reader else {},
        _TONE_PREFIX: estimator.tone_model.state() if estimator.tone_model else {},
    }
    return {prefix + name: value.numpy() for prefix, state in states.items() for name, value in state.items()}


def estimator_from_state(
    state: Mapping[str, NDArray[Any]], reconstruct: Reconstruct, atoms: AtomReader | None = None, sha256: str = ""
) -> FaceEstimator:
    """Return the estimator of the arrays of `estimator_state`; other arrays in `state` are ignored.

    Raises
    ------
    IntegrityError
        When they are damaged, or are for other semantics.
    """
    alignment, calibration, reader, tone = (
        {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in state.items()
            if name.startswith(prefix)
        }
        for prefix in (_ALIGNMENT_PREFIX, _CALIBRATION_PREFIX, _READER_PREFIX, _TONE_PREFIX)
    )
    count = len(FACTOR_NAMES) + (len(atoms.atoms) if atoms else 0)
    model = ConfidenceModel.from_state(calibration, count)
    read = FactorReader.from_state(reader) if reader else None  # older files have none
    tone_model = ConfidenceModel.from_state(tone, 1) if tone else None
    return FaceEstimator(reconstruct, Aligner.from_state(alignment), model, atoms, sha256, read, tone_model)


def _measure_columns(
    images: EncodedImages, estimator: FaceEstimator, aligned: bool, workers: int | None, progress: Progress | None
) -> pd.DataFrame:
    """Return the measured columns, a row for each image; those that the cache has are not measured again."""
    columns = [name + suffix for name in estimator.column_names for suffix in ("", CONFIDENCE_SUFFIX)]
    tables = []
    for first in range(0, max(1, len(images)), CACHED_TOGETHER):
        names = images.names[first : first + CACHED_TOGETHER]
        part = EncodedImages(names, encoded_from(images.encoded, first), images.max_pixels)
        key = measurements_key(part.encoded, len(part), [part.max_pixels, aligned], estimator, workers)
        measure_now = partial(_measure_images, part, estimator, aligned, workers, progress)
        tables.append(cached_table(key, REASON_COLUMN, columns, measure_now) if key else measure_now())
    return pd.concat(tables, ignore_index=True)


def _measure_images(
    images: EncodedImages, estimator: FaceEstimator, aligned: bool, workers: int | None, progress: Progress | None
) -> pd.DataFrame:
    """Measure images in batches, each in one thread: the same for any number of workers."""
    count = len(images)
    values, confidence = (
        np.full((count, len(estimator.column_names)), np.nan),
        np.zeros((count, len(estimator.column_names))),
    )
    reasons: list[str] = []

    def measure_batch(rows: range) -> tuple[list[str], list[int], Measurements | None]:
        torch.set_num_threads(1)
        loaded = [images.load_canvas(row) for row in rows]
        found = [(row, canvas) for row, canvas in zip(rows, loaded, strict=True) if not isinstance(canvas, str)]
        refused = [canvas if isinstance(canvas, str) else "" for canvas in loaded]
        if not found:
            return refused, [], None
        read = estimator.read(*stack_canvases([canvas for _, canvas in found]), aligned=aligned)
        return refused, [row for row, _ in found], read

    batches = (range(k, min(k + ESTIMATOR_BATCH_SIZE, count)) for k in range(0, count, ESTIMATOR_BATCH_SIZE))
    threads = worker_count(workers)
    with single_threaded(), ThreadPoolExecutor(threads, thread_name_prefix="faceaug-measure") as pool:
        for refused, rows, read in map_in_order(pool, measure_batch, batches, 2 * threads):
            first = len(reasons)
            reasons += refused
            if read is not None:
                values[rows] = np.column_stack([read.values, read.skin_tone])
                confidence[rows] = np.column_stack([read.confidence, read.skin_tone_confidence])
                for row, reason in zip(rows, read.refusals, strict=True):
                    reasons[row] = reason
            if progress:
                progress(len(reasons) - first)
    columns: dict[str, Any] = {}
    for k, (name, unit) in enumerate(zip(estimator.column_names, estimator.column_units, strict=True)):
        columns[name] = values[:, k].round(_DECIMALS.get(unit, _OTHER_DECIMALS)) + 0.0  # no -0.0
        columns[name + CONFIDENCE_SUFFIX] = confidence[:, k].round(3)
    return pd.DataFrame(columns | {REASON_COLUMN: pd.Series(reasons, dtype=object)})
