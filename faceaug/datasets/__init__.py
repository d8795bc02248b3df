"""Target data sets: the table of labels and the images that a run starts from.

`load_dataset` is the way in. Each format is one module with `detect` and `read`; other packages add formats through the
entry point group "faceaug.datasets": a callable read(path, labels, *, file_column) that returns a `RawDataset`.
"""

from faceaug.datasets.base import DatasetProblem, ImageSource, RawDataset, Reader
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.datasets.thumbnails import load_thumbnails

__all__ = ["DatasetProblem", "FaceDataset", "ImageSource", "RawDataset", "Reader", "load_dataset", "load_thumbnails"]
