"""Write the figures of documents in docs/ from records, and those of the demo in README.md.

    python benchmarks/figures.py            # updates the pages
    python benchmarks/figures.py --check    # changes nothing; exits with 1 if a page is out of date

A block begins with `<!-- figures: benchmarks/results/NAME.json -->` and ends with `<!-- end of figures -->`.
`AS_TEXT` maps the name of a record to the function that writes it as Markdown. A record of an earlier version may hold
keys, options and gates by the names of that version; _earlier_records.py replaces them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _classifiers_text import classifiers_text
from _demo_text import demo_text, with_demo_figures
from _directions_text import degrees, directions_text, found_yaw, generator_calls
from _earlier_records import current, load_record
from _experiments_text import curves_text, experiment_text
from _identity_text import identity_text
from _markdown import table
from _measurement_text import engine_steps, measure_trials, measuring, pose_accuracy, skin_tones, turned_heads
from _morph_text import extrapolation_text, frame_text, quality_text
from _performance_text import growth_plot, growth_text, speed_text
from _reliability_text import reliability_text
from _scaling_text import scaling_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("results", "performance", "scaling", "reliability"))
BLOCK = re.compile(
    r"(?P<head><!-- figures: benchmarks/results/(?P<name>\w+)\.json -->\n).*?(?P<tail><!-- end of figures -->)", re.S
)
Record = dict[str, Any]

FITTING_STAGES = ("classifiers", "framing and image statistics", "face quality", "directions")  # seconds of training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args()
    files = {page: up_to_date(page.read_text(encoding="utf-8")) for page in PAGES}
    growth, demo = (ROOT / "benchmarks" / "results" / f"{name}.json" for name in ("growth", "demo"))
    if growth.exists():
        files[ROOT / "docs" / "growth.svg"] = growth_plot(load_record(growth))
    files[README] = with_demo_figures(README.read_text(encoding="utf-8"), load_record(demo))
    for path, after in files.items():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if given.check and after != before:
            sys.exit(f"{path.relative_to(ROOT)} is out of date: run python benchmarks/figures.py")
        if not given.check:
            path.write_text(after, encoding="utf-8")


def up_to_date(text: str) -> str:
    """Return a page with every marked block rewritten from its record."""

    def written(found: re.Match[str]) -> str:
        path = ROOT / "benchmarks" / "results" / f"{found['name']}.json"
        if not path.exists():
            return found["head"] + "Not measured yet.\n" + found["tail"]
        record = load_record(path)
        return found["head"] + current(AS_TEXT.get(found["name"], experiment_text)(record)) + "\n" + found["tail"]

    return BLOCK.sub(written, text)


def real_run(record: Record) -> str:
    """Return the account of a run on real photographs (real_faces.py)."""
    totals, seconds = record["totals"], record["seconds"]
    training = sum(seconds[name] for name in FITTING_STAGES)
    tried = sum(cell["tried"] for cell in record["cells"])
    verified = "clean" if not record["verify"]["problems"] else f"{record['verify']['problems']} problems"
    under = record.get("note", "")
    lines = [
        f"{totals['planned']:,} faces planned, {totals['accepted']:,} accepted ({totals['accepted_share']:.0%}), "
        f"{totals['short']:,} short, after {tried:,} attempts; `faceaug verify`: {verified}; "
        f"{record['dataloader']['samples']:,} read by a DataLoader. On a {record['machine']}: training "
        f"{training / 60:.0f} minutes, synthesis {seconds['synthesis'] / 60:.0f} minutes{under}.",
        "",
        *table(
            ["cell", "real", "planned", "accepted", "short", "most frequent rejections"],
            [cell_row(cell) for cell in record["cells"] if cell["planned"]],
            right=range(1, 5),
        ),
        "",
        *table(
            ["classifier, on held-out faces", "accuracy", "mean recall", "calibration error", "effect of one stop"],
            [classifier_row(who, task) for who in ("guidance", "held_out") for task in record["classifiers"][who]],
            right=range(1, 5),
        ),
        "",
        f"R² of the directions on held-out samples: {', '.join(f'{k} {v:.2f}' for k, v in record['r2'].items())}.",
    ]
    shares = [cell["synthetic"] / cell["real"] for cell in record["variety"]]
    lines += [
        "",
        f"Two synthetic faces of a cell differ {min(shares):.0%} to {max(shares):.0%} as much as two real faces of the "
        "cell (mean distance in the features of the held-out classifier).",
    ]
    for edit in record["edits"]:
        if "black" in edit["attributes"].values():
            lines += [
                "",
                f"Edits to *{', '.join(edit['attributes'].values())}* moved the luminance outside the face by "
                f"{edit['outside_mean_change']:.3f} on average (from {edit['outside_before']:.2f} to "
                f"{edit['outside_after']:.2f} on [-1, 1]), and in the centre of the image by "
                f"{edit['face_mean_change']:.3f}.",
            ]
    return "\n".join(lines)


def unlabelled(record: Record) -> str:
    """Return what was measured without labels, and the account of a run balanced by it (measured_faces.py)."""
    measured, totals, seconds = record["measured"], record["totals"], record["seconds"]
    training = sum(seconds[name] for name in FITTING_STAGES)
    at = measured["quantiles_at"]
    shown = [at.index(q) for q in (0.05, 0.5, 0.95)]
    rows = [
        [name, *(f"{each['quantiles'][k]:g}" for k in shown), f"{each['confidence']:.2f}", each["unit"]]
        for name, each in measured["semantics"].items()
    ]
    beyond = measured["semantics"]["yaw"]["share_beyond"]["20"]
    reasons = ", ".join(f"{why} {count:,}" for why, count in measured["cannot_tell"].items())
    held_out = record["classifiers"]["held_out"][0]
    return "\n".join([
        *table(["measured", "5%", "median", "95%", "confidence", "unit"], rows, right=range(1, 5)),
        "",
        f"{measured['accepted']:,} of {measured['images']:,} photographs are measured ({reasons}); {sum(beyond):.1%} "
        "are turned by more than 20 degrees. A separate network trained on these values of yaw predicts them on "
        f"held-out photographs with a correlation of {held_out['correlation']:.2f}.",
        "",
        f"`{record['run']}`: {totals['planned']:,} planned, {totals['accepted']:,} accepted, "
        f"{training / 60:.0f} minutes of training and {seconds['synthesis'] / 60:.0f} of synthesis.",
    ])  # fmt: skip


def rerendered(record: Record) -> str:
    """Return the account of a run on real faces turned (measured_faces.py)."""
    totals = record["totals"]
    cells = [
        f"{cell['attributes']['yaw']}: {cell['accepted']} of {cell['planned']} ({cell['real']} real)"
        for cell in record["cells"] if cell["planned"]
    ]  # fmt: skip
    refused = ", ".join(f"{name} {count}" for name, count in totals["rejected"].items())
    return (
        f"`{record['run']}`: {totals['accepted']} of {totals['planned']} accepted after {totals['tried']} attempts "
        f"(rejected: {refused}). Yaw {'; '.join(cells)}."
    )


def inverted(record: Record) -> str:
    """Return how near inverted photographs come, and the account of a run that began with them (inversion.py)."""
    rows = [
        [
            f"{'samples' if part['what'] == 'draws' else part['what']}, "
            f"{f'{steps} steps' if (steps := part['steps']) else 'encoder alone'}",
            *(f"{part['error'][k]:.2f}" for k in (1, 2, 3)),
            f"{part['within_limit']:.0%}",
            f"{part['told_from_all_others']:.0%}",
        ]
        for part in record["inverted"]
    ]
    run = record["run"]
    totals, refused = run["totals"], sorted(run["totals"]["rejected"].items(), key=lambda item: -item[1])
    lines = [
        f"{record['faces_found']} of {record['photographs']} photographs, and as many generated samples; the median "
        f"distance of the mean face to a photograph is {record['mean_face'][2]:.2f}.",
        "",
        *table(
            ["inverted", "error, 25%", "50%", "75%", f"within {record['limit']:g}", "nearest to its own image"],
            rows,
            right=range(1, 6),
        ),
        "",
        f"`{run['command']}`: {totals['accepted']} of {totals['planned']} accepted after {totals['tried']:,} attempts, "
        f"of {run['people']} people (rejected: {', '.join(f'{name} {count}' for name, count in refused)}).",
    ]
    return "\n".join(lines)


def skin(record: Record) -> str:
    """Return what edits of an attribute did to the rest of the photograph (skin.py)."""
    rows = []
    for name, both in record["ways"].items():
        one, two = both["straight"], both["closed"]
        rows.append([
            name, f"{one['outside_luminance_a_unit']:+.3f}", f"{one['face_luminance_a_unit']:+.3f}",
            *(f"{two['drift'][k]:.2f}" for k in ("yaw", "pitch", "light_x")), f"{two['arrived']:.0%}",
        ])  # fmt: skip
    head = ["direction and what is kept", "outside", "face", "yaw", "pitch", "light_x", "reached"]
    return "\n".join([
        *table(head, rows, right=range(1, 7)),
        "",
        "Outside and face: change of luminance on [-1, 1] per unit of log-odds, by one linear step. Yaw, pitch and "
        "light_x: drift in standard deviations. Reached: share of samples with a probability of at least 75%. Drift "
        "and share are those after the closed loop.",
    ])  # fmt: skip


def cell_row(cell: Record) -> list[str]:
    """Return a cell's account, with the two gates that rejected most attempts."""
    most = sorted(cell["rejected"].items(), key=lambda kv: -kv[1])[:2]
    counts = [f"{cell[name]:,}" for name in ("real", "planned", "accepted", "short")]
    return [", ".join(cell["attributes"].values()), *counts, ", ".join(f"{name} {n:,}" for name, n in most)]


