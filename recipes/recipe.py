"""A recipe: a whole run in one YAML file, checked before anything runs.

The keys of a run are made from `faceaug.synthesis.config`; docs/configuration.md lists them all, and
`recipe.schema.json` beside this file is their JSON Schema (``python -m faceaug.recipes.recipe`` writes it anew).

>>> recipe = parse({"plan": {"by": "gender", "max_total": 500}, "run": {"seed": 7}}, "an example")
>>> recipe.options()
{'by': ['gender'], 'max_total': 500, 'seed': 7}
>>> parse({"plan": {"max_totl": 500}}, "an example")
Traceback (most recent call last):
    ...
faceaug.errors.UsageError: an example has an unknown key plan.max_totl; did you mean 'max_total'?
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from faceaug.errors import UsageError
from faceaug.places.filesystems import is_url
from faceaug.planning.marginals import SHARES_SUFFIXES
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig, Section, section_of
from faceaug.utils.documents import DOCUMENTS, StrictSection, load_document, read_sections
from faceaug.utils.files import expanded, write_json
from faceaug.utils.text import nearest, shown

SUFFIXES = (".yaml", ".yml")
SCHEMA_NAME = "recipe.schema.json"
EXPERIMENTS = "experiments"
"""The folder of the recipes of experiments, beside this file."""
_EXPERIMENT_FORMATS = ("faceaug-experiment", "faceaug-direction-experiment")

_Count = Annotated[int, pydantic.Field(ge=0)]
_NotNegative = Annotated[float, pydantic.Field(ge=0)]
_IN_FILES = {
    **dict.fromkeys(("generator", "directions", "reconstruction", "candidates", "candidate_labels"), str),
    "keep": str | list[str],
}
"""How a file writes settings that Python gives as objects or tuples."""
_KEYS = {"generator": "name"}
"""Keys of settings that are called otherwise in their section."""


def _optional(model: type[pydantic.BaseModel], name: str) -> Any:
    """Return a field of a configuration as a key that may be left out."""
    field = model.model_fields[name]
    annotation: Any = _IN_FILES.get(name, field.annotation)
    bounded = Annotated[(annotation, *field.metadata)] if field.metadata and name not in _IN_FILES else annotation
    return bounded | None, pydantic.Field(default=None, description=field.description)


def _settings_in(section: Section) -> dict[str, Any]:
    """Return the settings of a run that stand in a section, by their keys there."""
    names = [name for name in RunConfig.model_fields if name != "thresholds" and section_of(name) == section]
    return {_KEYS.get(name, name): _optional(RunConfig, name) for name in names}


def _key(description: str) -> Any:
    return pydantic.Field(default=None, description=description)


class _Data(StrictSection):
    """The data set; see `faceaug.load_dataset`."""

    path: str | None = _key("The data set.")
    labels: str | list[str] | None = _key("Labels: CSV, TSV or Parquet, a row an image; several are joined.")
    reader: str | None = _key("The layout of the data set; `auto` by default.")
    file_column: str | None = _key("The column of file names in the labels.")
    one_hot: str | list[str] | None = _key("One-hot columns to read as one: `gender=male,female`, or `gender`.")
    map: str | list[str] | None = _key(
        "Rules that rename and group values: `ethnicity=black|african=black,else=other`, `age=<13=child,else=adult`."
    )
    follow_links: bool | None = _key("Admit links in a folder of images that lead to images elsewhere.")
    split: str | None = _key("The split to use, or `all`; the training part by default.")
    strict: bool | None = _key("Stop if any image or label has to be left out.")
    check: Literal["decode", "header", "none"] | None = _key("How every image is checked before it is counted.")


class PlanSection(StrictSection):
    """What to count by and what to reach; see `faceaug.plan`."""

    by: str | list[str] | None = _key("What to count by: `gender,ethnicity`, `age:5`, `yaw:-90/-25/25/90`.")
    marginal: str | list[str] | None = _key(
        "Instead of `by` and `strategy`: attributes that shall each be even, or have shares, with the fewest samples: "
        "`gender`, `gender,age:5`, `gender=female:0.6,male:0.4`, `gender=FILE`."
    )
    minimum: _Count | None = _key("Of `analyze`: cells with fewer faces are listed.")
    strategy: str | None = _key("`uniform`, `uniform-within:COL`, `match:FILE`, `min:N`, or a file of counts.")
    max_synthetic_ratio: _NotNegative | None = _key("At most so many samples for each real face, over the whole set.")
    max_per_cell: _Count | None = _key("At most so many samples in a cell.")
    max_total: _Count | None = _key("At most so many samples in all.")
    file: str | None = _key("A plan that exists already, instead of the keys above.")


class _Run(StrictSection):
    """How the work is done; see `faceaug.RunConfig`."""

    require_full: bool | None = _key("Exit with status 1 if any cell ends short of its plan.")


class _Output(StrictSection):
    """What is written."""

    path: str | None = _key("The output folder.")


DatasetSection = pydantic.create_model(
    "DatasetSection", __base__=_Data, __doc__=_Data.__doc__, **_settings_in("dataset")
)
GeneratorSection = pydantic.create_model(
    "GeneratorSection",
    __base__=StrictSection,
    __doc__="The generator and how it is sampled.",
    **_settings_in("generator"),
)
ThresholdsSection = pydantic.create_model(
    "ThresholdsSection",
    __base__=StrictSection,
    __doc__="Thresholds of the gates.",
    **{name: _optional(AcceptanceThresholds, name) for name in AcceptanceThresholds.model_fields},
)
RunSection = pydantic.create_model("RunSection", __base__=_Run, __doc__=_Run.__doc__, **_settings_in("run"))
OutputSection = pydantic.create_model(
    "OutputSection", __base__=_Output, __doc__=_Output.__doc__, **_settings_in("output")
)


class Recipe(StrictSection):
    """The whole file; every section and every key may be left out."""

    format: Literal["faceaug-recipe"] = "faceaug-recipe"
    version: Literal[2] = 2
    about: str = ""
    data: str = ""
    cost: str = ""
    dataset: DatasetSection = DatasetSection()  # type: ignore[valid-type]
    plan: PlanSection = PlanSection()
    generator: GeneratorSection = GeneratorSection()  # type: ignore[valid-type]
    thresholds: ThresholdsSection = ThresholdsSection()  # type: ignore[valid-type]
    run: RunSection = RunSection()  # type: ignore[valid-type]
    output: OutputSection = OutputSection()  # type: ignore[valid-type]

    def options(self) -> dict[str, Any]:
        """Return what the recipe gives of the command line's options, by their names there, but for the thresholds."""
        options: dict[str, Any] = {}
        for section in ("dataset", "plan", "generator", "run", "output"):
            given = getattr(self, section).given()
            options |= {_OPTION_OF.get((section, key), key): value for key, value in given.items()}
        for name in ("by", "marginal", "keep", "labels", "one_hot", "map"):
            if isinstance(options.get(name), str):
                options[name] = [options[name]]
        return options


