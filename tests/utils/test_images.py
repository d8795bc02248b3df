"""Decoding is strict: what is admitted, what it becomes, and what is refused, whatever a file is called."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceaug.errors import ImageError
from faceaug.utils.images import (
    CODECS,
    ImageInfo,
    contact_sheet,
    crop_to_aspect,
    decode,
    decode_with_info,
    encode,
    inspect,
    resize,
    restore_aspect,
)


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """A picture whose four corners differ, smooth enough for JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 200 // (height + width)], -1).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(codec: str, side: int) -> bytes:
    """A small file whose header claims side by side pixels."""
    if codec == "png":
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    data = bytearray(encode(smooth(), codec))
    if codec == "jpeg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    else:
        data[26:30] = struct.pack("<HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(codec):
    image = smooth()
    found = decode(encode(image, codec, 95))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert np.abs(found.astype(int) - image).max() <= (0 if codec == "png" else 24)
    assert inspect(encode(image, codec)).codec == codec


def test_encoding_is_deterministic_and_checks_its_input():
    image = smooth()
    for codec in CODECS:
        assert encode(image, codec) == encode(image.copy(), codec)
    with pytest.raises(ImageError, match="one of jpeg, png, webp"):
        encode(image, "gif")
    with pytest.raises(ImageError, match="from 1 to 100"):
        encode(image, "jpeg", 0)
    with pytest.raises(ImageError, match="uint8"):
        encode(image.astype(np.float32), "png")
    with pytest.raises(ImageError, match=r"\[24, 32\]"):
        encode(image[:, :, 0], "png")


# What a camera held in that way stores for the upright picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("codec", CODECS)
def test_exif_rotation_is_applied(orientation, codec):
    upright = smooth()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"exif": exif, "quality": 95} | ({"lossless": True} if codec == "webp" else {})
    data = saved(stored, codec.upper(), **options)
    found, info = decode_with_info(data)
    assert np.abs(found.astype(int) - upright).max() <= (24 if codec == "jpeg" else 0)
    assert (info.height, info.width) == upright.shape[:2]
    assert inspect(data) == info


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\x08\0\0\0"])
def test_damaged_exif_is_no_reason_to_refuse(exif):
    data = saved(Image.fromarray(smooth()), "JPEG", exif=exif)
    assert decode(data).shape == (24, 32, 3)
    assert inspect(data).width == 32


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = decode(saved(red, "JPEG"))
    assert np.abs(found.astype(int) - (255, 0, 0)).max() < 12


def test_sixteen_bit_grey_keeps_its_range():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    found = decode(saved(Image.fromarray(values), "PNG"))
    assert found.tolist() == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_sixteen_bit_colour_keeps_the_high_byte():
    row = b"\0" + struct.pack(">6H", 0, 32896, 65535, 257, 514, 771)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(row))
    assert decode(data + png_chunk(b"IEND", b"")).tolist() == [[[0, 128, 255], [1, 2, 3]]]


def test_palette_with_transparency_is_laid_over_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    assert decode(saved(image, "PNG")).tolist() == [[[10, 20, 30], [200, 0, 0]]]
    assert decode(saved(image, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (50, 255), (50, 50, 50)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (100, 0, 0, 255), (100, 0, 0)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
    ],
)
def test_grey_and_transparent_become_rgb(mode, value, expected):
    assert decode(saved(Image.new(mode, (3, 2), value), "PNG")).tolist() == [[list(expected)] * 3] * 2


