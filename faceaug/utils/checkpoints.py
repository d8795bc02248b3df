"""What a training run leaves on disk: its state to go on from, its log, its sample grid and the exported generator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from faceaug.errors import GeneratorError, OutputError
from faceaug.utils.files import check_writable, output_error, write_bytes
from faceaug.utils.images import contact_sheet, encode

FORMAT, VERSION = "faceaug-training", 1
CHECKPOINT, LOG, GRID, EXPORT = "checkpoint.safetensors", "log.jsonl", "grid.png", "generator.safetensors"
GRIDS, BEST = "grids", "best.safetensors"


def make_folder(folder: Path) -> None:
    """Make a run's folder if it is not there.

    Raises
    ------
    OutputError
        When it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    check_writable(folder / CHECKPOINT)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Say before hours are spent on reading images that a run cannot be begun, or gone on with, in a folder.

    Raises
    ------
    OutputError
        When it holds a run and none is to be resumed.
    GeneratorError
        When one is to be resumed, and there is none.
    """
    there = (folder / CHECKPOINT).exists()
    if there and not resume:
        raise OutputError(f"{folder} holds a run already: resume it, or choose another folder")
    if resume and not there:
        raise GeneratorError(f"{folder} holds no run that could be resumed: leave --resume out to begin one")


def write_checkpoint(
    folder: Path,
    progress: Mapping[str, int],
    setup: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write everything that a run needs to go on as if it had not stopped, as one safetensors file.

    Parameters
    ----------
    folder
        The run's folder.
    progress
        Counters, for example step and images seen.
    setup
        The configuration and the source of images, JSON-able: a run goes on only under the same.
    networks, optimisers
        What to store, by name.
    """
    tensors = {
        f"{name}/{key}": value for name, module in networks.items() for key, value in module.state_dict().items()
    }
    for name, optimiser in optimisers.items():
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value for key, value in moments.items()}
    header = {"format": FORMAT, "version": VERSION, "progress": dict(progress), "setup": dict(setup)}
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(folder / CHECKPOINT, safetensors.torch.save(whole, {"faceaug": json.dumps(header)}))


def read_checkpoint(
    folder: Path,
    setup: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, int]:
    """Put a checkpoint's state into the networks and optimisers, in place, and return its counters.

    Raises
    ------
    GeneratorError
        When there is no checkpoint, it is damaged or of an unknown version, or it belongs to another setup.
    """
    path = folder / CHECKPOINT
    try:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["faceaug"])
        stated, progress, before = (header["format"], header["version"]), header["progress"], header["setup"]
        tensors = safetensors.torch.load(data)
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read ({error.strerror or error}): start without resuming") from error
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise GeneratorError(f"{path} is damaged: {error}; start again without resuming") from error
    if stated != (FORMAT, VERSION):
        raise GeneratorError(f"{path} is of the kind {stated}; expected {(FORMAT, VERSION)}")
    _same_setup(path, before, setup)
    try:
        for name, module in networks.items():
            module.load_state_dict(_under(tensors, name))
        for name, optimiser in optimisers.items():
            _restore(optimiser, _under(tensors, name))
        return {key: int(value) for key, value in progress.items()}
    except (RuntimeError, ValueError, KeyError) as error:
        raise GeneratorError(f"{path} does not fit the networks: {error}; start again without resuming") from error


def check_setup(folder: Path, setup: Mapping[str, Any]) -> None:
    """Say before hours are spent that a folder's checkpoint, if it has one, is of another setup.

    Raises
    ------
    GeneratorError
        When it is, or is damaged.
    """
    if (folder / CHECKPOINT).exists():
        read_checkpoint(folder, setup, {}, {})


def _same_setup(path: Path, before: Any, setup: Mapping[str, Any]) -> None:
    old, new = _flat(before), _flat(json.loads(json.dumps(dict(setup))))
    told = [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if told:
        raise GeneratorError(
            f"{path} belongs to another configuration ({'; '.join(told)}): resume with the same or use a new folder"
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    parts = (_flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items())
    return {key: inner for part in parts for key, inner in part.items()}


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _restore(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    state = optimiser.state_dict()
    state["state"] = {}
    for key, value in moments.items():
        index, _, moment = key.partition("/")
        state["state"].setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict(state)


def cut_log(folder: Path, step: int) -> None:
    """Drop the log's lines after `step`, which a run that goes on from there will write again."""
    path = folder / LOG
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_bytes(path, "".join(f"{line}\n" for line in kept).encode())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the run's log, those that are whole."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def append_log(folder: Path, row: Mapping[str, Any]) -> None:
    """Add one line of JSON to the run's log."""
    with open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")


def write_grid(folder: Path, images: Tensor, seen: int | None = None) -> None:
    """Write images [N, 3, R, R] in [-1, 1] as one PNG, sixteen in a row; with `seen`, among those that are kept."""
    pixels = images.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    path = folder / GRID
    if seen is not None:
        path = folder / GRIDS / f"{seen:09d}.png"
        path.parent.mkdir(exist_ok=True)
    write_bytes(path, encode(contact_sheet(list(pixels), columns=16), "png"))
