"""What `faceaug discover` costs on large generators: memory, and seconds per stage, extrapolated to its defaults.

    python benchmarks/discovery_cost.py                       # a short discovery at 256 and at 1024 pixels
    python benchmarks/discovery_cost.py --pictures 8          # only what synthesis costs, without training
    python benchmarks/discovery_cost.py --sizes 256:64        # one of them, with the network that reads 64 pixels

The networks have the widths of StyleGAN2's configuration F and random weights: they show no faces, and the directions
mean nothing, but synthesis and training cost what they cost with any weights. Discovery needs ten samples for each
direction in which w varies; here the last layer of the mapping moves only a few of the 512, so that few samples are
enough. The option --pictures and the key `draws` are those of the first record: both are numbers of samples.
Each size runs in a process of its own, on one thread, all at once. Seconds are the processor's, so that waiting for it
does not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from _record import environment, write_result

from faceaug.discovery.config import (
    ALIGNMENT_STAGE,
    CALIBRATION_STAGE,
    FACTOR_STAGE,
    LINEAR_STAGE,
    NETWORK_STAGE,
    READER_STAGE,
    SYNTHESIS_STAGE,
    TURN_STAGE,
    VIEW_READER_STAGE,
    DiscoveryConfig,
    DiscoveryRun,
)
from faceaug.discovery.discover import discover
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_pool
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan import Provenance, build_weights_file
from faceaug.generators.stylegan2_networks import FullyConnected, StyleGAN2Config, reset_parameters
from faceaug.generators.weights_file import new_network
from faceaug.reconstruction.networks import NETWORK_SIDE
from faceaug.reconstruction.training.schedule import ReconstructionSchedule

SIZES = "256:32,1024:64"
LIVELY = 10  # coordinates of w that vary
SHORT = DiscoveryConfig(
    samples=100,
    held_out=64,
    linear_steps=20,
    reader_steps=10,
    alignment_steps=10,
    turned_faces=64,
    view_reader_steps=10,
    calibration_samples=64,
    atoms=4,
    schedule=ReconstructionSchedule(steps=24, distil_steps=10, refit_every=20),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="generator's pixels : network's pixels  [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=int, help="synthesize this many samples and train nothing")
    parser.add_argument("--one", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.one is not None:
        resolution, side = map(int, given.sizes.split(":"))
        measure = measured if given.pictures is None else partial(drawn, given.pictures)
        print(json.dumps(measure(resolution, side, given.seed, given.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        begun = [begin(size, given, Path(folder)) for size in given.sizes.split(",")]
        runs = [json.loads(process.communicate()[0].splitlines()[-1]) for process in begun]
    record = environment(given.seed, ["torch", "numpy"]) | {"threads": 1, "lively_of_w": LIVELY, "runs": runs}
    print(write_result("discovery_cost", record, given.out))


def begin(size: str, given: argparse.Namespace, folder: Path) -> subprocess.Popen[str]:
    """Begin the run of one size in a process of its own."""
    own = folder / size.replace(":", "-")
    own.mkdir()
    command = [sys.executable, __file__, "--sizes", size, "--seed", str(given.seed), "--one", str(own)]
    if given.pictures is not None:
        command += ["--pictures", str(given.pictures)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def random_generator(resolution: int, seed: int, file: Path) -> None:
    """Write a generator of configuration f with random weights, w of which varies in LIVELY coordinates."""
    network = new_network(StyleGAN2Config(resolution, 512, 512, 8, 32768, 512), "cpu")
    reset_parameters(network, seed)
    with torch.no_grad():
        last = cast("FullyConnected", network.mapping.get_submodule("fc7"))
        last.weight[LIVELY:] = 0
        last.bias[LIVELY:] = (
            torch.randn(512 - LIVELY, generator=torch.Generator().manual_seed(seed)) / last.lr_multiplier
        )
        w = network.mapping(torch.randn(1000, 512, generator=torch.Generator().manual_seed(seed + 1)))
        network.mapping.w_avg.copy_(w.mean(0))
    provenance = Provenance(f"random-{resolution}", "none needed: random weights", "benchmark")
    data = build_weights_file(network, provenance, statistics_samples=2000)
    file.write_bytes(data)


class Clock:
    """Processor seconds and number of each stage's units; steps with new images are a stage of their own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.units: dict[str, int] = {}
        self._done, self._stage, self._then = 0, "", time.process_time()

    def tell(self, stage: str, done: int, total: int, said: Mapping[str, float]) -> None:
        now = time.process_time()
        before, self._done = (self._done if stage == self._stage else 0), done
        # The set-up of a stage before its first unit is reported with that unit, and left out where it can be.
        first = stage != self._stage and stage not in (SYNTHESIS_STAGE, FACTOR_STAGE)
        name = stage if stage != NETWORK_STAGE else f"{stage}, {_kind(said)}"
        if first:
            self.seconds["between stages"] = self.seconds.get("between stages", 0.0) + now - self._then
        else:
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._then
            self.units[name] = self.units.get(name, 0) + done - before
        self._stage, self._then = stage, now

    def end(self) -> None:
        self.seconds["between stages"] = self.seconds.get("between stages", 0.0) + time.process_time() - self._then


