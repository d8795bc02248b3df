"""The folder of a training run: its checkpoint and its log."""

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
from faceaug.utils.files import check_writable, output_error, parse_json, read_regular, write_bytes

_FORMAT, _VERSION = "faceaug-training", 2
CHECKPOINT_FILE, LOG_FILE = "checkpoint.safetensors", "log.jsonl"


def make_folder(folder: Path) -> None:
    """Create the folder of a run if it does not exist.

    Raises
    ------
    OutputError
        When it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    check_writable(folder / CHECKPOINT_FILE)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Check, before hours are spent on reading images, that a run can start or continue in a folder.

    Raises
    ------
    OutputError
        When the folder holds a run and `resume` is false.
    GeneratorError
        When the folder holds no run and `resume` is true.
    """
    exists = (folder / CHECKPOINT_FILE).exists()
    if exists and not resume:
        raise OutputError(f"{folder} holds a run already: resume it, or choose another folder")
    if resume and not exists:
        raise GeneratorError(f"{folder} holds no run that could be resumed: leave --resume out to start one")


def write_checkpoint(
    folder: Path,
    progress: Mapping[str, int],
    setup: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write everything that a run needs to continue with the same numbers, as one safetensors file.

    Parameters
    ----------
    folder
        The run's folder.
    progress
        Counters, for example step and images seen.
    setup
        The configuration and the source of images, as JSON values: a run continues only with the same.
    networks, optimizers
        What to store, by name.
    """
    tensors = {
        f"{name}/{key}": value for name, module in networks.items() for key, value in module.state_dict().items()
    }
    for name, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value for key, value in moments.items()}
    header = {"format": _FORMAT, "version": _VERSION, "progress": dict(progress), "setup": dict(setup)}
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(folder / CHECKPOINT_FILE, safetensors.torch.save(whole, {"faceaug": json.dumps(header)}))


def read_checkpoint(
    folder: Path,
    setup: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, int]:
    """Load the state of a checkpoint into networks and optimizers, in place, and return its counters.

    Raises
    ------
    GeneratorError
        When there is no checkpoint, it is damaged or of an unknown version, or it belongs to another setup.
    """
    path = folder / CHECKPOINT_FILE
    try:
        data = read_regular(path)
        length = int.from_bytes(data[:8], "little")
        header = parse_json(parse_json(data[8 : 8 + length])["__metadata__"]["faceaug"])
        stated, progress, before = (header["format"], header["version"]), header["progress"], header["setup"]
        tensors = safetensors.torch.load(data)
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read ({error.strerror or error}): start without resuming") from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise GeneratorError(f"{path} is damaged: {error}; start again without resuming") from error
    if stated != (_FORMAT, _VERSION):
        raise GeneratorError(
            f"{path} is a file of the kind {stated}, and checkpoints of the kind {(_FORMAT, _VERSION)} are read: start "
            "again without resuming"
        )
    _same_setup(path, before, setup)
    try:
        for name, module in networks.items():
            module.load_state_dict(_under(tensors, name))
        for name, optimizer in optimizers.items():
            _restore(optimizer, _under(tensors, name))
        return {key: int(value) for key, value in progress.items()}
    except (RuntimeError, ValueError, KeyError) as error:
        raise GeneratorError(f"{path} does not fit the networks: {error}; start again without resuming") from error


def check_setup(folder: Path, setup: Mapping[str, Any]) -> None:
    """Check, before hours are spent, that the checkpoint of a folder, if it has one, is of this setup.

    Raises
    ------
    GeneratorError
        When it is of another setup, or is damaged.
    """
    if (folder / CHECKPOINT_FILE).exists():
        read_checkpoint(folder, setup, {}, {})


def _same_setup(path: Path, before: Any, setup: Mapping[str, Any]) -> None:
    old, new = _flat(before), _flat(json.loads(json.dumps(dict(setup))))
    changes = [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if changes:
        raise GeneratorError(
            f"{path} belongs to another configuration ({'; '.join(changes)}): resume with the same or use a new folder"
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    nested = (_flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items())
    return {key: inner for inner_values in nested for key, inner in inner_values.items()}


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _restore(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    state = optimizer.state_dict()
    state["state"] = {}
    for key, value in moments.items():
        index, _, moment = key.partition("/")
        state["state"].setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict(state)


def cut_log(folder: Path, step: int) -> None:
    """Delete the log's lines after `step`; a run that continues from there writes them again."""
    path = folder / LOG_FILE
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_bytes(path, "".join(f"{line}\n" for line in kept).encode())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of the run's log; an interrupted run can leave an incomplete last line."""
    path = folder / LOG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def append_log(folder: Path, row: Mapping[str, Any]) -> None:
    """Add one line of JSON to the run's log."""
    with open(folder / LOG_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")
