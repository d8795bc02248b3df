"""Results of blocks as files, written whole, so that a driver that was ended finds them when it is resumed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from faceaug.errors import IntegrityError
from faceaug.shards.manifest import Manifest
from faceaug.shards.takeover import BLOCKS_FOLDER, remove_blocks
from faceaug.synthesis.engines.base import BlockResult, Candidate, SourceImage
from faceaug.utils.files import output_error, read_regular, write_bytes
from faceaug.utils.text import one_line

_Arrays = dict[str, NDArray[Any]]
_ARRAYS = ("image", "w", "origin_w")  # of a candidate; everything else of it is JSON


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _SourceRecord(_Record):
    sha256: str
    hash: int | None

    def source(self) -> SourceImage:
        return SourceImage(bytes.fromhex(self.sha256), None if self.hash is None else np.uint64(self.hash))


class _CandidateRecord(_Record):
    """The fields of a `Candidate` that are JSON; `encoded` says that its image is bytes."""

    attempt: int
    seed: int
    engine: str
    encoded: bool
    quality: int | None
    harmonize: dict[str, float]
    attr: dict[str, Any]
    confidence: dict[str, float]
    semantic: dict[str, float]
    plausibility: float
    realism: float
    hash: int
    source: _SourceRecord | None
    donors: list[_SourceRecord]


class _BlockRecord(_Record):
    """The fields of a `BlockResult` that are JSON, and the fingerprint of its run."""

    run: str
    candidates: list[_CandidateRecord]
    refused: list[tuple[int, str]]
    nearest: dict[str, float]
    next_engine: int | None
    steady: bool
    from_photographs: bool


def encode_block(result: BlockResult, run: str) -> bytes:
    """Return the result of a block as bytes: arrays, and JSON for the rest. It holds numbers, texts and bytes only.

    `run` is the fingerprint of the run that the block belongs to.
    """
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
        "run": run,
        "candidates": candidates,
        "refused": list(result.refused.items()),
        "nearest": result.nearest,
        "next_engine": result.next_engine,
        "steady": result.steady,
        "from_photographs": result.from_photographs,
    }
    text = json.dumps(block, default=_as_json).encode()
    return bytes(save({**arrays, "block": np.frombuffer(text, np.uint8)}))


def decode_block(data: bytes, run: str) -> BlockResult:
    """Return the result that `encode_block` wrote for a run.

    Raises
    ------
    IntegrityError
        When the bytes are damaged, no such result, or of another run.
    """
    try:
        arrays: _Arrays = load(data)
        block = _BlockRecord.model_validate_json(arrays["block"].tobytes())
        pictures = {int(name.split()[1]): _pixels(arrays[name]) for name in arrays if name.startswith("picture ")}
        candidates = tuple(_candidate(fields, place, arrays) for place, fields in enumerate(block.candidates))
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"the result of a block is damaged: {one_line(error)}") from error
    if block.run != run:
        raise IntegrityError("the result of a block is of another run")
    return BlockResult(
        candidates,
        dict(block.refused),
        block.nearest,
        next_engine=block.next_engine,
        steady=block.steady,
        pictures=pictures,
        from_photographs=block.from_photographs,
    )


class BlockFiles:
    """The folder `blocks` of an output, which holds results until their samples are in the manifest.

    Parameters
    ----------
    out : Path
        The output folder.
    run : str
        The fingerprint of the run; results of another one count as absent.
    """

    def __init__(self, out: Path, run: str) -> None:
        self.folder, self._run = out / BLOCKS_FOLDER, run
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
        """Return a result, or None where none is there; one that is damaged or of another run is removed."""
        path = self.path(cell, block)
        try:
            return decode_block(read_regular(path), self._run)
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
        remove_blocks(self.folder.parent)


def _candidate(record: _CandidateRecord, place: int, arrays: _Arrays) -> Candidate:
    image = arrays[f"image {place}"]
    latents = [arrays.get(f"{name} {place}") for name in ("w", "origin_w")]
    if any(w is not None and (w.dtype != np.float32 or w.ndim != 1) for w in latents):
        raise ValueError(f"a latent of candidate {place} is no row of float32")
    return Candidate(
        image=_encoded(image) if record.encoded else _pixels(image),
        w=latents[0],
        origin_w=latents[1],
        hash=np.uint64(record.hash),
        source=record.source.source() if record.source else None,
        donors=tuple(donor.source() for donor in record.donors),
        **record.model_dump(exclude={"encoded", "hash", "source", "donors"}),
    )


def _encoded(image: NDArray[Any]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 1:
        raise ValueError(f"an encoded image is {image.dtype} {list(image.shape)}, where bytes are expected")
    return image.tobytes()


def _pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is {image.dtype} {list(image.shape)}, where uint8 [H, W, 3] is expected")
    return image


def _as_json(value: Any) -> Any:
    """Return what JSON does not know as what it knows; numbers keep their value to the last bit."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, SourceImage):
        return {"sha256": value.sha256.hex(), "hash": value.hash}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is in the result of a block")
