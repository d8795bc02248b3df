"""A small bundle for tests: two scene readings, a view and three atoms on a face of 16 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from fakes import BlockGenerator, block_reader

from faceaug.latents.bundle import Bundle, hash_of
from faceaug.latents.face_regions import REGIONS, face_regions, find_landmarks

SIDE = 16
NAMES = ("yaw", "exposure", "mouth_texture_1", "eyes_shape_1", "wide_texture_1")
KINDS = ("view", "scene", "texture atom", "shape atom", "texture atom")


def small_bundle(generator: BlockGenerator | None = None, **changes: Any) -> Bundle:
    """Return the bundle; `changes` replace parts."""
    generator = generator or BlockGenerator(6)
    units = ("degrees", "grey", *["standard deviations"] * 3)
    directions = block_reader(generator, 5).directions(
        names=NAMES, kinds=KINDS, units=units, r2=np.linspace(0.9, 0.5, 5)
    )
    rng = np.random.default_rng(0)
    regions = face_regions(SIDE, find_landmarks(None, np.full((3, SIDE, SIDE), 0.5)))
    maps = np.zeros((3, 4, SIDE, SIDE), np.float32)
    maps[0, 1:, regions == REGIONS.index("mouth")] = 0.1
    maps[1, 0, regions == REGIONS.index("eyes")] = 0.01
    maps[2, 1:] = 0.05
    shares = np.zeros((3, len(REGIONS)), np.float32)
    shares[0, REGIONS.index("mouth")] = shares[1, REGIONS.index("eyes")] = 1
    shares[2] = 1 / len(REGIONS)
    weights = {"trunk.0.weight": rng.normal(size=(2, 3)).astype(np.float32), "steps": np.array(7)}
    parts: dict[str, Any] = dict(
        directions=directions,
        ranges=np.stack([directions.offset - 2.6 * directions.spread, directions.offset + 2.6 * directions.spread], 1),
        depth=np.full((SIDE, SIDE), 1.0, np.float32),
        albedo=rng.uniform(0.3, 0.7, (3, SIDE, SIDE)).astype(np.float32),
        regions=regions,
        maps=maps,
        shares=shares,
        scale=np.array([10.0, 1, 1, 1]),
        explained=np.array([0.3, 0.2, 0.1]),
        weights=weights,
        reconstruction=hash_of(weights),
        generator_name=generator.name,
        made_by="faceaug discover --generator blocks",
    )
    return Bundle(**{**parts, **changes})