def classifier_row(who: str, task: Record) -> list[str]:
    """Return how good a classifier of one attribute is."""
    shares = [f"{task[name]:.1%}" for name in ("accuracy", "mean_recall")]
    rest = [f"{task['calibration_error']:.3f}", f"{task['exposure_pull']:.2f} sd"]
    return [f"{who.replace('_', '-')}: {task['attribute']}", *shares, *rest]


def couplings(record: Record) -> str:
    """Return what each coupling buys (ablation.py)."""
    said = {"none": "none", "paper": "the paper's", "mirror": "the mirror", "both": "both"}
    rows = [
        [
            said[name], f"{one['seeds']}", f"{one['right_side_out']}", f"{one['found']}",
            f"{one['yaw_correlation']['median']:.2f} ({one['yaw_correlation']['least']:.2f} to "
            f"{one['yaw_correlation']['most']:.2f})",
        ]
        for name, one in record["couplings"].items()
    ]  # fmt: skip
    head = ["coupling", "seeds", "nose nearest", "and yaw correlated", "correlation of yaw with the truth"]
    return "\n".join(
        [
            f"{record['steps']} steps, batches of {record['batch']} images at {record['side']} px, generator "
            f"`{record['generator']}`:",
            "",
            *table(head, rows, right=range(1, 5)),
        ]
    )


