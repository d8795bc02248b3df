"""The figures of identity.py as text for docs/results.md."""

from __future__ import annotations

from typing import Any

from _markdown import table

_MEDIAN, _LOW, _HIGH = 4, 2, 6  # of the quantiles: 50, 5 and 95 %
_TIMES = (
    ("finding, aligning and embedding a face", "a face, found, aligned and embedded"),
    ("embedding an aligned face", "of it, the network"),
    ("embedding an aligned face by dlib itself", "the network by dlib itself"),
    ("nearest of all", "the nearest real face"),
)


def identity_text(record: dict[str, Any]) -> str:
    """Return the account of what the embedder says of real faces."""
    people, found = record["between_people"], record["faces_found_by_embedder"]
    lines = [
        f"{found['found']:,} faces are found in {found['photographs']:,} photographs. Milliseconds of one core: "
        + ", ".join(f"{text} {record['milliseconds'][key]:g}" for key, text in _TIMES)
        + f". Embeddings in torch differ from dlib's by at most {record['milliseconds'][_DIFFERENCE]:g}.",
        "",
        *_detection(record["faces_found"]),
        "",
        *table(
            ["distance", "n", "5%", "median", "95%", "below 0.6"],
            [
                [name, *_figures(people[name])]
                for name in (
                    "random pairs", "pairs of the same gender and ethnicity", "the same, both of 18 or older",
                    "nearest other photograph",
                )
            ]
            + [[f"one photograph, {name}", *_figures(one)] for name, one in record["one_person_changed"].items()],
            range(1, 6),
        ),
        "",
        *_groups(record),
        "",
        *_ages(record),
    ]  # fmt: skip
    return "\n".join(lines)


_DIFFERENCE = "largest distance to dlib's embedding"


def _figures(summary: dict[str, Any]) -> list[str]:
    quantiles = summary["quantiles"]
    figures = [f"{quantiles[k]:.2f}" for k in (_LOW, _MEDIAN, _HIGH)]
    return [f"{summary['n']:,}", *figures, f"{summary['below']:.1%}"]


def _detection(record: dict[str, Any]) -> list[str]:
    rows = [
        [
            f"{one['pixels']}", f"{one['side_at_detection']}", f"{one['found']:.1%}",
            f"{one['found_with_threshold_-0.3']:.1%}", f"{one['milliseconds']:.1f}",
        ]
        for one in record["detection"]
    ]  # fmt: skip
    n = f"faces found, of {record['photographs']}"
    return table(["pixels", "enlarged to", n, "with the threshold -0.3", "milliseconds"], rows, range(5))


def _groups(record: dict[str, Any]) -> list[str]:
    rows = []
    for name, group in record["between_people"]["within_group_by_ethnicity"].items():
        gate = record["adult_strangers_of_one_group"][name]
        rows.append(
            [
                name, f"{group['photographs']:,}", f"{group['pairs']['below']:.1%}",
                f"{group['pairs of adults']['below']:.1%}", f"{group['nearest other photograph']['quantiles'][4]:.2f}",
                f"{gate['passed']:.1%}", f"{gate['passed_with_crowd']:.1%}",
            ]
        )  # fmt: skip
    head = ["labelled", "photographs", "pairs below 0.6", "pairs of adults below 0.6", "median to the nearest other"]
    return table([*head, "adult strangers passed", "passed with a crowd of 1%"], rows, range(1, 7))


def _ages(record: dict[str, Any]) -> list[str]:
    rows = [
        [
            name, f"{age['photographs']:,}", f"{age['pairs']['below']:.1%}",
            f"{age['nearest other photograph']['quantiles'][4]:.2f}",
        ]
        for name, age in record["between_people"]["within_group_by_age"].items()
    ]  # fmt: skip
    return table(["years", "photographs", "pairs below 0.6", "median to the nearest other"], rows, range(1, 4))
