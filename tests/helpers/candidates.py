"""Candidates of an engine, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from faceaug.synthesis.engines.base import Candidate

RNG = np.random.default_rng(0)


def candidate(attempt: int, **changes: Any) -> Candidate:
    """Return a candidate with a random picture; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "attempt": attempt,
        "seed": 2**64 - 1,
        "engine": "mean",
        "image": RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8),
        "quality": None,
        "harmonize": {"gain": np.float32(0.1)},
        "w": RNG.normal(size=8).astype(np.float32),
        "origin_w": None,
        "attr": {"g": "a", "age": np.float64(1 / 3)},
        "confidence": {},
        "semantic": {"yaw": float("nan")},
        "plausibility": float("nan"),
        "realism": 0.25,
        "hash": np.uint64(2**64 - 5),
    }
    return Candidate(**{**fields, **changes})
