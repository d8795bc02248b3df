"""The bundle that a discovery leaves: directions, and the face that they were found on, in one .safetensors file.

It is the file of `directions.py` with more in it (version 2): the range seen of each semantic, the mean canonical
face and its regions, the atoms' maps, and the weights of what reads faces or their hash. `read_directions` reads both
versions.
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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from faceaug.errors import IntegrityError
from faceaug.latents.atoms import SparseAtoms, read_atoms, reader_of
from faceaug.latents.directions import KINDS, WITH_FACE, Directions, read_directions
from faceaug.latents.face_regions import REGIONS, shares
from faceaug.utils.files import atomic
from faceaug.utils.typing import Floats

PREFIX = "reconstruction."
LOCAL = 0.6  # share of an atom's energy from which a region gives it its name
ATOM_KINDS = ("shape atom", "texture atom")
QUANTILES = (0.005, 0.995)  # of each semantic over draws: the range seen


@dataclass(frozen=True, eq=False)
class Bundle:
    """Directions and what they were found on. K atoms among S semantics; maps of side M.

    Attributes
    ----------
    directions : Directions
        All semantics; the atoms are those of the kinds "shape atom" and "texture atom", in the order of `maps`.
    seen : float64 [S, 2]
        0.5% and 99.5% quantile of each semantic's value over draws.
    depth : float32 [M, M]
        Mean canonical depth; nearer is smaller.
    albedo : float32 [3, M, M]
        Mean canonical albedo, in [0, 1].
    regions : uint8 [M, M]
        Which of `REGIONS` a pixel is in.
    maps : float32 [K, 4, M, M]
        Change of depth and albedo by one standard deviation of each atom.
    shares : float32 [K, len(REGIONS)]
        Share of the energy of each atom's map in each region, depth and albedo made comparable.
    scale : float64 [4]
        Factors by which depth and albedo are comparable.
    explained : float64 [K]
        Energy of each atom's map over that of all change.
    reconstruction : str
        SHA-256 of all `weights` (`hash_of`), whatever was given: the network's, and the alignment and the calibration
        where they are there. As given where no weights are kept; "" when no network took part.
    weights : mapping of str to array
        The reconstruction network's weights, and what is stored beside them
        (`faceaug.measurement.measure.estimator_state`); may be empty where only their hash is kept.
    generator_name, made_by : str
        The generator as `load_generator` knows it; the command that found this.
    """

    directions: Directions
    seen: Floats
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
        if self.weights:  # so that a copy with other weights tells the hash of those
            object.__setattr__(self, "reconstruction", hash_of(self.weights))

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the atoms, in the order of the maps."""
        return tuple(name for name, kind in self._kinds() if kind in ATOM_KINDS)

    def region(self, name: str) -> tuple[str, float] | None:
        """Return the region with most of an atom's energy and its share; None for a semantic that is no atom."""
        self.directions.index([name])
        if name not in self.atoms:
            return None
        row = self.shares[self.atoms.index(name)]
        return REGIONS[int(row.argmax())], float(row.max())

    def values(self, depth: npt.NDArray[np.floating], albedo: npt.NDArray[np.floating]) -> Floats:
        """Read the atoms' values [N, K] off canonical depth [N, M, M] and albedo [N, 3, M, M] of faces."""
        maps = np.concatenate([depth[:, None], albedo], 1)
        return read_atoms(self.reader, self.scale, maps - np.concatenate([self.depth[None], self.albedo]))

    @cached_property
    def reader(self) -> Floats:
        """What `read_atoms` reads with: found once, as it takes longer than reading."""
        return reader_of(self.maps, self.scale)

    def save(self, path: Path) -> None:
        """Write everything to one .safetensors file, atomically.

        Raises
        ------
        IntegrityError
            When the parts do not fit together; nothing is written then.
        """
        _check(self, "this bundle")
        header = self.directions._header() | dict(
            version=WITH_FACE,
            regions=list(REGIONS),
            reconstruction=self.reconstruction,
            generator_name=self.generator_name,
            made_by=self.made_by,
        )
        tensors = self.directions._tensors() | {
            name: np.ascontiguousarray(getattr(self, name), kind) for name, kind in _PARTS.items()
        }
        tensors |= {PREFIX + name: np.ascontiguousarray(value) for name, value in self.weights.items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"faceaug": json.dumps(header, sort_keys=True)})

    def _kinds(self) -> list[tuple[str, str]]:
        return list(zip(self.directions.names, self.directions.kinds, strict=True))


_PARTS: dict[str, Any] = {
    "seen": np.float64, "depth": np.float32, "albedo": np.float32, "regions": np.uint8,
    "maps": np.float32, "shares": np.float32, "scale": np.float64, "explained": np.float64,
}  # fmt: skip


