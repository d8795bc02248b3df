"""What real images say of place, time and camera does not reach an export; their pixels do, as they are."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from faceaug.exports.stripping import without_metadata
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.utils.images import decode, encode, inspect

SECRET = b"SECRET-OWNER"
CODECS = ("jpeg", "png", "webp")


def telling(codec: str, orientation: int = 1, **options: object) -> bytes:
    """Return an image with EXIF, GPS data, XMP, a comment and bytes behind its end."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = SECRET.decode(), orientation
    exif.get_ifd(0x8825)[1] = SECRET.decode()
    options = {"exif": exif, "icc_profile": b"profile" * 20, **options}
    if codec == "png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", SECRET.decode())
        info.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        options["pnginfo"] = info
    else:
        options["xmp"] = SECRET
    if codec == "jpeg":
        options["comment"] = SECRET
    file = BytesIO()
    Image.fromarray(pixels).save(file, codec, **options)
    return file.getvalue() + SECRET


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("codec", CODECS)
def test_nothing_but_pixels_colours_and_orientation_stays(codec, orientation) -> None:
    data = telling(codec, orientation)
    assert data.count(SECRET) > 3
    stripped = without_metadata(data, codec)
    assert SECRET not in stripped
    np.testing.assert_array_equal(decode(stripped), decode(data))
    assert decode(stripped).shape[:2] == ((12, 20) if orientation == 1 else (20, 12))
    with Image.open(BytesIO(stripped)) as image:
        assert dict(image.getexif()) == ({} if orientation == 1 else {0x0112: orientation})
        assert image.info["icc_profile"] == b"profile" * 20
    assert without_metadata(stripped, codec) == stripped


def test_scans_of_a_progressive_jpeg_and_marks_of_restart_stay() -> None:
    for options in (
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"progressive": True, "restart_marker_blocks": 1},
    ):
        data = telling("jpeg", **options)
        stripped = without_metadata(data, "jpeg")
        assert SECRET not in stripped
        np.testing.assert_array_equal(decode(stripped), decode(data))


@pytest.mark.parametrize("kind", [TiffTags.RATIONAL, TiffTags.FLOAT, TiffTags.LONG])
def test_an_orientation_of_another_type_is_that_of_decoding(kind) -> None:
    exif = TiffImagePlugin.ImageFileDirectory_v2()
    exif.tagtype[0x0112] = kind
    exif[0x0112] = 6
    file = BytesIO()
    Image.new("RGB", (20, 12)).save(file, "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0" + exif.tobytes(8))
    stripped = without_metadata(file.getvalue(), "jpeg")
    assert decode(stripped).shape == decode(file.getvalue()).shape
    with Image.open(BytesIO(stripped)) as image:
        assert dict(image.getexif()) == ({0x0112: 6} if kind == TiffTags.LONG else {})


def test_nothing_hides_in_segments_and_chunks_that_pixels_need() -> None:
    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content

    pixels = np.random.default_rng(2).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    plain = encode(pixels, "jpeg")
    assert plain[2:4] == b"\xff\xe0"
    thumbnail = SECRET + b"\0" * (3 * 5 - len(SECRET))
    data = b"".join(
        [
            plain[:2],
            segment(0xE0, plain[6:18] + bytes([5, 1]) + thumbnail),
            segment(0xEE, SECRET),
            segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01" + SECRET),
            plain[20:],
        ]
    )
    stripped = without_metadata(data, "jpeg")
    assert SECRET not in stripped
    np.testing.assert_array_equal(decode(stripped), decode(data))
    webp = encode(pixels, "webp")
    content = webp[8:] + b"OWNR" + struct.pack("<I", len(SECRET)) + SECRET
    assert without_metadata(b"RIFF" + struct.pack("<I", len(content)) + content, "webp") == webp


@pytest.mark.parametrize("codec", CODECS)
def test_plain_images_stay_byte_for_byte(codec) -> None:
    data = encode(np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8), codec)
    assert without_metadata(data, codec) == data
    assert inspect(data).codec == codec


@pytest.mark.parametrize("codec", CODECS)
def test_the_marks_of_synthetic_images_stay(codec) -> None:
    data = mark_synthetic(encode(np.zeros((8, 8, 3), np.uint8), codec), codec, "morph", 7)
    assert without_metadata(data, codec) == data
