"""The account of morphs on docs/results.md (synthetic_quality.py, morph_frame.py)."""

from __future__ import annotations

from typing import Any

from _markdown import table

Record = dict[str, Any]


def morph_text(record: Record) -> str:
    """Return how near the samples of a run are to photographs."""
    run, labels, identity = record["run"], record["labels"], record["identity"]
    rejected = ", ".join(f"{name} {n:,}" for name, n in sorted(run["rejected"].items(), key=lambda item: -item[1]))
    end = "when it was interrupted" if run["interrupted"] else "in all"
    made, real = (record[f"real_against_{kind}"] for kind in ("synthetic", "real"))
    aucs = "; ".join(f"{made[side]:.2f} at {side} (photographs from photographs: {real[side]:.2f})" for side in made)
    return "\n".join(
        [
            f"{run['accepted']:,} of {run['planned']:,} planned faces were accepted {end}, "
            f"{run['share_of_attempts_accepted']:.0%} of the attempts and {run['accepted_per_second']} a second with "
            f"other work on the machine (load average {record['load_average']:.0f} on two cores), in "
            f"{run['peak_memory_megabytes'] / 1000:.1f} GB. Rejected: {rejected}.",
            "",
            f"On {record['compared']:,} samples: a fresh classifier on frozen features tells morphs from photographs "
            f"with an AUC of {aucs}. A fresh classifier of the {labels['cells']} cells is right on "
            f"{labels['samples']:.0%} of the samples and {labels['held_out_photographs']:.0%} of held-out photographs. "
            f"Two samples of a cell differ {record['diversity']['mean']:.0%} as much as two photographs. Distance of "
            f"identity to the nearest source: median {identity['to_nearest_source'][2]:.2f}, "
            f"{identity['below_0.35']:.0%} below 0.35; between two photographs of a cell "
            f"{identity['two_photographs_of_a_cell'][2]:.2f} and {identity['two_photographs_below_0.35']:.0%}.",
        ]
    )


def frame_text(record: Record) -> str:
    """Return how well faces lie on one another in the canonical frame, and what a morph costs."""
    alignment = record["alignment"]
    pairs = alignment["between_host_and_donor"]
    columns = (
        alignment["spread_over_people"],
        *(pairs[f"{when} registration"][which] for which in ("median", "quantile_0.9") for when in ("before", "after")),
    )
    head = ["pixels of 128", "spread over people", "median before", "median after", "90% before", "90% after"]
    rows = [[name, *(f"{column[k]:.1f}" for column in columns)] for k, name in enumerate(alignment["landmarks"])]
    cost = ", ".join(f"{one['median_seconds']:.2f} s at {one['side']:,} pixels" for one in record["resolution"])
    peak = max(one["peak_memory_of_process_megabytes"] for one in record["resolution"])
    lines = table(head, rows, range(1, len(head)))
    return "\n".join(
        [
            *lines,
            "",
            f"{alignment['faces']} faces; distances are between host and nearest donor. Registering and rendering one "
            f"morph with one thread, load average {record['load_average']:.0f}: {cost}; the process took at most "
            f"{peak:,} MB.",
        ]
    )
