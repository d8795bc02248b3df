"""Is skin told from exposure? Edits of an attribute in several ways, and what each does to the rest of the photograph.

    python benchmarks/skin.py OUT SEMANTIC [--directions FILE] [--sheet FILE.png]

takes the probes and directions that a finished run of `faceaug balance` left in OUT, moves moderate draws of its
generator toward SEMANTIC (such as "ethnicity=black") in five ways, and writes benchmarks/results/skin.json:

    alone        the probe's own line, nothing kept
    scene kept   the probe's line, colour outside the face and the light's side kept
    view and light kept   the probe's line; view, light from the side and colour outside kept: what a run does
    over atoms   the line rebuilt over the atoms of the face; view, light from the side and colour outside kept
    all light kept   the same with light from above and its strength kept, which a reconstruction takes skin for

each as a straight step of 3 in log-odds, and with the closed loop to a probability of 0.85. Told are the changes of
luminance outside and inside the face a unit of log-odds, of view and light in their spreads, and how many arrive.
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
from faceaug.latents.algebra import joined, rebuild, select
from faceaug.latents.bundle import Bundle
from faceaug.latents.directions import Directions
from faceaug.reconstruction.semantics import NAMES
from faceaug.shards.manifest import read_manifest
from faceaug.synthesis.balance import MODELS
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult, distance, extrapolate
from faceaug.synthesis.editing.objectives import AIM
from faceaug.synthesis.editing.pose_readout import find_directions, learned_directions
from faceaug.synthesis.editing.readout import LIKE_SKIN, OUTSIDE, FaceReader, kept_scene
from faceaug.synthesis.latent_survey import LatentSurvey
from faceaug.synthesis.setup import FILES, LAST, PROBES
from faceaug.utils.files import read_json
from faceaug.utils.images import contact_sheet, encode
from faceaug.utils.tensors import to_uint8

DRAWS, TRUNCATION, STEP = 256, 0.8, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of a finished run")
    parser.add_argument("semantic", help='such as "ethnicity=black"')
    parser.add_argument("--directions", type=Path, help="of the run's generator; what comes with faceaug by default")
    parser.add_argument("--sheet", type=Path, help="write a picture of the same faces before and after each way")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(read_manifest(given.out).generator.name)
    bundle = find_directions(generator, given.directions)
    if bundle is None:
        parser.error("no directions were found in this run's generator: name them with --directions")
    reader, survey = opened(given.out / MODELS)
    around = replace(reader, environment=learned_directions(bundle).environment)
    lines = joined(survey.directions, select(bundle.directions, NAMES))
    lines = select(lines, around.semantics)
    w = sample_latents(generator, latent_seeds(11, 0, DRAWS), TRUNCATION)
    task = Task("any", "classes")
    ways: dict[str, tuple[Directions, Sequence[str]]] = {
        "alone": (lines, ()),
        "scene kept": (lines, kept_scene([task])),
        "view and light kept": (lines, kept_scene([task], NAMES)),
        "over atoms": (over_atoms(lines, bundle), kept_scene([task], NAMES)),
        "all light kept": (over_atoms(lines, bundle), (*NAMES, *OUTSIDE)),
    }
    figures, pictures = {}, []
    for name, (directions, keep) in ways.items():
        straight = moved(generator, directions, around, w, given.semantic, keep, STEP)
        closed = moved(generator, directions, around, w, given.semantic, keep, None)
        figures[name] = {
            "straight": told(straight, lines, given.semantic),
            "closed": told(closed, lines, given.semantic),
        }
        pictures = pictures or [closed.origin_images[:16]]
        pictures += [straight.images[:16], closed.images[:16]]
        print(name, figures[name])
    if given.sheet:
        given.sheet.write_bytes(encode(contact_sheet(list(to_uint8(torch.cat(pictures))), columns=16), "png"))
    write_result(
        "skin", {**environment(seed=11, packages=("torch", "numpy")), "semantic": given.semantic, "draws": DRAWS,
                 "truncation": TRUNCATION, "step": STEP, "aim": AIM, "ways": figures},
    )  # fmt: skip


def over_atoms(lines: Directions, bundle: Bundle) -> Directions:
    """Return directions with the attributes rebuilt over a bundle's atoms, freed of view, side light and scene."""
    of = dict(zip(lines.names, lines.kinds, strict=True))
    beside = [name for name, kind in of.items() if kind in ("view", "light") and name not in LIKE_SKIN]
    whole = joined(lines, select(bundle.directions, bundle.atoms))
    attributes = [name for name, kind in of.items() if kind == "attribute"]
    return select(rebuild(whole, attributes, bundle.atoms, [*beside, *OUTSIDE]), lines.names)


