"""An embedder as another package would bring it: the colours of the quarters of a picture; black shows no face."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from faceaug.identity.base import SamePerson
from faceaug.utils.typing import Floats32


class ToyEmbedder:
    """The mean colours of four quarters, 0 to 1; a `FaceEmbedder`. It counts the pictures that it embedded."""

    name, licence, is_identity = "toy", "none needed", True
    sha256 = hashlib.sha256(b"toy").hexdigest()
    same_person = SamePerson(0.1, "chosen for tests")

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, images: Sequence[np.ndarray]) -> Floats32:
        self.embedded += len(images)
        rows = np.full((len(images), 12), np.nan, np.float32)
        for k, image in enumerate(images):
            top, left = image.shape[0] // 2, image.shape[1] // 2
            quarters = (image[:top, :left], image[:top, left:], image[top:, :left], image[top:, left:])
            if image.any():
                rows[k] = np.concatenate([quarter.mean((0, 1)) for quarter in quarters]) / 255
        return rows


class BrokenEmbedder(ToyEmbedder):
    """Fails as code of other packages may."""

    def embed(self, images: Sequence[np.ndarray]) -> Floats32:
        raise ZeroDivisionError("no face is\nas round")


class ShortEmbedder(ToyEmbedder):
    """Forgets a row."""

    def embed(self, images: Sequence[np.ndarray]) -> Floats32:
        return super().embed(images)[1:]


class NamelessThreshold(ToyEmbedder):
    """Gives a number where a `SamePerson` is due."""

    same_person = 0.1


class WithoutLicence:
    """Lacks most of the protocol."""

    name = "bare"


def fails() -> ToyEmbedder:
    """Cannot be created."""
    raise RuntimeError("weights are missing")
