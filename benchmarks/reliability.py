"""Campaigns against the readers and the output folder: mutated files, kills at random moments, flipped bits, a soak.

    python benchmarks/reliability.py fuzz kills flips [--inputs 10000] [--kills 100] [--flips 200] [--minutes 60]
    python benchmarks/reliability.py guided [--inputs 10000] [--minutes 60]      # needs atheris
    python benchmarks/reliability.py learning [--minutes 60]
    python benchmarks/reliability.py soak [--soak-minutes 60]

`fuzz`: each reader gets so many mutated files, in a process of its own whose memory and time are watched: it must
end with an error of faceaug or with success. `guided`: the same, with files that atheris chooses by the code that they
reach. `kills`: runs with a cheap engine are killed at random moments, resumed, and compared with an unbroken one.
`learning`: a run of the demo is killed every few seconds, mostly while it learns, until it has ended.
`flips`: bits of the files of an output folder are flipped, and `verify` must name the file. `soak`: cycles of all this,
each with data and seed of its own. A campaign goes on where the record has it, and the counts say how far it came;
--anew forgets them. Needs the helpers of the tests. Writes benchmarks/results/reliability.json.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _broken_runs import flip_bits, kill_learning, kill_runs, soak
from _fuzzing import fuzz_reader, kinds_of_readers
from _record import RESULTS, environment, write_result

from faceaug.utils.files import read_json

CAMPAIGNS = ("fuzz", "guided", "kills", "learning", "flips", "soak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="+", choices=CAMPAIGNS)
    parser.add_argument("--inputs", type=int, default=10_000, help="mutated files for each reader")
    parser.add_argument("--readers", nargs="+", default=[], help="some readers; all when not given")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="in all, besides those of the soak")
    parser.add_argument("--soak-minutes", type=float, default=60.0, help="those of earlier calls among them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--anew", action="store_true", help="forget what the record has of these campaigns")
    parser.add_argument("--out", type=Path, default=RESULTS / "reliability.json")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    run_campaigns(options, Record(options))


class Record:
    """The record of all campaigns, written anew whenever one of them has come further."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._sections, self._commands = options, dict[str, Any](), dict[str, None]()
        if options.out.exists():
            content = read_json(options.out, "the record")
            kept = {name for name in CAMPAIGNS if not (options.anew and name in options.campaigns)}
            if kept & content.keys() and content["seed"] != options.seed:
                raise SystemExit(f"{options.out} has the seed {content['seed']}: use that, or another --out")
            self._sections = {name: content[name] for name in CAMPAIGNS if name in kept & content.keys()}
            self._commands = dict.fromkeys(content["command"].split("; ") if self._sections else ())

    def before(self, *place: str) -> dict[str, Any]:
        """Return the counts of a campaign so far."""
        section: dict[str, Any] = self._sections
        for name in place:
            section = section.get(name, {})
        return section

    def saver(self, *place: str) -> Callable[[dict[str, Any]], None]:
        """Return what takes the counts of a campaign, and writes the record."""

        def save(counts: dict[str, Any]) -> None:
            section: dict[str, Any] = self._sections
            for name in place[:-1]:
                section = section.setdefault(name, {})
            section[place[-1]] = counts
            packages = ("h5py", "pillow", "pyarrow", "pydantic", "pyyaml", "torch")
            about = environment(self._options.seed, packages)
            about["command"] = "; ".join({**self._commands, about["command"]: None})
            write_result("reliability", {**about, **self._sections}, self._options.out)

        return save


def run_campaigns(options: argparse.Namespace, record: Record) -> None:
    """Run the campaigns one after the other, within the minutes."""
    end = time.monotonic() + 60 * options.minutes
    for name in options.campaigns:
        left, before, save = end - time.monotonic(), record.before(name), record.saver(name)
        if name in ("fuzz", "guided"):
            readers = options.readers or kinds_of_readers()
            for number, kind in enumerate(readers):
                share = (end - time.monotonic()) / (len(readers) - number)
                before, save = record.before(name, kind), record.saver(name, kind)
                fuzz_reader(kind, options.inputs, options.seed, share, before, name == "guided", save)
        elif name == "kills":
            kill_runs(options.kills, options.seed, left, before, save)
        elif name == "learning":
            kill_learning(left, options.seed, before, save)
        elif name == "flips":
            flip_bits(options.flips, options.seed, left, before, save)
        else:
            soak(60 * options.soak_minutes, options.seed, before, save)


if __name__ == "__main__":
    main()
