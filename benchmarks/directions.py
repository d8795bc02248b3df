"""What else an edit changes, by directions of InterFaceGAN, GANSpace, SeFa and faceaug on the embedded generator.

    faceaug bench directions -o directions-out/
    python benchmarks/directions.py directions-out/

Takes the results of the experiment over as a record: its command, seed, versions and machine, the recipe, and the
figures of each method and attribute, rounded. Writes benchmarks/results/directions.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _record import write_result

from faceaug.utils.files import read_json

MADE_BY = ("command", "seed", "versions", "machine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="output folder of the experiment")
    parser.add_argument("--out", type=Path, help="another place for the record")
    given = parser.parse_args()
    content = read_json(given.results / "results.json", "the results of a comparison of directions")
    print(write_result("directions", rounded(recorded(content)), given.out))


def recorded(content: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the content of results.json."""
    return {
        **{name: content[name] for name in (*MADE_BY, "recipe", "generator", "directions", "faces", "shared")},
        "attributes": content["attributes"],
        "methods": {
            method: {
                "overall": each["overall"],
                "attributes": {name: edits(own) for name, own in each["attributes"].items()},
            }
            for method, each in content["methods"].items()
        },
        "yaw": content["yaw"],
    }


def edits(own: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the edits of an attribute."""
    return {
        **{name: own[name] for name in ("component", "length", "reached")},
        "latent": {name: own["latent"][name] for name in ("changes", "locality")},
        "attribute": {name: own["attribute"][name] for name in ("change", "dependency")},
    }


def rounded(value: Any) -> Any:
    """Return JSON values with numbers of four decimals."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
