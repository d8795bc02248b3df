"""Runs of `faceaug balance` that are killed and resumed, and output folders whose bits are flipped."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, NamedTuple

from _record import ROOT

from faceaug import demo
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify

sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from cheap_runs import SAMPLES, finish_balance, start_balance, write_faces
from shard_samples import write_output

PAUSE = 0.1  # seconds that a block of four attempts takes at least, so that a run lasts longer than its start
IMPORTING = 0.2  # of all kills come before a run has its folder; without this bound most would, imports take so long
DEMO_SAMPLES = 20  # few, since a run is killed for what it learns before it makes any
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Counts = dict[str, Any]
Save = Callable[[Counts], None]


def kill_runs(kills: int, seed: int, seconds: float, before: Counts, save: Save) -> None:
    """Kill and resume runs until so many were killed; each that ends is compared with an unbroken one.

    Parameters
    ----------
    kills : int
        In all, those of `before` among them.
    seed : int
    seconds : float
        After which no run is begun.
    before : dict
        What an earlier call gave to `save`, or empty.
    save : callable (dict)
        Takes the counts after each run.
    """
    counts, end = Counter(before), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        whole = write_faces(Path(folder) / "whole")
        length = _timed(whole)
        while counts["killed"] < kills and time.monotonic() < end:
            place = write_faces(Path(folder) / str(counts["runs"]))
            _break_and_finish(place, whole, length, random.Random(f"{seed}/{counts['runs']}"), counts)
            save({"samples": SAMPLES, **counts})


def soak(seconds: float, seed: int, before: Counts, save: Save) -> None:
    """Balance, interrupt, resume, verify, flip a bit: cycles with data and seed of their own, for so many seconds.

    `before` and `save` are as those of `kill_runs`; seconds of earlier calls count.
    """
    counts = Counter(before)
    while counts["seconds"] < seconds:
        start, cycle = time.monotonic(), counts["cycles"]
        rng, options = random.Random(f"soak/{seed}/{cycle}"), ("--seed", str(cycle))
        with tempfile.TemporaryDirectory() as folder:
            whole, place = (write_faces(Path(folder) / name, seed=cycle) for name in ("whole", "broken"))
            length = _timed(whole, *options)
            _break_and_finish(place, whole, length, rng, counts, *options)
            _flip(place / "out", rng, counts)
            counts["left_over"] += len(_left_over(place / "out"))
        counts["cycles"] += 1
        counts["seconds"] += round(time.monotonic() - start)
        counts["peak_megabytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        save({"samples": SAMPLES, **counts})


def kill_learning(seconds: float, seed: int, before: Counts, save: Save) -> None:
    """Kill a run of the demo, which learns before it makes samples, every few processor seconds until it has ended.

    The time between two kills grows slowly, so that a run ends that has to do a piece of work at once; its length says
    how large that piece is. Without an end within so many seconds, `ended` is 0.
    """
    if before:
        return
    rng, counts, end = random.Random(f"learning/{seed}"), Counter[str](), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in ("whole", "broken")}
        start = time.monotonic()
        _start_demo(places["whole"]).wait()
        counts["seconds_unbroken"] = round(time.monotonic() - start)
        longest, run = 10.0, None
        while time.monotonic() < end:
            run = _start_demo(places["broken"])
            _wait_for_folder(run, places["broken"])
            begun, limit = _processor_seconds(run), rng.uniform(0, longest)
            while run.poll() is None and _processor_seconds(run) - begun < limit and time.monotonic() < end:
                time.sleep(0.05)
            if run.poll() is not None:
                break
            run.kill()
            run.wait()
            counts["killed"] += 1
            longest *= 1.03
        counts["longest_processor_seconds_between_kills"] = round(longest)
        counts["ended"] = int(run is not None and run.returncode == 0)
        counts["identical"] = int(bool(counts["ended"]) and _samples(places["whole"]) == _samples(places["broken"]))
        counts["verified"] = int(bool(counts["ended"]) and verify(places["broken"] / "out").ok)
    save(dict(counts))


def _start_demo(place: Path) -> Popen[str]:
    """Begin or continue the run of the demo in a folder, with a cache of its own."""
    place.mkdir(exist_ok=True)
    words = ["balance", str(demo.path()), "--recipe", "demo", "--max-total", str(DEMO_SAMPLES), "--no-report"]
    environment = {**os.environ, "FACEAUG_CACHE": str(place / "cache")}
    pipes = {"stdout": DEVNULL, "stderr": DEVNULL, "text": True}
    return Popen(
        [sys.executable, "-m", "faceaug.cli", *words, "--resume", "-o", "out"], cwd=place, env=environment, **pipes
    )


def flip_bits(flips: int, seed: int, seconds: float, before: Counts, save: Save) -> None:
    """Flip one bit of the files of an output folder at a time; `verify` must name the file."""
    counts, end = Counter(before), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        write_output(out)
        while counts["flipped"] < flips and time.monotonic() < end:
            _flip(out, random.Random(f"flip/{seed}/{counts['flipped']}"), counts)
    save(dict(counts))


class _Length(NamedTuple):
    """Seconds of a whole run before and behind the moment at which it has its folder."""

    before: float
    behind: float


def _timed(folder: Path, *options: str) -> _Length:
    """Run to the end and return the seconds that it took."""
    start = time.monotonic()
    run = start_balance(folder, *options, pause=PAUSE)
    _wait_for_folder(run, folder)
    opened = time.monotonic()
    _, err = run.communicate()
    if run.returncode:
        raise SystemExit(f"the unbroken run failed: {err}")
    return _Length(opened - start, time.monotonic() - opened)


def _processor_seconds(run: Popen[str]) -> float:
    """Return what a process has used of the processor, which a busy machine does not change; Linux alone says it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _wait_for_folder(run: Popen[str], folder: Path) -> None:
    """Wait until a run has locked its output folder, or has ended."""
    lock = folder / "out" / ".lock"
    while run.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if f"process {run.pid} " in lock.read_text():
                return
        time.sleep(0.002)


