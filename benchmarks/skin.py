"""Is skin separated from exposure? Edits of an attribute in several ways, and their effect on the rest of the image.

    python benchmarks/skin.py OUT SEMANTIC [--directions FILE] [--sheet FILE.png]

takes the classifiers and directions of a finished run of `faceaug balance` in OUT, moves moderate samples of its
generator toward SEMANTIC (such as "ethnicity=black") in five ways, and writes benchmarks/results/skin.json:

    alone                 the direction of the guidance classifier, nothing kept
    scene kept            the same, colour outside the face and the side of the light kept
    view and light kept   the same, view, light from the side and colour outside kept: what a run does
    over atoms            the direction expressed in the atoms of the face; view, side light and colour outside kept
    all light kept        same with light from above and its strength kept, which a reconstruction mistakes for skin

each as a straight step of 3 in log-odds, and with the closed loop to a probability of 0.85. Recorded are the changes of
luminance outside and inside the face per unit of log-odds, of view and light in standard deviations, and the share of
edits that reach the goal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.appearance.framing import Framing
from faceaug.appearance.harmonize import ColourMatch
from faceaug.classifiers.classifier import Classifier, Task
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.latents.algebra import append_directions, rebuild, select
from faceaug.latents.bundle import Bundle
from faceaug.latents.directions import Directions
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.manifest import MODELS_FOLDER, read_manifest
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult, distance, extrapolate
from faceaug.synthesis.editing.objectives import EDIT_PROBABILITY
from faceaug.synthesis.editing.pose_readout import find_directions, learned_directions
from faceaug.synthesis.editing.readout import LIKE_SKIN, OUTSIDE, FaceReader, kept_scene
from faceaug.synthesis.fitted_models import FACE_QUALITY_FILE, STATE_FILE
from faceaug.synthesis.label_classifiers import GUIDANCE_FILE
from faceaug.synthesis.latent_survey import LatentSurvey
from faceaug.utils.files import read_json
from faceaug.utils.images import contact_sheet, encode
from faceaug.utils.tensors import to_uint8

SAMPLES, TRUNCATION, STEP = 256, 0.8, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run")
    parser.add_argument("semantic", help='such as "ethnicity=black"')
    parser.add_argument("--directions", type=Path, help="of the run's generator; by default those shipped with faceaug")
    parser.add_argument("--sheet", type=Path, help="where an image of the same faces before and after each way goes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(read_manifest(given.out).generator.name)
    bundle = find_directions(generator, given.directions)
    if bundle is None:
        parser.error("there are no directions of this run's generator: name them with --directions")
    reader, survey = read_models(given.out / MODELS_FOLDER)
    reader = replace(reader, pose_light=learned_directions(bundle).pose_light)
    plain = append_directions(survey.directions, select(bundle.directions, FACTOR_NAMES))
    plain = select(plain, reader.semantics)
    in_atoms = expressed_in_atoms(plain, bundle)
    w = sample_latents(generator, latent_seeds(11, 0, SAMPLES), TRUNCATION)
    task = Task("any", "classes")
    ways: dict[str, tuple[Directions, Sequence[str]]] = {
        "alone": (plain, ()),
        "scene kept": (plain, kept_scene([task])),
        "view and light kept": (plain, kept_scene([task], FACTOR_NAMES)),
        "over atoms": (in_atoms, kept_scene([task], FACTOR_NAMES)),
        "all light kept": (in_atoms, (*FACTOR_NAMES, *OUTSIDE)),
    }
    metrics, images = {}, []
    for name, (directions, keep) in ways.items():
        straight = edited(generator, directions, reader, w, given.semantic, keep, STEP)
        closed = edited(generator, directions, reader, w, given.semantic, keep, None)
        metrics[name] = {
            "straight": metrics_of(straight, plain, given.semantic),
            "closed": metrics_of(closed, plain, given.semantic),
        }
        images = images or [closed.origin_images[:16]]
        images += [straight.images[:16], closed.images[:16]]
        print(name, metrics[name])
    if given.sheet:
        given.sheet.write_bytes(encode(contact_sheet(list(to_uint8(torch.cat(images))), columns=16), "png"))
    record = {
        **environment(seed=11, packages=("torch", "numpy")),
        "semantic": given.semantic,
        "draws": SAMPLES,
        "truncation": TRUNCATION,
        "step": STEP,
        "aim": EDIT_PROBABILITY,
        "ways": metrics,
    }
    write_result("skin", record)


def expressed_in_atoms(plain: Directions, bundle: Bundle) -> Directions:
    """Return directions with the attributes expressed in a bundle's atoms, without view, side light and scene."""
    kinds = dict(zip(plain.names, plain.kinds, strict=True))
    beside = [name for name, kind in kinds.items() if kind in ("view", "light") and name not in LIKE_SKIN]
    whole = append_directions(plain, select(bundle.directions, bundle.atoms))
    attributes = [name for name, kind in kinds.items() if kind == "attribute"]
    return select(rebuild(whole, attributes, bundle.atoms, [*beside, *OUTSIDE]), plain.names)


