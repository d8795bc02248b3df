"""What real images say of place, time and camera does not reach an export; their pixels do, as they are."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

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


@pytest.mark.parametrize("codec", CODECS)
def test_plain_images_stay_byte_for_byte(codec) -> None:
    data = encode(np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8), codec)
    assert without_metadata(data, codec) == data
    assert inspect(data).codec == codec


@pytest.mark.parametrize("codec", CODECS)
def test_the_marks_of_synthetic_images_stay(codec) -> None:
    data = mark_synthetic(encode(np.zeros((8, 8, 3), np.uint8), codec), codec, "morph", 7)
    assert without_metadata(data, codec) == data
