"""An arm of an experiment as another package would bring it."""

from faceaug.bench.arms.base import Arm
from faceaug.bench.arms.real import fit_rwg

ARM = Arm("of a plug-in", fit_rwg)
NO_ARM = 3
