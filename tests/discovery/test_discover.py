"""Discovery from end to end on scenes, interrupted anywhere; and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import BlockGenerator
from quick_discovery import QUICK

from faceaug.discovery.discover import (
    SCALAR_UNITS,
    DiscoveryConfig,
    discover,
    mirror_averaged_factors,
    scalar_factors,
    stack_maps,
    working_folder,
)
from faceaug.errors import FaceaugError, GeneratorError, OutputError, UsageError
from faceaug.generators.pool import sample_pool
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import load_estimator
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.networks import Reconstructor
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.network_trainer import count_neutralized_images
from faceaug.utils.training import train_loop as loop

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("found") / "directions.safetensors"
    stages = []

    def tell(stage, done, total, said):
        if not stages or stages[-1][0] != stage:
            stages.append([stage, 0, total])
        stages[-1][1] = done

    bundle = discover(Scenes(16), out, QUICK, progress=tell, command="faceaug discover")
    return out, bundle, stages


def test_it_leaves_a_bundle_of_this_generator_with_its_network(found):
    out, bundle, _ = found
    again = read_bundle(out)
    assert again.directions.sha256() == bundle.directions.sha256()
    directions = again.directions
    assert directions.names[: len(SCALAR_UNITS)] == tuple(SCALAR_UNITS)
    assert directions.names[: len(FACTOR_NAMES)] == FACTOR_NAMES  # what photographs are measured by
    assert directions.units[0] == "degrees"
    assert directions.generator == Scenes(16).sha256
    assert directions.kinds[:4] == ("view", "view", "view", "light")
    assert (len(again.atoms), again.maps.shape) == (6, (6, 4, 16, 16))
    assert (again.generator_name, again.made_by) == ("scenes", "faceaug discover")
    assert np.isfinite(directions.r2).all()
    assert load_estimator(out).names == (*FACTOR_NAMES, *again.atoms)  # photographs are measured by the same file
    assert (directions.r2 <= 1).all()


def test_the_lines_are_those_of_what_its_network_reads(found):
    """On fresh draws, readings by the network in the file scatter about the file's lines as R² says."""
    out, bundle, _ = found
    generator, network = Scenes(16), load_estimator(out).reconstruct
    w = sample_pool(generator, 300, 77, 16).w
    reading = mirror_averaged_factors(network, generator.synthesize(w))
    read = scalar_factors(reading).double().numpy()
    told = bundle.directions.predict(w.double().numpy())
    count = len(SCALAR_UNITS)
    r2 = 1 - np.square(read - told[:, :count]).mean(0) / read.var(0)
    assert np.abs(r2 - bundle.directions.r2[:count]).max() < 0.35
    assert np.median(r2) > 0.3
    assert np.allclose(read.std(0), bundle.directions.spread[:count], rtol=0.2)
    inside = (read >= bundle.seen[:count, 0]) & (read <= bundle.seen[:count, 1])
    assert inside.mean() > 0.9
    maps = stack_maps(reading).numpy()
    assert np.abs(maps[:, 0].mean(0) - bundle.depth).max() < 0.01
    values = bundle.values(reading.depth.numpy(), reading.albedo.numpy())
    along = [np.corrcoef(values[:, k], told[:, count + k])[0, 1] for k in range(len(bundle.atoms))]
    assert np.median(along) > 0.5


def test_every_stage_is_told_to_its_end(found):
    _, _, stages = found
    names = ["drawing faces", "finding the view", "learning to see", "learning to read faces", "reading faces"]
    assert [stage for stage, _, _ in stages] == [*names, "learning to frame", "weighing readings"]
    assert [done for _, done, _ in stages] == [total for _, _, total in stages] == [484, 40, 4, 8, 484, 2, 64]


