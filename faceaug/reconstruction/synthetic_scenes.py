"""Synthetic scenes: schematic faces whose depth, albedo, light and view are known for every latent.

The reconstruction is evaluated on them and the renderer is tested against them, so they are rendered by another method.
A head is a dome with smooth bumps (brows, eye sockets, nose, lips, chin, cheeks), a closed form of the position in the
canonical maps. Its surface is splatted densely into the view, the nearest point at each half pixel is moved by one
Newton step to the centre of that half pixel, and four half pixels are averaged to a pixel. Normals are those of the
closed form. Triangles, `renderer.render` and `geometry.normals` are not used; the conventions are those of `geometry`.

A fixed rotation of the latent gives the 40 semantics below, so that no coordinate of the latent is one of them.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from faceaug.errors import FaceaugError
from faceaug.generators.base import check_latents, in_tiles, read_only
from faceaug.reconstruction.geometry import FOCAL, move, pixel_grid, project, sample_bilinear, unproject
from faceaug.utils.device import check_device

SEMANTICS = (
    *("pitch", "yaw", "roll", "tx", "ty", "tz"),
    *("ambient", "diffuse", "light_x", "light_y"),
    *("width", "length", "nose_length", "nose_width", "nose_tip", "nose_bend", "brow_ridge", "eye_depth", "eye_gap"),
    *("lip_fullness", "mouth_width", "mouth_height", "chin", "cheeks"),
    *("tone", "hue", "hair_tone", "hair_hue", "hairline", "hair_length", "brow_tone", "iris_tone"),
    *("lip_tone", "beard", "blush", "mole"),
    *("ground_tone", "ground_hue", "ground_across", "ground_down"),
)
_VIEW_SPREAD = (*(math.radians(d) for d in (8.0, 20.0, 5.0)), 0.004, 0.004, 0.015)
_VIEW_BOUND = (*(math.radians(d) for d in (25.0, 60.0, 20.0)), 0.02, 0.02, 0.06)
_FRONT, _HALF_AXIS, _RIM = 0.957, 0.13, 0.3  # of the dome: depth at its centre, half-axis along z, flatness at the rim
_BACKGROUND_DEPTH = 1.1  # depth beside the head
_GAP_STEP = 0.005  # in 1 / z: a pixel this much farther than both its neighbours is a gap between splatted points
_POINTS, _RAYS = 4, 2  # splatted points and rays per pixel, along a side

_Row = tuple[float | Tensor, ...]


class Truth(NamedTuple):
    """The factors of N scenes, on the pixels of the canonical maps.

    Attributes
    ----------
    depth
        [N, S, S]; a constant beside the head.
    albedo
        [N, 3, S, S] in [0, 1].
    light, view
        [N, 4] and [N, 6], as `geometry` has them (radians); the light is fixed to the head.
    mask
        Where the head is, bool [N, S, S]; beside it depth and albedo are meaningless.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor
    mask: Tensor


class Observation(NamedTuple):
    """The images of N scenes with the visible depth.

    Attributes
    ----------
    image
        [N, 3, S, S] in [-1, 1]; the background does not move with the head.
    depth
        Mean depth of the head within each pixel, [N, S, S]; 1.1 where the head does not reach.
    mask
        Pixels that the head fills, bool [N, S, S].
    """

    image: Tensor
    depth: Tensor
    mask: Tensor


