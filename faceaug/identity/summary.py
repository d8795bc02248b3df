"""How far the samples of an output folder are from real people: distributions of distances, and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from faceaug.identity.base import FaceEmbedder

SAMPLE_TO_SOURCE = "synthetic face to its own photographs"
SAMPLE_TO_REAL = "synthetic face to the nearest real face"
REAL_TO_REAL = "real face to the nearest other real face"
_BINS = 40  # of the histograms
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class DistanceDistribution(BaseModel):
    """A distribution of distances."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(ge=0, description="distances")
    quantiles: tuple[float, ...] = Field(description="at 5, 25, 50, 75 and 95 %; empty without a distance")
    counts: tuple[int, ...] = Field(description="in the bins of the histogram")
    below: int | None = Field(description="distances below that of one person; null for a stand-in")

    @classmethod
    def of(
        cls, distances: npt.NDArray[np.floating], edges: npt.NDArray[np.floating], limit: float | None
    ) -> DistanceDistribution:
        """Return the distribution of distances, of which NaN do not count."""
        finite = distances[np.isfinite(distances)]
        return cls(
            n=len(finite),
            quantiles=tuple(np.quantile(finite, _QUANTILES).round(4).tolist()) if len(finite) else (),
            counts=tuple(np.histogram(finite, edges)[0].tolist()),
            below=None if limit is None else int((finite < limit).sum()),
        )

    @property
    def median(self) -> float:
        """Median distance; NaN without a distance."""
        return self.quantiles[2] if self.quantiles else float("nan")

    @property
    def share_below(self) -> float:
        """Share of distances below that of one person; NaN for a stand-in, or without a distance."""
        return self.below / self.n if self.n and self.below is not None else float("nan")


class IdentitySummary(BaseModel):
    """The comparison of the samples of an output folder with the real faces of its data set; without embeddings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    embedder: str = Field(description="name of the embedder")
    sha256: str = Field(description="of its weights")
    licence: str
    is_identity: bool = Field(description="whether its distances tell people apart")
    same_person: float | None = Field(description="distance below which two pictures usually show one person")
    same_person_source: str
    real: int = Field(ge=0, description="real faces of the data set")
    real_without_face: int = Field(ge=0, description="of which the embedder found no face")
    stored: int = Field(ge=0, description="samples of the folder")
    compared: int = Field(ge=0, description="samples that were compared")
    without_face: int = Field(ge=0, description="of these, samples without a face")
    sourced: int = Field(ge=0, description="of these, samples that were made from photographs")
    sources_missing: int = Field(ge=0, description="of these, samples whose photograph the data set does not have")
    nearest_to_source: int = Field(ge=0, description="samples with no other real face as near to their photograph")
    judged_by_rank: int = Field(ge=0, description="samples for which that was determined")
    edges: tuple[float, ...] = Field(description="of the bins of the histograms")
    distances: dict[str, DistanceDistribution]

    def sentences(self) -> list[str]:
        """Return what the comparison says, for a reader who looks at the faces."""
        by_distance = [self._sources(), self._nearest()] if self.is_identity else [self._stand_in()]
        missing = (
            f"No face was found in {self.without_face:,} of the {self.compared:,} compared samples."
            if self.without_face
            else ""
        )
        return [sentence for sentence in (*by_distance, missing) if sentence]

    def headline(self) -> str:
        """Return the comparison in one sentence."""
        return self.sentences()[0] if self.compared else "There are no samples to compare."

    def _sources(self) -> str:
        found = self.distances[SAMPLE_TO_SOURCE]
        if not found.n:
            return ""
        text = (
            f"{found.below:,} of {found.n:,} samples made from photographs ({found.share_below:.0%}) lie nearer to one "
            f"of them than {self.same_person:g}, below which two pictures usually show one person"
        )
        if self.judged_by_rank:
            text += (
                f"; for {self.nearest_to_source:,} of {self.judged_by_rank:,}, no other real face is as near to the "
                "photograph"
            )
        return f"{text}."

    def _nearest(self) -> str:
        samples, real = self.distances[SAMPLE_TO_REAL], self.distances[REAL_TO_REAL]
        if not samples.n or not real.n:
            return ""
        return (
            f"The median distance to the nearest real face is {samples.median:.2f} for the {samples.n:,} samples and "
            f"{real.median:.2f} for the {real.n:,} real faces, compared with each other; {samples.share_below:.0%} and "
            f"{real.share_below:.0%} are below {self.same_person:g}."
        )

    def _stand_in(self) -> str:
        samples, real = self.distances[SAMPLE_TO_REAL], self.distances[REAL_TO_REAL]
        return (
            f"Compared by {self.embedder}, a stand-in that does not tell people apart, so there is no verdict: the "
            f"median distance to the nearest real face is {samples.median:.2f} for the {samples.n:,} samples and "
            f"{real.median:.2f} for the {real.n:,} real faces, compared with each other. The extra faceaug[identity] "
            "compares people."
        )


def histogram_edges(distances: Iterable[npt.NDArray[np.floating]], limit: float | None) -> npt.NDArray[np.float64]:
    """Return the common edges of histograms, from 0 to beyond all distances and that of one person."""
    largest = max([limit or 0.0, 1e-6, *(float(np.nanmax(d)) for d in distances if np.isfinite(d).any())])
    return np.linspace(0, 1.001 * largest, _BINS + 1).round(4)


def limit_of(embedder: FaceEmbedder) -> float | None:
    """Return the distance of one person; None for a stand-in."""
    return float(embedder.same_person.distance) if embedder.is_identity else None
