"""`balance` with every gate beside the bare generator, which synthesizes as many images as attempts were made.

What counts is the stage that makes samples, with its gates, harmonization, encoding and writing; what is learnt once
for a run, and kept in the cache from then on, is not part of it. Both use as many threads. The generator is the small
one, and learning is done on a part of the demo, so that the row ends in minutes. An image of the small generator takes
less time than any look at it, so this is the hardest case: with a large generator the share of the gates is smaller.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import faceaug
from benchmarks.speed.protocol import OURS, Case, Disagreement, OwnSeconds, Size, Work
from faceaug.generators.base import Generator, sample_z
from faceaug.generators.registry import load_generator
from faceaug.shards.manifest import Manifest
from faceaug.utils.threads import worker_count

TITLE = "making samples of the demo, per accepted sample"
AIM = 0.6
BY = "yaw:-90/-25/-10/10/25/90"
GENERATOR = "digiface"
FACES, SURVEYED = {"full": 400, "tiny": 200}, {"full": 2048, "tiny": 512}
SAMPLES = {"full": 60, "tiny": 2}
_BATCH = 32


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the case of the engine `generator`."""
    os.environ["FACEAUG_CACHE"] = str(folder / "cache")  # what was learnt is learnt once for all runs
    everything = faceaug.load_dataset(faceaug.demo.path())
    dataset = everything.select(np.linspace(0, len(everything) - 1, FACES[size], dtype=np.int64))
    plan = faceaug.plan(faceaug.analyze(dataset, BY), "uniform", faceaug.Budget(max_total=SAMPLES[size]))
    generator = load_generator(GENERATOR)
    config = faceaug.RunConfig(
        engine="generator", generator=generator, survey_samples=SURVEYED[size], report=False, keep_refused=False
    )
    runs = itertools.count()

    def run() -> faceaug.RunResult:
        return faceaug.balance(dataset, folder / f"out{next(runs)}", plan=plan, config=config)

    first = run()
    tried = attempts(first.manifest)

    def agree() -> str:
        again = run()
        hashes = [[shard.sha256 for shard in result.manifest.shards] for result in (first, again)]
        if hashes[0] != hashes[1]:
            raise Disagreement("two runs do not give the same shards")
        return f"{first.accepted} of {tried} attempts are accepted, the same in every run"

    works: dict[str, Work] = {
        OURS: lambda: OwnSeconds(run().timings["synthesis"]),
        "bare generator, as many images as were tried": lambda: bare(generator, tried),
    }
    yield Case(f"engine generator, {plan.total} planned", "samples", first.accepted, works, agree, aim=AIM, rounds=3)


def attempts(manifest: Manifest) -> int:
    """Return how many attempts a run made."""
    return sum(cell.accepted + sum(cell.rejected.values()) for cell in manifest.cells)


def bare(generator: Generator, count: int) -> None:
    """Synthesize images and do nothing with them."""
    before = torch.get_num_threads()
    torch.set_num_threads(worker_count(None))
    with torch.inference_mode():
        for start in range(0, count, _BATCH):
            z = np.stack([sample_z(generator.z_dim, (0, k)) for k in range(start, min(start + _BATCH, count))])
            generator.synthesize(generator.map(torch.from_numpy(z)))
    torch.set_num_threads(before)
