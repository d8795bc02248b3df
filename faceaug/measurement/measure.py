"""Measurement of view and light on photographs, without labels: as a table, or as columns of a data set.

The estimator is stored in a file that `faceaug discover` writes: the weights of the reconstruction and, under names of
their own, those of the alignment and of the confidence model (see `estimator_state`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from faceaug.analysis.axes import NOT_ATTRIBUTES
from faceaug.analysis.intervals import ERROR_SUFFIX
from faceaug.cluster.placement import Placement
from faceaug.cluster.ray_cluster import RayCluster, cluster_of
from faceaug.datasets.content import joined_sha256
from faceaug.datasets.dataset import FaceDataset, MeasuredColumns
from faceaug.datasets.registry import UNLABELLED_READER
from faceaug.errors import DatasetError, IntegrityError
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.measurement.alignment import Aligner
from faceaug.measurement.confidence import ConfidenceModel
from faceaug.measurement.estimator import CONFIDENCE_SUFFIX, AtomReader, FaceEstimator, Reconstruct
from faceaug.measurement.image_batches import EncodedImages, MeasuredBatch, measure_batch, measure_on_ray
from faceaug.measurement.measured_cache import CACHED_TOGETHER, cached_table, encoded_from, measurements_key
from faceaug.measurement.reader import FactorReader
from faceaug.measurement.skin_tone import SKIN_TONE
from faceaug.reconstruction.networks import Reconstructor, network_from_weights, optimized_for_reading
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES
from faceaug.utils.device import check_device
from faceaug.utils.text import nearest
from faceaug.utils.threads import Progress, map_in_order, single_threaded, worker_count

FILE_COLUMN, REASON_COLUMN = "file", "cannot_tell"
SHIPPED_DIRECTIONS = Path(__file__).parents[1] / "generators" / "embedded" / "directions.safetensors"
"""The estimator that comes with faceaug."""
_COARSE = (*FACTOR_NAMES, SKIN_TONE)  # all but the atoms of the file
QUANTILES = (0.05, 0.5, 0.95)
_DECIMALS = {"degrees": 2}
_OTHER_DECIMALS = 3  # no estimate is that exact, and the last bits shall not decide the bin of a value
_ALIGNMENT_PREFIX, _CALIBRATION_PREFIX, _READER_PREFIX = "alignment.", "calibration.", "reader."
_TONE_PREFIX = "skin_tone."
_log = logging.getLogger(__name__)


def measure(
    source: FaceDataset | Sequence[str | Path],
    estimator: FaceEstimator,
    *,
    aligned: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    placement: Placement | None = None,
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
    placement : Placement, optional
        Where they are measured: in this process, or by a Ray cluster whose nodes read the same images.

    Returns
    -------
    DataFrame
        A row per image, in order: "file"; the data set's own columns, except for those whose names are measured; a
        column for each of `estimator.column_names` (NaN where the estimate is refused) and its "_confidence" in [0, 1];
        for view, light and skin tone also their standard "_error"; "cannot_tell", the reason of the refusal or an empty
        text. Written to a file, it can be given as labels.

    Raises
    ------
    DatasetError
        When a node of the cluster cannot read an image that this process can read.
    """
    if isinstance(source, FaceDataset):
        images, columns = EncodedImages.of_dataset(source), source.table.drop(columns="key")
    else:
        images = EncodedImages.of_files([Path(path) for path in source])
        columns = pd.DataFrame(index=range(len(images)))
    with cluster_of(placement or Placement(), estimator.device, workers) as cluster:
        box = cluster.share((images, estimator, aligned)) if cluster else []
        table = _measure_columns(images, _Measuring(estimator, aligned, workers, progress, cluster, box))
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
    table = _measure_columns(EncodedImages.of_dataset(dataset), _Measuring(estimator, aligned, workers, progress))
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
    network = network_from_bundle(bundle, where)
    if target_device.type == "cpu":  # where these layers and this layout are faster, with equal bits in all batches
        network = optimized_for_reading(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = network.to(target_device)
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


@dataclass(frozen=True, eq=False)
class _Measuring:
    """How images are measured: with what, and where."""

    estimator: FaceEstimator
    aligned: bool
    workers: int | None
    progress: Progress | None
    cluster: RayCluster | None = None
    box: list[Any] = field(default_factory=list)  # all images, the estimator and `aligned`, shared with the cluster
    ended: Event = field(default_factory=Event)  # nobody waits for parts any more


def _measure_columns(images: EncodedImages, how: _Measuring) -> pd.DataFrame:
    """Return the measured columns, a row for each image; those that the cache has are not measured again."""
    columns = [name + suffix for name in how.estimator.column_names for suffix in ("", CONFIDENCE_SUFFIX)]

    def measured_part(first: int) -> pd.DataFrame:
        names = images.names[first : first + CACHED_TOGETHER]
        part = EncodedImages(names, encoded_from(images.encoded, first), images.max_pixels)
        key = measurements_key(part.encoded, len(part), [part.max_pixels, how.aligned], how.estimator, how.workers)
        measure_now = partial(_measure_images, part, how, first)
        return cached_table(key, REASON_COLUMN, columns, measure_now) if key else measure_now()[0]

    starts = range(0, max(1, len(images)), CACHED_TOGETHER)
    if how.cluster is None:
        return pd.concat([measured_part(first) for first in starts], ignore_index=True)
    tables = []
    parts = 2 + how.cluster.ahead * ESTIMATOR_BATCH_SIZE // CACHED_TOGETHER  # enough of them for all processors
    with ThreadPoolExecutor(parts, thread_name_prefix="faceaug-parts") as pool:
        try:
            for table in map_in_order(pool, measured_part, iter(starts), parts):
                tables.append(table)
                if how.progress:
                    how.progress(len(table))
        finally:
            how.ended.set()  # after an error or an interruption the parts under way are given up
    return pd.concat(tables, ignore_index=True)


def _measure_images(images: EncodedImages, how: _Measuring, first: int) -> tuple[pd.DataFrame, str]:
    """Measure images, of which `first` is the place of the first among all, in batches, each in one thread.

    Returns
    -------
    DataFrame, str
        The measured columns, and the SHA-256 of the images as they were read (`content_sha256`).
    """
    batches = [
        range(k, min(k + ESTIMATOR_BATCH_SIZE, len(images))) for k in range(0, len(images), ESTIMATOR_BATCH_SIZE)
    ]
    measured = list(_here(images, how, batches) if how.cluster is None else _on_ray(images, how, first, batches))
    names = how.estimator.column_names
    values = np.concatenate([np.empty((0, len(names))), *(batch.values for batch in measured)])
    confidence = np.concatenate([np.empty((0, len(names))), *(batch.confidence for batch in measured)])
    columns: dict[str, Any] = {}
    for k, (name, unit) in enumerate(zip(names, how.estimator.column_units, strict=True)):
        columns[name] = values[:, k].round(_DECIMALS.get(unit, _OTHER_DECIMALS)) + 0.0  # no -0.0
        columns[name + CONFIDENCE_SUFFIX] = confidence[:, k].round(3)
    reasons = [reason for batch in measured for reason in batch.reasons]
    table = pd.DataFrame(columns | {REASON_COLUMN: pd.Series(reasons, dtype=object)})
    return table, joined_sha256(digest for batch in measured for digest in batch.digests)


def _here(images: EncodedImages, how: _Measuring, batches: Sequence[range]) -> Iterator[MeasuredBatch]:
    """Yield the measurements of batches, computed by threads."""

    def work(rows: range) -> MeasuredBatch:
        torch.set_num_threads(1)
        return measure_batch(images, how.estimator, how.aligned, rows)

    threads = worker_count(how.workers)
    with single_threaded(), ThreadPoolExecutor(threads, thread_name_prefix="faceaug-measure") as pool:
        for batch in map_in_order(pool, work, iter(batches), 2 * threads):
            yield batch
            if how.progress:
                how.progress(len(batch.reasons))


def _on_ray(images: EncodedImages, how: _Measuring, first: int, batches: Sequence[range]) -> Iterator[MeasuredBatch]:
    """Yield the measurements of batches, computed by a cluster."""
    assert how.cluster is not None
    yield from measure_on_ray(how.cluster, how.box, images, first, batches, how.ended)
