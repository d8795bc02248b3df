"""Fixtures: runs on toy faces that are quick."""

import functools

import pytest


def _patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs on toy faces small: probes that read them, little training, small blocks, shards of a few samples."""
    from fakes import ToyReader, toy_probe

    from faceaug.semantics import networks, probes, soundness
    from faceaug.semantics.learning import Learnt
    from faceaug.shards.folder import OutputFolder
    from faceaug.synthesis import block, guide

    def learn(arrays, tasks, labels, *, seed, measured, device, progress):
        progress(1, 1)
        labelled = [task for task in tasks if task.name not in measured]
        steering = toy_probe("residual", labelled, 4.0, 0.0, seed) if labelled else None
        return Learnt(steering, toy_probe("plain", tasks, 3.0, 0.05, seed + 1), {"steering": [], "judge": []})

    def untrained(real, moderate, far, seed, device, progress):
        assert len(moderate) == len(far) > 0
        return probes.Probe(probes.new_net("plain", [soundness.TASK], seed), "plain", [soundness.TASK], [even])

    even = probes.Calibration(bias=(0.0, 0.0))
    for name in ("residual", "plain"):
        monkeypatch.setitem(networks.TRUNKS, name, ToyReader.trunk)
    monkeypatch.setattr(guide, "learn", learn)
    monkeypatch.setattr(guide, "train_soundness", untrained)
    for name, small in (("BLOCK", 8), ("OFFSPRING", 16), ("GENERATIONS", 1)):
        monkeypatch.setattr(block, name, small)
    monkeypatch.setattr("faceaug.synthesis.run.OutputFolder.open", functools.partial(OutputFolder.open, max_rows=8))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs on toy faces small, for one test."""
    _patched(monkeypatch)


@pytest.fixture(scope="module")
def module_quick():
    """Make runs on toy faces small while the fixtures of a module are made, and whatever comes between."""
    with pytest.MonkeyPatch.context() as patched:
        _patched(patched)
        yield


@pytest.fixture(scope="session")
def toy_target(tmp_path_factory: pytest.TempPathFactory):
    """Toy faces as JPEG files, 1 in 6 with a dark bar across the eyes."""
    from fakes import write_toy_target

    from faceaug.targets.table import load_target

    images, labels = write_toy_target(tmp_path_factory.mktemp("toys"), 200, codec="jpeg")
    return load_target(images, labels)


@pytest.fixture(scope="module")
def toy_guide(toy_target, tmp_path_factory: pytest.TempPathFactory, module_quick):
    """What a run on toy faces by bar and spot (two bins) knows before its first sample; samples are left raw."""
    from fakes import ToyFaces

    from faceaug.axes import build_axis, parse_by
    from faceaug.synthesis.gates import Limits
    from faceaug.synthesis.guide import prepare
    from faceaug.targets.arrays import load_arrays

    axes = [build_axis(toy_target.table, spec) for spec in parse_by("bar,spot:-3/0/3")]
    arrays, _ = load_arrays(toy_target, 64)
    return prepare(
        toy_target, arrays, axes, ToyFaces(), tmp_path_factory.mktemp("models"), seed=0, keep=(), draws=256,
        limits=Limits(), finish=False, codec="png", workers=1, batch_size=64, device="cpu", progress=lambda *_: None,
    )  # fmt: skip
