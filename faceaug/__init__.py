"""faceaug balances face data sets with synthetic samples, each of which is checked before it is accepted.

The public names are loaded when they are first used, so that importing the package is quick.

>>> import faceaug
>>> analysis = faceaug.analyze(faceaug.load_dataset(faceaug.demo.path()), by="yaw:-90/-25/-10/10/25/90")
>>> faceaug.plan(analysis, "min:100").total
140
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from faceaug import demo as demo
from faceaug._version import __version__ as __version__
from faceaug.errors import FaceaugError

# MKL rounds the rows of a narrow matrix by their place in the batch on some processors, unless it is told to compute
# reproducibly. It reads this when it first computes, so it is set before torch is imported; AUTO costs no time. A
# setting of the user's own is kept.
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    from faceaug.analysis.analyze import analyze
    from faceaug.datasets.dataset import FaceDataset, load_dataset
    from faceaug.datasets.torch_dataset import BalancedDataset, ShardDataset, group_weights
    from faceaug.discovery.discover import discover
    from faceaug.generators import load_generator
    from faceaug.latents.bundle import Bundle, read_bundle
    from faceaug.measurement.measure import load_estimator, measure
    from faceaug.planning.budget import Budget
    from faceaug.planning.marginals import Marginals
    from faceaug.planning.plan import Plan, plan
    from faceaug.shards.verify import verify
    from faceaug.synthesis.balance import RunResult, balance
    from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
    from faceaug.synthesis.engines.external.admission import admit
    from faceaug.training.resumable import ResumableLoader, ResumableSampler

__all__ = [
    "AcceptanceThresholds",
    "BalancedDataset",
    "Budget",
    "Bundle",
    "FaceDataset",
    "FaceaugError",
    "Marginals",
    "Plan",
    "ResumableLoader",
    "ResumableSampler",
    "RunConfig",
    "RunResult",
    "ShardDataset",
    "admit",
    "analyze",
    "balance",
    "discover",
    "group_weights",
    "load_dataset",
    "load_estimator",
    "load_generator",
    "measure",
    "plan",
    "read_bundle",
    "verify",
]

_HOMES = {
    "AcceptanceThresholds": "faceaug.synthesis.config",
    "Budget": "faceaug.planning.budget",
    "FaceDataset": "faceaug.datasets.dataset",
    "Marginals": "faceaug.planning.marginals",
    "Plan": "faceaug.planning.plan",
    "ResumableLoader": "faceaug.training.resumable",
    "ResumableSampler": "faceaug.training.resumable",
    "RunConfig": "faceaug.synthesis.config",
    "RunResult": "faceaug.synthesis.balance",
    "BalancedDataset": "faceaug.datasets.torch_dataset",
    "Bundle": "faceaug.latents.bundle",
    "ShardDataset": "faceaug.datasets.torch_dataset",
    "admit": "faceaug.synthesis.engines.external.admission",
    "analyze": "faceaug.analysis.analyze",
    "balance": "faceaug.synthesis.balance",
    "discover": "faceaug.discovery.discover",
    "group_weights": "faceaug.datasets.torch_dataset",
    "load_generator": "faceaug.generators",
    "load_estimator": "faceaug.measurement.measure",
    "load_dataset": "faceaug.datasets.dataset",
    "measure": "faceaug.measurement.measure",
    "plan": "faceaug.planning.plan",
    "read_bundle": "faceaug.latents.bundle",
    "verify": "faceaug.shards.verify",
}


_PACKAGES = ("datasets", "planning")  # packages with further public names, as faceaug.planning.Budget


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"faceaug.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'faceaug' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