def scenes(record: Record) -> str:
    """Return how well rendered scenes with ground truth are reconstructed (reconstruction.py)."""
    one, its = record["network"], record["unsup3d_on_its_own_set"]
    shown = ("yaw", "pitch", "roll", "light_x", "light_y")
    follows = ", ".join(f"{name.replace('_', '-')} {one['correlation'][name]:.3f}" for name in shown)
    depth, angle = one["scale_invariant_depth_error"]["mean"], one["mean_angle_deviation"]["mean"]
    return (
        f"Correlation with the ground truth on {record['judged']:,} held-out scenes at {record['side']} px: {follows}. "
        f"Depth in the view: scale-invariant error {depth * 100:.2f}e-2, mean angle deviation of normals {angle:.1f}° "
        f"(Unsup3D on its own data set at 64 px: {its['scale_invariant_depth_error'] * 100:.3f}e-2 and "
        f"{its['mean_angle_deviation']}°)."
    )


def atoms(record: Record) -> str:
    """Return how local and how stable the atoms are (atoms.py)."""
    own = next(each for name, each in record["methods"].items() if name == "faceaug, evenness 0.2")
    return (
        f"{own['atoms']} atoms, {own['atoms_in_the_face']} of them in the face: {own['local']:.0%} have 60% of their "
        f"energy in one region ({own['local_effects_held_softly']:.0%} by the effect of moving one atom under a soft "
        f"constraint on the others); {own['found_again']['maps']:.0%} of the maps and "
        f"{own['found_again']['readings']:.0%} of the readings are recovered from other samples."
    )


def explained(record: Record) -> str:
    """Return which parts of the face carry labels (explain.py)."""
    rows = []
    for each in record["explanations"]:
        regions = sorted(each["regions"].items(), key=lambda kv: -kv[1])[:3]
        label = f"{each['level']}" if each["level"] else each["attribute"]
        low, high = each["interval"]
        rows.append([
            label, f"{each['score']:.2f} ({low:.2f} to {high:.2f})", f"{each['view_and_light_alone']:.2f}",
            f"{each['shuffled']['mean']:.2f}", ", ".join(f"{name} {share:.0%}" for name, share in regions),
        ])  # fmt: skip
    head = ["label", "held-out score", "view and light alone", "shuffled labels", "regions with most weight"]
    return "\n".join([
        *table(head, rows, right=range(1, 4)),
        "",
        f"Balanced accuracy (R² for age) on {record['data']}.",
    ])  # fmt: skip


