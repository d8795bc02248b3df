"""Decode the JPEG files of which most consist, without what opening a file costs Pillow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# APP0, COM, DQT, DHT, DRI, and the frame headers of baseline and progressive images. EXIF data and other profiles are
# not among them: what they say about the picture is for Pillow's own reader. XMP says nothing of the pixels.
_SEGMENTS = {0xE0, 0xFE, 0xDB, 0xC4, 0xDD, 0xC0, 0xC2}
_FRAMES = {0xC0, 0xC2}
MOST_SCANS = 64  # of a progressive image: encoders write about ten, and each scan goes over all pixels again
_APP0, _APP1, _SCAN, _TABLES = 0xE0, 0xE1, 0xDA, 0xDB
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def decode_plain_jpeg(data: bytes, *, max_pixels: int) -> Image.Image | None:
    """Decode a JPEG of three components of 8 bits that has no EXIF data and no profile.

    The decoder is Pillow's, so that the pixels are those of `PIL.Image.open`. What is left out is Pillow's reading of
    the header in Python, which takes a large part of the time of a small image.

    Parameters
    ----------
    data : bytes
        The file's bytes.
    max_pixels : int
        Most pixels (width times height) that are decoded.

    Returns
    -------
    PIL.Image.Image or None
        Mode RGB. None for every other file, and for one that is damaged, cut off or too large: the caller reads it in
        the slower way, which says what is wrong.
    """
    size = _frame_size(data)
    if size is None or scan_count(data) > MOST_SCANS or size[0] * size[1] > max_pixels:
        return None
    try:
        return Image.frombytes("RGB", size, data, "jpeg", "RGB", "")
    except Exception:  # decoders raise errors of any type on damaged data
        return None


def has_plain_header(head: bytes, *, max_pixels: int) -> bool:
    """Return whether the first bytes of a file are the whole header of a JPEG that `decode_plain_jpeg` decodes.

    Scans are counted as far as the bytes go.
    """
    size = _frame_size(head)
    return size is not None and size[0] * size[1] <= max_pixels and scan_count(head) <= MOST_SCANS


def jpeg_planes(data: bytes, *, max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode the files that `decode_plain_jpeg` decodes by OpenCV instead, about twice as fast.

    Both decoders are builds of one library, libjpeg-turbo. Its versions may round differently. OpenCV does not say when
    a file is cut off; so only files that end with the marker of their end are decoded here, which libjpeg can read to
    the end in either decoder.

    Returns
    -------
    uint8 [3, H, W], contiguous, or None
        None as from `decode_plain_jpeg`, and for a file that does not end with its marker.
    """
    size = _frame_size(data)
    if size is None or scan_count(data) > MOST_SCANS or size[0] * size[1] > max_pixels or data[-2:] != b"\xff\xd9":
        return None
    import cv2  # only here, since it takes a tenth of a second

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return (
        None
        if pixels is None or pixels.shape != (size[1], size[0], 3)
        else split_planes(np.asarray(pixels, np.uint8), reverse=True)
    )


def split_planes(pixels: NDArray[np.uint8], *, reverse: bool = False) -> NDArray[np.uint8]:
    """Return contiguous uint8 [3, H, W] of pixels uint8 [H, W, 3], with `reverse` in the reverse order of channels."""
    import cv2

    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes[::-1] if reverse else planes))  # faster than a transposition by numpy or torch
    return planes


def scan_count(data: bytes) -> int:
    """Return the number of scans that a JPEG has at most; compressed data cannot hold the marker of one."""
    return data.count(b"\xff\xda")


def _frame_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, or None unless every byte before the first scan is where libjpeg looks for it too.

    Pillow's decoder trusts the size that it is given. So nothing is skipped here that libjpeg could read otherwise: no
    fill bytes, no second frame, no segment of another kind.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at, size = 2, None
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker == _SCAN:
            return size
        is_xmp = marker == _APP1 and data.startswith(_XMP, at + 4)
        if (marker not in _SEGMENTS and not is_xmp) or length < 2 or (marker == _APP0 and length < 16):
            return None
        if marker == _TABLES and not _are_tables(data[at + 4 : at + 2 + length]):
            return None
        if marker in _FRAMES:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if size is not None or length != 17 or data[at + 4] != 8 or data[at + 9] != 3 or not height * width:
                return None
            size = width, height
        at += 2 + length
    return None


def _are_tables(segment: bytes) -> bool:
    """Return whether a segment of quantization tables holds whole tables, of 64 values of 8 or 16 bits, and no more."""
    at = 0
    while at < len(segment):
        at += 65 if segment[at] < 16 else 129
    return at == len(segment)


# Luminance table of the JPEG standard (ITU-T T.81, table K.1), row by row.
_LUMINANCE = np.array(
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ),
    dtype=np.int64,
).ravel()


def _tables() -> NDArray[np.int64]:
    """Luminance tables of qualities 1 to 100, as the IJG's library scales them: [100, 64]."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((_LUMINANCE * scale[:, None] + 50) // 100).clip(1, 255)


_QUALITY_TABLES = _tables()


def jpeg_quality(image: Image.Image) -> int | None:
    """Return the quality whose table lies nearest to the file's: exact for the IJG's tables, close for others."""
    table = getattr(image, "quantization", {}).get(0)
    if table is None or len(table) != 64:
        return None
    return int(np.abs(_QUALITY_TABLES - np.asarray(table, np.int64)).sum(axis=1).argmin()) + 1
