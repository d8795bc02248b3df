"""The accounts of directions on docs/results.md (directions.py, yaw.py, yaw_scale.py, generator_calls.py)."""

from __future__ import annotations

from typing import Any

from _markdown import table

Record = dict[str, Any]
_AGAINST, _NONE = "dependency_less_guided", "\N{EN DASH}"


def directions_text(record: Record) -> str:
    """Return the tables of the methods, of attribute dependency by attribute, and of the accuracy of yaw."""
    methods, attributes = record["methods"], record["attributes"]
    head = ["method", "the attribute", "others", "others for each", "others, more than `guided`", "reached"]
    by_attribute = [
        [name, *(dependency(each["attributes"].get(name)) for each in methods.values())] for name in attributes
    ]
    yaw = ["method", "within 5°", "mean error", "slope", "correlation", "with landmarks", "others changed"]
    return "\n".join([
        f"{record['faces']} samples, {len(record['shared'])} attributes, on a {record['machine']}.",
        "",
        *table(
            [*head, "in its region", "identity"],
            [overall(method, each, len(record["shared"])) for method, each in methods.items()],
            right=range(1, 8),
        ),
        "",
        "Changes in standard deviations of the held-out readings by an edit of one standard deviation of the latent "
        "coordinate [95% interval over faces]. *Others* is the attribute dependency, *others for each* its ratio to "
        "the change of the attribute. *More than `guided`* compares edits that change the attribute by one standard "
        "deviation of its own, over the attributes that both methods reach.",
        "",
        "Attribute dependency of these longer edits, by attribute (a dash: out of reach):",
        "",
        *table(["edit", *(f"`{method}`" for method in methods)], by_attribute, right=range(1, len(methods) + 1)),
        "",
        "Faces turned to degrees that are uniform within ±20:",
        "",
        *table(yaw, [turned(method, own) for method, own in record["yaw"].items()], right=range(1, 7)),
    ])  # fmt: skip


def overall(method: str, each: Record, attributes: int) -> list[str]:
    """Return the row of a method."""
    own, against = each["overall"]["latent"], each["overall"].get(_AGAINST)
    return [
        f"`{method}`",
        *(interval(own[name]) for name in ("change", "dependency", "ratio")),
        interval(against, signed=True) if against else _NONE,
        f"{len(each['overall']['reached'])} of {attributes}",
        f"{own['locality']['mean']:.0%}",
        _NONE if own["identity"]["mean"] is None else f"{own['identity']['mean']:.2f}",
    ]


def dependency(own: Record | None) -> str:
    """Return the attribute dependency of an edit."""
    return f"{own['attribute']['dependency']['mean']:.2f}" if own and own["reached"] else _NONE


def turned(method: str, own: Record) -> list[str]:
    """Return the row of a method that turned faces."""
    landmarks = own["landmark_correlation"]
    return [
        f"`{method}`", f"{own['within_5_degrees']['mean']:.0%}", f"{own['mean_error']['mean']:.1f}°",
        f"{own['degrees_per_degree']:.2f}", f"{own['correlation']:.2f}",
        f"{landmarks['correlation']:.2f}" if landmarks else _NONE, f"{own['others_changed']['mean']:.2f} sd",
    ]  # fmt: skip


def interval(figure: Record, *, signed: bool = False) -> str:
    """Return mean and interval."""
    sign = "+" if signed else ""
    return f"{figure['mean']:{sign}.2f} [{figure['low']:{sign}.2f}, {figure['high']:{sign}.2f}]"


SHOWN = ("within ±30°, as in balance", "within ±30°, all of view and light kept", "at ±45°, as in balance")


def found_yaw(record: Record) -> str:
    """Return how accurate the discovered yaw is by an independent regressor (yaw.py)."""
    yaw = record["agreement"]["yaw"]
    rows = [
        [
            f"{asked}, {how.replace('straight', 'linear')}", f"{one['by the network']['within_5_degrees']:.0%}",
            f"{one['by the judge']['within_5_degrees']:.0%}", f"{one['judge_per_asked_degree']:.2f}",
            f"{one['others_moved']:.2f} sd", f"{one['atoms_moved']:.2f} sd",
        ]
        for asked, both in record["edits"].items() if asked in SHOWN
        for how, one in both.items() if isinstance(one, dict)
    ]  # fmt: skip
    head = [
        "requested yaw",
        "within 5° by the network",
        "by the regressor",
        "regressor's degrees per requested degree",
        "drift of pitch, roll, light",
        "drift of atoms",
    ]
    told = (
        f"Yaw on {record['draws']:,} new samples of `digiface`: correlation {yaw['correlation']:.2f} with a regressor "
        "trained only on the pose of an independent landmark model; cosine of the direction to the regression of that "
        f"regressor on the latent {yaw['cosine']:.2f}; R² {yaw['r2_of_the_direction']:.2f}; one degree by the "
        f"regressor is {yaw['found_degree_per_judged_degree']:.2f} degrees by the network."
    )
    return "\n".join([told, "", *table(head, rows, right=range(1, 6))])


def degrees(record: Record) -> str:
    """Return where discovered degrees of yaw are right and where they are too small (yaw_scale.py)."""
    per = record["found_degree_per_landmark_degree"]
    found, told = (", ".join(f"{one[who]:.0f}" for one in record["read_alike"]) for who in ("found", "landmarks"))
    before, after = record["errors"]["as found"], record["errors"]["scaled"]
    return (
        f"On {record['faces']:,} faces one degree of the landmark model is {per['up to 10 degrees']:.2f} degrees by "
        f"the network up to 10°, and {per['over all faces']:.2f} over all faces: faces measured as {found} are turned "
        f"by {told}. No factor is applied: that of the linear model, {record['scale_from_the_linear_model']:.2f}, "
        f"changes the error beyond 20° from {before['beyond 20']:.1f}° to {after['beyond 20']:.1f}°, and the error "
        f"up to 10° from {before['up to 10']:.1f}° to {after['up to 10']:.1f}°."
    )


def generator_calls(record: Record) -> str:
    """Return how many images an accepted sample takes (generator_calls.py)."""
    rejected = ", ".join(
        f"{reason} {n}" for reason, n in sorted(record["rejected"].items(), key=lambda x: (-x[1], x[0]))
    )
    later, before = record["without_surveyed_origins"], record["before"]

    def varied(variety: dict[str, float]) -> str:
        return " and ".join(f"{value:.2f} ({level})" for level, value in variety.items())

    return (
        f"{record['accepted']} of {record['planned']} samples within 5 degrees of 30 to either side were accepted of "
        f"{record['attempts']} attempts, with {record['images_an_accepted_sample']:.1f} images of the generator each. "
        f"Rejected: {rejected}. Where no surveyed face is left, {later['accepted']} of {later['attempts']} attempts "
        f"were accepted, with {later['images'] / later['accepted']:.1f} images each, after a search of "
        f"{later['images_of_the_search']:,} images for the cell.\n\n"
        f"An earlier version of the engine, with the same gates, took {before['attempts']} attempts for "
        f"{before['accepted']} samples, with {before['images_an_accepted_sample']:.0f} images each. The mean "
        f"distance between two samples over that between two photographs, in the features of the held-out classifier, "
        f"was {varied(before['variety'])}, and is {varied(record['variety'])}."
    )