_OPTION_OF = {
    ("dataset", "path"): "source",
    ("plan", "file"): "plan_file",
    ("generator", "name"): "generator",
    ("output", "path"): "out",
}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes."""
    return Recipe.model_json_schema()


def load(name: str) -> Recipe:
    """Read a recipe, by its path or by the name of one that comes with faceaug.

    Relative paths in it are meant from the folder in which the recipe lies, and are returned so resolved; URLs stay.

    Raises
    ------
    UsageError
        When there is no such recipe, it is of an older version, a key is unknown (the nearest is named), or a value is
        of the wrong kind.
    """
    path = find(name)
    recipe = parse(load_document(path, "the recipe"), f"the recipe {path}")
    return _from_folder(recipe, path.parent)


def find(name: str) -> Path:
    """Return the path of a recipe; a name without suffix that is no file is looked up among those of the package."""
    path = Path(name)
    if path.is_file() or path.suffix.lower() in SUFFIXES:
        return path
    own = own_recipes()
    if name in own:
        return own[name]
    raise UsageError(
        f"there is no recipe {shown(name)}; {nearest(name, sorted(own))} (or give the path of a .yaml file)"
    )


def own_recipes() -> dict[str, Path]:
    """Return the paths of the recipes that come with faceaug by their names, those of experiments among them."""
    folders = [place for folder in _own_folders() for place in (folder, folder / EXPERIMENTS)]
    return {found.stem: found for folder in folders for found in sorted(folder.glob("*.yaml"))}


def parse(content: Any, what: str) -> Recipe:
    """Check the content of a recipe; `what` names it in errors. See `load`."""
    if isinstance(content, dict) and content.get("format") in _EXPERIMENT_FORMATS:
        raise UsageError(f"{what} is of an experiment, not of a run; give it to faceaug bench")
    if isinstance(content, dict) and (
        content.get("version") in (1, "1") or {"gates", "target"} & content.keys()  # sections of version 1
    ):
        raise UsageError(
            f"{what} is of version 1, and this faceaug reads version 2: some keys have other names now, listed in "
            "docs/configuration.md; rename them and set version: 2"
        )
    return read_sections(Recipe, content, what)


def _own_folders() -> list[Path]:
    found = importlib.util.find_spec("faceaug.recipes")  # installed; a bare checkout has the folder beside the package
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    return folders or [Path(__file__).resolve().parent.parent / "recipes"]


def _from_folder(recipe: Recipe, folder: Path) -> Recipe:
    """Resolve the relative paths of a recipe that lies in `folder`."""

    def rebased(text: str | None) -> str | None:
        return text if text is None or is_url(text) else str(folder / expanded(text))

    dataset: Any = recipe.dataset
    strategy = recipe.plan.strategy
    if strategy is not None and strategy.startswith("match:"):
        strategy = f"match:{rebased(strategy.removeprefix('match:').strip())}"
    elif strategy is not None and Path(strategy).suffix.lower() in DOCUMENTS:
        strategy = rebased(strategy)
    marginal = recipe.plan.marginal
    if marginal is not None:
        marginal = [_with_file(text, rebased) for text in ([marginal] if isinstance(marginal, str) else marginal)]
    generator: Any = recipe.generator
    name = generator.name
    if name is not None and ("/" in name or name.endswith(".safetensors")):
        name = rebased(name)
    run: Any = recipe.run
    output: Any = recipe.output
    files = ("path", "reconstruction")
    labels = [dataset.labels] if isinstance(dataset.labels, str) else dataset.labels
    return recipe.model_copy(
        update={
            "dataset": dataset.model_copy(
                update={key: rebased(getattr(dataset, key)) for key in files}
                | {"labels": None if labels is None else [str(rebased(file)) for file in labels]}
            ),
            "plan": recipe.plan.model_copy(
                update={"strategy": strategy, "marginal": marginal, "file": rebased(recipe.plan.file)}
            ),
            "generator": generator.model_copy(update={"name": name, "directions": rebased(generator.directions)}),
            "run": run.model_copy(
                update={key: rebased(getattr(run, key)) for key in ("candidates", "candidate_labels")}
            ),
            "output": output.model_copy(update={"path": rebased(output.path)}),
        }
    )


def _with_file(marginal: str, rebased: Callable[[str], str | None]) -> str:
    """Return a marginal with the resolved path of its file of shares, if it names one."""
    attributes, _, shares = marginal.partition("=")
    is_file = Path(shares.strip()).suffix.lower() in SHARES_SUFFIXES
    return f"{attributes}={rebased(shares.strip())}" if is_file else marginal


if __name__ == "__main__":
    write_json(Path(__file__).with_name(SCHEMA_NAME), recipe_schema())
