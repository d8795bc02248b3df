"""A block of attempts depends on seeds alone, accounts for every attempt, and gives what it promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Classifier
from faceaug.synthesis.acceptance.gates import BUILT_IN, AcceptanceThresholds
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.editing.closed_loop import distance
from faceaug.synthesis.editing.objectives import attribute_goals, confidences
from faceaug.synthesis.engines import latent_edit as blocks
from faceaug.synthesis.engines.latent_edit import LOST, BlockResult, LatentEditor, attempts_for, sample_seed, tally
from faceaug.synthesis.setup import FittedModels
from faceaug.utils.tensors import to_uint8

LIMITS = AcceptanceThresholds(drift=1.0, spill=5.0, realistic=1.0, sound=0.0, exposure=0.0)
YES = {"bar": "yes", "spot": "0 to 3"}


@pytest.fixture(scope="module")
def guide(toy_guide) -> FittedModels:
    return toy_guide


def editor(guide, gates=BUILT_IN, limits=LIMITS, **changes) -> LatentEditor:
    settings = dict(seed=5, candidates=4, truncation=1.0, corrections=2, batch_size=64)
    return LatentEditor(ToyFaces(), guide, limits, gates, **{**settings, **changes})


@pytest.fixture(scope="module")
def made(guide) -> BlockResult:
    return editor(guide).make(1, YES, 2)


def same(one: BlockResult, two: BlockResult) -> bool:
    """Whether two results are the same, bit for bit."""

    def flat(result):
        rows = [[value.tobytes() if isinstance(value, np.ndarray) else value for value in vars(c).values()]
                for c in result.candidates]  # fmt: skip
        return rows, result.refused, result.nearest

    return flat(one) == flat(two)


def test_every_attempt_is_a_candidate_or_refused(made):
    passed = [candidate.attempt for candidate in made.candidates]
    assert passed == sorted(passed)
    assert sorted([*passed, *made.refused]) == list(range(16, 24))
    assert set(made.refused.values()) <= {*BUILT_IN, LOST}
    assert len(passed) > 2


def test_a_block_is_the_same_again_whatever_the_batch(guide, made):
    torch.manual_seed(123)
    assert same(editor(guide).make(1, YES, 2), made)
    assert same(editor(guide, batch_size=5).make(1, YES, 2), made)


def test_other_seeds_cells_and_blocks_are_others(guide, made):
    seen = {c.w.tobytes() for c in made.candidates}
    others = [editor(guide, seed=6).make(1, YES, 2), editor(guide).make(0, YES, 2), editor(guide).make(1, YES, 3)]
    for other in others:
        assert other.candidates
        assert not seen & {c.w.tobytes() for c in other.candidates}


def test_candidates_are_what_they_say(guide, made):
    generator, directions = ToyFaces(), guide.directions
    inverse = directions.precision
    names = list(directions.names)
    for candidate in made.candidates:
        picture = generator.synthesize(torch.from_numpy(candidate.w[None]))
        view = guide.reader.view(picture)
        np.testing.assert_array_equal(candidate.image, to_uint8(view)[0])
        assert candidate.hash == hashes(view)[0]
        assert list(candidate.semantic) == names
        np.testing.assert_allclose(list(candidate.semantic.values()), guide.reader(picture)[0], atol=1e-4)
        far = distance(candidate.w[None].astype(float), directions.w_mean, inverse)[0]
        assert candidate.plausibility == pytest.approx(far / guide.reach, rel=1e-6)
        assert candidate.plausibility <= 1
        assert candidate.attr["bar"] == "yes"
        assert 0 <= candidate.attr["spot"] < 3
        assert set(candidate.confidence) == {"bar", "spot"}
        assert min(candidate.confidence.values()) >= LIMITS.judge
        assert (candidate.finish, candidate.quality) == ({}, None)
        number = sample_seed(5, 1, candidate.attempt).generate_state(1, np.uint64)[0]
        assert candidate.seed == int(number)


def test_edits_begin_near_the_cell_and_arrive(guide, made):
    bar, spot = ToyFaces.BAR, ToyFaces.SPOT
    began, ended = (np.stack([getattr(c, name) for c in made.candidates]) for name in ("origin_w", "w"))
    assert began[:, bar].mean() > 0.3  # a fresh draw would be at 0
    assert (ended[:, bar] > 0.7).all()
    assert (ended[:, spot] > -0.3).all()


def test_gates_see_what_was_measured(guide):
    """Every number of a batch, computed here again from the pictures."""
    seen = []

    def spy(batch):
        seen.append(batch)
        return np.ones(len(batch.drift), bool)

    limits = replace(LIMITS, exposure=0.1)
    editor(guide, {"spy": spy}, limits).make(1, YES, 2)
    (batch,) = seen
    views = guide.reader.view(batch.images)
    judged, features = guide.judge.read(views)
    parts = attribute_goals(guide.axes, YES, guide.tasks)
    before, after = guide.reader(batch.origin_images), guide.reader(batch.images)
    names = guide.directions.names
    np.testing.assert_allclose(batch.judged, confidences(parts, guide.judge, judged), atol=1e-6)
    np.testing.assert_allclose(batch.confidence, confidences(parts, guide.reader.probe, after), atol=1e-5)
    kept = [names.index(name) for name in scene.NAMES]
    drift = np.abs(after - before)[:, kept] / guide.directions.spread[kept]
    np.testing.assert_allclose(batch.drift, drift.max(1), atol=1e-4)
    spill = scene.spill(batch.origin_images, batch.images, guide.reader.ellipse).numpy()
    np.testing.assert_allclose(batch.spill, spill, atol=1e-5)
    assert spill.max() > 0
    misexposure = guide.real.misexposure(views, limits.exposure)
    np.testing.assert_allclose(batch.misexposure, misexposure, atol=1e-5)
    assert misexposure.max() > 0
    # Realism and soundness are held against the cell's own standard: the same shift or scale for all.
    remote = guide.real.remoteness(features) / batch.realism
    np.testing.assert_allclose(remote, remote[0], rtol=1e-4)
    sound = after[:, names.index(scene.SOUNDNESS)] - batch.soundness
    np.testing.assert_allclose(sound, sound[0], atol=1e-4)
    assert batch.limits == limits


def test_pose_and_light_may_change_the_scene(guide):
    """An edit of pose or light changes the rest by nature: drift and spill are not held against it."""
    seen = []

    def spy(batch):
        seen.append(batch)
        return np.ones(len(batch.drift), bool)

    names = ("yaw" if name == "spot" else name for name in guide.directions.names)
    posed = replace(
        guide,
        axes=tuple(replace(axis, name=axis.name.replace("spot", "yaw")) for axis in guide.axes),
        tasks=tuple(replace(task, name=task.name.replace("spot", "yaw")) for task in guide.tasks),
        survey=replace(guide.survey, directions=replace(guide.directions, names=tuple(names))),
        judge=renamed(guide.judge), reader=replace(guide.reader, probe=renamed(guide.reader.probe)),
    )  # fmt: skip
    editor(posed, {"spy": spy}).make(1, {"bar": "yes", "yaw": "0 to 3"}, 2)
    assert seen[0].drift.max() == seen[0].spill.max() == 0


def renamed(probe: Classifier) -> Classifier:
    tasks = [replace(task, name=task.name.replace("spot", "yaw")) for task in probe.tasks]
    return Classifier(probe.net, probe.trunk, tasks, probe.calibrations)


def test_what_came_nearest_is_told(guide, made):
    assert made.nearest["bar"] >= max(c.confidence["bar"] for c in made.candidates) - 0.05
    assert all(0 <= value <= 1 for value in made.nearest.values())


def test_truncation_pulls_to_the_mean(guide):
    open_, narrow = (editor(guide, {}, truncation=t, corrections=0).make(0, {"bar": "no", "spot": "-3 to 0"}, 0)
                     for t in (1.0, 0.4))  # fmt: skip
    spread = [np.stack([c.origin_w for c in result.candidates])[:, 7:].std() for result in (open_, narrow)]
    assert spread[1] < 0.6 * spread[0]


def test_more_candidates_need_less_of_an_edit(guide):
    one, many = (editor(guide, {}, candidates=n).make(0, YES, 0) for n in (1, 16))
    moved = [np.mean([np.linalg.norm(c.w - c.origin_w) for c in result.candidates]) for result in (one, many)]
    assert moved[1] < moved[0]


def test_gates_refuse_by_their_name(guide):
    result = editor(guide, {"never": lambda batch: np.zeros(len(batch.drift), bool)}).make(0, YES, 0)
    assert result.candidates == ()
    assert result.refused == dict.fromkeys(range(8), "never")


def test_a_sample_that_finishing_spoils_is_lost(guide):
    """The judge looks at what would be written: a finisher that paints over the face makes it say no."""

    def paint(picture, seed):
        return np.full_like(picture, seed % 7), {"paint": 1.0}, 80

    spoilt = editor(replace(guide, harmonizer=paint)).make(1, YES, 2)
    fine = editor(guide).make(1, YES, 2)
    assert spoilt.candidates == ()
    passed = {c.attempt for c in fine.candidates}
    assert {a for a, reason in spoilt.refused.items() if reason == LOST} >= passed


def test_finished_samples_are_those_of_their_seed(guide):
    def stamp(picture, seed):
        return picture.copy(), {"number": float(seed % 1000)}, 70 + seed % 20

    result = editor(replace(guide, harmonizer=stamp)).make(1, YES, 2)
    assert result.candidates
    for candidate in result.candidates:
        assert candidate.finish == {"number": float(candidate.seed % 1000)}
        assert candidate.quality == 70 + candidate.seed % 20


def test_a_cell_is_searched_once_whoever_comes_first(guide, made, monkeypatch):
    """Three workers at once, the wanted block not first: one search, and the block is the same as alone."""
    shop, searched = editor(guide), []
    search = shop._searched

    def counted(cell, levels):
        searched.append(cell)
        return search(cell, levels)

    monkeypatch.setattr(shop, "_searched", counted)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda job: shop.make(*job), [(1, YES, 4), (1, YES, 2), (0, YES, 0)]))
    assert sorted(searched) == [0, 1]
    assert same(results[1], made)


# --- small parts ---


def test_seeds_of_attempts_differ():
    states = {tuple(sample_seed(s, c, a).generate_state(4)) for s in (0, 1) for c in range(5) for a in range(20)}
    assert len(states) == 200
    assert tuple(sample_seed(0, 3, 7).generate_state(4)) in states


def test_tally_counts_by_reason_up_to_an_attempt():
    result = BlockResult((), {3: "a", 4: "b", 7: "a", 9: "a"}, {})
    assert tally(result) == {"a": 3, "b": 1}
    assert tally(result, 7) == {"a": 1, "b": 1}
    assert tally(result, 3) == {}


@pytest.mark.parametrize(
    ("planned", "tries", "expected"), [(1, 1, 2), (100, 12, 19), (64, 2, 2), (64, 3, 3), (65, 2, 3)]
)
def test_blocks_follow_the_tries(monkeypatch, planned, tries, expected):
    monkeypatch.setattr(blocks, "BLOCK", 64)
    assert attempts_for(planned, tries) == expected
