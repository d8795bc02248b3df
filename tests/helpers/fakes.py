"""Generators for tests: images that show exactly what their latents are, and toy faces with visible attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.classifiers.classifier import Calibration, Classifier, Task, new_net
from faceaug.generators.base import in_tiles, sample_z
from faceaug.latents.directions import Directions
from faceaug.utils.images import Codec, encode
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats


class FakeGenerator:
    """What all fakes share: w = w_mean + z A^T, and the other members of the protocol."""

    licence, origin = "none needed", "made up for tests"

    def __init__(self, name: str, resolution: int, w_mean: Floats, mixing: Floats) -> None:
        self.name, self.resolution = name, resolution
        self.w_mean, self.w_covariance = w_mean, mixing @ mixing.T
        self.w_dim, self.z_dim = mixing.shape
        self.device = torch.device("cpu")
        self._mixing, self._mean = torch.from_numpy(mixing).float(), torch.from_numpy(w_mean).float()
        self.sha256 = self.hash_of(mixing, w_mean)

    def hash_of(self, *parts: Any) -> str:
        """Return a hash of what decides the images, in place of the hash of a weights file."""
        digest = hashlib.sha256(self.name.encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def map(self, z: Tensor) -> Tensor:
        return in_tiles(lambda part: self._mean + part @ self._mixing.T, z)

    def to(self, device: str | torch.device) -> FakeGenerator:
        if torch.device(device).type != "cpu":
            raise RuntimeError("fakes live on the CPU")
        return self

    def draw(self, n: int, seed: int = 0) -> NDArray[np.float32]:
        """Return n latents w, float32 [n, D]."""
        z = np.stack([sample_z(self.z_dim, (seed, i)) for i in range(n)])
        return self.map(torch.from_numpy(z)).numpy()


class BlockGenerator(FakeGenerator):
    """Each coordinate of w is the grey of one of 4x4 blocks: a reading that is linear in w is linear by construction.

    With `bend` the image shows w + bend * sin(w) instead, which is monotone for |bend| < 1 and not linear. Beyond
    +-RANGE the grey saturates: values there cannot be reached.
    """

    BLOCKS = 4
    RANGE = 8.0

    def __init__(self, width: int = 8, *, seed: int = 0, bend: float = 0.0, resolution: int = 16) -> None:
        rng = np.random.default_rng([seed, width])
        rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
        mixing = rotation * np.geomspace(0.3, 1.2, width)  # no direction varies like another
        super().__init__(f"blocks-{width}-{seed}", resolution, rng.normal(size=width) * 0.3, mixing)
        self.bend = bend
        self.sha256 = self.hash_of(mixing, self.w_mean, bend)

    def synthesize(self, w: Tensor) -> Tensor:
        w = w.float()
        grey = ((w + self.bend * torch.sin(w)) / self.RANGE).clamp(-1, 1)
        blocks = torch.nn.functional.pad(grey, (0, self.BLOCKS**2 - self.w_dim)).view(-1, 1, self.BLOCKS, self.BLOCKS)
        side = self.resolution // self.BLOCKS
        return blocks.repeat_interleave(side, 2).repeat_interleave(side, 3).repeat(1, 3, 1, 1)

    def decode(self, images: Tensor) -> Floats:
        """Return what the images show of w, float64 [N, D]."""
        side = self.resolution // self.BLOCKS
        means = images.double().mean(1).unfold(1, side, side).unfold(2, side, side).mean((3, 4))
        return means.flatten(1).numpy()[:, : self.w_dim] * self.RANGE


@dataclass(frozen=True)
class BlockReader:
    """Reads S semantics, offset + B (w - w_mean), off the blocks of a `BlockGenerator`."""

    generator: BlockGenerator
    B: Floats
    offset: Floats

    def __call__(self, images: Tensor) -> Floats:
        return self.offset + (self.generator.decode(images) - self.generator.w_mean) @ self.B.T

    def directions(self, **changes: Any) -> Directions:
        """Return the exact directions of these semantics."""
        covariance = self.generator.w_covariance
        count = len(self.B)
        values: dict[str, Any] = {
            "names": tuple(f"s{k}" for k in range(count)),
            "kinds": ("attribute",) * count,
            "units": ("unit",) * count,
            "B": self.B,
            "offset": self.offset,
            "spread": np.sqrt(np.einsum("sd,de,se->s", self.B, covariance, self.B)),
            "r2": np.ones(count),
            "w_mean": self.generator.w_mean,
            "covariance": covariance,
            "generator": self.generator.sha256,
        }
        return Directions(**{**values, **changes})


def block_reader(generator: BlockGenerator, count: int, seed: int = 0) -> BlockReader:
    """Return a reader of `count` random semantics of unit slope, independent as long as count <= D."""
    rng = np.random.default_rng([seed, count, 1])
    rows = np.linalg.qr(rng.normal(size=(generator.w_dim, generator.w_dim)))[0][:count]
    rows = rows + 0.3 * rng.normal(size=rows.shape) / np.sqrt(generator.w_dim)  # neither orthogonal nor nearly the same
    return BlockReader(generator, rows / np.linalg.norm(rows, axis=1, keepdims=True), rng.normal(size=count))


class ToyFaces(FakeGenerator):
    """Toy faces of 64 px, w = z: a sum of fixed images, each weighed by a coordinate of w.

    Coordinates 0 to 2 colour what is outside the face, 3 lightens the face, 4 lights its right side, 5 darkens a bar
    across the eyes, 6 lightens a spot below them; the rest are soft patterns that make each face another.
    """

    BAR, SPOT = 5, 6

    def __init__(self, width: int = 20) -> None:
        super().__init__(f"toy-faces-{width}", 64, np.zeros(width), np.eye(width))
        steps = (np.arange(64) + 0.5) / 64
        y, x = np.meshgrid(steps, steps, indexing="ij")
        face = soft(1 - np.hypot((x - 0.5) / 0.30, (y - 0.55) / 0.42), 0.08)
        bar = face * soft(0.07 - np.abs(y - 0.45), 0.01)
        spot = soft(1 - np.hypot((x - 0.5) / 0.14, (y - 0.72) / 0.12), 0.1)
        eyes = sum(soft(1 - np.hypot((x - c) / 0.06, (y - 0.45) / 0.05), 0.2) for c in (0.38, 0.62))
        self._plain = torch.from_numpy(0.35 * face - 0.15 - 0.4 * eyes).float().expand(3, 64, 64)
        parts = np.zeros((width, 3, 64, 64))
        for channel in range(3):
            parts[channel, channel] = 0.12 * (1 - face)
        for k, image in ((3, 0.08 * face), (4, 0.3 * face * (x - 0.5)), (5, -0.4 * bar), (6, 0.25 * spot)):
            parts[k] = image
        rng = np.random.default_rng(5)
        for k in range(7, width):
            across, down, shift = rng.integers(0, 5), rng.integers(1, 5), rng.uniform(0, np.pi)
            parts[k] = 0.09 * np.cos(np.pi * (across * x + down * y) + shift)
        self._parts = torch.from_numpy(parts).float().flatten(1)  # [D, 3 * 64 * 64]
        self.sha256 = self.hash_of(parts)

    def synthesize(self, w: Tensor) -> Tensor:
        return in_tiles(lambda part: (self._plain + (part @ self._parts).view(-1, 3, 64, 64)).clamp(-1, 1), w.float())


def soft(inside: Floats, edge: float) -> Floats:
    """Return 1 where `inside` is positive and 0 where it is negative, with a soft edge."""
    return 1 / (1 + np.exp(-np.clip(inside / edge, -50, 50)))


class ToyReader(torch.nn.Sequential):
    """A trunk for classifiers of toy faces: one convolution over the whole image, giving the coordinates of w."""

    WIDTH = 20

    def __init__(self) -> None:
        super().__init__(torch.nn.Conv2d(3, self.WIDTH, 64))

    @classmethod
    def trunk(cls) -> tuple[ToyReader, int]:
        """Return a trunk and its width, as an entry of `networks.TRUNKS` does."""
        return cls(), cls.WIDTH


def toy_classifier(trunk: str, tasks: Sequence[Task], steepness: float, blur: float, seed: int) -> Classifier:
    """Return a classifier that reads the bar and the spot of toy faces exactly, but for a random error of size `blur`.

    `networks.TRUNKS[trunk]` must be `ToyReader.trunk`. Tasks are "bar" (no, yes) and "spot" (a value), any of them.
    """
    faces = ToyFaces(ToyReader.WIDTH)
    parts = faces._parts.double().numpy()
    exact = np.linalg.pinv(parts).T  # [D, 3 * 64 * 64]: exact @ (image - plain) is w
    exact += blur * np.random.default_rng(seed).normal(size=(len(exact), len(exact))) @ exact / np.sqrt(len(exact))
    net = new_net(trunk, tasks, seed)
    conv, width = next(iter(net.trunk)), ToyReader.WIDTH
    conv.weight.data = torch.from_numpy(exact).float().view(width, 3, 64, 64)
    conv.bias.data = -torch.from_numpy(exact @ faces._plain.double().numpy().ravel()).float()
    rows, offsets, calibrations = torch.zeros(net.head.weight.shape), torch.zeros(len(net.head.bias)), []
    start = 0
    for task in tasks:
        if task.kind == "classes":
            rows[start + 1, ToyFaces.BAR], offsets[start + 1] = steepness, -0.7 * steepness
            calibrations.append(Calibration(bias=(0.0, 0.0)))
        else:
            rows[start, ToyFaces.SPOT], offsets[start] = 1 / task.scale, -task.mean / task.scale
            calibrations.append(Calibration(sigma=0.3))
        start += task.width
    net.head.weight.data, net.head.bias.data = rows, offsets
    return Classifier(net, trunk, tasks, calibrations)


def write_toy_dataset(folder: Path, n: int = 200, *, codec: Codec = "png", seed: int = 1) -> tuple[Path, Path]:
    """Write n toy faces and labels.csv (file, bar, spot), and return the folder and the table. A dark bar is rare."""
    generator = ToyFaces()
    w = generator.draw(3 * n, seed)
    w = w[np.abs(w[:, generator.BAR] - 0.7) > 0.3][:n]  # no bar that is only half there
    images = to_uint8(generator.synthesize(torch.from_numpy(w)))
    image_folder = folder / "images"
    image_folder.mkdir(parents=True)
    suffix = "jpg" if codec == "jpeg" else codec
    rows = ["file,bar,spot"]
    for i, (image, latent) in enumerate(zip(images, w, strict=True)):
        (image_folder / f"{i:04d}.{suffix}").write_bytes(encode(image, codec, 85 + i % 10))
        bar = "yes" if latent[generator.BAR] > 0.7 else "no"
        rows.append(f"{i:04d}.{suffix},{bar},{latent[generator.SPOT]:.4f}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    return image_folder, labels


def signs(n: int, seed: int, side: int = 32) -> tuple[NDArray[np.uint8], NDArray[np.int64], Floats]:
    """Return images uint8 [n, side, side, 3], whether each has a bright patch, and the roll of its bar in degrees.

    A patch is rare (one in four). A bar's right end is thick, so that its roll differs from its mirror's.
    """
    rng = np.random.default_rng([seed, 0x51])
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    images = rng.normal(110, 8, (n, side, side, 3)) + rng.normal(0, 12, (n, 1, 1, 3))
    patch = (rng.random(n) < 0.25).astype(np.int64)
    roll = rng.uniform(-40, 40, n)
    for image, has, angle, (across, down) in zip(images, patch, roll, rng.uniform(-0.3, 0.3, (n, 2)), strict=True):
        turn = np.radians(angle)
        along, off = x * np.cos(turn) + (y - 0.1) * np.sin(turn), -x * np.sin(turn) + (y - 0.1) * np.cos(turn)
        image[(np.abs(along) < 0.42) & (np.abs(off) < np.where(along > 0.1, 0.09, 0.04))] -= 70
        if has:
            image[(np.abs(x - across) < 0.11) & (np.abs(y - down * 0.3 + 0.3) < 0.11)] += 110
    return images.round().clip(0, 255).astype(np.uint8), patch, roll
