"""Probes: small networks trained on a dataset's own labels, calibrated, and used to read generated faces.

Two are trained apart (other network, other split, other seed): one steers edits, the other judges their result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faceaug.classifiers.networks import INPUT_SIZE, ClassifierNet
from faceaug.errors import IntegrityError
from faceaug.utils.augmentations import jitter
from faceaug.utils.files import atomic
from faceaug.utils.typing import Floats

FORMAT, VERSION = "faceaug-probe", 1
MOST_ODDS = 8.0  # log-odds beyond this (p = 0.9997) are not told apart
TOGETHER = 64  # pictures that go through a network at once
SIDED = ("yaw", "roll", "light_x", "light_side")  # attributes that a mirror changes
LEANING = ("roll", "light_x", "light_y", "light_side")  # attributes that a rotation of the picture changes
BRIGHT = ("brightness", "exposure", "luminance", "contrast")  # attributes that exposure and contrast change
SHADED = ("light", *BRIGHT)  # attributes that contrast changes; light is the share of it that has a direction


@dataclass(frozen=True)
class Task:
    """One attribute that a probe reads.

    Attributes
    ----------
    name : str
        The attribute's column.
    kind : "classes" or "value"
    levels : tuple of str
        Class names; for a value, empty.
    mean, scale : float
        For a value: centre and spread of the training labels, in the label's unit.
    """

    name: str
    kind: Literal["classes", "value"]
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of outputs of the network."""
        return len(self.levels) if self.kind == "classes" else 1

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of what is read: `name=level` in log-odds against the rest for each class, or `name` for a value."""
        return tuple(f"{self.name}={level}" for level in self.levels) if self.kind == "classes" else (self.name,)


@dataclass(frozen=True)
class Calibration:
    """What turns a task's raw outputs into calibrated ones, fitted on pictures that trained nothing.

    Attributes
    ----------
    temperature : float
        Divides the logits (classes).
    bias : tuple of float
        Added to the logits before, so that probabilities hold where all classes are equally frequent: generated faces
        do not follow the dataset's frequencies.
    sigma : float
        Standard deviation of the error in the label's unit (value).
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    sigma: float = 1.0


