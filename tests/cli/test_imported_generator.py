"""A checkpoint of another program: imported, explored and used for balancing, by commands alone."""

from __future__ import annotations

import json

import pytest
import torch
from fakes import write_toy_dataset
from foreign_files import network, nvidia_bytes, nvidia_module, rosinality_file
from quick_runs import make_small

from faceaug.discovery import discover as discovery
from faceaug.discovery.config import DiscoveryConfig
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.reconstruction.training.schedule import ReconstructionSchedule
from faceaug.shards.manifest import read_manifest

CONFIG = StyleGAN2Config(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)


@pytest.fixture
def commands(faceaug_cli, monkeypatch):
    """Run commands that succeed, with short trainings."""
    torch.set_num_threads(1)
    make_small(monkeypatch)
    discover = discovery.discover

    def short(generator, out, config, run):
        schedule = ReconstructionSchedule(
            side=16, steps=config.schedule.steps, distil_steps=2, batch_size=4, pairs=1, refit_every=2
        )
        quick = DiscoveryConfig(
            samples=config.samples,
            held_out=64,
            linear_steps=10,
            reader_steps=2,
            alignment_steps=2,
            turned_faces=64,
            view_reader_steps=2,
            calibration_samples=64,
            atoms=2,
            schedule=schedule,
        )
        return discover(generator, out, quick, run)

    monkeypatch.setattr(discovery, "discover", short)

    def call(*arguments):
        outcome = faceaug_cli(*arguments)
        assert outcome.status == 0, outcome.err
        return outcome

    return call


@pytest.mark.slow
def test_from_a_pickle_to_faces(commands, faceaug_cli, tmp_path):
    """The network is random: few of its faces are accepted, if any, and every one that is not is accounted for."""
    g, other, d = (tmp_path / f"{name}.safetensors" for name in ("g", "other", "d"))
    (tmp_path / "n.pkl").write_bytes(nvidia_bytes(nvidia_module(network(CONFIG))))
    commands("generator", "import", tmp_path / "n.pkl", "-o", g)
    assert json.loads(commands("generator", "info", g, "--json").out)["resolution"] == 16
    commands("discover", "--generator", g, "-o", d, "--samples", 100, "--steps", 3)
    shown = commands("directions", "show", d, "--json").json
    assert "yaw" in json.dumps(shown)

    images, labels = write_toy_dataset(tmp_path / "toys", 120)
    options = ["--by", "bar", "--max-total", "6", "--survey-samples", "512", "--engine", "generator"]
    balance = ("balance", images, "--labels", labels, "--directions", d, *options)
    out = tmp_path / "out"
    commands(*balance, "--generator", g, "-o", out)
    manifest = read_manifest(out)
    totals = manifest.totals
    assert totals.planned == 6 == totals.accepted + totals.short
    for cell in manifest.cells:
        assert cell.tried == cell.accepted + sum(cell.rejected.values())
    assert sum(cell.tried for cell in manifest.cells) > 0
    commands("verify", out)

    # Directions of another generator are refused wherever they could be used, in one sentence and with nothing written.
    commands("generator", "import", rosinality_file(tmp_path / "r.pt", network(CONFIG, 1)), "-o", other)
    nowhere = tmp_path / "nowhere"
    for command in (
        (*balance, "--generator", other, "-o", nowhere),
        ("directions", "atlas", d, "--generator", other, "-o", nowhere),
        ("discover", "--tune-on", images, "--from", d, "--generator", other, "-o", tmp_path / "nowhere.safetensors"),
    ):
        outcome = faceaug_cli(*command)
        assert outcome.status == 1
        assert outcome.err.strip().splitlines()[-1].startswith("Error: these directions were made for the generator")
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("nowhere")]
