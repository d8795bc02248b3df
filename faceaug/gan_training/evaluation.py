"""How well a generator draws what a set of real pictures shows: distances, precision and recall, copies, a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from faceaug.errors import GeneratorError
from faceaug.gan_training.features import FeatureExtractor
from faceaug.gan_training.metrics import frechet, kernel_distance, nearest, precision_recall
from faceaug.generators.base import Generator
from faceaug.generators.sampling import sample_faces, sample_w
from faceaug.generators.stylegan2_networks import StyleGAN2Network
from faceaug.generators.weights_file import made_by
from faceaug.utils.images import Rgb, contact_sheet

FORMAT, VERSION = "faceaug-evaluation", 1
FEWEST = 32
"""Pictures of each kind below which nothing is told."""
NEIGHBOURS = 3
PRICE = 2.5
"""Images of training that take as long as one face of a curve's point: measured at the preset tiny
(benchmarks/curve_cost.py); larger ones train slower and are looked at as fast."""
MOST_POINTS, MEASURING = 20, 0.2
_COPY = 0.01  # quantile of the real pictures' distances to each other below which a made one counts as a near-copy
Pixels = npt.NDArray[np.uint8]
Stages = Callable[[str, int, int], None]


def sample(
    generator: Generator,
    n: int,
    seed: int = 0,
    psi: float | None = None,
    progress: Callable[[int], object] | None = None,
) -> Pixels:
    """Draw `n` pictures uint8 [n, R, R, 3]; draw k depends on (seed, k) alone, `psi` is as for `sample_w`."""
    faces = np.empty((n, generator.resolution, generator.resolution, 3), np.uint8)
    for row, face in enumerate(sample_faces(generator, sample_w(generator, n, seed, psi))):
        faces[row] = face
        if progress:
            progress(1)
    return faces


def to_pixels(images: torch.Tensor) -> Pixels:
    """Turn images [N, 3, R, R] in [-1, 1] into uint8 [N, R, R, 3]."""
    return np.asarray(images.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())


def grid(made: Pixels, columns: int = 16) -> Rgb:
    """Return a contact sheet of the first pictures, at most 128."""
    return contact_sheet(list(made[:128]), columns=columns)


def evaluate(
    generator: Generator,
    real: Pixels,
    features: FeatureExtractor,
    *,
    n: int | None = None,
    seed: int = 0,
    psi: float | None = None,
    fid: FeatureExtractor | None = None,
    stages: Stages | None = None,
) -> tuple[dict[str, Any], Pixels]:
    """Compare a generator's draws with real pictures.

    Parameters
    ----------
    generator
        What draws.
    real : uint8 [N, R, R, 3]
        Real pictures of the generator's resolution.
    features
        What they are compared by.
    n
        Pictures of each kind; as many as there are real ones, at most 5,000, when None.
    seed
        Seed of the draws and of which real pictures are used.
    psi
        Truncation of the draws; the generator's own when None.
    fid
        Inception's features, for the figure that is called FID.
    stages : callable, optional
        Told (stage, done, total).

    Returns
    -------
    dict
        JSON-able: counts, seed, versions, and the figures. Beside them stands how far two halves of the real pictures
        are from each other: no generator can be expected to come nearer for so many pictures.
    uint8 [n, R, R, 3]
        What was drawn.

    Raises
    ------
    GeneratorError
        When there are too few pictures.
    """
    count = min(len(real), 5000) if n is None else n
    if count > len(real):
        raise GeneratorError(
            f"{count:,} pictures of each kind were asked for, and there are {len(real):,} real ones: ask for fewer"
        )
    if count < FEWEST:
        raise GeneratorError(f"{count} pictures of each kind tell nothing: at least {FEWEST} are needed")
    chosen = real[np.random.default_rng((seed, 1)).permutation(len(real))[:count]]  # also the order of the halves
    tell = _Teller(stages)
    made = sample(generator, count, seed, psi, tell.of("drawing", count))
    a = features.of(chosen, tell.of("real features", count))
    b = features.of(made, tell.of("features of draws", count))
    half = count // 2
    precision, recall = precision_recall(a, b, NEIGHBOURS)
    found: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "generator": {key: getattr(generator, key) for key in ("name", "resolution", "sha256", "origin")},
        "n": count,
        "seed": seed,
        "psi": psi if psi is not None else getattr(generator, "psi", 1.0),
        "frechet": {"name": features.distance, "value": _rounded(frechet(a, b))},
        "kernel_distance": _rounded(kernel_distance(a, b)),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "neighbours": NEIGHBOURS,
        "near_copies": _copies(a, b),
        "split_half": {
            "n": half,
            "frechet": _rounded(frechet(a[:half], a[half : 2 * half])),
            "frechet_of_draws": _rounded(frechet(a[:half], b[:half])),
            "kernel_distance": _rounded(kernel_distance(a[:half], a[half : 2 * half])),
        },
        "versions": {"faceaug": made_by().removeprefix("faceaug "), "torch": torch.__version__, **features.versions},
    }
    if fid is not None:
        c, d = fid.of(chosen, tell.of("Inception, real", count)), fid.of(made, tell.of("Inception, draws", count))
        found["fid"] = {"name": fid.distance, "value": _rounded(frechet(c, d))}
        found["fid"]["split_half"] = _rounded(frechet(c[:half], c[half : 2 * half]))
        found["versions"] |= fid.versions
    return found, made


def _copies(real: npt.NDArray[np.float32], made: npt.NDArray[np.float32]) -> dict[str, float]:
    """Share of draws nearer to a real picture than all but 1% of real pictures are to another."""
    limit = float(np.quantile(nearest(real, real, 2), _COPY))
    return {"share": round(float((nearest(made, real) < limit).mean()), 4), "of_real": _COPY}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


class _Teller:
    """Turns what was just done into (stage, done, total)."""

    def __init__(self, stages: Stages | None) -> None:
        self._stages = stages

    def of(self, stage: str, total: int) -> Callable[[int], None] | None:
        tell, done = self._stages, 0
        if tell is None:
            return None

        def add(count: int) -> None:
            nonlocal done
            done += count
            tell(stage, done, total)

        return add


def affordable_points(images: int, faces: int) -> int:
    """Return how many points a curve may have by default, so that a run spends most of its time on training.

    Parameters
    ----------
    images
        Images that the run sees in all.
    faces
        Faces of each kind for a point; 0 where there is no curve.

    Returns
    -------
    int
        1 to `MOST_POINTS`. Above 1, all points and the look at the real faces, which takes as long as one, take at most
        the share `MEASURING` of the time.
    """
    if not faces:
        return MOST_POINTS
    affordable = int(images * MEASURING / (1 - MEASURING) / (PRICE * faces)) - 1
    return min(max(affordable, 1), MOST_POINTS)


class Curve:
    """The Fréchet distance of a network under training to pictures of its training set, snapshot by snapshot.

    Parameters
    ----------
    real : uint8 [N, R, R, 3]
        What it is compared with, and as many draws each time.
    features
        What they are compared by.
    device
        Where the network is.
    """

    def __init__(self, real: Pixels, features: FeatureExtractor, device: torch.device | str = "cpu") -> None:
        if len(real) < FEWEST:
            raise GeneratorError(f"{len(real)} pictures of each kind tell nothing: at least {FEWEST} are needed")
        self._features, self._device, self._n = features, device, len(real)
        self._real = features.of(real)

    @torch.no_grad()
    def __call__(self, network: StyleGAN2Network) -> Mapping[str, float]:
        """Return the distance as "frechet", and the pictures of each kind as "frechet_n"."""
        config = network.config
        rng = torch.Generator().manual_seed(2)  # the same latents each time: what moves is the network
        parts = []
        for start in range(0, self._n, 32):
            z = torch.randn(min(32, self._n - start), config.z_dim, generator=rng).to(self._device)
            ws = network.mapping(z)[:, None].expand(-1, config.num_ws, -1)
            parts.append(to_pixels(network.synthesis(ws)))
        distance = frechet(self._real, self._features.of(np.concatenate(parts)))
        return {"frechet": _rounded(distance), "frechet_n": self._n}
