"""The atlas of a bundle: what each direction does to faces, from -3 to +3 standard deviations, and where.

A folder with a picture a direction and a page that shows them all; it is derived, made again as often as wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import jinja2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from faceaug.errors import UsageError
from faceaug.generators.base import Generator, sample_z
from faceaug.latents.algebra import covariance_given
from faceaug.latents.bundle import ATOM_KINDS, Bundle
from faceaug.latents.directions import Directions, inverse_of
from faceaug.utils.files import output_error, write_bytes
from faceaug.utils.images import Rgb, encode, resize
from faceaug.utils.tensors import to_uint8
from faceaug.utils.text_table import number
from faceaug.utils.typing import Floats

PAGE = "index.html"
STRETCH = (-3, -2, -1, 0, 1, 2, 3)  # standard deviations
CALM = 0.7  # how far from the mean the shown faces are drawn, as a share: an edit is judged best on a plain face
STAY = 0.5  # of their spread: how firmly what is to stay is held
_TILE, _GAP, _HEAD, _FOOT = 96, 10, 44, 22
_INK, _FAINT = (34, 40, 49), (120, 128, 138)
_MORE, _LESS = np.array([236, 120, 20.0]), np.array([42, 120, 214.0])
_STAYING: dict[str, set[str]] = {"attribute": {"scene"}, "scene": set()}  # beside view and light; atoms for other kinds
_TITLE = "<title>Atlas of directions</title>"  # by which a page is known to be an atlas
_PICTURE = re.compile(r'<img src="([^"]+)"')
_OURS = re.compile(r"\d{3}-[\w=+-]*\.png")


@dataclass(frozen=True)
class AtlasEntry:
    """One direction of the page.

    Attributes
    ----------
    name, kind, unit, region : str
        Region is "" for what is no atom.
    r2, low, high, length : float
        Share that is linear; range seen; Mahalanobis length of one standard deviation of the edit.
    picture : str
        Its address from the page.
    """

    name: str
    kind: str
    unit: str
    region: str
    r2: float
    low: float
    high: float
    length: float
    picture: str


def kept_with(directions: Directions, name: str) -> list[str]:
    """Return what stays while `name` is moved.

    View, light and atoms move by themselves: all others of them stay. An attribute lives in atoms, so only view, light
    and the scene stay; the colours of a scene go together, so only view and light stay. What does not change along w at
    all can neither move nor stay.
    """
    (row,) = directions.index([name])
    kept = {"view", "light"} | _STAYING.get(directions.kinds[row], set(ATOM_KINDS))
    moves = np.einsum("sd,de,se->s", directions.B, directions.covariance, directions.B) > 0
    everything = zip(directions.names, directions.kinds, moves, strict=True)
    return [other for other, kind, varies in everything if other != name and kind in kept and varies]


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
        The one that the bundle was made for.
    folder : Path
        Made if it is not there. The pictures that an earlier atlas' page names are replaced, other files stay.
    faces : int
        Faces on which every direction is shown.
    seed : int
        Of the faces.
    progress : callable, optional
        Told 1 for each direction done.

    Raises
    ------
    GeneratorError
        When the bundle was made for another generator.
    UsageError
        When no face was asked for, or the folder holds files but no atlas, or a file that is in the way of a picture.
    OutputError
        When the folder cannot be written.
    """
    bundle.directions.check_generator(generator.sha256)
    if faces < 1:
        raise UsageError(f"an atlas of {faces} faces was asked for: at least 1 is needed")
    names = bundle.directions.names
    drawn = [f"{k:03d}-{re.sub(r'[^A-Za-z0-9_=+-]', '-', name)[:60]}.png" for k, name in enumerate(names)]
    earlier = _open(folder, drawn)
    w = _faces(generator, faces, seed)
    entries, encoded = [], []
    for k, name in enumerate(names):
        picture, length = plate(bundle, generator, w, name)
        encoded.append(encode(picture, "png"))
        entries.append(_entry(bundle, k, length, drawn[k]))
        if progress is not None:
            progress(1)
    page = _template().render(bundle=bundle, entries=entries, faces=faces, stretch=STRETCH, generator=generator)
    # In this order every picture of ours is named by the page there is, whenever this is interrupted.
    try:
        for file in earlier - set(drawn):
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    write_bytes(folder / PAGE, page.encode())
    for file, data in zip(drawn, encoded, strict=True):
        write_bytes(folder / file, data)
    return folder / PAGE


