"""Encoded images without what they say beside their pixels: where, when, with what and of whom they were taken.

The pixels are not encoded again. What decides how they are shown stays: colour profiles, transparency, the orientation.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from faceaug.shards.description.provenance import is_marked_synthetic
from faceaug.utils.images import Codec

_ORIENTATION = 0x0112
_LENGTHS = {0xE0: 14, 0xEE: 12}  # bytes of content of JFIF and Adobe
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # neither a byte of the scan nor the mark of a restart
_PNG_KEPT = frozenset(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP bKGD pHYs acTL fcTL fdAT".split())
_WEBP_KEPT = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_FLAGS = 0x0C  # bits of VP8X that tell of EXIF and XMP
_WEBP_EXIF = 0x08


def without_metadata(data: bytes, codec: Codec) -> bytes:
    """Return an encoded image without EXIF, XMP, IPTC, comments, thumbnails, and whatever follows its end.

    Parameters
    ----------
    data : bytes
        An image that can be decoded.
    codec : str
        Its codec.

    Returns
    -------
    bytes
        The same pixels, shown in the same orientation. An image with the marks of faceaug stays as it is.
    """
    return data if is_marked_synthetic(data) else _STRIPPED[codec](data, _orientation(data))


def _orientation(data: bytes) -> bytes:
    """Return EXIF that has nothing but the orientation of an image; empty where that is as the pixels lie."""
    try:
        with Image.open(BytesIO(data)) as image:
            value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, struct.error, TypeError):  # damaged EXIF, which decoding ignores, too
        return b""
    if not isinstance(value, int) or not 2 <= value <= 8:  # decoding ignores fractions as well
        return b""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, value, 0, 0)


def _jpeg(data: bytes, exif: bytes) -> bytes:
    kept = [_without_rest(segment) for segment in _jpeg_segments(data) if not _is_metadata(segment)]
    if exif:
        content = b"Exif\0\0" + exif
        kept.insert(1, struct.pack(">BBH", 0xFF, 0xE1, 2 + len(content)) + content)
    return b"".join(kept)


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """Yield a JPEG in pieces: its start, segments, each with the scan behind it, its end."""
    yield data[:2]
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 1:
        marker = data[at + 1]
        if marker == 0xD9:
            yield data[at : at + 2]
            return
        if marker in (0x00, 0x01, 0xFF, *range(0xD0, 0xD8)):  # fill bytes, and marks without content
            at = data.find(b"\xff", at + (1 if marker == 0xFF else 2))
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            found = _SCAN_END.search(data, end)
            end = found.start() if found else len(data)
        yield data[at:end]
        at = data.find(b"\xff", end)


def _is_metadata(segment: bytes) -> bool:
    """Return whether a segment says anything beside pixels and their colours."""
    marker, content = segment[1], segment[4:]
    if marker == 0xE0:
        return not content.startswith(b"JFIF\0")
    if marker == 0xE2:
        return not content.startswith(b"ICC_PROFILE\0")
    if marker == 0xEE:  # how colours are coded
        return not content.startswith(b"Adobe")
    return marker == 0xFE or 0xE1 <= marker <= 0xEF


def _without_rest(segment: bytes) -> bytes:
    """Return a segment of JFIF without its thumbnail, one of Adobe without what follows; any other as it is."""
    length, content = _LENGTHS.get(segment[1]), segment[4:]
    if length is None or len(content) < length:
        return segment
    content = content[: length - 2] + b"\0\0" if segment[1] == 0xE0 else content[:length]  # a thumbnail of 0 by 0
    return segment[:2] + struct.pack(">H", 2 + length) + content


def _png(data: bytes, exif: bytes) -> bytes:
    chunks, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _PNG_KEPT:
            chunks.append(data[at:end])
        if kind == b"IHDR" and exif:
            chunks.append(struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif)))
        if kind == b"IEND":
            break
        at = end
    return b"".join(chunks)


def _webp(data: bytes, exif: bytes) -> bytes:
    chunks, at, end = [], 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunk = data[at : at + 8 + size + size % 2]
        if chunk[:4] == b"VP8X":
            flags = chunk[8] & ~_WEBP_FLAGS | (_WEBP_EXIF if exif else 0)
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        if chunk[:4] in _WEBP_KEPT:
            chunks.append(chunk)
        at += 8 + size + size % 2
    if exif:
        chunks.append(b"EXIF" + struct.pack("<I", len(exif)) + exif)
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


_STRIPPED = {"jpeg": _jpeg, "png": _png, "webp": _webp}
