"""What the pages of generated faces and of photographs ask for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

import torch
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from faceaug.errors import UsageError
from faceaug.explorer.cells import DatasetCells
from faceaug.explorer.generated import EditedFace, FaceEdit, GeneratedFaces
from faceaug.explorer.guard import body_of
from faceaug.explorer.messages import (
    FaceMessage,
    PhotographMessage,
    data_url,
    meter_values,
    received,
    rounded,
)
from faceaug.explorer.photographs import (
    MOST_BYTES,
    EditedPhotograph,
    LoadedPhotograph,
    PhotographEdit,
    PhotographEditor,
)
from faceaug.explorer.saving import SaveFolder
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import Rgb, encode

_PHOTOGRAPHS_KEPT = 6
_PREVIEW_QUALITY = 95

_Result = TypeVar("_Result")
# One picture is computed at a time, by one thread of torch: the last bits then do not depend on the machine's load.
_computing = ThreadPoolExecutor(1, "faceaug-explorer", initializer=lambda: torch.set_num_threads(1))


async def computed(task: Callable[[], _Result]) -> _Result:
    """Return the result of a task, which is computed when those before it are."""
    return await asyncio.get_running_loop().run_in_executor(_computing, task)


def face_routes(
    faces: GeneratedFaces, saved: SaveFolder, dataset: DatasetCells | None, generator: Mapping[str, Any]
) -> list[BaseRoute]:
    """Return the routes of generated faces; recipes are for `dataset`, and `generator` is that section of them."""
    sections = {"dataset": {} if dataset is None else dataset.place, "generator": generator}
    table = None if dataset is None else dataset.dataset.table

    async def picture(request: Request) -> Response:
        face = await computed(lambda: faces.original(int(request.path_params["seed"])))
        return Response(encode(face.image, "png"), media_type="image/png")

    async def edit(request: Request) -> Response:
        message = await received(request, FaceMessage)
        wish = FaceEdit(message.seed, message.values, message.keep, message.settle)
        face: EditedFace = await computed(lambda: faces.edit(wish))
        answer: dict[str, Any] = dict(
            image=data_url(encode(face.image, "png"), "png"),
            measured=rounded(face.measured),
            meters=meter_values(face.meters),
        )
        if message.save is not None:
            answer["saved"] = str(saved.picture(message.save, face.image, "generator", message.seed))
        if message.save_recipe is not None:
            path = await run_in_threadpool(saved.recipe_near, message.save_recipe, message.values, sections, table)
            answer["saved"] = str(path)
            answer["left_out"] = [name for name in message.values if name not in FACTOR_NAMES]
        return JSONResponse(answer)

    return [Route("/face/{seed:int}.png", picture), Route("/face/edit", edit, methods=["POST"])]


class PhotographMemory:
    """The last photographs that were loaded, by number. They are in memory only."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, LoadedPhotograph] = OrderedDict()
        self._numbers = count()

    def add(self, photograph: LoadedPhotograph) -> int:
        """Keep a photograph and return its number; the one that was used longest ago is forgotten."""
        number = next(self._numbers)
        self._kept[number] = photograph
        if len(self._kept) > _PHOTOGRAPHS_KEPT:
            self._kept.popitem(last=False)
        return number

    def get(self, number: int) -> LoadedPhotograph:
        """Return a photograph; UsageError where it is not kept any more."""
        if number not in self._kept:
            raise UsageError("this photograph is no longer in memory: choose its file again")
        self._kept.move_to_end(number)
        return self._kept[number]


def photograph_routes(editor: PhotographEditor, saved: SaveFolder) -> list[BaseRoute]:
    """Return the routes of photographs."""
    memory = PhotographMemory()

    async def load(request: Request) -> Response:
        data = await body_of(request, MOST_BYTES)
        name = request.query_params.get("name", "")
        photograph = await computed(lambda: editor.load(data, name))
        return JSONResponse(
            dict(
                photograph=memory.add(photograph),
                name=photograph.name,
                image=_preview(photograph.pixels),
                measured=rounded(photograph.values),
            )
        )

    async def edit(request: Request) -> Response:
        message = await received(request, PhotographMessage)
        photograph = memory.get(message.photograph)
        donor = None if message.donor is None else memory.get(message.donor)
        wish = PhotographEdit(message.change, donor, message.share, message.measure)
        result: EditedPhotograph = await computed(lambda: editor.edit(photograph, wish))
        answer: dict[str, Any] = dict(
            image=_preview(result.image), measured=rounded(result.measured), meters=meter_values(result.meters)
        )
        if message.save is not None:
            if not result.engine:
                raise UsageError("the photograph is as it was: turn, light or mix it before it is saved")
            answer["saved"] = str(saved.picture(message.save, result.image, result.engine, 0))
        return JSONResponse(answer)

    return [
        Route("/photograph/load", load, methods=["POST"]),
        Route("/photograph/edit", edit, methods=["POST"]),
    ]


def _preview(image: Rgb) -> str:
    return data_url(encode(image, "jpeg", _PREVIEW_QUALITY), "jpeg")
