"""What an image says of itself: that it is synthetic, what made it, and from which seed.

A comment says it to people and an XMP packet to programs, with the digital source type of the IPTC. The bytes are put
into the encoded image, whose pixels stay as they are. Who wants to be rid of them has to take them out on purpose.
"""

from __future__ import annotations

import struct
import zlib

from faceaug._version import __version__
from faceaug.utils.images import Codec, inspect

EXTERNAL = "external"
"""The engine whose images were made elsewhere: faceaug knows no more of their source."""
_SOURCE_TYPES = {
    **dict.fromkeys(("generator", "unguided", "mirrored"), "trainedAlgorithmicMedia"),
    EXTERNAL: "algorithmicallyEnhanced",  # says of an image that a program altered it, and nothing of its origin
}
_COMPOSITE = "compositeSynthetic"  # of captured and synthetic parts: what is made of photographs
_XMP_IN_JPEG, _XMP_IN_PNG = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp"
_PNG_START = 33  # bytes of the signature and of the chunk IHDR, which is the first
_XMP_FLAG = 0x04  # of the chunk VP8X


def mark_synthetic(data: bytes, codec: Codec, engine: str, seed: int) -> bytes:
    """Return an encoded image with the marks that it is synthetic.

    Parameters
    ----------
    data : bytes
        A JPEG, PNG or WebP.
    codec : str
        Which of them.
    engine : str
        Name of the engine that made it.
    seed : int
        Of the sample.

    Returns
    -------
    bytes
        The same pixels; what has the marks already, or is not of this codec, is returned as it is.
    """
    xmp = _xmp(_SOURCE_TYPES.get(engine, _COMPOSITE))
    if xmp in data:  # a sample of another output folder
        return data
    name = engine.encode("ascii", "backslashreplace").decode()
    what = "Image made elsewhere, chosen and processed by" if engine == EXTERNAL else "Synthetic image:"
    comment = f"{what} faceaug {__version__}, engine {name}, sample seed {seed}".encode()
    return _INSERTS[codec](data, comment, xmp)


def is_marked_synthetic(data: bytes) -> bool:
    """Return whether an encoded image has the marks of `mark_synthetic`."""
    return any(_xmp(source_type) in data for source_type in {*_SOURCE_TYPES.values(), _COMPOSITE})


def _xmp(source_type: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def _into_jpeg(data: bytes, comment: bytes, xmp: bytes) -> bytes:
    if data[:2] != b"\xff\xd8":
        return data
    at = 2
    if data[2:4] == b"\xff\xe0":  # JFIF wants to be the first
        at += 2 + int.from_bytes(data[4:6], "big")

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content

    return data[:at] + segment(0xE1, _XMP_IN_JPEG + xmp) + segment(0xFE, comment) + data[at:]


def _into_png(data: bytes, comment: bytes, xmp: bytes) -> bytes:
    if data[12:16] != b"IHDR":
        return data

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    marks = chunk(b"tEXt", b"Comment\0" + comment) + chunk(b"iTXt", _XMP_IN_PNG + bytes(5) + xmp)
    return data[:_PNG_START] + marks + data[_PNG_START:]


def _into_webp(data: bytes, comment: bytes, xmp: bytes) -> bytes:
    """Append the chunk "XMP "; there is none for comments, so that the packet has it as a comment of XML."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return data
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        chunks = chunks[:8] + bytes([chunks[8] | _XMP_FLAG]) + chunks[9:]
    else:
        info = inspect(data)
        size = (info.width - 1).to_bytes(3, "little") + (info.height - 1).to_bytes(3, "little")
        chunks = b"VP8X" + struct.pack("<IB3x", 10, _XMP_FLAG) + size + chunks
    content = xmp + b"<!-- " + comment.replace(b"--", b"- ") + b" -->"
    content += b" " * (len(content) % 2)  # else WebP wants a zero after it, which readers of HDF5 take for padding
    chunks += b"XMP " + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


_INSERTS = {"jpeg": _into_jpeg, "png": _into_png, "webp": _into_webp}