def _kind(said: Mapping[str, float]) -> str:
    return "with new images" if "agree" in said else "without" if "l1" in said else "distilling"


def measured(resolution: int, side: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run a short discovery and return what it cost and what the default would."""
    file = folder / "random.safetensors"
    random_generator(resolution, seed, file)
    generator = load_generator(file)
    clock = Clock()
    settings = replace(SHORT, schedule=replace(SHORT.schedule, side=side))
    bundle = discover(generator, folder / "directions.safetensors", settings, DiscoveryRun(progress=clock.tell))
    clock.end()
    per = {name: clock.seconds[name] / n for name, n in clock.units.items() if n}
    return {
        "resolution": resolution,
        "side": side,
        "draws": settings.samples + settings.held_out,
        "atoms": len(bundle.atoms),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "seconds_a_unit": {name: round(value, 4) for name, value in per.items()},
        "seconds_between_stages": round(clock.seconds["between stages"], 1),
        "default": defaults(generator, per, clock.seconds["between stages"]),
    }


def drawn(pictures: int, resolution: int, side: int, seed: int, folder: Path) -> dict[str, Any]:
    """Synthesize some samples as a discovery does; return what they cost, and what the default number would cost."""
    file = folder / "random.safetensors"
    random_generator(resolution, seed, file)
    generator = load_generator(file)
    begun = time.process_time()
    sample_pool(generator, pictures, seed, max(side, NETWORK_SIDE), folder / "draws")
    each = (time.process_time() - begun) / pictures
    usual = DiscoveryConfig()
    anew = usual.schedule.count_neutralized_images(generator)
    count = usual.samples + usual.held_out + anew
    return {
        "resolution": resolution,
        "draws": pictures,
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "seconds_a_unit": {SYNTHESIS_STAGE: round(each, 3)},
        "default": {"pictures": count, "core_hours_of_drawing": round(each * count / 3600, 1)},
    }


def defaults(generator: Generator, per: Mapping[str, float], between: float) -> dict[str, Any]:
    """Return hours of one core by stage, and the number of samples, for the default config of `discover`."""
    usual = DiscoveryConfig()
    steps, distil = usual.schedule.steps, usual.schedule.distil_steps
    anew = usual.schedule.count_neutralized_images(generator)
    paired = anew // usual.schedule.pairs
    counts = {
        SYNTHESIS_STAGE: usual.samples + usual.held_out,
        LINEAR_STAGE: usual.linear_steps,
        READER_STAGE: usual.reader_steps,
        f"{NETWORK_STAGE}, distilling": distil,
        f"{NETWORK_STAGE}, without": steps - distil - paired,
        f"{NETWORK_STAGE}, with new images": paired,
        FACTOR_STAGE: usual.samples + usual.held_out,
        ALIGNMENT_STAGE: usual.alignment_steps,
        TURN_STAGE: usual.turned_faces,
        VIEW_READER_STAGE: usual.view_reader_steps,
        CALIBRATION_STAGE: usual.calibration_samples,
    }
    hours = {name: round(per[name] * n / 3600, 3) for name, n in counts.items() if name in per}
    return {
        "pictures": usual.samples + usual.held_out + anew,
        "core_hours": round(sum(hours.values()) + between / 3600, 2),
        "core_hours_by_stage": hours,
    }


if __name__ == "__main__":
    main()
