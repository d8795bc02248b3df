"""The file of a generator: one ``.safetensors`` with the tensors and a JSON header (docs/formats.md). It has no code.

The header is the one metadata entry ``faceaug``. Everything is checked before it is used: format, version, widths, the
names, shapes and types of the tensors, that every number is finite, and that the statistics are a mean and a
covariance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.stylegan2_networks import NoiseMode, StyleGAN2Config, StyleGAN2Network
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config, StyleGAN3Network
from faceaug.utils.files import parse_json
from faceaug.utils.text import printable

GENERATOR_FORMAT: Final = "faceaug-generator"
GENERATOR_VERSION: Final = 2
MAX_HEADER_BYTES = 10_000_000  # a 1024-pixel network needs about thirty thousand
MEAN_TENSOR, COVARIANCE_TENSOR = "statistics.w_mean", "statistics.w_covariance"
Count = Annotated[int, Field(ge=0, le=2**31)]
Text = Annotated[str, Field(max_length=10_000)]


class FilterHeader(BaseModel):
    """The fields of `Filters` in a header."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    layers: Count
    critical: Count
    first_cutoff: float
    first_stopband: float
    last_stopband: float
    margin: Count
    output_scale: float
    kernel: Count
    taps: Count
    oversampling: Count
    radial: bool


class WeightsHeader(BaseModel):
    """The header of a generator's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal["faceaug-generator"] = GENERATOR_FORMAT
    version: Literal[2] = GENERATOR_VERSION
    architecture: Literal["stylegan2", "stylegan3"] = "stylegan2"
    name: str = Field(min_length=1, max_length=200)
    resolution: Count
    z_dim: Count
    w_dim: Count
    mapping_layers: Count
    channel_base: Count
    channel_max: Count
    conv_clamp: float | None = None
    classes: Count = 0
    filters: FilterHeader | None = None  # of a StyleGAN3
    truncation_psi: float = Field(default=1.0, gt=0, le=2)
    truncation_cutoff: Count | None = None
    label: Count = 0
    noise_mode: NoiseMode = "const"
    statistics_samples: int = Field(ge=2, le=2**63)
    licence: Text
    origin: Text
    source_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    made_by: Text

    @property
    def config(self) -> StyleGAN2Config:
        """Shape of the network."""
        shared = {name: getattr(self, name) for name in StyleGAN2Config.__dataclass_fields__}
        if self.architecture == "stylegan2":
            return StyleGAN2Config(**shared)
        return StyleGAN3Config(**shared, filters=Filters(**self.filters.model_dump()) if self.filters else Filters())


Network = StyleGAN2Network | StyleGAN3Network


@contextmanager
def errors_name_file(where: str | Path) -> Iterator[None]:
    """While a network is built as a file describes it, turn every error into one sentence that names the file.

    Raises
    ------
    GeneratorError
        Instead of any other exception: a file may hold anything, and no list of what can fail is complete.
    """
    try:
        yield
    except FaceaugError as error:
        if str(where) in str(error):
            raise
        raise GeneratorError(f"{where} cannot be used: {error}") from error
    except Exception as error:
        raise GeneratorError(
            f"{where} describes an impossible network ({type(error).__name__}: {printable(error)}); get the file again"
        ) from error


def new_network(config: StyleGAN2Config, device: str = "meta") -> Network:
    """Return the network of a configuration; on the device "meta" it has names and shapes but no memory."""
    with torch.device(device):
        return StyleGAN3Network(config) if isinstance(config, StyleGAN3Config) else StyleGAN2Network(config)


def architecture_fields(config: StyleGAN2Config) -> dict[str, Any]:
    """Return the fields of a header that describe a network's configuration."""
    fields = {name: getattr(config, name) for name in StyleGAN2Config.__dataclass_fields__}
    if isinstance(config, StyleGAN3Config):
        return {**fields, "architecture": "stylegan3", "filters": FilterHeader(**asdict(config.filters))}
    return fields


def program_version() -> str:
    """Return the name and version of this program, for the field `made_by` of files."""
    try:
        return f"faceaug {version('faceaug')}"
    except PackageNotFoundError:
        return "faceaug (from a checkout)"


