"""Classifiers: small networks that read attributes off images, with calibrated outputs, and their file.

A run trains two, apart from each other (another network, split and seed): the guidance classifier guides edits, the
held-out classifier judges their results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from faceaug.classifiers.feature_net import FROZEN_TRUNKS, FeatureNet
from faceaug.classifiers.networks import DEFAULT_INPUT_SIZE, ClassifierNet
from faceaug.errors import IntegrityError
from faceaug.pretrained.efficientnet import EFFICIENTNET_INSTALL, efficientnet_weights_installed
from faceaug.utils.files import write_bytes
from faceaug.utils.tensors import open_safetensors
from faceaug.utils.text import one_line, shown
from faceaug.utils.typing import Floats, Floats32

_FORMAT, _VERSION = "faceaug-classifier", 2
MAX_LOG_ODDS = 8.0
"""Log-odds are clipped to +-8 (p = 0.9997): calibration says nothing of more extreme ones."""
READ_BATCH = 64
"""Images that go through a network at once. The number is fixed, since another one changes the last bits of the result,
and samples must not depend on a setting that only affects speed."""


@dataclass(frozen=True)
class Task:
    """One attribute that a classifier reads.

    Attributes
    ----------
    name : str
        Column of the attribute.
    kind : "classes" or "value"
    levels : tuple of str
        Names of the classes; empty for a value.
    mean, scale : float
        For a value: mean and standard deviation of the training labels, in the unit of the label.
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
        """Names of the columns of `Classifier.read`: `name=level` for each class, or `name` for a value."""
        return tuple(f"{self.name}={level}" for level in self.levels) if self.kind == "classes" else (self.name,)


