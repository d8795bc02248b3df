"""How near inverted photographs come to themselves, and what a run that began with real faces made of them.

    python benchmarks/inversion.py OUT IMAGES LABELS [--sheet FILE]

reads the folder OUT of a finished `faceaug balance --from-real` and the data set that it was made for, and writes
benchmarks/results/inversion.json. Photographs spread over the data set, and as many draws of the generator that nobody
has seen, are inverted with what the run has learnt, by the guess alone and after all steps. Besides the distance that
was brought down, features of a network that took no part say how many photographs are told from all others by the
picture drawn of them. `--sheet` draws rows of photographs, guesses, reconstructions, edits and finished samples; such
pictures show real people and are not part of this repository.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from faceaug.synthesis.setup import LAST
from numpy.typing import NDArray
from real_faces import shortened

from faceaug.appearance.framing import Framing, apply_framing
from faceaug.appearance.harmonize import ColourMatch
from faceaug.datasets import load_dataset
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.generators.pool import sample_stream
from faceaug.generators.registry import load_generator
from faceaug.inversion.inverter import STEPS, Inverter
from faceaug.measurement.measure import load_estimator
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import MODELS
from faceaug.synthesis.engines.face_crops import FaceCropper
from faceaug.synthesis.engines.inversion_setup import ENCODER
from faceaug.synthesis.sample_columns import ERROR
from faceaug.utils.files import read_json
from faceaug.utils.images import contact_sheet, encode, resize
from faceaug.utils.tensors import to_uint8

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SEED = 0
_DRAWS = (SEED, 0x1417)  # stream of the draws that are inverted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run with --from-real")
    parser.add_argument("images", type=Path, help="the data set that the run was made for")
    parser.add_argument("labels", type=Path, help="its table of labels")
    parser.add_argument("--count", type=int, default=128, help="photographs, and draws, to invert")
    parser.add_argument("--sheet", type=Path, help="where to draw what came out, as PNG")
    given = parser.parse_args()
    torch.set_num_threads(1)
    manifest, dataset = read_manifest(given.out), load_dataset(given.images, labels=given.labels)
    inverter, studio = opened(given.out, manifest, dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, given.count).astype(int)).tolist()
    taken = studio.take(rows)
    faces = [k for k, why in enumerate(taken.refused) if not why]
    photographs = taken.images[faces]
    with torch.no_grad():
        draws = inverter.drawn(sample_stream(inverter.generator, len(faces), _DRAWS))
        mean = inverter.drawn(torch.from_numpy(np.asarray(inverter.generator.w_mean, np.float32))[None])
    limits = manifest.config["thresholds"]
    assert isinstance(limits, dict)
    limit, features = float(str(limits["inversion"])), load_efficientnet()
    record: dict[str, Any] = {
        "photographs": len(rows), "faces_found": len(faces), "limit": limit, "quantiles_at": QUANTILES,
        "mean_face": quantiles(inverter.likeness(mean.expand_as(photographs), photographs).double().numpy()),
        "inverted": [
            {"what": what, "steps": steps, **found(inverter, features, pictures, steps, limit)}
            for what, pictures in (("photographs", photographs), ("draws", draws))
            for steps in (0, STEPS)
        ],
        "run": account(given.out, manifest),
    }  # fmt: skip
    packages = ("torch", "numpy", "efficientnet-lite-pytorch")
    print(write_result("inversion", {**environment(seed=SEED, packages=packages), **record}))
    if given.sheet:
        given.sheet.write_bytes(encode(sheet(given.out, dataset, studio, inverter), "png"))


def opened(out: Path, manifest: Manifest, dataset: FaceDataset) -> tuple[Inverter, FaceCropper]:
    """Return what the run inverted with."""
    assert manifest.generator is not None
    known = read_json(out / MODELS / LAST, "what the run has learnt")
    framing = Framing.from_dict(known["framing"])
    colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None

    def view(images: torch.Tensor) -> torch.Tensor:
        framed = apply_framing(images, framing)
        return framed if colour is None else colour.apply(framed)

    inverter = Inverter.load(out / MODELS / ENCODER, load_generator(manifest.generator.name), view)
    return inverter, FaceCropper(dataset, framing, common_aspect(dataset), load_estimator())


def found(
    inverter: Inverter, features: FeatureExtractor, pictures: torch.Tensor, steps: int, limit: float
) -> dict[str, Any]:
    """Invert pictures and say how near that came."""
    inverted = inverter(pictures, steps)
    with torch.no_grad():
        drawn = inverter.drawn(torch.from_numpy(inverted.w))
    one, two = (features.of(to_uint8(part)) for part in (pictures, drawn))
    rank = ranks(one, two)
    return {
        "error": quantiles(inverted.error), "within_limit": round(float((inverted.error <= limit).mean()), 3),
        "told_from_all_others": round(float((rank == 0).mean()), 3), "median_rank": float(np.median(rank)),
    }  # fmt: skip


def ranks(originals: NDArray[np.float32], drawn: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many other originals are nearer to each drawn picture than its own is, by the cosine of features."""
    one, two = ((part - originals.mean(0)) / originals.std(0).clip(1e-6) for part in (originals, drawn))
    one, two = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (one, two))
    alike = two @ one.T
    return np.asarray((alike > np.diag(alike)[:, None]).sum(1))