def pack_weights(header: WeightsHeader, tensors: dict[str, Tensor]) -> bytes:
    """Return the bytes of a generator's file; the same header and tensors give the same bytes.

    Raises
    ------
    GeneratorError
        When a tensor holds NaN or infinite numbers (in half precision, also numbers beyond 65504).
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise GeneratorError(f"the tensor {name} holds NaN or infinite numbers; such weights cannot be written")
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(on_cpu, {"faceaug": header.model_dump_json()})


def unpack_weights(data: bytes, where: str | Path) -> tuple[WeightsHeader, dict[str, Tensor], str]:
    """Return header, tensors (weights float32, statistics float64) and SHA-256 of a generator's file.

    Parameters
    ----------
    data
        The whole file.
    where
        Its path, for the errors.

    Raises
    ------
    GeneratorError
        When it is another kind of file, of another version or truncated, or when a tensor is missing, unexpected, of
        the wrong shape or type, or not finite.
    """
    with errors_name_file(where):
        return _unpack(data, where)


def _unpack(data: bytes, where: str | Path) -> tuple[WeightsHeader, dict[str, Tensor], str]:
    header = _read_header(data, where)
    expected = {name: tuple(tensor.shape) for name, tensor in new_network(header.config).state_dict().items()}
    expected |= {MEAN_TENSOR: (header.w_dim,), COVARIANCE_TENSOR: (header.w_dim, header.w_dim)}
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise GeneratorError(f"{where} is damaged: {printable(error)}; get the file again") from error
    _compare(tensors, expected, where)
    for name, tensor in tensors.items():
        allowed = (
            (torch.float64,)
            if name in (MEAN_TENSOR, COVARIANCE_TENSOR)
            else (torch.float32, torch.float16, torch.bfloat16)
        )
        if tensor.dtype not in allowed:
            raise GeneratorError(f"{where} has {name} as {tensor.dtype}; expected {' or '.join(map(str, allowed))}")
        if not torch.isfinite(tensor).all():
            raise GeneratorError(f"{where} has NaN or infinite numbers in {name}: these weights cannot be used")
    _check_covariance(tensors[COVARIANCE_TENSOR].numpy(), where)
    weights = {name: t if name in (MEAN_TENSOR, COVARIANCE_TENSOR) else t.float() for name, t in tensors.items()}
    return header, weights, hashlib.sha256(data).hexdigest()


def check_cutoff_and_label(config: StyleGAN2Config, cutoff: int | None, label: int) -> None:
    """Raise GeneratorError when the network has no such layer for the truncation cutoff, or no such class."""
    if cutoff is not None and not 0 <= cutoff <= config.num_ws:
        raise GeneratorError(
            f"truncation_cutoff is {cutoff}; it must be from 0 to {config.num_ws}, the number of layers"
        )
    if label and label >= config.classes:
        classes = f"it has the classes 0 to {config.classes - 1}" if config.classes else "it has no classes"
        raise GeneratorError(f"the class {label} is not one of this generator's: {classes}")


def _read_header(data: bytes, where: str | Path) -> WeightsHeader:
    raw = _raw_header(data, where)
    try:
        header = WeightsHeader.model_validate(raw)
        check_cutoff_and_label(header.config, header.truncation_cutoff, header.label)
    except ValidationError as error:
        first = error.errors()[0]
        field = printable(".".join(map(str, first["loc"])))
        raise GeneratorError(f"the header of {where} is wrong at {field!r}: {first['msg']}") from error
    except GeneratorError as error:
        raise GeneratorError(f"the header of {where} is wrong: {error}") from error
    return header


def _raw_header(data: bytes, where: str | Path) -> Any:
    """Return the header's JSON, whose format and version are right."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise GeneratorError(f"{where} is no safetensors file or is truncated ({len(data)} bytes); get the file again")
    try:
        raw = parse_json(parse_json(data[8 : 8 + length])["__metadata__"]["faceaug"])
        stated_format, stated_version = raw["format"], raw["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise GeneratorError(
            f"{where} carries no readable faceaug header: it is not a generator that faceaug wrote"
        ) from error
    if stated_format != GENERATOR_FORMAT:
        raise GeneratorError(
            f"{where} is of the format {printable(repr(stated_format))}; a generator has {GENERATOR_FORMAT!r}"
        )
    if stated_version != GENERATOR_VERSION:
        is_older = isinstance(stated_version, int) and stated_version < GENERATOR_VERSION
        remedy = "import or train it again with this version" if is_older else "update faceaug"
        raise GeneratorError(
            f"{where} is of version {printable(repr(stated_version))}; this faceaug reads version "
            f"{GENERATOR_VERSION}: {remedy}"
        )
    return raw


def _compare(tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], where: str | Path) -> None:
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise GeneratorError(f"{where} lacks {len(missing)} of {len(expected)} tensors, the first is {missing[0]!r}")
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise GeneratorError(
            f"{where} has {len(extra)} tensors that its header does not describe, as {printable(extra[0])!r}"
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise GeneratorError(
                f"{where} has {name} of the shape {tuple(tensors[name].shape)}; its header requires {shape}"
            )


def _check_covariance(covariance: np.ndarray[Any, np.dtype[np.float64]], where: str | Path) -> None:
    scale = float(np.abs(covariance).max())
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-9 * scale):
        raise GeneratorError(f"{where} has a w covariance that is not symmetric: the file is damaged")
    if float(np.linalg.eigvalsh(covariance)[0]) < -1e-6 * scale:
        raise GeneratorError(f"{where} has a w covariance with negative variances: the file is damaged")