def test_a_transparent_colour_of_an_rgb_png_is_white():
    data = saved(Image.new("RGB", (2, 2), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert decode(data).min() == 255


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("PNG", "WEBP"):
        data = saved(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert decode(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_images_are_refused(codec):
    data = encode(smooth(60, 80), codec)
    for length in [1, 3, 8, 12, 20, 30, len(data) // 4, len(data) // 2, len(data) * 9 // 10]:
        with pytest.raises(ImageError, match=r"face\.jpg"):
            decode(data[:length], name="face.jpg")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused_whatever_they_are_called(kind):
    data = saved(Image.fromarray(smooth(16, 16)), kind)
    for look in (decode, inspect):
        with pytest.raises(ImageError, match=r"face\.jpg is .*only JPEG, PNG and WebP"):
            look(data, name="face.jpg")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"this is a text file, not an image", "no image that faceaug knows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"GIF89a" + bytes(20), "a GIF"),
        (b"\xff\xd8\xff\xd9", "cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "cut off or damaged"),
        (b"RIFF\x10\0\0\0WEBPVP9 " + bytes(40), "cut off or damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8L", "cut off or damaged"),
    ],
)
def test_what_is_no_image_is_refused(data, said):
    for look in (decode, inspect):
        with pytest.raises(ImageError, match=said):
            look(data, name="face.jpg")


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_is_refused_by_its_header(codec, monkeypatch):
    side = 16000  # 256 million pixels
    for kind in ("JpegImagePlugin.JpegImageFile", "PngImagePlugin.PngImageFile", "WebPImagePlugin.WebPImageFile"):
        monkeypatch.setattr(f"PIL.{kind}.load", lambda self: pytest.fail("pixels were decoded"))
    for look in (decode, inspect):
        with pytest.raises(ImageError, match=r"16000 by 16000 pixels, more than the 64,000,000"):
            look(bomb(codec, side))


@pytest.mark.parametrize("codec", CODECS)
def test_the_pixel_cap_is_exact(codec):
    data = encode(smooth(10, 20), codec)
    assert decode(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ImageError, match="more than the 199"):
        decode(data, max_pixels=199)


def test_large_extended_webp_is_refused_by_its_canvas():
    image = Image.new("RGBA", (8, 8), (1, 2, 3, 4))
    data = bytearray(saved(image, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    assert data[12:16] == b"VP8X"
    assert decode(bytes(data)).shape == (8, 8, 3)
    data[24:30] = (9999).to_bytes(3, "little") * 2
    with pytest.raises(ImageError, match="10000 by 10000"):
        decode(bytes(data))


def test_a_second_header_cannot_hide_the_size():
    data = encode(smooth(), "jpeg")
    at = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    large = bytearray(data[at : at + length])
    large[5:9] = struct.pack(">HH", 16000, 16000)
    with pytest.raises(ImageError):
        decode(data[: at + length] + bytes(large) + data[at + length :])


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_its_tables(quality):
    assert inspect(encode(smooth(), "jpeg", quality)) == ImageInfo("jpeg", 32, 24, quality)


def test_other_codecs_have_no_quality():
    assert inspect(encode(smooth(), "png")) == ImageInfo("png", 32, 24, None)
    assert inspect(encode(smooth(), "webp", 80)) == ImageInfo("webp", 32, 24, None)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CODECS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12), st.data())
def test_damage_never_raises_anything_else(codec, changes, data):
    """Any change of bytes and any cut gives an image of the promised kind or an ImageError."""
    damaged = bytearray(encode(smooth(), codec))
    for at, value in changes:
        damaged[at % len(damaged)] = value
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        found = decode(bytes(damaged), max_pixels=100_000)
    except ImageError:
        return
    assert found.dtype == np.uint8
    assert found.shape[2:] == (3,)
    assert found.shape[0] * found.shape[1] <= 100_000


def test_resize():
    image = smooth(40, 60)
    assert resize(image, (10, 20)).shape == (10, 20, 3)
    assert resize(image, (80, 30)).shape == (80, 30, 3)
    same = resize(image, (40, 60))
    assert np.array_equal(same, image)
    assert same is not image
    assert np.array_equal(resize(image, (7, 9)), resize(image, (7, 9)))
    fine = np.indices((64, 64)).sum(0)[:, :, None].repeat(3, 2) % 2 * np.uint8(255)
    assert np.ptp(resize(fine.astype(np.uint8), (16, 16))[2:-2, 2:-2]) < 20  # a fine grid becomes grey: antialiased
    with pytest.raises(ImageError, match="0 by 5"):
        resize(image, (0, 5))


def test_contact_sheet_places_images_in_rows():
    colours = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(colours, columns=2, scale=3)
    assert sheet.shape == (2 * 4 * 3, 2 * 6 * 3, 3)
    assert sheet[0, 0, 0] == 10
    assert sheet[0, -1, 0] == 20
    assert sheet[-1, 0, 0] == 30
    assert sheet[-1, -1, 0] == 255  # the empty place is white
    assert contact_sheet(colours, columns=16).shape == (4, 18, 3)
    assert contact_sheet([colours[0], smooth(40, 60)]).shape == (4, 12, 3)  # at the first one's size
    with pytest.raises(ImageError, match="no images"):
        contact_sheet([])
    with pytest.raises(ImageError, match="at least 1"):
        contact_sheet(colours, columns=0)


def test_images_are_cropped_to_an_aspect_around_their_centre():
    image = smooth(40, 60)
    assert np.array_equal(crop_to_aspect(image, 1.0), image[:, 10:50])
    assert np.array_equal(crop_to_aspect(image, 3.0), image[10:30])
    assert np.array_equal(crop_to_aspect(image, 1.5), image)


@pytest.mark.parametrize(("aspect", "shape"), [(1.0, (40, 40, 3)), (0.8, (40, 32, 3)), (1.25, (32, 40, 3))])
def test_an_image_squeezed_into_a_square_gets_its_aspect_back(aspect, shape):
    square = smooth(40, 40)
    restored = restore_aspect(square, aspect)
    assert restored.shape == shape
    assert not np.shares_memory(restored, square)
