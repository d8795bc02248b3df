"""The bundle that a discovery writes: directions and the face on which they were found, in one .safetensors file.

It is a directions file (version 2) that also holds the range of each semantic over samples, the mean canonical face and
its regions, the maps of the atoms, and the weights of the networks that read faces, or their hash. `read_directions`
reads both versions (docs/formats.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from faceaug.errors import IntegrityError
from faceaug.latents.atoms import SparseAtoms, read_atoms, reader_of
from faceaug.latents.directions import BUNDLE_VERSION, SEMANTIC_KINDS, Directions, read_directions
from faceaug.latents.face_regions import REGIONS, region_shares
from faceaug.utils.files import write_bytes
from faceaug.utils.tensors import open_safetensors
from faceaug.utils.text import one_line, shown
from faceaug.utils.typing import Floats

WEIGHTS_PREFIX = "reconstruction."
MIN_LOCAL_SHARE = 0.6
"""Share of an atom's energy in one region from which the atom is named after it."""
ATOM_KINDS = ("shape atom", "texture atom")
_RANGE_QUANTILES = (0.005, 0.995)


@dataclass(frozen=True, eq=False)
class Bundle:
    """Directions and the face on which they were found: S semantics, K atoms among them, maps of side M.

    Attributes
    ----------
    directions : Directions
        All semantics; the atoms are those of the kinds "shape atom" and "texture atom", in the order of `maps`.
    ranges : float64 [S, 2]
        0.5% and 99.5% quantile of each semantic over samples; the tensor `seen` of the file.
    depth : float32 [M, M]
        Mean canonical depth; nearer is smaller.
    albedo : float32 [3, M, M]
        Mean canonical albedo, in [0, 1].
    regions : uint8 [M, M]
        Region of each pixel, as an index into `REGIONS`.
    maps : float32 [K, 4, M, M]
        Change of depth and albedo by one standard deviation of each atom.
    shares : float32 [K, len(REGIONS)]
        Share of the energy of each atom's map in each region, with depth and albedo made comparable.
    scale : float64 [4]
        Factors that make depth and albedo comparable.
    explained : float64 [K]
        Energy of each atom's map over that of the whole regression.
    reconstruction : str
        SHA-256 of all `weights` (`hash_of`), whatever was given: of the network, and of alignment and calibration where
        they are stored. As given where no weights are stored; "" when no network was used.
    weights : mapping of str to array
        Weights of the reconstruction network and of what is stored with them
        (`faceaug.measurement.measure.estimator_state`); empty where only their hash is stored.
    generator_name, made_by : str
        Name of the generator for `load_generator`; the command that wrote the bundle.
    """

    directions: Directions
    ranges: Floats
    depth: NDArray[np.float32]
    albedo: NDArray[np.float32]
    regions: NDArray[np.uint8]
    maps: NDArray[np.float32]
    shares: NDArray[np.float32]
    scale: Floats
    explained: Floats
    reconstruction: str = ""
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    generator_name: str = ""
    made_by: str = ""

    def __post_init__(self) -> None:
        if self.weights:  # so that a copy with other weights has their hash
            object.__setattr__(self, "reconstruction", hash_of(self.weights))

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the atoms, in the order of the maps."""
        return tuple(name for name, kind in self._kinds() if kind in ATOM_KINDS)

    def region(self, name: str) -> tuple[str, float] | None:
        """Return the region with most of an atom's energy and its share; None for a semantic that is not an atom."""
        self.directions.index([name])
        if name not in self.atoms:
            return None
        row = self.shares[self.atoms.index(name)]
        return REGIONS[int(row.argmax())], float(row.max())

    def values(self, depth: npt.NDArray[np.floating], albedo: npt.NDArray[np.floating]) -> Floats:
        """Return the values [N, K] of the atoms on canonical depth [N, M, M] and albedo [N, 3, M, M] of faces."""
        maps = np.concatenate([depth[:, None], albedo], 1)
        return read_atoms(self.reader, self.scale, maps - np.concatenate([self.depth[None], self.albedo]))

    @cached_property
    def reader(self) -> Floats:
        """The reader [4 * M * M, K] of `read_atoms`, computed once."""
        return reader_of(self.maps, self.scale)

    def save(self, path: Path) -> None:
        """Write everything to one .safetensors file, atomically.

        Raises
        ------
        IntegrityError
            When the arrays do not fit together; nothing is written then.
        """
        _check(self, "this bundle")
        header = self.directions.header() | dict(
            version=BUNDLE_VERSION,
            regions=list(REGIONS),
            reconstruction=self.reconstruction,
            generator_name=self.generator_name,
            made_by=self.made_by,
        )
        tensors = self.directions.tensors() | {
            name: np.ascontiguousarray(getattr(self, field), kind) for name, (field, kind) in _TENSORS.items()
        }
        tensors |= {WEIGHTS_PREFIX + name: np.ascontiguousarray(value) for name, value in self.weights.items()}
        write_bytes(path, save(tensors, metadata={"faceaug": json.dumps(header, sort_keys=True)}))

    def _kinds(self) -> list[tuple[str, str]]:
        return list(zip(self.directions.names, self.directions.kinds, strict=True))


_TENSORS: dict[str, tuple[str, Any]] = {  # name in the file: field and type
    "seen": ("ranges", np.float64),
    "depth": ("depth", np.float32),
    "albedo": ("albedo", np.float32),
    "regions": ("regions", np.uint8),
    "maps": ("maps", np.float32),
    "shares": ("shares", np.float32),
    "scale": ("scale", np.float64),
    "explained": ("explained", np.float64),
}


