"""All images of a data set as one small array, for what is trained on them."""

from __future__ import annotations

import numpy as np

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError
from faceaug.utils.images import ImageInfo, Rgb, decode_with_info, inspect, resize
from faceaug.utils.tensors import cut_to
from faceaug.utils.threads import Progress, map_in_threads

ASPECT_IMAGES = 300


def load_thumbnails(
    dataset: FaceDataset, size: int, workers: int | None = None, *, progress: Progress | None = None
) -> tuple[Rgb, tuple[ImageInfo, ...]]:
    """Decode all images and squeeze them into one square size.

    Only the small images are held, and a few large ones while they are resized. The result does not depend on the
    number of workers.

    Parameters
    ----------
    dataset
        The data set.
    size
        Side in pixels. Each image is first cut in its middle to the data set's common proportions (`common_aspect`) and
        then squeezed whole, so that faces are squeezed alike and what is above and below them is seen.
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
        raise DatasetError(f"images of {size} by {size} pixels were asked for: give at least 1")
    images = np.empty((len(dataset), size, size, 3), np.uint8)
    aspect = common_aspect(dataset)

    def task(index: int) -> ImageInfo:
        image, info = decode_with_info(dataset.encoded(index), name=dataset.keys[index], max_pixels=dataset.max_pixels)
        images[index] = resize(cut_to(image, aspect), (size, size))
        return info

    return images, tuple(map_in_threads(task, len(dataset), workers=workers, progress=progress))


def common_aspect(dataset: FaceDataset) -> float:
    """Return the median of width over height, of at most a few hundred images spread over the data set."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), ASPECT_IMAGES)).astype(int))
    infos = [inspect(dataset.encoded(int(i)), name=dataset.keys[i], max_pixels=dataset.max_pixels) for i in rows]
    return float(np.median([info.width / info.height for info in infos]))
