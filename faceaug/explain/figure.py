"""The picture of an explanation: where on the mean face an attribute lies, in shape and in colour apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceaug.explain.explain import LUMA, Explanation
from faceaug.latents.bundle import Bundle
from faceaug.utils.images import Rgb, resize
from faceaug.utils.typing import Floats

_TILE, _GAP, _HEAD, _FOOT = 160, 12, 46, 26
_INK, _FAINT, _PAGE = (34, 40, 49), (120, 128, 138), (255, 255, 255)
_MORE, _LESS = np.array([236, 120, 20.0]), np.array([42, 120, 214.0])
_BRIGHT = 0.75  # the mean face's bright parts, on [0, 1]
_STRENGTH = 0.35  # largest change of albedo, on [0, 1], in the faces with more and less of it
_TITLES = ("mean face", "shape", "lightness", "less of it", "more of it")
_FOOTNOTE = "shape: orange comes nearer, blue goes back; lightness: orange is lighter, blue darker"


def explanation_picture(found: Sequence[Explanation], bundle: Bundle) -> Rgb:
    """Return the maps of explanations, a row each, as uint8 [H, W, 3].

    Each map is the sum of coefficient times atom map over the atoms, drawn over the mean face relative to its own
    peak: how far the attribute reaches is in the table, here is where. The faces with less and more of it are the mean
    albedo changed along the map, exaggerated alike in every row.
    """
    wide = _GAP + len(_TITLES) * (_TILE + _GAP)
    row = _HEAD + _TILE + _GAP
    picture = Image.new("RGB", (wide, len(found) * row + _FOOT), _PAGE)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(16), ImageFont.load_default(12)
    for k, one in enumerate(found):
        top = k * row
        draw.text((_GAP, top + 6), one.title, _INK, large)
        words = f"{one.measure.replace('²', '2')} {one.fit.score:.2f}"  # the font has no ²
        draw.text((_GAP + large.getlength(one.title) + 14, top + 9), words, _FAINT, small)
        for column, (title, tile) in enumerate(zip(_TITLES, _tiles(one, bundle), strict=True)):
            left = _GAP + column * (_TILE + _GAP)
            draw.text((left + _TILE / 2, top + _HEAD - 16), title, _FAINT, small, anchor="ma")
            picture.paste(Image.fromarray(resize(tile, (_TILE, _TILE))), (left, top + _HEAD))
    draw.text((_GAP, len(found) * row + 4), _FOOTNOTE, _FAINT, small)
    return np.asarray(picture)


def _tiles(one: Explanation, bundle: Bundle) -> list[Rgb]:
    face = np.clip(bundle.albedo, 0, 1).astype(np.float64)
    face = face * (_BRIGHT / max(float(np.quantile(face, 0.99)), 1e-12))  # albedo is known up to a factor
    grey = face.mean(0)
    nearer, colour = -one.change[0], one.change[1:]
    lighter = np.tensordot(LUMA, colour, 1)
    step = colour * (_STRENGTH / max(float(np.abs(colour).max()), 1e-12))
    return [
        _bytes(face.transpose(1, 2, 0)),
        _over(grey, nearer),
        _over(grey, lighter),
        _bytes((face - step).transpose(1, 2, 0)),
        _bytes((face + step).transpose(1, 2, 0)),
    ]


def _over(grey: Floats, change: Floats) -> Rgb:
    """Return a signed map over a grey face [M, M]; one that is 0 everywhere leaves the face as it is."""
    share = change / max(float(np.abs(change).max()), 1e-12)
    strength = np.abs(share)[..., None]
    return _bytes(grey[..., None] * (1 - strength) + np.where(share[..., None] > 0, _MORE, _LESS) / 255 * strength)


def _bytes(values: Floats) -> Rgb:
    return np.asarray((values * 255).round().clip(0, 255), np.uint8)
