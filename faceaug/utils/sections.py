"""Documents of sections and keys that people write: strictly checked, with errors that name the nearest known key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import pydantic

from faceaug.errors import UsageError
from faceaug.utils.text import MOST_SHOWN, nearest, one_line, shown


class StrictSection(pydantic.BaseModel):
    """A section of a document, or the whole of it: unknown keys and values of another type are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return the keys that the file gives (an empty one counts as not given)."""
        return {name: value for name, value in self if value is not None}


_Document = TypeVar("_Document", bound=StrictSection)


def read_sections(model: type[_Document], content: Any, what: str) -> _Document:
    """Return a document as its model; a key of the document whose value is None counts as not given.

    Parameters
    ----------
    model : type of StrictSection
    content
        Of the file, None for an empty one.
    what : str
        Names the document in errors.

    Raises
    ------
    UsageError
        When it is no mapping, a key is unknown (the nearest is named), or a value is of the wrong kind.
    """
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UsageError(
            f"{what} must be a mapping of sections ({', '.join(sections_of(model))}), but is {_kind(content)}"
        )
    try:
        return model.model_validate({key: value for key, value in content.items() if value is not None})
    except pydantic.ValidationError as error:
        # A misspelt key is named rather than the key that is missing for it.
        first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
        raise UsageError(f"{what} {_sentence(model, first)}") from error


def sections_of(model: type[StrictSection]) -> dict[str, type[StrictSection]]:
    """Return the sections of a document by their names, without lists of sections."""
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, StrictSection)
    }


def _sentence(model: type[StrictSection], error: Any) -> str:
    """Return what pydantic found wrong as the end of a sentence."""
    place: Sequence[str | int] = error["loc"]
    if error["type"] != "extra_forbidden":
        path, _ = _keys(model, place)
        where = f" at {'.'.join(path)}" if path else ""
        if error["type"] == "value_error":  # raised by a check of the model, which says what it found
            return f"is wrong{where}: {one_line(error['msg'].removeprefix('Value error, '))}"
        said = error["msg"][:1].lower() + one_line(error["msg"][1:])
        return f"is wrong{where}: {said}, but found {shown(error['input'])}"
    key = one_line(place[-1], MOST_SHOWN)
    path, section = _keys(model, place[:-1])
    hint = nearest(key, list((section or model).model_fields))
    homes = [name for name, home in sections_of(model).items() if key in home.model_fields]
    if homes and not hint.startswith("did you mean"):
        hint = f"it belongs under {' or '.join(f'{home}:' for home in homes)}"
    return f"has an unknown key {'.'.join([*path, key])}; {hint}"


def _keys(model: type[StrictSection], place: Sequence[str | int]) -> tuple[list[str], type[StrictSection] | None]:
    """Return the part of a place that names keys, and the section in which it ends, if it ends in one.

    After the keys, pydantic names the branches of a union.
    """
    path: list[str] = []
    section: type[StrictSection] | None = model
    for part in place:
        if isinstance(part, int):
            path.append(str(part))
            continue
        if section is None or part not in section.model_fields:
            break
        path.append(one_line(part, MOST_SHOWN))
        section = _section_in(section.model_fields[part].annotation)
    return path, section


def _section_in(annotation: Any) -> type[StrictSection] | None:
    """Return the section that a type is, or that it is a list or a choice of."""
    if isinstance(annotation, type) and issubclass(annotation, StrictSection):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)


def _kind(content: Any) -> str:
    return {"list": "a list", "str": "a text"}.get(type(content).__name__, shown(content))
