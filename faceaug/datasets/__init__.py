"""Target data sets: the table of labels and the images that a run starts from.

`load_dataset` reads a data set. Each format is one module of `readers` with the functions `detect` and `read`; other
packages add formats through the entry point group "faceaug.datasets", whose entries are of the type `Reader`.
"""

from faceaug.datasets.base import DatasetProblem, ImageSource, RawDataset, Reader
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.datasets.real_images import LabelSource, RealImageDataset
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.datasets.torch_dataset import BalancedDataset, ShardDataset, group_weights

__all__ = [
    "BalancedDataset",
    "DatasetProblem",
    "FaceDataset",
    "ImageSource",
    "LabelSource",
    "LoadOptions",
    "RawDataset",
    "Reader",
    "RealImageDataset",
    "ShardDataset",
    "group_weights",
    "load_dataset",
    "load_thumbnails",
]
