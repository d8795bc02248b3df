"""NVIDIA's PyTorch pickles of StyleGAN2, StyleGAN2-ADA and StyleGAN3, read without NVIDIA's code or their own.

Such a file is a dict of modules, `G_ema` among them. A module is a record: class name, source text of the class, and
state. The source text is ignored; tensors and some plain options of the state are used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceaug.errors import GeneratorError
from faceaug.generators.importers.tensor_map import (
    W_AVG,
    ForeignCheckpoint,
    TensorSource,
    channel_rule,
    check_blur,
    tensor_shape,
)
from faceaug.generators.importers.torch_file import (
    LOAD_FROM_BYTES,
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    TorchFile,
    storage_of,
)
from faceaug.generators.importers.unpickler import ConstructedObject, dict_entries, read_pickle, refusal_reason
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_networks import AliasFreeSynthesis, Filters, StyleGAN3Config
from faceaug.utils.files import read_regular
from faceaug.utils.text import printable

MODULE_RECORD = "torch_utils.persistence._reconstruct_persistent_obj"
# All names that a file may contain. None of them is called: the names are only recorded.
_ALLOWED_NAMES = frozenset(
    {
        MODULE_RECORD,
        REBUILD_TENSOR,
        REBUILD_PARAMETER,
        LOAD_FROM_BYTES,
        "collections.OrderedDict",
        "dnnlib.util.EasyDict",
        "dnnlib.EasyDict",
        "builtins.set",
        "torch.Size",
        "torch.device",
        "torch.float16",
        "torch.float32",
        "torch.float64",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.ndarray",
        "numpy.dtype",
        "_codecs.encode",
    }
)
_NOISE_TENSORS = ("noise_const", "noise_strength")
_FILTER_TENSORS = ("up_filter", "down_filter")
# Arguments of the constructor of a StyleGAN3, and our fields; the default of an argument is that of `Filters`.
_FILTER_ARGUMENTS = {
    "num_layers": "layers",
    "num_critical": "critical",
    "first_cutoff": "first_cutoff",
    "first_stopband": "first_stopband",
    "last_stopband_rel": "last_stopband",
    "margin_size": "margin",
    "output_scale": "output_scale",
    "conv_kernel": "kernel",
    "filter_size": "taps",
    "lrelu_upsampling": "oversampling",
    "use_radial_filters": "radial",
}
_MAX_TENSORS, _MAX_MODULES, _MAX_DEPTH = 4096, 4096, 8


def refusal_hint(name: str) -> str:
    """Return the end of the sentence that refuses a name."""
    if name.startswith("dnnlib.tflib"):
        return (
            "as pickles of TensorFlow do; convert it with legacy.py of NVIDIA's stylegan2-ada-pytorch or stylegan3 "
            "(python legacy.py --source=OLD.pkl --dest=NEW.pkl), then import NEW.pkl"
        )
    return refusal_reason(name)


def read_nvidia(path: Path) -> ForeignCheckpoint:
    """Find the generator in one of NVIDIA's pickles.

    Raises
    ------
    GeneratorError
        When the file is damaged, contains a name that is not allowed, or holds no generator of a known kind.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read: {error.strerror or error}") from error
    root = read_pickle(io.BytesIO(data), path, _ALLOWED_NAMES, refusal_hint)
    nets = dict_entries(root)
    module = next((nets[key] for key in ("G_ema", "G") if nets.get(key) is not None), None)
    if module is None:
        raise GeneratorError(f"{path} holds no generator: it has no entry G_ema or G")
    top = _state(module, path, "G_ema")
    file = TorchFile(root, lambda value: storage_of(value, path, refusal_hint), len(data), path)
    tensors = {name: value for name, value in _tensors(top, path) if value is not None}
    if "synthesis.b4.const" in tensors:
        return _stylegan2(file, top, tensors)
    if "synthesis.input.freqs" in tensors:
        return _stylegan3(file, top, tensors)
    raise GeneratorError(f"{path} holds a generator that is neither a StyleGAN2 nor a StyleGAN3")


def _state(record: Any, path: Path, name: str) -> dict[Any, Any]:
    """Return the state of a module's record."""
    meta = (
        record.args[0]
        if isinstance(record, ConstructedObject) and record.name == MODULE_RECORD and len(record.args) == 1
        else None
    )
    state = dict_entries(dict_entries(meta).get("state"))
    if not state:
        raise GeneratorError(
            f"{path} has no readable module at {printable(name)}: it is no pickle of NVIDIA's networks"
        )
    return state


