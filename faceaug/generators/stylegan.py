"""The StyleGAN2 and StyleGAN3 generators: networks with their statistics, in one ``.safetensors`` file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import check_latents, in_tiles, read_only, statistics, tile_of
from faceaug.generators.stylegan2_networks import StyleGAN2Config, reset_parameters
from faceaug.generators.weights_file import (
    COVARIANCE,
    MEAN,
    Network,
    WeightsHeader,
    check_settings,
    described,
    made_by,
    new_network,
    pack,
    unpack,
)
from faceaug.utils.device import check_device
from faceaug.utils.files import write_bytes

Noise = Literal["const", "none"]
Precision = Literal["float32", "bfloat16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class StyleGAN2:
    """A StyleGAN2, or a StyleGAN3, with its settings.

    Parameters
    ----------
    network
        Mapping and synthesis; frozen, in evaluation mode.
    header
        What the weights file says of itself.
    sha256
        SHA-256 of that file.
    full_mean, full_covariance
        Mean and covariance of w without truncation, float64 [D] and [D, D].
    psi
        Truncation: w is pulled toward the running mean of training, ``w_avg + psi (w - w_avg)``; 1 leaves it.
    noise
        ``"const"`` adds the stored noise, ``"none"`` adds none. Both always give the same image for the same w.
    cutoff
        Layers from this one on are drawn from w as it was before truncation; None truncates for all.
    precision
        In what the layers compute: ``"bfloat16"`` is for pictures to look at, on a GPU; it changes them by a few grey
        levels, so whatever is measured or kept is drawn in ``"float32"``. No file and no run sets it.
    """

    network: Network
    header: WeightsHeader
    sha256: str
    full_mean: npt.NDArray[np.float64]
    full_covariance: npt.NDArray[np.float64]
    psi: float
    noise: Noise
    cutoff: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.psi <= 2:
            raise GeneratorError(f"truncation psi is {self.psi}; it must be above 0 and at most 2, 1 for none")
        if self.noise not in ("const", "none"):
            raise GeneratorError(f"the noise {self.noise!r} is not known: it is 'const' or 'none'")
        if self.precision not in DTYPES:
            raise GeneratorError(f"the precision {self.precision!r} is not known: it is {' or '.join(DTYPES)}")
        check_settings(self.network.config, self.cutoff, self.header.label)

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
    def settings(self) -> tuple[float, Noise, int | None]:
        """Truncation, noise and cut-off: with the file's hash, all that decides the picture of a latent."""
        return self.psi, self.noise, self.cutoff

    @property
    def w_mean(self) -> npt.NDArray[np.float64]:
        centre = self.network.mapping.w_avg.cpu().numpy().astype(np.float64)
        return read_only(centre + self.psi * (self.full_mean - centre))

    @property
    def w_covariance(self) -> npt.NDArray[np.float64]:
        return read_only(self.psi**2 * self.full_covariance)

    @property
    def device(self) -> torch.device:
        return self.network.mapping.w_avg.device

    def map(self, z: Tensor) -> Tensor:
        """Turn normal latents z [N, Z] into truncated w, float32 [N, D]."""
        return in_tiles(self._map, check_latents(z, self.z_dim, self.device, "z"))

    def synthesize(self, w: Tensor) -> Tensor:
        """Draw the images of w [N, D], the same w for every layer: float32 [N, 3, R, R], clamped to [-1, 1]."""
        tile = tile_of(self.network.config.largest, self.device)
        return in_tiles(self._synthesize, check_latents(w, self.w_dim, self.device, "w"), tile)

    def to(self, device: str | torch.device) -> StyleGAN2:
        """Move the weights to `device` and return the generator itself."""
        self.network.to(check_device(device))
        return self

    def with_settings(
        self,
        *,
        psi: float | None = None,
        noise: Noise | None = None,
        cutoff: int | None = None,
        precision: Precision | None = None,
    ) -> StyleGAN2:
        """Return the same weights with another truncation, noise or precision."""
        return replace(
            self,
            psi=self.psi if psi is None else psi,
            noise=self.noise if noise is None else noise,
            cutoff=self.cutoff if cutoff is None else cutoff,
            precision=self.precision if precision is None else precision,
        )

    def _map(self, z: Tensor) -> Tensor:
        mapping = self.network.mapping
        w: Tensor = mapping(z, self.header.label)
        return w if self.psi == 1 else mapping.w_avg + self.psi * (w - mapping.w_avg)

    def _synthesize(self, w: Tensor) -> Tensor:
        layers = self.network.config.num_ws
        ws = w[:, None].expand(-1, layers, -1)
        if self.psi != 1 and self.cutoff is not None and self.cutoff < layers:
            centre = self.network.mapping.w_avg
            whole = centre + (w - centre) / self.psi
            ws = torch.cat([ws[:, : self.cutoff], whole[:, None].expand(-1, layers - self.cutoff, -1)], 1)
        images: Tensor = self.network.synthesis(ws, self.noise, DTYPES[self.precision])
        return images.clamp(-1, 1)


