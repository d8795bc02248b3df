"""What candidates are measured by: the look of the data set's images, and how its own faces do at the gates.

Gates of generated faces compare with other generated faces. Of candidates nothing is known before, so their bounds are
set by the real faces alone: all but a share `exposure` of these would pass each gate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceaug.appearance.framing import Framing, apply_framing, measure_framing
from faceaug.appearance.harmonize import Harmonizer
from faceaug.appearance.image_stats import ImageStatsSample, dataset_image_stats
from faceaug.cache.arrays import keep_files, restore_files
from faceaug.cache.key import CacheKey, array_sha256, device_identity
from faceaug.classifiers.classifier import Classifier
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.face_quality import FACE_QUALITY_TASK, train_face_quality
from faceaug.classifiers.feature_net import FROZEN_TRUNKS
from faceaug.classifiers.feature_training import FEATURES_VERSION
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect, thumbnail
from faceaug.errors import FaceaugError, IntegrityError
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.base import PreparationInputs
from faceaug.synthesis.label_classifiers import HELD_OUT_FILE, TRAINING_VERSION, LabelClassifiers
from faceaug.synthesis.latent_survey import RealFaces
from faceaug.synthesis.request import RunRequest, cell_weights, cells_of
from faceaug.utils.files import read_json, sha256_file, write_json
from faceaug.utils.images import Rgb, crop_to_aspect, inspect, resize
from faceaug.utils.tensors import as_tensor, to_uint8
from faceaug.utils.threads import map_in_threads
from faceaug.utils.typing import Floats

QUALITY_FILE, STANDARDS_FILE = "candidate_quality.safetensors", "candidate_standards.json"
STANDARDS_FILES = (QUALITY_FILE, STANDARDS_FILE)
"""What `fit_standards` leaves in the folder of models; the last says that the first is whole."""
_SIDE = 64  # of thumbnails
_FRAMED = 1000  # candidates by which their framing is measured
_LEAST_FRAMED = 40  # with fewer candidates their framing stays as it is
_MEASURED = 2000  # real faces whose own distances and face quality set the bounds


@dataclass(frozen=True, eq=False)
class CandidateStandards:
    """What candidates are measured by.

    Attributes
    ----------
    aspect : float
        Width over height of the data set's images.
    framing : Framing
        The window of a candidate, cropped to that aspect and squeezed, that shows a face as large as in the data set.
    harmonizer : Harmonizer or None
        Gives candidates size, sharpness, noise and codec of the data set's images; None leaves them as they are.
    real : RealFaces
    face_quality : Classifier
    least_side : int
        Pixels of the shorter side of a candidate: those that classifiers read, or fewer where real images have fewer.
    least_quality : float
        Log-odds of an intact face that all but a share `exposure` of the real faces reach.
    most_remote : float
        Distance to real faces that as many of them stay within.
    """

    aspect: float
    framing: Framing
    harmonizer: Harmonizer | None
    real: RealFaces
    face_quality: Classifier
    least_side: int
    least_quality: float
    most_remote: float

    def harmonized(self, picture: Rgb, seed: int) -> tuple[Rgb, dict[str, float], int | None]:
        """Return a candidate as it is to be stored, the parameters of its harmonization, and the codec's quality."""
        if self.harmonizer is None:
            return picture, {}, None
        cropped = crop_to_aspect(picture, self.aspect)
        largest = max(max(one.height, one.width) for one in self.harmonizer.image_stats.stats) / self.framing.scale
        side = round(min(max(cropped.shape[:2]), largest))  # what is larger than any image of the data set is reduced
        square = as_tensor(resize(cropped, (side, side))[None])
        return self.harmonizer(to_uint8(apply_framing(square, self.framing))[0], seed)


def fit_standards(
    request: RunRequest, inputs: PreparationInputs, classifiers: LabelClassifiers, candidates: FaceDataset
) -> CandidateStandards:
    """Measure the data set and the framing of the candidates, or read what an interrupted run has measured.

    Raises
    ------
    IntegrityError
        When a file that was written before is damaged.
    """
    folder, config, dataset = inputs.folder, request.config, request.dataset
    real = RealFaces.from_thumbnails(
        classifiers.held_out,
        inputs.thumbnails,
        cells_of(dataset, request.plan.axes),
        config.seed,
        sha256_file(folder / HELD_OUT_FILE),
    )
    aspect = common_aspect(dataset)
    if not (folder / STANDARDS_FILE).exists():
        _fit_quality(inputs, config)
        stats = None
        if config.harmonize:
            weights = cell_weights(dataset, request.plan.axes).tolist()
            stats = dataset_image_stats(dataset, seed=config.seed, weights=weights)
        least, most = _bounds(Classifier.load(folder / QUALITY_FILE), real, inputs.thumbnails, config)
        state = {
            "least_side": _least_side(dataset),
            "framing": _framing(inputs.thumbnails, candidates, aspect, config).to_dict(),
            "image_stats": stats.to_dict() if stats else None,
            "least_quality": least,
            "most_remote": most,
        }
        write_json(folder / STANDARDS_FILE, state)
    return _load(folder, real, aspect, inputs)


