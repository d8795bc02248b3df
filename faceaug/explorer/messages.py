"""What pages send and get, checked at the border."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from starlette.requests import Request

from faceaug.errors import UsageError
from faceaug.explorer.guard import MOST_JSON_BYTES, body_of
from faceaug.explorer.meters import MeterReading
from faceaug.utils.text import one_line

_Count = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]
_Name = Annotated[str, pydantic.Field(max_length=200)]
_Values = Annotated[dict[_Name, float], pydantic.Field(max_length=500)]


class _Message(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FaceMessage(_Message):
    """An edit of a generated face; with `save` its picture is saved, with `save_recipe` a recipe for faces like it."""

    seed: _Count
    values: _Values = {}
    keep: bool = True
    settle: bool = False
    save: _Name | None = None
    save_recipe: _Name | None = None


class PhotographMessage(_Message):
    """An edit of a photograph that was loaded."""

    photograph: _Count
    change: _Values = {}
    donor: _Count | None = None
    share: float = 0.0
    measure: bool = False
    save: _Name | None = None


class PlanMessage(_Message):
    """A plan to be drawn; with `save_plan` or `save_recipe` it is saved."""

    by: Annotated[str, pydantic.Field(max_length=2_000)]
    strategy: Annotated[str, pydantic.Field(max_length=500)] = "uniform"
    max_synthetic_ratio: Annotated[float, pydantic.Field(ge=0)] | None = None
    max_per_cell: _Count | None = None
    max_total: _Count | None = None
    save_plan: _Name | None = None
    save_recipe: _Name | None = None


class CellMessage(_Message):
    """A page of the faces of a cell; `by` for a data set."""

    cell: _Count
    page: _Count = 0
    by: Annotated[str, pydantic.Field(max_length=2_000)] = ""


_Received = TypeVar("_Received", bound=_Message)


async def received(request: Request, model: type[_Received]) -> _Received:
    """Return the message of a request.

    Raises
    ------
    UsageError
        When it is no such message.
    """
    try:
        return model.model_validate_json(await body_of(request, MOST_JSON_BYTES))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = one_line(".".join(map(str, first["loc"]))) if first["loc"] else "the request"
        raise UsageError(f"{where}: {one_line(first['msg'])}") from error


def data_url(data: bytes, kind: str) -> str:
    """Return an encoded image of the kind "png" or "jpeg" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def meter_values(meters: tuple[MeterReading, ...]) -> list[dict[str, Any]]:
    """Return meters as JSON values."""
    return [{**vars(meter), "passes": meter.passes} for meter in meters]


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return values by name, with as many digits as a page can show."""
    return {name: round(value, 4) for name, value in values.items()}
