"""A checkpoint of another program: imported, explored and used for balancing, by commands alone."""

from __future__ import annotations

import json
from dataclasses import replace

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
from faceaug.synthesis import balance as run

CONFIG = StyleGAN2Config(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)


@pytest.fixture
def commands(faceaug_cli, monkeypatch):
    """Run commands that succeed, with little learning behind them."""
    torch.set_num_threads(1)
    make_small(monkeypatch)
    whole = discovery.discover

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
            calibration_samples=64,
            atoms=2,
            schedule=schedule,
        )
        return whole(generator, out, quick, run)

    def few(dataset, out, *, settings, **rest):
        return making(dataset, out, settings=replace(settings, draws=512), **rest)

    making = run.balance
    monkeypatch.setattr(run, "balance", few)
    monkeypatch.setattr(discovery, "discover", short)

    def call(*arguments):
        told = faceaug_cli(*arguments)
        assert told.status == 0, told.err
        return told

    return call


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
    balance = ("balance", images, "--labels", labels, "--by", "bar", "--max-total", 6, "--directions", d)
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
        told = faceaug_cli(*command)
        assert told.status == 1
        assert told.err.strip().splitlines()[-1].startswith("Error: these directions were made for the generator")
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("nowhere")]