def large_generators(record: Record) -> str:
    """Return what discovery costs for generators of high resolution (discovery_cost.py)."""
    rows = []
    for run in record["runs"]:
        usual, each = run["default"], run["seconds_a_unit"]["synthesizing samples"]
        drawing = each * usual["pictures"] / 3600
        rows.append(
            [
                f"{run['resolution']} px, reconstructed at {run['side']}",
                f"{each:.2f} s",
                f"{drawing:.1f} h",
                f"{usual['core_hours']:.1f} h",
                f"{run['peak_gigabytes']:.1f} GB",
            ]
        )
    head = ["generator", "one sample", f"all {usual['pictures']:,} samples", "whole discovery", "memory"]
    under = (
        "Networks of StyleGAN2's configuration F with random weights; hours of one core, extrapolated from a short run."
    )
    return "\n".join([*table(head, rows, right=range(1, 5)), "", under])


def on_gpu(record: Record) -> str:
    """Return the speed of synthesis on a GPU (speed_gpu.py)."""
    names = list(next(iter(record["networks"].values()))["variants"])
    rows = []
    for network, measured in record["networks"].items():
        speeds = [measured["variants"][name] for name in names]
        memory = f"{measured['used_bytes_per_image'] / 1e6:,.0f} MB"
        rows.append([network, *(f"{speed['images_per_second']:,.0f}" for speed in speeds), memory])
    head = ["network, images per second", *names, "memory per image"]
    return "\n".join([*table(head, rows, right=range(1, len(head))), "", f"{record['machine']}; random weights."])


def imported(record: Record) -> str:
    """Return how closely and how fast imported networks reproduce the official code (measured outside this repository).

    Speeds are those on two threads, by the clock where the record has it.
    """
    networks, clock = record["networks"].values(), "times_the_official_by_the_clock"
    ranges: dict[tuple[str, int], list[float]] = {}
    for name, one in record["speed"]["networks"].items():
        if one["threads"] == 2:
            key = (name.split(",")[0].split("-")[0], one["batch"])
            ranges.setdefault(key, []).append(one.get(clock, one["times_the_official"]))
    rows = [
        [name, f"{batch}", f"{min(times):.1f}" if min(times) == max(times) else f"{min(times):.1f} to {max(times):.1f}"]
        for (name, batch), times in sorted(ranges.items())
    ]
    return "\n".join([
        f"Largest difference of images in [-1, 1] from those of the official code: "
        f"{max(one['picture'] for one in networks):.1e}, over {len(networks)} randomly initialized networks of "
        f"{min(one['resolution'] for one in networks)} to {max(one['resolution'] for one in networks):,} pixels.",
        "",
        *table(["network", "batch", "speed relative to the official code"], rows, right=range(1, 3)),
    ])  # fmt: skip


AS_TEXT: dict[str, Callable[[Record], str]] = {
    "classifiers": classifiers_text,
    "curves": curves_text,
    "demo": demo_text,
    "reliability": reliability_text,
    "scaling": scaling_text,
    "utkface": real_run,
    "unlabelled": unlabelled,
    "skin": skin,
    "rerender": rerendered,
    "inversion": inverted,
    "identity": identity_text,
    "morph": quality_text,
    "extrapolation": extrapolation_text,
    "synthetic_generator": quality_text,
    "synthetic_rerender": quality_text,
    "morph_frame": frame_text,
    "directions": directions_text,
    "yaw": found_yaw,
    "generator_calls": generator_calls,
    "measure_cost": measuring,
    "measure_trials": measure_trials,
    "morph_cost": engine_steps,
    "rerender_cost": engine_steps,
    "pose_accuracy": pose_accuracy,
    "turned_heads": turned_heads,
    "skin_tone": skin_tones,
    "yaw_scale": degrees,
    "reconstruction": scenes,
    "ablation": couplings,
    "atoms": atoms,
    "explain": explained,
    "discovery_cost": large_generators,
    "gpu": on_gpu,
    "parity": imported,
    "speed": speed_text,
    "growth": growth_text,
}

if __name__ == "__main__":
    main()
