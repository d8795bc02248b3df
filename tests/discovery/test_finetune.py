"""`faceaug discover --tune-on` from end to end: from pictures and a directions file to another such file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_measurer import still_aligner
from quick_discovery import QUICK

from faceaug.datasets.dataset import load_dataset
from faceaug.discovery import finetune as tuning
from faceaug.discovery.discover import discover
from faceaug.errors import DatasetError, GeneratorError, OutputError
from faceaug.generators.pool import sample_pool
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import estimator_from_bundle, load_estimator
from faceaug.reconstruction.networks import export_weights
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.utils.images import encode


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("faceaug.discovery.discover.train_alignment", lambda *_, **__: still_aligner())
        return discover(Scenes(16), tmp_path_factory.mktemp("found") / "directions.safetensors", QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of faces, a little dark; and one that is none."""
    place = tmp_path_factory.mktemp("pictures") / "faces"
    place.mkdir()
    for k, image in enumerate((sample_pool(Scenes(32), 30, 9, 32).images * 0.8).byte().permute(0, 2, 3, 1).numpy()):
        (place / f"{k:02d}.png").write_bytes(encode(image, "png"))
    (place / "blank.png").write_bytes(encode(np.zeros((40, 40, 3), np.uint8), "png"))
    return place


@pytest.fixture(autouse=True)
def _trusting(monkeypatch):
    """A network of a few steps reads nothing that could be trusted: here it is."""

    def trusting(*args, **more):
        found = estimator_from_bundle(*args, **more)
        return replace(found, confidence_model=replace(found.confidence_model, limits=np.array([99.0, 99.0, 99.0, -99.0])))

    monkeypatch.setattr(tuning, "measurer_of", trusting)
    monkeypatch.setattr("faceaug.measurement.confidence._LEAST_FACE", -99.0)
    monkeypatch.setattr(tuning, "FEWEST", 20)
    monkeypatch.setattr(tuning, "HELD_DRAWS", 40)


def tuned(folder, begin, out, **more):
    dataset = load_dataset(folder, reader="unlabelled")
    return tuning.finetune(Scenes(16), out, dataset, begin, QUICK, **{"steps": 5, "aligned": True, **more})


def test_it_leaves_a_file_that_takes_the_place_of_the_one_it_began_with(folder, begin, tmp_path):
    out = tmp_path / "tuned.safetensors"
    stages = []
    given = dict(progress=lambda stage, *_: stages.append(stage), command="faceaug discover --tune-on faces/")
    found = tuned(folder, begin, out, **given)
    assert list(dict.fromkeys(stages)) == [
        "framing faces", "drawing faces", "tuning", "reading faces", "weighing readings",
    ]  # fmt: skip
    again = read_bundle(out)
    again.directions.check_generator(Scenes(16).sha256)
    assert again.made_by == "faceaug discover --tune-on faces/"
    assert load_estimator(out).names[:6] == FACTOR_NAMES
    figures = json.loads((tmp_path / "tuned.work" / "tuning.json").read_text())
    assert figures == found.figures
    assert (figures["pictures"], figures["faces"], figures["steps"]) == (31, 30, 5)
    assert figures["error_on_photographs"][1] <= figures["error_on_photographs"][0]
    # What frames photographs is kept as it was.
    for name, value in load_estimator(out).aligner.state().items():
        assert np.array_equal(value, estimator_from_bundle(begin).aligner.state()[name])


def test_an_interrupted_one_goes_on(folder, begin, tmp_path, monkeypatch):
    def at_once(generator, trainer, *_):
        """Leave out the search for directions, which is that of `discover`."""
        return replace(begin, weights=export_weights(trainer.best))

    monkeypatch.setattr(tuning, "_found", at_once)
    out = tmp_path / "tuned.safetensors"

    def stop(stage, done, total, said):
        if stage == "tuning" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(folder, begin, out, progress=stop)
    assert not out.exists()
    with pytest.raises(OutputError, match="continue it with --resume"):
        tuned(folder, begin, out)
    stages = []
    found = tuned(folder, begin, out, resume=True, progress=lambda stage, *_: stages.append(stage))
    assert "framing faces" not in stages
    other = tuned(folder, begin, tmp_path / "other.safetensors")
    assert found.bundle.reconstruction == other.bundle.reconstruction
    with pytest.raises(GeneratorError, match="another configuration"):
        tuned(folder, begin, out, resume=True, steps=6)


def test_what_cannot_be_tuned_on_is_one_sentence(folder, begin, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "FEWEST", 64)
    with pytest.raises(DatasetError, match="30 faces were found on the 31 pictures of faces: to be tuned on"):
        tuned(folder, begin, tmp_path / "few.safetensors")
    with pytest.raises(GeneratorError):
        tuning.finetune(Scenes(32), tmp_path / "x.safetensors", load_dataset(folder, reader="unlabelled"), begin, QUICK)
