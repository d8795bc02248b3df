"""All images of a data set as one small array, for what is trained on them."""

from __future__ import annotations

import numpy as np

from faceaug.errors import TargetError
from faceaug.images import ImageInfo, Rgb, decode_with_info, resize
from faceaug.targets.checking import Progress, map_in_threads
from faceaug.targets.table import Target


def load_arrays(
    target: Target, size: int, workers: int | None = None, *, progress: Progress | None = None
) -> tuple[Rgb, tuple[ImageInfo, ...]]:
    """Decode all images and bring them to one square size.

    Only the small images are held, and a few large ones while they are resized. The result does not depend on the
    number of workers.

    Parameters
    ----------
    target
        The data set.
    size
        Side in pixels. Of an image that is not square the middle is taken, so that faces keep their proportions.
    workers
        Threads; as many as there are processors when None.
    progress
        Called with the number of images that were just finished.

    Returns
    -------
    uint8 [N, size, size, 3]
        The images, in the table's order.
    tuple of ImageInfo
        What the file of each says of itself (its own size, codec and quality).

    Raises
    ------
    ImageError
        When an image cannot be read.
    """
    if size < 1:
        raise TargetError(f"images of {size} by {size} pixels were asked for: give at least 1")
    images = np.empty((len(target), size, size, 3), np.uint8)

    def task(index: int) -> ImageInfo:
        image, info = decode_with_info(target.encoded(index), name=target.keys[index], max_pixels=target.max_pixels)
        images[index] = resize(center_square(image), (size, size))
        return info

    return images, tuple(map_in_threads(task, len(target), workers=workers, progress=progress))


def center_square(image: Rgb) -> Rgb:
    """Return the largest square in the middle of uint8 [H, W, 3]."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
