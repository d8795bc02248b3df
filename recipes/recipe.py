"""A recipe: a whole run in one YAML file, checked before anything runs. `recipes/README.md` lists every key.

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
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from faceaug.errors import UsageError, nearest
from faceaug.utils.documents import DOCUMENTS, load_document
from faceaug.utils.text import MOST_SHOWN, one_line, shown

SUFFIXES = (".yaml", ".yml")

_Count = Annotated[int, pydantic.Field(ge=0)]
_Positive = Annotated[int, pydantic.Field(ge=1)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1)]
_NotNegative = Annotated[float, pydantic.Field(ge=0)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return the keys that the file gives (an empty one counts as not given)."""
        return {name: value for name, value in self if value is not None}


class DatasetSection(_Section):
    """The data set; see `faceaug.load_dataset`."""

    path: str | None = None
    labels: str | None = None
    reader: str | None = None
    file_column: str | None = None
    split: str | None = None
    strict: bool | None = None
    check: Literal["decode", "header", "none"] | None = None
    reconstruction: str | None = None
    aligned: bool | None = None


class PlanSection(_Section):
    """What to count by and what to reach; see `faceaug.plan`."""

    by: str | list[str] | None = None
    minimum: _Count | None = None
    strategy: str | None = None
    max_synthetic_ratio: _NotNegative | None = None
    max_per_cell: _Count | None = None
    max_total: _Count | None = None
    file: str | None = None


class GeneratorSection(_Section):
    """What draws the faces."""

    name: str | None = None
    directions: str | None = None
    truncation: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None


class GatesSection(_Section):
    """What is refused; see `faceaug.synthesis.acceptance.gates.AcceptanceThresholds`."""

    confidence: _Share | None = None
    judge: _Share | None = None
    drift: _NotNegative | None = None
    spill: _NotNegative | None = None
    plausible: _Share | None = None
    realistic: _Share | None = None
    sound: _Share | None = None
    exposure: _Share | None = None
    duplicate_bits: Annotated[int, pydantic.Field(ge=0, le=64)] | None = None
    uncovered: _Share | None = None
    melted: _Share | None = None
    inversion: _NotNegative | None = None


class RunSection(_Section):
    """How the work is done; see `faceaug.synthesis.balance.Settings`."""

    seed: _Count | None = None
    device: str | None = None
    workers: _Positive | None = None
    batch_size: _Positive | None = None
    tries: _Positive | None = None
    candidates: _Positive | None = None
    corrections: _Count | None = None
    draws: _Positive | None = None
    keep: str | list[str] | None = None
    require_full: bool | None = None
    engine: Literal["generator", "rerender", "both"] | None = None
    uses: _Positive | None = None
    from_real: bool | None = None


class OutputSection(_Section):
    """What is written."""

    path: str | None = None
    layout: Literal["blob", "raw"] | None = None
    image_format: Literal["png", "jpeg", "webp"] | None = None
    finish: bool | None = None
    report: bool | None = None


class Recipe(_Section):
    """The whole file; every section and every key may be left out."""

    format: Literal["faceaug-recipe"] = "faceaug-recipe"
    version: Literal[1] = 1
    about: str = ""
    dataset: DatasetSection = DatasetSection()
    plan: PlanSection = PlanSection()
    generator: GeneratorSection = GeneratorSection()
    gates: GatesSection = GatesSection()
    run: RunSection = RunSection()
    output: OutputSection = OutputSection()

    def options(self) -> dict[str, Any]:
        """Return what the recipe gives of the command line's options, by their names there."""
        options = {_OPTION_OF.get(("dataset", key), key): value for key, value in self.dataset.given().items()}
        options |= {_OPTION_OF.get(("plan", key), key): value for key, value in self.plan.given().items()}
        options |= {key: value for key, value in self.run.given().items() if key not in _SETTINGS}
        options |= {_OPTION_OF.get(("output", key), key): value for key, value in self.output.given().items()}
        if self.generator.name is not None:
            options["generator"] = self.generator.name
        if self.generator.directions is not None:
            options["directions"] = self.generator.directions
        for name in ("by", "keep"):
            if isinstance(options.get(name), str):
                options[name] = [options[name]]
        return options

    def settings(self) -> dict[str, Any]:
        """Return what the recipe gives of `Settings` beyond the command line's options, but for the gates."""
        settings = {key: value for key, value in self.run.given().items() if key in _SETTINGS}
        if self.generator.truncation is not None:
            settings["truncation"] = self.generator.truncation
        return settings


