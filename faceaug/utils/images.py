"""Images in and out: strict decoding to RGB, facts about a file, encoding, resizing, contact sheets.

Only JPEG, PNG and WebP are read; the content decides, not the name. Width and height are read from the header by code
of this module before any decoder runs, so that an image with a huge size in its header costs nothing.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from faceaug.errors import ImageError
from faceaug.utils.jpeg import MOST_SCANS, decode_plain_jpeg, jpeg_planes, jpeg_quality, scan_count, split_planes

Rgb = npt.NDArray[np.uint8]
Codec = Literal["jpeg", "png", "webp"]

MAX_PIXELS = 64_000_000
MAX_BYTES = 1 << 30  # of an encoded image; 64 million pixels of 16-bit RGBA have half of this
DEFAULT_QUALITY = 90
"""Quality of a JPEG or WebP where nothing else is known."""
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma Y of ITU-R BT.601."""
CODECS: tuple[Codec, ...] = ("jpeg", "png", "webp")
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
# The first bytes of other frequent formats, so that the error can name them.
_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"<", "markup text"),
    (b"version https://git-lfs", "a Git LFS pointer (fetch the real file with 'git lfs pull')"),
)
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageInfo:
    """Properties of the file of an image.

    Attributes
    ----------
    codec
        "jpeg", "png" or "webp", by content.
    width, height
        Pixels of the upright image, after the EXIF rotation.
    quality
        1 to 100, estimated from a JPEG's quantization tables; None for the other codecs.
    """

    codec: Codec
    width: int
    height: int
    quality: int | None


def decode(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Rgb:
    """Decode a JPEG, PNG or WebP to upright RGB.

    Parameters
    ----------
    data
        The file's bytes.
    name
        What errors call the image.
    max_pixels
        Most pixels (width times height) that are decoded.

    Returns
    -------
    uint8 [H, W, 3]
        EXIF rotation applied; grey, palette, CMYK and 16-bit images converted; transparency over white; the first frame
        of an animation.

    Raises
    ------
    ImageError
        When the bytes are no such image, are damaged or cut off, or hold more pixels than `max_pixels`.
    """
    picture = decode_plain_jpeg(data, max_pixels=max_pixels)
    return decode_with_info(data, name=name, max_pixels=max_pixels)[0] if picture is None else np.array(picture)


def decode_to_pil(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the pixels of `decode` as a PIL image of mode RGB; for most JPEG files, no array is made on the way."""
    picture = decode_plain_jpeg(data, max_pixels=max_pixels)
    return Image.fromarray(decode(data, name=name, max_pixels=max_pixels)) if picture is None else picture


def decode_with_info(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> tuple[Rgb, ImageInfo]:
    """Return the results of `decode` and `inspect`, opening the image once."""
    image, codec = _open(data, name, max_pixels)
    with image:
        try:
            image.load()
            pixels = _to_rgb(image)
        except Exception as error:  # decoders raise errors of any type on damaged data
            raise _damaged(name, codec, error) from error
        pixels = np.ascontiguousarray(_upright(pixels, _orientation(image)))
        height, width = pixels.shape[:2]
        return pixels, ImageInfo(codec, width, height, jpeg_quality(image))


def decode_to_planes(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Rgb:
    """Decode an image as `decode` does, to contiguous uint8 [3, H, W], as fast as possible.

    The pixels of a JPEG may differ from those of `decode` by rounding, depending on the version of OpenCV: this is for
    training, and not for what samples depend on.
    """
    planes = jpeg_planes(data, max_pixels=max_pixels)
    return split_planes(decode(data, name=name, max_pixels=max_pixels)) if planes is None else planes


def inspect(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read an image's header only: codec, upright width and height, JPEG quality.

    Raises
    ------
    ImageError
        When the header is not that of a JPEG, PNG or WebP of at most `max_pixels` pixels.
    """
    image, codec = _open(data, name, max_pixels)
    with image:
        width, height = image.size
        # Pillow would decode a PNG without EXIF data before its pixels in search of some behind them.
        if (codec != "png" or "exif" in image.info) and _orientation(image) >= 5:  # a quarter turn
            width, height = height, width
        return ImageInfo(codec, width, height, jpeg_quality(image))


def encode(rgb: Rgb, codec: Codec, quality: int = DEFAULT_QUALITY) -> bytes:
    """Encode uint8 [H, W, 3] as a file of the codec; the same pixels give the same bytes.

    `quality` (1 to 100) is for JPEG and WebP; PNG is lossless and does not use it.
    """
    _require_rgb(rgb)
    if codec not in CODECS:
        raise ImageError(f"images cannot be written as {codec!r}: choose one of {', '.join(CODECS)}")
    if not 1 <= quality <= 100:
        raise ImageError(f"the quality {quality} is out of range: give one from 1 to 100")
    buffer = io.BytesIO()
    image = Image.fromarray(rgb)
    if codec == "png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, codec.upper(), quality=quality)
    return buffer.getvalue()


def resize(rgb: Rgb, shape: tuple[int, int]) -> Rgb:
    """Resize uint8 [H, W, 3] to (height, width) with an antialiased Lanczos filter in integer arithmetic."""
    _require_rgb(rgb)
    height, width = shape
    if height < 1 or width < 1:
        raise ImageError(f"an image cannot be resized to {height} by {width} pixels: give at least 1 by 1")
    if rgb.shape[:2] == (height, width):
        return rgb.copy()
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))


