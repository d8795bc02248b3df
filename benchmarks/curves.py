"""Keep the arms of several experiments as one record: how much, how strict, how mixed is enough.

faceaug bench few-faces -o gates-out/ \
    --set 'arms=[rwg, "morph:two_stage[most=25]", "morph:two_stage[most=25,where=residual < 0.41]"]'
faceaug bench few-faces --set 'arms=[rwg, "morph:two_stage[most=25]"]' --set synthesis.settings.donors=2 -o donors-out/
python benchmarks/curves.py gates-out/ donors-out/          # benchmarks/results/curves.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _record import write_result
from experiments import rounded, synthetic_sets

from faceaug.bench.results.record import Results, read_results
from faceaug.bench.results.statistics import paired_differences

BASELINE = "rwg"
FIGURES = ("mean_of_groups", "worst_group", "thinned_groups")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="+", help="what faceaug bench wrote; the arm rwg is among its arms")
    results = [read_results(out) for out in parser.parse_args().out]
    write_result("curves", {"seed": results[0].content["seeds"], "experiments": [account(each) for each in results]})


def account(results: Results) -> dict[str, Any]:
    """Return the arms of an experiment beside `rwg` and beside the first arm that uses samples."""
    content = results.content
    own = content["by_selection"][results.selection]["arms"]
    first = next(arm for arm in content["arms"] if ":" in arm)
    figures = {(run["arm"], run["seed"]): run["selected"][results.selection]["figures"] for run in content["runs"]}
    synthesis = content["recipe"]["synthesis"]
    sets = synthetic_sets(content["runs"])
    aucs = [one["figures"]["auc"] for one in sets if one.get("figures")]
    return {
        "command": content["command"],
        "versions": content["versions"],
        "machine": content["machine"],
        "seeds": content["seeds"],
        "settings": synthesis["settings"],
        "thresholds": synthesis["thresholds"],
        "accepted": sum(one["accepted"] for one in sets),
        "planned": sum(one["planned"] for one in sets),
        "samples": {
            arm: float(np.mean([run["faces"]["synthetic"] for run in content["runs"] if run["arm"] == arm]))
            for arm in own
        },
        "auc": aucs,
        "first": first,
        "arms": {arm: rounded(one, FIGURES) for arm, one in own.items()},
        **{
            f"less_{key}": {arm: rounded(one, FIGURES) for arm, one in paired_differences(figures, baseline).items()}
            for key, baseline in (("baseline", BASELINE), ("first", first))
        },
    }


if __name__ == "__main__":
    main()
