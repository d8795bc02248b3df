"""Training from end to end at the tiny preset: it runs, learns, resumes to the bit, and exports a generator."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from faceaug.errors import GeneratorError, OutputError
from faceaug.gan_training import trainer as training
from faceaug.gan_training.ada import AdaptiveAugmentation
from faceaug.gan_training.config import PRESETS, TrainingSchedule, select_preset
from faceaug.gan_training.data import FolderImageSource, GeneratorImageSource
from faceaug.gan_training.trainer import GanTrainer
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan2_networks import StyleGAN2Config, StyleGAN2Network
from faceaug.utils.images import decode

TINY = replace(
    select_preset("tiny", 16)[1],
    network=StyleGAN2Config(16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16),
    discriminator_channel_base=128,
    discriminator_channel_max=16,
    batch_size=8,
    lr_warmup_steps=10,
    statistics_samples=500,
    log_every=1,
)


def train(config, source, out, steps, *, start=None, metrics=None, **schedule):
    """Train on the CPU and return the path of the generator."""
    trainer = GanTrainer(config, source, start=start)
    return training.train(trainer, out, TrainingSchedule(steps, **schedule), snapshot_metrics=metrics)


@pytest.fixture
def source(small):
    return GeneratorImageSource(small)


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_time(folder):
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows(folder)]


def test_leaves_a_generator_a_log_and_a_grid(source, tmp_path):
    path = train(TINY, source, tmp_path / "run", 5)
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


@pytest.mark.slow
def test_resumed_equals_uninterrupted(source, tmp_path):
    whole = train(TINY, source, tmp_path / "whole", 20)
    train(TINY, source, tmp_path / "parts", 7)
    parts = train(TINY, source, tmp_path / "parts", 20, resume=True)
    first, second = (safetensors.torch.load_file(path.parent / "checkpoint.safetensors") for path in (whole, parts))
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.read_bytes() == parts.read_bytes()
    assert without_time(whole.parent) == without_time(parts.parent)


def test_log_lines_after_the_checkpoint_are_written_again(source, tmp_path):
    train(TINY, source, tmp_path, 2)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 3, "images_seen": 24}\n{"step": 4, "se')  # a run that was killed
    train(TINY, source, tmp_path, 3, resume=True)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]
    assert "discriminator" in rows(tmp_path)[2]


@pytest.mark.slow
def test_learns_to_generate_one_grey(tmp_path):
    """Real images of one grey: after some steps the drawn ones are nearer to it than at the start."""

    class Grey:
        licence, origin, sha256 = "none", "one grey", "0" * 64

        def sample(self, n, resolution, rng):
            return torch.full((n, 3, resolution, resolution), 0.8)

        def sample_held_out(self, n, resolution, rng):
            return None

    trainer = GanTrainer(replace(TINY, augment=False), Grey())
    z = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))

    def distance():
        with torch.no_grad():
            ws = trainer.generator.mapping(z)[:, None].expand(-1, trainer.config.network.num_ws, -1)
            return float((trainer.generator.synthesis(ws) - 0.8).abs().mean())

    before = distance()
    for _ in range(120):
        trainer.advance()
    assert distance() < 0.7 * before  # 0.14 to 0.41 over ten seeds


def test_the_ema_follows_the_weights(source):
    trainer = GanTrainer(TINY, source)
    start = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    for _ in range(3):
        trainer.advance()
    for name, kept in trainer.ema.state_dict().items():
        new = trainer.generator.state_dict()[name]
        low, high = torch.minimum(start[name], new) - 0.02, torch.maximum(start[name], new) + 0.02
        assert ((low <= kept) & (kept <= high)).all(), name
    assert not torch.equal(trainer.generator.mapping.w_avg, start["mapping.w_avg"])
    assert torch.equal(trainer.ema.mapping.w_avg, trainer.generator.mapping.w_avg)


def test_samples_are_the_teachers_images_reduced(small):
    source = GeneratorImageSource(small, max_z=1.0)
    z = torch.randn(5, small.z_dim, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    expected = small.synthesize(small.map(z))
    rng = torch.Generator().manual_seed(4)
    assert torch.equal(source.sample(5, 16, rng), expected)
    rng.manual_seed(4)
    torch.testing.assert_close(source.sample(5, 8, rng), expected.view(5, 3, 8, 2, 8, 2).mean((3, 5)))
    with pytest.raises(GeneratorError, match="16 pixels are too small to train 32 pixels"):
        source.sample(5, 32, rng)


def test_a_run_is_not_overwritten_and_not_mixed_up(source, tmp_path):
    train(TINY, source, tmp_path, 1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds a run already"):
        train(TINY, source, tmp_path, 1)
    with pytest.raises(GeneratorError, match=r"config\.batch_size was 8, is 4"):
        train(replace(TINY, batch_size=4), source, tmp_path, None, seconds=60, resume=True)
    source.sha256 = "f" * 64
    with pytest.raises(GeneratorError, match="source was"):
        train(TINY, source, tmp_path, None, seconds=60, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "version"])
def test_checkpoints_that_cannot_be_resumed(source, tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    if damage != "missing":
        train(TINY, source, tmp_path, 1)
        data = path.read_bytes()
        changed = {
            "truncated": data[: len(data) // 2],
            "other": safetensors.torch.save({"x": torch.zeros(1)}),
            "version": data.replace(b'\\"version\\": 2', b'\\"version\\": 7'),
        }[damage]
        assert changed != data
        path.write_bytes(changed)
    with pytest.raises(GeneratorError, match=r"checkpoint\.safetensors"):
        train(TINY, source, tmp_path, 2, resume=True)


def test_a_diverging_training_is_stopped(source, tmp_path, monkeypatch):
    train(TINY, source, tmp_path, 1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr(GanTrainer, "_regularize", lambda self, real: torch.tensor(0.0))
    monkeypatch.setattr(
        GeneratorImageSource, "sample", lambda self, n, resolution, rng: torch.full((n, 3, 16, 16), float("nan"))
    )
    with pytest.raises(GeneratorError, match=r"diverged at step 2.*nan.*lower the learning rate"):
        train(TINY, source, tmp_path, 3, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before, "the last good state stays"


def test_training_stops_when_the_time_is_over(source, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    train(replace(TINY, log_every=1000), source, tmp_path, None, seconds=35, save_every=1e9)
    assert [row["step"] for row in rows(tmp_path)] == [1, 4], "a step takes ten seconds: the fourth is the last"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "batch_size is 1"),
        ({"lr": 0.0}, "lr is 0"),
        ({"style_mixing_prob": 1.5}, "from 0 to 1"),
        ({"discriminator_channel_base": 8}, "base"),
    ],
)
def test_configurations_out_of_range_are_refused(change, message):
    with pytest.raises(GeneratorError, match=message):
        replace(TINY, **change)


def test_the_export_at_the_64_preset_is_small():
    network = StyleGAN2Network(PRESETS["64"].network)
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 2 * numbers + 8 * (256 + 256**2) < 12e6, "bytes, in half precision, statistics in double"


def pixels(n=80, side=16):
    """FolderImageSource with something to learn: a bright disc somewhere on a grey of its own."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side]
    at, grey = rng.uniform(4, side - 4, (2, n, 1, 1)), rng.integers(20, 120, (n, 1, 1, 1))
    disc = ((x - at[0]) ** 2 + (y - at[1]) ** 2 < 9)[..., None]
    return np.where(disc, 230, grey).repeat(3, 3).astype(np.uint8)