def account(out: Path, manifest: Manifest) -> dict[str, Any]:
    """Say what the run planned, made and refused."""
    report, table = verify(out), ShardDataset(out, check=False).table([f"semantic/{ERROR}", "source_sha256"])
    return {
        "command": shortened(manifest.created_by.command), "totals": manifest.totals.model_dump(),
        "cells": [cell.model_dump() for cell in manifest.cells if cell.planned],
        "seconds": manifest.measured.get("seconds"), "inversion": manifest.measured.get("inversion"),
        "verify": {"problems": len(report.problems), "rows": report.rows},
        "people": int(table["source_sha256"].nunique()),
        "error_of_accepted": quantiles(table[f"semantic/{ERROR}"].to_numpy(np.float64)),
    }  # fmt: skip


def sheet(out: Path, dataset: FaceDataset, studio: FaceCropper, inverter: Inverter, most: int = 48) -> NDArray[np.uint8]:
    """Draw accepted samples: a row of photographs, one of guesses, of reconstructions, of edits, and as finished."""
    data = ShardDataset(out, columns=["w", "origin_w", "source_sha256"], check=False)
    items = data.__getitems__(list(range(min(most, len(data)))))
    row_of = {hashlib.sha256(dataset.encoded(k)).hexdigest(): k for k in range(len(dataset))}
    taken = studio.take([row_of[str(label["source_sha256"])] for _, label in items])
    with torch.no_grad():
        guessed = inverter.drawn(torch.from_numpy(inverter(taken.images, 0).w))
        drawn = [
            inverter.drawn(torch.from_numpy(np.stack([np.asarray(label[key], np.float32) for _, label in items])))
            for key in ("origin_w", "w")
        ]
    finished = [resize(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), (64, 64)) for image, _ in items]
    rows = [list(to_uint8(part)) for part in (taken.images, guessed, *drawn)] + [finished]
    blocks = [contact_sheet(part[k : k + 16], 16) for k in range(0, len(items), 16) for part in rows]
    wide = max(block.shape[1] for block in blocks)
    return np.concatenate([np.pad(b, ((0, 0), (0, wide - b.shape[1]), (0, 0))) for b in blocks])


def quantiles(errors: NDArray[np.float64]) -> list[float]:
    """Return the quantiles at `QUANTILES`."""
    return [round(float(value), 3) for value in np.quantile(errors, QUANTILES)]


if __name__ == "__main__":
    main()
