"""Images that tests put behind a URL."""

from __future__ import annotations

import fsspec
import numpy as np

from faceaug.utils.images import encode

COUNT = 8


def put(url: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        with fsspec.open(f"{url}/{name}", "wb") as file:
            file.write(data)


def faces() -> dict[str, bytes]:
    """Images in two folders, and labels."""
    rng = np.random.default_rng(0)
    images = {f"{k % 2}/{k}.png": encode(rng.integers(0, 256, (16, 16, 3), np.uint8), "png") for k in range(COUNT)}
    rows = "".join(f"{name},{'a' if k < 3 else 'b'}\n" for k, name in enumerate(images))
    return {**images, "labels.csv": f"file,kind\n{rows}".encode()}
