"""Write the figures of the README from the records in benchmarks/results: each block between markers is one record's.

    python benchmarks/figures.py            # brings README.md up to date
    python benchmarks/figures.py --check    # says whether it is, and exits with 1 where not

A block begins with `<!-- figures: benchmarks/results/NAME.json -->` and ends with `<!-- end of figures -->`. How a
record reads as text is told by the function of its name below.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?P<head><!-- figures: benchmarks/results/(?P<name>\w+)\.json -->\n).*?(?P<tail><!-- end of figures -->)", re.S
)
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args()
    page = ROOT / "README.md"
    before = page.read_text(encoding="utf-8")
    after = up_to_date(before)
    if given.check:
        sys.exit(0 if after == before else "README.md does not say what benchmarks/results hold: run figures.py")
    page.write_text(after, encoding="utf-8")


def up_to_date(text: str) -> str:
    """Return a page with every block written anew from its record."""

    def written(found: re.Match[str]) -> str:
        record = json.loads((ROOT / "benchmarks" / "results" / f"{found['name']}.json").read_text(encoding="utf-8"))
        return found["head"] + AS_TEXT[found["name"]](record) + "\n" + found["tail"]

    return BLOCK.sub(written, text)


def real_run(record: Record) -> str:
    """Return the account of a run on real photographs (real_faces.py)."""
    totals, seconds = record["totals"], record["seconds"]
    learning = sum(seconds[name] for name in ("probes", "framing and photometry", "soundness", "directions"))
    tried = sum(cell["tried"] for cell in record["cells"])
    verified = "clean" if not record["verify"]["problems"] else f"{record['verify']['problems']} problems"
    under = record.get("note", "")
    lines = [
        f"{totals['planned']:,} faces planned, {totals['accepted']:,} accepted ({totals['accepted_share']:.0%}), "
        f"{totals['short']:,} short, after {tried:,} attempts; `faceaug verify`: {verified}; "
        f"{record['dataloader']['samples']:,} read by a DataLoader. On a {record['machine']}: learning "
        f"{learning / 60:.0f} minutes, making {seconds['making'] / 60:.0f}{under}.",
        "",
        *table(
            ["cell", "real", "planned", "accepted", "short", "refused most by"],
            [cell_row(cell) for cell in record["cells"] if cell["planned"]],
            right=range(1, 5),
        ),
        "",
        *table(
            ["probe, on held-out faces", "accuracy", "mean recall", "calibration error", "pull of a stop of exposure"],
            [probe_row(who, task) for who in ("steering", "judge") for task in record["probes"][who]],
            right=range(1, 5),
        ),
        "",
        f"R² of the directions on held-out draws: {', '.join(f'{k} {v:.2f}' for k, v in record['r2'].items())}.",
    ]
    shares = [cell["made"] / cell["real"] for cell in record["variety"]]
    lines += [
        "",
        f"Two made faces of a cell differ {min(shares):.0%} to {max(shares):.0%} as much as two of its real ones (mean "
        "distance in the judge's features).",
    ]
    for edit in record["edits"]:
        if "black" in edit["attributes"].values():
            lines += [
                "",
                f"Edits to *{', '.join(edit['attributes'].values())}* moved the luminance outside the face by "
                f"{edit['outside_mean_change']:.3f} on average (from {edit['outside_before']:.2f} to "
                f"{edit['outside_after']:.2f} on [-1, 1]), and in its middle by {edit['face_mean_change']:.3f}.",
            ]
    return "\n".join(lines)


def unlabelled(record: Record) -> str:
    """Return what was measured without labels, and the account of a run that counted by it (measured_faces.py)."""
    measured, totals, seconds = record["measured"], record["totals"], record["seconds"]
    learning = sum(seconds[name] for name in ("probes", "framing and photometry", "soundness", "directions"))
    at = measured["quantiles_at"]
    shown = [at.index(q) for q in (0.05, 0.5, 0.95)]
    rows = [
        [name, *(f"{each['quantiles'][k]:g}" for k in shown), f"{each['confidence']:.2f}", each["unit"]]
        for name, each in measured["semantics"].items()
    ]
    beyond = measured["semantics"]["yaw"]["share_beyond"]["20"]
    reasons = ", ".join(f"{why} {count:,}" for why, count in measured["cannot_tell"].items())
    judge = record["probes"]["judge"][0]
    return "\n".join([
        *table(["measured", "5%", "median", "95%", "confidence", "unit"], rows, right=range(1, 5)),
        "",
        f"{measured['told']:,} of {measured['images']:,} are measured ({reasons}); {sum(beyond):.1%} are turned by "
        "more than 20 degrees. Another network that learnt these values of yaw reads them on held-out photographs with "
        f"a correlation of {judge['correlation']:.2f}.",
        "",
        f"`{record['run']}`: {totals['planned']:,} planned, {totals['accepted']:,} accepted, "
        f"{learning / 60:.0f} minutes of learning and {seconds['making'] / 60:.0f} of making.",
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
        f"(refused: {refused}). Yaw {'; '.join(cells)}."
    )


def inverted(record: Record) -> str:
    """Return how near inverted photographs come, and the account of a run that began with them (inversion.py)."""
    rows = [
        [
            f"{part['what']}, {f'{steps} steps' if (steps := part['steps']) else 'guessed'}",
            *(f"{part['error'][k]:.2f}" for k in (1, 2, 3)),
            f"{part['within_limit']:.0%}",
            f"{part['told_from_all_others']:.0%}",
        ]
        for part in record["inverted"]
    ]
    run = record["run"]
    totals, refused = run["totals"], sorted(run["totals"]["rejected"].items(), key=lambda item: -item[1])
    lines = [
        f"{record['faces_found']} of {record['photographs']} photographs, and as many draws; the mean face is "
        f"{record['mean_face'][2]:.2f} from a photograph.",
        "",
        *table(
            ["inverted", "error, 25%", "50%", "75%", f"within {record['limit']:g}", "told from all others"],
            rows,
            right=range(1, 6),
        ),
        "",
        f"`{run['command']}`: {totals['accepted']} of {totals['planned']} accepted after {totals['tried']:,} attempts, "
        f"of {run['people']} people (refused: {', '.join(f'{name} {count}' for name, count in refused)}).",
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
    head = ["line and what is held", "outside, a unit", "face, a unit", "yaw", "pitch", "light_x", "arrive"]
    return "\n".join([
        *table(head, rows, right=range(1, 7)),
        "",
        "Luminance on [-1, 1] for a unit of log-odds, by a straight step; drift in standard deviations, and the share "
        "that reaches 75%, after the closed loop.",
    ])  # fmt: skip


def cell_row(cell: Record) -> list[str]:
    """Return a cell's account, with the two gates that refused most attempts at it."""
    most = sorted(cell["rejected"].items(), key=lambda kv: -kv[1])[:2]
    counts = [f"{cell[name]:,}" for name in ("real", "planned", "accepted", "short")]
    return [", ".join(cell["attributes"].values()), *counts, ", ".join(f"{name} {n:,}" for name, n in most)]


