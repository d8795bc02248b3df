"""Decoding JPEG files to arrays: the strict decoder of faceaug beside PIL, OpenCV and torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.speed.data import rgb, smooth_images
from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work, find_opponents
from faceaug.utils.images import decode, decode_to_planes, encode

TITLE = "decoding JPEG files, one thread"
COUNTS = {"full": {64: 2000, 200: 500, 256: 400, 1024: 30}, "tiny": {32: 10}}
WITHIN = 4  # of 255: decoders round their transforms differently


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each size of images."""
    opponents = find_opponents(torchvision="torchvision.io")
    for side, count in COUNTS[size].items():
        files = [encode(image, "jpeg") for image in smooth_images(count, side)]
        decoders = {OURS: decode, "faceaug, for training": _planes, "PIL": rgb, "OpenCV": _opencv}
        if io := opponents.modules.get("torchvision"):
            decoders["torchvision"] = lambda data, io=io: _torchvision(io, data)
        yield _case(f"{side} px", files, decoders, opponents.missing)


def _case(name: str, files: list[bytes], decoders: dict[str, Any], missing: Any) -> Case:
    def agree() -> str:
        off = {
            contender: max(int(np.abs(call(f).astype(int) - decoders["PIL"](f)).max()) for f in files[:10])
            for contender, call in decoders.items()
        }
        if max(off.values()) > WITHIN or off[OURS]:
            raise Disagreement(f"{name}: pixels differ from those of PIL by {off}")
        return "largest difference from PIL of 255: " + ", ".join(f"{k} {v}" for k, v in off.items() if k != "PIL")

    def work(call: Any) -> Work:
        return lambda: [call(data) for data in files]

    works = {contender: work(call) for contender, call in decoders.items()}
    return Case(name, "images", len(files), works, agree, missing=missing)


def _planes(data: bytes) -> NDArray[np.uint8]:
    return decode_to_planes(data).transpose(1, 2, 0)  # a view


def _opencv(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))


def _torchvision(io: Any, data: bytes) -> NDArray[np.uint8]:
    pixels = io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=io.ImageReadMode.RGB)
    return np.asarray(pixels.permute(1, 2, 0).numpy())
