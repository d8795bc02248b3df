"""Directions: how semantics change along the latent w, and the algebra of edits (method.md, sections 3 and 5)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from faceaug.errors import GeneratorError, IntegrityError, UsageError, nearest
from faceaug.utils.files import atomic
from faceaug.utils.typing import Floats

FORMAT, VERSION = "faceaug-directions", 1
WITH_FACE = 2  # the version of a file that says more than directions: see bundle.py
KINDS = ("view", "light", "shape atom", "texture atom", "attribute", "scene")
_ARRAYS = ("B", "offset", "spread", "r2", "w_mean", "covariance")


@dataclass(frozen=True)
class Directions:
    """Linear readings of semantics on w: value ~ offset + B (w - w_mean). S semantics, D the width of w.

    Attributes
    ----------
    names, kinds, units : tuple of str, length S
        A semantic's name, its kind (one of `KINDS`) and unit.
    B : float64 [S, D]
        Slopes; a row is the change of a semantic per unit of w.
    offset, spread, r2 : float64 [S]
        Value at the mean; standard deviation over draws; share of variance that the line explains on held-out draws.
    w_mean, covariance : float64 [D], [D, D]
        Of the generator's w.
    generator : str
        SHA-256 of the generator's weights: directions of one generator mean nothing in another.
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
            When a name is not among the semantics; the nearest is named.
        """
        for name in names:
            if name not in self.names:
                raise UsageError(f"no direction is called {name!r}; {nearest(name, self.names)}")
        return [self.names.index(name) for name in names]

    def predict(self, w: Floats) -> Floats:
        """Return the linear readings [N, S] of latents [N, D]."""
        return self.offset + (w - self.w_mean) @ self.B.T

    def steps(self, names: Sequence[str]) -> Floats:
        """Return the likeliest way to move each of `names` by one while the others of them stay: [D, K].

        Column k of Sigma B^T (B Sigma B^T)^-1, the edit of least Mahalanobis length (method.md, section 5). What is not
        listed follows by its covariance. Rows of B are scaled before the inverse, so that units do not matter; axes
        that say the same are shared out (pseudo-inverse).
        """
        rows = self.B[self.index(names)]  # [K, D]
        scale = np.sqrt(np.einsum("kd,de,ke->k", rows, self.covariance, rows))
        if np.any(scale <= 0):
            flat = names[int(np.argmin(scale))]
            raise UsageError(
                f"the direction {flat!r} does not change along w at all, so it can be neither asked nor kept"
            )
        rows = rows / scale[:, None]
        spanned = self.covariance @ rows.T  # [D, K]
        return np.asarray(spanned @ np.linalg.pinv(rows @ spanned, rcond=1e-10, hermitian=True) / scale, np.float64)

    @cached_property
    def precision(self) -> Floats:
        """(Pseudo-)inverse [D, D] of the covariance, by which Mahalanobis distances are measured."""
        return inverse_of(self.covariance)

    def check_generator(self, sha256: str) -> None:
        """Raise GeneratorError unless these directions were made for the generator with this hash."""
        if sha256 != self.generator:
            raise GeneratorError(
                f"these directions were made for the generator {self.generator[:12]}, not for {sha256[:12]}: "
                "find directions for this generator, or load the one that they belong to"
            )

    def sha256(self) -> str:
        """Return a hash of all that the directions say."""
        digest = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for array in self._tensors().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to one .safetensors file, atomically."""
        with atomic(path) as temporary:
            save_file(self._tensors(), temporary, metadata={"faceaug": json.dumps(self._header(), sort_keys=True)})

    def _header(self) -> dict[str, object]:
        text = dict(names=self.names, kinds=self.kinds, units=self.units, generator=self.generator)
        return dict(
            format=FORMAT, version=VERSION, **{k: list(v) if isinstance(v, tuple) else v for k, v in text.items()}
        )

    def _tensors(self) -> dict[str, Floats]:
        return {name: np.ascontiguousarray(getattr(self, name), np.float64) for name in _ARRAYS}


def inverse_of(covariance: Floats) -> Floats:
    """Return the (pseudo-)inverse [D, D] of a covariance."""
    return np.asarray(np.linalg.pinv(covariance, hermitian=True), np.float64)


def read_directions(path: Path) -> Directions:
    """Read a directions file, or the directions of a bundle (bundle.py).

    Raises
    ------
    IntegrityError
        When it is not one, is of an unknown version, or its shapes do not fit together.
    """
    try:
        with safe_open(str(path), "np") as file:
            header = json.loads((file.metadata() or {}).get("faceaug", "{}"))
            found = (header.get("format"), header.get("version"))
            if found not in ((FORMAT, VERSION), (FORMAT, WITH_FACE)):
                raise IntegrityError(
                    f"{path} is {found[0] or 'no faceaug file'} version {found[1]}, "
                    f"not {FORMAT} version {VERSION} or {WITH_FACE}"
                )
            keys = _ARRAYS if found[1] == WITH_FACE else file.keys()
            tensors = {name: file.get_tensor(name) for name in keys}
        names, kinds, units = (tuple(map(str, header[k])) for k in ("names", "kinds", "units"))
        directions = Directions(names, kinds, units, **tensors, generator=str(header["generator"]))
        s, d = len(names), len(directions.w_mean)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} cannot be read as directions: {error}") from error
    if not len(kinds) == len(units) == s:
        raise IntegrityError(f"{path} has {s} names, {len(kinds)} kinds and {len(units)} units: it is damaged")
    shapes = {"B": (s, d), "offset": (s,), "spread": (s,), "r2": (s,), "w_mean": (d,), "covariance": (d, d)}
    for name, shape in shapes.items():
        found_array = getattr(directions, name)
        if found_array.shape != shape or not np.isfinite(found_array).all():
            raise IntegrityError(
                f"{path} has {name} of shape {found_array.shape}, expected finite {shape}: it is damaged"
            )
    return directions
