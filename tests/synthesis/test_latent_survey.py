"""The survey of a generator: directions fitted on draws, what draws are like, and work that stays in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, as_bytes, block_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.synthesis import latent_survey as surveys
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.latent_survey import BLOCK, DRAWS, LatentSurvey, RealFaces, survey
from faceaug.utils.threads import in_order

# --- in order ---


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(1, 6), st.integers(1, 4))
def test_results_come_in_order_and_never_too_many_are_under_way(count, ahead, workers):
    taken, lock = [], threading.Lock()
    most = 0

    def items():
        for i in range(count):
            taken.append(i)
            yield i

    def work(i):
        time.sleep(0.0005 * (i % 3))
        with lock:
            return i * i

    found = []
    with ThreadPoolExecutor(workers) as pool:
        for result in in_order(pool, work, items(), ahead):
            most = max(most, len(taken) - len(found))
            found.append(result)
    assert found == [i * i for i in range(count)]
    assert most <= ahead + 1  # those under way, and the one just handed over


def test_an_exception_comes_in_its_place():
    def work(i):
        if i == 3:
            raise ValueError("of the third")
        return i

    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="of the third"):  # noqa: PT012
        for result in in_order(pool, work, iter(range(9)), 4):
            found.append(result)
    assert found == [0, 1, 2]


def test_what_the_taker_decides_is_seen_by_the_items():
    """Work is drawn lazily: what is known after a result decides what comes next, `ahead` items later at most."""
    full, begun = [], []

    def items():
        for i in range(100):
            if full:
                return
            begun.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        for result in in_order(pool, lambda i: i, items(), 3):
            if result == 5:
                full.append(True)
    assert len(begun) <= 5 + 1 + 3


# --- draws ---


def test_draws_are_those_of_their_seeds():
    generator = BlockGenerator(5)
    seeds = latent_seeds(3, 10, 6)
    w = sample_latents(generator, seeds)
    np.testing.assert_array_equal(sample_latents(generator, latent_seeds(3, 12, 2)), w[2:4])  # whatever the company
    assert len(np.unique(sample_latents(generator, [*seeds, *latent_seeds(4, 10, 6)]), axis=0)) == 12
    np.testing.assert_allclose(sample_latents(generator, seeds, 0.25), generator.w_mean + 0.25 * (w - generator.w_mean))
    np.testing.assert_allclose(sample_latents(generator, seeds, 0.0), np.tile(generator.w_mean, (6, 1)))


# --- the survey ---


class Reading:
    """A reader of three semantics off blocks; `spoil` makes some of them NaN."""

    semantics, kinds, units = ("s0", "s1", "s2"), ("attribute", "view", "scene"), ("a", "b", "c")

    def __init__(self, generator, spoil=False):
        self.inner, self.spoil = block_reader(generator, 3), spoil

    def view(self, images):
        return images * 0.5

    def __call__(self, images):
        values = self.inner(images)
        if self.spoil:
            values[values[:, 0] > 1] = np.nan
        return values


class Judge:
    """Features are the mean of each channel and the picture's spread; the second reading is the mean of the first."""

    def read(self, images):
        features = torch.cat([images.mean((2, 3)), images.std((1, 2, 3))[:, None]], 1).numpy()
        return np.stack([features[:, 0], -features[:, 0]], 1).astype(np.float64), features


def real_faces(features):
    n = len(features)
    return RealFaces(torch.from_numpy(features).float(), np.zeros(4, np.float32), np.ones(4, np.float32),
                     np.arange(n, dtype=np.uint64), *np.zeros((2, n, 2)), np.zeros(n, np.int64))  # fmt: skip


def surveyed(generator, workers=2, batch_size=64, draws=1000, spoil=False, progress=lambda *_: None):
    judge = Judge()
    real = real_faces(judge.read(generator.synthesize(torch.from_numpy(generator.draw(30, 5))) * 0.5)[1])
    return survey(generator, Reading(generator, spoil), judge, real, seed=1, draws=draws, workers=workers,
                  batch_size=batch_size, progress=progress)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return surveyed(BlockGenerator(6))


def test_directions_are_those_of_the_generator(found):
    generator = BlockGenerator(6)
    truth = block_reader(generator, 3)
    directions = found.directions
    np.testing.assert_allclose(directions.B, truth.B, atol=1e-6)
    np.testing.assert_allclose(directions.offset, truth.offset, atol=1e-6)  # at the generator's mean, not the draws'
    np.testing.assert_allclose(directions.r2, 1, atol=1e-6)
    assert (directions.names, directions.kinds, directions.units) == (Reading.semantics, Reading.kinds, Reading.units)
    assert directions.generator == generator.sha256
    np.testing.assert_array_equal(directions.covariance, generator.w_covariance)


