"""Images that the generator synthesizes for an accepted sample of turned heads.

    python benchmarks/generator_calls.py [--before FOLDER RECORD]

The demo data set is balanced by yaw with the engine `generator`: samples between 25 and 35 degrees to either side,
which are within 5 degrees of 30. Every latent that the generator turns into an image is counted, those of the learning
apart from those of the making. How varied samples are is the mean distance between two of them over that between two
photographs, in the features of the held-out classifier. With `--before`, the same is written of an output folder that
an earlier version made of the same plan, with the images that its record states. Large plans use up the surveyed faces
that attempts begin with: what samples cost after that is measured apart, for one of the bins. Writes
benchmarks/results/generator_calls.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result
from numpy.typing import NDArray
from torch import Tensor

from faceaug import FaceDataset, Plan, RunConfig, analyze, balance, demo, load_dataset, plan
from faceaug.analysis.analyze import Analysis
from faceaug.classifiers.classifier import Classifier
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.evaluation.comparison import diversity
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.shards.manifest import MODELS_FOLDER, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.engines.base import PreparationInputs
from faceaug.synthesis.engines.latent.latent_edit import LatentEditEngine, create_engine
from faceaug.synthesis.engines.latent.latent_editor import EDIT_BLOCK
from faceaug.synthesis.label_classifiers import HELD_OUT_FILE
from faceaug.synthesis.request import check_request
from faceaug.utils.tensors import as_tensor

LATER_BLOCKS = 4
BINS, WANTED = "yaw:-90/-35/-25/25/35/90", (1, 3)  # cells of the wanted bins, within 5 degrees of -30 and of 30


class Counted:
    """A generator that counts its images; everything else is the generator's own."""

    def __init__(self, generator: Generator) -> None:
        self._generator, self.images = generator, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def synthesize(self, w: Tensor) -> Tensor:
        self.images += len(w)
        return self._generator.synthesize(w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60, help="for each of the two bins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before", nargs=2, type=Path, help="output folder and record of an earlier version")
    given = parser.parse_args()
    dataset = load_dataset(demo.path())
    analysis = analyze(dataset, by=BINS)
    wanted = plan(analysis, _totals(analysis, given.samples))
    generator = Counted(load_generator("digiface"))
    learnt: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "synthesis" and not learnt:
            learnt.append(generator.images)

    config = RunConfig(generator=generator, engine="generator", seed=given.seed, report=False, workers=1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        result = balance(dataset, out, plan=wanted, config=config, progress=progress)
        made, samples = generator.images - learnt[0], _samples(dataset, out)
        before = None
        if given.before:
            images = json.loads(given.before[1].read_text("utf-8"))["images_an_accepted_sample"]
            before = {**_samples(dataset, given.before[0]), "images_an_accepted_sample": images}
        later = _later(dataset, wanted, config, out / MODELS_FOLDER, generator)
    totals = result.manifest.totals
    record = {
        **environment(given.seed, ("torch", "numpy")),
        "planned": totals.planned,
        "attempts": sum(cell.tried for cell in result.manifest.cells),
        "accepted": totals.accepted,
        "images_learning": learnt[0],
        "images_making": made,
        "images_an_accepted_sample": made / max(1, totals.accepted),
        "variety": samples["variety"],
        "rejected": dict(totals.rejected),
        "without_surveyed_origins": later,
        "before": before,
        "seconds": dict(result.timings),
    }
    print(write_result("generator_calls", record))


def _samples(dataset: FaceDataset, out: Path) -> dict[str, Any]:
    """Return what is known of the samples of an output folder: how many, of how many attempts, and how varied."""
    manifest = read_manifest(out)
    held_out = Classifier.load(out / MODELS_FOLDER / HELD_OUT_FILE)
    photographs = held_out.read(as_tensor(load_thumbnails(dataset, 64, None)[0]))[1]
    images, cells = [], []
    for entry in manifest.shards:
        with ShardReader(out / entry.name) as shard:
            images += [shard.image(row) for row in range(len(shard))]
            cells += shard.column("cell").tolist()
    features = np.concatenate([held_out.read(as_tensor(image[None]))[1] for image in images])
    varied = {
        cell.attributes["yaw"]: round(_diversity(photographs, features[np.array(cells) == cell.index]), 3)
        for cell in manifest.cells
        if cell.accepted
    }
    attempts = sum(cell.tried for cell in manifest.cells)
    return {
        "attempts": attempts,
        "accepted": manifest.totals.accepted,
        "rejected": dict(manifest.totals.rejected),
        "variety": varied,
    }


def _diversity(photographs: NDArray[np.float32], samples: NDArray[np.float32]) -> float:
    scale = np.maximum(photographs.std(0), 1e-6)
    return diversity(photographs / scale, samples / scale, np.random.default_rng(0))


def _later(dataset: FaceDataset, wanted: Plan, config: RunConfig, models: Path, generator: Counted) -> dict[str, int]:
    """Return what the blocks after the last one with surveyed origins cost in one cell, its search apart."""
    request = check_request(dataset, wanted, config)
    engine = create_engine(request)
    assert isinstance(engine, LatentEditEngine)
    thumbnails, infos = load_thumbnails(dataset, 64, 1)
    engine.prepare(PreparationInputs(thumbnails, infos[0].codec, infos[0].codec, models, lambda *_: None))
    cell = next(cell for cell in wanted.cells if cell.planned)
    images, accepted = [generator.images], 0
    for number in range(1 + LATER_BLOCKS):  # the first of them begins with the search
        result = engine.propose(cell, config.survey_samples // EDIT_BLOCK + number)
        images.append(generator.images)
        accepted += len(result.candidates) if number else 0
    search, blocks = images[1] - images[0], images[-1] - images[1]
    return {
        "attempts": LATER_BLOCKS * EDIT_BLOCK,
        "accepted": accepted,
        "images": blocks,
        "images_of_the_search": search - round(blocks / LATER_BLOCKS),
    }


def _totals(analysis: Analysis, samples: int) -> list[dict[str, Any]]:
    """Return the wanted totals of the two bins; the others stay as they are."""
    axis = analysis.axes[0]
    return [{axis.name: axis.levels[k], "count": int(analysis.counts[k]) + samples} for k in WANTED]


if __name__ == "__main__":
    main()
