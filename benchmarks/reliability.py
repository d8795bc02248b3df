"""Campaigns against the readers and the output folder: mutated files, kills at random moments, flipped bits.

    python benchmarks/reliability.py [--inputs 10000] [--kills 100] [--flips 200] [--minutes 60]

Each reader gets so many mutated files, in a process of its own whose memory and time are watched: it must end with an
error of faceaug or with success. A run with a cheap engine is killed at random moments, resumed, and compared with an
unbroken one. Bits of the files of an output folder are flipped, and `verify` must name the file. A campaign that runs
out of its share of the minutes ends earlier; the counts say how far it came. Needs the helpers of the tests. Writes
benchmarks/results/reliability.json.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from _record import ROOT, environment, write_result

from faceaug.errors import FaceaugError
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify

sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from cheap_runs import SAMPLES, finish_balance, start_balance, write_faces
from mutations import fuzzed_readers, mutated
from shard_samples import write_output

HANG_SECONDS = 30.0  # the start of a process and its imports among them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="mutated files for each reader")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    share = 60 * options.minutes / 4
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        kinds = list(fuzzed_readers(_made(place / "kinds")))
        fuzz = {
            kind: fuzz_reader(kind, options.inputs, options.seed, 2 * share / len(kinds), place / f"fuzz{number}")
            for number, kind in enumerate(kinds)
        }
        kills = kill_runs(place / "kills", options.kills, options.seed, share)
        flips = flip_bits(place / "flips", options.flips, options.seed, share)
    record = {**environment(options.seed, ("h5py", "pydantic", "pyyaml", "torch")), "fuzz": fuzz}
    write_result("reliability", {**record, "kills": kills, "flips": flips}, options.out)


def fuzz_reader(kind: str, inputs: int, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Give a reader mutated files in a process of its own; begin anew behind an input that hangs or ends it."""
    counts, stray = Counter[str](), Counter[str]()
    start, first, peak, slowest = time.monotonic(), 0, 0.0, 0.0
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of the threads of torch
    while first < inputs and time.monotonic() - start < seconds:
        ours, theirs = context.Pipe(duplex=False)
        place = _made(folder / str(first))
        limit = seconds - (time.monotonic() - start)
        child = context.Process(target=_fuzz, args=(kind, range(first, inputs), seed, limit, place, theirs))
        child.start()
        theirs.close()
        while True:
            if not ours.poll(HANG_SECONDS):
                counts["hangs"] += 1
                child.kill()
                break
            try:
                outcome, what, taken, memory = ours.recv()
            except EOFError:
                break
            if outcome == "end":
                first = inputs
                break
            first, peak, slowest = first + 1, max(peak, memory), max(slowest, taken)
            counts[outcome] += 1
            stray.update([what] if outcome == "stray" else [])
        child.join()
        if child.exitcode and child.exitcode != -9:
            counts["crashes"] += 1
        first += first < inputs  # past the input that ended it
    return {
        "inputs": counts.total(),
        **{name: counts[name] for name in ("refused", "accepted", "stray", "hangs", "crashes")},
        **({"stray_errors": dict(stray)} if stray else {}),
        "slowest_seconds": round(slowest, 2),
        "peak_megabytes": round(peak),
    }


def _fuzz(kind: str, numbers: range, seed: int, seconds: float, folder: Path, pipe: Connection) -> None:
    logging.disable(logging.WARNING)
    reader = fuzzed_readers(folder)[kind]
    whole, begun = reader.path.read_bytes(), time.monotonic()
    for number in numbers:
        data, start, what = mutated(whole, np.random.default_rng([seed, number])), time.monotonic(), ""
        if start - begun > seconds:
            break
        try:
            reader.run(data)
            outcome = "accepted"
        except FaceaugError:
            outcome = "refused"
        except Exception as error:  # what the campaign looks for
            outcome, what = "stray", f"{type(error).__name__}: {str(error)[:100]}"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((outcome, what, time.monotonic() - start, memory))
    pipe.send(("end", "", 0.0, 0.0))


def kill_runs(folder: Path, kills: int, seed: int, seconds: float) -> dict[str, Any]:
    """Kill and resume runs until so many were killed; each that ends is compared with an unbroken one."""
    whole = write_faces(_made(folder / "whole"))
    finish_balance(whole)
    rng, counts, start = random.Random(seed), Counter[str](), time.monotonic()
    while counts["killed"] < kills and time.monotonic() - start < seconds:
        place = write_faces(_made(folder / str(counts["runs"])))
        for _ in range(rng.randint(2, 8)):
            run = start_balance(place, "--resume", pause=0.02)
            time.sleep(rng.uniform(1.5, 7.0))
            counts["killed"] += run.poll() is None
            run.kill()
            run.communicate()
            if (place / "out" / "manifest.json").exists():
                counts["damaged"] += not verify(place / "out").ok
        finish_balance(place, "--resume")
        report = verify(place / "out")
        counts["runs"] += 1
        counts["identical"] += _samples(place) == _samples(whole)
        counts["verified"] += report.ok and report.complete and report.rows == SAMPLES
    names = ("killed", "damaged", "runs", "identical", "verified")
    return {**{name: counts[name] for name in names}, "samples": SAMPLES}


def flip_bits(folder: Path, flips: int, seed: int, seconds: float) -> dict[str, int]:
    """Flip one bit of the files of an output folder at a time; `verify` must name the file."""
    out = _made(folder) / "out"
    write_output(out)
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    rng, counts, start = random.Random(seed), Counter[str](), time.monotonic()
    while counts["flipped"] < flips and time.monotonic() - start < seconds:
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        whole = bytes(data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        problems = verify(out).problems
        name = path.relative_to(out).as_posix()
        counts["flipped"] += 1
        counts["found"] += bool(problems)
        counts["named"] += any(name.partition(".sha256")[0] in f"{problem}" for problem in problems)
        path.write_bytes(whole)
    return {name: counts[name] for name in ("flipped", "found", "named")}


def _samples(folder: Path) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in read_manifest(folder / "out").shards}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
