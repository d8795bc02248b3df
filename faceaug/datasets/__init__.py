"""Target data sets: the table of labels and the images that a run starts from.

`load_target` is the way in. Each format is one module with `detect` and `read`; other packages add formats through the
entry point group "faceaug.datasets": a callable read(path, labels, *, file_column) that returns a `RawTarget`.
"""

from faceaug.datasets.base import ImageSource, Problem, RawTarget, Reader
from faceaug.datasets.dataset import Target, load_target
from faceaug.datasets.thumbnails import load_arrays

__all__ = ["ImageSource", "Problem", "RawTarget", "Reader", "Target", "load_arrays", "load_target"]
