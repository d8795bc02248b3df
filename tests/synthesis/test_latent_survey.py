"""The survey of a generator: directions fitted on generated faces, what these are like, and what real ones are like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, block_reader
from safetensors.numpy import load_file, save_file

from faceaug.errors import GeneratorError, IntegrityError
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.synthesis import latent_survey as surveys
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.latent_survey import SURVEY_BLOCK, SURVEY_FILE, LatentSurvey, RealFaces, survey
from faceaug.utils.tensors import to_uint8


def test_samples_are_those_of_their_seeds():
    generator = BlockGenerator(5)
    seeds = latent_seeds(3, 10, 6)
    w = sample_latents(generator, seeds)
    np.testing.assert_array_equal(sample_latents(generator, latent_seeds(3, 12, 2)), w[2:4])  # whatever the company
    assert len(np.unique(sample_latents(generator, [*seeds, *latent_seeds(4, 10, 6)]), axis=0)) == 12
    np.testing.assert_allclose(sample_latents(generator, seeds, 0.25), generator.w_mean + 0.25 * (w - generator.w_mean))
    np.testing.assert_allclose(sample_latents(generator, seeds, 0.0), np.tile(generator.w_mean, (6, 1)))


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


class MeanClassifier:
    """A held-out classifier whose features are the mean of each channel and the spread of the image."""

    def read(self, images):
        features = torch.cat([images.mean((2, 3)), images.std((1, 2, 3))[:, None]], 1).numpy()
        return np.stack([features[:, 0], -features[:, 0]], 1).astype(np.float64), features


def real_faces(features):
    n = len(features)
    return RealFaces(
        features=torch.from_numpy(features).float(),
        mean=np.zeros(4, np.float32),
        scale=np.ones(4, np.float32),
        hashes=np.arange(n, dtype=np.uint64),
        exposure=np.zeros((n, 2)),
        tints=np.zeros((n, 2)),
        cells=np.zeros(n, np.int64),
    )


def surveyed(generator, spoil=False, progress=lambda *_: None, folder=None, **settings):
    held_out = MeanClassifier()
    real = real_faces(held_out.read(generator.synthesize(torch.from_numpy(generator.draw(30, 5))) * 0.5)[1])
    config = RunConfig(**{"seed": 1, "survey_samples": 1000, "workers": 2, **settings})
    return survey(generator, Reading(generator, spoil), held_out, real, config, progress, folder)


@pytest.fixture(scope="module")
def base():
    return surveyed(BlockGenerator(6))


def test_directions_are_those_of_the_generator(base):
    generator = BlockGenerator(6)
    truth = block_reader(generator, 3)
    directions = base.directions
    np.testing.assert_allclose(directions.B, truth.B, atol=1e-6)
    np.testing.assert_allclose(directions.offset, truth.offset, atol=1e-6)  # at its mean
    np.testing.assert_allclose(directions.r2, 1, atol=1e-6)
    assert (directions.names, directions.kinds, directions.units) == (Reading.semantics, Reading.kinds, Reading.units)
    assert directions.generator == generator.sha256
    np.testing.assert_array_equal(directions.covariance, generator.w_covariance)


def test_r2_is_measured_on_samples_that_were_held_out():
    """A reading that has nothing to do with w explains nothing there, though it fits the samples it was fitted on."""
    generator = BlockGenerator(16)

    class Noise(Reading):
        def __call__(self, images):
            grain = (images.double().sum((1, 2, 3)).numpy() * 1e6) % 1
            return np.stack([grain, grain**2, self.inner(images)[:, 0]], 1)

    real, config = real_faces(np.zeros((9, 4), np.float32)), RunConfig(survey_samples=256, workers=1)
    r2 = survey(generator, Noise(generator), MeanClassifier(), real, config, lambda *_: None).directions.r2
    assert (r2[:2] < 0.05).all()
    assert r2[2] > 0.999


def test_samples_are_rounded_up_to_blocks_and_kept(base):
    assert len(base.w) == -(-1000 // SURVEY_BLOCK) * SURVEY_BLOCK
    generator = BlockGenerator(6)
    np.testing.assert_array_equal(base.w[70], sample_latents(generator, latent_seeds(1, 70, 1))[0].astype(np.float32))
    read = block_reader(generator, 3)(generator.synthesize(torch.from_numpy(base.w[:5])))
    np.testing.assert_allclose(base.read[:5], read, atol=1e-5)
    centred = np.linalg.solve(np.linalg.cholesky(generator.w_covariance), (base.w - generator.w_mean).T)
    np.testing.assert_allclose(base.distance, np.linalg.norm(centred, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(base.column("s2"), base.read[:, 2].astype(float))


def test_workers_and_batches_do_not_matter(base):
    other = surveyed(BlockGenerator(6), workers=1, batch_size=7)
    assert other.directions.sha256() == base.directions.sha256()
    for name in ("w", "read", "distance", "remoteness"):
        np.testing.assert_array_equal(getattr(other, name), getattr(base, name))


def test_an_interrupted_survey_goes_on_where_it_was(base, tmp_path, monkeypatch):
    monkeypatch.setattr("faceaug.synthesis.latent_survey.SAVE_EVERY", 0.0)

    def stop(stage, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surveyed(BlockGenerator(6), progress=stop, folder=tmp_path)
    sampled = []
    monkeypatch.setattr(
        "faceaug.synthesis.latent_survey.latent_seeds",
        lambda seed, first, count: sampled.append(first) or latent_seeds(seed, first, count),
    )
    other = surveyed(BlockGenerator(6), folder=tmp_path)
    assert min(sampled) == 4 * SURVEY_BLOCK
    assert other.directions.sha256() == base.directions.sha256()
    for name in ("w", "read", "distance", "remoteness"):
        np.testing.assert_array_equal(getattr(other, name), getattr(base, name))
    other.save(tmp_path)
    LatentSurvey.load(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"directions.safetensors", SURVEY_FILE}


def test_a_damaged_part_of_a_survey_is_read_anew(base, tmp_path):
    (tmp_path / "survey.part.safetensors").write_bytes(b"no tensors")
    assert surveyed(BlockGenerator(6), folder=tmp_path).directions.sha256() == base.directions.sha256()


def test_progress_counts_blocks():
    reports = []
    surveyed(BlockGenerator(3), survey_samples=260, progress=lambda *report: reports.append(report))
    assert reports == [("directions", k, 5) for k in (1, 2, 3, 4, 5)]


def test_images_that_cannot_be_read_are_an_error():
    with pytest.raises(GeneratorError, match=r"blocks-6-0.*NaN"):
        surveyed(BlockGenerator(6), survey_samples=256, spoil=True)


def test_the_range_of_generated_faces(base):
    low, high = base.range_of("s1")
    inside = (base.read[:, 1] >= low) & (base.read[:, 1] <= high)
    assert inside.mean() == pytest.approx(0.99, abs=0.003)
    assert abs((base.read[:, 1] < low).mean() - (base.read[:, 1] > high).mean()) < 0.003


def test_a_saved_survey_is_read_back(base, tmp_path):
    base.save(tmp_path)
    read = LatentSurvey.load(tmp_path)
    assert read.directions.sha256() == base.directions.sha256()
    for name in ("w", "read", "distance", "remoteness"):
        np.testing.assert_array_equal(getattr(read, name), getattr(base, name))


def test_a_damaged_survey_is_refused(base, tmp_path):
    base.save(tmp_path)
    path = tmp_path / SURVEY_FILE
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


def test_remoteness_is_the_distance_to_the_fifth_nearest():
    rng = np.random.default_rng(0)
    raw = rng.normal(3, 2, (40, 4)).astype(np.float32)
    mean, scale = raw.mean(0), raw.std(0)
    faces = replace(real_faces((raw - mean) / scale), mean=mean, scale=scale)
    queries = rng.normal(3, 4, (7, 4)).astype(np.float32)
    expected = np.sort(np.linalg.norm((queries[:, None] - raw[None]) / scale, axis=2), 1)[:, 4]
    np.testing.assert_allclose(faces.remoteness(queries), expected, rtol=1e-4)
    few = replace(faces, features=faces.features[:2])
    expected = np.sort(np.linalg.norm((queries[:, None] - raw[None, :2]) / scale, axis=2), 1)[:, 1]
    np.testing.assert_allclose(few.remoteness(queries), expected, rtol=1e-4)


def lit(luminance, clipped):
    """Return real faces of which only the exposure matters."""
    return replace(real_faces(np.zeros((len(luminance), 4))), exposure=np.stack([luminance, clipped], 1))


def grey(*levels):
    return torch.tensor(levels)[:, None, None, None].expand(len(levels), 3, 16, 16).clone()


def test_exposure_is_compared_with_real_faces():
    faces = lit(np.linspace(-0.5, 0.3, 101), np.linspace(0, 0.2, 101))
    assert faces.bright(0.0) == pytest.approx((-0.5, 0.3))
    assert faces.bright(0.1) == pytest.approx((-0.42, 0.22))
    off = faces.misexposure(grey(-0.1, -0.42, 0.22, -0.5, 0.3), 0.1)
    np.testing.assert_allclose(off, [0, 1, 1, 1.25, 1.25], atol=1e-4)


def test_clipped_highlights_are_compared_with_real_faces():
    faces = lit(np.linspace(-1, 1, 101), np.linspace(0, 0.2, 101))
    views = grey(0.0, 0.0, 0.0)
    views[1, :, 4:6] = 1.0  # two of the eight rows in the middle
    views[2, :, 4] = 1.0
    off = faces.misexposure(views, 0.25)
    assert off[0] < 0.1
    np.testing.assert_allclose(off[1:], [0.25 / 0.15, 0.125 / 0.15], rtol=1e-3)


def test_blue_and_green_faces_are_compared_with_real_ones():
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


def test_real_faces_are_read_by_the_held_out_classifier(monkeypatch):
    generator = BlockGenerator(6, resolution=64)
    arrays = to_uint8(generator.synthesize(torch.from_numpy(generator.draw(50))))
    faces = RealFaces.from_thumbnails(MeanClassifier(), arrays, np.arange(50) % 3, 0)
    x = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    raw = MeanClassifier().read(x)[1]
    np.testing.assert_allclose(faces.features.numpy() * faces.scale + faces.mean, raw, atol=1e-4)
    np.testing.assert_allclose(faces.features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(faces.features.std(0, correction=0), 1, atol=1e-3)
    np.testing.assert_array_equal(faces.hashes, hashes(x))
    monkeypatch.setattr(surveys, "MOST_REAL", 20)
    part = RealFaces.from_thumbnails(MeanClassifier(), arrays, np.arange(50) % 3, 0)
    assert (len(part.features), len(part.exposure), len(part.hashes)) == (20, 20, 50)  # near-copies know all
    rows = [int(np.abs(raw - feature).sum(1).argmin()) for feature in part.features.numpy() * part.scale + part.mean]
    np.testing.assert_array_equal(part.cells, np.array(rows) % 3)
