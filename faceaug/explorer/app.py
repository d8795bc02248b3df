"""The explorer as a Starlette application: its pages, and the files that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from faceaug.errors import FaceaugError
from faceaug.explorer.cell_routes import dataset_routes, output_routes
from faceaug.explorer.cells import DatasetCells, OutputCells
from faceaug.explorer.face_routes import face_routes, photograph_routes
from faceaug.explorer.generated import GeneratedFaces
from faceaug.explorer.guard import Guard
from faceaug.explorer.photographs import MOST_BYTES, PhotographEditor
from faceaug.explorer.saving import SaveFolder
from faceaug.pages.template import page_template, style_sheet
from faceaug.reconstruction.semantics import FACTOR_MEANINGS, FACTOR_UNITS
from faceaug.synthesis.engines.rerendering.source_faces import REACH

_STATIC = {
    "explorer.css": "text/css",
    "common.js": "text/javascript",
    "face.js": "text/javascript",
    "photograph.js": "text/javascript",
    "cells.js": "text/javascript",
}
_FIRST_FACES = 12


@dataclass(frozen=True, eq=False)
class Exploration:
    """What is explored; what is None has no page.

    Attributes
    ----------
    faces : GeneratedFaces, optional
    photographs : PhotographEditor, optional
    dataset : DatasetCells, optional
    output : OutputCells, optional
    saved : SaveFolder
    generator : mapping
        Keys of the section `generator` of a recipe, as the user gave them.
    """

    saved: SaveFolder
    faces: GeneratedFaces | None = None
    photographs: PhotographEditor | None = None
    dataset: DatasetCells | None = None
    output: OutputCells | None = None
    generator: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pages(self) -> dict[str, str]:
        """Titles of the pages by name, the first one first."""
        known = {
            "output": ("Output folder", self.output),
            "dataset": ("Data set", self.dataset),
            "face": ("Generated faces", self.faces),
            "photograph": ("Photograph", self.photographs),
        }
        return {name: title for name, (title, content) in known.items() if content is not None}


def explorer_app(exploration: Exploration, token: str, port: int) -> Guard:
    """Return the application of an explorer that is served on a port of this machine.

    Every path begins with the token; see `Guard`.
    """
    routes: list[BaseRoute] = [
        Route("/", _first_page(exploration)),
        Route("/{page}.html", _page(exploration)),
        Route("/static/{name}", _static),
    ]
    if exploration.faces is not None:
        routes += face_routes(exploration.faces, exploration.saved, exploration.dataset, exploration.generator)
    if exploration.photographs is not None:
        routes += photograph_routes(exploration.photographs, exploration.saved)
    if exploration.dataset is not None:
        routes += dataset_routes(exploration.dataset, exploration.saved, exploration.generator)
    if exploration.output is not None:
        routes += output_routes(exploration.output)

    app = Starlette(
        routes=[Mount("/{token}", routes=routes)],
        exception_handlers={FaceaugError: _refused, OSError: _refused, Exception: _failed},
    )
    return Guard(app, token, port)


def _first_page(exploration: Exploration) -> Any:
    async def first_page(request: Request) -> Response:
        return RedirectResponse(f"{next(iter(exploration.pages))}.html")

    return first_page


def _page(exploration: Exploration) -> Any:
    async def page(request: Request) -> Response:
        name = request.path_params["page"]
        if name not in exploration.pages:
            return HTMLResponse("There is no such page.", status_code=404)
        template = page_template(f"{name}.html.jinja", "faceaug.explorer")
        content = _content(exploration, name)
        return HTMLResponse(template.render(pages=exploration.pages, page=name, **content))

    return page


def _content(exploration: Exploration, name: str) -> dict[str, Any]:
    """Return what the template of a page fills in."""
    if name == "face":
        assert exploration.faces is not None
        generator = exploration.faces.generator
        groups: dict[str, list[Any]] = {}
        for slider in exploration.faces.sliders:
            groups.setdefault(slider.group, []).append(slider)
        return dict(groups=groups, first_faces=range(_FIRST_FACES), generator=generator)
    if name == "photograph":
        sliders = [(name, FACTOR_MEANINGS[name], unit, REACH[name]) for name, unit in FACTOR_UNITS.items()]
        return dict(sliders=sliders, most_mib=MOST_BYTES >> 20)
    if name == "dataset":
        assert exploration.dataset is not None
        dataset = exploration.dataset.dataset
        return dict(name=dataset.name, count=len(dataset), by=exploration.dataset.by, attributes=dataset.attributes)
    assert exploration.output is not None
    manifest, output = exploration.output.manifest, exploration.output
    return dict(manifest=manifest, real=output.real is not None, samples=len(output.cells))


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "pages.css":
        return Response(style_sheet(), media_type="text/css")
    if name not in _STATIC:
        return Response("There is no such file.", status_code=404)
    data = files("faceaug.explorer").joinpath("static", name).read_bytes()
    return Response(data, media_type=_STATIC[name])


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "This failed; the terminal says why."}, status_code=500)
