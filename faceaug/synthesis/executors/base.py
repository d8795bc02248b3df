"""The contract of executors, which compute blocks of attempts anywhere and in any order.

What is accepted is decided by the driver alone, in the order of attempts (`faceaug.synthesis.loop`). A block depends
on seed, cell and number alone, so the samples are the same for every executor on one class of machine. Executors of
other packages plug in through the entry point group ``faceaug.executors`` (`faceaug.synthesis.executors.registry`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.output_folder import OutputFolder
from faceaug.synthesis.engines.base import BlockResult, Engine
from faceaug.synthesis.request import RunRequest


class LostBlockError(FaceaugError):
    """A block could not be computed: the process or machine that computed it was lost each time."""


class PendingBlock(Protocol):
    """A block that is under way; a `concurrent.futures.Future` is one."""

    def result(self) -> BlockResult:
        """Wait for the result.

        Raises
        ------
        LostBlockError
            When the block failed with its worker each time; the run goes on without it.
        Exception
            What the engine raised; the run ends.
        """

    def cancel(self) -> object:
        """Do not begin the block, if that can still be helped: its result is not needed."""


class Executor(Protocol):
    """Computes blocks. Used in a `with` statement, which ends with no block under way, unless it is interrupted."""

    @property
    def ahead(self) -> int:
        """Number of blocks that are worth having under way at a time; it may change while the run goes on."""

    def submit(self, cell: PlannedCell, block: int) -> PendingBlock:
        """Begin to compute a block of attempts at a cell."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, eq=False)
class Work:
    """What an executor is created for.

    Attributes
    ----------
    request : RunRequest
    engine : Engine
        Prepared, in the process of the driver.
    output : OutputFolder
        Begun, with the models of the engine in it.
    """

    request: RunRequest
    engine: Engine
    output: OutputFolder