def _break_and_finish(
    folder: Path, whole: Path, length: _Length, rng: random.Random, counts: Counter[str], *options: str
) -> None:
    """Interrupt a run at random moments until it ends, and compare it with the unbroken one.

    With `options`, those of a soak, the signals that a run may answer are sent as well.
    """
    while True:
        run = start_balance(folder, "--resume", *options, pause=PAUSE)
        if rng.random() < IMPORTING:
            time.sleep(rng.uniform(0, length.before))
        else:
            _wait_for_folder(run, folder)
            time.sleep(rng.uniform(0, length.behind))
        if run.poll() is not None:
            break
        number = rng.choice(SIGNALS) if options else signal.SIGKILL
        run.send_signal(number)
        _, err = run.communicate()
        if run.returncode == 0:
            break  # it ended between the look and the signal
        counts["killed"] += 1
        counts[f"killed_by_{number.name}"] += 1
        counts["tracebacks"] += "Traceback" in err
        if (folder / "out" / "manifest.json").exists():
            counts["killed_with_samples"] += bool(read_manifest(folder / "out").totals.accepted)
            counts["damaged"] += not verify(folder / "out").ok
    run.communicate()
    finish_balance(folder, "--resume", *options)
    report = verify(folder / "out")
    counts["runs"] += 1
    counts["identical"] += _samples(folder) == _samples(whole)
    counts["verified"] += report.ok and report.complete and report.rows == SAMPLES


def _flip(out: Path, rng: random.Random, counts: Counter[str]) -> None:
    """Flip a bit of a file, look whether `verify` names the file, and flip it back."""
    path = rng.choice(sorted(path for path in out.rglob("*") if path.is_file()))
    whole = path.read_bytes()
    data = bytearray(whole)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))
    name, problems = path.relative_to(out).as_posix(), verify(out).problems
    path.write_bytes(whole)
    counts["flipped"] += 1
    counts["found"] += bool(problems)
    counts["named"] += any(name.partition(".sha256")[0] in f"{problem}" for problem in problems)


def _left_over(out: Path) -> list[str]:
    """Return the files of a finished run that its manifest does not list."""
    manifest = read_manifest(out)
    listed = {entry.name for entry in (*manifest.shards, *manifest.files)} | {"manifest.json", "manifest.sha256"}
    return [
        name for path in out.rglob("*") if path.is_file() and (name := path.relative_to(out).as_posix()) not in listed
    ]


def _samples(folder: Path) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in read_manifest(folder / "out").shards}
