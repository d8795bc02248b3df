"""The atlas of a bundle: the effect of each direction on faces, from -3 to +3 standard deviations, and its maps.

It is a folder with one image per direction and a page that shows them all. It is derived from the bundle and the
generator and can be written again at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.errors import UsageError
from faceaug.generators.base import Generator, sample_z
from faceaug.latents.algebra import covariance_given
from faceaug.latents.bundle import ATOM_KINDS, Bundle
from faceaug.latents.directions import Directions, inverse_of
from faceaug.pages.template import page_template
from faceaug.utils.files import output_error, write_bytes
from faceaug.utils.images import Rgb, encode, resize
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats

PAGE = "index.html"
AMOUNTS = (-3, -2, -1, 0, 1, 2, 3)  # standard deviations of the edits
FACE_TRUNCATION = 0.7  # of the shown faces toward the mean: an edit is easiest to see on a typical face
HELD_SLACK = 0.5  # by which semantics that are held may move, in their standard deviations
_TILE = 128  # pixels: twice those of the embedded generator, so that its pixels are not smeared
_GREY = 128  # below the maps
_MOST_MOVED, _LEAST_MOVED = 5, 0.1  # other semantics that an entry names, and their least change
_MORE, _LESS = np.array([236, 120, 20.0]), np.array([42, 120, 214.0])
_HELD_KINDS: dict[str, set[str]] = {"attribute": {"scene"}, "scene": set()}  # besides view and light; else atoms
_TITLE = "<title>Atlas of directions</title>"  # identifies a page as an atlas
_IMAGE_SOURCE = re.compile(r'<img src="([^"]+)"')
_FILE_NAME = re.compile(r"\d{3}-[\w=+-]*\.png")


@dataclass(frozen=True)
class AtlasEntry:
    """One direction of the page.

    Attributes
    ----------
    name, kind, unit, region : str
        The region is "" for a semantic that is no atom.
    r2, low, high, length : float
        R² of the direction; range over samples; Mahalanobis length of one standard deviation of the edit.
    image : str
        Name of the file.
    moved : list of (str, float)
        Other semantics that one standard deviation of the edit moves most, in their standard deviations.
    """

    name: str
    kind: str
    unit: str
    region: str
    r2: float
    low: float
    high: float
    length: float
    image: str
    moved: list[tuple[str, float]]


def held_names(directions: Directions, name: str) -> list[str]:
    """Return the semantics that are held while `name` is edited.

    While view, light or an atom is edited, all others of these are held. An attribute changes atoms, so view, light and
    the scene are held; the colours of a scene change together, so only view and light are held. A semantic that does
    not change along w is never held.
    """
    (row,) = directions.index([name])
    kinds = {"view", "light"} | _HELD_KINDS.get(directions.kinds[row], set(ATOM_KINDS))
    changes = np.einsum("sd,de,se->s", directions.B, directions.covariance, directions.B) > 0
    everything = zip(directions.names, directions.kinds, changes, strict=True)
    return [other for other, kind, varies in everything if other != name and kind in kinds and varies]


def write_atlas(
    bundle: Bundle,
    generator: Generator,
    folder: Path,
    *,
    faces: int = 4,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the atlas and return the path of its page.

    Parameters
    ----------
    bundle : Bundle
    generator : Generator
        The one that the bundle was found for.
    folder : Path
        Made if it does not exist. The images that the page of an earlier atlas names are replaced; other files stay.
    faces : int
        Number of faces on which every direction is shown.
    seed : int
        Seed of the faces.
    progress : callable, optional
        Called with 1 for each direction.

    Raises
    ------
    GeneratorError
        When the bundle was found for another generator.
    UsageError
        When `faces` is below 1, the folder holds files but no atlas, or a file has the name of an image of the atlas.
    OutputError
        When the folder cannot be written.
    """
    bundle.directions.check_generator(generator.sha256)
    if faces < 1:
        raise UsageError(f"an atlas of {faces} faces cannot be written: give at least 1")
    names = bundle.directions.names
    image_files = [f"{k:03d}-{re.sub(r'[^A-Za-z0-9_=+-]', '-', name)[:60]}.png" for k, name in enumerate(names)]
    earlier = _prepare_folder(folder, image_files)
    w = _faces(generator, faces, seed)
    entries, encoded = [], []
    for k, name in enumerate(names):
        image, length = render_direction(bundle, generator, w, name)
        encoded.append(encode(image, "png"))
        entries.append(_entry(bundle, k, length, image_files[k]))
        if progress is not None:
            progress(1)
    template = page_template("atlas.html.jinja", "faceaug.discovery")
    page = template.render(bundle=bundle, entries=entries, faces=faces, amounts=AMOUNTS, generator=generator)
    # In this order the page names every image of the atlas, whenever the program is interrupted.
    try:
        for file in earlier - set(image_files):
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    write_bytes(folder / PAGE, page.encode())
    for file, data in zip(image_files, encoded, strict=True):
        write_bytes(folder / file, data)
    return folder / PAGE