def opened(models: Path) -> tuple[FaceReader, LatentSurvey]:
    """Return what read pictures in a run, but for view and light, and its survey."""
    known = read_json(models / LAST, "what the run has learnt")
    colour = ColourMatch(**{k: tuple(v) for k, v in known["colour"].items()}) if known["colour"] else None
    probe, sound = Classifier.load(models / PROBES[0]), Classifier.load(models / FILES[3])
    ellipse = scene.FaceEllipse(**known["ellipse"])
    return FaceReader(probe, Framing.from_dict(known["framing"]), ellipse, sound, colour), LatentSurvey.load(models)


def moved(
    generator: Generator, directions: Directions, reader: FaceReader, w: NDArray[np.float64], semantic: str,
    keep: Sequence[str], step: float | None,
) -> EditResult:  # fmt: skip
    """Move latents by a straight step of the semantic's line, or with the closed loop to `AIM` where step is None."""
    spread = directions.spread[directions.index(keep)]
    if step is None:
        aim = np.full((len(w), 1), np.log(AIM / (1 - AIM)))
        ask = EditObjective(
            (semantic,), aim, np.array([True]), np.array([0.25]), tuple(keep), np.maximum(0.3 * spread, 1e-9)
        )
        return extrapolate(generator, directions, reader, w.astype(np.float32), ask)
    way = directions.steps([semantic, *keep])[:, 0]
    after = (w + step * way).astype(np.float32)
    one, two = (synthesize(generator, x, 64) for x in (w, after))
    zero = np.zeros(len(w))
    return EditResult(after, w.astype(np.float32), two, one, reader(two), reader(one), zero, zero.astype(np.int64))


def told(edited: EditResult, lines: Directions, semantic: str) -> dict[str, Any]:
    """Return what the edits did, over all draws that moved by at least half a unit."""
    (k,) = lines.index([semantic])
    gained = edited.measured[:, k] - edited.origin_measured[:, k]
    went = gained > 0.5
    out, face = (luminances(edited.images) - luminances(edited.origin_images)).T
    env = lines.index(NAMES)
    drift = np.abs(edited.measured - edited.origin_measured)[:, env] / lines.spread[env]
    far = distance(edited.w.astype(np.float64), lines.w_mean, lines.precision)
    return {
        "arrived": round(float((1 / (1 + np.exp(-edited.measured[:, k])) >= 0.75).mean()), 3),
        "log_odds_gained": round(float(np.median(gained)), 3),
        "outside_luminance_a_unit": round(float(np.median(out[went] / gained[went])), 4),
        "outside_luminance_spread": round(float(np.abs(out[went] / gained[went]).mean()), 4),
        "face_luminance_a_unit": round(float(np.median(face[went] / gained[went])), 4),
        "drift": dict(zip(NAMES, np.round(drift[went].mean(0), 3).tolist(), strict=True)),
        "distance": round(float(far.mean()), 2),
    }


def luminances(images: Tensor) -> NDArray[np.float64]:
    """Return mean luminance [N, 2] outside the face and inside, on [-1, 1]."""
    face, outside, _ = scene._masks(scene.FaceEllipse(), images.shape[-1])
    grey = scene.luminance(images)
    return np.stack([((grey * m).sum((1, 2)) / m.sum()).double().numpy() for m in (outside, face)], 1)


if __name__ == "__main__":
    main()
