"""Names of array types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Numbers in double precision."""
Floats32 = NDArray[np.float32]
"""Numbers in single precision."""
Bools = NDArray[np.bool_]
"""Masks."""
Indices = NDArray[np.int64]
"""Indices, codes and counts."""
