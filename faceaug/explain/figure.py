"""The figure of explanations: where on the mean face an attribute is carried, in shape and in colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceaug.explain.explanation import Explanation
from faceaug.latents.bundle import Bundle
from faceaug.utils.images import LUMA_WEIGHTS, Rgb, resize
from faceaug.utils.typing import Floats

_TILE, _GAP, _HEAD, _FOOT = 160, 12, 46, 26  # pixels
_INK, _GREY, _PAGE = (34, 40, 49), (120, 128, 138), (255, 255, 255)
_MORE, _LESS = np.array([236, 120, 20.0]), np.array([42, 120, 214.0])
_BRIGHTNESS = 0.75  # of the mean face's bright parts, on [0, 1]
_MAX_CHANGE = 0.35  # of albedo, on [0, 1], in the faces with more and less of the attribute
_TITLES = ("mean face", "shape", "lightness", "less of it", "more of it")
_FOOTNOTE = "shape: orange comes nearer, blue goes back; lightness: orange is lighter, blue darker"


def draw_explanations(explanations: Sequence[Explanation], bundle: Bundle) -> Rgb:
    """Draw the maps of explanations, one row each.

    A map is the sum of coefficient times atom map over the atoms, drawn over the mean face relative to its own peak:
    it shows where, and the table shows how much. The faces with less and more of the attribute are the mean albedo
    changed along the map, exaggerated equally in every row.

    Parameters
    ----------
    explanations : sequence of Explanation
    bundle : Bundle
        Whose atoms they are of.

    Returns
    -------
    uint8 [H, W, 3]
    """
    width = _GAP + len(_TITLES) * (_TILE + _GAP)
    row_height = _HEAD + _TILE + _GAP
    picture = Image.new("RGB", (width, len(explanations) * row_height + _FOOT), _PAGE)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(16), ImageFont.load_default(12)
    for k, explanation in enumerate(explanations):
        top = k * row_height
        draw.text((_GAP, top + 6), explanation.title, _INK, large)
        score = f"{explanation.measure.replace('²', '2')} {explanation.fit.score:.2f}"  # the font has no ²
        draw.text((_GAP + large.getlength(explanation.title) + 14, top + 9), score, _GREY, small)
        for column, (title, tile) in enumerate(zip(_TITLES, _tiles(explanation, bundle), strict=True)):
            left = _GAP + column * (_TILE + _GAP)
            draw.text((left + _TILE / 2, top + _HEAD - 16), title, _GREY, small, anchor="ma")
            picture.paste(Image.fromarray(resize(tile, (_TILE, _TILE))), (left, top + _HEAD))
    draw.text((_GAP, len(explanations) * row_height + 4), _FOOTNOTE, _GREY, small)
    return np.asarray(picture)


def _tiles(explanation: Explanation, bundle: Bundle) -> list[Rgb]:
    """Return the images of `_TITLES`, uint8 [M, M, 3] each."""
    face = np.clip(bundle.albedo, 0, 1).astype(np.float64)
    face = face * (_BRIGHTNESS / max(float(np.quantile(face, 0.99)), 1e-12))  # albedo is known up to a factor
    grey = face.mean(0)
    nearer, colour = -explanation.change[0], explanation.change[1:]
    lighter = np.tensordot(np.array(LUMA_WEIGHTS), colour, 1)
    step = colour * (_MAX_CHANGE / max(float(np.abs(colour).max()), 1e-12))
    return [
        _to_uint8(face.transpose(1, 2, 0)),
        _overlay(grey, nearer),
        _overlay(grey, lighter),
        _to_uint8((face - step).transpose(1, 2, 0)),
        _to_uint8((face + step).transpose(1, 2, 0)),
    ]


def _overlay(grey: Floats, change: Floats) -> Rgb:
    """Return a signed map [M, M] over a grey face [M, M]; where it is 0, the face is visible."""
    share = change / max(float(np.abs(change).max()), 1e-12)
    opacity = np.abs(share)[..., None]
    return _to_uint8(grey[..., None] * (1 - opacity) + np.where(share[..., None] > 0, _MORE, _LESS) / 255 * opacity)


def _to_uint8(values: Floats) -> Rgb:
    """Return values in [0, 1] as uint8; what lies outside is clipped."""
    return np.asarray((values * 255).round().clip(0, 255), np.uint8)
