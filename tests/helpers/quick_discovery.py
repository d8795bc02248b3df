"""A discovery of seconds."""

from __future__ import annotations

from faceaug.discovery.discover import DiscoveryConfig
from faceaug.reconstruction.training import ReconstructionSchedule

QUICK = DiscoveryConfig(
    draws=420, held_out=64, linear_steps=40, reader_steps=4, alignment_steps=2, weighed=64, atoms=6,
    schedule=ReconstructionSchedule(side=16, steps=8, distil=4, batch=4, pairs=1, refit_every=2),
)  # fmt: skip
