"""A real data set that lies in memory."""

from __future__ import annotations

from typing import Any

import pandas as pd
from shard_samples import sample

from faceaug.datasets import FaceDataset
from faceaug.utils import images


class Images:
    """Images of a dataset that lie in memory; a key is a number."""

    def read(self, key: str) -> bytes:
        """Return the image of a key as PNG."""
        return images.encode(sample(1000 + int(key)).image, "png")


def face_dataset(rows: int = 20, **columns: Any) -> FaceDataset:
    """Return a data set of `rows` faces with gender and age; `columns` replace or add some."""
    table = {
        "key": [str(k) for k in range(rows)],
        "gender": ["male" if k % 4 else "female" for k in range(rows)],
        "age": [30 + k for k in range(rows)],
    }
    return FaceDataset("faces", "folder", "memory", pd.DataFrame({**table, **columns}), Images())
