"""What the pages of data sets and output folders ask for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from faceaug.explorer.cells import DatasetCells, FacePage, OutputCells, PlanWish, axes_of_map
from faceaug.explorer.messages import CellMessage, PlanMessage, received
from faceaug.explorer.saving import SaveFolder

_LIMITS = ("max_synthetic_ratio", "max_per_cell", "max_total")


def dataset_routes(cells: DatasetCells, saved: SaveFolder, generator: Mapping[str, Any]) -> list[BaseRoute]:
    """Return the routes of a data set; `generator` is that section of the recipes that are saved."""

    async def plan(request: Request) -> Response:
        message = await received(request, PlanMessage)
        limits = {name: value for name in _LIMITS if (value := getattr(message, name)) is not None}
        wish = PlanWish(message.by, message.strategy, **limits)
        planned = await run_in_threadpool(cells.plan, wish)
        answer: dict[str, Any] = dict(
            axes=axes_of_map(planned.axes),
            cells=[dict(real=cell.real, wanted=cell.wanted, planned=cell.planned) for cell in planned.cells],
            totals=planned.totals,
            notes=list(planned.notes),
            command=plan_command(cells.place, wish),
        )
        if message.save_plan is not None:
            answer["saved"] = str(saved.plan(message.save_plan, planned))
        if message.save_recipe is not None:
            wished = dict(by=wish.by, strategy=wish.strategy, **limits)
            content = dict(dataset=cells.place, plan=wished, generator=generator)
            answer["saved"] = str(saved.recipe(message.save_recipe, content))
        return JSONResponse(answer)

    async def faces(request: Request) -> Response:
        message = await received(request, CellMessage)
        page = await run_in_threadpool(cells.faces, message.by, message.cell, message.page)
        return JSONResponse(_faces(page, "dataset", cells.facts))

    async def picture(request: Request) -> Response:
        data = await run_in_threadpool(cells.thumbnail, int(request.path_params["row"]))
        return Response(data, media_type="image/jpeg")

    return [
        Route("/dataset/plan", plan, methods=["POST"]),
        Route("/dataset/faces", faces, methods=["POST"]),
        Route("/dataset/{row:int}.jpg", picture),
    ]


def output_routes(output: OutputCells) -> list[BaseRoute]:
    """Return the routes of an output folder; its real faces come by those of the data set."""

    async def cells(request: Request) -> Response:
        records = [
            dict(real=cell.real, planned=cell.planned, accepted=cell.accepted, short=cell.short, note=cell.note)
            | dict(rejected=dict(cell.rejected))
            for cell in output.manifest.cells
        ]
        return JSONResponse(dict(axes=axes_of_map(output.axes), cells=records))

    async def faces(request: Request) -> Response:
        message = await received(request, CellMessage)
        answer = _faces(output.faces(message.cell, message.page), "output", output.facts)
        if output.real is not None:
            real = output.real_faces(message.cell, message.page)
            answer["real"] = _faces(real, "dataset", output.real.facts)
        return JSONResponse(answer)

    async def picture(request: Request) -> Response:
        data = await run_in_threadpool(output.thumbnail, int(request.path_params["row"]))
        return Response(data, media_type="image/jpeg")

    return [
        Route("/output/cells", cells),
        Route("/output/faces", faces, methods=["POST"]),
        Route("/output/{row:int}.jpg", picture),
    ]


def _faces(page: FacePage, folder: str, facts: Callable[[int], dict[str, str]]) -> dict[str, Any]:
    """Return a page of faces with the addresses of their pictures."""
    return dict(total=page.total, faces=[dict(src=f"{folder}/{row}.jpg", facts=facts(row)) for row in page.rows])


def plan_command(place: Mapping[str, Any], wish: PlanWish) -> str:
    """Return the command that gives the same plan."""
    words = ["faceaug", "plan", str(place["path"])]
    for key, value in place.items():
        if key == "path":
            continue
        flag = f"--{key.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        words += [flag] if value is True else [word for each in values for word in (flag, str(each))]
    words += ["--by", wish.by, "--strategy", wish.strategy]
    for name in _LIMITS:
        if (value := getattr(wish, name)) is not None:
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
