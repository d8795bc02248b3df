"""Readers that get mutated files in processes of their own, whose time and memory are watched."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from _record import ROOT

from faceaug.errors import FaceaugError

sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from mutations import FuzzedReader, fuzzed_readers, mutated

HANG_SECONDS = 30.0  # of the processor, for one input: a busy machine makes no hang
STUCK_SECONDS = 300.0  # on the clock, without an answer: something is waited for; imports are among them
MOST_BYTES = 3 << 30  # of the data of a process: more ends in a MemoryError, which is counted, not in the machine
INSTRUMENTED = ("faceaug", "yaml", "json")  # packages that lead the choice of inputs
MOST_NAMED = 20  # inputs that a record names
OUTCOMES = ("refused", "accepted", "stray", "hangs", "crashes")

Save = Callable[[dict[str, Any]], None]


def kinds_of_readers() -> list[str]:
    """Return the names of all readers."""
    with tempfile.TemporaryDirectory() as folder:
        return list(fuzzed_readers(Path(folder)))


def fuzz_reader(
    kind: str, inputs: int, seed: int, seconds: float, before: dict[str, Any], guided: bool, save: Save
) -> None:
    """Give a reader so many mutated files; begin anew behind an input that hangs or ends the process.

    Parameters
    ----------
    kind : str
    inputs : int
        In all, those of `before` among them: input number n of a seed is always the same where it is not guided.
    seed : int
    seconds : float
        After which no input is begun.
    before : dict
        What an earlier call gave to `save`, or empty.
    guided : bool
        Whether atheris chooses the inputs by the code that they reach.
    save : callable (dict)
        Takes the counts, now and then and at the end.
    """
    counts = _Counts(before)
    end, context = time.monotonic() + seconds, multiprocessing.get_context("spawn")  # a fork inherits torch's locks
    with tempfile.TemporaryDirectory() as folder:
        while counts.inputs < inputs and (left := end - time.monotonic()) > 0:
            ours, theirs = context.Pipe(duplex=False)
            numbers = range(counts.inputs, inputs)
            work = _fuzz_guided if guided else _fuzz
            child = context.Process(target=work, args=(kind, numbers, seed, left, Path(folder), theirs))
            child.start()
            theirs.close()
            told = counts.follow(ours, save)
            if told == "stuck":
                child.kill()
            child.join()
            if told == "stuck" or child.exitcode == -signal.SIGPROF:
                counts.add("hangs", "it waits" if told == "stuck" else f"{HANG_SECONDS:g} s of the processor")
            elif told == "broken":
                counts.add("crashes", f"exit status {child.exitcode}")
            save(counts.to_dict())
            if told == "time":
                break


class _Counts:
    """How the inputs ended."""

    def __init__(self, before: dict[str, Any]) -> None:
        self._outcomes = Counter({name: before.get(name, 0) for name in OUTCOMES})
        self._named = list(before.get("named", []))
        self._slowest, self._peak = before.get("slowest_seconds", 0.0), before.get("peak_megabytes", 0)
        self._cpu = before.get("cpu_seconds", 0.0)
        self._children = _cpu_of_children()

    @property
    def inputs(self) -> int:
        return self._outcomes.total()

    def add(self, outcome: str, what: str = "") -> None:
        if what and len(self._named) < MOST_NAMED:
            self._named.append({"input": self.inputs, "outcome": outcome, "what": what})
        self._outcomes[outcome] += 1

    def follow(self, pipe: Connection, save: Save) -> str:
        """Count what a process tells, until it ends: "end", "time" (both as it said), "stuck" or "broken"."""
        saved = time.monotonic()
        while True:
            if not pipe.poll(STUCK_SECONDS):
                return "stuck"
            try:
                outcome, what, taken, megabytes = pipe.recv()
            except EOFError:
                return "broken"
            if outcome in ("end", "time"):
                return str(outcome)
            self.add(outcome, what)
            self._slowest, self._peak = max(self._slowest, round(taken, 2)), max(self._peak, round(megabytes))
            if time.monotonic() - saved > 20:
                save(self.to_dict())
                saved = time.monotonic()

    def to_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            **{name: self._outcomes[name] for name in OUTCOMES},
            "slowest_seconds": self._slowest,
            "peak_megabytes": self._peak,
            "cpu_seconds": round(self._cpu + _cpu_of_children() - self._children, 1),
            **({"named": self._named} if self._named else {}),
        }


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _fuzz(kind: str, numbers: range, seed: int, seconds: float, folder: Path, pipe: Connection) -> None:
    """Give a reader the inputs of some numbers, and tell how each ended."""
    with _reader(kind, folder) as reader:
        whole, begun = reader.path.read_bytes(), time.monotonic()
        for number in numbers:
            if time.monotonic() - begun > seconds:
                pipe.send(("time", "", 0.0, 0.0))
                return
            pipe.send(_outcome(reader, mutated(whole, np.random.default_rng([seed, number]))))
    pipe.send(("end", "", 0.0, 0.0))


def _fuzz_guided(kind: str, numbers: range, seed: int, seconds: float, folder: Path, pipe: Connection) -> None:
    """Give a reader the inputs that atheris finds, and tell how each ended.

    What it found worth keeping is in the folder "corpus", from which a process that follows goes on.
    """
    import atheris

    with _reader(kind, folder) as reader:
        whole, begun, left = reader.path.read_bytes(), time.monotonic(), len(numbers)
        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        (corpus / "whole").write_bytes(whole)

        def test_one(data: bytes) -> None:
            nonlocal left
            if left == 0 or time.monotonic() - begun > seconds:
                pipe.send(("end" if left == 0 else "time", "", 0.0, 0.0))
                os._exit(0)  # the library has no other way out that is no error
            pipe.send(_outcome(reader, data))
            left -= 1

        for module in [module for name, module in sys.modules.items() if name.split(".")[0] in INSTRUMENTED]:
            _instrument(module, module.__name__, atheris.instrument_func)
        words = [
            f"-seed={seed + numbers.start + 1}",
            f"-max_len={2 * len(whole)}",
            f"-artifact_prefix={folder}{os.sep}",
            f"-timeout={2 * round(STUCK_SECONDS)}",  # the process that began this one watches the time, and comes first
            *("-rss_limit_mb=0", "-detect_leaks=0", "-verbosity=0"),
        ]
        atheris.Setup(["fuzz", *words, str(corpus)], test_one)
        atheris.Fuzz()


def _instrument(holder: Any, module: str, instrument: Callable[..., Any]) -> None:
    """Let the functions and methods that a module defines tell which of their code is reached."""
    for name, value in list(vars(holder).items()):
        if getattr(value, "__module__", None) == module:
            if isinstance(value, FunctionType):
                with contextlib.suppress(RuntimeError, ValueError):  # of functions that it cannot take apart
                    setattr(holder, name, instrument(value))
            elif isinstance(value, type) and value is not holder:
                _instrument(value, module, instrument)


@contextlib.contextmanager
def _reader(kind: str, folder: Path) -> Iterator[FuzzedReader]:
    """Make the files of a reader anew, with its process bounded and quiet."""
    logging.disable(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    place = folder / "files"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    yield fuzzed_readers(place)[kind]


def _outcome(reader: FuzzedReader, data: bytes) -> tuple[str, str, float, float]:
    """Return how the reader ended, what it raised that is stray, its processor seconds, and peak memory in MB."""
    start, outcome, what = time.process_time(), "accepted", ""
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)  # its signal ends the process
    try:
        reader.run(data)
    except FaceaugError:
        outcome = "refused"
    except Exception as error:  # what the campaign looks for
        outcome, what = "stray", f"{type(error).__name__}: {str(error)[:100]}"
    signal.setitimer(signal.ITIMER_PROF, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return outcome, what, time.process_time() - start, peak
