"""Whether estimated degrees of yaw are too small by a factor, compared with a landmark model.

    python benchmarks/yaw_scale.py --directions directions.safetensors --work directions.work --pose pose.npz

The network of a directions file, and the linear model that initialized it (--work: the working folder of the
discovery), estimate the yaw of the faces of --pose (as for pose_regressor.py). The record gives the degrees by which
each estimate moves with a standard deviation of w along its own direction, whose ratio would be a scale without labels;
the mean yaw by the landmark model for bins of the network's estimate, both sides together; and the errors with and
without that scale. Nothing here takes part in a discovery. Writes benchmarks/results/yaw_scale.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from pose_regressor import generated_images, read_pose
from safetensors.torch import load_file
from torch import Tensor

from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.latents.bundle import read_bundle
from faceaug.latents.whitening import whitening
from faceaug.measurement.estimator import estimate_values
from faceaug.measurement.measure import network_from_bundle
from faceaug.reconstruction.semantics import FACTOR_NAMES, semantics_of
from faceaug.reconstruction.training.linear_init import LinearFace
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.typing import Floats

YAW, PITCH = FACTOR_NAMES.index("yaw"), FACTOR_NAMES.index("pitch")
BIN_WIDTH = 6.0  # degrees of estimated yaw
MIN_BIN_FACES = 30
TURNED = {"up to 10": (0.0, 10.0), "10 to 20": (10.0, 20.0), "beyond 20": (20.0, 180.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directions", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="working folder of the discovery")
    parser.add_argument("--pose", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=5000, help="as many of the landmark model's at most")
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    bundle = read_bundle(given.directions)
    generator, network = load_generator(bundle.generator_name), network_from_bundle(bundle)
    bundle.directions.check_generator(generator.sha256)
    z, pose = read_pose(given.pose)
    z, pose = z[: given.faces], pose[: given.faces]
    w = generator.map(torch.from_numpy(z)).double().numpy()
    batches = torch.split(generated_images(generator, w), 250)
    read = np.concatenate([estimate_values(network, batch) for batch in batches])  # as in balance
    linear = by_the_linear_model(generator, given.work / "linear" / "checkpoint.safetensors", torch.from_numpy(w))
    record = {
        **environment(0, ("torch", "numpy")),
        "made_by": bundle.made_by,
        "faces": len(z),
        **compared(w, read[:, YAW], linear[:, YAW], pose[:, 1]),
        "pitch_of_the_usual_face": round(float(np.median(read[:, PITCH])), 1),
    }
    print(write_result("yaw_scale", record, given.out))


def by_the_linear_model(generator: Generator, checkpoint: Path, w: Tensor) -> Floats:
    """Return the semantics [N, 6] of latents by the linear model of a discovery."""
    state = {
        name.removeprefix("linear/"): value
        for name, value in load_file(checkpoint).items()
        if name.startswith("linear/")
    }
    white = whitening(generator)
    odd, even = (state[name].double().numpy() for name in ("odd", "even"))
    none = np.zeros(white.width)
    model = LinearFace(MirrorSplit(white, odd, even, none, none), side=state["log_sigma"].shape[-1])
    model.load_state_dict(state)
    with torch.no_grad():
        return np.asarray(semantics_of(model(white.white(w.float()))).double().numpy(), np.float64)


def compared(w: Floats, network: Floats, linear: Floats, landmarks: Floats) -> dict[str, Any]:
    """Return how yaw [N] by the network, by the linear model and by landmarks compare on latents w [N, D]."""
    moved = {name: _moved(w, yaw) for name, yaw in (("network", network), ("linear", linear), ("landmarks", landmarks))}
    scale = moved["linear"] / moved["network"]
    side, bins = np.sign(network), np.round(np.abs(network) / BIN_WIDTH).astype(int)
    alike = [
        {
            "found": round(float(np.abs(network)[rows].mean()), 1),
            "faces": int(rows.sum()),
            "landmarks": round(float((side * landmarks)[rows].mean()), 1),
        }
        for rows in (bins == k for k in range(1, bins.max() + 1))
        if rows.sum() >= MIN_BIN_FACES
    ]
    frontal = np.abs(landmarks) < 10
    return {
        "degrees_per_standard_deviation_of_w": {name: round(value, 2) for name, value in moved.items()},
        "found_degree_per_landmark_degree": {
            "over all faces": round(moved["network"] / moved["landmarks"], 3),
            "up to 10 degrees": round(float(np.polyfit(landmarks[frontal], network[frontal], 1)[0]), 3),
        },
        "read_alike": alike,
        "scale_from_the_linear_model": round(scale, 3),
        "errors": {"as found": _errors(network, landmarks), "scaled": _errors(scale * network, landmarks)},
    }


def _moved(w: Floats, yaw: Floats) -> float:
    """Return the standard deviation of the linear part of yaw."""
    slopes = np.linalg.lstsq(np.c_[np.ones(len(w)), w], yaw, rcond=None)[0][1:]
    return float(np.sqrt(slopes @ np.cov(w.T) @ slopes))


def _errors(found: Floats, landmarks: Floats) -> dict[str, float]:
    """Return the share within 5 degrees and the root mean square error by how far faces are turned."""
    off, turned = found - landmarks, np.abs(landmarks)
    rows = {name: (turned >= low) & (turned < high) for name, (low, high) in TURNED.items()}
    return {
        "within_5_degrees": round(float((np.abs(off) <= 5).mean()), 3),
        **{name: round(float(np.sqrt(np.square(off[part]).mean())), 2) for name, part in rows.items() if part.any()},
    }


if __name__ == "__main__":
    main()