def build(
    network: Network,
    *,
    name: str,
    licence: str,
    origin: str,
    source_sha256: str | None = None,
    psi: float = 1.0,
    noise: Noise = "const",
    cutoff: int | None = None,
    label: int = 0,
    samples: int = 50_000,
    seed: int = 0,
    half: bool = False,
) -> bytes:
    """Measure the statistics of a network's w and return the bytes of its file.

    Parameters
    ----------
    network
        The network to write; it stays as it is.
    name, licence, origin, source_sha256
        What the file tells of itself (`WeightsHeader`).
    psi, noise, cutoff, label
        Settings that the generator has when the file is loaded without others; `label` is the class, if it has any.
    samples, seed
        Draws from which mean and covariance of w are estimated.
    half
        Write the weights in float16: half the size, and pictures that differ by less than a grey level.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {key: value.detach().to(dtype) for key, value in network.state_dict().items()}
    header = WeightsHeader(
        name=name,
        **described(network.config),
        truncation_psi=psi,
        truncation_cutoff=cutoff,
        noise=noise,
        label=label,
        statistics_samples=samples,
        licence=licence,
        origin=origin,
        source_sha256=source_sha256,
        made_by=made_by(),
    )
    for key, value in network.state_dict().items():
        if half and value.isfinite().all() and not tensors[key].isfinite().all():
            raise GeneratorError(f"half precision cannot hold the weights {key} (beyond 65504); leave out --half")
    # The statistics are those of the weights as they are written, so that half precision is accounted for.
    rounded = {key: value.float() for key, value in tensors.items()}
    nothing = np.zeros(header.w_dim)
    as_written = StyleGAN2(_network(header, rounded), header, "", nothing, np.diag(nothing), psi=1.0, noise=noise)
    mean, covariance = statistics(as_written, samples, seed)
    tensors |= {MEAN: torch.from_numpy(mean), COVARIANCE: torch.from_numpy(covariance)}
    return pack(header, tensors)


def from_bytes(data: bytes, where: str | Path, device: str | torch.device = "cpu") -> StyleGAN2:
    """Make the generator of a file that has been read; `where` is its path, for the errors."""
    target = check_device(device)
    header, tensors, sha256 = unpack(data, where)
    mean, covariance = (read_only(tensors.pop(key).numpy()) for key in (MEAN, COVARIANCE))
    network = _network(header, tensors).to(target)
    psi, cutoff = header.truncation_psi, header.truncation_cutoff
    return StyleGAN2(network, header, sha256, mean, covariance, psi=psi, noise=header.noise, cutoff=cutoff)


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
        data = path.read_bytes()
    except OSError as error:
        raise GeneratorError(f"the generator {path} cannot be read: {error.strerror or error}") from error
    return from_bytes(data, path, device)


def save(generator: StyleGAN2, path: str | Path) -> str:
    """Write a generator and its settings to a ``.safetensors`` file, in float32; return the file's SHA-256.

    Raises
    ------
    OutputError
        When the file cannot be written; nothing is left then.
    """
    settings = {"truncation_psi": generator.psi, "noise": generator.noise, "truncation_cutoff": generator.cutoff}
    header = generator.header.model_copy(update=settings)
    tensors = dict(generator.network.state_dict())
    tensors[MEAN] = torch.tensor(generator.full_mean)
    tensors[COVARIANCE] = torch.tensor(generator.full_covariance)
    data = pack(header, tensors)
    write_bytes(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def initialise(config: StyleGAN2Config, seed: int, samples: int = 4096) -> StyleGAN2:
    """Make a generator with the random weights that training starts from: right shapes, no faces.

    Its running mean is set to the mean of its w, so that truncation means the same as in a trained one.
    """
    network = new_network(config, "cpu")
    reset_parameters(network, seed)
    with torch.no_grad():
        z = torch.randn(samples, config.z_dim, generator=torch.Generator().manual_seed(seed))
        network.mapping.w_avg.copy_(network.mapping(z).mean(0))
    text = f"random weights, seed {seed}"
    data = build(network, name="random", licence="none needed: random weights", origin=text, samples=samples, seed=seed)
    return from_bytes(data, text)


def _network(header: WeightsHeader, tensors: dict[str, Tensor]) -> Network:
    """Return a frozen network that uses the given tensors as they are, without a copy."""
    network = new_network(header.config)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)
