"""The content of a data set's files, which decides what is learnt from them and measured on them."""

from __future__ import annotations

import hashlib

from faceaug.datasets.dataset import FaceDataset
from faceaug.utils.threads import map_in_threads


def content_sha256(dataset: FaceDataset, workers: int | None = None) -> str:
    """Return the SHA-256 of all images, as they are encoded and in their order, as 64 hexadecimal digits.

    Labels are not part of it; `FaceDataset.fingerprint` hashes these.
    """

    def hashed(index: int) -> bytes:
        return hashlib.sha256(dataset.encoded(index)).digest()

    return hashlib.sha256(b"".join(map_in_threads(hashed, len(dataset), workers=workers))).hexdigest()