def plate(bundle: Bundle, generator: Generator, w: Floats, name: str) -> tuple[Rgb, float]:
    """Return a direction's picture, and the Mahalanobis length of one standard deviation of its edit.

    A row a face, a column for each of `STRETCH`; beside them what the edit does to the mean face as far as atoms tell:
    its shape (orange comes nearer, blue goes back) and its texture.
    """
    directions = bundle.directions
    (row,) = directions.index([name])
    flat = float(directions.B[row] @ directions.covariance @ directions.B[row]) <= 0
    step = np.zeros(len(directions.w_mean))
    if not flat:
        step = _step(directions, name) * directions.spread[row]
    moved = w[:, None] + np.array(STRETCH, np.float64)[None, :, None] * step  # [faces, stretch, D]
    with torch.inference_mode():
        latents = torch.from_numpy(moved.reshape(-1, len(step))).float().to(generator.device)
        pictures = [generator.synthesize(part).float().cpu().clamp(-1, 1) for part in torch.split(latents, 64)]
    tiles = to_uint8(torch.cat(pictures))
    length = float(np.sqrt(max(float(step @ inverse_of(directions.covariance) @ step), 0.0)))
    facts = f"{directions.kinds[row]}, {directions.units[row]}; R2 {directions.r2[row]:.2f}"
    maps = [(_shape_map(bundle, step), "shape"), (_texture_map(bundle, step), "texture")]
    return _laid_out(list(tiles), maps, name, facts), length


def _step(directions: Directions, name: str) -> Floats:
    """Return the likeliest edit [D] that moves `name` by one and leaves the others nearly alone.

    Held exactly, dozens of readings, many of which say much the same, leave an edit only where no draw ever was.
    """
    given = covariance_given(directions, kept_with(directions, name), STAY)
    return np.asarray(replace(directions, covariance=given).steps([name])[:, 0], np.float64)