_OPTION_OF = {
    ("dataset", "path"): "source",
    ("plan", "file"): "plan_file",
    ("output", "path"): "out",
}
_SETTINGS = ("candidates", "corrections", "draws", "uses")


def load(name: str) -> Recipe:
    """Read a recipe, by its path or by the name of one that comes with faceaug.

    Relative paths in it are meant from the folder in which the recipe lies, and are returned so resolved.

    Raises
    ------
    UsageError
        When there is no such recipe, a key is unknown (the nearest is named), or a value is of the wrong kind.
    """
    path = find(name)
    recipe = parse(load_document(path, "the recipe"), f"the recipe {path}")
    return _from_folder(recipe, path.parent)


def find(name: str) -> Path:
    """Return the path of a recipe; a name without suffix that is no file is looked up among those of the package."""
    path = Path(name)
    if path.is_file() or path.suffix.lower() in SUFFIXES:
        return path
    own = {found.stem: found for folder in _own_folders() for found in folder.glob("*.yaml")}
    if name in own:
        return own[name]
    raise UsageError(
        f"there is no recipe {shown(name)}; {nearest(name, sorted(own))} (or give the path of a .yaml file)"
    )


def parse(content: Any, what: str) -> Recipe:
    """Check the content of a recipe; `what` names it in errors. See `load`."""
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError(f"{what} must be a mapping of sections ({', '.join(_sections())}), but is {_kind(content)}")
    try:
        return Recipe.model_validate({key: value for key, value in content.items() if value is not None})
    except pydantic.ValidationError as error:
        raise UsageError(f"{what} {_sentence(error.errors(include_url=False)[0])}") from error


def _sentence(error: Any) -> str:
    place = [one_line(part, MOST_SHOWN) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        # pydantic names the branches of a union after the key; two levels are all that a recipe has
        where = ".".join(place[:2])
        said = error["msg"][:1].lower() + one_line(error["msg"][1:])
        return f"is wrong at {where}: {said}, but found {shown(error['input'])}"
    key, section = place[-1], place[:-1]
    known = list(_sections()[section[0]].model_fields) if section else list(Recipe.model_fields)
    hint = nearest(key, known)
    homes = [name for name, model in _sections().items() if key in model.model_fields]
    if homes and not hint.startswith("did you mean"):
        hint = f"it belongs under {' or '.join(f'{home}:' for home in homes)}"
    return f"has an unknown key {'.'.join(place)}; {hint}"


def _sections() -> dict[str, type[_Section]]:
    return {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
    }


def _kind(content: Any) -> str:
    return {"list": "a list", "str": "a text"}.get(type(content).__name__, shown(content))


def _own_folders() -> list[Path]:
    found = importlib.util.find_spec("faceaug.recipes")  # installed; a bare checkout has the folder beside the package
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    return folders or [Path(__file__).resolve().parent.parent / "recipes"]


def _from_folder(recipe: Recipe, folder: Path) -> Recipe:
    """Resolve the relative paths of a recipe that lies in `folder`."""

    def rebased(text: str | None) -> str | None:
        return None if text is None else str(folder / Path(text).expanduser())

    files = ("path", "labels", "reconstruction")
    dataset = recipe.dataset.model_copy(update={name: rebased(getattr(recipe.dataset, name)) for name in files})
    strategy = recipe.plan.strategy
    if strategy is not None and strategy.startswith("match:"):
        strategy = f"match:{rebased(strategy.removeprefix('match:').strip())}"
    elif strategy is not None and Path(strategy).suffix.lower() in DOCUMENTS:
        strategy = rebased(strategy)
    name = recipe.generator.name
    if name is not None and ("/" in name or name.endswith(".safetensors")):
        name = rebased(name)
    return recipe.model_copy(
        update={
            "dataset": dataset,
            "plan": recipe.plan.model_copy(update={"strategy": strategy, "file": rebased(recipe.plan.file)}),
            "generator": recipe.generator.model_copy(
                update={"name": name, "directions": rebased(recipe.generator.directions)}
            ),
            "output": recipe.output.model_copy(update={"path": rebased(recipe.output.path)}),
        }
    )
