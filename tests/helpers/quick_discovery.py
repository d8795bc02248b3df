"""A discovery that takes seconds."""

from __future__ import annotations

from faceaug.discovery.config import DiscoveryConfig
from faceaug.reconstruction.training.schedule import ReconstructionSchedule

QUICK = DiscoveryConfig(
    samples=420,
    held_out=64,
    linear_steps=40,
    reader_steps=4,
    alignment_steps=2,
    turned_faces=64,
    view_reader_steps=2,
    calibration_samples=64,
    atoms=6,
    schedule=ReconstructionSchedule(side=16, steps=8, distil_steps=4, batch_size=4, pairs=1, refit_every=2),
)
