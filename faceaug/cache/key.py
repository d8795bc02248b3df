"""Keys of the cache: the content and the settings that decide a value, with all that decides its last bits."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug._version import __version__


@dataclass(frozen=True)
class CacheKey:
    """What decides a cached value.

    Attributes
    ----------
    kind : str
        A word of lower-case letters, the name of the folder of its entries.
    parts : dict
        JSON values: hashes of the content that the value was computed from, settings, and a version that is raised
        with the code that computes it.
    """

    kind: str
    parts: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of kind, parts and `computing_environment`, as 64 hexadecimal digits."""
        content = [self.kind, dict(self.parts), computing_environment()]
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


@lru_cache(maxsize=1)
def computing_environment() -> dict[str, str]:
    """Return what decides the last bits of a result: versions of the libraries, and the processor.

    A cache folder may be shared by machines, and a cached value is the one that this machine would compute.
    """
    import torch

    return {
        "faceaug": __version__,
        "numpy": np.__version__,
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {_processor_name()} {torch.backends.cpu.get_cpu_capability()}",
        "mkl": os.environ.get("MKL_CBWR", ""),
    }


def array_sha256(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of arrays with their types and shapes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def device_identity(device: str) -> str:
    """Return the kind of a torch device, whose results differ in their last bits from those of another kind."""
    import torch

    target = torch.device(device)
    return torch.cuda.get_device_name(target) if target.type == "cuda" else target.type


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