def render_direction(bundle: Bundle, generator: Generator, w: Floats, name: str) -> tuple[Rgb, float]:
    """Return the image of a direction, and the Mahalanobis length of one standard deviation of its edit.

    The image has a row for each face of w [N, D] and a column for each of `AMOUNTS`; the last column shows the effect
    of the edit on the mean face according to the atoms: on depth (orange comes nearer, blue recedes) and on albedo.
    """
    directions = bundle.directions
    step = _spread_step(directions, name)
    moved = w[:, None] + np.array(AMOUNTS, np.float64)[None, :, None] * step  # [faces, amounts, D]
    with torch.inference_mode():
        latents = torch.from_numpy(moved.reshape(-1, len(step))).float().to(generator.device)
        batches = [generator.synthesize(batch).float().cpu().clamp(-1, 1) for batch in torch.split(latents, 64)]
    tiles = to_uint8(torch.cat(batches))
    length = float(np.sqrt(max(float(step @ inverse_of(directions.covariance) @ step), 0.0)))
    maps = [_shape_map(bundle, step), _texture_map(bundle, step)]
    return _compose(list(tiles), maps), length


def _spread_step(directions: Directions, name: str) -> Floats:
    """Return the edit [D] by one standard deviation of a semantic; zeros for one that does not change along w."""
    (row,) = directions.index([name])
    if float(directions.B[row] @ directions.covariance @ directions.B[row]) <= 0:
        return np.zeros(len(directions.w_mean))
    return np.asarray(_step(directions, name) * directions.spread[row], np.float64)


def _step(directions: Directions, name: str) -> Floats:
    """Return the likeliest edit [D] that moves `name` by one and the held semantics hardly.

    Dozens of semantics, many of them nearly redundant, cannot be held exactly without leaving the range of samples.
    """
    given = covariance_given(directions, held_names(directions, name), HELD_SLACK)
    return np.asarray(replace(directions, covariance=given).steps([name])[:, 0], np.float64)