def test_r2_is_measured_on_draws_that_were_held_out():
    """A reading that has nothing to do with w explains nothing there, though it fits the draws it was fitted on."""
    generator = BlockGenerator(16)

    class Noise(Reading):
        def __call__(self, images):
            grain = (images.double().sum((1, 2, 3)).numpy() * 1e6) % 1
            return np.stack([grain, grain**2, self.inner(images)[:, 0]], 1)

    judge = Judge()
    real = real_faces(np.zeros((9, 4), np.float32))
    r2 = survey(generator, Noise(generator), judge, real, seed=0, draws=256, workers=1, batch_size=64,
                progress=lambda *_: None).directions.r2  # fmt: skip
    assert (r2[:2] < 0.05).all()
    assert r2[2] > 0.999


def test_draws_are_rounded_up_to_blocks_and_kept(found):
    assert len(found.w) == -(-1000 // BLOCK) * BLOCK
    generator = BlockGenerator(6)
    np.testing.assert_array_equal(found.w[70], sample_latents(generator, latent_seeds(1, 70, 1))[0].astype(np.float32))
    read = block_reader(generator, 3)(generator.synthesize(torch.from_numpy(found.w[:5])))
    np.testing.assert_allclose(found.read[:5], read, atol=1e-5)
    centred = np.linalg.solve(np.linalg.cholesky(generator.w_covariance), (found.w - generator.w_mean).T)
    np.testing.assert_allclose(found.distance, np.linalg.norm(centred, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(found.column("s2"), found.read[:, 2].astype(float))


def test_workers_and_batches_do_not_matter(found):
    other = surveyed(BlockGenerator(6), workers=1, batch_size=7)
    assert other.directions.sha256() == found.directions.sha256()
    for name in ("w", "read", "distance", "remoteness"):
        np.testing.assert_array_equal(getattr(other, name), getattr(found, name))


def test_progress_counts_blocks():
    told = []
    surveyed(BlockGenerator(3), draws=130, progress=lambda *call: told.append(call))
    assert told == [("directions", k, 3) for k in (1, 2, 3)]


def test_pictures_that_cannot_be_read_are_an_error():
    with pytest.raises(GeneratorError, match=r"blocks-6-0.*NaN"):
        surveyed(BlockGenerator(6), draws=256, spoil=True)


def test_the_range_of_draws(found):
    low, high = found.range_of("s1")
    inside = (found.read[:, 1] >= low) & (found.read[:, 1] <= high)
    assert inside.mean() == pytest.approx(0.99, abs=0.003)
    assert abs((found.read[:, 1] < low).mean() - (found.read[:, 1] > high).mean()) < 0.003


def test_a_saved_survey_is_read_back(found, tmp_path):
    found.save(tmp_path)
    read = LatentSurvey.load(tmp_path)
    assert read.directions.sha256() == found.directions.sha256()
    for name in ("w", "read", "distance", "remoteness"):
        np.testing.assert_array_equal(getattr(read, name), getattr(found, name))


def test_a_damaged_survey_is_refused(found, tmp_path):
    found.save(tmp_path)
    path = tmp_path / DRAWS
    whole, arrays = path.read_bytes(), load_file(path)
    for content in (whole[:300], whole[:-3], b""):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="start again in another folder"):
            LatentSurvey.load(tmp_path)
    for name, changed in (("read", arrays["read"][:-1]), ("w", arrays["w"][:, :-1]), ("distance", arrays["w"])):
        save_file({**arrays, name: np.ascontiguousarray(changed)}, path)
        with pytest.raises(IntegrityError, match="damaged"):
            LatentSurvey.load(tmp_path)
    save_file({name: value for name, value in arrays.items() if name != "remoteness"}, path)
    with pytest.raises(IntegrityError, match="remoteness"):
        LatentSurvey.load(tmp_path)


# --- real faces ---


def test_remoteness_is_the_distance_to_the_fifth_nearest():
    rng = np.random.default_rng(0)
    raw = rng.normal(3, 2, (40, 4)).astype(np.float32)
    mean, scale = raw.mean(0), raw.std(0)
    faces = replace(real_faces((raw - mean) / scale), mean=mean, scale=scale)
    asked = rng.normal(3, 4, (7, 4)).astype(np.float32)
    expected = np.sort(np.linalg.norm((asked[:, None] - raw[None]) / scale, axis=2), 1)[:, 4]
    np.testing.assert_allclose(faces.remoteness(asked), expected, rtol=1e-4)
    few = replace(faces, features=faces.features[:2])
    expected = np.sort(np.linalg.norm((asked[:, None] - raw[None, :2]) / scale, axis=2), 1)[:, 1]
    np.testing.assert_allclose(few.remoteness(asked), expected, rtol=1e-4)


def lit(luminance, lost):
    """Real faces of which only the exposure matters."""
    return replace(real_faces(np.zeros((len(luminance), 4))), exposure=np.stack([luminance, lost], 1))


def grey(*levels):
    return torch.tensor(levels)[:, None, None, None].expand(len(levels), 3, 16, 16).clone()


def test_exposure_is_judged_by_real_faces():
    faces = lit(np.linspace(-0.5, 0.3, 101), np.linspace(0, 0.2, 101))
    assert faces.bright(0.0) == pytest.approx((-0.5, 0.3))
    assert faces.bright(0.1) == pytest.approx((-0.42, 0.22))
    off = faces.misexposure(grey(-0.1, -0.42, 0.22, -0.5, 0.3), 0.1)
    np.testing.assert_allclose(off, [0, 1, 1, 1.25, 1.25], atol=1e-4)


def test_burnt_out_faces_are_judged_by_real_ones():
    faces = lit(np.linspace(-1, 1, 101), np.linspace(0, 0.2, 101))
    views = grey(0.0, 0.0, 0.0)
    views[1, :, 4:6] = 1.0  # two of the eight rows in the middle
    views[2, :, 4] = 1.0
    off = faces.misexposure(views, 0.25)
    assert off[0] < 0.1
    np.testing.assert_allclose(off[1:], [0.25 / 0.15, 0.125 / 0.15], rtol=1e-3)


def test_blue_and_green_faces_are_judged_by_real_ones():
    faces = replace(real_faces(np.zeros((101, 4))), tints=np.stack([np.linspace(-1, 0, 101)] * 2, 1))
    views = grey(0.0, 0.0, 0.0, 0.0)
    views[1, 2, 4:6] = 0.5  # two of the eight rows in the middle are blue
    views[2, 1, 4:6] = 0.25
    views[3, 0] = 0.5  # all is red
    np.testing.assert_allclose(faces.discolouring(views, 0.1), [1.25, 2.5, 1.875, 0.0], atol=1e-6)
    alike = replace(faces, tints=np.zeros((101, 2)))
    np.testing.assert_allclose(alike.discolouring(views[:2], 0.1), [0, 10], atol=1e-6)


def test_faces_that_are_all_lit_alike_leave_some_room():
    low, high = lit(np.full(9, 0.2), np.zeros(9)).bright(0.02)
    assert low < high


def test_a_cell_is_lit_as_its_own_faces_where_there_are_enough():
    """Dark skin is dark: the bounds of a cell are its own, unless too few faces say so."""
    light, cells = np.linspace(-0.5, 0.5, 202), np.r_[np.zeros(100, int), np.ones(99, int), np.full(3, 2)]
    faces = replace(lit(light, np.zeros(202)), cells=cells)
    assert faces.bright(0.0, 0) == pytest.approx((light[0], light[99]))
    assert faces.bright(0.0, 1) == pytest.approx((light[100], light[198]))
    assert faces.bright(0.0, 2) == faces.bright(0.0) == pytest.approx((-0.5, 0.5))


def test_real_faces_are_read_by_the_judge(monkeypatch):
    generator = BlockGenerator(6, resolution=64)
    arrays = as_bytes(generator.synthesize(torch.from_numpy(generator.draw(50))))
    faces = RealFaces.seen_by(Judge(), arrays, np.arange(50) % 3, 0)
    x = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    raw = Judge().read(x)[1]
    np.testing.assert_allclose(faces.features.numpy() * faces.scale + faces.mean, raw, atol=1e-4)
    np.testing.assert_allclose(faces.features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(faces.features.std(0, correction=0), 1, atol=1e-3)
    np.testing.assert_array_equal(faces.hashes, hashes(x))
    monkeypatch.setattr(surveys, "MOST_REAL", 20)
    part = RealFaces.seen_by(Judge(), arrays, np.arange(50) % 3, 0)
    assert (len(part.features), len(part.exposure), len(part.hashes)) == (20, 20, 50)  # near-copies know all
    rows = [int(np.abs(raw - feature).sum(1).argmin()) for feature in part.features.numpy() * part.scale + part.mean]
    np.testing.assert_array_equal(part.cells, np.array(rows) % 3)
