"""The gate on identity: how far a sample is from the faces that it was made from, and when that is far enough."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from toy_embedder import ToyEmbedder

from faceaug.errors import UsageError
from faceaug.identity import registry
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.morphs import identity_gate
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.photographs import Photograph
from faceaug.utils.images import ImageInfo, decode_with_info, encode

INFO: ImageInfo = decode_with_info(encode(np.zeros((8, 8, 3), np.uint8), "png"), name="black")[1]


def grey(level: int) -> np.ndarray:
    """Return a picture of one shade: the toy embedder sees two of them at a distance of sqrt(12) times theirs."""
    return np.full((8, 8, 3), level, np.uint8)


def photograph(row: int, level: int) -> Photograph:
    return Photograph(row, bytes([row]) * 32, grey(level), INFO)


def between(one: int, two: int) -> float:
    return float(np.sqrt(12) * abs(one - two) / 255)


def test_the_distance_is_that_to_the_nearest_source():
    gate = IdentityGate(ToyEmbedder(), 0.5)
    sources = [photograph(0, 100), photograph(1, 200)]
    for level, nearest in ((120, 100), (190, 200), (250, 200)):
        distance, _ = gate.distance(grey(level), sources)
        assert distance == pytest.approx(between(level, nearest), abs=1e-5)


@pytest.mark.parametrize(("level", "passes"), [(100, False), (120, False), (140, True), (150, True), (199, False)])
def test_a_sample_passes_that_is_as_far_from_all_its_sources_as_is_required(level, passes):
    gate = IdentityGate(ToyEmbedder(), 0.5)  # of at least 37 shades
    assert gate.distance(grey(level), [photograph(0, 100), photograph(1, 200)])[1] is passes


@pytest.mark.parametrize(("level", "passes"), [(104, False), (121, False), (123, True), (130, True)])
def test_between_strangers_who_look_alike_a_share_of_their_distance_is_enough(level, passes):
    gate = IdentityGate(ToyEmbedder(), 0.5)
    distance, is_new = gate.distance(grey(level), [photograph(0, 100), photograph(1, 60)])
    assert distance < 0.5
    assert is_new is passes  # 0.55 of 40 shades are 22


def test_a_sample_of_two_pictures_of_one_person_shows_that_person():
    gate = IdentityGate(ToyEmbedder(), 0.5)
    assert gate.distance(grey(200), [photograph(0, 100), photograph(1, 110)]) == (
        pytest.approx(between(200, 110)),
        False,
    )
    assert IdentityGate(ToyEmbedder(), 0.0).distance(grey(200), [photograph(0, 100), photograph(1, 110)])[1]


def test_the_same_person_may_be_shown_where_it_is_allowed():
    gate = IdentityGate(ToyEmbedder(), 0.0)
    assert gate.distance(grey(100), [photograph(0, 100), photograph(1, 200)]) == (0.0, True)


@pytest.mark.parametrize(("least", "passes"), [(0.5, False), (0.0, True)])
def test_a_sample_without_a_face_cannot_be_judged(least, passes):
    gate = IdentityGate(ToyEmbedder(), least)
    distance, is_new = gate.distance(grey(0), [photograph(0, 100), photograph(1, 200)])
    assert np.isnan(distance)
    assert is_new is passes


@pytest.mark.parametrize("levels", [(0, 200), (200, 0), (0, 0)])
@pytest.mark.parametrize(("least", "passes"), [(0.5, False), (0.0, True)])
def test_a_sample_of_a_photograph_without_a_face_cannot_be_judged(levels, least, passes):
    gate = IdentityGate(ToyEmbedder(), least)
    distance, is_new = gate.distance(grey(150), [photograph(row, level) for row, level in enumerate(levels)])
    assert np.isnan(distance)
    assert is_new is passes


def test_every_photograph_is_embedded_once():
    embedder = ToyEmbedder()
    gate = IdentityGate(embedder, 0.5)
    sources = [photograph(0, 100), photograph(1, 200)]
    for _ in range(5):
        gate.distance(grey(150), sources)
    assert embedder.embedded == 5 + 2


def test_several_threads_get_the_same_distances():
    rng = np.random.default_rng(0)
    jobs = [(int(rng.integers(1, 256)), [int(k) for k in rng.choice(8, 2, replace=False)]) for _ in range(200)]
    faces = [photograph(row, int(level)) for row, level in enumerate(rng.integers(1, 256, 8))]

    def distances(gate: IdentityGate, workers: int) -> list[tuple[float, bool]]:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda job: gate.distance(grey(job[0]), [faces[row] for row in job[1]]), jobs))

    alone, together = (distances(IdentityGate(ToyEmbedder(), 0.5), workers) for workers in (1, 8))
    assert alone == together


# --- which gate a run has ---


@pytest.fixture
def toy(monkeypatch) -> None:
    point = EntryPoint("toy", "toy_embedder:ToyEmbedder", registry.IDENTITY_ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_a_run_has_the_gate_of_its_configuration(toy):
    # The threshold is stated for an embedder that tells people apart at 0.6; the toy does at 0.1.
    thresholds = AcceptanceThresholds(identity=0.7 * 6)
    sources = [photograph(0, 100), photograph(1, 200)]  # 0.68 from a face in the middle of them
    gate = IdentityGate.of(RunConfig(embedder="toy", thresholds=thresholds))
    assert gate.distance(grey(150), sources)[1] is False
    allowed = IdentityGate.of(RunConfig(embedder="toy", thresholds=thresholds, allow_same_identity=True))
    assert allowed.distance(grey(150), sources)[1] is True
    assert gate.identity == {"embedder": "toy", "sha256": ToyEmbedder.sha256}


def test_nothing_is_measured_with_no_embedder_or_where_none_is_installed(monkeypatch):
    assert IdentityGate.of(RunConfig(embedder="none")) is None
    monkeypatch.setattr(identity_gate, "dlib_installed", lambda: False)
    assert IdentityGate.of(RunConfig()) is None


def test_an_embedder_that_there_is_not_is_refused(toy):
    with pytest.raises(UsageError, match="there is no embedder of faces 'tie'"):
        IdentityGate.of(RunConfig(embedder="tie"))
