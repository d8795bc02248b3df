"""The file of a generator: one ``.safetensors`` with the tensors and a JSON header. Nothing in it can run code.

The header is the one metadata entry ``faceaug``. Everything is checked before it is believed: format, version, widths,
the names, shapes and types of the tensors, that every number is finite, and that the statistics are a mean and a
covariance.
"""

from __future__ import annotations

import hashlib
import json
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
from faceaug.generators.stylegan2_networks import StyleGAN2Config, StyleGAN2Network
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config, StyleGAN3Network
from faceaug.utils.text_table import shown

FORMAT: Final = "faceaug-generator"
VERSION: Final = 1
LARGEST_HEADER = 10_000_000  # bytes; a 1024-pixel network needs about thirty thousand
MEAN, COVARIANCE = "statistics.w_mean", "statistics.w_covariance"
Count = Annotated[int, Field(ge=0, le=2**31)]
Text = Annotated[str, Field(max_length=10_000)]


class FilterHeader(BaseModel):
    """The fields of `Filters`, as a file has them."""

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
    """What a generator's file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal["faceaug-generator"] = FORMAT
    version: Literal[1] = VERSION
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
    noise: Literal["const", "none"] = "const"
    statistics_samples: int = Field(ge=2, le=2**63)
    licence: Text
    origin: Text
    source_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    made_by: Text

    @property
    def config(self) -> StyleGAN2Config:
        shared = {name: getattr(self, name) for name in StyleGAN2Config.__dataclass_fields__}
        if self.architecture == "stylegan2":
            return StyleGAN2Config(**shared)
        return StyleGAN3Config(**shared, filters=Filters(**self.filters.model_dump()) if self.filters else Filters())


Network = StyleGAN2Network | StyleGAN3Network


@contextmanager
def believing(where: str | Path) -> Iterator[None]:
    """While a network is made as a file says, turn whatever goes wrong into one sentence that names the file.

    Raises
    ------
    GeneratorError
        In place of anything else: what a file may say is endless, and no list of what goes wrong then is complete.
    """
    try:
        yield
    except FaceaugError as error:
        if str(where) in str(error):
            raise
        raise GeneratorError(f"{where} cannot be used: {error}") from error
    except Exception as error:
        raise GeneratorError(
            f"{where} describes a network that cannot be ({type(error).__name__}: {shown(error)}); get the file again"
        ) from error


def new_network(config: StyleGAN2Config, device: str = "meta") -> Network:
    """Return the network of a configuration; without a device it has names and shapes, but no memory behind it."""
    with torch.device(device):
        return StyleGAN3Network(config) if isinstance(config, StyleGAN3Config) else StyleGAN2Network(config)


def described(config: StyleGAN2Config) -> dict[str, Any]:
    """Return the fields by which a header tells of a configuration."""
    fields = {name: getattr(config, name) for name in StyleGAN2Config.__dataclass_fields__}
    if isinstance(config, StyleGAN3Config):
        return {**fields, "architecture": "stylegan3", "filters": FilterHeader(**asdict(config.filters))}
    return fields


def made_by() -> str:
    """Return the name and version of this program, as files tell who made them."""
    try:
        return f"faceaug {version('faceaug')}"
    except PackageNotFoundError:
        return "faceaug (from a checkout)"


def pack(header: WeightsHeader, tensors: dict[str, Tensor]) -> bytes:
    """Return the bytes of a generator's file; the same header and tensors give the same bytes.

    Raises
    ------
    GeneratorError
        When a tensor holds NaN or infinite numbers (in half precision, also numbers beyond 65504).
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise GeneratorError(f"the tensor {name} holds NaN or infinite numbers; such weights are not written")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(whole, {"faceaug": header.model_dump_json()})