@pytest.mark.slow
def test_a_folder_of_images_is_resumed_with_its_augmentation(tmp_path):
    """The augmentation probability and its statistics are resumed too."""
    config = replace(TINY, ada_kimg=0.2, ada_target=0.0)
    whole = train(config, FolderImageSource(pixels(), "x"), tmp_path / "whole", 22)
    train(config, FolderImageSource(pixels(), "x"), tmp_path / "parts", 9)
    parts = train(config, FolderImageSource(pixels(), "x"), tmp_path / "parts", 22, resume=True)
    first, second = (safetensors.torch.load_file(path.parent / "checkpoint.safetensors") for path in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert without_time(whole.parent) == without_time(parts.parent)
    p = [row["p"] for row in rows(whole.parent)]
    assert len(set(p)) > 2, "it was adapted"
    assert all(0 <= value <= config.ada_max_p for value in p)


def test_augmentation_can_be_disabled(tmp_path):
    path = train(replace(TINY, augment=False), FolderImageSource(pixels(), "x"), tmp_path, 5)
    assert "p" not in rows(path.parent)[-1]
    checkpoint = safetensors.torch.load_file(tmp_path / "checkpoint.safetensors")
    assert float(checkpoint["ada/p"]) == 0


def test_snapshots_keep_grids_and_the_best_of_the_curve(tmp_path):
    distances = iter([5.0, 3.0, 4.0])
    path = train(
        TINY,
        FolderImageSource(pixels(), "x"),
        tmp_path,
        6,
        snapshot_every=2,
        metrics=lambda _: {"frechet": next(distances)},
    )
    curve = [(row["step"], row["frechet"]) for row in rows(tmp_path) if "frechet" in row]
    assert curve == [(2, 5.0), (4, 3.0), (6, 4.0)]
    assert sorted(file.name for file in (tmp_path / "grids").iterdir()) == [
        "000000016.png",
        "000000032.png",
        "000000048.png",
    ]
    assert "for 32 images" in load_generator(tmp_path / "best.safetensors").origin
    assert "for 48 images" in load_generator(path).origin


def test_overfitting_is_warned_of_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(AdaptiveAugmentation, "r_v", property(lambda self: 0.9))
    train(TINY, FolderImageSource(pixels(), "x"), tmp_path, 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "scores held-out images 90% like generated ones (step 1)" in warnings[0]
    assert rows(tmp_path)[0]["r_v"] == 0.9


def test_starting_from_a_generator_the_discriminator_is_trained_first(small, tmp_path):
    config = replace(TINY, network=small.header.config, discriminator_warmup_steps=3)
    trainer = GanTrainer(config, GeneratorImageSource(small), start=small)
    for step in range(4):
        before = trainer.generator.synthesis.b8.conv1.weight.clone()
        losses = trainer.advance()
        moved = not torch.equal(before, trainer.generator.synthesis.b8.conv1.weight)
        assert moved == ("generator" in losses) == (step >= 3)
        if step == 0:
            assert torch.equal(before, small.network.synthesis.b8.conv1.weight)
    with pytest.raises(GeneratorError, match="has another shape"):
        GanTrainer(TINY, GeneratorImageSource(small), start=small)
    path = train(config, GeneratorImageSource(small), tmp_path, 1, start=small)
    assert f"started from {small.sha256[:16]}" in load_generator(path).origin
    with pytest.raises(GeneratorError, match="start was"):
        train(config, GeneratorImageSource(small), tmp_path, 2, resume=True)


@pytest.mark.parametrize(
    ("name", "resolution", "expected"),
    [
        (None, None, ("64", 64)),
        (None, 32, ("64", 32)),
        (None, 128, ("128", 128)),
        (None, 512, ("256", 512)),
        ("tiny", None, ("tiny", 32)),
        ("tiny", 64, ("tiny", 64)),
    ],
)
def test_presets(name, resolution, expected):
    found, config = select_preset(name, resolution, seed=5)
    assert (found, config.network.resolution) == expected
    assert config.seed == 5
    assert config.steps(1) == round(1000 / config.batch_size)


def test_a_training_without_end_is_refused():
    with pytest.raises(GeneratorError, match="without end"):
        TrainingSchedule()
