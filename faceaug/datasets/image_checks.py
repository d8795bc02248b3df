"""Checks of all images of a data set, in threads, without keeping an image in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from faceaug.datasets.base import DatasetProblem, ImageSource
from faceaug.datasets.image_tree import FolderImages
from faceaug.errors import DatasetError, FaceaugError
from faceaug.utils.images import decode, inspect
from faceaug.utils.jpeg import has_plain_header
from faceaug.utils.threads import Progress, map_in_threads

ImageCheck = Literal["decode", "header", "none"]
"""How images are checked: "decode" decodes every pixel, "header" reads the headers only, "none" reads nothing."""


def check_images(
    images: ImageSource,
    keys: Sequence[str],
    *,
    check: ImageCheck = "decode",
    max_pixels: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[DatasetProblem | None]:
    """Check each image.

    Parameters
    ----------
    images, keys
        Source of the images, and the keys to check.
    check
        See `ImageCheck`.
    max_pixels
        Largest number of pixels of an image.
    workers
        Number of threads; one per processor (at most 16) when None.
    progress
        Called with the number of images that were checked since the last call.

    Returns
    -------
    list of DatasetProblem or None
        For each key its problem, or None.

    Raises
    ------
    DatasetError
        If `check` is not known.
    """
    if check not in get_args(ImageCheck):
        raise DatasetError(f"there is no check {check!r} of images; choose one of {', '.join(get_args(ImageCheck))}")
    if check == "none":
        return [None] * len(keys)
    read = decode if check == "decode" else inspect
    head = images.head if check == "header" and isinstance(images, FolderImages) else None

    def task(index: int) -> DatasetProblem | None:
        try:
            if head is None or not has_plain_header(head(keys[index]), max_pixels=max_pixels):
                read(images.read(keys[index]), name=keys[index], max_pixels=max_pixels)
        except FaceaugError as error:
            return DatasetProblem("unreadable image", keys[index], str(error))
        return None

    return list(map_in_threads(task, len(keys), workers=workers, progress=progress))
