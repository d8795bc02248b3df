"""`faceaug discover --tune-on`: what reaches the work, what it says, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import small_bundle
from fakes import BlockGenerator

from faceaug import generators
from faceaug.discovery import finetune as tuning
from faceaug.latents.bundle import Bundle
from faceaug.utils.images import encode

FIGURES = dict(pictures=3, faces=2, steps=40, ended="all steps were done", error_on_photographs=[0.2, 0.15],
               error_on_draws=[0.1, 0.101], drift=0.05)  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the work and keeps what it was given."""
    found = []

    def tune(generator, out, dataset, begin, settings, **more):
        found.append({"generator": generator, "dataset": dataset, "begin": begin, "settings": settings, **more})
        parts = begin.directions
        five = ("yaw", "pitch", "roll", "light_x", "light_y")
        return tuning.FinetuneResult(_Named(begin, five, parts.r2), FIGURES)

    monkeypatch.setattr(tuning, "tune", tune)
    monkeypatch.setattr(generators, "load_generator", lambda name, device: BlockGenerator(6))
    return found


class _Named:
    """A bundle as the command tells of it."""

    def __init__(self, bundle: Bundle, names, r2) -> None:
        self.directions, self.atoms = type("D", (), {"names": names, "r2": r2})(), bundle.atoms


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "faces"
    place.mkdir()
    for k in range(3):
        image = np.random.default_rng(k).integers(0, 255, (30, 30, 3), dtype=np.uint8)
        (place / f"{k}.png").write_bytes(encode(image, "png"))
    return place


@pytest.fixture
def start(tmp_path):
    file = tmp_path / "directions.safetensors"
    small_bundle().save(file)
    return file


def test_every_option_reaches_the_work_and_it_says_what_came_of_it(faceaug_cli, folder, start, tmp_path, calls):
    out = tmp_path / "tuned.safetensors"
    words = ("discover", "--tune-on", folder, "--from", start, "-o", out, "--draws", 500, "--aligned", "--seed", 3)
    told = faceaug_cli(*words, "--json")
    assert told.status == 0, told.err
    (given,) = calls
    assert (given["steps"], given["aligned"], given["resume"]) == (tuning.STEPS, True, False)
    assert (given["settings"].draws, given["settings"].seed) == (500, 3)
    assert (len(given["dataset"]), given["begin"].generator_name) == (3, small_bundle().generator_name)
    assert given["command"].startswith("faceaug discover --tune-on")
    assert told.json["tuning"] == FIGURES
    assert "Tuned on 2 faces in 40 steps (all steps were done): error on photographs that were held out 0.2000 -> " in (
        told.err
    )
    faceaug_cli(*words, "--steps", 7, "--resume", "--quiet")
    assert (calls[1]["steps"], calls[1]["resume"]) == (7, True)


@pytest.mark.usefixtures("calls")
def test_what_cannot_be_is_one_sentence(faceaug_cli, folder, start, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "tuned.safetensors"
    told = faceaug_cli("discover", "--tune-on", empty, "--from", start, "-o", out)
    assert (told.status, "no images are in" in told.err) == (1, True)
    monkeypatch.setattr("faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "none.safetensors")
    told = faceaug_cli("discover", "--tune-on", folder, "-o", out)
    assert (told.status, "name their file as --from FILE" in told.err) == (1, True)
    for words, why in (
        (("--from", start), "--from goes with --tune-on"),
        (("--aligned",), "--aligned goes with --tune-on"),
        (("--tune-on", folder, "--side", "16"), "--side is for a network that is trained anew"),
    ):
        told = faceaug_cli("discover", "-o", out, *words)
        assert (told.status, why in told.err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directions.safetensors", "empty", "faces"]