class Classifier:
    """A trained network with its tasks and calibration; see `train_probe`."""

    def __init__(
        self, net: ClassifierNet, trunk: str, tasks: Sequence[Task], calibrations: Sequence[Calibration]
    ) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trunk, self.tasks, self.calibrations = trunk, tuple(tasks), tuple(calibrations)

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of the columns of `read`."""
        return tuple(name for task in self.tasks for name in task.semantics)

    def sigma(self, attribute: str) -> float:
        """Return the standard deviation of the error of an attribute that is a value, in the label's unit."""
        return self.calibrations[[task.name for task in self.tasks].index(attribute)].sigma

    def read(self, images: Tensor) -> tuple[Floats, NDArray[np.float32]]:
        """Read pictures, `TOGETHER` at once.

        That number is fixed, for another one changes the last bits of what is read, and samples shall not depend on
        a setting of speed.

        Parameters
        ----------
        images : Tensor [N, 3, R, R] in [-1, 1]
            In the dataset's framing; resized to 64 px where they are not.

        Returns
        -------
        values : float64 [N, S]
            In the order of `semantics`: log-odds of a class against the rest, or a value in the label's unit.
        features : float32 [N, F]
            The pooled features below the last layer.
        """
        device = next(self.net.parameters()).device
        raw, features = [], []
        with torch.inference_mode():
            for part in torch.split(images, TOGETHER):
                x = fit(part).to(device).contiguous(memory_format=torch.channels_last)
                f = self.net.features(x)
                features.append(f.float().cpu().numpy())
                raw.append(self.net.head(f).double().cpu().numpy())
        outputs = np.concatenate(raw) if raw else np.empty((0, sum(t.width for t in self.tasks)))
        columns, start = [], 0
        for task, calibration in zip(self.tasks, self.calibrations, strict=True):
            columns.append(_calibrated(outputs[:, start : start + task.width], task, calibration))
            start += task.width
        return np.concatenate(columns, 1), np.concatenate(features) if features else np.empty((0, 1), np.float32)

    def save(self, path: Path) -> None:
        """Write the probe to one .safetensors file, atomically."""
        header = dict(format=FORMAT, version=VERSION, trunk=self.trunk, tasks=[asdict(t) for t in self.tasks],
                      calibrations=[asdict(c) for c in self.calibrations])  # fmt: skip
        state = {name: value.contiguous() for name, value in self.net.state_dict().items()}
        with atomic(path) as temporary:
            save_file(state, temporary, metadata={"faceaug": json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a probe that `save` wrote; IntegrityError when it is damaged or of another version."""
        try:
            with safe_open(str(path), "pt") as file:
                header = json.loads((file.metadata() or {}).get("faceaug", "{}"))
                if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                    raise IntegrityError(f"{path} is not a {FORMAT} of version {VERSION}; run again without --resume")
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tasks = [Task(**{**t, "levels": tuple(t["levels"])}) for t in header["tasks"]]
            calibrations = [Calibration(**{**c, "bias": tuple(c["bias"])}) for c in header["calibrations"]]
            if [len(c.bias) for c in calibrations] != [t.width if t.kind == "classes" else 0 for t in tasks]:
                raise ValueError("its calibration does not fit its tasks")
            net = new_net(header["trunk"], tasks, 0)
            net.load_state_dict(state)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            raise IntegrityError(f"{path} cannot be read as a probe ({why}); run again without --resume") from error
        return cls(net, header["trunk"], tasks, calibrations)


def fit(images: Tensor) -> Tensor:
    """Resize pictures [N, 3, R, R] to the probe's 64 px; what fits already is passed through."""
    if images.shape[-1] == INPUT_SIZE:
        return images
    size = (INPUT_SIZE, INPUT_SIZE)
    return F.interpolate(
        images, size=size, mode="bilinear", antialias=images.shape[-1] > INPUT_SIZE, align_corners=False
    )


def new_net(trunk: str, tasks: Sequence[Task], seed: int) -> ClassifierNet:
    """Return a freshly initialised network; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClassifierNet(trunk, sum(task.width for task in tasks))


@dataclass(frozen=True)
class ClassifierSchedule:
    """How long and how fast a probe is trained."""

    steps: int
    batch: int = 64
    peak_rate: float = 4e-3
    weight_power: float = 0.7
    """Classes weigh count^-power: 0 is as they come, 1 fully balanced; 0.7 finds rare classes and keeps the others."""

    @classmethod
    def for_size(cls, n: int) -> ClassifierSchedule:
        """Return sixteen rounds over n pictures, at least 200 and at most 4,000 steps."""
        return cls(steps=int(np.clip(16 * n // 64, 200, 4000)))


def train_net(
    net: ClassifierNet,
    tasks: Sequence[Task],
    images: NDArray[np.uint8],
    labels: Sequence[Floats],
    schedule: ClassifierSchedule,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train a probe's network in place.

    Parameters
    ----------
    images : uint8 [N, 64, 64, 3]
    labels : one float64 [N] a task
        Class numbers or values in the label's unit; NaN where unknown (not trained on).
    progress : callable (step, loss), optional
        Called after each step.
    """
    rng = torch.Generator().manual_seed(seed)
    mirror, rotate, exposure, contrast = (
        not any(task.name.lower() in names for task in tasks) for names in (SIDED, LEANING, BRIGHT, SHADED)
    )
    targets = [torch.from_numpy(_standard(task, y)) for task, y in zip(tasks, labels, strict=True)]
    weights = [
        torch.from_numpy(sample_weights(task, y, schedule.weight_power)) for task, y in zip(tasks, labels, strict=True)
    ]
    net.to(device).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), schedule.peak_rate / 2, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, schedule.peak_rate, total_steps=schedule.steps, pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    batch = min(schedule.batch, len(images))
    for step in range(schedule.steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=rng)
        pick, order = order[:batch], order[batch:]
        pictures = torch.from_numpy(images[pick.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1
        varied = jitter(pictures, rng, mirror=mirror, rotate=rotate, exposure=exposure, contrast=contrast)
        x = varied.to(device).contiguous(memory_format=torch.channels_last)
        features = net.features(x)
        keep = (torch.rand(features.shape, generator=rng) >= net.drop_share).to(device) / (1 - net.drop_share)
        loss = _loss(
            net.head(features * keep),
            tasks,
            [t[pick].to(device) for t in targets],
            [w[pick].to(device) for w in weights],
        )
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        rate.step()
        if progress:
            progress(step + 1, float(loss.detach()))
    net.eval()


def sample_weights(task: Task, labels: Floats, power: float) -> NDArray[np.float32]:
    """Return label weights of mean 1: count^-power of a class, or of a value's tenth of the range; 0 for NaN."""
    known = np.isfinite(labels)
    groups = np.zeros(len(labels), np.int64)
    if task.kind == "classes":
        groups[known] = labels[known].astype(np.int64)
    elif known.any():
        low, high = np.quantile(labels[known], [0.005, 0.995])
        groups[known] = np.clip((labels[known] - low) / max(high - low, 1e-12) * 10, 0, 9).astype(np.int64)
    counts = np.bincount(groups[known], minlength=1).astype(np.float64)
    weights = np.where(known, np.maximum(counts, 1)[groups] ** -power, 0.0)
    return (weights / max(weights[known].mean() if known.any() else 1.0, 1e-12)).astype(np.float32)


def _standard(task: Task, labels: Floats) -> NDArray[np.float32]:
    return ((labels - task.mean) / task.scale if task.kind == "value" else labels).astype(np.float32)


def _loss(outputs: Tensor, tasks: Sequence[Task], labels: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    total, start = outputs.new_zeros(()), 0
    for task, y, weight in zip(tasks, labels, weights, strict=True):
        part = outputs[:, start : start + task.width]
        start += task.width
        known = torch.isfinite(y)
        y = torch.where(known, y, torch.zeros_like(y))
        each = (
            F.cross_entropy(part, y.long(), reduction="none", label_smoothing=0.05) if task.kind == "classes"
            else F.smooth_l1_loss(part[:, 0], y, reduction="none", beta=0.5) * 2
        )  # fmt: skip
        total = total + (each * weight).sum() / len(y)
    return total


def _calibrated(outputs: Floats, task: Task, calibration: Calibration) -> Floats:
    if task.kind == "value":
        return outputs * task.scale + task.mean
    logits = (outputs + np.asarray(calibration.bias)) / calibration.temperature
    return np.clip(log_odds(logits), -MOST_ODDS, MOST_ODDS)


def log_odds(logits: Floats) -> Floats:
    """Return the log-odds [N, K] of each class against the rest from logits [N, K]."""
    top = logits.max(1, keepdims=True)
    e = np.exp(logits - top)
    rest = np.maximum(e.sum(1, keepdims=True) - e, 1e-300)
    return np.asarray(logits - top - np.log(rest), np.float64)
