"""What an edit does: change of the attribute and of the others, place of the change, identity.

*Attribute dependency* is that of Wu, Lischinski, Shechtman, "StyleSpace Analysis: Disentangled Controls for StyleGAN
Image Generation" (CVPR 2021): with Δl the change of the readings of an edited face and σ their standard deviation over
samples, the mean over the other attributes of |Δl| / σ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.bench.directions.attribute_readers import READ_SIDE, AttributeReaders
from faceaug.discovery.fit import BATCH_SIZE
from faceaug.generators.base import Generator
from faceaug.generators.pool import synthesize_at
from faceaug.identity.base import FaceEmbedder
from faceaug.latents.face_regions import REGIONS
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.reconstruction.renderer import render
from faceaug.utils.tensors import resize_tensor, to_uint8
from faceaug.utils.typing import Floats

WHOLE_FACE = "face"
"""The region that an edit of view, light or a label may touch: everything but `REGIONS[-1]`, the outside."""
_PLAIN_LIGHT = (1.0, 0.0, 0.0, 0.0)  # ambient alone: what is rendered keeps its values


@dataclass(frozen=True, eq=False)
class EditedFaces:
    """N faces with what is measured on them before an edit.

    Attributes
    ----------
    w : float64 [N, D]
    images : Tensor, float32 [N, 3, S, S]
    readings : float64 [N, A]
        By the held-out classifiers.
    regions : mapping of str to Tensor, float32 [N, S, S]
        Of the regions that attributes have: 1 inside, 0 outside, as each face shows it.
    embeddings : float32 [n, E]
        Of the first faces; no row without an embedder.
    """

    w: Floats
    images: Tensor
    readings: Floats
    regions: dict[str, Tensor]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EditEffect:
    """What an edit by a step and by its opposite does to N faces, in standard deviations of the held-out readings.

    Attributes
    ----------
    change : float64 [N, A]
        Half the difference of the readings after both.
    dependency, largest : float64 [N]
        Mean and largest |Δl| / σ of the other attributes, mean of both.
    locality : float64 [N]
        Share of the absolute change of all pixels that lies in the region of the attribute, mean of both.
    identity : float64 [n]
        Distance of identity to the face before, mean of both; NaN where a face was not found.
    """

    change: Floats
    dependency: Floats
    largest: Floats
    locality: Floats
    identity: Floats


class EffectMeter:
    """Measures edits of the same faces.

    Parameters
    ----------
    generator : Generator
    readers : AttributeReaders
    w : float64 [N, D]
        Of the faces.
    embedder : FaceEmbedder, optional
    identity_faces : int
        How many of the faces are embedded.
    """

    def __init__(
        self,
        generator: Generator,
        readers: AttributeReaders,
        w: Floats,
        embedder: FaceEmbedder | None,
        identity_faces: int,
    ) -> None:
        self._generator, self._readers, self._embedder = generator, readers, embedder
        self._identity_faces = min(identity_faces, len(w)) if embedder else 0
        images = edited_images(generator, w)
        names = {region_of(readers, name) for name in readers.names}
        self.faces = EditedFaces(
            w,
            images,
            readers.held_out(images),
            region_masks(readers, images, sorted(names)),
            self._embeddings(images),
        )

    def measure(self, attribute: int, step: Floats) -> EditEffect:
        """Return the effect of adding and of subtracting a step [D], an edit of attribute number `attribute`."""
        faces, readers = self.faces, self._readers
        inside = faces.regions[region_of(readers, readers.names[attribute])]
        changes, places, distances = [], [], []
        for sign in (1, -1):
            images = edited_images(self._generator, faces.w + sign * step)
            changes.append((readers.held_out(images) - faces.readings) / readers.spread)
            pixels = (images - faces.images).abs().sum(1)
            total = pixels.sum((1, 2)).clamp(min=1e-9)
            places.append(((pixels * inside).sum((1, 2)) / total).double().cpu().numpy())
            distances.append(np.linalg.norm(self._embeddings(images) - faces.embeddings, axis=1))
        others = np.delete(np.abs(changes), attribute, 2)  # [2, N, A - 1]
        return EditEffect(
            (changes[0] - changes[1]) / 2,
            others.mean((0, 2)),
            others.max(2).mean(0),
            np.mean(places, 0),
            np.mean(distances, 0),
        )

    def _embeddings(self, images: Tensor) -> NDArray[np.float32]:
        if self._embedder is None or not self._identity_faces:
            return np.empty((0, 1), np.float32)
        return self._embedder.embed(list(to_uint8(images[: self._identity_faces])))


def edited_images(generator: Generator, w: Floats) -> Tensor:
    """Return the images of latents [N, D] as readers see them: float32 [N, 3, S, S] in [-1, 1]."""
    latents = torch.from_numpy(np.asarray(w, np.float32)).to(generator.device)
    return synthesize_at(generator, latents, READ_SIDE).clamp(-1, 1)


def region_of(readers: AttributeReaders, name: str) -> str:
    """Return the region that an edit of an attribute may touch: that of an atom, else `WHOLE_FACE`."""
    found = readers.bundle.region(name) if name in readers.bundle.directions.names else None
    return found[0] if found else WHOLE_FACE


def region_masks(readers: AttributeReaders, images: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Return regions of the canonical face as faces show them: float32 [N, S, S] each, rendered into their views."""
    numbers = torch.from_numpy(readers.bundle.regions.astype(np.int64))
    chosen = [
        numbers != REGIONS.index("outside") if name == WHOLE_FACE else numbers == REGIONS.index(name) for name in names
    ]
    maps = torch.stack(chosen).float()  # [R, M, M]
    parts = []
    for batch in torch.split(images, BATCH_SIZE):
        factors = mirror_averaged_factors(readers.estimator.reconstruct, batch)
        parts.append(torch.stack([_rendered(factors, each) for each in maps]))
    masks = torch.cat(parts, 1)
    return dict(zip(names, masks, strict=True))


def _rendered(factors: FaceFactors, region: Tensor) -> Tensor:
    """Return a canonical region [M, M] as N faces show it, [N, S, S]."""
    count, side = factors.depth.shape[0], factors.depth.shape[-1]
    canonical = resize_tensor(region[None, None].to(factors.depth), side).expand(count, 3, side, side)
    light = factors.depth.new_tensor(_PLAIN_LIGHT).expand(count, 4)
    rendering = render(canonical, factors.depth, light, factors.view)
    shown = ((rendering.image[:, :1] + 1) / 2).clamp(0, 1) * rendering.mask[:, None]
    return (resize_tensor(shown, READ_SIDE)[:, 0] > 0.5).float()