def _tensors(
    state: dict[Any, Any], path: Path, prefix: str = "", depth: int = 0, counter: Iterator[int] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield name and tensor of all parameters and buffers of a module and its submodules."""
    if depth > _MAX_DEPTH:
        raise GeneratorError(f"{path} is refused: its modules are nested more than {_MAX_DEPTH} deep")
    counter = counter or count()  # one for the whole walk: a module may occur in many places, and is visited in each
    if next(counter) >= _MAX_MODULES:
        raise GeneratorError(f"{path} is refused: it has more than {_MAX_MODULES} modules")
    for kind in ("_parameters", "_buffers"):
        for name, value in dict_entries(state.get(kind)).items():
            yield f"{prefix}{_key(name, path)}", value
    for name, child in dict_entries(state.get("_modules")).items():
        if child is None:
            continue
        child_name = f"{prefix}{_key(name, path)}"
        for index, inner in enumerate(
            _tensors(_state(child, path, child_name), path, f"{child_name}.", depth + 1, counter)
        ):
            if index >= _MAX_TENSORS:
                raise GeneratorError(f"{path} is refused: it has more than {_MAX_TENSORS} tensors")
            yield inner


def _key(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise GeneratorError(f"{path} names a module or tensor by a {printable(name)}; expected text")
    return name


def _submodule_state(state: dict[Any, Any], path: Path, name: str) -> dict[Any, Any]:
    """Return the state of a module within a module, by its dotted name."""
    for module in name.split("."):
        state = _state(dict_entries(state.get("_modules")).get(module), path, name)
    return state


def _describe(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 2**63:
        return f"a number of {value.bit_length()} bits"
    return printable(repr(value)) if isinstance(value, (int, float, str)) else f"a {printable(value)}"


def _option(state: Mapping[Any, Any], name: str, kinds: tuple[type, ...], path: Path, default: Any) -> Any:
    value = state.get(name, default)
    if type(value) not in (*kinds, type(default)):
        raise GeneratorError(f"{path} has {_describe(value)} as {name}; expected another kind of value")
    if isinstance(value, (int, float)) and not abs(value) <= 2**31:  # NaN compares as false
        raise GeneratorError(f"{path} has {_describe(value)} as {name}; expected a finite number within +-2^31")
    return value


def _mapping(
    file: TorchFile, top: dict[Any, Any], tensors: dict[str, Any]
) -> tuple[dict[str, int], dict[str, TensorSource]]:
    """Return widths and sources of the mapping, which both kinds share."""
    path = Path(file.where)
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in tensors)
    if not layers or "mapping.fc0.weight" not in tensors:
        raise GeneratorError(f"{path} has no mapping from z to w")
    w_dim, inputs = tensor_shape(file, tensors, "mapping.fc0.weight", 2)
    classes = 0
    if "mapping.embed.weight" in tensors:
        embedded, classes = tensor_shape(file, tensors, "mapping.embed.weight", 2)
        inputs -= embedded
    sources = {W_AVG: TensorSource(W_AVG, absent=True)}
    for name, value in tensors.items():
        if not name.startswith("mapping."):
            continue
        scale = 1.0
        if name.startswith("mapping.fc"):
            inner = _submodule_state(top, path, name.rpartition(".")[0])
            if _option(inner, "activation", (str,), path, "lrelu") != "lrelu":
                raise GeneratorError(f"{path} has a mapping with another activation than lrelu, which is not read")
            scale = float(_option(inner, "bias_gain", (int, float), path, 0.01)) / 0.01
        sources[name] = TensorSource(name, value, scale)
    widths = {"z_dim": inputs, "w_dim": w_dim, "mapping_layers": layers, "classes": classes}
    return widths, sources


def _clamp(state: dict[Any, Any], path: Path) -> float | None:
    value = _option(state, "conv_clamp", (int, float), path, None)
    return None if value is None else float(value)


def _stylegan2(file: TorchFile, top: dict[Any, Any], tensors: dict[str, Any]) -> ForeignCheckpoint:
    path = Path(file.where)
    shared, sources = _mapping(file, top, tensors)
    names = {name.split(".")[1] for name in tensors if name.startswith("synthesis.b")}
    block_sides = sorted(int(name[1:]) for name in names if name[1:].isdecimal() and len(name) < 6)
    widths = {side: tensor_shape(file, tensors, f"synthesis.b{side}.torgb.weight", 4)[1] for side in block_sides}
    if tensor_shape(file, tensors, "synthesis.b4.torgb.weight", 4)[0] != 3:
        raise GeneratorError(f"{path} synthesizes images of other than 3 channels; only RGB is read")
    base, highest = channel_rule(widths)
    layer = _submodule_state(top, path, "synthesis.b4.conv1")
    if _option(layer, "activation", (str,), path, "lrelu") != "lrelu":
        raise GeneratorError(f"{path} has a synthesis with another activation than lrelu, which is not read")
    config = StyleGAN2Config(
        resolution=block_sides[-1], channel_base=base, channel_max=highest, conv_clamp=_clamp(layer, path), **shared
    )
    for name, value in tensors.items():
        if name.endswith("resample_filter"):
            check_blur(file, name, value, 1.0)
        elif name.startswith("synthesis."):
            sources[name] = TensorSource(name, value)
    for side in block_sides:  # a network that was built without noise lacks these tensors
        for name in (f"synthesis.b{side}.{conv}.{tensor}" for conv in ("conv0", "conv1") for tensor in _NOISE_TENSORS):
            if name not in sources and f"{name.rpartition('.')[0]}.weight" in tensors:
                sources[name] = TensorSource(name, absent=True)
    return ForeignCheckpoint(file, config, sources, "StyleGAN2 in NVIDIA's PyTorch form")


def _stylegan3(file: TorchFile, top: dict[Any, Any], tensors: dict[str, Any]) -> ForeignCheckpoint:
    path = Path(file.where)
    shared, sources = _mapping(file, top, tensors)
    synthesis = _submodule_state(top, path, "synthesis")
    arguments = {**dict_entries(top.get("_init_kwargs")), **dict_entries(synthesis.get("_init_kwargs"))}
    fields = {
        ours: _option(arguments, theirs, (int, float, bool), path, getattr(Filters, ours))
        for theirs, ours in _FILTER_ARGUMENTS.items()
    }
    layers = [name for name in dict_entries(synthesis.get("_modules")) if name != "input"]
    if not layers:
        raise GeneratorError(f"{path} has a synthesis without layers")
    kinds = {ours: type(getattr(Filters, ours)) for ours in fields}
    filters = Filters(**{ours: kinds[ours](value) for ours, value in fields.items()})
    config = StyleGAN3Config(
        resolution=_option(synthesis, "img_resolution", (int,), path, 0),
        channel_base=int(_option(arguments, "channel_base", (int, float), path, 32768)),
        channel_max=int(_option(arguments, "channel_max", (int, float), path, 512)),
        conv_clamp=_clamp(_submodule_state(top, path, f"synthesis.{layers[0]}"), path),
        filters=filters,
        **shared,
    )
    for name, value in tensors.items():
        if name.startswith("synthesis.") and not name.endswith(_FILTER_TENSORS):
            sources[name] = TensorSource(name, value)
    _check_designs(file, config, tensors)
    kind = "R" if filters.radial else "T"
    return ForeignCheckpoint(file, config, sources, f"StyleGAN3-{kind} in NVIDIA's PyTorch form")


def _check_designs(file: TorchFile, config: StyleGAN3Config, tensors: dict[str, Any]) -> None:
    """Compare the filters in the file with those that follow from the configuration."""
    with torch.device("meta"):
        synthesis = AliasFreeSynthesis(config)
    designs = {
        f"synthesis.{name}.{kind}": design
        for name, pair in synthesis.filter_designs().items()
        for kind, design in zip(_FILTER_TENSORS, pair, strict=True)
        if design is not None
    }
    for name in sorted({name for name in tensors if name.endswith(_FILTER_TENSORS)} | set(designs)):
        design = designs.get(name)
        if (
            design is None
            or name not in tensors
            or file.shape(tensors[name], name) != design.shape
            or not np.allclose(file.tensor(tensors[name], name), design, rtol=0, atol=1e-5)
        ):
            raise GeneratorError(
                f"{file.where} has filters that do not follow from its configuration, as {printable(name)}"
            )
