"""The recipe of a comparison of directions: generator, attributes, methods and numbers of faces, checked as a whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from faceaug.utils.documents import StrictSection, read_sections
from faceaug.utils.text import shown

DIRECTION_RECIPE_FORMAT = "faceaug-direction-experiment"
MethodName = Literal["interfacegan", "interfacegan_conditional", "ganspace", "sefa", "discovered", "guided"]

_Positive = Annotated[int, Field(ge=1)]


class LabelledFaces(StrictSection):
    """A labelled data set, of which classifiers learn attributes that are compared as well."""

    path: str = Field(description="The data set; `${NAME}` stands for an environment variable.")
    labels: str | None = Field(default=None, description="Labels: CSV, TSV or Parquet, a row an image.")
    reader: str = Field(default="auto", description="The layout of the data set.")
    columns: list[str] = Field(
        min_length=1,
        description="Columns to learn. A column of two classes is one attribute, of more classes one for each class.",
    )
    most: _Positive | None = Field(default=None, description="Learn on at most this many faces, drawn by the seed.")


class DirectionRecipe(StrictSection):
    """The whole file."""

    format: Literal["faceaug-direction-experiment"] = "faceaug-direction-experiment"
    version: Literal[1] = 1
    about: str = Field(default="", description="What is asked, in one line.")
    data: str = Field(default="", description="What data it needs, in a few words.")
    cost: str = Field(default="", description="How long it takes, in a few words.")
    generator: str = Field(default="embedded", description="The generator, by name or as a .safetensors file.")
    directions: str | None = Field(
        default=None, description="Its directions, a file of `faceaug discover`. Default: those that are included."
    )
    attributes: list[str] = Field(
        min_length=2, description="Semantics of that file to edit: view, light, parts of the face."
    )
    labelled: LabelledFaces | None = Field(
        default=None, description="A labelled data set whose labels are edited and measured as well."
    )
    methods: list[MethodName] = Field(min_length=1, description="What is compared; see docs/bench.md.")
    samples: int = Field(
        default=2000, ge=100, description="Samples that methods learn from, and as many for the held-out classifier."
    )
    selection_faces: int = Field(
        default=40, ge=8, description="Samples by which components are chosen and the length of steps is found."
    )
    faces: int = Field(default=64, ge=8, description="Samples on which edits are measured.")
    components: int = Field(default=12, ge=1, description="Leading components of GANSpace and SeFa to choose from.")
    extremes: float = Field(
        default=0.25, gt=0, le=0.5, description="InterFaceGAN learns the lowest and the highest share of the samples."
    )
    reach: float = Field(
        default=3.0, gt=0, description="Longest step by which an attribute is moved by one standard deviation."
    )
    identity_faces: int = Field(
        default=12, ge=0, description="Faces whose identity is compared, where faceaug[identity] is installed."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of samples, classifiers and bootstrap.")
    device: str = Field(default="cpu", description="Where networks compute: cpu, cuda ...")
    output: str | None = Field(default=None, description="The output folder.")

    @pydantic.model_validator(mode="after")
    def _check(self) -> DirectionRecipe:
        for name, values in (("attributes", self.attributes), ("methods", list[str](self.methods))):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"{name} names {shown(twice)} twice; name each once")
        return self

    def decisive(self) -> dict[str, Any]:
        """Return what decides the results, as JSON values."""
        return self.model_dump(mode="json", exclude={"about", "data", "cost", "output"})


def parse_direction_recipe(content: Any, what: str) -> DirectionRecipe:
    """Check the content of a recipe; `what` names it in errors.

    Raises
    ------
    UsageError
        When a key is unknown (the nearest is named), or a value is of the wrong kind.
    """
    return read_sections(DirectionRecipe, content, what)
