"""How fast the sliders of `faceaug explore` answer, over its real server, and what it costs beside other frameworks.

Run from the root of the repository with faceaug[explore] installed:

    python benchmarks/explore.py
    python benchmarks/explore.py --frameworks FOLDER

A request is timed from the client: HTTP, the edit, the measurement of the picture, and its encoding. "dragged" is what
a slider asks for while it is moved, "settled" what it asks for when it is let go. Photographs are faces of the demo
data set, enlarged to the longest side that the explorer keeps.

FOLDER holds a folder for each framework, filled by ``pip install --target FOLDER/gradio gradio`` and the like. What is
counted of it is what faceaug without extras does not bring; it is imported in processes of their own, after faceaug.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from _record import environment, write_result
from packaging.requirements import Requirement

import faceaug
from faceaug.datasets.dataset import LoadOptions, load_dataset
from faceaug.errors import ImageError
from faceaug.explorer.app import Exploration
from faceaug.explorer.cells import DatasetCells
from faceaug.explorer.generated import GeneratedFaces
from faceaug.explorer.photographs import LONGEST_SIDE, PhotographEditor
from faceaug.explorer.saving import SaveFolder
from faceaug.explorer.serve import prepare_server
from faceaug.generators import load_generator
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import SHIPPED_DIRECTIONS, load_estimator
from faceaug.utils.images import encode, resize

BY = "yaw:-90/-25/-10/10/25/90"
IMPORTED = {"starlette": "starlette.applications, uvicorn", "gradio": "gradio", "nicegui": "nicegui", "panel": "panel"}


class Client:
    """Sends requests over one connection, and times them."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._prefix = parts.path
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def ask(self, path: str, message: dict[str, Any] | bytes) -> tuple[dict[str, Any], float]:
        """Return an answer and its milliseconds."""
        body = message if isinstance(message, bytes) else json.dumps(message)
        start = time.perf_counter()
        self._connection.request("POST", self._prefix + path, body)
        answer = self._connection.getresponse()
        data = answer.read()
        elapsed = 1000 * (time.perf_counter() - start)
        if answer.status != 200:
            raise RuntimeError(data.decode())
        return json.loads(data), elapsed


