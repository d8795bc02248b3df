"""Checkpoints of other programs, converted to a weights file of faceaug.

Supported are NVIDIA's PyTorch pickles of StyleGAN2, StyleGAN2-ADA and StyleGAN3 (`nvidia`), and the ``.pt`` files of
rosinality's stylegan2-pytorch (`rosinality`). Nothing in such a file is ever executed (`unpickler`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from faceaug.errors import GeneratorError
from faceaug.generators.file_signature import is_safetensors, read_head
from faceaug.generators.importers.nvidia import read_nvidia
from faceaug.generators.importers.rosinality import read_rosinality
from faceaug.generators.importers.tensor_map import ForeignCheckpoint
from faceaug.generators.importers.torch_file import STREAM_START
from faceaug.generators.stylegan import Provenance, SynthesisConfig, build_weights_file
from faceaug.generators.weights_file import Network, check_cutoff_and_label, errors_name_file, new_network
from faceaug.utils.files import sha256_file, write_bytes

UNKNOWN_LICENCE = "not stated in the file; ask where it comes from (NVIDIA's own networks have a licence of NVIDIA's)"
_EXPECTED = "a .pkl of NVIDIA's PyTorch networks or a .pt of rosinality's"
_PICKLE_START = b"\x80"  # of every protocol that torch or NVIDIA's code ever wrote
_MAX_COVARIANCE_RATIO = 16  # size of the covariance of w, which grows with the square of its width, over the file's


@dataclass(frozen=True)
class ImportConfig:
    """Options of an import.

    Parameters
    ----------
    name
        Name of the generator; by default the file's name without its ending.
    licence
        What is known of the licence; files do not state it.
    synthesis
        Truncation, noise and class that the generator has by default.
    half
        Write float16.
    statistics_samples
        Samples from which mean and covariance of w are estimated.

    Raises
    ------
    GeneratorError
        When the name or the licence is empty or too long.
    """

    name: str | None = None
    licence: str | None = None
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    half: bool = False
    statistics_samples: int = 50_000

    def __post_init__(self) -> None:
        if self.name is not None:
            _check_name(self.name)
        if self.licence is not None and len(self.licence) > 10_000:
            raise GeneratorError(
                f"a licence of {len(self.licence):,} letters is too long: give its name, and where it can be read"
            )


def read_foreign(path: Path) -> ForeignCheckpoint:
    """Read a checkpoint of either program, recognized by its first bytes.

    Raises
    ------
    GeneratorError
        When there is no such file, or it is of another kind.
    """
    with errors_name_file(path):
        return _read_foreign(path)


def _read_foreign(path: Path) -> ForeignCheckpoint:
    head = read_head(path, _EXPECTED)
    if head.startswith((b"PK", STREAM_START)):
        return read_rosinality(path)
    if path.suffix == ".safetensors":
        raise GeneratorError(f"{path} needs no import: files that end in .safetensors are read as they are")
    if is_safetensors(head):
        raise GeneratorError(
            f"{path} is a safetensors file under another name, where {_EXPECTED} was expected: if faceaug wrote it, "
            "let its name end in .safetensors and use it as it is"
        )
    if not head.startswith(_PICKLE_START):
        raise GeneratorError(
            f"{path} is of an unknown kind (it begins with the bytes {head[:8].hex(' ')}), where {_EXPECTED} was "
            "expected: it is damaged or another file, get it again"
        )
    return read_nvidia(path)


def import_generator(path: str | Path, config: ImportConfig | None = None) -> bytes:
    """Convert a checkpoint of another program to the bytes of a weights file.

    Parameters
    ----------
    path
        A ``.pkl`` of NVIDIA's or a ``.pt`` of rosinality's.
    config
        Name, licence and defaults of the generator.

    Raises
    ------
    GeneratorError
        When the file is damaged, refused, or no generator that can be read.
    """
    path, config = Path(path), config or ImportConfig()
    name = path.stem if config.name is None else config.name
    _check_name(name)
    foreign = read_foreign(path)
    sha256, size = sha256_file(path), path.stat().st_size
    if 8 * foreign.config.w_dim**2 > _MAX_COVARIANCE_RATIO * size:
        raise GeneratorError(
            f"{path} is refused: it says that w is {foreign.config.w_dim} wide, and has {size:,} bytes in all; no "
            "generator of this width is so small"
        )
    check_cutoff_and_label(foreign.config, config.synthesis.truncation_cutoff, config.synthesis.label)
    with errors_name_file(path):
        network = new_network(foreign.config)
        network.load_state_dict(foreign.tensors(), strict=True, assign=True)
        network.eval().requires_grad_(False)
        if not foreign.has_mean:
            network.mapping.w_avg.copy_(_sampled_mean(network, config.synthesis.label, config.statistics_samples))
        origin = f"imported from {path.name}, a {foreign.kind}"
        return build_weights_file(
            network,
            Provenance(name, config.licence or UNKNOWN_LICENCE, origin, sha256),
            config.synthesis,
            statistics_samples=config.statistics_samples,
            half=config.half,
        )


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 200:
        raise GeneratorError(f"{name!r:.50} is no name for a generator; give 1 to 200 letters as --name")


@torch.no_grad()
def _sampled_mean(network: Network, label: int, samples: int) -> torch.Tensor:
    """Return the mean of w over samples of a fixed seed, for files without the running mean of training."""
    rng, total = torch.Generator().manual_seed(0), torch.zeros(network.config.w_dim, dtype=torch.float64)
    for _ in range(samples // 1000):
        total += network.mapping(torch.randn(1000, network.config.z_dim, generator=rng), label).double().sum(0)
    return (total / samples).float()


def write_import(path: Path, out: Path, config: ImportConfig | None = None) -> str:
    """Import `path` into the file `out`, which is written atomically; return its SHA-256."""
    data = import_generator(path, config)
    write_bytes(out, data)
    return hashlib.sha256(data).hexdigest()
