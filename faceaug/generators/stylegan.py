"""StyleGAN2 and StyleGAN3 as generators: networks with their statistics, in one ``.safetensors`` file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import check_latents, estimate_statistics, in_tiles, read_only, tile_size
from faceaug.generators.stylegan2_networks import FullyConnected, NoiseMode, StyleGAN2Config, reset_parameters
from faceaug.generators.weights_file import (
    COVARIANCE_TENSOR,
    MEAN_TENSOR,
    Network,
    WeightsHeader,
    architecture_fields,
    check_cutoff_and_label,
    new_network,
    pack_weights,
    program_version,
    unpack_weights,
)
from faceaug.utils.device import check_device
from faceaug.utils.files import read_regular, write_bytes
from faceaug.utils.typing import Floats

Precision = Literal["float32", "bfloat16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def check_truncation_psi(truncation_psi: float) -> None:
    """Raise GeneratorError unless a truncation is above 0 and at most 2."""
    if not 0 < truncation_psi <= 2:
        raise GeneratorError(f"truncation psi is {truncation_psi}; it must be above 0 and at most 2, 1 for none")


@dataclass(frozen=True)
class SynthesisConfig:
    """How a StyleGAN synthesizes the image of a latent.

    Parameters
    ----------
    truncation_psi
        w is pulled toward the running mean of training, ``w_avg + psi (w - w_avg)``; 1 leaves it unchanged.
    truncation_cutoff
        Layers from this one on use w without truncation; None truncates all layers.
    noise_mode
        ``"const"`` adds the stored noise, ``"none"`` adds none. Both always give the same image for the same w.
    label
        Class of a network that has classes.
    precision
        Type of the activations. ``"bfloat16"`` is for previews on a GPU: it changes images by a few grey levels, so
        images that are measured or stored are synthesized in ``"float32"``. No file and no run stores it.

    Raises
    ------
    GeneratorError
        When a value is out of range.
    """

    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    noise_mode: NoiseMode = "const"
    label: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        check_truncation_psi(self.truncation_psi)
        if self.noise_mode not in ("const", "none"):
            raise GeneratorError(f"the noise_mode {self.noise_mode!r} is unknown: it is 'const' or 'none'")
        if self.precision not in _DTYPES:
            raise GeneratorError(f"the precision {self.precision!r} is unknown: it is {' or '.join(_DTYPES)}")


@dataclass(frozen=True)
class Provenance:
    """What a generator's file states about its weights.

    Parameters
    ----------
    name
        Name of the generator.
    licence, origin
        What is known of the licence, and where the weights come from, in a sentence each.
    source_sha256
        SHA-256 of the file or data that the weights were made from.
    """

    name: str
    licence: str
    origin: str
    source_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class StyleGAN2:
    """A StyleGAN2, or a StyleGAN3, with its synthesis configuration.

    Parameters
    ----------
    network
        Mapping and synthesis; frozen, in evaluation mode.
    header
        Header of the weights file.
    sha256
        SHA-256 of that file.
    full_mean, full_covariance
        Mean and covariance of w without truncation, float64 [D] and [D, D].
    config
        Truncation, noise, class and precision.
    """

    network: Network
    header: WeightsHeader
    sha256: str
    full_mean: Floats
    full_covariance: Floats
    config: SynthesisConfig = SynthesisConfig()

    def __post_init__(self) -> None:
        check_cutoff_and_label(self.network.config, self.config.truncation_cutoff, self.config.label)

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def z_dim(self) -> int:
        return self.header.z_dim

    @property
    def w_dim(self) -> int:
        return self.header.w_dim

    @property
    def resolution(self) -> int:
        return self.header.resolution

    @property
    def licence(self) -> str:
        return self.header.licence

    @property
    def origin(self) -> str:
        return self.header.origin

    @property
    def synthesis_key(self) -> tuple[float, NoiseMode, int | None]:
        """Truncation, noise mode and cutoff: with the file's hash, all that determines the image of a latent."""
        return self.config.truncation_psi, self.config.noise_mode, self.config.truncation_cutoff

    @property
    def w_mean(self) -> Floats:
        centre = self.network.mapping.w_avg.cpu().numpy().astype(np.float64)
        return read_only(centre + self.config.truncation_psi * (self.full_mean - centre))

    @property
    def w_covariance(self) -> Floats:
        return read_only(self.config.truncation_psi**2 * self.full_covariance)

    @property
    def device(self) -> torch.device:
        return self.network.mapping.w_avg.device

    @property
    def first_affine(self) -> tuple[Floats, Floats]:
        """Weight [F, D] and bias [F] of the layers that read w: those of the styles, one below the other."""
        layers = [layer for layer in self.network.synthesis.modules() if isinstance(layer, FullyConnected)]
        pairs = [layer.affine() for layer in layers]
        weight, bias = (torch.cat(parts).double().cpu().numpy() for parts in zip(*pairs, strict=True))
        return weight, bias

    def map(self, z: Tensor) -> Tensor:
        """Turn normal latents z [N, Z] into truncated w, float32 [N, D]."""
        return in_tiles(self._map, check_latents(z, self.z_dim, self.device, "z"))

    def synthesize(self, w: Tensor) -> Tensor:
        """Synthesize the images of w [N, D], the same w for every layer: float32 [N, 3, R, R] in [-1, 1]."""
        tile = tile_size(self.network.config.largest_layer, self.device)
        return in_tiles(self._synthesize, check_latents(w, self.w_dim, self.device, "w"), tile)

    def to(self, device: str | torch.device) -> StyleGAN2:
        """Move the weights to `device` and return the generator itself."""
        self.network.to(check_device(device))
        return self

    def with_config(self, **changes: Any) -> StyleGAN2:
        """Return the same weights with some fields of `SynthesisConfig` changed.

        Raises
        ------
        GeneratorError
            When a value is out of range.
        """
        return replace(self, config=replace(self.config, **changes))

    def _map(self, z: Tensor) -> Tensor:
        mapping, psi = self.network.mapping, self.config.truncation_psi
        w: Tensor = mapping(z, self.config.label)
        return w if psi == 1 else mapping.w_avg + psi * (w - mapping.w_avg)

    def _synthesize(self, w: Tensor) -> Tensor:
        layers, psi, cutoff = self.network.config.num_ws, self.config.truncation_psi, self.config.truncation_cutoff
        ws = w[:, None].expand(-1, layers, -1)
        if psi != 1 and cutoff is not None and cutoff < layers:
            centre = self.network.mapping.w_avg
            untruncated = centre + (w - centre) / psi
            ws = torch.cat([ws[:, :cutoff], untruncated[:, None].expand(-1, layers - cutoff, -1)], 1)
        images: Tensor = self.network.synthesis(ws, self.config.noise_mode, _DTYPES[self.config.precision])
        return images.clamp(-1, 1)


