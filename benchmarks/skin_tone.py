"""Is the measured skin tone plausible? Fit its confidence, and compare it on photographs with labels and brightness.

    python benchmarks/skin_tone.py FACES [--labels FILE] [--calibrate] [--images N]

With --calibrate, the confidence model is fitted on samples of the embedded generator that are read again with another
exposure, colour, sharpness, framing and surroundings, and faceaug/measurement/skin_tone.json is written. Then N images
of FACES are measured, and for each level of the column "ethnicity" the quantiles of the individual typology angle are
recorded, with the AUC of "black" against "white" of the angle, of the same angle with the strength of the light held as
well, and of the lightness of the image itself. The labels are what annotators saw; this tests plausibility, not truth.
Writes benchmarks/results/skin_tone.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from faceaug.datasets.dataset import LoadOptions, load_dataset
from faceaug.generators.pool import sample_pool
from faceaug.generators.registry import load_generator
from faceaug.measurement.alignment import stack_canvases
from faceaug.measurement.estimator import CalibrationConfig, FaceEstimator, calibrate_estimator
from faceaug.measurement.image_batches import EncodedImages
from faceaug.measurement.measure import load_estimator
from faceaug.measurement.skin_tone import CONFIDENCE_FILE, confidence_text, skin_tone, to_lab
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE

SEED, SAMPLES = 17, 768
LEVELS = ("white", "asian", "indian", "other", "black")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--calibrate", action="store_true", help="fit the confidence model anew")
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    estimator = load_estimator()
    if given.calibrate:
        CONFIDENCE_FILE.write_text(calibrated(estimator), "utf-8")
    write_result("skin_tone", {**environment(SEED, ("torch", "numpy")), **plausibility(estimator, given)})


def calibrated(estimator: FaceEstimator) -> str:
    """Return the confidence model of skin tones, fitted on samples of the embedded generator, as JSON."""
    fitted = calibrate_estimator(
        estimator.reconstruct,
        estimator.aligner,
        sample_pool(load_generator("embedded"), SAMPLES, SEED).images,
        config=CalibrationConfig(seed=SEED),
        progress=lambda done, total: print(f"calibrating {done} of {total}", flush=True),
    )
    assert fitted.tone_model is not None  # it is fitted with the others
    return confidence_text(fitted.tone_model)


def plausibility(estimator: FaceEstimator, given: argparse.Namespace) -> dict[str, Any]:
    """Return how the skin tone, and what it is compared with, lie by the labels of ethnicity."""
    options = LoadOptions(check="none")
    dataset = load_dataset(given.faces, given.labels, split="all", options=options)
    rng = np.random.default_rng(SEED)
    dataset = dataset.select(np.sort(rng.permutation(len(dataset))[: given.images]))
    images = EncodedImages.of_dataset(dataset)
    columns: dict[str, list[NDArray[np.float64]]] = {}
    kept: list[int] = []
    for start in range(0, len(images), ESTIMATOR_BATCH_SIZE):
        loaded = [(k, images.load_canvas(k)) for k in range(start, min(start + ESTIMATOR_BATCH_SIZE, len(images)))]
        found = [(k, canvas) for k, canvas in loaded if not isinstance(canvas, str)]
        read = estimator.read(*stack_canvases([canvas for _, canvas in found]))
        accepted = np.array([not reason for reason in read.refusals])
        kept += [k for (k, _), one in zip(found, accepted, strict=True) if one]
        for name, values in measures(read).items():
            columns.setdefault(name, []).append(values[accepted])
        print("measuring", start, flush=True)
    ethnicity = dataset.table["ethnicity"].to_numpy()[kept]
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    counts = {level: int((ethnicity == level).sum()) for level in LEVELS}
    pair = np.isin(ethnicity, ("black", "white"))
    confidence = values.pop("confidence")
    return {
        "images": len(images),
        "measured": len(kept),
        "counts": counts,
        "median_confidence": round(float(np.median(confidence)), 3),
        "measures": {
            name: {
                "quantiles": {
                    level: [round(float(q), 2) for q in np.quantile(of[ethnicity == level], (0.25, 0.5, 0.75))]
                    for level in LEVELS
                },
                "auc_white_over_black": round(float(roc_auc_score(ethnicity[pair] == "white", of[pair])), 4),
            }
            for name, of in values.items()
        },
    }


def measures(read: Any) -> dict[str, NDArray[np.float64]]:
    """Return the skin tone of faces, its confidence, and what it is compared with."""
    factors, pixels = read.factors, (read.faces.images.double().numpy() + 1) / 2
    centre = pixels.shape[-1] // 4
    inside = pixels[:, :, centre:-centre, centre:-centre].reshape(len(pixels), 3, -1)
    typical = torch.tensor([1.06, 1.54])  # ambient and diffuse light of the median photograph
    held = replace(factors, light=torch.cat([typical.expand(len(factors), 2), factors.light[:, 2:]], 1))
    return {
        "skin_tone": read.skin_tone,
        "strength of light held too": skin_tone(held),
        "lightness of the image": to_lab(np.median(inside, -1))[:, 0],
        "mean brightness of the image": pixels.mean((1, 2, 3)),
        "confidence": read.skin_tone_confidence,
    }


if __name__ == "__main__":
    main()
