"""NVIDIA's PyTorch pickles of StyleGAN2, StyleGAN2-ADA and StyleGAN3, read without NVIDIA's code or their own.

Such a file is a dict of modules, `G_ema` among them. A module is a record: class name, source text of the class, and
state. The source text is carried along and never looked at; of the state the tensors and some plain settings are used.
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
    MEAN_NAME,
    ForeignCheckpoint,
    TensorSource,
    channel_rule,
    check_blur,
    sides,
)
from faceaug.generators.importers.torch_file import FROM_BYTES, PARAMETER, REBUILD, TorchFile, storage_of
from faceaug.generators.importers.unpickler import ConstructedObject, entries, meant_to_run, read_pickle
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_networks import AliasFreeSynthesis, Filters, StyleGAN3Config
from faceaug.utils.text_table import shown

RECORD = "torch_utils.persistence._reconstruct_persistent_obj"
TENSORFLOW = "dnnlib.tflib.network.Network"
# Everything that a file may name. None of it is called: the names are only noted.
ALLOWED = frozenset(
    {
        RECORD, REBUILD, PARAMETER, FROM_BYTES, "collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict",
        "builtins.set", "torch.Size", "torch.device", "torch.float16", "torch.float32", "torch.float64",
        "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar", "numpy.ndarray", "numpy.dtype", "_codecs.encode",
    }
)  # fmt: skip
MOST_TENSORS, MOST_MODULES, DEEPEST = 4096, 4096, 8


def hint(name: str) -> str:
    """Return the end of the sentence that refuses a name."""
    if name.startswith("dnnlib.tflib"):
        return (
            "as pickles of TensorFlow do; convert it with legacy.py of NVIDIA's stylegan2-ada-pytorch or stylegan3 "
            "(python legacy.py --source=OLD.pkl --dest=NEW.pkl), then import NEW.pkl"
        )
    return meant_to_run(name)


def read_nvidia(path: Path) -> ForeignCheckpoint:
    """Find the generator in one of NVIDIA's pickles.

    Raises
    ------
    GeneratorError
        When the file is damaged, names what it may not, or holds no generator of a known kind.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read: {error.strerror or error}") from error
    root = read_pickle(io.BytesIO(data), path, ALLOWED, hint)
    nets = entries(root)
    module = next((nets[key] for key in ("G_ema", "G") if nets.get(key) is not None), None)
    if module is None:
        raise GeneratorError(f"{path} holds no generator: it has no entry G_ema or G")
    top = _state(module, path, "G_ema")
    file = TorchFile(root, lambda value: storage_of(value, path, hint), len(data), path)
    found = {name: value for name, value in _tensors(top, path) if value is not None}
    if "synthesis.b4.const" in found:
        return _stylegan2(file, top, found)
    if "synthesis.input.freqs" in found:
        return _stylegan3(file, top, found)
    raise GeneratorError(f"{path} holds a generator that is neither a StyleGAN2 nor a StyleGAN3")


def _state(record: Any, path: Path, name: str) -> dict[Any, Any]:
    """Return the state of a module's record."""
    meta = (
        record.args[0]
        if isinstance(record, ConstructedObject) and record.name == RECORD and len(record.args) == 1
        else None
    )
    state = entries(entries(meta).get("state"))
    if not state:
        raise GeneratorError(f"{path} has no readable module at {shown(name)}: it is no pickle of NVIDIA's networks")
    return state