def _load(folder: Path, real: RealFaces, aspect: float, inputs: PreparationInputs) -> CandidateStandards:
    state: dict[str, Any] = read_json(folder / STANDARDS_FILE, "what candidates are measured by")
    try:
        stats = ImageStatsSample.from_dict(state["image_stats"]) if state["image_stats"] else None
        return CandidateStandards(
            aspect,
            Framing.from_dict(state["framing"]),
            Harmonizer(stats, aspect=aspect, codec=inputs.codec) if stats else None,
            real,
            Classifier.load(folder / QUALITY_FILE),
            int(state["least_side"]),
            float(state["least_quality"]),
            float(state["most_remote"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / STANDARDS_FILE} is damaged; start again in another folder") from error


def _least_side(dataset: FaceDataset) -> int:
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _FRAMED)).astype(int)).tolist()
    infos = [inspect(dataset.encoded(row), name=dataset.keys[row], max_pixels=dataset.max_pixels) for row in rows]
    return int(min(_SIDE, np.median([min(info.height, info.width) for info in infos])))


def _fit_quality(inputs: PreparationInputs, config: RunConfig) -> None:
    """Write the classifier of face quality, learnt on real faces, whole ones and warped or blended ones."""
    images, folder = inputs.thumbnails, inputs.folder
    training = ClassifierConfig.for_face_quality(len(images), config.device)
    key = CacheKey(
        "quality",
        {
            "version": [TRAINING_VERSION, FEATURES_VERSION],
            "pictures": array_sha256(images),
            "seed": config.seed,
            "config": {**asdict(training), "device": device_identity(config.device)},
            "trunks": {name: asdict(trunk) for name, trunk in FROZEN_TRUNKS.items()},
        },
    )
    if restore_files(key, folder, [QUALITY_FILE]):
        inputs.progress("face quality", 1, 1)
        return
    others = images[1::2] if len(images) > 1 else images
    quality = train_face_quality(
        images[::2],
        others,
        images[:0],
        config.seed,
        training,
        lambda done, total: inputs.progress("face quality", done, total),
    )
    quality.save(folder / QUALITY_FILE)
    keep_files(key, folder, [QUALITY_FILE])


def _bounds(quality: Classifier, real: RealFaces, thumbnails: Rgb, config: RunConfig) -> tuple[float, float]:
    """Return the least face quality and the largest distance to real faces that real faces set."""
    share = config.thresholds.exposure
    rows = np.unique(np.linspace(0, len(thumbnails) - 1, min(len(thumbnails), _MEASURED)).astype(int))
    intact = intact_log_odds(quality, thumbnails[rows])
    features = real.features.numpy() * real.scale + real.mean
    chosen = np.unique(np.linspace(0, len(features) - 1, min(len(features), _MEASURED)).astype(int))
    return float(np.quantile(intact, share)), float(np.quantile(real.remoteness(features[chosen]), 1 - share))


def intact_log_odds(quality: Classifier, thumbnails: Rgb) -> Floats:
    """Return the log-odds [N] of an intact face in thumbnails, uint8 [N, 64, 64, 3]."""
    values, _ = quality.read(as_tensor(thumbnails))
    return np.asarray(values[:, quality.semantics.index(FACE_QUALITY_TASK.semantics[1])])


def _framing(thumbnails: Rgb, candidates: FaceDataset, aspect: float, config: RunConfig) -> Framing:
    """Return the window of candidates that shows faces as the data set does; the whole where there are few of them."""

    def small(k: int) -> Rgb | None:
        try:
            return thumbnail(candidates.image(int(rows[k])), aspect, _SIDE)
        except (FaceaugError, OSError):
            return None

    rows = np.unique(np.linspace(0, len(candidates) - 1, min(len(candidates), _FRAMED)).astype(int))
    read = [image for image in map_in_threads(small, len(rows), workers=config.worker_threads) if image is not None]
    if len(read) < _LEAST_FRAMED:
        return Framing()
    step = max(1, len(thumbnails) // _FRAMED)
    return measure_framing(thumbnails[::step], np.stack(read))