def probe_row(who: str, task: Record) -> list[str]:
    """Return how good a probe of classes is."""
    shares = [f"{task[name]:.1%}" for name in ("accuracy", "mean_recall")]
    rest = [f"{task['calibration_error']:.3f}", f"{task['exposure_pull']:.2f} sd"]
    return [f"{who}: {task['attribute']}", *shares, *rest]


def table(head: list[str], rows: list[list[str]], right: range) -> list[str]:
    """Return the lines of a table, with the columns in `right` set to the right."""
    marks = ["---:" if i in right else "---" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in (head, marks, *rows)]


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
    head = ["coupling", "seeds", "right side out", "and yaw follows", "yaw's correlation with the truth"]
    return "\n".join(
        [
            f"{record['steps']} steps of {record['batch']} pictures at {record['side']} px on `{record['generator']}`:",
            "",
            *table(head, rows, right=range(1, 5)),
        ]
    )


def scenes(record: Record) -> str:
    """Return how well scenes with known truth are read (reconstruction.py)."""
    one, its = record["network"], record["unsup3d_on_its_own_set"]
    shown = ("yaw", "pitch", "roll", "light_x", "light_y")
    follows = ", ".join(f"{name.replace('_', '-')} {one['correlation'][name]:.3f}" for name in shown)
    depth, angle = one["scale_invariant_depth_error"]["mean"], one["mean_angle_deviation"]["mean"]
    return (
        f"On {record['judged']:,} unseen scenes with known truth, {record['side']} px, the network correlates with it: "
        f"{follows}. Depth in the view: scale-invariant error {depth * 100:.2f}e-2, normals off by {angle:.1f}° "
        f"(Unsup3D on its own set at 64 px: {its['scale_invariant_depth_error'] * 100:.3f}e-2 and "
        f"{its['mean_angle_deviation']}°)."
    )


SHOWN = ("within ±30°, as in balance", "within ±30°, all of view and light kept", "at ±45°, as in balance")


