"""A block of attempts depends on seeds alone, accounts for every attempt, and gives what it promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from quick_runs import LOOSE, QUICK, changed

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Classifier
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.gates import BUILT_IN
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.editing.closed_loop import distance
from faceaug.synthesis.editing.objectives import attribute_goals, confidences
from faceaug.synthesis.engines.base import BlockResult, sample_seed
from faceaug.synthesis.engines.latent.harmonized_samples import LOST
from faceaug.synthesis.engines.latent.latent_editor import LatentEditor
from faceaug.utils.tensors import to_uint8

pytestmark = pytest.mark.slow
CONFIG = changed(QUICK, seed=5, truncation_psi=1.0)
YES = PlannedCell(1, {"bar": "yes", "spot": "0 to 3"}, real=5, wanted=9, planned=9)
NO = PlannedCell(0, {"bar": "no", "spot": "-3 to 0"}, real=5, wanted=9, planned=9)


def editor(models, gates=BUILT_IN, cells=(NO, YES), **changes) -> LatentEditor:
    return LatentEditor(ToyFaces(), models, gates, changed(CONFIG, **changes), "png", cells)


@pytest.fixture(scope="module")
def block(toy_models) -> BlockResult:
    return editor(toy_models).propose(YES, 2)


def same(one: BlockResult, two: BlockResult) -> bool:
    """Return whether two results are the same, bit for bit."""

    def flat(result):
        rows = [
            [value.tobytes() if isinstance(value, np.ndarray) else value for value in vars(candidate).values()]
            for candidate in result.candidates
        ]
        return rows, result.refused, result.nearest

    return flat(one) == flat(two)


def test_every_attempt_is_a_candidate_or_refused(block):
    passed = [candidate.attempt for candidate in block.candidates]
    assert passed == sorted(passed)
    assert sorted([*passed, *block.refused]) == list(range(16, 24))
    assert set(block.refused.values()) <= {*BUILT_IN, LOST}
    assert len(passed) > 2


def test_a_block_is_the_same_again_whatever_the_batch(toy_models, block):
    torch.manual_seed(123)
    assert same(editor(toy_models).propose(YES, 2), block)
    assert same(editor(toy_models, batch_size=5).propose(YES, 2), block)


def test_other_seeds_cells_and_blocks_are_others(toy_models, block):
    latents = {c.w.tobytes() for c in block.candidates}
    others = [
        editor(toy_models, seed=6).propose(YES, 2),
        editor(toy_models).propose(replace(YES, index=0), 2),
        editor(toy_models).propose(YES, 3),
    ]
    for other in others:
        assert other.candidates
        assert not latents & {c.w.tobytes() for c in other.candidates}


def test_no_surveyed_face_begins_at_two_cells(toy_models):
    """Else one generated person would count in both, and come into both parts where samples are split."""
    beside = PlannedCell(2, {"bar": "yes", "spot": "-3 to 0"}, real=5, wanted=9, planned=9)
    cells = [NO, YES, beside]
    own = editor(toy_models, cells=cells)
    ready = [own._context(cell).ready.tolist() for cell in cells]
    assert all(ready)
    assert len({*ready[0], *ready[1], *ready[2]}) == sum(map(len, ready))


def test_candidates_are_what_they_say(toy_models, block):
    generator, directions = ToyFaces(), toy_models.directions
    inverse = directions.precision
    names = list(directions.names)
    for candidate in block.candidates:
        image = generator.synthesize(torch.from_numpy(candidate.w[None]))
        view = toy_models.reader.view(image)
        np.testing.assert_array_equal(candidate.image, to_uint8(view)[0])
        assert candidate.hash == hashes(view)[0]
        assert list(candidate.semantic) == names
        np.testing.assert_allclose(list(candidate.semantic.values()), toy_models.reader(image)[0], atol=1e-4)
        far = distance(candidate.w[None].astype(float), directions.w_mean, inverse)[0]
        assert candidate.plausibility == pytest.approx(far / toy_models.reach, rel=1e-6)
        assert candidate.plausibility <= 1
        assert candidate.attr["bar"] == "yes"
        assert 0 <= candidate.attr["spot"] < 3
        assert set(candidate.confidence) == {"bar", "spot"}
        assert min(candidate.confidence.values()) >= LOOSE.held_out
        assert (candidate.harmonize, candidate.quality) == ({}, None)
        number = sample_seed(5, 1, candidate.attempt).generate_state(1, np.uint64)[0]
        assert candidate.seed == int(number)


def test_edits_begin_near_the_cell_and_arrive(toy_models, block):
    bar, spot = ToyFaces.BAR, ToyFaces.SPOT
    began, ended = (np.stack([getattr(c, name) for c in block.candidates]) for name in ("origin_w", "w"))
    assert began[:, bar].mean() > 0.3  # a fresh latent would be at 0
    assert (ended[:, bar] > 0.7).all()
    assert (ended[:, spot] > -0.3).all()


def test_gates_see_what_was_measured(toy_models):
    """Every number of a batch, computed here again from the images."""
    batches = []

    def spy(batch):
        batches.append(batch)
        return np.ones(len(batch.drift), bool)

    thresholds = changed(LOOSE, exposure=0.1)
    editor(toy_models, {"spy": spy}, thresholds=thresholds).propose(YES, 2)
    (batch,) = batches
    views = toy_models.reader.view(batch.images)
    read, features = toy_models.held_out.read(views)
    goals = attribute_goals(toy_models.axes, YES.levels, toy_models.tasks)
    before, after = toy_models.reader(batch.origin_images), toy_models.reader(batch.images)
    names = toy_models.directions.names
    np.testing.assert_allclose(batch.held_out, confidences(goals, toy_models.held_out, read), atol=1e-6)
    np.testing.assert_allclose(batch.confidence, confidences(goals, toy_models.reader.classifier, after), atol=1e-5)
    kept = [names.index(name) for name in scene.NAMES]
    drift = np.abs(after - before)[:, kept] / toy_models.directions.spread[kept]
    np.testing.assert_allclose(batch.drift, drift.max(1), atol=1e-4)
    spill = scene.measure_spill(batch.origin_images, batch.images, toy_models.reader.ellipse).numpy()
    np.testing.assert_allclose(batch.spill, spill, atol=1e-5)
    assert spill.max() > 0
    misexposure = toy_models.real.misexposure(views, thresholds.exposure)
    np.testing.assert_allclose(batch.misexposure, misexposure, atol=1e-5)
    assert misexposure.max() > 0
    # Realism and face quality are relative to the cell's own thresholds: the same scale or shift for all.
    remote = toy_models.real.remoteness(features) / batch.realism
    np.testing.assert_allclose(remote, remote[0], rtol=1e-4)
    shift = after[:, names.index(scene.FACE_QUALITY)] - batch.face_quality
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)
    assert batch.thresholds == thresholds


def test_pose_and_light_may_change_the_scene(toy_models):
    """An edit of pose or light changes the rest by nature: drift and spill do not count against it."""
    batches = []

    def spy(batch):
        batches.append(batch)
        return np.ones(len(batch.drift), bool)

    names = ("yaw" if name == "spot" else name for name in toy_models.directions.names)
    posed = replace(
        toy_models,
        axes=tuple(replace(axis, name=axis.name.replace("spot", "yaw")) for axis in toy_models.axes),
        tasks=tuple(replace(task, name=task.name.replace("spot", "yaw")) for task in toy_models.tasks),
        survey=replace(toy_models.survey, directions=replace(toy_models.directions, names=tuple(names))),
        held_out=renamed(toy_models.held_out),
        reader=replace(toy_models.reader, classifier=renamed(toy_models.reader.classifier)),
    )
    cell = replace(YES, levels={"bar": "yes", "yaw": "0 to 3"})
    editor(posed, {"spy": spy}, [cell]).propose(cell, 2)
    assert batches[0].drift.max() == batches[0].spill.max() == 0


def renamed(classifier: Classifier) -> Classifier:
    tasks = [replace(task, name=task.name.replace("spot", "yaw")) for task in classifier.tasks]
    return Classifier(classifier.net, classifier.trunk, tasks, classifier.calibrations)


def test_the_highest_probabilities_are_returned(toy_models, block):
    assert block.nearest["bar"] >= max(c.confidence["bar"] for c in block.candidates) - 0.05
    assert all(0 <= value <= 1 for value in block.nearest.values())


def test_truncation_pulls_to_the_mean(toy_models):
    full, narrow = (editor(toy_models, {}, truncation_psi=t, corrections=0).propose(NO, 0) for t in (1.0, 0.4))
    spread = [np.stack([c.origin_w for c in result.candidates])[:, 7:].std() for result in (full, narrow)]
    assert spread[1] < 0.6 * spread[0]


def test_more_candidates_need_less_of_an_edit(toy_models):
    moved = []
    for n in (1, 16):
        some = editor(toy_models, {}, origins=n)
        candidates = [c for block in range(4) for c in some.propose(YES, block).candidates]
        moved.append(np.mean([np.linalg.norm(c.w - c.origin_w) for c in candidates]))
    assert moved[1] < moved[0]


def test_gates_refuse_by_their_name(toy_models):
    result = editor(toy_models, {"never": lambda batch: np.zeros(len(batch.drift), bool)}).propose(YES, 0)
    assert result.candidates == ()
    assert result.refused == dict.fromkeys(range(8), "never")


def test_a_sample_that_harmonization_spoils_is_refused(toy_models):
    """The held-out classifier reads what would be written: painting over the face makes it disagree."""

    def paint(image, seed):
        return np.full_like(image, seed % 7), {"paint": 1.0}, 80

    spoilt = editor(replace(toy_models, harmonizer=paint)).propose(YES, 2)
    raw = editor(toy_models).propose(YES, 2)
    assert spoilt.candidates == ()
    passed = {c.attempt for c in raw.candidates}
    assert {a for a, reason in spoilt.refused.items() if reason == LOST} >= passed


def test_samples_are_harmonized_by_their_seed(toy_models):
    def stamp(image, seed):
        return image.copy(), {"number": float(seed % 1000)}, 70 + seed % 20

    result = editor(replace(toy_models, harmonizer=stamp)).propose(YES, 2)
    assert result.candidates
    for candidate in result.candidates:
        assert candidate.harmonize == {"number": float(candidate.seed % 1000)}
        assert candidate.quality == 70 + candidate.seed % 20


def test_a_cell_is_searched_once_whoever_comes_first(toy_models, block, monkeypatch):
    """Three workers at once, the block in question not first: one search, and the block is the same as alone."""
    shared, searched = editor(toy_models), []
    search, beyond = shared._search, len(toy_models.survey.w)  # by then no surveyed face is left to begin with

    def counted(context):
        searched.append(context.index)
        return search(context)

    monkeypatch.setattr(shared, "_search", counted)
    with ThreadPoolExecutor(3) as pool:
        jobs = [(YES, beyond), (YES, 2), (YES, beyond + 1), (replace(YES, index=0), beyond)]
        results = list(pool.map(lambda job: shared.propose(*job), jobs))
    assert sorted(searched) == [0, 1]
    assert same(results[1], block)
