"""Tables of docs/scaling.md: what was measured of the driver, and a run of 100 million samples computed from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from _markdown import table

Record = dict[str, Any]
RESULTS = Path(__file__).resolve().parent / "results"

SAMPLES, GPUS, CORES, SIDE = 100_000_000, 64, 5000, 256
MACHINE_CORES = 2  # of the machine of the records
EDIT_BLOCK, MORPH_BLOCK = 16, 16  # attempts in a block of the engines generator and morph
SHARD_ROWS = 2000
MORPH_SIDE = 200  # of the photographs of the record of morphs
GPU_HOUR, CORE_HOUR = 2.5, 0.04  # dollars; assumed, as any other price


def scaling_text(record: Record) -> str:
    """Return what was measured, and the tables computed from it."""
    return "\n".join([*_measured(record), "", *_cases(record), "", *_driver(record), "", *_shards(record)])


def _measured(record: Record) -> list[str]:
    block = record["block"]
    points = record["near_copies"]["points"]
    rows = [
        [f"near-copies of a candidate among {point['hashes']:,} hashes", f"{point['milliseconds']:.3f} ms"]
        for point in points
    ]
    what = f"result of a block of {block['candidates']} candidates of {block['side']} px"
    rows += [
        [f"{what}: bytes", f"{block['bytes'] / 1e6:.2f} MB"],
        [f"{what}: encode, write, decode", ", ".join(f"{block[f'{k}_milliseconds']:.1f}" for k in _STEPS) + " ms"],
    ]
    rows += [
        [f"manifest of {each['shards']:,} shards: bytes, write", f"{each['bytes'] / 1e6:.2f} MB, {each['seconds']} s"]
        for each in record["manifest"]
    ]
    head = f"Processor time on a {record['machine']}; load of the machine at the start: {record['load_average']}."
    return [head, "", *table(["measured", "value"], rows, right={1})]


_STEPS = ("encode", "write", "decode")


def _cases(record: Record) -> list[str]:
    """Return what 64 GPUs and 5,000 cores take to compute the samples, the driver left aside."""
    calls, morph = _load("generator_calls"), _load("morph")["run"]
    later = calls["without_surveyed_origins"]  # of so many samples, the survey gives the origins of hardly any
    images = later["images"] / later["accepted"]
    gpu = _load("gpu")["networks"][f"StyleGAN2, {SIDE} px"]["variants"]["float32"]["images_per_second"]
    synthesis = _load("speed")["rows"]["synthesis"]["cases"]
    cpu = next(case for case in synthesis if f"{SIDE} px" in case["name"])["contenders"]["faceaug"]["per_second"]
    edit_blocks = SAMPLES * later["attempts"] / later["accepted"] / EDIT_BLOCK
    morph_blocks = SAMPLES / morph["share_of_attempts_accepted"] / MORPH_BLOCK
    mixed = morph["accepted_per_second"] / MACHINE_CORES * (MORPH_SIDE / SIDE) ** 2
    cases = [
        (f"{GPUS} GPUs, generator", GPUS, gpu / images, edit_blocks, GPU_HOUR),
        (f"{CORES:,} cores, generator", CORES, cpu / MACHINE_CORES / images, edit_blocks, CORE_HOUR),
        (f"{CORES:,} cores, morph", CORES, mixed, morph_blocks, CORE_HOUR),
    ]
    each = record["block"]["bytes"] / record["block"]["candidates"]
    rows = []
    for name, count, rate, blocks, price in cases:
        hours = SAMPLES / rate / count / 3600
        rows.append(
            [
                name,
                f"{rate:.3g}",
                f"{hours:,.0f} h",
                f"{blocks / 1e6:.1f} million",
                f"{blocks / hours / 3600:,.0f}",
                f"{SAMPLES * each / hours / 3600 / 1e6:,.0f} MB/s",
                f"${hours * count * price / SAMPLES * 1e6:,.0f}",
            ]
        )
    head = ["computed on", "samples/s each", "time", "units (blocks)", "units/s", "to the driver", "cost a million"]
    return table(head, rows, right=range(1, 7))


def _driver(record: Record) -> list[str]:
    """Return the hours of the driver, which is one process."""
    growth = _load("growth")["axes"]["samples"]["points"][-1]
    speed = _load("speed")["rows"]
    decoding = next(case for case in speed["decoding"]["cases"] if case["name"] == f"{SIDE} px")
    writing = next(case for case in speed["writing"]["cases"] if case["name"].startswith(f"{SIDE} px"))
    block, manifests = record["block"], record["manifest"]
    accounting = growth["processor_seconds"] / growth["size"]
    handled = block["write_milliseconds"] + block["decode_milliseconds"]
    beyond = _near_copies(record, SAMPLES) - _near_copies(record, growth["size"])
    shards = SAMPLES / SHARD_ROWS
    steps = [
        ("write and read results of full blocks", SAMPLES / block["candidates"] * handled / 1e3, "measured"),
        ("accounting, with near-copies among the first million", SAMPLES * accounting, "measured at a million"),
        ("near-copies beyond", beyond, "line through the points above"),
        ("encode images", SAMPLES / decoding["contenders"]["faceaug"]["per_second"], "assumed to take as decoding"),
        ("write shards", SAMPLES / writing["contenders"]["faceaug"]["per_second"], "measured"),
        (
            "write the manifest once a shard",
            shards / 2 * manifests[-1]["seconds"] * shards / manifests[-1]["shards"],
            "measured at this number of shards",
        ),
    ]
    rows = [[what, f"{seconds / 3600:,.1f} h", how] for what, seconds, how in steps]
    total = sum(seconds for _, seconds, _ in steps)
    rows.append(["in all, one after the other", f"{total / 3600:,.0f} h", ""])
    parts = 16
    part = (total - steps[2][1] - steps[-1][1]) / parts + _near_copies(record, SAMPLES // parts)
    rows.append([f"each of {parts} drivers with a part of the cells", f"{part / 3600:,.0f} h", "computed"])
    return table(["driver", "time", "from"], rows, right={1})


def _near_copies(record: Record, samples: int) -> float:
    """Return the seconds that the search for near-copies takes in a run; a candidate's grows with those before it."""
    points = record["near_copies"]["points"]
    slope, least = np.polyfit([p["hashes"] for p in points], [p["milliseconds"] / 1e3 for p in points], 1)
    return float(least * samples + slope * samples**2 / 2)


def _shards(record: Record) -> list[str]:
    points = {point["size"]: point["peak_megabytes"] * 1e6 for point in _load("growth")["axes"]["samples"]["points"]}
    (small, first), (large, last) = sorted(points.items())[-2:]
    memory = (last - first) / (large - small)
    writing = _load("speed")["rows"]["writing"]["cases"]
    name = next(case for case in writing if case["name"].startswith(f"{SIDE} px"))["name"]
    image = float(name.split()[-2]) * 1e6 / float(name.split()[2].replace(",", ""))
    count = SAMPLES / SHARD_ROWS
    size = record["manifest"][-1]
    rows = [
        ["images", f"{SAMPLES * image / 1e12:.1f} TB ({image / 1e3:.0f} kB each)"],
        ["shards", f"{count:,.0f} of {SHARD_ROWS:,} rows, {SHARD_ROWS * image / 1e6:.0f} MB each"],
        ["manifest", f"{size['bytes'] / size['shards'] * count / 1e6:.1f} MB, and what the cells take"],
        ["memory of the driver", f"{SAMPLES * memory / 1e9:.0f} GB ({memory:.0f} bytes a sample)"],
    ]
    return table(["output", "size"], rows, right=set())


def _load(name: str) -> Record:
    record: Record = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return record
