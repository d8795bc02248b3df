"""Meters: how far a picture is from what the gates would refuse."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from faceaug.cache.arrays import keep_files, restore_files
from faceaug.cache.key import CacheKey
from faceaug.classifiers.classifier import Classifier
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.face_quality import DISTORTED_TRUNCATION, INTACT_TRUNCATION, train_face_quality
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor, thumbnails

_SAMPLES, _BATCH = 256, 64  # samples of each kind from which face quality is learnt
_FILE = "face_quality.safetensors"
_VERSION = 1
_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The explorer ends before the classifier is learnt."""


@dataclass(frozen=True)
class MeterReading:
    """What one gate measures on a picture.

    Attributes
    ----------
    name : str
        Of the gate.
    value : float
        What is measured, so that more is worse; at most `limit` passes.
    limit : float
    meaning : str
        One sentence.
    """

    name: str
    value: float
    limit: float
    meaning: str

    @property
    def passes(self) -> bool:
        """Whether the gate would let the picture pass."""
        return self.value <= self.limit


class FaceQualityMeter:
    """Learns in a thread of its own to tell whole faces of a generator from distorted ones.

    A run learns the same from the faces of its data set as well; here samples stand in for them.

    Parameters
    ----------
    generator : Generator
    share : float
        Share of generated faces that must have a lower face quality, the threshold `face_quality` of a run.
    """

    def __init__(self, generator: Generator, share: float) -> None:
        self._generator, self._share = generator, share
        self._classifier: Classifier | None = None
        self._least = 0.0
        self._thread = threading.Thread(target=self._learn, name="faceaug-face-quality")
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to learn."""
        self._thread.start()

    def wait(self) -> None:
        """Return when it is learnt, or cannot be."""
        self._thread.join()

    def stop(self) -> None:
        """Leave off learning, and return when that is done."""
        self._stopped.set()
        self._thread.join()

    def read(self, images: Tensor) -> MeterReading | None:
        """Measure the first of images [N, 3, R, R] in [-1, 1]; None while the classifier is not ready."""
        if self._classifier is None:
            return None
        below = self._least - self._log_odds(self._classifier, thumbnails(images[:1]))[0]
        return MeterReading(
            "face quality",
            float(below),
            0.0,
            "Log-odds of one whole face, below what a run asks for; learnt on generated and on distorted faces.",
        )

    def _learn(self) -> None:
        try:
            classifier = self._cached()
            usual = self._log_odds(classifier, self._samples(2 * _SAMPLES, 1.0))
            self._least = float(np.quantile(usual, self._share))
            self._classifier = classifier
        except _StoppedError:
            return
        except Exception:  # the pages work without this meter
            _log.exception("the classifier of face quality could not be learnt")

    def _cached(self) -> Classifier:
        config = ClassifierConfig.for_face_quality(_SAMPLES)
        parts = {"version": _VERSION, "generator": self._generator.sha256, "training": repr(config)}
        key = CacheKey("quality", parts)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if not restore_files(key, folder, [_FILE]):
                intact = self._samples(0, INTACT_TRUNCATION)
                more = self._samples(3 * _SAMPLES, INTACT_TRUNCATION)
                distorted = self._samples(_SAMPLES, DISTORTED_TRUNCATION)
                train_face_quality(more, intact, distorted, 0, config, self._check).save(folder / _FILE)
                keep_files(key, folder, [_FILE])
            return Classifier.load(folder / _FILE)

    def _samples(self, first: int, stretch: float) -> Rgb:
        """Return samples, uint8 [_SAMPLES, 64, 64, 3]."""
        w = sample_latents(self._generator, latent_seeds(0, first, _SAMPLES), stretch)
        faces = []
        for part in np.array_split(w, -(-len(w) // _BATCH)):
            self._check()
            faces.append(thumbnails(synthesize(self._generator, part, _BATCH)))
        return np.concatenate(faces)

    def _check(self, *progress: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    @staticmethod
    def _log_odds(classifier: Classifier, faces: Rgb) -> Sequence[float]:
        values: Sequence[float] = classifier.read(as_tensor(faces))[0][:, 1].tolist()
        return values
