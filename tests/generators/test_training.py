"""Training from end to end at the tiny preset: it runs, learns, resumes to the bit, and exports a generator."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from faceaug.errors import GeneratorError, OutputError
from faceaug.generators import load_generator, snapshots, training
from faceaug.generators.training import PRESETS, Draws, Trainer, main, train
from faceaug.images import decode

TINY = replace(PRESETS["tiny"], statistics_samples=500)


@pytest.fixture
def source(small):
    return Draws(small)


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_time(folder):
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows(folder)]


def test_leaves_a_generator_a_log_and_a_grid(source, tmp_path):
    path = train(TINY, source, tmp_path / "run", seconds=60, steps=5)
    generator = load_generator(path)
    assert (generator.name, generator.resolution, generator.w_dim) == ("stylegan2-16", 16, 16)
    assert generator.licence == source.licence
    assert "trained by faceaug for 40 images" in generator.origin
    assert generator.header.source_sha256 == source.sha256
    assert generator.synthesize(generator.map(torch.randn(2, 16))).shape == (2, 3, 16, 16)
    assert [row["step"] for row in rows(path.parent)] == [1, 2, 3, 4, 5]
    assert all(np.isfinite(value) for row in rows(path.parent) for value in row.values())
    assert ["r1" in row for row in rows(path.parent)] == [True, False, False, False, False]
    grid = decode((path.parent / "grid.png").read_bytes())
    assert grid.shape == (4 * 16, 16 * 16, 3)
    assert grid.std() > 1


def test_resumed_equals_uninterrupted(source, tmp_path):
    whole = train(TINY, source, tmp_path / "whole", seconds=60, steps=20)
    train(TINY, source, tmp_path / "parts", seconds=60, steps=7)
    parts = train(TINY, source, tmp_path / "parts", seconds=60, steps=20, resume=True)
    first, second = (safetensors.torch.load_file(path.parent / "checkpoint.safetensors") for path in (whole, parts))
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.read_bytes() == parts.read_bytes()
    assert without_time(whole.parent) == without_time(parts.parent)


def test_lines_behind_the_checkpoint_are_written_again(source, tmp_path):
    train(TINY, source, tmp_path, seconds=60, steps=2)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 3, "seen": 24}\n{"step": 4, "se')  # a run that was killed
    train(TINY, source, tmp_path, seconds=60, steps=3, resume=True)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]
    assert "critic" in rows(tmp_path)[2]


def test_learns_to_draw_one_grey(tmp_path):
    """Real images of one grey: after some steps the drawn ones are nearer to it than at the start."""

    class Grey:
        licence, origin, sha256 = "none", "one grey", "0" * 64

        def draw(self, n, resolution, rng):
            return torch.full((n, 3, resolution, resolution), 0.8)

    trainer = Trainer(TINY, Grey(), torch.device("cpu"))
    z = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))

    def distance():
        with torch.no_grad():
            ws = trainer.generator.mapping(z)[:, None].expand(-1, trainer.config.network.num_ws, -1)
            return float((trainer.generator.synthesis(ws) - 0.8).abs().mean())

    before = distance()
    for _ in range(120):
        trainer.advance()
    assert distance() < 0.5 * before


def test_the_average_follows_the_weights(source):
    trainer = Trainer(TINY, source, torch.device("cpu"))
    start = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    for _ in range(3):
        trainer.advance()
    for name, kept in trainer.average.state_dict().items():
        new = trainer.generator.state_dict()[name]
        low, high = torch.minimum(start[name], new) - 0.02, torch.maximum(start[name], new) + 0.02
        assert ((low <= kept) & (kept <= high)).all(), name
    assert not torch.equal(trainer.generator.mapping.w_avg, start["mapping.w_avg"])
    assert torch.equal(trainer.average.mapping.w_avg, trainer.generator.mapping.w_avg)


def test_draws_are_the_teachers_images_made_small(small):
    source = Draws(small, limit=1.0)
    z = torch.randn(5, small.z_dim, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    expected = small.synthesize(small.map(z))
    rng = torch.Generator().manual_seed(4)
    assert torch.equal(source.draw(5, 16, rng), expected)
    rng.manual_seed(4)
    torch.testing.assert_close(source.draw(5, 8, rng), expected.view(5, 3, 8, 2, 8, 2).mean((3, 5)))
    with pytest.raises(GeneratorError, match="16 pixels cannot teach 32 pixels"):
        source.draw(5, 32, rng)


def test_a_run_is_not_overwritten_and_not_mixed_up(source, tmp_path):
    train(TINY, source, tmp_path, seconds=60, steps=1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds a run already"):
        train(TINY, source, tmp_path, seconds=60, steps=1)
    with pytest.raises(GeneratorError, match=r"config\.batch was 8, is 4"):
        train(replace(TINY, batch=4), source, tmp_path, seconds=60, resume=True)
    source.sha256 = "f" * 64
    with pytest.raises(GeneratorError, match="source was"):
        train(TINY, source, tmp_path, seconds=60, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "version"])
def test_checkpoints_that_cannot_be_resumed(source, tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    if damage != "missing":
        train(TINY, source, tmp_path, seconds=60, steps=1)
        data = path.read_bytes()
        changed = {
            "truncated": data[: len(data) // 2],
            "other": safetensors.torch.save({"x": torch.zeros(1)}),
            "version": data.replace(b'\\"version\\": 1', b'\\"version\\": 7'),
        }[damage]
        assert changed != data
        path.write_bytes(changed)
    with pytest.raises(GeneratorError, match=r"checkpoint\.safetensors"):
        train(TINY, source, tmp_path, seconds=60, steps=2, resume=True)


def test_a_training_that_falls_apart_is_told(source, tmp_path, monkeypatch):
    train(TINY, source, tmp_path, seconds=60, steps=1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr(Trainer, "_penalise", lambda self, real: torch.tensor(0.0))
    monkeypatch.setattr(Draws, "draw", lambda self, n, resolution, rng: torch.full((n, 3, 16, 16), float("nan")))
    with pytest.raises(GeneratorError, match=r"fell apart at step 2.*nan.*lower the learning rate"):
        train(TINY, source, tmp_path, seconds=60, steps=3, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before, "the last good state stays"


def test_the_time_is_kept(source, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    train(replace(TINY, log_every=1000), source, tmp_path, seconds=35, save_every=1e9)
    assert [row["step"] for row in rows(tmp_path)] == [1, 4], "a step takes ten seconds: the fourth is the last"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch": 1}, "batch is 1"),
        ({"rate": 0.0}, "rate is 0"),
        ({"mixing": 1.5}, "share"),
        ({"critic_base": 8}, "base"),
    ],
)
def test_configs_that_cannot_be(change, told):
    with pytest.raises(GeneratorError, match=told):
        replace(TINY, **change)


def test_the_export_at_the_64_preset_is_small():
    network = training.StyleGAN2Network(PRESETS["64"].network)
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 2 * numbers + 8 * (256 + 256**2) < 12e6, "bytes, in half precision, statistics in double"


def test_command_line(faces, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "run"), "--preset", "tiny", "--steps", "1", "--device", "cpu", "--batch", "4"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / snapshots.EXPORT)
    assert "digiface" in load_generator(tmp_path / "run" / snapshots.EXPORT).origin
    assert main(arguments) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main([*arguments[:2], "--source", "digifaec"]) == 1
    assert "did you mean 'digiface'" in capsys.readouterr().err


def test_help_of_the_module():
    command = [sys.executable, "-m", "faceaug.generators.training", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--resume" in found.stdout
    assert found.stderr == ""
