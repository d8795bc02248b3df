"""The picture of a comparison: a block for each attribute, in it a row for each method, with two faces edited."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceaug.bench.directions.chosen_steps import ChosenStep
from faceaug.bench.directions.edit_effects import edited_images
from faceaug.discovery.atlas import FACE_TRUNCATION
from faceaug.generators.base import Generator
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats

STRIP_AMOUNTS = (-2, -1, 0, 1, 2)
"""Of each edit, in lengths that change the attribute by one standard deviation (or in the longest ones)."""
_SHOWN, _COLUMNS = 2, 2  # faces; blocks side by side
_TILE, _GAP, _LABEL, _HEAD, _FONT = 64, 8, 168, 30, 13
_INK, _FAINT = (34, 40, 49), (120, 128, 138)


def render_strips(generator: Generator, w: Floats, chosen: Mapping[str, Mapping[str, ChosenStep]]) -> Rgb:
    """Return the picture.

    Parameters
    ----------
    generator : Generator
    w : float64 [N, D]
        Faces, of which the first are shown, pulled towards the mean as in the atlas.
    chosen : mapping of method to mapping of attribute to ChosenStep
    """
    w = generator.w_mean + FACE_TRUNCATION * (w[:_SHOWN] - generator.w_mean)
    names = list(dict.fromkeys(name for own in chosen.values() for name in own))
    width = _LABEL + (_TILE * len(STRIP_AMOUNTS) + _GAP) * _SHOWN + _GAP
    height = _HEAD + _TILE * len(chosen) + _GAP
    rows = -(-len(names) // _COLUMNS)
    image = Image.new("RGB", (width * min(_COLUMNS, len(names)), height * rows), (255, 255, 255))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT)
    for k, name in enumerate(names):
        left, top = (k % _COLUMNS) * width + _GAP, (k // _COLUMNS) * height
        draw.text((left, top + 8), name, _INK, ImageFont.load_default(_FONT + 3))
        for row, (method, own) in enumerate(chosen.items()):
            y = top + _HEAD + row * _TILE
            draw.text((left, y + _TILE // 2 - 14), method.replace("_", " "), _INK, font)
            if name not in own:
                continue
            each = own[name]
            note = f"{each.length:.1f} sd" + ("" if each.reached else ", out of reach")
            draw.text((left, y + _TILE // 2 + 4), note, _FAINT, font)
            for face in range(len(w)):
                moved = w[face] + np.array(STRIP_AMOUNTS, np.float64)[:, None] * each.length * each.step
                strip = np.concatenate(list(to_uint8(edited_images(generator, moved))), 1)
                x = left + _LABEL - _GAP + face * (_TILE * len(STRIP_AMOUNTS) + _GAP)
                image.paste(Image.fromarray(strip), (x, y))
    return np.asarray(image)
