"""Directions: linear models of semantics on the latent w, and their file (docs/method.md, sections 3 and 5)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from faceaug.errors import GeneratorError, IntegrityError, UsageError
from faceaug.utils.files import write_bytes
from faceaug.utils.tensors import open_safetensors
from faceaug.utils.text import nearest, one_line, shown
from faceaug.utils.typing import Floats

_FORMAT, _VERSION = "faceaug-directions", 1
BUNDLE_VERSION = 2
"""Version of a file that also holds the face that the directions were found on, see `bundle`."""
SEMANTIC_KINDS = ("view", "light", "shape atom", "texture atom", "attribute", "scene")
_ARRAYS = ("B", "offset", "spread", "r2", "w_mean", "covariance")


@dataclass(frozen=True)
class Directions:
    """Linear models of S semantics on w, of width D: value ~ offset + B (w - w_mean).

    Attributes
    ----------
    names, kinds, units : tuple of str, length S
        Name, kind (one of `SEMANTIC_KINDS`) and unit.
    B : float64 [S, D]
        Slopes; a row is the change of a semantic per unit of w.
    offset, spread, r2 : float64 [S]
        Value at the mean; standard deviation over samples; share of the variance that the model explains on held-out
        samples.
    w_mean, covariance : float64 [D], [D, D]
        Of the generator's w.
    generator : str
        SHA-256 of the generator's weights: directions of one generator have no meaning in another.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    units: tuple[str, ...]
    B: Floats
    offset: Floats
    spread: Floats
    r2: Floats
    w_mean: Floats
    covariance: Floats
    generator: str

    def index(self, names: Sequence[str]) -> list[int]:
        """Return the positions of semantics.

        Raises
        ------
        UsageError
            When a name is not among the semantics; the message names the nearest.
        """
        for name in names:
            if name not in self.names:
                raise UsageError(f"no direction is called {name!r}; {nearest(name, self.names)}")
        return [self.names.index(name) for name in names]

    def predict(self, w: Floats) -> Floats:
        """Return the linear estimates [N, S] of the semantics of latents [N, D]."""
        return self.offset + (w - self.w_mean) @ self.B.T

    def steps(self, names: Sequence[str]) -> Floats:
        """Return the likeliest way to move each of `names` by one while the others of them stay: [D, K].

        Column k of Sigma B^T (B Sigma B^T)^-1, the edit of least Mahalanobis length (docs/method.md, section 5).
        Other semantics follow by their covariance. Rows of B are scaled before the inverse, so that units do not
        matter; the pseudo-inverse distributes an edit over linearly dependent rows.

        Raises
        ------
        UsageError
            When a name is unknown, or its semantic does not change along w.
        """
        rows = self.B[self.index(names)]  # [K, D]
        scale = np.sqrt(np.einsum("kd,de,ke->k", rows, self.covariance, rows))
        if np.any(scale <= 0):
            flat = names[int(np.argmin(scale))]
            raise UsageError(
                f"the direction {flat!r} does not change along w, so it can be neither moved nor kept: leave it out"
            )
        rows = rows / scale[:, None]
        spanned = self.covariance @ rows.T  # [D, K]
        return np.asarray(spanned @ np.linalg.pinv(rows @ spanned, rcond=1e-10, hermitian=True) / scale, np.float64)

    @cached_property
    def precision(self) -> Floats:
        """Pseudo-inverse [D, D] of the covariance, for Mahalanobis distances."""
        return inverse_of(self.covariance)

    def check_generator(self, sha256: str) -> None:
        """Raise GeneratorError unless these directions were made for the generator with this hash."""
        if sha256 != self.generator:
            raise GeneratorError(
                f"these directions were made for the generator {self.generator[:12]}, not for {sha256[:12]}: "
                "find directions for this generator, or load the generator that they belong to"
            )

    def sha256(self) -> str:
        """Return the SHA-256 of all content."""
        digest = hashlib.sha256(json.dumps(self.header(), sort_keys=True).encode())
        for array in self.tensors().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to one .safetensors file, atomically."""
        write_bytes(path, save(self.tensors(), metadata={"faceaug": json.dumps(self.header(), sort_keys=True)}))

    def header(self) -> dict[str, object]:
        """Return the header of the file: everything but the arrays, as JSON values."""
        text = dict(names=self.names, kinds=self.kinds, units=self.units, generator=self.generator)
        return dict(
            format=_FORMAT, version=_VERSION, **{k: list(v) if isinstance(v, tuple) else v for k, v in text.items()}
        )

    def tensors(self) -> dict[str, Floats]:
        """Return the arrays of the file by name, contiguous."""
        return {name: np.ascontiguousarray(getattr(self, name), np.float64) for name in _ARRAYS}


def inverse_of(covariance: Floats) -> Floats:
    """Return the pseudo-inverse [D, D] of a covariance."""
    return np.asarray(np.linalg.pinv(covariance, hermitian=True), np.float64)


def read_directions(path: Path) -> Directions:
    """Read a directions file, or the directions of a bundle (`bundle.read_bundle`).

    Raises
    ------
    IntegrityError
        When it is not one, is of an unknown version, or its shapes do not fit together.
    """
    try:
        with open_safetensors(path, "np") as (file, header):
            name, version = header.get("format"), header.get("version")
            if name != _FORMAT or version not in (_VERSION, BUNDLE_VERSION):
                kind = "no faceaug file" if name is None else f"of the format {shown(name)}, version {shown(version)}"
                raise IntegrityError(
                    f"{path} is {kind}; {_FORMAT}, version {_VERSION} or {BUNDLE_VERSION}, is read: find directions "
                    "anew with faceaug discover"
                )
            keys = _ARRAYS if version == BUNDLE_VERSION else file.keys()
            tensors = {name: file.get_tensor(name) for name in keys}
        names, kinds, units = (tuple(map(str, header[k])) for k in ("names", "kinds", "units"))
        directions = Directions(names, kinds, units, **tensors, generator=str(header["generator"]))
        s, d = len(names), len(directions.w_mean)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} cannot be read as directions: {one_line(error)}") from error
    if not len(kinds) == len(units) == s:
        raise IntegrityError(f"{path} has {s} names, {len(kinds)} kinds and {len(units)} units: it is damaged")
    shapes = {"B": (s, d), "offset": (s,), "spread": (s,), "r2": (s,), "w_mean": (d,), "covariance": (d, d)}
    for name, shape in shapes.items():
        array = getattr(directions, name)
        if array.shape != shape or not np.isfinite(array).all():
            raise IntegrityError(f"{path} has {name} of shape {array.shape}, expected finite {shape}: it is damaged")
    return directions