def crop_to_aspect(rgb: Rgb, aspect: float) -> Rgb:
    """Return the largest central part of an image that has a given aspect ratio.

    Parameters
    ----------
    rgb : uint8 [H, W, 3]
    aspect : float
        Width over height, above 0.

    Returns
    -------
    uint8 [h, w, 3]
        A view; w / h is `aspect` up to the rounding to whole pixels.
    """
    height, width = rgb.shape[:2]
    new_width = min(width, max(1, round(height * aspect)))
    new_height = min(height, max(1, round(width / aspect)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return rgb[top : top + new_height, left : left + new_width]


def restore_aspect(rgb: Rgb, aspect: float) -> Rgb:
    """Return an image that was squeezed into a square with its original aspect ratio; the longer side stays.

    Parameters
    ----------
    rgb : uint8 [S, S, 3]
    aspect : float
        Width over height, above 0.

    Returns
    -------
    uint8 [round(S * min(1, 1 / aspect)), round(S * min(1, aspect)), 3]
        A copy.
    """
    side = rgb.shape[0]
    shape = (round(side * min(1, 1 / aspect)), round(side * min(1, aspect)))
    return rgb.copy() if shape == (side, side) else resize(rgb, shape)


def contact_sheet(images: Sequence[Rgb], columns: int = 16, scale: int = 1) -> Rgb:
    """Lay images out in rows on white, each at the first one's size times `scale`.

    Parameters
    ----------
    images
        At least one uint8 [H, W, 3].
    columns
        Most images in a row.
    scale
        Integer factor by which pixels are repeated.

    Returns
    -------
    uint8 [rows * H * scale, min(columns, N) * W * scale, 3]
    """
    if not images:
        raise ImageError("a contact sheet of no images was asked for: give at least one")
    if columns < 1 or scale < 1:
        raise ImageError(f"a contact sheet with {columns} columns at scale {scale} was asked for: both are at least 1")
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = resize(image, (height, width))
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def _open(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, Codec]:
    codec = _codec(data, name)
    try:
        size = _HEADERS[codec](data)
    except (IndexError, struct.error):
        size = None
    if size is None:
        raise ImageError(f"{name} is cut off or damaged: its {codec.upper()} header has no size; get the file anew")
    _check_size(size, name, max_pixels)
    if codec == "jpeg" and (scans := scan_count(data)) > MOST_SCANS:
        raise ImageError(f"{name} has {scans} scans, and {MOST_SCANS} are read: encode it anew, as a baseline JPEG")
    try:
        # The class itself and not Image.open, so that no other codec can be chosen and no global pixel limit applies.
        image = _OPENERS[codec](io.BytesIO(data))
    except Exception as error:
        raise _damaged(name, codec, error) from error
    _check_size(image.size, name, max_pixels)  # a file with two headers could show a small size first
    return image, codec


def _codec(data: bytes, name: str) -> Codec:
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if not data:
        raise ImageError(f"{name} is empty: a JPEG, PNG or WebP image was expected; get the file anew")
    kind = next((what for start, what in _OTHERS if data.startswith(start)), "no image that faceaug knows")
    raise ImageError(f"{name} is {kind}: only JPEG, PNG and WebP are read, whatever a file is called; convert it first")


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} says that it is {width} by {height} pixels: the file is damaged; get it anew")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} by {height} pixels, more than the {max_pixels:,} that are allowed: "
            "make it smaller, or raise the limit if you trust it"
        )


def _damaged(name: str, codec: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name} is cut off or damaged and cannot be decoded as {codec.upper()} ({reason}); get it anew")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk over the segments to the frame header (SOFn), which has height and width."""
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # stray or fill bytes between segments are legal enough
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            at += 2
        elif marker in (0xD9, 0xDA):  # end of image, or the scan has begun without a frame
            return None
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":  # 24-bit canvas width and height, less one
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":  # two 14-bit numbers, less one, after a signature byte
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


_HEADERS = {"jpeg": _jpeg_size, "png": _png_size, "webp": _webp_size}


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; damaged EXIF data is no reason to refuse the pixels."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a parser of foreign bytes: any failure means that nothing is known
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Rgb, orientation: int) -> Rgb:
    """Undo the camera's orientation: 1 to 8 as in the EXIF standard."""
    if orientation >= 5:  # rows and columns are swapped
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _to_rgb(image: Image.Image) -> Rgb:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):  # 16-bit grey; Pillow's own conversion would clip it
        grey = ((np.asarray(image).astype(np.int32) + 128) // 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _require_rgb(rgb: Rgb) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ImageError(
            f"found an array {rgb.dtype} {list(rgb.shape)} where an image uint8 [height, width, 3] is needed"
        )


def check_size(name: str, size: int) -> None:
    """Refuse an encoded image of more than `MAX_BYTES`; ImageError."""
    if size > MAX_BYTES:
        raise ImageError(f"{name} has {size:,} bytes, more than the {MAX_BYTES:,} that an image may have")
