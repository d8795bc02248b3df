"""What labels change in the canonical frame: registered shape and texture, regressed on the labels of a data set.

Every face is registered with the mean face. Its shape is the displacement, its texture the logarithm of its canonical
picture in the mean shape. Both are regressed on all labels together and on view and light, by streaming least squares
(docs/method.md, section 3), so that the change of one label is that with the others held. Prototypes: Rowland and
Perrett, "Manipulating facial appearance through shape and color", 1995.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.latents.regression import LinearFit, StreamingRegression
from faceaug.morphing.blend import DARKEST
from faceaug.morphing.canonical import PICTURE_SIDE
from faceaug.morphing.face import CanonicalFace, canonical_picture
from faceaug.morphing.label_design import LabelDesign, LabelValue
from faceaug.morphing.registration import register
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import Rgb
from faceaug.utils.threads import map_in_order
from faceaug.utils.typing import Floats, Floats32

SHAPE_SIDE, TEXTURE_SIDE = 16, 64
"""Sides of the maps of shape and texture, in cells."""
HELD_COVARIATES = ("yaw", "pitch", "roll", "light_x")
"""Of view and light. Height and strength of the light are none: the estimator reads dark skin as such a light."""
_RIDGE = 10.0
_HELD_OUT = 10  # every tenth face is held out of the regression
_AT_LEAST = 20  # faces of a regression
_TEMPLATE_FACES, _TEMPLATE_ROUNDS = 600, 2
_MEAN_SIGMA, _CONTRAST_SIGMA, _LEAST_CONTRAST, _CONTRAST = 8.0, 12.0, 2.0, 48.0  # as of `normalize_contrast`
_EYES = (slice(48, 64), slice(32, 96))  # rows and columns of the mean face whose sharpness is held
_FINE_SIGMA = 2.2
_SHAPE_VALUES = SHAPE_SIDE * SHAPE_SIDE * 2
ReadPhotograph = Callable[[CanonicalFace], "Rgb | None"]


@dataclass(frozen=True, eq=False)
class LabelChange:
    """A change of labels in the shape of the mean face.

    Attributes
    ----------
    shape : float32 [S, S, 2]
        By how much each place moves, in half sides of the canonical square.
    texture : float32 [T, T, 3]
        Change of the logarithm of colour.
    """

    shape: Floats32
    texture: Floats32


@dataclass(frozen=True, eq=False)
class LabelLines:
    """The regression of shape and texture on labels.

    Attributes
    ----------
    template : uint8 [P, P]
        The mean face, with normalized contrast.
    design : LabelDesign
    fit : LinearFit
        Of shape and texture on labels and covariates.
    r2 : dict of str to float
        Held-out R² of "shape" and "texture" by labels and covariates together, and of "shape by NAME" and "texture by
        NAME": what is lost without a label.
    """

    template: NDArray[np.uint8]
    design: LabelDesign
    fit: LinearFit
    r2: dict[str, float]

    def change(self, before: Mapping[str, LabelValue], after: Mapping[str, LabelValue]) -> LabelChange:
        """Return what changes between two sets of labels at the same view, light and sharpness."""
        difference = self.design.row(after) - self.design.row(before)
        values = (self.fit.B[:, : len(difference)] @ difference).astype(np.float32)
        return LabelChange(
            values[:_SHAPE_VALUES].reshape(SHAPE_SIDE, SHAPE_SIDE, 2),
            values[_SHAPE_VALUES:].reshape(TEXTURE_SIDE, TEXTURE_SIDE, 3),
        )


def mean_face(faces: Sequence[CanonicalFace], workers: int = 1) -> NDArray[np.uint8]:
    """Return the mean of canonical pictures, registered with one another, with normalized contrast: uint8 [P, P].

    Of many faces an even part is taken. The result does not depend on `workers`.
    """
    chosen = [faces[k] for k in np.unique(np.linspace(0, len(faces) - 1, _TEMPLATE_FACES).astype(int))]
    template = _normalized(_mean(face.detail.astype(np.float64) for face in chosen))
    for _ in range(_TEMPLATE_ROUNDS):
        current = template

        def registered(face: CanonicalFace, onto: NDArray[np.uint8] = current) -> Floats:
            return _moved(face.detail, register(onto, face.detail).flow).astype(np.float64)

        with ThreadPoolExecutor(workers, thread_name_prefix="faceaug-mean") as pool:
            template = _normalized(_mean(map_in_order(pool, registered, iter(chosen), 2 * workers)))
    return template


def learn_label_lines(
    faces: Sequence[CanonicalFace],
    labels: Sequence[Mapping[str, LabelValue]],
    design: LabelDesign,
    read: ReadPhotograph,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LabelLines | None:
    """Regress shape and texture on labels.

    Parameters
    ----------
    faces, labels : sequences of length N
        In an order that does not depend on workers.
    design : LabelDesign
    read : callable
        Returns the photograph of a face uint8 [H, W, 3], or None where it cannot be read; such faces are left out.
    workers : int
        Threads; they do not change the result.
    progress : callable (done, total)

    Returns
    -------
    LabelLines or None
        None where there are fewer than 20 faces.
    """
    if len(faces) < _AT_LEAST:
        return None
    template = mean_face(faces, workers)
    width = len(design.row({})) + len(HELD_COVARIATES) + 1
    size = _SHAPE_VALUES + TEXTURE_SIDE * TEXTURE_SIDE * 3
    train, held_out = (StreamingRegression(width, size, _RIDGE) for _ in range(2))

    def values_of(number: int) -> tuple[Floats, Floats] | None:
        torch.set_num_threads(1)
        photograph = read(faces[number])
        if photograph is None:
            return None
        values, sharpness = face_values(faces[number], photograph, template)
        return np.append(np.append(design.row(labels[number]), _covariates(faces[number])), sharpness), values

    with ThreadPoolExecutor(workers, thread_name_prefix="faceaug-lines") as pool:
        for number, pair in enumerate(map_in_order(pool, values_of, iter(range(len(faces))), 2 * workers)):
            if pair is not None:
                (held_out if number % _HELD_OUT == _HELD_OUT - 1 else train).update(pair[0][None], pair[1][None])
            progress(number + 1, len(faces))
    if train.n < _AT_LEAST // 2 or held_out.n < 2:
        return None
    return LabelLines(template, design, train.solve(), _explained_shares(train, held_out, design))


def face_values(face: CanonicalFace, photograph: Rgb, template: NDArray[np.uint8]) -> tuple[Floats, float]:
    """Return shape and texture of a face float64 [P], and the sharpness of its eyes as a logarithm."""
    flow = register(template, face.detail).flow
    picture = _moved(canonical_picture(face, photograph), flow).astype(np.float32) / 255
    logs = np.log(picture + DARKEST)
    grey = logs.mean(-1)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), _FINE_SIGMA))[_EYES]
    shape = cv2.resize(flow, (SHAPE_SIDE, SHAPE_SIDE), interpolation=cv2.INTER_AREA)
    texture = cv2.resize(logs, (TEXTURE_SIDE, TEXTURE_SIDE), interpolation=cv2.INTER_AREA)
    values = np.concatenate([shape.ravel(), texture.ravel()]).astype(np.float64)
    return values, float(np.log(np.square(fine.astype(np.float64)).mean() + 2e-5))


def _covariates(face: CanonicalFace) -> Floats:
    return np.nan_to_num(np.radians([face.measured[FACTOR_NAMES.index(name)] for name in HELD_COVARIATES]))


def _explained_shares(
    train: StreamingRegression, held_out: StreamingRegression, design: LabelDesign
) -> dict[str, float]:
    parts = {"shape": slice(0, _SHAPE_VALUES), "texture": slice(_SHAPE_VALUES, None)}
    whole = _explained(train, held_out, parts)
    shares = dict(whole)
    for name, columns in design.parts.items():
        kept = np.delete(np.arange(train.d), np.arange(train.d)[columns])
        without = _explained(_with_columns(train, kept), _with_columns(held_out, kept), parts)
        shares |= {f"{part} by {name}": whole[part] - without[part] for part in parts}
    return {name: round(value, 4) for name, value in shares.items()}


def _explained(
    train: StreamingRegression, held_out: StreamingRegression, parts: Mapping[str, slice]
) -> dict[str, float]:
    """Return the share of the variance of all values of a part that is explained."""
    r2 = train.solve().r2(held_out)
    return {name: float((r2[part] * held_out.yy[part]).sum() / held_out.yy[part].sum()) for name, part in parts.items()}


def _with_columns(regression: StreamingRegression, kept: NDArray[np.int64]) -> StreamingRegression:
    """Return the same regression on some of its regressors."""
    reduced = StreamingRegression(len(kept), regression.p, regression.ridge)
    reduced.n, reduced.mean_x, reduced.mean_y = regression.n, regression.mean_x[kept], regression.mean_y
    reduced.xx, reduced.xy, reduced.yy = regression.xx[np.ix_(kept, kept)], regression.xy[kept], regression.yy
    return reduced


def _mean(pictures: Iterator[Floats]) -> Floats32:
    total, count = np.zeros((PICTURE_SIDE, PICTURE_SIDE)), 0
    for picture in pictures:
        total, count = total + picture, count + 1
    return (total / count).astype(np.float32)


def _normalized(grey: Floats32) -> NDArray[np.uint8]:
    detail = grey - cv2.GaussianBlur(grey, (0, 0), _MEAN_SIGMA)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _CONTRAST_SIGMA)) + _LEAST_CONTRAST
    return np.clip(128 + detail / contrast * _CONTRAST, 0, 255).astype(np.uint8)


def _moved(picture: NDArray[np.uint8], flow: Floats32) -> Floats32:
    """Return a canonical picture as it looks in the shape from which the flow leads."""
    side = len(picture)
    ys, xs = np.mgrid[:side, :side].astype(np.float32)
    x, y = xs + flow[..., 0] * side / 2, ys + flow[..., 1] * side / 2
    moved = cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
