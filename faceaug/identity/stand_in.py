"""A stand-in for an embedder of identities: the features of a classifier of attributes, which know no persons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from faceaug.classifiers.classifier import READ_BATCH, Classifier
from faceaug.identity.base import SamePerson
from faceaug.utils.images import Rgb, resize
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats32


class ClassifierFeatures:
    """Embeds pictures by the pooled features of a classifier, scaled to length 1; a `FaceEmbedder`.

    A small distance says that two pictures look alike to a network of attributes such as gender or age, and not that
    they show one person. So `is_identity` is False, there is no distance of one person, and no verdict is given.

    Parameters
    ----------
    classifier : Classifier
        Trained on the data set, as those in the folder `models` of a run.
    """

    name = "classifier features"
    licence = "that of the data set on which the classifier was trained"
    is_identity = False
    same_person = SamePerson(float("nan"), "none: the features of a classifier do not tell people apart")

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        digest = hashlib.sha256()
        for name, value in classifier.net.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.sha256 = digest.hexdigest()

    def embed(self, images: Sequence[Rgb]) -> Floats32:
        """Return the features float32 [N, F] of pictures uint8 [H, W, 3]; a face is taken to fill each picture."""
        side = self._classifier.input_size
        rows: list[Floats32] = []
        for start in range(0, len(images), READ_BATCH):
            batch = np.stack([resize(image, (side, side)) for image in images[start : start + READ_BATCH]])
            rows.append(_unit_length(self._classifier.read(_padded(as_tensor(batch)))[1][: len(batch)]))
        return np.concatenate(rows) if rows else np.empty((0, 1), np.float32)


def _padded(batch: torch.Tensor) -> torch.Tensor:
    """Fill a batch [N, 3, S, S] up to `READ_BATCH`, since another size of the batch changes the last bits."""
    return torch.cat([batch, batch[:1].expand(READ_BATCH - len(batch), -1, -1, -1)])


def _unit_length(features: Floats32) -> Floats32:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.float32(1e-12)), np.float32)
