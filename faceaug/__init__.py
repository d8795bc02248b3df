"""faceaug balances face data sets with samples that are made on purpose and checked one by one.

The public names are loaded when they are first used, so that importing the package is quick.

>>> import faceaug
>>> analysis = faceaug.analyze(faceaug.load_target(faceaug.demo.path(), check="none"), by="yaw:-90/-25/-10/10/25/90")
>>> faceaug.plan(analysis, "min:100").total
140
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from faceaug import demo as demo
from faceaug.errors import FaceaugError

# MKL rounds the rows of a narrow matrix by their place in the batch on some processors, unless it is told to compute
# reproducibly. It reads this when it first computes, so it is set before torch is imported; AUTO costs no time. A
# setting of the user's own is kept.
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    from faceaug.analysis import analyze
    from faceaug.data import BalancedDataset, ShardDataset, group_weights
    from faceaug.discovery import discover
    from faceaug.generators import load_generator
    from faceaug.measuring import load_measurer, measure
    from faceaug.planning import plan
    from faceaug.semantics.bundle import Bundle, read_bundle
    from faceaug.shards.verify import verify
    from faceaug.synthesis.run import balance
    from faceaug.targets.table import load_target

__version__ = "0.1.0"
__all__ = [
    "BalancedDataset",
    "Bundle",
    "FaceaugError",
    "ShardDataset",
    "analyze",
    "balance",
    "discover",
    "group_weights",
    "load_generator",
    "load_measurer",
    "load_target",
    "measure",
    "plan",
    "read_bundle",
    "verify",
]

_HOMES = {
    "BalancedDataset": "faceaug.data",
    "Bundle": "faceaug.semantics.bundle",
    "ShardDataset": "faceaug.data",
    "analyze": "faceaug.analysis",
    "balance": "faceaug.synthesis.run",
    "discover": "faceaug.discovery",
    "group_weights": "faceaug.data",
    "load_generator": "faceaug.generators",
    "load_measurer": "faceaug.measuring",
    "load_target": "faceaug.targets.table",
    "measure": "faceaug.measuring",
    "plan": "faceaug.planning",
    "read_bundle": "faceaug.semantics.bundle",
    "verify": "faceaug.shards.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'faceaug' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
