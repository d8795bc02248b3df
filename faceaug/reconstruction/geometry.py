"""Camera, motion, normals and light: the closed forms that the reconstruction is built on (after Unsup3D, CVPR 2020).

Camera space has x to the right, y down (as the rows of an image) and z away from the viewer. A pinhole at the origin
sees a square of 10 degrees across. A canonical face is a map of depths, about 0.9 to 1.1, nearer being smaller.

- View v = (pitch, yaw, roll, tx, ty, tz): radians, and lengths in units of the pivot's depth, 1. The face turns about
  the pivot (0, 0, 1): first pitch about x, then yaw about y, then roll about z, so that yaw and pitch are the azimuth
  and the elevation of the nose and roll turns the rendered image; then it is shifted. yaw > 0 turns the nose toward
  the image's right, pitch > 0 lifts it, roll > 0 turns the face clockwise as seen. A tx of tan(5°) = 0.0875 shifts a
  point of depth 1 by half an image, and positive ty and tz shift down and away.
- Light l = (ambient, diffuse, x, y): it comes from the direction (x, -y, -1), normalized, so x > 0 lights the right
  side and y > 0 comes from above. It is fixed to the canonical face and turns with it.
- Images are mapped to [-1, 1] edge to edge: a pixel's centre lies half a pixel inside. A position means the same for
  every resolution, and the mean over k x k pixels lies at the centre of the larger pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from faceaug.errors import FaceaugError

FIELD_OF_VIEW = 10.0  # degrees, across the whole image
FOCAL = 1 / math.tan(math.radians(FIELD_OF_VIEW / 2))
PIVOT_DEPTH = 1.0

_MIRROR_VIEW = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
_MIRROR_LIGHT = (1.0, 1.0, -1.0, 1.0)


def pixel_grid(side: int, like: Tensor | None = None) -> Tensor:
    """Return the centres (x, y) of the pixels of a square image, [side, side, 2], as `sample_bilinear` takes them.

    Pixel (row i, column j) has its centre at x = (2 j + 1) / side - 1, y = (2 i + 1) / side - 1.

    Parameters
    ----------
    side
        Pixels across.
    like
        A floating point tensor whose type and device the result gets; float32 on the CPU otherwise.
    """
    if side < 1:
        raise FaceaugError(f"an image of {side} pixels across has no pixels: the side must be at least 1")
    like = torch.zeros(()) if like is None else like
    centres = (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([columns, rows], -1)


def sample_bilinear(maps: Tensor, uv: Tensor, padding: str = "border") -> Tensor:
    """Read maps at positions, bilinear between the centres of pixels.

    Parameters
    ----------
    maps
        [N, C, H, W].
    uv
        Positions (x, y) in [-1, 1] edge to edge, [N, h, w, 2].
    padding
        What lies outside: ``"border"`` (the nearest pixel), ``"zeros"`` or ``"reflection"``.

    Returns
    -------
    Tensor
        [N, C, h, w], differentiable in maps and positions.
    """
    if maps.ndim != 4 or uv.ndim != 4 or uv.shape[-1] != 2 or len(uv) != len(maps):
        raise FaceaugError(
            f"maps of the shape {tuple(maps.shape)} cannot be read at positions of the shape {tuple(uv.shape)}: "
            "expected (N, C, H, W) and (N, h, w, 2)"
        )
    return functional.grid_sample(maps, uv, mode="bilinear", padding_mode=padding, align_corners=False)


def rotation(view: Tensor) -> Tensor:
    """Return the rotations roll · yaw · pitch of views [N, 6] (or of their three angles [N, 3]); [N, 3, 3]."""
    if view.ndim != 2 or view.shape[1] not in (3, 6):
        raise FaceaugError(f"views of the shape {tuple(view.shape)} were given: expected (N, 6) or the angles (N, 3)")
    angles = view[:, :3]
    (cp, cy, cr), (sp, sy, sr) = torch.cos(angles).unbind(1), torch.sin(angles).unbind(1)
    # The product of the three, written out.
    entries = (
        *(cr * cy, -sr * cp + cr * sy * sp, -sr * sp - cr * sy * cp),
        *(sr * cy, cr * cp + sr * sy * sp, cr * sp - sr * sy * cp),
        *(sy, -cy * sp, cy * cp),
    )
    return torch.stack(entries, 1).view(-1, 3, 3)


def move(points: Tensor, view: Tensor) -> Tensor:
    """Turn canonical points [N, ..., 3] about the pivot and shift them, as views [N, 6] say; [N, ..., 3]."""
    flat, turned, centre = _flat_points(points, view)
    return (((flat - centre) @ turned.transpose(1, 2)) + (centre + view[:, None, 3:])).view(points.shape)


def move_back(points: Tensor, view: Tensor) -> Tensor:
    """Undo `move`: from where points [N, ..., 3] are seen to where they lie on the canonical face; [N, ..., 3]."""
    flat, turned, centre = _flat_points(points, view)
    return ((flat - (centre + view[:, None, 3:])) @ turned + centre).view(points.shape)


def _flat_points(points: Tensor, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if points.ndim < 2 or points.shape[-1] != 3 or view.ndim != 2 or view.shape != (len(points), 6):
        raise FaceaugError(
            f"points of the shape {tuple(points.shape)} cannot be moved by views of the shape {tuple(view.shape)}: "
            "expected (N, ..., 3) and (N, 6)"
        )
    flat = points.reshape(len(points), math.prod(points.shape[1:-1]), 3)
    return flat, rotation(view), points.new_tensor([0.0, 0.0, PIVOT_DEPTH])


def unproject(depth: Tensor) -> Tensor:
    """Return the points that pixels of depth maps [N, S, S] show; [N, S, S, 3]."""
    check_depth(depth)
    rays = pixel_grid(depth.shape[-1], depth) / FOCAL
    return torch.cat([rays * depth[..., None], depth[..., None]], -1)


def project(points: Tensor) -> Tensor:
    """Return where in the image points [N, ..., 3] of positive depth are seen; (x, y) [N, ..., 2]."""
    return points[..., :2] * (FOCAL / points[..., 2:])


def normals(depth: Tensor) -> Tensor:
    """Return the unit normals of depth maps, toward the viewer.

    Central differences of the points in space; at the border, differences to the inner neighbour. Both are exact on a
    plane.

    Parameters
    ----------
    depth
        [N, S, S], positive, S at least 2.

    Returns
    -------
    Tensor
        (x, y, z) with z < 0, [N, 3, S, S].
    """
    points = unproject(depth)
    if depth.shape[-1] < 2:
        raise FaceaugError("a depth map of one pixel has no normals: the side must be at least 2")
    padded = functional.pad(points.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    ax, ay, az = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]).unbind(1)  # across
    dx, dy, dz = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]).unbind(1)  # down
    x, y, z = dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax
    return torch.stack([x, y, z], 1) / (x * x + y * y + z * z).sqrt()[:, None]


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """Return how brightly a matt surface is lit: ambient + diffuse · max(0, n · direction) (Lambert).

    Parameters
    ----------
    normals
        Unit normals [N, 3, S, S].
    light
        (ambient, diffuse, x, y), [N, 4].

    Returns
    -------
    Tensor
        [N, 1, S, S]; the albedo is multiplied by it.
    """
    if normals.ndim != 4 or normals.shape[1] != 3 or light.shape != (len(normals), 4):
        raise FaceaugError(
            f"normals of the shape {tuple(normals.shape)} cannot be lit by lights of the shape {tuple(light.shape)}: "
            "expected (N, 3, S, S) and (N, 4)"
        )
    toward = torch.stack([light[:, 2], -light[:, 3], -torch.ones_like(light[:, 2])], 1)
    toward = functional.normalize(toward, dim=1)
    cosine = torch.einsum("nchw,nc->nhw", normals, toward)[:, None]
    return light[:, 0, None, None, None] + light[:, 1, None, None, None] * cosine.clamp(min=0)


def mirror_view(view: Tensor) -> Tensor:
    """Return the views [N, 6] of the mirrored images: yaw, roll and tx change sign."""
    return view * view.new_tensor(_MIRROR_VIEW)


def mirror_light(light: Tensor) -> Tensor:
    """Return the lights [N, 4] of the mirrored images: x changes sign."""
    return light * light.new_tensor(_MIRROR_LIGHT)


def check_depth(depth: Tensor) -> None:
    """Refuse what is not a batch of square depth maps [N, S, S] of floating point numbers."""
    if depth.ndim != 3 or depth.shape[1] != depth.shape[2] or not depth.is_floating_point():
        raise FaceaugError(
            f"depth maps are {depth.dtype} of the shape {tuple(depth.shape)}: expected floating point numbers of the "
            "shape (N, S, S)"
        )
