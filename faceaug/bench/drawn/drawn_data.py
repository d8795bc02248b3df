"""The data set of a closed world, as a section of a recipe: drawn from a generator; latents define the classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faceaug.utils.documents import StrictSection

LOW, HIGH = "low", "high"
"""The two classes of an attribute: below and above what the direction says of the mean latent."""


class DrawnData(StrictSection):
    """A data set that is drawn from a generator, whose latents define its labels: they are known for every face."""

    generator: str = Field(description="The generator, by name: `embedded`. Its directions are included.")
    attributes: dict[str, str] = Field(
        min_length=1,
        description="Columns, and the semantic of the generator's directions that is `low` or `high` in each: "
        "`{forehead: forehead_shape_2}`.",
    )
    count: int = Field(default=4000, ge=100, description="So many faces.")
    gap: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="How far the faces of the data set are blurred, tinted and noised, which those of engines are not.",
    )
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="Share of the samples of engines that get another class of the task."
    )
