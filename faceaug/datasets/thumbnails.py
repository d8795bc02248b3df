"""All images of a data set as one array of thumbnails."""

from __future__ import annotations

import numpy as np

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError
from faceaug.utils.images import ImageInfo, Rgb, crop_to_aspect, decode_with_info, inspect, resize
from faceaug.utils.threads import Progress, map_in_threads

_ASPECT_IMAGES = 300  # images from which the common proportions are estimated


def load_thumbnails(
    dataset: FaceDataset, size: int, workers: int | None = None, *, progress: Progress | None = None
) -> tuple[Rgb, tuple[ImageInfo, ...]]:
    """Decode all images and resize them to one square size.

    Only the thumbnails are kept in memory, and the images that are being resized. The result does not depend on the
    number of workers.

    Parameters
    ----------
    dataset : FaceDataset
    size : int
        Side in pixels. Each image is cropped around its centre to the common proportions of the data set
        (`common_aspect`), and the whole crop is then resized to the square, so that all faces are distorted alike.
    workers : int, optional
        Number of threads; one per processor (at most 16) when None.
    progress : callable, optional
        Called with the number of images that were finished since the last call.

    Returns
    -------
    uint8 [N, size, size, 3]
        The thumbnails, in the order of the table.
    tuple of ImageInfo
        Size, codec and quality of each file.

    Raises
    ------
    ImageError
        If an image cannot be read.
    DatasetError
        If the size is below 1.
    """
    if size < 1:
        raise DatasetError(f"thumbnails of {size} by {size} pixels were requested; give a size of at least 1")
    images = np.empty((len(dataset), size, size, 3), np.uint8)
    aspect = common_aspect(dataset)

    def task(index: int) -> ImageInfo:
        image, info = decode_with_info(dataset.encoded(index), name=dataset.keys[index], max_pixels=dataset.max_pixels)
        images[index] = thumbnail(image, aspect, size)
        return info

    return images, tuple(map_in_threads(task, len(dataset), workers=workers, progress=progress))


def thumbnail(image: Rgb, aspect: float, size: int) -> Rgb:
    """Return an image cropped around its centre to an aspect and then squeezed into a square: uint8 [size, size, 3]."""
    return resize(crop_to_aspect(image, aspect), (size, size))


def common_aspect(dataset: FaceDataset) -> float:
    """Return the median of width over height, of at most a few hundred images spread over the data set."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _ASPECT_IMAGES)).astype(int))
    infos = [inspect(dataset.encoded(int(i)), name=dataset.keys[i], max_pixels=dataset.max_pixels) for i in rows]
    return float(np.median([info.width / info.height for info in infos]))
