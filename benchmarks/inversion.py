"""How near inverted photographs come to the originals, and the account of a run that edits real faces.

    python benchmarks/inversion.py OUT IMAGES LABELS [--sheet FILE]

reads the folder OUT of a finished `faceaug balance --from-real` and the data set of that run, and writes
benchmarks/results/inversion.json. Photographs from the whole data set, and as many new samples of the generator, are
inverted with the inverter of the run, by the encoder alone and after all steps. Besides the distance that is minimized,
features of an independent network tell how many photographs are identified among all others from the image of their
latent. `--sheet` writes rows of photographs, encoder predictions, inversions, edits and written samples; such images
show real people and are not part of this repository.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
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
from faceaug.inversion.inverter import INVERSION_STEPS, Inverter
from faceaug.measurement.measure import load_estimator
from faceaug.shards.manifest import MODELS_FOLDER, Manifest, read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.engines.latent.face_crops import FaceCropper
from faceaug.synthesis.engines.latent.fitted_inversion import ENCODER_FILE
from faceaug.synthesis.fitted_models import STATE_FILE
from faceaug.synthesis.sample_columns import INVERSION_ERROR
from faceaug.utils.files import read_json
from faceaug.utils.images import contact_sheet, encode, resize
from faceaug.utils.tensors import to_uint8

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SEED = 0
_SAMPLE_STREAM = (SEED, 0x1417)  # of the samples that are inverted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run with --from-real")
    parser.add_argument("images", type=Path, help="the data set of the run")
    parser.add_argument("labels", type=Path, help="its table of labels")
    parser.add_argument("--count", type=int, default=128, help="photographs, and samples, to invert")
    parser.add_argument("--sheet", type=Path, help="PNG file of the sheet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    manifest, dataset = read_manifest(given.out), load_dataset(given.images, labels=given.labels)
    inverter, cropper = load_inverter(given.out, manifest, dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, given.count).astype(int)).tolist()
    crops = cropper.take(rows)
    faces = [k for k, reason in enumerate(crops.refused) if not reason]
    photographs = crops.images[faces]
    with torch.no_grad():
        samples = inverter.synthesize(sample_stream(inverter.generator, len(faces), _SAMPLE_STREAM))
        mean = inverter.synthesize(torch.from_numpy(np.asarray(inverter.generator.w_mean, np.float32))[None])
    limits = manifest.config["thresholds"]
    assert isinstance(limits, dict)
    limit, features = float(str(limits["inversion"])), load_efficientnet()
    record: dict[str, Any] = {
        "photographs": len(rows),
        "faces_found": len(faces),
        "limit": limit,
        "quantiles_at": QUANTILES,
        "mean_face": quantiles(inverter.distance(mean.expand_as(photographs), photographs).double().numpy()),
        "inverted": [
            {"what": what, "steps": steps, **inversion_figures(inverter, features, images, steps, limit)}
            for what, images in (("photographs", photographs), ("draws", samples))
            for steps in (0, INVERSION_STEPS)
        ],
        "run": account(given.out, manifest),
    }
    packages = ("torch", "numpy", "efficientnet-lite-pytorch")
    print(write_result("inversion", {**environment(seed=SEED, packages=packages), **record}))
    if given.sheet:
        given.sheet.write_bytes(encode(sheet(given.out, dataset, cropper, inverter), "png"))


def load_inverter(out: Path, manifest: Manifest, dataset: FaceDataset) -> tuple[Inverter, FaceCropper]:
    """Return the inverter of a run, and what crops its photographs."""
    assert manifest.generator is not None
    state = read_json(out / MODELS_FOLDER / STATE_FILE, "what the run has fitted")
    framing = Framing.from_dict(state["framing"])
    colour = ColourMatch(**{k: tuple(v) for k, v in state["colour"].items()}) if state["colour"] else None

    def view(images: torch.Tensor) -> torch.Tensor:
        framed = apply_framing(images, framing)
        return framed if colour is None else colour.apply(framed)

    inverter = Inverter.load(out / MODELS_FOLDER / ENCODER_FILE, load_generator(manifest.generator.name), view)
    return inverter, FaceCropper(dataset, framing, common_aspect(dataset), load_estimator())


def inversion_figures(
    inverter: Inverter, features: FeatureExtractor, images: torch.Tensor, steps: int, limit: float
) -> dict[str, Any]:
    """Return how near inverted images come to the originals."""
    inverted = inverter(images, steps)
    with torch.no_grad():
        synthesized = inverter.synthesize(torch.from_numpy(inverted.w))
    rank = ranks(features.extract(to_uint8(images)), features.extract(to_uint8(synthesized)))
    return {
        "error": quantiles(inverted.error),
        "within_limit": round(float((inverted.error <= limit).mean()), 3),
        "told_from_all_others": round(float((rank == 0).mean()), 3),
        "median_rank": float(np.median(rank)),
    }


def ranks(originals: NDArray[np.float32], inverted: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many other originals are nearer to each inverted image than its own, by the cosine of features."""
    one, two = ((rows - originals.mean(0)) / originals.std(0).clip(1e-6) for rows in (originals, inverted))
    one, two = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, two))
    cosine = two @ one.T
    return np.asarray((cosine > np.diag(cosine)[:, None]).sum(1))


def account(out: Path, manifest: Manifest) -> dict[str, Any]:
    """Return what the run planned, wrote and refused."""
    report, table = verify(out), ShardDataset(out, check=False).table([f"semantic/{INVERSION_ERROR}", "source_sha256"])
    return {
        "command": shortened(manifest.created_by.command),
        "totals": manifest.totals.model_dump(),
        "cells": [cell.model_dump() for cell in manifest.cells if cell.planned],
        "seconds": manifest.measured.get("seconds"),
        "inversion": manifest.measured.get("inversion"),
        "verify": {"problems": len(report.problems), "rows": report.rows},
        "people": int(table["source_sha256"].nunique()),
        "error_of_accepted": quantiles(table[f"semantic/{INVERSION_ERROR}"].to_numpy(np.float64)),
    }


def sheet(
    out: Path, dataset: FaceDataset, cropper: FaceCropper, inverter: Inverter, most: int = 48
) -> NDArray[np.uint8]:
    """Return rows of photographs, encoder predictions, inversions, edits and written images of accepted samples."""
    data = ShardDataset(out, columns=["w", "origin_w", "source_sha256"], check=False)
    items = data.__getitems__(list(range(min(most, len(data)))))
    row_of = {hashlib.sha256(dataset.encoded(k)).hexdigest(): k for k in range(len(dataset))}
    crops = cropper.take([row_of[str(label["source_sha256"])] for _, label in items])
    with torch.no_grad():
        predicted = inverter.synthesize(torch.from_numpy(inverter(crops.images, 0).w))
        synthesized = [
            inverter.synthesize(torch.from_numpy(np.stack([np.asarray(label[key], np.float32) for _, label in items])))
            for key in ("origin_w", "w")
        ]
    written = [resize(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), (64, 64)) for image, _ in items]
    rows = [list(to_uint8(part)) for part in (crops.images, predicted, *synthesized)] + [written]
    blocks = [contact_sheet(part[k : k + 16], 16) for k in range(0, len(items), 16) for part in rows]
    wide = max(block.shape[1] for block in blocks)
    return np.concatenate([np.pad(b, ((0, 0), (0, wide - b.shape[1]), (0, 0))) for b in blocks])


def quantiles(errors: NDArray[np.float64]) -> list[float]:
    """Return the quantiles at `QUANTILES`."""
    return [round(float(value), 3) for value in np.quantile(errors, QUANTILES)]


if __name__ == "__main__":
    main()
