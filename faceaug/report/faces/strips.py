"""Edits as strips: the faces on the straight way from the latent before an edit to the one after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from faceaug.appearance.framing import Framing, apply_framing
from faceaug.errors import FaceaugError
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import synthesize
from faceaug.report.faces.samples import StoredSamples
from faceaug.shards.manifest import GeneratorRecord, Manifest
from faceaug.utils.images import Rgb, restore_aspect
from faceaug.utils.tensors import to_uint8
from faceaug.utils.threads import single_threaded

STRIP_IMAGES = 5
"""Images of a strip, the first and the last latent among them."""
_MOST_OF_CELL, _MOST_STRIPS = 24, 600
_MOST_PIXELS = _MOST_STRIPS * STRIP_IMAGES * 64 * 64  # synthesized in all: a large generator gets fewer strips


@dataclass(frozen=True, eq=False)
class EditStrips:
    """The samples whose edits are shown, and what synthesizes them.

    Attributes
    ----------
    rows : sequence of int
        The samples, in the order of their strips.
    note : str
        A sentence on which edits are shown, or why none is; empty where no sample has a latent.
    generator : Generator, optional
        Without it there is no strip.
    framing : Framing
        The window of its images that the samples show.
    """

    rows: Sequence[int] = ()
    note: str = ""
    generator: Generator | None = None
    framing: Framing = field(default_factory=Framing)

    @classmethod
    def of(cls, samples: StoredSamples, shown: Sequence[int], manifest: Manifest) -> EditStrips:
        """Choose the first samples with latents of each cell, where the generator of the run is installed here.

        A generator is looked up by its name alone and compared by its hash; nothing is fetched.

        Parameters
        ----------
        samples : StoredSamples
        shown : sequence of int
            The samples that may be chosen, in their order.
        manifest : Manifest
        """
        record, edited = manifest.generator, [i for i in shown if np.isfinite(samples.edits[i])]
        if record is None or not edited:
            return cls()
        generator, missing = _installed(record)
        if generator is None or samples.latents(edited[0]).shape[1] != generator.w_dim:
            missing = missing or "its latents have another width than those of the samples"
            return cls(note=f"Strips of the edits are left out, since the generator of the run is not here: {missing}.")
        rows = _first_of_cells(samples, edited, _MOST_PIXELS // (STRIP_IMAGES * generator.resolution**2))
        note = f"{len(rows):,} of {len(edited):,} edits of a latent are shown as a strip, too."
        return cls(rows, note, generator, _framing(manifest))

    def images(self, samples: StoredSamples) -> Iterator[Rgb]:
        """Yield the images of each strip, `STRIP_IMAGES` a sample, before harmonization.

        A strip is synthesized by itself with one thread, so that it does not depend on the others or the machine.
        """
        if self.generator is None:
            return
        shares = np.linspace(0, 1, STRIP_IMAGES)[:, None]
        with single_threaded():
            for row in self.rows:
                before, after = samples.latents(row)
                images = synthesize(self.generator, before + shares * (after - before), STRIP_IMAGES)
                for image in to_uint8(apply_framing(images, self.framing)):
                    yield restore_aspect(image, self.framing.aspect)


def _installed(record: GeneratorRecord) -> tuple[Generator | None, str]:
    """Return the generator of a run, or None and why it is not there."""
    name = record.name
    if "/" in name or name.endswith(".safetensors"):  # a file: a name in a manifest must not choose what is read
        return None, f"{name} names a file"
    try:
        generator = load_generator(name)
    except (FaceaugError, OSError):
        return None, f"no generator {name} is installed"
    return (generator, "") if generator.sha256 == record.sha256 else (None, f"{name} has other weights here")


def _framing(manifest: Manifest) -> Framing:
    """Return the window that a run measured; the whole image where it measured none."""
    measured = manifest.measured.get("framing")
    try:
        return Framing.from_dict(measured) if isinstance(measured, dict) else Framing()
    except (FaceaugError, TypeError, ValueError):
        return Framing()


def _first_of_cells(samples: StoredSamples, rows: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the rows, as many of each cell as can be, in their order."""
    seen: Counter[int] = Counter()
    ranked = []
    for row in rows:
        cell = int(samples.cells[row])
        if seen[cell] < _MOST_OF_CELL:
            ranked.append((seen[cell], row))
        seen[cell] += 1
    return sorted(row for _, row in sorted(ranked)[:most])
