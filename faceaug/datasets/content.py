"""The content of a data set's files, which decides what is learnt from them and measured on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from faceaug.utils.threads import map_in_threads


def content_sha256(encoded: Callable[[int], bytes], count: int, workers: int | None = None) -> str:
    """Return the SHA-256 of images, as they are encoded and in their order, as 64 hexadecimal digits.

    Labels are not part of it; `FaceDataset.fingerprint` hashes these.

    Parameters
    ----------
    encoded : callable
        From index to the encoded bytes of an image.
    count : int
        Number of images.
    workers : int, optional
        Threads that read the images.
    """

    return joined_sha256(image_digests(encoded, count, workers))


def joined_sha256(digests: Iterable[bytes]) -> str:
    """Return the SHA-256 of images whose own are given, as `content_sha256`."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def image_digests(encoded: Callable[[int], bytes], count: int, workers: int | None = None) -> list[bytes]:
    """Return the SHA-256 of each image as it is encoded; see `content_sha256`."""

    def hashed(index: int) -> bytes:
        return hashlib.sha256(encoded(index)).digest()

    return list(map_in_threads(hashed, count, workers=workers))
