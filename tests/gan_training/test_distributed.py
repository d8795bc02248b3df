"""Training in several processes: all hold the same weights, and one writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from faceaug.errors import GeneratorError
from faceaug.gan_training.config import TrainingSchedule, select_preset
from faceaug.gan_training.data import FolderImageSource
from faceaug.gan_training.distributed import Workers, join_workers
from faceaug.gan_training.trainer import GanTrainer, train
from faceaug.generators.stylegan2_networks import StyleGAN2Config

CONFIG = replace(
    select_preset("tiny", 8)[1],
    network=StyleGAN2Config(8, 6, 5, 2, 64, 8),
    discriminator_channel_base=64,
    discriminator_channel_max=8,
    batch_size=8,
    statistics_samples=10,
    log_every=1,
    ada_kimg=0.1,
    ada_target=0.0,
)

WORKER = """
import glob, hashlib, json, pathlib, sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from test_distributed import CONFIG, image_source
from faceaug.gan_training import distributed
from faceaug.gan_training.config import TrainingSchedule
from faceaug.gan_training.trainer import GanTrainer, train
workers, device = distributed.join_workers("cpu")
train(GanTrainer(CONFIG, image_source(), device, workers), {out!r}, TrainingSchedule(steps=6))
trainer = GanTrainer(CONFIG, image_source(), device, workers)
for _ in range(6):
    trainer.advance()
digest = hashlib.sha256()
for network in trainer.networks.values():
    for value in network.state_dict().values():
        digest.update(value.numpy().tobytes())
agreed = workers.broadcast(workers.is_main, device)
distributed.leave_workers()
threads = [pathlib.Path(name).read_text().strip() for name in glob.glob("/proc/self/task/*/comm")]  # none but on Linux
left = [name for name in threads if "gloo" in name]
print(json.dumps([workers.rank, workers.world_size, digest.hexdigest(), agreed, left]), flush=True)
"""


def image_source():
    return FolderImageSource(np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8), "noise")


@pytest.mark.slow
def test_two_processes_hold_the_same_weights_and_one_writes(tmp_path):
    meeting = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun has one
    code = WORKER.format(tests=os.path.dirname(__file__), out=str(tmp_path / "run"))
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.port), "OMP_NUM_THREADS": "1"}
    place |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=900) for process in running]  # one that hangs; it takes seconds
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], outputs
    (rank0, world, weights0, agreed0, left0), (rank1, _, weights1, agreed1, left1) = (
        json.loads(out) for out, _ in outputs
    )
    assert (rank0, rank1, world) == (0, 1, 2)
    assert weights0 == weights1
    assert agreed0
    assert agreed1, "the value of the first process"
    assert not left0 + left1, "threads that outlive the group may abort the interpreter as it ends"
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in log] == [8, 16, 24, 32, 40, 48], "the batch is that of both together"
    assert safetensors.torch.load_file(tmp_path / "run" / "generator.safetensors")


def test_a_batch_that_cannot_be_divided_is_refused():
    assert Workers(0, 4).local_batch_size(8) == 2
    for batch, world in ((9, 2), (4, 4)):
        with pytest.raises(GeneratorError, match=f"a batch of {batch} cannot be divided among {world} processes"):
            Workers(0, world).local_batch_size(batch)


def test_one_process_is_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    workers, device = join_workers("cpu")
    assert (workers, device.type) == (Workers(), "cpu")
    values = torch.ones(3)
    assert workers.mean(values) is values
    assert workers.broadcast(True, device)
    assert train(GanTrainer(CONFIG, image_source(), workers=workers), tmp_path, TrainingSchedule(steps=1)).exists()