def has_face(path: Path) -> bool:
    """Tell whether a file says that it is a bundle, as against directions alone or anything else."""
    try:
        with safe_open(str(path), "np") as file:
            return bool(json.loads((file.metadata() or {})["faceaug"])["version"] == WITH_FACE)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False  # what it is instead, `read_directions` tells


def read_bundle(path: Path) -> Bundle:
    """Read a bundle.

    Raises
    ------
    IntegrityError
        When it is not one, is of another version, is damaged, or its weights are not those that it names.
    """
    directions = read_directions(path)
    try:
        with safe_open(str(path), "np") as file:
            header = json.loads(file.metadata()["faceaug"])
            if header["version"] != WITH_FACE:
                raise IntegrityError(
                    f"{path} holds directions only, no face that they were found on: find them with faceaug discover"
                )
            if tuple(header["regions"]) != REGIONS:
                raise IntegrityError(f"{path} names the regions {header['regions']}, not {list(REGIONS)}")
            names = list(file.keys())
            parts = {name: file.get_tensor(name) for name in _PARTS}
            weights = {name.removeprefix(PREFIX): file.get_tensor(name) for name in names if name.startswith(PREFIX)}
        bundle = Bundle(
            directions,
            **parts,
            weights=weights,
            reconstruction=str(header["reconstruction"]),
            generator_name=str(header["generator_name"]),
            made_by=str(header["made_by"]),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} cannot be read as a bundle of directions: {error}") from error
    _check(bundle, str(path))
    if bundle.reconstruction != header["reconstruction"]:
        raise IntegrityError(f"{path} holds other weights of the reconstruction than it names: it is damaged")
    return bundle


def hash_of(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of weights: names, types, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def range_seen(values: Floats) -> Floats:
    """Return the range seen [S, 2] of semantics whose values over draws are [N, S]."""
    return np.asarray(np.quantile(values, QUANTILES, axis=0).T, np.float64)


def atom_names(atoms: SparseAtoms, regions: NDArray[np.uint8]) -> tuple[tuple[str, ...], tuple[str, ...], Floats]:
    """Return the atoms' names, kinds and shares [K, len(REGIONS)].

    An atom is called after the region that holds most of its energy, "wide" where none holds 60%, after what it changes
    more (depth: shape, albedo: texture), and by its rank among those: "mouth_texture_1".
    """
    found = shares(atoms.energy(), regions)
    energy = ((atoms.maps * atoms.scale[:, None, None]) ** 2).sum((2, 3))  # [K, C]
    shape = energy[:, 0] > energy[:, 1:].sum(1)
    names: list[str] = []
    counts: dict[str, int] = {}
    for row, is_shape in zip(found, shape, strict=True):
        place = REGIONS[int(row.argmax())] if row.max() >= LOCAL else "wide"
        stem = f"{place}_{'shape' if is_shape else 'texture'}"
        counts[stem] = counts.get(stem, 0) + 1
        names.append(f"{stem}_{counts[stem]}")
    return tuple(names), tuple(ATOM_KINDS[0] if is_shape else ATOM_KINDS[1] for is_shape in shape), found


def with_atoms(
    directions: Directions, atoms: SparseAtoms, regions: NDArray[np.uint8], r2: Floats
) -> tuple[Directions, Floats]:
    """Return the directions with the atoms appended, and the atoms' shares [K, len(REGIONS)].

    Parameters
    ----------
    r2 : float64 [K]
        Of the atoms' values read off held-out faces (`SparseAtoms.values`) on w.
    """
    names, kinds, found = atom_names(atoms, regions)
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
    ), found


def _check(bundle: Bundle, what: str) -> None:
    """Raise IntegrityError unless the parts fit together and are finite."""
    unknown = [kind for kind in bundle.directions.kinds if kind not in KINDS]
    if unknown:
        raise IntegrityError(f"{what} has a semantic of the kind {unknown[0]!r}; known are {', '.join(KINDS)}")
    s, k, m = len(bundle.directions.names), len(bundle.atoms), bundle.regions.shape[-1] if bundle.regions.ndim else 0
    shapes = dict(
        seen=(s, 2), depth=(m, m), albedo=(3, m, m), regions=(m, m),
        maps=(k, 4, m, m), shares=(k, len(REGIONS)), scale=(4,), explained=(k,),
    )  # fmt: skip
    for name, shape in shapes.items():
        found = getattr(bundle, name)
        if found.shape != shape or found.dtype != _PARTS[name] or not np.isfinite(found).all():
            raise IntegrityError(
                f"{what} has {name} of {found.dtype} and shape {found.shape}, expected finite "
                f"{np.dtype(_PARTS[name])} {shape}: it is damaged"
            )
    if (bundle.seen[:, 0] > bundle.seen[:, 1]).any() or (bundle.regions >= len(REGIONS)).any():
        raise IntegrityError(f"{what} has a range that ends before it begins, or an unknown region: it is damaged")
