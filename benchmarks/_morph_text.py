"""The accounts of samples and of morphs on docs/results.md (synthetic_quality.py, morph_frame.py)."""

from __future__ import annotations

from typing import Any

from _markdown import table

Record = dict[str, Any]


def quality_text(record: Record) -> str:
    """Return how near the samples of a run are to photographs."""
    run, labels = record["run"], record["labels"]
    rejected = ", ".join(f"{name} {n:,}" for name, n in sorted(run["rejected"].items(), key=lambda item: -item[1]))
    end = " when it was interrupted" if run["interrupted"] else ""
    made, real = (record[f"real_against_{kind}"] for kind in ("synthetic", "real"))
    aucs = "; ".join(f"{made[side]:.2f} at {side} (photographs from photographs: {real[side]:.2f})" for side in made)
    parts = [
        f"{run['accepted']:,} of {run['planned']:,} planned faces were accepted{end}, "
        f"{run['share_of_attempts_accepted']:.0%} of the attempts, {run['accepted_per_second']:.1f} a second"
        f"{_load(run)}{_memory(run)}. Rejected: {rejected}.",
        "",
        f"On {record['compared']:,} samples: a fresh classifier on frozen features tells samples from photographs with "
        f"an AUC of {aucs}. A fresh classifier of the {labels['cells']} cells is right on {labels['samples']:.0%} of "
        f"the samples and {labels['held_out_photographs']:.0%} of held-out photographs. Two samples of a cell differ "
        f"{record['diversity']['mean']:.0%} as much as two photographs.{_people(record['identity'])}",
    ]
    return "\n".join(parts)


def _load(run: Record) -> str:
    return "" if run.get("load_average") is None else f" (load average {run['load_average']:.1f})"


def _memory(run: Record) -> str:
    return "" if run["peak_memory_megabytes"] is None else f", in {run['peak_memory_megabytes'] / 1000:.1f} GB"


def _people(identity: Record) -> str:
    if "to_nearest_source" not in identity:
        return ""
    return (
        f" Distance of identity to the nearest source: median {identity['to_nearest_source'][2]:.2f}, "
        f"{identity['below_0.35']:.0%} below 0.35; between two photographs of a cell "
        f"{identity['two_photographs_of_a_cell'][2]:.2f} and {identity['two_photographs_below_0.35']:.0%}."
    )


def frame_text(record: Record) -> str:
    """Return how well faces lie on one another in the canonical frame, and what a morph costs."""
    alignment = record["alignment"]
    lines = _alignment_table(alignment)
    if "alignment_with_tuning" in record:
        tuned = record["alignment_with_tuning"]
        lines += [
            "",
            f"The same where the reconstruction was tuned on these photographs ({tuned['faces']} faces):",
            "",
            *_alignment_table(tuned),
        ]
    cost = ", ".join(f"{one['median_seconds']:.2f} s at {one['side']:,} pixels" for one in record["resolution"])
    peak = max(one["peak_memory_of_process_megabytes"] for one in record["resolution"])
    return "\n".join(
        [
            *lines,
            "",
            f"{alignment['faces']} faces; distances are between host and nearest donor. Registering and rendering one "
            f"morph with one thread, load average {record['load_average']:.0f}: {cost}; the process took at most "
            f"{peak:,} MB.",
        ]
    )


def _alignment_table(alignment: Record) -> list[str]:
    pairs = alignment["between_host_and_donor"]
    columns = (
        alignment["spread_over_people"],
        *(pairs[f"{when} registration"][which] for which in ("median", "quantile_0.9") for when in ("before", "after")),
    )
    head = ["pixels of 128", "spread over people", "median before", "median after", "90% before", "90% after"]
    rows = [[name, *(f"{column[k]:.1f}" for column in columns)] for k, name in enumerate(alignment["landmarks"])]
    return table(head, rows, range(1, len(head)))


def extrapolation_text(record: Record) -> str:
    """Return what extrapolation reaches in thinned cells, beside morphs and real faces of these cells."""
    head = ["samples", "n", "probability of the host", "of the sample", "accepted by it", "new person"]
    rows = []
    for engine, names in (("morph", {"none": "morphs of the few faces"}), ("extrapolate", {})):
        for axis, one in record[engine]["by_axis"].items():
            shares = (f"{one[name]:.0%}" for name in ("reached", "new_person"))
            probabilities = (f"{one[f'probability_{when}']:.2f}" for when in ("before", "after"))
            rows.append([names.get(axis, f"moved in {axis}"), f"{one['n']}", *probabilities, *shares])
    real = record["real"]["age"]
    rows.append(
        ["real faces of the bin", f"{real['n']}", "", f"{real['probability']:.2f}", f"{real['reached']:.0%}", ""]
    )
    return "\n".join(
        [
            *table(head, rows, range(1, len(head))),
            "",
            f"{record['faces']:,} faces, {record['faces_left_in_a_cell']} left in each thinned cell; the probability "
            "of the label that changes, by the held-out classifier, with the gates on label and identity open.",
        ]
    )
