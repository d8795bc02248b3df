"""An arm of an experiment as another package would bring it."""

from faceaug.bench.arms.base import Arm
from faceaug.bench.arms.real import fit_rwg

ARM = Arm("balanced draws of a toy package", fit_rwg)
NO_ARM = 3