def timed(client: Client, path: str, messages: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return milliseconds of requests, after two that are not counted: median, 95th percentile, and of the processor.

    Those of the processor, of client and server together, hardly depend on what else the machine does.
    """
    times, processor = [], []
    for message in messages:
        start = time.process_time()
        times.append(client.ask(path, message)[1])
        processor.append(1000 * (time.process_time() - start))
    return {
        "median_ms": round(statistics.median(times[2:]), 1),
        "p95_ms": round(float(np.quantile(times[2:], 0.95)), 1),
        "cpu_ms": round(statistics.median(processor[2:]), 1),
    }


def slider_times(client: Client, requests: int) -> dict[str, dict[str, float]]:
    """Time sliders of generated faces, of photographs, and of limits of a plan."""
    values = np.linspace(-20, 20, requests).round(2).tolist()
    times = {}
    for keep in (True, False):
        for settle in (False, True):
            how = {"keep": keep, "settle": settle}
            messages = [{"seed": k % 4, "values": {"yaw": value}, **how} for k, value in enumerate(values)]
            name = f"face, {'the rest kept' if keep else 'the rest free'}, {'settled' if settle else 'dragged'}"
            times[name] = timed(client, "face/edit", messages)
    host, donor = (client.ask("photograph/load", data)[0]["photograph"] for data in photographs())
    for measure in (False, True):
        how = "settled" if measure else "dragged"
        turns = [{"photograph": host, "change": {"yaw": v}, "measure": measure} for v in values]
        times[f"photograph of {LONGEST_SIDE} pixels, turned, {how}"] = timed(client, "photograph/edit", turns)
    shares = np.linspace(0.05, 1, requests).round(3).tolist()
    mixed = [{"photograph": host, "donor": donor, "share": share} for share in shares]
    times[f"photograph of {LONGEST_SIDE} pixels, mixed, dragged"] = timed(client, "photograph/edit", mixed)
    plans = [{"by": BY, "max_total": 10 * k} for k in range(1, requests + 1)]
    times["limit of a plan, dragged"] = timed(client, "dataset/plan", plans)
    return times


def photographs() -> list[bytes]:
    """Return two faces of the demo data set that can be measured, enlarged."""
    editor, found = PhotographEditor(load_estimator()), []
    for file in sorted(faceaug.demo.path().glob("*.jpg")):
        try:
            pixels = editor.load(file.read_bytes(), file.name).pixels
        except ImageError:
            continue
        found.append(encode(resize(pixels, (LONGEST_SIDE, LONGEST_SIDE)), "jpeg"))
        if len(found) == 2:
            break
    return found


def start_seconds(rounds: int) -> float:
    """Return the median CPU seconds from the command to its address and its end, in new processes."""
    times = []
    for _ in range(rounds):
        start = cpu_of_children()
        command = [sys.executable, "-m", "faceaug.cli", "explore", "--quiet"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
        times.append(cpu_of_children() - start)
    return round(statistics.median(times), 1)


def framework_costs(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return the size of each framework without what faceaug brings, and the CPU seconds of its import."""
    ours = set(map(str.lower, brought_files("faceaug")))
    base = import_seconds("faceaug.explorer.generated", None, rounds)
    costs = {}
    for name, modules in IMPORTED.items():
        place = folder / name
        files = [file for path in place.iterdir() if path.name.lower() not in ours for file in (path, *path.rglob("*"))]
        size = sum(file.stat().st_size for file in files if file.is_file())
        seconds = import_seconds(f"faceaug.explorer.generated, {modules}", place, rounds) - base
        costs[name] = {"megabytes": round(size / 1e6, 1), "import_cpu_seconds": round(seconds, 2)}
    return costs


def brought_files(distribution: str) -> set[str]:
    """Return the names in site-packages that a distribution and its dependencies, without extras, bring."""
    waiting, seen, names = [distribution], set(), set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        names |= {file.parts[0] for file in found.files or ()}
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return names


def import_seconds(modules: str, place: Path | None, rounds: int) -> float:
    """Return the median CPU seconds of a process that imports modules, `place` being searched last."""
    code = f"import sys; sys.path.append({str(place)!r}); import {modules}" if place else f"import {modules}"
    times, quiet = [], {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    for _ in range(rounds + 1):
        start = cpu_of_children()
        subprocess.run([sys.executable, "-c", code], check=True, env=quiet)
        times.append(cpu_of_children() - start)
    return statistics.median(times[1:])  # the first one reads the files


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes that this one started and that ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60, help="requests of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--frameworks", type=Path, help="folder with the installed frameworks")
    parser.add_argument("-o", "--output", type=Path, help="record to write")
    arguments = parser.parse_args()
    dataset = load_dataset(faceaug.demo.path(), options=LoadOptions(check="none"))
    faces = GeneratedFaces(load_generator("embedded"), read_bundle(SHIPPED_DIRECTIONS))
    faces.quality.start()
    faces.quality.wait()
    with tempfile.TemporaryDirectory() as folder:
        cells = DatasetCells(dataset, BY, {"path": "faces"})
        exploration = Exploration(SaveFolder(Path(folder)), faces, PhotographEditor(load_estimator()), cells)
        server, listening, address = prepare_server(exploration, 0)
        threading.Thread(target=server.run, args=([listening],), daemon=True).start()
        times = slider_times(Client(address), arguments.requests)
        server.should_exit = True
    record: dict[str, Any] = {
        "generator": faces.generator.name,
        "resolution": faces.generator.resolution,
        "requests": arguments.requests - 2,
        "sliders": times,
        "start_cpu_seconds": start_seconds(arguments.rounds),
    }
    if arguments.frameworks:
        record["frameworks"] = framework_costs(arguments.frameworks, arguments.rounds)
    path = write_result("explore", {**environment(0, ["torch", "starlette", "uvicorn"]), **record}, arguments.output)
    print(json.dumps(record, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