def is_bundle(path: Path) -> bool:
    """Return whether the header of a file says that it is a bundle, not directions alone or another file."""
    try:
        with open_safetensors(path, "np") as (_, header):
            return bool(header["version"] == BUNDLE_VERSION)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False  # `read_directions` says what the file is


def read_bundle(path: Path) -> Bundle:
    """Read a file of directions with the atoms and the network that found them.

    Parameters
    ----------
    path : Path
        A file of `faceaug discover`.

    Returns
    -------
    Bundle

    Raises
    ------
    IntegrityError
        When it is not one, is of another version, is damaged, or its weights are not those that it names.
    """
    directions = read_directions(path)
    try:
        with open_safetensors(path, "np") as (file, header):
            if header["version"] != BUNDLE_VERSION:
                raise IntegrityError(
                    f"{path} holds directions only, not the face on which they were found: find them anew with faceaug "
                    "discover"
                )
            if tuple(header["regions"]) != REGIONS:
                raise IntegrityError(f"{path} names the regions {shown(header['regions'])}, not {list(REGIONS)}")
            names = list(file.keys())
            tensors = {field: file.get_tensor(name) for name, (field, _) in _TENSORS.items()}
            weights = {
                name.removeprefix(WEIGHTS_PREFIX): file.get_tensor(name)
                for name in names
                if name.startswith(WEIGHTS_PREFIX)
            }
        bundle = Bundle(
            directions,
            **tensors,
            weights=weights,
            reconstruction=str(header["reconstruction"]),
            generator_name=str(header["generator_name"]),
            made_by=str(header["made_by"]),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} cannot be read as a bundle of directions: {one_line(error)}") from error
    _check(bundle, str(path))
    if bundle.reconstruction != header["reconstruction"]:
        raise IntegrityError(f"{path} holds other weights of the reconstruction than its header names: it is damaged")
    return bundle


def hash_of(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of weights: names, types, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def semantic_ranges(values: Floats) -> Floats:
    """Return the ranges [S, 2] of semantics whose values over N samples are [N, S]: 0.5% and 99.5% quantile."""
    return np.asarray(np.quantile(values, _RANGE_QUANTILES, axis=0).T, np.float64)


def atom_names(atoms: SparseAtoms, regions: NDArray[np.uint8]) -> tuple[tuple[str, ...], tuple[str, ...], Floats]:
    """Return names, kinds, and shares [K, len(REGIONS)] of atoms.

    An atom is named after the region that holds most of its energy ("wide" where none holds 60%), after what it changes
    more (depth: shape, albedo: texture), and by its rank among those: "mouth_texture_1".
    """
    shares = region_shares(atoms.energy(), regions)
    energy = ((atoms.maps * atoms.scale[:, None, None]) ** 2).sum((2, 3))  # [K, C]
    shape = energy[:, 0] > energy[:, 1:].sum(1)
    names: list[str] = []
    counts: dict[str, int] = {}
    for row, is_shape in zip(shares, shape, strict=True):
        place = REGIONS[int(row.argmax())] if row.max() >= MIN_LOCAL_SHARE else "wide"
        stem = f"{place}_{'shape' if is_shape else 'texture'}"
        counts[stem] = counts.get(stem, 0) + 1
        names.append(f"{stem}_{counts[stem]}")
    return tuple(names), tuple(ATOM_KINDS[0] if is_shape else ATOM_KINDS[1] for is_shape in shape), shares


def with_atoms(
    directions: Directions, atoms: SparseAtoms, regions: NDArray[np.uint8], r2: Floats
) -> tuple[Directions, Floats]:
    """Return the directions with the atoms appended, and the atoms' shares [K, len(REGIONS)].

    Parameters
    ----------
    r2 : float64 [K]
        Of the regression on w of the atoms' values on held-out faces (`SparseAtoms.values`).
    """
    names, kinds, shares = atom_names(atoms, regions)
    count = len(names)
    return Directions(
        names=(*directions.names, *names),
        kinds=(*directions.kinds, *kinds),
        units=(*directions.units, *["standard deviations"] * count),
        B=np.concatenate([directions.B, atoms.reading.T]),
        offset=np.concatenate([directions.offset, np.zeros(count)]),
        spread=np.concatenate([directions.spread, np.ones(count)]),
        r2=np.concatenate([directions.r2, r2]),
        w_mean=directions.w_mean,
        covariance=directions.covariance,
        generator=directions.generator,
    ), shares


def _check(bundle: Bundle, what: str) -> None:
    """Raise IntegrityError unless the arrays fit together and are finite."""
    unknown = [kind for kind in bundle.directions.kinds if kind not in SEMANTIC_KINDS]
    if unknown:
        raise IntegrityError(f"{what} has a semantic of the kind {unknown[0]!r}; known are {', '.join(SEMANTIC_KINDS)}")
    s, k, m = len(bundle.directions.names), len(bundle.atoms), bundle.regions.shape[-1] if bundle.regions.ndim else 0
    shapes = {
        "seen": (s, 2),
        "depth": (m, m),
        "albedo": (3, m, m),
        "regions": (m, m),
        "maps": (k, 4, m, m),
        "shares": (k, len(REGIONS)),
        "scale": (4,),
        "explained": (k,),
    }
    for name, (field_name, kind) in _TENSORS.items():
        array, shape = getattr(bundle, field_name), shapes[name]
        if array.shape != shape or array.dtype != kind or not np.isfinite(array).all():
            raise IntegrityError(
                f"{what} has {name} of {array.dtype} and shape {array.shape}, expected finite {np.dtype(kind)} "
                f"{shape}: it is damaged"
            )
    if (bundle.ranges[:, 0] > bundle.ranges[:, 1]).any() or (bundle.regions >= len(REGIONS)).any():
        raise IntegrityError(f"{what} has a range whose end is below its start, or an unknown region: it is damaged")