def _laid_out(tiles: list[Rgb], maps: list[tuple[Rgb, str]], name: str, facts: str) -> Rgb:
    columns = len(STRETCH)
    rows = max(len(tiles) // columns, len(maps))
    width = 3 * _GAP + (columns + 1) * _TILE + _GAP
    picture = Image.new("RGB", (width, _HEAD + rows * (_TILE + _FOOT // 2) + _FOOT), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(17), ImageFont.load_default(12)
    draw.text((_GAP, 6), name, _INK, large)
    draw.text((_GAP + large.getlength(name) + 12, 10), facts, _FAINT, small)
    for k, amount in enumerate(STRETCH):
        draw.text((_GAP + (k + 0.5) * _TILE, _HEAD - 14), f"{amount:+d}" if amount else "0", _FAINT, small, anchor="ma")
    for k, tile in enumerate(tiles):
        place = (_GAP + k % columns * _TILE, _HEAD + k // columns * _TILE)
        picture.paste(Image.fromarray(resize(tile, (_TILE, _TILE))), place)
    left = 2 * _GAP + columns * _TILE + _GAP
    for k, (tile, word) in enumerate(maps):
        top = _HEAD + k * (_TILE + _FOOT // 2 + 6)
        picture.paste(Image.fromarray(resize(tile, (_TILE, _TILE))), (left, top))
        draw.text((left + _TILE / 2, top + _TILE + 1), word, _FAINT, small, anchor="ma")
    return np.asarray(picture)


def _shown(bundle: Bundle, step: Floats) -> NDArray[np.float64]:
    """Return what a change of w does to the mean canonical maps, as far as the atoms tell: [4, M, M]."""
    rows = [k for k, kind in enumerate(bundle.directions.kinds) if kind in ATOM_KINDS]
    return np.asarray(np.einsum("k,kcyx->cyx", bundle.directions.B[rows] @ step, bundle.maps), np.float64)


def _grey_face(bundle: Bundle) -> NDArray[np.float64]:
    return np.asarray(255 * np.clip(bundle.albedo.mean(0), 0, 1)[..., None].repeat(3, 2), np.float64)


def _shape_map(bundle: Bundle, step: Floats) -> Rgb:
    change = -_shown(bundle, step)[0]  # nearer is smaller in depth
    share = change / _peak(change, bundle.maps[:, :1])
    colour = np.where(share[..., None] > 0, _MORE, _LESS)
    strength = np.clip(np.abs(share), 0, 1)[..., None]
    return _bytes(_grey_face(bundle) * (1 - strength) + colour * strength)


def _texture_map(bundle: Bundle, step: Floats) -> Rgb:
    change = _shown(bundle, step)[1:]
    share = (change / _peak(change, bundle.maps[:, 1:])).transpose(1, 2, 0)  # [M, M, 3]
    strength = np.clip(np.abs(share).max(2, keepdims=True), 0, 1)
    return _bytes(_grey_face(bundle) * (1 - strength) + 127.5 * (1 + share) * strength)


def _peak(change: NDArray[np.float64], maps: NDArray[np.float32]) -> float:
    """Return the largest size of a change, but not less than a twentieth of what the strongest atom does."""
    return max(float(np.abs(change).max(initial=0)), float(np.abs(maps).max(initial=0)) / 20, 1e-12)


def _bytes(values: NDArray[np.float64]) -> Rgb:
    return np.asarray(values.round().clip(0, 255), np.uint8)


def _faces(generator: Generator, faces: int, seed: int) -> Floats:
    z = torch.from_numpy(np.stack([sample_z(generator.z_dim, (seed, k)) for k in range(faces)]))
    with torch.inference_mode():
        w = generator.map(z.to(generator.device)).double().cpu().numpy()
    return np.asarray(generator.w_mean + CALM * (w - generator.w_mean), np.float64)


def _entry(bundle: Bundle, k: int, length: float, file: str) -> AtlasEntry:
    directions = bundle.directions
    place = bundle.region(directions.names[k])
    return AtlasEntry(
        name=directions.names[k],
        kind=directions.kinds[k],
        unit=directions.units[k],
        region=f"{place[0]} ({100 * place[1]:.0f}%)" if place else "",
        r2=float(directions.r2[k]),
        low=float(bundle.ranges[k, 0]),
        high=float(bundle.ranges[k, 1]),
        length=length,
        picture=file,
    )


def _open(folder: Path, drawn: list[str]) -> set[str]:
    """Make the folder and return the names of an earlier atlas' pictures, as its page tells them.

    A folder that holds files but no page of an atlas is refused, and so is one where a picture would replace a file
    that the page does not name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(file.name for file in folder.iterdir())
        page = (folder / PAGE).read_text(encoding="utf-8", errors="replace") if PAGE in there else ""
    except OSError as error:
        raise output_error(folder, error) from error
    ours = _TITLE in page
    earlier = {name for name in map(unquote, _PICTURE.findall(page)) if _OURS.fullmatch(name)} if ours else set()
    strange = [name for name in there if not ours or (name in drawn and name not in earlier)]
    if strange:
        raise UsageError(f"{folder} holds {strange[0]}, which is no part of an atlas: choose another folder")
    return earlier


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    source = files("faceaug.discovery").joinpath("atlas.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number)
    return environment.from_string(source)