def test_the_log_stays_and_the_draws_go(found):
    out, _, _ = found
    work = working_folder(out)
    assert sorted(path.name for path in work.iterdir()) == ["alignment.safetensors", "linear", "network", "reader"]
    last = json.loads((work / "network" / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 8
    assert {"loss", "l1", "seconds_left"} <= set(last)


class Counting(Scenes):
    """Counts the pictures that it draws."""

    drawn = 0

    def synthesize(self, w):
        self.drawn += len(w)
        return super().synthesize(w)


def test_a_discovery_that_was_interrupted_twice_ends_as_if_it_had_not_been(found, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    out, generator = tmp_path / "d.safetensors", Counting(16)
    for resume, *at in ((False, "drawing faces", 400), (True, "learning to read faces", 6)):

        def stop(stage, done, total, said, at=at):
            if stage == at[0] and done >= at[1]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            discover(generator, out, QUICK, resume=resume, progress=stop)
        assert not out.exists()
    bundle = discover(generator, out, QUICK, resume=True)
    # Every picture was drawn once: those of two pools, and a pair for each step after the lessons.
    assert generator.drawn == 420 + 64 + count_neutralized_images(generator, QUICK.schedule) == 488
    assert bundle.directions.sha256() == found[1].directions.sha256()
    assert bundle.reconstruction == found[1].reconstruction


def test_a_folder_that_holds_a_run_is_not_overwritten(found, tmp_path):
    out, _, _ = found
    with pytest.raises(OutputError, match=r"directions\.work holds a run: continue it with --resume"):
        discover(Scenes(16), out, QUICK)
    generator = Counting(16)
    with pytest.raises(GeneratorError, match="seed was 0, is 1"):
        discover(generator, out, DiscoveryConfig(**{**vars(QUICK), "seed": 1}), resume=True)
    assert generator.drawn == 0


def test_what_cannot_be_is_told_before_anything_is_made(tmp_path):
    with pytest.raises(FaceaugError, match=r"100 draws are too few for the \d+ directions of 'scenes': give at least"):
        discover(Scenes(16), tmp_path / "d.safetensors", replace(QUICK, draws=100))
    assert not list(tmp_path.iterdir())
    bare = BlockGenerator()
    bare.w_covariance = None
    with pytest.raises(GeneratorError, match="no usable mean and covariance"):
        discover(bare, tmp_path / "d.safetensors")
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        discover(Scenes(16), tmp_path / "d.json")
    with pytest.raises(OutputError, match="could not be written"):
        discover(Scenes(16), tmp_path / "nowhere" / "d.safetensors")
    (tmp_path / "d.work").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        discover(Scenes(16), tmp_path / "d.safetensors")
    with pytest.raises(UsageError, match="draws is 5; it must be at least 100"):
        DiscoveryConfig(draws=5)
    with pytest.raises(UsageError, match="100 of 64 held-out pictures cannot be weighed"):
        DiscoveryConfig(held_out=64, weighed=100)
    assert [path.name for path in tmp_path.iterdir()] == ["d.work"]


def test_readings_are_means_over_the_mirror():
    network = Reconstructor(16, 1).eval()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, other = mirror_averaged_factors(network, images), mirror_averaged_factors(network, images.flip(-1)).mirrored()
    for name in ("depth", "albedo", "light", "view"):
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-6)


def test_scalars_are_in_their_units():
    light, view = torch.tensor([[0.5, 1.5, 1.0, -1.0]]), torch.tensor([[0.1, 0.2, -0.3, 0.0875, -0.0437, 0.05]])
    values = dict(
        zip(
            SCALAR_UNITS,
            scalar_factors(FaceFactors(torch.ones(1, 4, 4), torch.ones(1, 3, 4, 4), light, view))[0].tolist(),
            strict=True,
        )
    )
    wanted = dict(
        yaw=11.46,
        pitch=5.73,
        roll=-17.19,
        light_x=45,
        light_y=-45,
        light=0.75,
        tx=1.0,
        ty=-0.5,
        tz=0.05,
        ambient=0.5,
        diffuse=1.5,
    )
    assert values == pytest.approx(wanted, abs=0.01)
