"""Every stored image says that it is synthetic, and its pixels are those that were encoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from shard_samples import sample

from faceaug import __version__
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.shards.writer import encode_sample
from faceaug.utils.images import CODECS, decode, encode, inspect
from faceaug.utils.jpeg import decode_plain_jpeg

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.mark.parametrize("codec", CODECS)
def test_a_marked_image_has_the_same_pixels(codec):
    plain = encode(PIXELS, codec)
    marked = mark_synthetic(plain, codec, "morph", 7)
    np.testing.assert_array_equal(decode(marked), decode(plain))
    assert inspect(marked) == inspect(plain)
    assert len(marked) - len(plain) < 700


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        ("generator", "trainedAlgorithmicMedia"),
        ("morph", "compositeSynthetic"),
        ("external", "algorithmicallyEnhanced"),
    ],
)
def test_the_marks_are_read_by_others(codec, engine, kind):
    data = mark_synthetic(encode(PIXELS, codec), codec, engine, 2**64 - 1)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp").encode()
        comment = image.info.get("comment") or image.info.get("Comment", "").encode() or xmp
    assert f"digitalsourcetype/{kind}".encode() in xmp
    begin = "Image made elsewhere, chosen and processed by" if engine == "external" else "Synthetic image:"
    said = f"{begin} faceaug {__version__}, engine {engine}, sample seed {2**64 - 1}"
    assert said.encode() in comment


def test_a_marked_jpeg_is_decoded_in_the_fast_way():
    data = mark_synthetic(encode(PIXELS, "jpeg"), "jpeg", "morph", 1)
    assert decode_plain_jpeg(data, max_pixels=10**6) is not None


def test_an_extended_webp_keeps_its_header():
    once = mark_synthetic(encode(PIXELS, "webp"), "webp", "morph", 1)
    twice = mark_synthetic(once, "webp", "morph", 2)
    np.testing.assert_array_equal(decode(once), decode(twice))
    assert twice.count(b"VP8X") == 1


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_of_another_kind_stay_as_they_are(codec):
    assert mark_synthetic(b"no image", codec, "morph", 1) == b"no image"


@pytest.mark.parametrize("codec", CODECS)
def test_samples_are_stored_with_the_marks(codec):
    for image in (PIXELS, encode(PIXELS, codec)):
        stored = encode_sample(sample(0, image=image), codec=codec, layout="blob")
        assert b"Synthetic image: faceaug" in stored.data
