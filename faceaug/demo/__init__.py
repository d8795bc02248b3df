"""The demo data set: 1,000 small faces of people who do not exist, labelled with yaw; turned heads are rare.

>>> from faceaug import demo
>>> sorted(entry.name for entry in demo.path().iterdir())[-1]
'labels.csv'
"""

from __future__ import annotations

from pathlib import Path

BY = "yaw:-90/-25/-10/10/25/90"
"""Bins of yaw in degrees, positive when the nose points toward the right of the image."""


def path() -> Path:
    """Return the folder of the demo data set: JPEG files of 64 by 64 pixels, and labels.csv (file, yaw in degrees)."""
    return Path(__file__).resolve().parent / "faces"
