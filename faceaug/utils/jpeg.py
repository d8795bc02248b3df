"""Decode the JPEG files of which most consist, without what opening a file costs Pillow."""

from __future__ import annotations

from PIL import Image

# APP0, COM, DQT, DHT, DRI, and the frame headers of baseline and progressive images. EXIF data and other profiles are
# not among them: what they say about the picture is for Pillow's own reader. XMP says nothing of the pixels.
_SEGMENTS = {0xE0, 0xFE, 0xDB, 0xC4, 0xDD, 0xC0, 0xC2}
_FRAMES = {0xC0, 0xC2}
MOST_SCANS = 64  # of a progressive image: encoders write about ten, and each scan goes over all pixels again
_APP0, _APP1, _SCAN = 0xE0, 0xE1, 0xDA
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
        if marker in _FRAMES:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if size is not None or length != 17 or data[at + 4] != 8 or data[at + 9] != 3 or not height * width:
                return None
            size = width, height
        at += 2 + length
    return None
