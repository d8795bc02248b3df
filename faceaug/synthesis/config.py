"""The configuration of a run: the one place where a setting has its name, type, default, bounds and sentence of help.

The options of ``faceaug balance``, the sections of a recipe with their JSON Schema, and the table of settings in
docs/configuration.md are made from these two models.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field

from faceaug.errors import UsageError
from faceaug.utils.text import nearest, one_line, shown
from faceaug.utils.threads import worker_count

if TYPE_CHECKING:
    from faceaug.generators.base import Generator
    from faceaug.measurement.estimator import FaceEstimator

    GeneratorInput = str | Path | Generator
    EstimatorInput = str | Path | FaceEstimator | None
else:  # the command line reads this module for its options, and torch takes seconds to import
    GeneratorInput = EstimatorInput = Any

USES, USES_IN_MORPHS = 3, 16
"""Samples that one real face may take part in unless `max_uses` says otherwise."""
Share = Annotated[float, Field(ge=0, le=1)]
Section = Literal["dataset", "generator", "run", "output"]
"""The section of a recipe in which a setting stands; every setting of a run has one."""


class ConfigModel(pydantic.BaseModel):
    """A frozen, strictly checked model whose errors are one sentence of faceaug's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    _what: ClassVar[str] = "setting"

    def __init__(self, **values: Any) -> None:
        """Check the values.

        Raises
        ------
        UsageError
            When a name is unknown, or a value is of another type or out of its bounds.
        """
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise UsageError(self._sentence(error.errors(include_url=False)[0])) from error

    @classmethod
    def _sentence(cls, error: Any) -> str:
        """Return what pydantic found wrong as one sentence."""
        name = one_line(error["loc"][0]) if error["loc"] else "the configuration"
        if error["type"] == "extra_forbidden":
            return f"there is no {cls._what} {name}: {nearest(name, cls.model_fields)}"
        problem = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        prefix = "" if cls._what == "setting" else f"the {cls._what} "
        return f"{prefix}{name} is {shown(error['input'])}; it must be {problem}"


class AcceptanceThresholds(ConfigModel):
    """Thresholds of the gates. A candidate must pass all of them; see `faceaug.synthesis.acceptance.gates`.

    Examples
    --------
    >>> AcceptanceThresholds(held_out=0.7).held_out
    0.7
    """

    _what: ClassVar[str] = "threshold"

    confidence: Share = Field(
        default=0.75,
        description="Least calibrated probability of the requested class, or of the value lying in its bin, by the "
        "guidance classifier.",
    )
    held_out: Share = Field(
        default=0.6, description="The same by the held-out classifier, which takes no part in the guidance of edits."
    )
    drift: float = Field(
        default=0.5, ge=0, description="Largest change of a kept semantic, in standard deviations over generated faces."
    )
    spill: float = Field(
        default=0.6,
        ge=0,
        description="Largest change outside the face relative to that inside it (edits of attributes, extrapolation).",
    )
    plausible: Share = Field(
        default=0.999, description="Quantile of generated latents that the Mahalanobis distance of w may reach."
    )
    realistic: Share = Field(
        default=0.9,
        description="Quantile of the generated faces near a cell that the distance to real faces in feature space may "
        "reach.",
    )
    face_quality: Share = Field(
        default=0.25,
        description="Share of the generated faces near a cell that must have a lower face quality.",
    )
    exposure: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="Share of real faces that may be darker, brighter, more clipped, bluer or greener than a sample.",
    )
    duplicate_bits: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Perceptual hashes (64 bits) that differ in at most this many bits are near-copies.",
    )
    resemblance: Share = Field(
        default=0.94,
        description="Largest correlation of a sample's details with those of a real image that it was not made from, "
        "once the two are laid on each other: also mirrored, shifted, zoomed or turned copies are refused. 1 refuses "
        "none.",
    )
    uncovered: Share = Field(
        default=0.03, description="Re-rendering and morphs: largest share of the face that the photographs do not show."
    )
    distorted: Share = Field(
        default=0.02,
        description="Re-rendering and morphs: largest share of the face that is folded, or stretched out of "
        "recognition.",
    )
    unregistered: Share = Field(
        default=0.7, description="Morphs: largest share of the face where host and donor could not be registered."
    )
    residual: float = Field(
        default=0.6,
        ge=0,
        description="Morphs: largest mean difference of host and donor after registration, in local standard "
        "deviations. Hands, glasses of one of them and other expressions raise it.",
    )
    mixed: Share = Field(
        default=0.25, description="Morphs: least share of the face's features that is the donors', not the host's."
    )
    light_difference: float = Field(
        default=0.2,
        ge=0,
        description="Morphs: largest difference of light between host and donor across the face, in logarithms.",
    )
    label_distance: Share = Field(
        default=0.15,
        description="Morphs: largest difference between host and donor in a numeric label such as age, as a share of "
        "the faces of the data set that lie between them.",
    )
    identity: float = Field(
        default=0.35,
        ge=0,
        description="Morphs: least distance between a sample and the faces that it was made from, as the embedder of "
        "identity measures it, or 0.55 of the distance between these faces where that is less. Below it lie pictures "
        "of one person that was turned by up to 20 degrees.",
    )
    domain: Share = Field(
        default=0.75,
        description="The engine auto: largest AUC with which a classifier may tell generated faces from those of the "
        "data set for the generator to be used; 0.5 is no better than chance.",
    )
    inversion: float = Field(
        default=0.5,
        ge=0,
        description="Inversion: largest distance between a photograph and its generated picture; 0 is the same "
        "picture, 1 the mean distance between the photographs of two people.",
    )


