"""A file that keeps the embeddings of real faces by the SHA-256 of their files (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save

from faceaug.errors import IntegrityError
from faceaug.identity.base import FaceEmbedder
from faceaug.utils.files import write_bytes
from faceaug.utils.tensors import open_safetensors
from faceaug.utils.text import one_line, shown
from faceaug.utils.typing import Floats32

_FORMAT, _VERSION = "faceaug-identity", 1


def write_embeddings(path: Path, embedder: FaceEmbedder, embeddings: Mapping[bytes, Floats32]) -> None:
    """Write embeddings float32 [D] by the SHA-256 of their files, atomically, in the order of the hashes."""
    digests = sorted(embeddings)
    tensors: dict[str, npt.NDArray[Any]] = {
        "digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        "embeddings": np.stack([embeddings[digest] for digest in digests]),
    }
    header = {"format": _FORMAT, "version": _VERSION, "embedder": embedder.name, "sha256": embedder.sha256}
    write_bytes(path, save(tensors, metadata={"faceaug": json.dumps(header)}))


def read_embeddings(path: Path, embedder: FaceEmbedder) -> dict[bytes, Floats32]:
    """Read what `write_embeddings` wrote; nothing where another embedder, or other weights, computed it.

    Raises
    ------
    IntegrityError
        When the file is damaged, or of another format or version.
    """
    try:
        with open_safetensors(path, "np") as (file, header):
            if (header.get("format"), header.get("version")) != (_FORMAT, _VERSION):
                raise ValueError(f"it says that it is {shown(header.get('format'))}, not {_FORMAT} {_VERSION}")
            if (header.get("embedder"), header.get("sha256")) != (embedder.name, embedder.sha256):
                return {}
            digests, embeddings = file.get_tensor("digests"), file.get_tensor("embeddings")
        if digests.dtype != np.uint8 or digests.shape != (len(embeddings), 32) or embeddings.ndim != 2:
            raise ValueError(f"its arrays {list(digests.shape)} and {list(embeddings.shape)} do not fit each other")
        rows = embeddings.astype(np.float32)
        return {digest.tobytes(): row for digest, row in zip(digests, rows, strict=True)}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} cannot be read as embeddings of faces ({one_line(error)}); remove it, and they are computed anew"
        ) from error