class Scenes:
    """A generator of schematic faces (protocol `generators.base.Generator`, with w = z) whose factors are known.

    Parameters
    ----------
    resolution
        Side S of the images in pixels.
    device
        Device to compute on.

    Raises
    ------
    FaceaugError
        When the resolution is below 8.
    GeneratorError
        When the device is not available, or latents have another shape.
    """

    name = "scenes"
    z_dim = w_dim = len(SEMANTICS)
    licence = "none needed: drawn by faceaug itself"
    origin = "closed forms in faceaug.reconstruction.synthetic_scenes"

    def __init__(self, resolution: int = 64, device: str | torch.device = "cpu") -> None:
        if resolution < 8:
            raise FaceaugError(f"scenes of {resolution} pixels across show no face: the resolution must be at least 8")
        self.resolution = resolution
        self.w_mean = read_only(np.zeros(self.w_dim))
        self.w_covariance = read_only(np.eye(self.w_dim))
        turn = np.linalg.qr(np.random.default_rng(40).standard_normal((self.w_dim, self.w_dim)))[0]
        self.mixing: npt.NDArray[np.float64] = read_only(turn)  # semantics = mixing @ w, [40, D]
        description = f"{self.name} 1, {resolution} px: {SEMANTICS}".encode()
        self.sha256 = hashlib.sha256(description + turn.astype(np.float32).tobytes()).hexdigest()
        self.to(device)

    def to(self, device: str | torch.device) -> Scenes:
        """Move the computation to `device` and return self."""
        self.device = check_device(device)
        self._mixing = torch.from_numpy(np.array(self.mixing)).to(self.device, torch.float32)
        return self

    def map(self, z: Tensor) -> Tensor:
        """Return z [N, 40] as float32: w = z."""
        return check_latents(z, self.z_dim, self.device, "z")

    def synthesize(self, w: Tensor) -> Tensor:
        """Return the images of w [N, 40], float32 [N, 3, S, S] in [-1, 1]; differentiable except for visibility."""
        w = check_latents(w, self.w_dim, self.device, "w")
        return in_tiles(lambda batch: self._observe(batch)[:, :3], w)

    def observe(self, w: Tensor) -> Observation:
        """Return the images of w [N, 40], with the visible depth and the mask of the head."""
        w = check_latents(w, self.w_dim, self.device, "w")
        channels = in_tiles(self._observe, w)
        return Observation(channels[:, :3], channels[:, 3], channels[:, 4] > 0.999)

    def truth(self, w: Tensor) -> Truth:
        """Return the true factors of the scenes of w [N, 40]."""
        semantics = self._semantics(check_latents(w, self.w_dim, self.device, "w"))
        head = _Head(semantics)
        depth, mask = head.surface(self.resolution)
        depth = torch.where(mask, depth, _BACKGROUND_DEPTH)
        return Truth(depth, head.albedo(self.resolution), _light(semantics), _view(semantics), mask)

    def _semantics(self, w: Tensor) -> dict[str, Tensor]:
        return dict(zip(SEMANTICS, (w @ self._mixing.T).unbind(1), strict=True))

    def _observe(self, w: Tensor) -> Tensor:
        """Return colour, depth and coverage of the pixels, [N, 5, S, S]."""
        semantics = self._semantics(w)
        head, rays = _Head(semantics), _RAYS * self.resolution
        depth, mask = head.surface(_POINTS * self.resolution)
        uv, visible_depth, covered = _splat(depth, mask, _view(semantics), rays)
        colour = head.lit(_light(semantics), rays)
        cover = covered[:, None].to(colour.dtype)
        shown = torch.lerp(_background(semantics, rays), sample_bilinear(colour, uv), cover)
        shown = functional.avg_pool2d(shown, _RAYS)
        share = functional.avg_pool2d(cover, _RAYS)
        inside = functional.avg_pool2d(visible_depth[:, None] * cover, _RAYS) / share.clamp(min=1e-6)
        return torch.cat([shown.clamp(0, 1) * 2 - 1, torch.where(share > 0, inside, _BACKGROUND_DEPTH), share], 1)