@dataclass(frozen=True)
class Calibration:
    """Calibration of the outputs of a task, fitted on images that were not trained on (docs/method.md, section 6).

    Attributes
    ----------
    temperature : float
        For classes: divides the logits.
    bias : tuple of float
        For classes: added to the logits before, so that probabilities hold where all classes are equally frequent.
        Generated faces do not have the frequencies of the data set. Empty for a value.
    sigma : float
        For a value: standard deviation of the error, in the unit of the label.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    sigma: float = 1.0


class Classifier:
    """A trained network with its tasks and their calibration; see `faceaug.classifiers.training`.

    Parameters
    ----------
    net : ClassifierNet
        Frozen and set to evaluation.
    trunk : str
        A key of `faceaug.classifiers.networks.TRUNKS` or of `faceaug.classifiers.feature_net.FROZEN_TRUNKS`.
    tasks : sequence of Task
        In the order of the outputs.
    calibrations : sequence of Calibration
        One per task.
    input_size : int
        Side in pixels of the images that the network reads.
    """

    def __init__(
        self,
        net: ClassifierNet,
        trunk: str,
        tasks: Sequence[Task],
        calibrations: Sequence[Calibration],
        input_size: int = DEFAULT_INPUT_SIZE,
    ) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trunk, self.tasks, self.calibrations = trunk, tuple(tasks), tuple(calibrations)
        self.input_size = input_size

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of the columns of `read`."""
        return tuple(name for task in self.tasks for name in task.semantics)

    def sigma(self, attribute: str) -> float:
        """Return the standard deviation of the error of an attribute that is a value, in the unit of the label."""
        return self.calibrations[[task.name for task in self.tasks].index(attribute)].sigma

    def read(self, images: Tensor) -> tuple[Floats, Floats32]:
        """Read images, `READ_BATCH` at once.

        Parameters
        ----------
        images : Tensor of float32 [N, 3, R, R]
            In [-1, 1], in the framing of the data set; resized to `input_size` where they have another size.

        Returns
        -------
        values : float64 [N, S]
            In the order of `semantics`: calibrated log-odds of a class against all others, within +-`MAX_LOG_ODDS`,
            or a value in the unit of the label.
        features : float32 [N, F]
            The pooled features before the last layer.
        """
        device = next(self.net.parameters()).device
        outputs, features = [np.empty((0, sum(task.width for task in self.tasks)))], []
        with torch.inference_mode():
            for batch in torch.split(images, READ_BATCH):
                x = resize_input(batch, self.input_size).to(device).contiguous(memory_format=torch.channels_last)
                pooled = self.net.features(x)
                features.append(pooled.float().cpu().numpy())
                outputs.append(self.net.head(pooled).double().cpu().numpy())
        raw = np.concatenate(outputs)
        columns, start = [], 0
        for task, calibration in zip(self.tasks, self.calibrations, strict=True):
            columns.append(_calibrated(raw[:, start : start + task.width], task, calibration))
            start += task.width
        return np.concatenate(columns, 1), np.concatenate(features) if features else np.empty((0, 1), np.float32)

    def save(self, path: Path) -> None:
        """Write the classifier to one .safetensors file, atomically.

        Of a pretrained network that it reads features of, the file has the hash.
        """
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "trunk": self.trunk,
            "pretrained": self.net.source.sha256 if isinstance(self.net, FeatureNet) else None,
            "input_size": self.input_size,
            "tasks": [asdict(task) for task in self.tasks],
            "calibrations": [asdict(calibration) for calibration in self.calibrations],
        }
        learnt = self.net.learnt_state() if isinstance(self.net, FeatureNet) else self.net.state_dict()
        state = {name: value.contiguous() for name, value in learnt.items()}
        write_bytes(path, save(state, metadata={"faceaug": json.dumps(header)}))

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a classifier that `save` wrote.

        Raises
        ------
        IntegrityError
            When the file is missing, damaged, or of another format or version, or the pretrained network whose features
            it reads is not installed.
        """
        try:
            with open_safetensors(path, "pt") as (file, header):
                _check_version(path, header.get("format"), header.get("version"))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tasks = [Task(**{**fields, "levels": tuple(fields["levels"])}) for fields in header["tasks"]]
            calibrations = [
                Calibration(**{**fields, "bias": tuple(fields["bias"])}) for fields in header["calibrations"]
            ]
            if [len(c.bias) for c in calibrations] != [t.width if t.kind == "classes" else 0 for t in tasks]:
                raise ValueError("its calibration does not fit its tasks")
            _check_pretrained(path, header["trunk"], header["pretrained"])
            net = new_net(header["trunk"], tasks, 0)
            if isinstance(net, FeatureNet):
                net.load_learnt_state(state)
            else:
                net.load_state_dict(state)
            return cls(net, header["trunk"], tasks, calibrations, int(header["input_size"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise IntegrityError(
                f"{path} cannot be read as a classifier ({one_line(error)}); run again without --resume"
            ) from error


def _check_version(path: Path, name: object, version: object) -> None:
    if (name, version) != (_FORMAT, _VERSION):
        kind = "no faceaug file" if name is None else f"of the format {shown(name)}, version {shown(version)}"
        raise IntegrityError(
            f"{path} is {kind}; {_FORMAT}, version {_VERSION}, is read: run again without --resume, so that this "
            "version trains the classifiers"
        )


def _check_pretrained(path: Path, trunk: str, pretrained: object) -> None:
    """Refuse a classifier on features of a network that is not there."""
    expected = FROZEN_TRUNKS[trunk].sha256 if trunk in FROZEN_TRUNKS else None
    if pretrained != expected:
        raise ValueError(f"it reads features of the network {shown(pretrained)}, and {shown(expected)} is known")
    if pretrained and not efficientnet_weights_installed():
        raise IntegrityError(
            f"{path} reads features of a pretrained network that is not installed: {EFFICIENTNET_INSTALL}"
        )


def resize_input(images: Tensor, side: int) -> Tensor:
    """Resize images [N, 3, R, R] to [N, 3, side, side], bilinear, antialiased where they get smaller."""
    if images.shape[-1] == side:
        return images
    smaller = images.shape[-1] > side
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=smaller, align_corners=False)


def new_net(trunk: str, tasks: Sequence[Task], seed: int) -> ClassifierNet:
    """Return a newly initialized network with an output for each class and value; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureNet if trunk in FROZEN_TRUNKS else ClassifierNet
        return network(trunk, sum(task.width for task in tasks))


def log_odds(logits: Floats) -> Floats:
    """Return the log-odds [N, K] of each class against all others from the logits [N, K]."""
    top = logits.max(1, keepdims=True)
    e = np.exp(logits - top)
    rest = np.maximum(e.sum(1, keepdims=True) - e, 1e-300)
    return np.asarray(logits - top - np.log(rest), np.float64)


def _calibrated(outputs: Floats, task: Task, calibration: Calibration) -> Floats:
    if task.kind == "value":
        return outputs * task.scale + task.mean
    logits = (outputs + np.asarray(calibration.bias)) / calibration.temperature
    return np.clip(log_odds(logits), -MAX_LOG_ODDS, MAX_LOG_ODDS)
