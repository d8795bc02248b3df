"""Runs on toy faces that are quick."""

from __future__ import annotations

import functools

import pytest


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs on toy faces small: probes that read them, little training, small blocks, shards of a few samples."""
    from fakes import ToyReader, toy_probe

    from faceaug.classifiers import classifier as probes
    from faceaug.classifiers import face_quality as soundness
    from faceaug.classifiers import networks
    from faceaug.classifiers.training import TrainedClassifiers
    from faceaug.shards.output_folder import OutputFolder
    from faceaug.synthesis import setup as guide
    from faceaug.synthesis.engines import latent_edit as block

    def learn(arrays, tasks, labels, *, seed, measured, device, progress):
        progress(1, 1)
        labelled = [task for task in tasks if task.name not in measured]
        steering = toy_probe("residual", labelled, 4.0, 0.0, seed) if labelled else None
        return TrainedClassifiers(
            steering, toy_probe("plain", tasks, 3.0, 0.05, seed + 1), {"steering": [], "judge": []}
        )

    def untrained(real, moderate, far, seed, device, progress):
        assert len(moderate) == len(far) > 0
        return probes.Classifier(probes.new_net("plain", [soundness.TASK], seed), "plain", [soundness.TASK], [even])

    even = probes.Calibration(bias=(0.0, 0.0))
    for name in ("residual", "plain"):
        monkeypatch.setitem(networks.TRUNKS, name, ToyReader.trunk)
    monkeypatch.setattr(guide, "learn", learn)
    monkeypatch.setattr(guide, "train_soundness", untrained)
    for name, small in (("BLOCK", 8), ("OFFSPRING", 16), ("GENERATIONS", 1)):
        monkeypatch.setattr(block, name, small)
    monkeypatch.setattr("faceaug.synthesis.balance.OutputFolder.open", functools.partial(OutputFolder.open, max_rows=8))