def unpack(data: bytes, where: str | Path) -> tuple[WeightsHeader, dict[str, Tensor], str]:
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
        When it is no such file, of an unknown version, truncated, or when a tensor is missing, too many, of the wrong
        shape or type, or not finite.
    """
    with believing(where):
        return _unpack(data, where)


def _unpack(data: bytes, where: str | Path) -> tuple[WeightsHeader, dict[str, Tensor], str]:
    header = _read_header(data, where)
    expected = {name: tuple(tensor.shape) for name, tensor in new_network(header.config).state_dict().items()}
    expected |= {MEAN: (header.w_dim,), COVARIANCE: (header.w_dim, header.w_dim)}
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise GeneratorError(f"{where} is damaged: {shown(error)}; get the file again") from error
    _compare(tensors, expected, where)
    for name, tensor in tensors.items():
        allowed = (torch.float64,) if name in (MEAN, COVARIANCE) else (torch.float32, torch.float16, torch.bfloat16)
        if tensor.dtype not in allowed:
            raise GeneratorError(f"{where} has {name} as {tensor.dtype}; expected {' or '.join(map(str, allowed))}")
        if not torch.isfinite(tensor).all():
            raise GeneratorError(f"{where} has NaN or infinite numbers in {name}: these weights cannot be used")
    _check_covariance(tensors[COVARIANCE].numpy(), where)
    weights = {name: t if name in (MEAN, COVARIANCE) else t.float() for name, t in tensors.items()}
    return header, weights, hashlib.sha256(data).hexdigest()


def check_settings(config: StyleGAN2Config, cutoff: int | None, label: int) -> None:
    """Raise GeneratorError where a truncation's cut-off or a class is not one that the network has."""
    if cutoff is not None and not 0 <= cutoff <= config.num_ws:
        raise GeneratorError(
            f"truncation_cutoff is {cutoff}; it must be from 0 to {config.num_ws}, the layers there are"
        )
    if label and label >= config.classes:
        has = f"it has the classes 0 to {config.classes - 1}" if config.classes else "it knows no classes"
        raise GeneratorError(f"the class {label} is not one of this generator's: {has}")


def _read_header(data: bytes, where: str | Path) -> WeightsHeader:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, LARGEST_HEADER):
        raise GeneratorError(f"{where} is no safetensors file or is truncated ({len(data)} bytes); get the file again")
    try:
        found: Any = json.loads(data[8 : 8 + length])
        raw = json.loads(found["__metadata__"]["faceaug"])
        stated, number = raw["format"], raw["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GeneratorError(
            f"{where} carries no readable faceaug header: it is not a generator that faceaug wrote"
        ) from error
    if stated != FORMAT:
        raise GeneratorError(f"{where} is of the format {shown(repr(stated))}; a generator has {FORMAT!r}")
    if number != VERSION:
        raise GeneratorError(
            f"{where} is of version {shown(repr(number))}; this faceaug reads version {VERSION}: update faceaug"
        )
    try:
        header = WeightsHeader.model_validate(raw)
        check_settings(header.config, header.truncation_cutoff, header.label)
    except ValidationError as error:
        first = error.errors()[0]
        place = shown(".".join(map(str, first["loc"])))
        raise GeneratorError(f"the header of {where} is wrong at {place!r}: {first['msg']}") from error
    except GeneratorError as error:
        raise GeneratorError(f"the header of {where} is wrong: {error}") from error
    return header


def _compare(tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], where: str | Path) -> None:
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise GeneratorError(f"{where} lacks {len(missing)} of {len(expected)} tensors, the first is {missing[0]!r}")
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise GeneratorError(
            f"{where} has {len(extra)} tensors that its header does not ask for, as {shown(extra[0])!r}"
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise GeneratorError(
                f"{where} has {name} of the shape {tuple(tensors[name].shape)}; its header asks for {shape}"
            )


def _check_covariance(covariance: np.ndarray[Any, np.dtype[np.float64]], where: str | Path) -> None:
    scale = float(np.abs(covariance).max())
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-9 * scale):
        raise GeneratorError(f"{where} has a w covariance that is not symmetric: the file is damaged")
    if float(np.linalg.eigvalsh(covariance)[0]) < -1e-6 * scale:
        raise GeneratorError(f"{where} has a w covariance with negative variances: the file is damaged")
