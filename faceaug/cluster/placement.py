"""Where the parts of a computation are computed, which does not change the result, and how often they are tried."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from faceaug.errors import UsageError
from faceaug.utils.text import nearest, shown

LOCAL, RAY, FOLDER = "local", "ray", "folder"
RETRIES = 3
"""How often a part is begun again after whatever computed it was lost. An error of what it computes ends the work."""


@dataclass(frozen=True)
class Placement:
    """Where measurements, experiments and discoveries compute; `faceaug.RunConfig` has the same settings for a run.

    Attributes
    ----------
    executor : str
        "local", in this process, or "ray", by a Ray cluster.
    address : str, optional
        The Ray cluster, or "auto" for the one that runs on this machine; without, one is started for the work.

    Raises
    ------
    UsageError
        When there is no such executor, the package ray is missing, or `address` is given to another executor.
    """

    executor: str = LOCAL
    address: str | None = None

    def __post_init__(self) -> None:
        if self.executor == FOLDER:
            raise UsageError("the executor folder is for faceaug balance alone: give local or ray")
        if self.executor not in (LOCAL, RAY):
            raise UsageError(f"there is no executor {shown(self.executor)}: {nearest(self.executor, [LOCAL, RAY])}")
        check_address(self.executor, self.address)

    @property
    def on_ray(self) -> bool:
        """Whether a Ray cluster computes."""
        return self.executor == RAY


def check_address(executor: str, address: str | None) -> None:
    """Refuse an address that a built-in executor does not use, and the executor ray where its package is missing.

    Raises
    ------
    UsageError
    """
    if address is not None and executor in (LOCAL, FOLDER):
        raise UsageError(f"address is given, which the executor {executor} does not use: leave it out")
    if executor == RAY and find_spec("ray") is None:
        raise UsageError("the executor ray needs the package ray: pip install 'faceaug[ray]'")
