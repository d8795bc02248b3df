"""A Ray cluster of nodes on this machine, whose processes know the engine of `paced_runs` as "mean".

As on other machines, nodes do not work in the folder in which the driver does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paced_runs import write_plugin

from faceaug.datasets.base import ImageSource
from faceaug.errors import FaceaugError, ImageError

NEEDS_RAY = "the extra ray is not installed"
_MEMORY = {"object_store_memory": 80 << 20, "include_dashboard": False}


@dataclass(frozen=True)
class RayNodes:
    """A cluster of a head without processors, and of nodes with one each.

    Attributes
    ----------
    environment : dict of str to str
        What nodes and drivers need in their environment.
    cluster : ray.cluster_utils.Cluster
    folder : Path
        In which nodes work.
    """

    environment: dict[str, str]
    cluster: Any
    folder: Path

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> Any:
        with _at_work_in(self.folder, self.environment):
            return self.cluster.add_node(num_cpus=1, **_MEMORY)

    def kill(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of nodes and drivers, with the plug-in and its log in a folder."""
    return {
        "PYTHONPATH": write_plugin(folder),
        "PACED_SECONDS": "0.3",
        "PACED_LOG": str(folder / "log"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # else a token is written to the home folder
        "RAY_worker_niceness": "0",  # else other work on the machine keeps workers waiting
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "OMP_NUM_THREADS": "1",
        "FACEAUG_CACHE": "off",
    }


def fail(log: Path) -> None:
    """A task with an error of its own."""
    _note(log)
    raise FaceaugError("it cannot be done")


def end_process(log: Path) -> None:
    """A task that ends its worker."""
    _note(log)
    os._exit(9)


def negative(number: int) -> int:
    return -number


class ReadHere:
    """A source of images that no other process can read; an `ImageSource`."""

    def __init__(self, images: ImageSource) -> None:
        self._images, self._process = images, os.getpid()

    def read(self, key: str) -> bytes:
        if os.getpid() != self._process:
            raise ImageError(f"{key} cannot be read")
        return self._images.read(key)


def _note(log: Path) -> None:
    with log.open("a") as file:
        file.write("begun\n")


@contextmanager
def environment_set(environment: dict[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """Set variables of the environment for a while."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        yield patched


@contextmanager
def _at_work_in(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Let the processes that are started now work in a folder, with an environment."""
    with environment_set(environment) as patched:
        patched.chdir(folder)
        yield


@contextmanager
def ray_nodes(folder: Path) -> Iterator[RayNodes]:
    """Start a cluster with two nodes, and end it."""
    environment = environment_of(folder)
    with _at_work_in(folder, environment):
        from ray.cluster_utils import Cluster

        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_MEMORY})
    nodes = RayNodes(environment, started, folder)
    try:
        nodes.add()
        nodes.add()
        yield nodes
    finally:
        started.shutdown()
