"""Results of blocks as files, written whole, so that a driver that was ended finds them when it is resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import Manifest
from faceaug.shards.takeover import BLOCKS_FOLDER
from faceaug.synthesis.engines.base import BlockResult, Candidate, SourceImage
from faceaug.utils.files import output_error, parse_json, read_regular, write_bytes

_Arrays = dict[str, NDArray[Any]]
_ARRAYS = ("image", "w", "origin_w")  # of a candidate; everything else of it is JSON


def encode_block(result: BlockResult) -> bytes:
    """Return the result of a block as bytes: arrays, and JSON for the rest. It holds numbers, texts and bytes only."""
    arrays: _Arrays = {f"picture {attempt}": np.asarray(picture) for attempt, picture in result.pictures.items()}
    candidates = []
    for place, candidate in enumerate(result.candidates):
        fields = {name: getattr(candidate, name) for name in (field.name for field in dataclasses.fields(Candidate))}
        image = fields["image"]
        fields["encoded"] = isinstance(image, bytes)
        fields["image"] = np.frombuffer(image, np.uint8) if isinstance(image, bytes) else image
        for name in _ARRAYS:
            if (array := fields.pop(name)) is not None:
                arrays[f"{name} {place}"] = np.ascontiguousarray(array)
        candidates.append(fields)
    block = {
        "candidates": candidates,
        "refused": list(result.refused.items()),
        "nearest": result.nearest,
        "next_engine": result.next_engine,
        "steady": result.steady,
        "from_photographs": result.from_photographs,
    }
    text = json.dumps(block, default=_as_json).encode()
    return bytes(save({**arrays, "block": np.frombuffer(text, np.uint8)}))


def decode_block(data: bytes) -> BlockResult:
    """Return the result that `encode_block` wrote.

    Raises
    ------
    IntegrityError
        When the bytes are damaged, or no such result.
    """
    try:
        arrays: _Arrays = load(data)
        block = parse_json(arrays["block"].tobytes())
        candidates = tuple(_candidate(fields, place, arrays) for place, fields in enumerate(block.pop("candidates")))
        refused = {int(attempt): str(reason) for attempt, reason in block.pop("refused")}
        pictures = {int(name.split()[1]): array for name, array in arrays.items() if name.startswith("picture ")}
        return BlockResult(candidates, refused, pictures=pictures, **block)
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError("the result of a block is damaged") from error


class BlockFiles:
    """The folder `blocks` of an output, which holds results until their samples are in the manifest.

    Parameters
    ----------
    out : Path
        The output folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / BLOCKS_FOLDER
        self._manifest: Manifest | None = None

    def create(self) -> None:
        """Make the folder, unless it is there.

        Raises
        ------
        OutputError
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, error) from error

    def path(self, cell: int, block: int, kind: str = "safetensors") -> Path:
        """Return the path of a block's result, or of another kind of file on it."""
        return self.folder / f"{cell}-{block}.{kind}"

    def write(self, cell: int, block: int, data: bytes) -> None:
        """Write a result as `encode_block` gives it.

        Raises
        ------
        OutputError
        """
        write_bytes(self.path(cell, block), data)

    def read(self, cell: int, block: int) -> BlockResult | None:
        """Return a result, or None where none is there; one that is damaged is removed."""
        path = self.path(cell, block)
        try:
            return decode_block(read_regular(path))
        except FileNotFoundError:
            return None
        except IntegrityError:
            path.unlink(missing_ok=True)
            return None

    def remove_saved(self, manifest: Manifest) -> None:
        """Remove the results whose samples a manifest lists; called with the same one again, do nothing."""
        if manifest is self._manifest:
            return
        self._manifest = manifest
        progress: Any = manifest.progress
        taken: Mapping[str, int] = progress["blocks"] if progress else {}
        for path in self.folder.glob("*-*.safetensors"):
            cell, _, block = path.stem.partition("-")
            if block.isdecimal() and int(block) < taken.get(cell, 0):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder with all that is in it; a worker that writes at this moment finds it gone."""
        ended = self.folder.with_name(f".{BLOCKS_FOLDER}.tmp")
        shutil.rmtree(ended, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rename(ended)
        shutil.rmtree(ended, ignore_errors=True)


def _candidate(fields: dict[str, Any], place: int, arrays: _Arrays) -> Candidate:
    image = arrays[f"image {place}"]
    source, donors = fields.pop("source"), fields.pop("donors")
    return Candidate(
        image=image.tobytes() if fields.pop("encoded") else image,
        w=arrays.get(f"w {place}"),
        origin_w=arrays.get(f"origin_w {place}"),
        hash=np.uint64(fields.pop("hash")),
        source=_source(source) if source else None,
        donors=tuple(_source(donor) for donor in donors),
        **fields,
    )


def _source(fields: dict[str, Any]) -> SourceImage:
    known = fields["hash"]
    return SourceImage(bytes.fromhex(fields["sha256"]), None if known is None else np.uint64(known))


def _as_json(value: Any) -> Any:
    """Return what JSON does not know as what it knows; numbers keep their value to the last bit."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, SourceImage):
        return {"sha256": value.sha256.hex(), "hash": value.hash}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is in the result of a block")
