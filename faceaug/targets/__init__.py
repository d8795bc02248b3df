"""Target data sets: the table of labels and the images that a run starts from.

`load_target` is the way in. Each format is one module with `detect` and `read`; other packages add formats through the
entry point group "faceaug.targets": a callable read(path, labels, *, file_column) that returns a `RawTarget`.
"""

from faceaug.targets.arrays import load_arrays
from faceaug.targets.raw import ImageSource, Problem, RawTarget, Reader
from faceaug.targets.table import Target, load_target

__all__ = ["ImageSource", "Problem", "RawTarget", "Reader", "Target", "load_arrays", "load_target"]
