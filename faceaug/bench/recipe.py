"""The recipe of an experiment: data, task, groups, what is thinned, model, training and arms, checked as a whole."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from faceaug.bench.drawn.drawn_data import DrawnData
from faceaug.errors import UsageError
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig, Share
from faceaug.utils.documents import StrictSection, read_sections
from faceaug.utils.files import expanded
from faceaug.utils.text import shown

BENCH_RECIPE_FORMAT = "faceaug-experiment"
FEATURES_MODEL, RESNET_MODEL, TIMM_PREFIX = "features", "resnet", "timm:"
NOT_DECISIVE = ("about", "data", "cost", "arms", "seeds", "selection", "full", "form", "output")
"""Keys that do not decide the result of one arm and seed (runs hold both selections)."""
SET_BY_BENCH = (
    "engine",
    "seed",
    "report",
    "device",
    "workers",
    "executor",
    "address",
    "worker_timeout",
    "thresholds",
)
"""Settings of a synthesis that the experiment decides itself."""

_Positive = Annotated[int, Field(ge=1)]
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class BenchData(StrictSection):
    """The data set of the experiment."""

    path: str = Field(description="The data set; `${NAME}` stands for an environment variable.")
    labels: str | None = Field(default=None, description="Labels: CSV, TSV or Parquet, a row an image.")
    reader: str = Field(default="auto", description="The layout of the data set.")
    file_column: str | None = Field(default=None, description="The column of file names in the labels.")
    most: _Positive | None = Field(
        default=None, description="Use at most this many faces, drawn at random, the same for all seeds."
    )
    aligned: bool = Field(
        default=False, description="View and light are measured without a search for faces, where they are measured."
    )


class BenchSplit(StrictSection):
    """How the data set is divided. Near-duplicates go to one part; each seed draws its own division."""

    train: Share = Field(default=0.6, description="Share of the faces to train on.")
    validation: Share = Field(default=0.2, description="Share of the faces on which models are selected.")
    test: Share = Field(default=0.2, description="Share of the faces that decide.")
    own: bool = Field(
        default=False, description="Use the splits of the data set (train, val, test) instead of these shares."
    )
    duplicate_bits: int = Field(
        default=AcceptanceThresholds().duplicate_bits,
        ge=0,
        le=16,
        description="Pictures whose perceptual hashes differ in at most this many of 64 bits are near-duplicates.",
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> BenchSplit:
        if self.own and {"train", "validation", "test"} & self.model_fields_set:
            raise ValueError("own uses the splits of the data set, and the shares do nothing with it: leave them out")
        shares = (self.train, self.validation, self.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"train, validation and test are {', '.join(map(str, shares))}; each must be above 0, and their sum 1"
            )
        return self


class ThinnedGroup(StrictSection):
    """A group of which the training part keeps a share or a count of faces, drawn by the seed."""

    by: str = Field(description="A column, or a column with bins as for `--by`: `ethnicity`, `yaw:-90/-15/15/90`.")
    levels: list[str] = Field(min_length=1, description="Its labels or bins that make up the group.")
    share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Share of the training part that the group has afterwards."
    )
    count: _Positive | None = Field(default=None, description="Number of its training faces that are kept.")

    @pydantic.model_validator(mode="after")
    def _check(self) -> ThinnedGroup:
        if (self.share is None) == (self.count is None):
            raise ValueError("give either share or count: how many training faces the group keeps")
        return self


class BenchModel(StrictSection):
    """What is trained."""

    name: str = Field(
        default=FEATURES_MODEL,
        description="`features` (frozen EfficientNet-Lite0 features, of the extra evaluate), `resnet` (a small ResNet "
        "that is trained from nothing), or `timm:NAME` (a network of timm, where it is installed).",
    )
    head: Literal["linear", "hidden"] = Field(
        default="linear", description="On features: one linear layer, or a hidden layer of 256 units before it."
    )
    side: Annotated[int, Field(ge=16, le=512)] | None = Field(
        default=None, description="Side in pixels of the images of a network. Default: 64. Features have their own."
    )
    pretrained: bool = Field(default=False, description="Begin with the weights that timm downloads.")

    @pydantic.model_validator(mode="after")
    def _check(self) -> BenchModel:
        timm = self.name.startswith(TIMM_PREFIX)
        if self.name not in (FEATURES_MODEL, RESNET_MODEL) and not (timm and self.name != TIMM_PREFIX):
            raise ValueError(f"name is {shown(self.name)}; there are features, resnet and timm:NAME")
        if self.head != "linear" and self.name != FEATURES_MODEL:
            raise ValueError(f"head is for the model features, and does nothing with {shown(self.name)}: leave it out")
        if self.side is not None and self.name == FEATURES_MODEL:
            raise ValueError("side is for networks that read images, and does nothing with features: leave it out")
        if self.pretrained and not timm:
            raise ValueError(
                f"pretrained is for models of timm, and does nothing with {shown(self.name)}: leave it out"
            )
        return self


class BenchTraining(StrictSection):
    """How every arm is trained: the same steps and the same number of trials for each."""

    steps: int = Field(default=1000, ge=1, description="Steps of one training, all stages of an arm together.")
    batch_size: _Positive = Field(default=64, description="Faces of a step.")
    lr: float = Field(default=2e-3, gt=0, description="The largest learning rate of the first trial.")
    weight_decay: float = Field(default=0.05, ge=0, description="Of AdamW.")
    trials: int = Field(
        default=3,
        ge=1,
        le=16,
        description="Trainings that each arm may use for each seed: other learning rates, or shares of synthetic faces "
        "for the arms `ENGINE:chosen`. Validation selects among them.",
    )
    augment: bool = Field(
        default=False,
        description="Vary framing, exposure, colour and sharpness of the faces in every arm, as `photometric` does.",
    )
    offsets: bool = Field(
        default=False,
        description="Add to the logits of each class, in every arm, what gives the best mean recall on the validation "
        "part. A class of few faces is otherwise named too rarely, which hides what an arm has learnt of it.",
    )
    evaluations: int = Field(
        default=10, ge=1, description="How often a training is evaluated on the validation part; the best is taken."
    )
    device: str = Field(default="cpu", description="Where networks compute: cpu, cuda ...")


class BenchSynthesis(StrictSection):
    """What the arms of faceaug synthesize from the training part, and how they use it."""

    strategy: str | None = Field(
        default=None, description="Sampling strategy of the plan: `uniform`, `min:N`. Or give `each`."
    )
    each: _Positive | None = Field(default=None, description="So many samples for every cell that has real faces.")
    max_synthetic_ratio: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="At most so many samples for each real training face."
    )
    max_per_cell: _Positive | None = Field(default=None, description="At most so many samples in a cell.")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="Share of synthetic faces in the draws of every cell that has some."
    )
    settings: dict[str, Any] = Field(
        default={}, description="Settings of `faceaug balance`, such as `tries: 4` (docs/configuration.md)."
    )
    thresholds: dict[str, Any] = Field(default={}, description="Thresholds of the gates.")

    @pydantic.model_validator(mode="after")
    def _check(self) -> BenchSynthesis:
        if self.strategy is not None and self.each is not None:
            raise ValueError("strategy and each both say how many samples there are; give one of them")
        for name in SET_BY_BENCH:
            if name in self.settings:
                raise ValueError(f"settings.{name} is set by the experiment; leave it out")
        try:
            self.run_config("auto", 0)
        except UsageError as error:
            raise ValueError(f"settings or thresholds cannot be used: {error}") from error
        return self

    def run_config(self, engine: str, seed: int, device: str = "cpu") -> RunConfig:
        """Return the configuration of a synthesis.

        Raises
        ------
        UsageError
            When a setting or a threshold is unknown, or a value is out of its bounds.
        """
        thresholds = AcceptanceThresholds(**self.thresholds)
        return RunConfig(**self.settings, engine=engine, seed=seed, device=device, report=False, thresholds=thresholds)


def _kind_of_data(content: Any) -> str:
    """Return which section describes a data set: that of a closed world names a generator."""
    drawn = isinstance(content, DrawnData) or (isinstance(content, dict) and "generator" in content)
    return "DrawnData" if drawn else "BenchData"


class ExperimentRecipe(StrictSection):
    """The whole file."""

    format: Literal["faceaug-experiment"] = "faceaug-experiment"
    version: Literal[1] = 1
    about: str = Field(default="", description="What is asked, in one line.")
    data: str = Field(default="", description="What data it needs, in a few words.")
    cost: str = Field(default="", description="How long it takes, in a few words.")
    dataset: Annotated[
        Annotated[BenchData, pydantic.Tag("BenchData")] | Annotated[DrawnData, pydantic.Tag("DrawnData")],
        pydantic.Discriminator(_kind_of_data),
    ] = Field(description="The data set of the experiment: files, or drawn from a generator.")
    split: BenchSplit = BenchSplit()
    imbalance: list[ThinnedGroup] = Field(default=[], description="Groups that are thinned in the training part.")
    task: str | list[str] = Field(description="The column that the model learns, or several; numbers need bins.")
    groups: str | list[str] = Field(description="Columns whose combinations are the groups of the metrics.")
    model: BenchModel = BenchModel()
    training: BenchTraining = BenchTraining()
    synthesis: BenchSynthesis = BenchSynthesis()
    arms: list[str] = Field(min_length=1, description="What is compared; see docs/bench.md.")
    seeds: Annotated[int, Field(ge=1, le=1000)] | list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        default=3, description="Repetitions: a number N for the seeds 0 to N-1, or a list of seeds."
    )
    selection: Literal["worst_group", "average"] = Field(
        default="worst_group",
        description="By which accuracy on validation the models of the table are selected; results.json has both.",
    )
    form: Literal["quick", "full"] = Field(
        default="quick", description="`full` takes the keys under `full:` over those above."
    )
    full: dict[str, Any] = Field(default={}, description="Keys of the full form, which override the others.")
    output: str | None = Field(default=None, description="The output folder.")

    @pydantic.model_validator(mode="after")
    def _check(self) -> ExperimentRecipe:
        for name, values in (("arms", self.arms), ("seeds", self.seed_list)):
            twice = next((value for value in values if list(values).count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"{name} names {shown(twice)} twice; name each once")
        if not self.seed_list:
            raise ValueError("seeds is empty; give at least one seed")
        return self

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the repetitions."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def task_specs(self) -> list[str]:
        """The columns of the task, with their bins."""
        return [self.task] if isinstance(self.task, str) else list(self.task)

    @property
    def group_specs(self) -> list[str]:
        """The columns of the groups, with their bins."""
        return [self.groups] if isinstance(self.groups, str) else list(self.groups)

    def decisive(self) -> dict[str, Any]:
        """Return what decides the results of an arm and a seed, as JSON values."""
        return self.model_dump(mode="json", exclude=set(NOT_DECISIVE))


def parse_experiment(content: Any, what: str) -> ExperimentRecipe:
    """Check the content of a recipe, in both its forms; `what` names it in errors.

    Raises
    ------
    UsageError
        When a key is unknown (the nearest is named), or a value is of the wrong kind.
    """
    recipe = read_sections(ExperimentRecipe, content, what)
    if recipe.full:
        merged = read_sections(ExperimentRecipe, _merged(content, recipe.full), f"{what}, in its full form,")
        recipe = merged if recipe.form == "full" else recipe
    return recipe


def with_overrides(content: dict[str, Any], overrides: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    """Return the content of a recipe in the form that is asked for, with other values at some keys.

    Parameters
    ----------
    content : dict
    overrides : list of (str, value)
        The key with dots, such as "training.steps" or "imbalance.0.share", and its value. Those of `full:` come before
        them.
    what : str
        Names the recipe in errors.

    Raises
    ------
    UsageError
        When a key leads through a value that has no keys.
    """
    form = next((value for key, value in reversed(overrides) if key == "form"), content.get("form"))
    full = content.get("full")
    if form == "full" and isinstance(full, dict):
        parse_experiment(content, what)
        content = {key: value for key, value in _merged(content, full).items() if key != "full"}
    result: Any = content
    for key, value in overrides:
        result = _with_value(result, key.split("."), value, f"{what} cannot take --set {key}")
    changed: dict[str, Any] = result
    return changed


def _with_value(content: Any, keys: list[str], value: Any, what: str) -> Any:
    """Return a copy of a nest of mappings and lists with another value at a place."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if content is None or isinstance(content, dict):
        content = content or {}
        return {**content, key: _with_value(content.get(key), rest, value, what)}
    if isinstance(content, list) and key.isdigit() and int(key) < len(content):
        place = int(key)
        return [*content[:place], _with_value(content[place], rest, value, what), *content[place + 1 :]]
    raise UsageError(f"{what}: {shown(key)} is no key there, since the recipe has {shown(content)} in its place")


def _merged(content: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with the values of another one over its own, section by section."""
    result = dict(content)
    for key, value in over.items():
        own = result.get(key)
        result[key] = _merged(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return result


def expand_path(text: str, folder: Path, key: str) -> Path:
    """Return a path of a recipe with its environment variables filled in; a relative one is meant from `folder`.

    Raises
    ------
    UsageError
        When a variable is not set.
    """
    for name in _VARIABLE.findall(text):
        if not os.environ.get(name):
            raise UsageError(
                f"{key} is {shown(text)}, and the environment variable {name} is not set: set it to the folder of the "
                f"data, or give --set {key}=PATH"
            )
    return folder / expanded(_VARIABLE.sub(lambda found: os.environ[found[1]], text))
