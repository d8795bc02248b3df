"""Other people's files of generators, made into one that faceaug reads.

Read are NVIDIA's PyTorch pickles of StyleGAN2, StyleGAN2-ADA and StyleGAN3 (`nvidia`), and the ``.pt`` files of
rosinality's stylegan2-pytorch (`rosinality`). Nothing in such a file is ever carried out (`pickles`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import torch

from faceaug.errors import GeneratorError
from faceaug.generators.file_signature import head_of, is_safetensors
from faceaug.generators.importers.nvidia import read_nvidia
from faceaug.generators.importers.rosinality import read_rosinality
from faceaug.generators.importers.tensor_map import ForeignCheckpoint
from faceaug.generators.importers.torch_file import STREAM_START
from faceaug.generators.stylegan import build
from faceaug.generators.weights_file import Network, believing, check_settings, new_network
from faceaug.utils.files import sha256_file, write_bytes

LICENCE = "not stated in the file; ask where it comes from (NVIDIA's own networks: non-commercial use only)"
EXPECTED = "a .pkl of NVIDIA's PyTorch networks or a .pt of rosinality's"
PICKLE_START = b"\x80"  # of every protocol that torch or NVIDIA's code ever wrote
SAMPLES = 50_000
WIDEST = 16  # times the file's size: the covariance of w, which grows with the square of its width


def read_foreign(path: Path) -> ForeignCheckpoint:
    """Read a generator's file of either kind; which one it is, its first bytes tell.

    Raises
    ------
    GeneratorError
        When there is no such file, or it is none of these.
    """
    with believing(path):
        return _read_foreign(path)


def _read_foreign(path: Path) -> ForeignCheckpoint:
    head = head_of(path, EXPECTED)
    if head.startswith((b"PK", STREAM_START)):
        return read_rosinality(path)
    if path.suffix == ".safetensors":
        raise GeneratorError(f"{path} needs no import: files that end in .safetensors are read as they are")
    if is_safetensors(head):
        raise GeneratorError(
            f"{path} is a safetensors file under another name, where {EXPECTED} was expected: if faceaug wrote it, let "
            "its name end in .safetensors and use it as it is"
        )
    if not head.startswith(PICKLE_START):
        raise GeneratorError(
            f"{path} is of an unknown kind (it begins with the bytes {head[:8].hex(' ')}), where {EXPECTED} was "
            "expected: it is damaged or another file, get it again"
        )
    return read_nvidia(path)


def import_generator(
    path: str | Path,
    *,
    name: str | None = None,
    licence: str | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: Literal["const", "none"] = "const",
    label: int = 0,
    half: bool = False,
) -> bytes:
    """Make the bytes of a faceaug generator out of somebody else's file.

    Parameters
    ----------
    path
        A ``.pkl`` of NVIDIA's or a ``.pt`` of rosinality's.
    name
        What the generator is called; the file's name without its ending, if not given.
    licence
        What is known of the licence; files do not state it.
    psi, cutoff, noise, label
        What is drawn when nothing else is asked for: truncation and the layer from which on there is none, noise, and
        the class of a network that knows classes.
    half
        Write float16.

    Raises
    ------
    GeneratorError
        When the file is damaged, refused, or no generator that can be read.
    """
    path = Path(path)
    name = path.stem if name is None else name
    if not 0 < psi <= 2:
        raise GeneratorError(f"truncation psi is {psi}; it must be above 0 and at most 2, 1 for none")
    if not name.strip() or len(name) > 200:
        raise GeneratorError(f"{name!r:.50} is no name for a generator; give 1 to 200 letters as --name")
    if licence is not None and len(licence) > 10_000:
        raise GeneratorError(f"a licence of {len(licence):,} letters is too long: name it, and where it is to be read")
    foreign = read_foreign(path)
    sha256, size = sha256_file(path), path.stat().st_size
    if 8 * foreign.config.w_dim**2 > WIDEST * size:
        raise GeneratorError(
            f"{path} is refused: it says that w is {foreign.config.w_dim} wide, and has {size:,} bytes in all; no "
            "generator of this width is so small"
        )
    check_settings(foreign.config, cutoff, label)
    with believing(path):
        network = new_network(foreign.config)
        network.load_state_dict(foreign.tensors(), strict=True, assign=True)
        network.eval().requires_grad_(False)
        if not foreign.has_mean:
            network.mapping.w_avg.copy_(_sampled_mean(network, label))
        return build(
            network,
            name=name,
            licence=licence or LICENCE,
            origin=f"imported from {path.name}, a {foreign.kind}",
            source_sha256=sha256,
            psi=psi,
            noise=noise,
            cutoff=cutoff,
            label=label,
            samples=SAMPLES,
            half=half,
        )


@torch.no_grad()
def _sampled_mean(network: Network, label: int) -> torch.Tensor:
    """Return the mean of w over draws of a fixed seed, for files that have not kept the one of training."""
    rng, total = torch.Generator().manual_seed(0), torch.zeros(network.config.w_dim, dtype=torch.float64)
    for _ in range(SAMPLES // 1000):
        total += network.mapping(torch.randn(1000, network.config.z_dim, generator=rng), label).double().sum(0)
    return (total / SAMPLES).float()


def write_import(path: Path, out: Path, **settings: object) -> str:
    """Import `path` into the file `out`, whole or not at all; return its SHA-256."""
    data = import_generator(path, **settings)  # type: ignore[arg-type]
    write_bytes(out, data)
    return hashlib.sha256(data).hexdigest()