def found_yaw(record: Record) -> str:
    """Return how good the found yaw is by the judge (yaw.py)."""
    yaw = record["agreement"]["yaw"]
    rows = [
        [
            f"{asked}, {how}", f"{one['by the network']['within_5_degrees']:.0%}",
            f"{one['by the judge']['within_5_degrees']:.0%}", f"{one['judge_per_asked_degree']:.2f}",
            f"{one['others_moved']:.2f} sd", f"{one['atoms_moved']:.2f} sd",
        ]
        for asked, both in record["edits"].items() if asked in SHOWN
        for how, one in both.items() if isinstance(one, dict)
    ]  # fmt: skip
    head = [
        "yaw asked for",
        "within 5° by the network",
        "by the judge",
        "judged per asked degree",
        "pitch, roll, light move",
        "atoms move",
    ]
    told = (
        f"Yaw on {record['draws']:,} fresh draws of `digiface`: correlation {yaw['correlation']:.2f} with a judge that "
        "learnt only from an independent landmark model's pose, cosine of the direction to the judge's regression "
        f"{yaw['cosine']:.2f}, R² {yaw['r2_of_the_direction']:.2f}; one degree of the judge is "
        f"{yaw['found_degree_per_judged_degree']:.2f} found ones."
    )
    return "\n".join([told, "", *table(head, rows, right=range(1, 6))])


def atoms(record: Record) -> str:
    """Return how local and how stable the atoms are (atoms.py)."""
    own = next(each for name, each in record["methods"].items() if name == "faceaug, evenness 0.2")
    return (
        f"{own['atoms']} atoms, {own['atoms_in_the_face']} of them in the face: {own['local']:.0%} have 60% of their "
        f"energy in one region ({own['local_effects_held_softly']:.0%} by what moving one changes while the others are "
        f"held softly), {own['found_again']['maps']:.0%} of the maps and {own['found_again']['readings']:.0%} of the "
        "readings are found again on other draws."
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
    head = ["label", "held-out score", "by view and light alone", "labels shuffled", "most in"]
    return "\n".join([
        *table(head, rows, right=range(1, 4)),
        "",
        f"Balanced accuracy (R² for age) on {record['data']}.",
    ])  # fmt: skip


def degrees(record: Record) -> str:
    """Return where found degrees of yaw are right and where they are too small (yaw_scale.py)."""
    per = record["found_degree_per_landmark_degree"]
    found, told = (", ".join(f"{one[who]:.0f}" for one in record["read_alike"]) for who in ("found", "landmarks"))
    before, after = record["errors"]["as found"], record["errors"]["scaled"]
    return (
        f"On {record['faces']:,} faces a degree of the landmark model is {per['up to 10 degrees']:.2f} found ones up "
        f"to 10°, and {per['over all faces']:.2f} over all of them: faces read as {found} are turned by {told}. "
        f"No factor is applied: that of the linear model, {record['scale_from_the_linear_model']:.2f}, takes the error "
        f"beyond 20° from {before['beyond 20']:.1f}° to {after['beyond 20']:.1f}°, but that up to 10° from "
        f"{before['up to 10']:.1f}° to {after['up to 10']:.1f}°."
    )


def large_generators(record: Record) -> str:
    """Return what discovery costs where pictures are large (discovery_cost.py)."""
    rows = []
    for run in record["runs"]:
        usual, each = run["default"], run["seconds_a_unit"]["drawing faces"]
        drawing = each * usual["pictures"] / 3600
        rows.append(
            [
                f"{run['resolution']} px, read at {run['side']}",
                f"{each:.2f} s",
                f"{drawing:.1f} h",
                f"{usual['core_hours']:.1f} h",
                f"{run['peak_gigabytes']:.1f} GB",
            ]
        )
    head = ["generator", "drawing one", f"drawing all {usual['pictures']:,}", "whole discovery", "memory"]
    under = (
        "Networks of StyleGAN2's configuration f with random weights; hours of one core, extrapolated from a short run."
    )
    return "\n".join([*table(head, rows, right=range(1, 5)), "", under])


AS_TEXT: dict[str, Callable[[Record], str]] = {
    "utkface": real_run,
    "unlabelled": unlabelled,
    "skin": skin,
    "rerender": rerendered,
    "inversion": inverted,
    "yaw": found_yaw,
    "yaw_scale": degrees,
    "reconstruction": scenes,
    "ablation": couplings,
    "atoms": atoms,
    "explain": explained,
    "discovery_cost": large_generators,
}

if __name__ == "__main__":
    main()