def _compose(tiles: list[Rgb], maps: list[Rgb]) -> Rgb:
    columns = len(AMOUNTS)
    rows = max(len(tiles) // columns, len(maps))
    image = np.full((rows * _TILE, (columns + 1) * _TILE, 3), _GREY, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // columns * _TILE, k % columns * _TILE
        image[top : top + _TILE, left : left + _TILE] = _enlarged(tile)
    for k, tile in enumerate(maps):
        image[k * _TILE : (k + 1) * _TILE, columns * _TILE :] = _enlarged(tile)
    return image


def _enlarged(tile: Rgb) -> Rgb:
    """Return a tile at its size on the page: pixels are repeated where that is a multiple, and else resized."""
    side = tile.shape[0]
    factor = _TILE // side
    return tile.repeat(factor, 0).repeat(factor, 1) if factor * side == _TILE else resize(tile, (_TILE, _TILE))


def _map_change(bundle: Bundle, step: Floats) -> NDArray[np.float64]:
    """Return the change of the mean canonical maps by a change of w, according to the atoms: [4, M, M]."""
    rows = [k for k, kind in enumerate(bundle.directions.kinds) if kind in ATOM_KINDS]
    return np.asarray(np.einsum("k,kcyx->cyx", bundle.directions.B[rows] @ step, bundle.maps), np.float64)


def _grey_face(bundle: Bundle) -> NDArray[np.float64]:
    return np.asarray(255 * np.clip(bundle.albedo.mean(0), 0, 1)[..., None].repeat(3, 2), np.float64)


def _shape_map(bundle: Bundle, step: Floats) -> Rgb:
    change = -_map_change(bundle, step)[0]  # nearer is smaller in depth
    share = change / _peak(change, bundle.maps[:, :1])
    colour = np.where(share[..., None] > 0, _MORE, _LESS)
    strength = np.clip(np.abs(share), 0, 1)[..., None]
    return _bytes(_grey_face(bundle) * (1 - strength) + colour * strength)


def _texture_map(bundle: Bundle, step: Floats) -> Rgb:
    change = _map_change(bundle, step)[1:]
    share = (change / _peak(change, bundle.maps[:, 1:])).transpose(1, 2, 0)  # [M, M, 3]
    strength = np.clip(np.abs(share).max(2, keepdims=True), 0, 1)
    return _bytes(_grey_face(bundle) * (1 - strength) + 127.5 * (1 + share) * strength)


def _peak(change: NDArray[np.float64], maps: NDArray[np.float32]) -> float:
    """Return the largest magnitude of a change, but at least a twentieth of that of the strongest atom."""
    return max(float(np.abs(change).max(initial=0)), float(np.abs(maps).max(initial=0)) / 20, 1e-12)


def _bytes(values: NDArray[np.float64]) -> Rgb:
    return np.asarray(values.round().clip(0, 255), np.uint8)


def _faces(generator: Generator, faces: int, seed: int) -> Floats:
    z = torch.from_numpy(np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(faces)]))
    with torch.inference_mode():
        w = generator.map(z.to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + FACE_TRUNCATION * (w - generator.w_mean), np.float64)


def _entry(bundle: Bundle, k: int, length: float, file: str) -> AtlasEntry:
    directions = bundle.directions
    region = bundle.region(directions.names[k])
    return AtlasEntry(
        name=directions.names[k],
        kind=directions.kinds[k],
        unit=directions.units[k],
        region=f"{region[0]} ({100 * region[1]:.0f}%)" if region else "",
        r2=float(directions.r2[k]),
        low=float(bundle.ranges[k, 0]),
        high=float(bundle.ranges[k, 1]),
        length=length,
        image=file,
        moved=_moved(directions, k),
    )


def _moved(directions: Directions, row: int) -> list[tuple[str, float]]:
    """Return the other semantics that an edit moves most, in their standard deviations."""
    effects = directions.B @ _spread_step(directions, directions.names[row]) / np.maximum(directions.spread, 1e-12)
    order = [k for k in np.argsort(-np.abs(effects), kind="stable").tolist() if k != row]
    most = [(directions.names[k], float(effects[k])) for k in order[:_MOST_MOVED]]
    return [(name, effect) for name, effect in most if abs(effect) >= _LEAST_MOVED]


def _prepare_folder(folder: Path, image_files: list[str]) -> set[str]:
    """Make the folder and return the names of the images of an earlier atlas, from its page.

    A folder that holds files but no page of an atlas is refused, and so is one where an image would replace a file that
    the page does not name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(file.name for file in folder.iterdir())
        page = (folder / PAGE).read_text(encoding="utf-8", errors="replace") if PAGE in names else ""
    except OSError as error:
        raise output_error(folder, error) from error
    is_atlas = _TITLE in page
    earlier = (
        {name for name in map(unquote, _IMAGE_SOURCE.findall(page)) if _FILE_NAME.fullmatch(name)}
        if is_atlas
        else set()
    )
    foreign = [name for name in names if not is_atlas or (name in image_files and name not in earlier)]
    if foreign:
        raise UsageError(f"{folder} holds {foreign[0]}, which is no part of an atlas: choose another folder")
    return earlier
