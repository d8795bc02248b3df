"""Looking at every image of a data set once, in threads, without keeping any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from faceaug.datasets.base import UNREADABLE, DatasetProblem, ImageSource
from faceaug.errors import DatasetError, FaceaugError
from faceaug.utils.images import decode, inspect
from faceaug.utils.threads import Progress, map_in_threads

Check = Literal["decode", "header", "none"]
CHECKS: tuple[Check, ...] = ("decode", "header", "none")


def check_images(
    images: ImageSource,
    keys: Sequence[str],
    *,
    check: Check = "decode",
    max_pixels: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[DatasetProblem | None]:
    """Open each image and say what is wrong with it.

    Parameters
    ----------
    images, keys
        Where the images are, and which.
    check
        "decode" decodes every pixel, "header" reads the headers only, "none" looks at nothing.
    max_pixels
        Most pixels of an image.
    workers
        Threads; as many as there are processors (at most 16) when None.
    progress
        Called with the number of images that were just finished.

    Returns
    -------
    list
        For each key None when it is sound, else a Problem.
    """
    if check not in CHECKS:
        raise DatasetError(f"images cannot be checked by {check!r}: choose one of {', '.join(CHECKS)}")
    if check == "none":
        return [None] * len(keys)
    look = decode if check == "decode" else inspect

    def task(index: int) -> DatasetProblem | None:
        try:
            look(images.read(keys[index]), name=keys[index], max_pixels=max_pixels)
        except FaceaugError as error:
            return DatasetProblem(UNREADABLE, keys[index], str(error))
        return None

    return list(map_in_threads(task, len(keys), workers=workers, progress=progress))