def read_models(models: Path) -> tuple[FaceReader, LatentSurvey]:
    """Return the reader of a run, without view and light, and its survey."""
    state = read_json(models / STATE_FILE, "what the run has fitted")
    colour = ColourMatch(**{k: tuple(v) for k, v in state["colour"].items()}) if state["colour"] else None
    guidance, face_quality = (Classifier.load(models / name) for name in (GUIDANCE_FILE, FACE_QUALITY_FILE))
    ellipse = scene.FaceEllipse(**state["ellipse"])
    reader = FaceReader(guidance, Framing.from_dict(state["framing"]), ellipse, face_quality, colour)
    return reader, LatentSurvey.load(models)


def edited(
    generator: Generator,
    directions: Directions,
    reader: FaceReader,
    w: NDArray[np.float64],
    semantic: str,
    keep: Sequence[str],
    step: float | None,
) -> EditResult:
    """Edit latents by a straight step of a semantic, or by the closed loop to `EDIT_PROBABILITY` without a step."""
    spread = directions.spread[directions.index(keep)]
    if step is None:
        goal = np.full((len(w), 1), np.log(EDIT_PROBABILITY / (1 - EDIT_PROBABILITY)))
        objective = EditObjective(
            (semantic,), goal, np.array([True]), np.array([0.25]), tuple(keep), np.maximum(0.3 * spread, 1e-9)
        )
        return extrapolate(generator, directions, reader, w.astype(np.float32), objective)
    direction = directions.steps([semantic, *keep])[:, 0]
    after = (w + step * direction).astype(np.float32)
    before_images, images = (synthesize(generator, x, 64) for x in (w, after))
    zero = np.zeros(len(w))
    return EditResult(
        after,
        w.astype(np.float32),
        images,
        before_images,
        reader(images),
        reader(before_images),
        zero,
        zero.astype(np.int64),
    )


def metrics_of(edited: EditResult, plain: Directions, semantic: str) -> dict[str, Any]:
    """Return the effect of edits, over all samples that moved by at least half a unit."""
    (k,) = plain.index([semantic])
    gained = edited.measured[:, k] - edited.origin_measured[:, k]
    moved = gained > 0.5
    outside, face = (luminances(edited.images) - luminances(edited.origin_images)).T
    columns = plain.index(FACTOR_NAMES)
    drift = np.abs(edited.measured - edited.origin_measured)[:, columns] / plain.spread[columns]
    far = distance(edited.w.astype(np.float64), plain.w_mean, plain.precision)
    return {
        "arrived": round(float((1 / (1 + np.exp(-edited.measured[:, k])) >= 0.75).mean()), 3),
        "log_odds_gained": round(float(np.median(gained)), 3),
        "outside_luminance_a_unit": round(float(np.median(outside[moved] / gained[moved])), 4),
        "outside_luminance_spread": round(float(np.abs(outside[moved] / gained[moved]).mean()), 4),
        "face_luminance_a_unit": round(float(np.median(face[moved] / gained[moved])), 4),
        "drift": dict(zip(FACTOR_NAMES, np.round(drift[moved].mean(0), 3).tolist(), strict=True)),
        "distance": round(float(far.mean()), 2),
    }


def luminances(images: Tensor) -> NDArray[np.float64]:
    """Return mean luminance [N, 2] outside the face and inside, on [-1, 1]."""
    face, outside, _ = scene._masks(scene.FaceEllipse(), images.shape[-1])
    grey = scene.luminance(images)
    return np.stack([((grey * m).sum((1, 2)) / m.sum()).double().numpy() for m in (outside, face)], 1)


if __name__ == "__main__":
    main()
