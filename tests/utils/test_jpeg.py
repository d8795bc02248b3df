import io
import random

import numpy as np
import pytest
from PIL import Image

from faceaug.errors import ImageError
from faceaug.utils import images
from faceaug.utils.jpeg import decode_plain_jpeg

LIMIT = 1_000_000


def jpeg(size=(37, 23), *, mode="RGB", seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (37, 23), (200, 3)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_pixels_are_those_of_pillow(size, options):
    data = jpeg(size, quality=70, **options)
    picture = decode_plain_jpeg(data, max_pixels=LIMIT)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert (picture.mode, picture.size) == ("RGB", size)
    assert np.array_equal(np.asarray(picture), expected)
    assert np.array_equal(images.decode(data), expected)


@pytest.mark.parametrize("data", [jpeg(mode="L"), jpeg(mode="CMYK"), rotated(), jpeg(icc_profile=b"x" * 40)])
def test_other_kinds_are_left_to_pillow(data):
    assert decode_plain_jpeg(data, max_pixels=LIMIT) is None
    assert np.array_equal(np.asarray(images.decode_to_pil(data)), images.decode_with_info(data)[0])


def test_a_file_above_the_limit_is_left_to_pillow():
    assert decode_plain_jpeg(jpeg(), max_pixels=37 * 23) is not None
    assert decode_plain_jpeg(jpeg(), max_pixels=37 * 23 - 1) is None
    with pytest.raises(ImageError, match="37 by 23"):
        images.decode(jpeg(), max_pixels=37 * 23 - 1)


def test_a_second_frame_of_another_size_is_refused():
    """The decoder trusts the size that it is given, which would be the first one."""
    data = jpeg()
    frame = data.index(b"\xff\xc0")
    small = bytearray(data[frame : frame + 19])
    small[5:9] = bytes([0, 1, 0, 1])
    both = data[:frame] + bytes(small) + data[frame:]
    assert decode_plain_jpeg(both, max_pixels=LIMIT) is None
    with pytest.raises(ImageError):
        images.decode(both)


def test_damaged_files_are_read_as_pillow_reads_them():
    rng = random.Random(0)
    originals = [jpeg((30, 20), seed=k, progressive=k % 2 == 1) for k in range(6)]
    for k in range(1500):
        data = bytearray(originals[k % len(originals)])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice([0, 1, 1, len(data)])] = bytes([rng.randrange(256)] * rng.choice([0, 1, 1, 4]))
            if len(data) < 2:
                break
        picture = decode_plain_jpeg(bytes(data), max_pixels=LIMIT)
        if picture is not None:
            assert np.array_equal(np.asarray(picture), images.decode_with_info(bytes(data))[0])


def test_a_jpeg_of_endless_scans_is_refused():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 200 + data[-2:]
    assert decode_plain_jpeg(data, max_pixels=10**6) is not None
    assert decode_plain_jpeg(bomb, max_pixels=10**6) is None
    with pytest.raises(ImageError, match="scans, and 64 are read"):
        images.decode(bomb)


def test_planes_for_training_have_the_pixels_of_the_other_decoder_but_for_rounding():
    coarse = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    pixels = images.resize(coarse, (47, 61))
    for quality in (50, 90, 100):
        data = images.encode(pixels, "jpeg", quality)
        planes = images.decode_to_planes(data)
        assert planes.shape == (3, 47, 61)
        assert planes.flags.c_contiguous
        off = np.abs(planes.transpose(1, 2, 0).astype(int) - images.decode(data))
        assert off.max() <= 4
    assert np.array_equal(images.decode_to_planes(images.encode(pixels, "png")), pixels.transpose(2, 0, 1))


def test_planes_of_a_file_that_is_cut_off_or_too_large_are_refused():
    data = images.encode(
        images.resize(np.random.default_rng(4).integers(0, 256, (8, 8, 3), np.uint8), (64, 64)), "jpeg"
    )
    for damaged in (data[: len(data) // 2], data[:-2], data[:200]):
        with pytest.raises(ImageError):
            images.decode_to_planes(damaged)
    with pytest.raises(ImageError, match="more than the 100"):
        images.decode_to_planes(data, max_pixels=100)
