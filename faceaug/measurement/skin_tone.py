"""Skin tone: the individual typology angle (ITA) of the albedo inside the face (docs/method.md, Photographs).

It describes how light the skin is in a photograph. It is not race or ethnicity, no medical skin type, and not
calibrated: an unknown camera, exposure and white balance are part of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.errors import IntegrityError
from faceaug.latents.face_regions import REGIONS, TYPICAL_LANDMARKS, face_regions
from faceaug.measurement.confidence import ConfidenceModel, QualitySignals
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import normals, shade
from faceaug.utils.files import read_json
from faceaug.utils.typing import Floats

SKIN_TONE, SKIN_TONE_UNIT = "skin_tone", "degrees"
SKIN_TONE_MEANING = "individual typology angle: how light the skin is in the picture, larger is lighter"
CONFIDENCE_FILE = Path(__file__).with_name("skin_tone.json")
"""The fitted confidence model; benchmarks/skin_tone.py writes it."""
_SKIN = ("cheeks", "nose")  # neither hair, beard nor eyes
_TO_XYZ = np.array(  # of linear sRGB, IEC 61966-2-1, for D65
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


@dataclass(frozen=True, eq=False)
class SkinTones:
    """Skin tones of N faces.

    Attributes
    ----------
    values : float64 [N]
        Degrees from -180 to 180, in practice -90 to 90; the mean of the values of a face and of its mirror image.
    mirror_disagreement : float64 [N]
        Half of their difference.
    """

    values: Floats
    mirror_disagreement: Floats

    @classmethod
    def of(cls, factors: FaceFactors, mirrored: FaceFactors) -> SkinTones:
        """Return the skin tones of faces, from the factors of their images and of the mirror images."""
        one, other = skin_tone(factors), skin_tone(mirrored)
        return cls((one + other) / 2, np.abs(one - other) / 2)

    def signals(self, of_face: QualitySignals) -> QualitySignals:
        """Return the signals of their quality, from those of the other estimates of the same faces."""
        disagreement = self.mirror_disagreement[:, None]
        return QualitySignals(of_face.error, disagreement, of_face.residual_step, of_face.face)


def skin_tone(factors: FaceFactors) -> Floats:
    """Return the individual typology angle [N] of faces, in degrees (Chardon et al., Int. J. Cosmet. Sci. 13, 1991).

    The canonical cheeks and nose are lit from the front, so that view and direction of the light have no part in it.
    The strength of the light stays that of the picture: a reconstruction from single images cannot tell it from skin.
    """
    side = factors.albedo.shape[-1]
    front = torch.cat([factors.light[:, :2], torch.zeros_like(factors.light[:, :2])], 1)
    with torch.no_grad():
        lit = (factors.albedo * shade(normals(factors.depth), front)).double().cpu().numpy()
    colour = np.median(lit[:, :, _skin(side)], -1)
    lightness, _, yellow = np.moveaxis(to_lab(colour), -1, 0)
    return np.asarray(np.degrees(np.arctan2(lightness - 50, yellow)), np.float64)


def to_lab(colours: Floats) -> Floats:
    """Return CIELAB (D65) of sRGB colours [..., 3] in [0, 1]; values outside are clipped."""
    srgb = np.clip(colours, 0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ.T / _WHITE
    x, y, z = np.moveaxis(
        np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@lru_cache(maxsize=1)
def skin_tone_confidence() -> ConfidenceModel:
    """Return the confidence model of skin tones that comes with faceaug.

    Raises
    ------
    IntegrityError
        If its file is damaged.
    """
    content = read_json(CONFIDENCE_FILE, "the confidence of skin tones")
    try:
        state = {name: torch.tensor(values, dtype=torch.float64) for name, values in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise IntegrityError(f"{CONFIDENCE_FILE} is damaged; install faceaug again") from error
    return ConfidenceModel.from_state(state, 1)


def confidence_text(model: ConfidenceModel) -> str:
    """Return the content of `CONFIDENCE_FILE` for a model."""
    return json.dumps({name: values.tolist() for name, values in model.state().items()}, indent=2) + "\n"


@lru_cache(maxsize=4)
def _skin(side: int) -> NDArray[np.bool_]:
    """Return where the canonical face shows skin, [side, side]."""
    regions = face_regions(side, TYPICAL_LANDMARKS)
    return np.isin(regions, [REGIONS.index(name) for name in _SKIN])