def build_weights_file(
    network: Network,
    provenance: Provenance,
    config: SynthesisConfig | None = None,
    *,
    statistics_samples: int = 50_000,
    seed: int = 0,
    half: bool = False,
) -> bytes:
    """Estimate the statistics of a network's w and return the bytes of its weights file.

    Parameters
    ----------
    network
        The network to write; it is not changed.
    provenance
        Name, licence and origin of the weights.
    config
        Synthesis configuration that the generator has when the file is loaded.
    statistics_samples, seed
        Samples from which mean and covariance of w are estimated.
    half
        Write the weights in float16: half the size, and images that differ by less than a grey level.

    Raises
    ------
    GeneratorError
        When float16 cannot hold a weight, or a weight is not finite.
    """
    config = config or SynthesisConfig()
    dtype = torch.float16 if half else torch.float32
    tensors = {key: value.detach().to(dtype) for key, value in network.state_dict().items()}
    header = WeightsHeader(
        name=provenance.name,
        **architecture_fields(network.config),
        truncation_psi=config.truncation_psi,
        truncation_cutoff=config.truncation_cutoff,
        noise_mode=config.noise_mode,
        label=config.label,
        statistics_samples=statistics_samples,
        licence=provenance.licence,
        origin=provenance.origin,
        source_sha256=provenance.source_sha256,
        made_by=program_version(),
    )
    for key, value in network.state_dict().items():
        if half and value.isfinite().all() and not tensors[key].isfinite().all():
            raise GeneratorError(f"half precision cannot hold the weights {key} (beyond 65504); leave out --half")
    # The statistics are those of the weights as they are written, so that half precision is accounted for.
    rounded = {key: value.float() for key, value in tensors.items()}
    zeros = np.zeros(header.w_dim)
    untruncated = replace(config, truncation_psi=1.0, truncation_cutoff=None)
    as_written = StyleGAN2(_frozen_network(header, rounded), header, "", zeros, np.diag(zeros), untruncated)
    mean, covariance = estimate_statistics(as_written, statistics_samples, seed)
    tensors |= {MEAN_TENSOR: torch.from_numpy(mean), COVARIANCE_TENSOR: torch.from_numpy(covariance)}
    return pack_weights(header, tensors)