class _Bumps:
    """Sums of Gaussians along both axes, which are products of small matrices.

    `rows` holds (x, y, width, height, *amplitudes), numbers or [N]; all rows have M amplitudes, one for each map.
    """

    def __init__(self, rows: list[_Row], like: Tensor) -> None:
        columns = [torch.stack([like * 0 + value for value in column], 1) for column in zip(*rows, strict=True)]
        self.x, self.y, self.wide, self.high = columns[:4]  # [N, K]
        self.amplitudes = torch.stack(columns[4:], 1)  # [N, M, K]

    def profiles(self, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the Gaussians along rows and columns, [N, K, side], and their derivatives."""
        centres = pixel_grid(side, self.x)[0, :, 0]
        profiles = []
        for at, width in ((self.x, self.wide), (self.y, self.high)):
            off, square = centres - at[..., None], width[..., None] ** 2
            bell = torch.exp(-0.5 * off**2 / square)
            profiles += [bell, -bell * off / square]
        across, across_slope, down, down_slope = profiles
        return across, down, across_slope, down_slope

    def sum(self, across: Tensor, down: Tensor) -> Tensor:
        """Return the maps [N, M, side, side] of profiles [N, K, side]."""
        return torch.einsum("nmk,nkh,nkw->nmhw", self.amplitudes, down, across)


def _pair(x: float | Tensor, *rest: float | Tensor) -> list[_Row]:
    return [(x, *rest), (-x, *rest)]


class _Head:
    """The head on the canonical maps, from semantics [N] each: eyes are at y = -0.12, the mouth is near 0.5."""

    def __init__(self, s: dict[str, Tensor]) -> None:
        self.s, self.like = s, s["width"]
        self.wide = 0.70 * torch.exp(0.07 * torch.tanh(s["width"]))[:, None, None]
        self.high = 0.91 * torch.exp(0.05 * torch.tanh(s["length"]))[:, None, None]
        self.eye_x = 0.28 + 0.035 * s["eye_gap"].tanh()
        self.mouth_y = 0.50 + 0.04 * s["mouth_height"].tanh()
        self.mouth_wide = 0.17 * torch.exp(0.25 * s["mouth_width"].tanh())
        nose_y = 0.20 + 0.05 * s["nose_length"].tanh()
        nose_wide = 0.095 * torch.exp(0.25 * s["nose_width"].tanh())
        lips = torch.exp(0.5 * s["lip_fullness"].tanh())
        bend = 0.03 * s["nose_bend"].tanh()
        self.bumps = _Bumps(
            [
                (0.5 * bend, 0.03, 0.75 * nose_wide, 0.17, 0.013),
                (bend, nose_y, nose_wide, 0.085, 0.020 + 0.006 * s["nose_tip"].tanh()),
                *_pair(nose_wide + 0.01, nose_y + 0.04, 0.05, 0.05, 0.004),
                *_pair(0.27, -0.29, 0.18, 0.07, 0.006 + 0.005 * s["brow_ridge"].tanh()),
                *_pair(self.eye_x, -0.12, 0.13, 0.08, -0.010 - 0.005 * s["eye_depth"].tanh()),
                *_pair(self.eye_x, -0.12, 0.06, 0.045, 0.004),
                *_pair(0.40, 0.20, 0.17, 0.15, 0.006 + 0.006 * s["cheeks"].tanh()),
                (0.0, self.mouth_y - 0.05, self.mouth_wide, 0.035, 0.0045 * lips),
                (0.0, self.mouth_y + 0.06, 0.85 * self.mouth_wide, 0.045, 0.0055 * lips),
                (0.0, 0.78, 0.16, 0.09, 0.010 + 0.007 * s["chin"].tanh()),
            ],
            self.like,
        )

    def _round(self, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, y and the squared distance from the centre in units of the outline, 1 on the outline."""
        x, y = pixel_grid(side, self.like).unbind(-1)
        return x, y, (x / self.wide) ** 2 + (y / self.high) ** 2

    def surface(self, side: int) -> tuple[Tensor, Tensor]:
        """Return depth and the mask of the head, [N, side, side]; depth continues smoothly a little beyond the head."""
        square = self._round(side)[2]
        across, down, _, _ = self.bumps.profiles(side)
        root = (1 + _RIM - square).clamp(min=0.1).sqrt()
        depth = _FRONT + _HALF_AXIS * (math.sqrt(1 + _RIM) - root) - self.bumps.sum(across, down)[:, 0]
        return depth, square < 1

    def normals(self, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the components x, y, z of the unit normals toward the viewer, from the slopes of the closed form."""
        x, y, square = self._round(side)
        across, down, across_slope, down_slope = self.bumps.profiles(side)
        root = (1 + _RIM - square).clamp(min=0.1).sqrt()
        slope_x = _HALF_AXIS * x / self.wide**2 / root - self.bumps.sum(across_slope, down)[:, 0]
        slope_y = _HALF_AXIS * y / self.high**2 / root - self.bumps.sum(across, down_slope)[:, 0]
        nx, ny, nz = FOCAL * slope_x, FOCAL * slope_y, -(self.surface(side)[0] + x * slope_x + y * slope_y)
        length = (nx**2 + ny**2 + nz**2).sqrt()
        return nx / length, ny / length, nz / length

    def albedo(self, side: int) -> Tensor:
        """Return the colour of the surface, [N, 3, side, side] in [0, 1]."""
        s = self.s
        skin = _colour((0.9, 0.1, -0.4), (s["tone"], 0.6, 0.6, 0.6), (s["hue"], 0.15, 0.0, -0.15))
        hair = _colour((-1.3, -1.7, -2.0), (s["hair_tone"], 0.9, 0.9, 0.9), (s["hair_hue"], 0.25, 0.05, -0.1))
        lips = _colour((0.5, -0.9, -0.8), (s["tone"], 0.5, 0.5, 0.5), (s["lip_tone"], 0.3, -0.3, -0.2))
        iris = _colour((-2.0, -1.8, -1.6), (s["iris_tone"], 0.2, 0.4, 0.6))
        white, eye = skin.new_tensor([0.85, 0.84, 0.82]), self.eye_x
        brow = (0.75 + 0.15 * s["brow_tone"].tanh())[:, None] * (hair - skin)
        beard = (0.5 * torch.sigmoid(2 * s["beard"] - 3))[:, None] * (hair - skin)
        blush = 0.03 * s["blush"].tanh()[:, None] * skin.new_tensor([1.0, -0.6, -0.4])
        mole = -0.25 * torch.sigmoid(2 * s["mole"] - 2)[:, None] * skin
        paint = [
            *_paint(_pair(eye, -0.12, 0.085, 0.038), 0.9 * (white - skin)),
            *_paint(_pair(eye, -0.12, 0.042, 0.045), iris - 0.8 * white),
            *_paint(_pair(0.28, -0.30, 0.14, 0.035), brow),
            *_paint([(0.0, self.mouth_y, self.mouth_wide, 0.055)], 0.9 * (lips - skin)),
            *_paint([(0.0, self.mouth_y, 0.9 * self.mouth_wide, 0.012)], -0.5 * lips),
            *_paint(_pair(0.055, 0.29, 0.025, 0.018), -0.4 * skin),
            *_paint([(0.0, 0.72, 0.36, 0.20)], beard),
            *_paint([(0.42, 0.22, 0.14, 0.12)], blush),
            *_paint([(-0.40, 0.22, 0.16, 0.13)], 0.5 * blush),
            *_paint([(0.30, 0.38, 0.035, 0.035)], mole),
        ]
        patches = _Bumps(paint, self.like)
        face = skin[..., None, None] + patches.sum(*patches.profiles(side)[:2])
        x, y = pixel_grid(side, self.like).unbind(-1)
        line = 0.14 + 0.05 * s["hairline"].tanh()[:, None, None]
        oval = (x / (0.86 * self.wide)) ** 2 + ((y - line) / (0.80 * self.high)) ** 2
        low = (0.25 + 0.35 * s["hair_length"].tanh())[:, None, None]
        hairy = torch.sigmoid(14 * (oval - 1)) * torch.sigmoid(12 * (low - y))
        return torch.lerp(face, hair[..., None, None], hairy[:, None]).clamp(0.02, 0.98)

    def lit(self, light: Tensor, side: int) -> Tensor:
        """Return the shaded colour, albedo times shading, [N, 3, side, side]."""
        x, y, z = self.normals(side)
        ambient, diffuse, light_x, light_y = light[..., None, None].unbind(1)
        cosine = (x * light_x - y * light_y - z) / (light_x**2 + light_y**2 + 1).sqrt()
        return self.albedo(side) * (ambient + diffuse * cosine.clamp(min=0))[:, None]


def _colour(base: tuple[float, ...], *changes: tuple[Tensor, float, float, float]) -> Tensor:
    """Return colours [N, 3] in (0, 1): the logistic function of base + value · change."""
    value = changes[0][0].new_tensor(base)
    for amount, *change in changes:
        value = value + amount[:, None] * amount.new_tensor(change)
    # Torch rounds the last elements of a tensor otherwise than those before, which it computes several at a time. Rows
    # of three are always last, so a colour does not depend on its place in the batch.
    return torch.stack([torch.sigmoid(row) for row in value]) if len(value) else value


def _paint(places: list[_Row], colour: Tensor) -> list[_Row]:
    """Return rows of `_Bumps` that add a colour [N, 3] at places (x, y, width, height)."""
    return [(*place, *colour.unbind(1)) for place in places]


def _view(s: dict[str, Tensor]) -> Tensor:
    """Return views [N, 6]: proportional to their semantics near 0, bounded by `_VIEW_BOUND`."""
    bounds = zip(SEMANTICS[:6], _VIEW_SPREAD, _VIEW_BOUND, strict=True)
    return torch.stack([bound * torch.tanh(s[name] * (spread / bound)) for name, spread, bound in bounds], 1)


def _light(s: dict[str, Tensor]) -> Tensor:
    """Return lights [N, 4]."""
    ambient, diffuse = 0.42 + 0.10 * s["ambient"].tanh(), 0.58 + 0.15 * s["diffuse"].tanh()
    return torch.stack([ambient, diffuse, 0.6 * s["light_x"], 0.25 + 0.45 * s["light_y"]], 1)


def _background(s: dict[str, Tensor], side: int) -> Tensor:
    """Return the background, [N, 3, side, side] in (0, 1)."""
    x, y = pixel_grid(side, s["ground_tone"]).unbind(-1)
    colour = s["ground_tone"][:, None] + s["ground_hue"][:, None] * x.new_tensor([0.4, 0.0, -0.4])
    shift = 0.7 * (s["ground_across"][:, None, None] * x + s["ground_down"][:, None, None] * y)
    return torch.sigmoid(colour[..., None, None] + shift[:, None])


def _splat(depth: Tensor, mask: Tensor, view: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each pixel of the view the position in the canonical maps, the depth, and whether the head covers it.

    `depth` and `mask` are [N, F, F]; returned are [N, side, side, 2], [N, side, side] and bool [N, side, side].
    """
    n, fine = depth.shape[:2]
    points = move(unproject(depth), view)
    splats = torch.cat([(project(points) + 1) * (side / 2) - 0.5, points[..., 2:]], -1).flatten(1, 2)  # [N, F·F, 3]
    with torch.no_grad():
        best = _nearest(splats.detach(), mask.flatten(1), side)
        covered = best > 0
        which = (best & 0xFFFFFFFF).clamp(min=fine + 1, max=fine * (fine - 1) - 2).flatten(1)

    def at(step: int) -> Tensor:
        return splats.gather(1, (which + step)[..., None].expand(-1, -1, 3))  # [N, side·side, 3]

    here, across, down = at(0), (at(1) - at(-1)) / 2, (at(fine) - at(-fine)) / 2
    pixel = torch.arange(side * side, device=depth.device)
    off_x, off_y = pixel % side - here[..., 0], pixel // side - here[..., 1]
    size = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    size = torch.where(size.abs() < 1e-2, 1e-2, size)  # seen edge on: the step is bounded
    step_x = ((off_x * down[..., 1] - off_y * down[..., 0]) / size).clamp(-3, 3)
    step_y = ((off_y * across[..., 0] - off_x * across[..., 1]) / size).clamp(-3, 3)
    uv = torch.stack([which % fine + step_x, which // fine + step_y], -1) * (2 / fine) + (1 / fine - 1)
    visible_depth = here[..., 2] + step_x * across[..., 2] + step_y * down[..., 2]
    return uv.view(n, side, side, 2), visible_depth.view(n, side, side), covered


def _nearest(splats: Tensor, mask: Tensor, side: int) -> Tensor:
    """Return for each pixel the nearest of the splats [N, F·F, 3]: nearness and index in one int64, 0 for none.

    Where the surface is stretched, its points lie more than a pixel apart. A pixel between two neighbours that both
    show a nearer surface therefore takes the point of the farther neighbour.
    """
    column, row = splats[..., 0].round().long(), splats[..., 1].round().long()
    image, number = (mask & (column >= 0) & (column < side) & (row >= 0) & (row < side)).nonzero(as_tuple=True)
    key = (splats[image, number, 2].reciprocal().view(torch.int32).long() << 32) | number
    best = torch.zeros(len(splats) * side * side, dtype=torch.int64, device=splats.device)
    best.scatter_reduce_(0, (image * side + row[image, number]) * side + column[image, number], key, "amax")
    best = best.view(-1, side, side)
    beside = functional.pad(torch.minimum(best[:, :, 2:], best[:, :, :-2]), (1, 1))
    above = functional.pad(torch.minimum(best[:, 2:], best[:, :-2]), (0, 0, 1, 1))
    between = torch.maximum(beside, above)
    nearest_between, nearest = ((keys >> 32).int().view(torch.float32) for keys in (between, best))
    return torch.where(nearest_between - nearest > _GAP_STEP, between, best)