def _tensors(
    state: dict[Any, Any], path: Path, prefix: str = "", depth: int = 0, seen: Iterator[int] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield name and tensor for all of a module's parameters and buffers, and for those of the modules in it."""
    if depth > DEEPEST:
        raise GeneratorError(f"{path} is refused: its modules lie more than {DEEPEST} deep in each other")
    seen = seen or count()  # one for the whole walk: a module may be named in many places, and is visited in each
    if next(seen) >= MOST_MODULES:
        raise GeneratorError(f"{path} is refused: it has more than {MOST_MODULES} modules")
    for kind in ("_parameters", "_buffers"):
        for name, value in entries(state.get(kind)).items():
            yield f"{prefix}{_key(name, path)}", value
    for name, child in entries(state.get("_modules")).items():
        if child is None:
            continue
        place = f"{prefix}{_key(name, path)}"
        for tensors, inner in enumerate(_tensors(_state(child, path, place), path, f"{place}.", depth + 1, seen)):
            if tensors >= MOST_TENSORS:
                raise GeneratorError(f"{path} is refused: it has more than {MOST_TENSORS} tensors")
            yield inner


def _key(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise GeneratorError(f"{path} names a module or tensor by a {shown(name)}; expected text")
    return name


def _inner(state: dict[Any, Any], path: Path, name: str) -> dict[Any, Any]:
    """Return the state of a module within a module, by its dotted name."""
    for part in name.split("."):
        state = _state(entries(state.get("_modules")).get(part), path, name)
    return state


def _told(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 2**63:
        return f"a number of {value.bit_length()} bits"
    return shown(repr(value)) if isinstance(value, (int, float, str)) else f"a {shown(value)}"


def _setting(state: Mapping[Any, Any], name: str, kinds: tuple[type, ...], path: Path, default: Any) -> Any:
    value = state.get(name, default)
    if type(value) not in (*kinds, type(default)):
        raise GeneratorError(f"{path} has {_told(value)} as {name}; expected another kind of value")
    if isinstance(value, (int, float)) and not abs(value) <= 2**31:  # NaN compares as false
        raise GeneratorError(f"{path} has {_told(value)} as {name}; expected a finite number within +-2^31")
    return value


def _mapping(
    file: TorchFile, top: dict[Any, Any], found: dict[str, Any]
) -> tuple[dict[str, int], dict[str, TensorSource]]:
    """Return widths and pieces of the mapping, which both kinds share."""
    path = Path(file.where)
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in found)
    if not layers or "mapping.fc0.weight" not in found:
        raise GeneratorError(f"{path} has no mapping from z to w")
    w_dim, inputs = sides(file, found, "mapping.fc0.weight", 2)
    classes = 0
    if "mapping.embed.weight" in found:
        embedded, classes = sides(file, found, "mapping.embed.weight", 2)
        inputs -= embedded
    pieces = {MEAN_NAME: TensorSource(MEAN_NAME, absent=True)}
    for name, value in found.items():
        if not name.startswith("mapping."):
            continue
        scale = 1.0
        if name.startswith("mapping.fc"):
            inner = _inner(top, path, name.rpartition(".")[0])
            if _setting(inner, "activation", (str,), path, "lrelu") != "lrelu":
                raise GeneratorError(f"{path} has a mapping with another activation than lrelu, which is not read")
            scale = float(_setting(inner, "bias_gain", (int, float), path, 0.01)) / 0.01
        pieces[name] = TensorSource(name, value, scale)
    widths = {"z_dim": inputs, "w_dim": w_dim, "mapping_layers": layers, "classes": classes}
    return widths, pieces


def _clamp(state: dict[Any, Any], path: Path) -> float | None:
    value = _setting(state, "conv_clamp", (int, float), path, None)
    return None if value is None else float(value)


def _stylegan2(file: TorchFile, top: dict[Any, Any], found: dict[str, Any]) -> ForeignCheckpoint:
    path = Path(file.where)
    shared, pieces = _mapping(file, top, found)
    names = {name.split(".")[1] for name in found if name.startswith("synthesis.b")}
    rows = sorted(int(name[1:]) for name in names if name[1:].isdecimal() and len(name) < 6)
    widths = {side: sides(file, found, f"synthesis.b{side}.torgb.weight", 4)[1] for side in rows}
    if sides(file, found, "synthesis.b4.torgb.weight", 4)[0] != 3:
        raise GeneratorError(f"{path} draws pictures of other than 3 channels; only RGB is read")
    base, highest = channel_rule(widths)
    layer = _inner(top, path, "synthesis.b4.conv1")
    if _setting(layer, "activation", (str,), path, "lrelu") != "lrelu":
        raise GeneratorError(f"{path} has a synthesis with another activation than lrelu, which is not read")
    config = StyleGAN2Config(
        resolution=rows[-1], channel_base=base, channel_max=highest, conv_clamp=_clamp(layer, path), **shared
    )
    for name, value in found.items():
        if name.endswith("resample_filter"):
            check_blur(file, name, value, 1.0)
        elif name.startswith("synthesis."):
            pieces[name] = TensorSource(name, value)
    for side in rows:  # a network that was made without noise has no place for it
        for name in (f"synthesis.b{side}.{conv}.{part}" for conv in ("conv0", "conv1") for part in _NOISE):
            if name not in pieces and f"{name.rpartition('.')[0]}.weight" in found:
                pieces[name] = TensorSource(name, absent=True)
    return ForeignCheckpoint(file, config, pieces, "StyleGAN2 in NVIDIA's PyTorch form")


_NOISE = ("noise_const", "noise_strength")


def _stylegan3(file: TorchFile, top: dict[Any, Any], found: dict[str, Any]) -> ForeignCheckpoint:
    path = Path(file.where)
    shared, pieces = _mapping(file, top, found)
    synthesis = _inner(top, path, "synthesis")
    given = {**entries(top.get("_init_kwargs")), **entries(synthesis.get("_init_kwargs"))}
    fields = {
        ours: _setting(given, theirs, (int, float, bool), path, getattr(Filters, ours))
        for theirs, ours in _FILTERS.items()
    }
    layers = [name for name in entries(synthesis.get("_modules")) if name != "input"]
    if not layers:
        raise GeneratorError(f"{path} has a synthesis without layers")
    kinds = {ours: type(getattr(Filters, ours)) for ours in fields}
    filters = Filters(**{ours: kinds[ours](value) for ours, value in fields.items()})
    config = StyleGAN3Config(
        resolution=_setting(synthesis, "img_resolution", (int,), path, 0),
        channel_base=int(_setting(given, "channel_base", (int, float), path, 32768)),
        channel_max=int(_setting(given, "channel_max", (int, float), path, 512)),
        conv_clamp=_clamp(_inner(top, path, f"synthesis.{layers[0]}"), path),
        filters=filters,
        **shared,
    )
    for name, value in found.items():
        if name.startswith("synthesis.") and not name.endswith(_DESIGNED):
            pieces[name] = TensorSource(name, value)
    _check_designs(file, config, found)
    kind = "R" if filters.radial else "T"
    return ForeignCheckpoint(file, config, pieces, f"StyleGAN3-{kind} in NVIDIA's PyTorch form")


# What the constructor of a StyleGAN3 is given, and what it is called here; what is not given is as in `Filters`.
_FILTERS = {
    "num_layers": "layers", "num_critical": "critical", "first_cutoff": "first_cutoff",
    "first_stopband": "first_stopband", "last_stopband_rel": "last_stopband", "margin_size": "margin",
    "output_scale": "output_scale", "conv_kernel": "kernel", "filter_size": "taps",
    "lrelu_upsampling": "oversampling", "use_radial_filters": "radial",
}  # fmt: skip


_DESIGNED = ("up_filter", "down_filter")


def _check_designs(file: TorchFile, config: StyleGAN3Config, found: dict[str, Any]) -> None:
    """Compare the filters in the file with those that follow from the configuration."""
    with torch.device("meta"):
        synthesis = AliasFreeSynthesis(config)
    designs = {
        f"synthesis.{name}.{kind}": design
        for name, pair in synthesis.designs().items()
        for kind, design in zip(_DESIGNED, pair, strict=True)
        if design is not None
    }
    for name in sorted({name for name in found if name.endswith(_DESIGNED)} | set(designs)):
        design = designs.get(name)
        if (
            design is None
            or name not in found
            or file.shape(found[name], name) != design.shape
            or not np.allclose(file.tensor(found[name], name), design, rtol=0, atol=1e-5)
        ):
            raise GeneratorError(f"{file.where} has filters that do not follow from its settings, as {shown(name)}")