def _setting(default: Any, section: Section, description: str, **bounds: Any) -> Any:
    """Return a field of `RunConfig` with the section of a recipe in which it stands."""
    return Field(default=default, description=description, json_schema_extra={"section": section}, **bounds)


class RunConfig(ConfigModel):
    """How a run is done. The defaults are those of the command line.

    Examples
    --------
    >>> RunConfig(seed=7, tries=4).tries
    4
    >>> RunConfig(tries=0)
    Traceback (most recent call last):
        ...
    faceaug.errors.UsageError: tries is 0; it must be greater than or equal to 1
    """

    reconstruction: EstimatorInput = _setting(
        None,
        "dataset",
        "The estimator of view and light where they are not labelled: a file of faceaug discover. Default: the "
        "shipped one.",
    )
    aligned: bool = _setting(
        False,
        "dataset",
        "The images already have the framing of the generator; faces are measured without a search for them.",
    )
    licence: str | None = _setting(
        None, "dataset", "Licence of the data set's images, for the data card.", max_length=2000
    )
    consent: str | None = _setting(
        None, "dataset", "What the people in the images have agreed to, for the data card.", max_length=2000
    )
    allow_research_only: bool = _setting(
        False,
        "dataset",
        "Go on where the stated licence of the images or of the generator's weights allows research alone; the data "
        "card then says so.",
    )
    generator: GeneratorInput = _setting(
        "embedded", "generator", "The generator: embedded, digiface, a plug-in's name, or a .safetensors file."
    )
    directions: str | Path | None = _setting(
        None,
        "generator",
        "Directions that faceaug discover found in the generator: view and light are kept and edited along them. "
        "Default: the shipped directions of the generator.",
    )
    truncation_psi: float = _setting(
        0.9, "generator", "1 takes generated latents as they are, less pulls them towards the mean face.", gt=0, le=1
    )
    engine: str = _setting(
        "auto",
        "run",
        "The engine that synthesizes samples: auto (morph for labels, then rerender for view and light, then the "
        "generator if its faces look like the data set's), morph (mixes faces of a cell into new ones), rerender "
        "(turns and relights the data set's own faces), generator (edits generated faces), external (checks images "
        "made elsewhere), both (rerender, then generator), unguided and mirrored (generated faces without guidance, "
        "for comparison), a plug-in's name, or several in turn: external,morph.",
    )
    candidates: str | Path | None = _setting(
        None,
        "run",
        "The images that the engine external checks: a folder, a tar file, Parquet with images, a Hugging "
        "Face folder, an output folder, or the URL of one.",
    )
    candidate_labels: str | Path | None = _setting(
        None,
        "run",
        "Labels claimed for the candidates (CSV, TSV or Parquet, a row an image). Default: what their files say, or "
        "none; the classifiers decide.",
    )
    from_real: bool = _setting(
        False,
        "run",
        "Begin edits of the generator with inverted real faces of the cell's labels, which keep their labels.",
    )
    keep: tuple[str, ...] = _setting(
        (), "run", "Attributes, labelled or measured, that edits must leave unchanged.", strict=False
    )
    extrapolate: bool = _setting(
        False,
        "run",
        "Where morphs end short, move faces of the bin above or below in a labelled number, such as age, along what "
        "the number changes.",
    )
    embedder: str | None = _setting(
        None,
        "run",
        "What measures whether a morph is a new person: dlib, a plug-in's name, or none. Default: dlib where the extra "
        "identity is installed.",
    )
    allow_same_identity: bool = _setting(
        False, "run", "Keep morphs that show the person of a photograph that they were made from."
    )
    seed: int = _setting(
        0, "run", "Everything random comes from it: the same seed gives the same samples.", ge=0, lt=2**32
    )
    device: str = _setting("cpu", "run", "Where to compute: cpu, cuda, cuda:1 ...")
    workers: int | None = _setting(
        None,
        "run",
        "Threads on a CPU; they do not change the samples. Default: one for each processor. A GPU has one thread.",
        ge=1,
    )
    executor: str = _setting(
        "local",
        "run",
        "Where the work is done, which changes no result: local (here), ray (a Ray cluster) or, for balance alone, "
        "folder (by faceaug worker, over a shared output folder) or a plug-in's name.",
    )
    address: str | None = _setting(
        None,
        "run",
        "The Ray cluster: its address, or auto for the one that runs on this machine. Default: one that is started for "
        "the command.",
    )
    worker_timeout: float = _setting(
        60.0,
        "run",
        "The executor folder: seconds without a sign of life after which a worker is taken for lost; a worker gives "
        "twelve in that time. More where machines see each other's files late.",
        ge=1,
        le=86_400,
    )
    batch_size: int = _setting(64, "run", "Images computed together; it does not change the samples.", ge=1)
    tries: int = _setting(
        8,
        "run",
        "Attempts allowed for each planned sample before its cell ends short. A cell ends earlier when another sample "
        "would cost more than twice as many.",
        ge=1,
    )
    origins: int = _setting(
        16, "run", "Surveyed or mixed latents among which an attempt takes the one that needs the shortest edit.", ge=1
    )
    corrections: int = _setting(
        5, "run", "Corrections of an edit after its first step; at most 3 where it begins with a surveyed face.", ge=0
    )
    survey_samples: int = _setting(8192, "run", "Generated faces on which directions are fitted.", ge=256)
    max_uses: int | None = _setting(
        None,
        "run",
        "The largest number of samples that one real face may take part in. Default: "
        f"{USES_IN_MORPHS} with the engines auto and morph, else {USES}.",
        ge=1,
    )
    donors: int = _setting(1, "run", "Real faces whose features a morph mixes into those of its host.", ge=1, le=3)
    harmonize: bool = _setting(
        True, "output", "Give samples the size, colour, sharpness, noise and codec quality of the data set's images."
    )
    image_format: Literal["png", "jpeg", "webp"] | None = _setting(
        None, "output", "Codec of the samples. Default: that of the data set."
    )
    layout: Literal["blob", "raw"] = _setting("blob", "output", "Encoded images in the shards, or plain pixels.")
    keep_refused: bool = _setting(
        True,
        "output",
        "Keep two refused pictures of each cell and reason for the report, in refused.parquet; none that was refused "
        "as a copy.",
    )
    report: bool = _setting(True, "output", "Write report.html, a page to look at.")
    thresholds: AcceptanceThresholds = Field(default=AcceptanceThresholds(), description="Thresholds of the gates.")

    @property
    def worker_threads(self) -> int:
        """Number of threads that compute blocks."""
        if not self.device.startswith("cpu"):
            return 1  # a GPU has one queue; blocks still overlap with writing
        return worker_count(self.workers)

    @property
    def uses_limit(self) -> int:
        """Number of samples that one real face may take part in."""
        return self.max_uses or (USES_IN_MORPHS if {"auto", "morph"} & set(self.engines) else USES)

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines in `engine`, in their order."""
        return tuple(name.strip() for name in self.engine.split(","))

    def changed(self, names: frozenset[str]) -> list[str]:
        """Return those of the settings `names` that differ from their default, in the order of the fields."""
        fields = type(self).model_fields
        return [name for name in fields if name in names and getattr(self, name) != fields[name].default]

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, without what is identified by its hash, and without `OF_MACHINES`."""
        return self.model_dump(mode="json", exclude={*HASHED_INPUTS, *OF_MACHINES})


HASHED_INPUTS = frozenset({"generator", "directions", "reconstruction", "candidates", "candidate_labels"})
"""Settings that name models and images; a run identifies these by the hash of their content."""
OF_MACHINES = frozenset({"address", "worker_timeout"})
"""Settings that tell of the machines of a run, and nothing of its samples; outputs do not name them."""


def section_of(name: str) -> Section:
    """Return the section of a recipe in which a setting of `RunConfig` stands."""
    extra = RunConfig.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    section: Any = extra["section"]
    name_of_section: Section = section
    return name_of_section