def from_bytes(data: bytes, where: str | Path, device: str | torch.device = "cpu") -> StyleGAN2:
    """Return the generator of a weights file that has been read; `where` is its path, for the errors."""
    target = check_device(device)
    header, tensors, sha256 = unpack_weights(data, where)
    mean, covariance = (read_only(tensors.pop(key).numpy()) for key in (MEAN_TENSOR, COVARIANCE_TENSOR))
    network = _frozen_network(header, tensors).to(target)
    config = SynthesisConfig(header.truncation_psi, header.truncation_cutoff, header.noise_mode, header.label)
    return StyleGAN2(network, header, sha256, mean, covariance, config)


def load(path: str | Path, device: str | torch.device = "cpu") -> StyleGAN2:
    """Load a generator from a ``.safetensors`` file that faceaug wrote.

    Raises
    ------
    GeneratorError
        When there is no such file, or it is damaged, of an unknown version or of another kind.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise GeneratorError(f"{path} is no file of a generator: its name must end in .safetensors")
    try:
        data = read_regular(path)
    except OSError as error:
        raise GeneratorError(f"the generator {path} cannot be read: {error.strerror or error}") from error
    return from_bytes(data, path, device)


def save(generator: StyleGAN2, path: str | Path) -> str:
    """Write a generator and its configuration to a ``.safetensors`` file, in float32; return the file's SHA-256.

    Raises
    ------
    OutputError
        When the file cannot be written; nothing is left then.
    """
    config = generator.config
    header = generator.header.model_copy(
        update={
            "truncation_psi": config.truncation_psi,
            "noise_mode": config.noise_mode,
            "truncation_cutoff": config.truncation_cutoff,
            "label": config.label,
        }
    )
    tensors = dict(generator.network.state_dict())
    tensors[MEAN_TENSOR] = torch.tensor(generator.full_mean)
    tensors[COVARIANCE_TENSOR] = torch.tensor(generator.full_covariance)
    data = pack_weights(header, tensors)
    write_bytes(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def initialize(config: StyleGAN2Config, seed: int, statistics_samples: int = 4096) -> StyleGAN2:
    """Return a generator with the random weights that training starts from: right shapes, no faces.

    Its running mean is set to the mean of its w, so that truncation means the same as in a trained one.
    """
    network = new_network(config, "cpu")
    reset_parameters(network, seed)
    with torch.no_grad():
        z = torch.randn(statistics_samples, config.z_dim, generator=torch.Generator().manual_seed(seed))
        network.mapping.w_avg.copy_(network.mapping(z).mean(0))
    origin = f"random weights, seed {seed}"
    provenance = Provenance("random", "none needed: random weights", origin)
    data = build_weights_file(network, provenance, statistics_samples=statistics_samples, seed=seed)
    return from_bytes(data, origin)


def _frozen_network(header: WeightsHeader, tensors: dict[str, Tensor]) -> Network:
    """Return a frozen network that uses the given tensors without a copy."""
    network = new_network(header.config)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)
