"""The arms by name: those of faceaug, and those that other packages register under "faceaug.arms"."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from faceaug.bench.arms.base import Arm, search_learning_rates
from faceaug.bench.arms.real import (
    fit_cutmix,
    fit_dfr,
    fit_erm,
    fit_mixup,
    fit_photometric,
    fit_reweighted,
    fit_rwg,
    fit_smote,
    fit_subg,
    fit_unthinned,
    needs_features,
    needs_images,
    needs_thinning,
    needs_unvaried_arms,
)
from faceaug.bench.arms.synthetic import (
    fit_last_layer,
    fit_mixed,
    fit_stages,
    needs_body,
    needs_trials,
    parse_sample_options,
    search_shares,
)
from faceaug.bench.recipe import ExperimentRecipe
from faceaug.errors import FaceaugError, UsageError
from faceaug.synthesis.engines.registry import engine_names, engine_specs
from faceaug.utils.plugins import guarded
from faceaug.utils.text import nearest, shown

ARM_ENTRY_POINTS = "faceaug.arms"
REAL_ARMS = {
    "erm": Arm("faces as frequent as they are", fit_erm),
    "reweighted": Arm("the same, with weights in the loss", fit_reweighted),
    "rwg": Arm("every cell drawn equally often", fit_rwg),
    "subg": Arm("every cell cut to the smallest one", fit_subg),
    "dfr": Arm("the last layer trained on balanced held-in faces", fit_dfr),
    "photometric": Arm(
        "rwg with varied framing, exposure, colour and sharpness", fit_photometric, refusal=needs_unvaried_arms
    ),
    "mixup": Arm("rwg with faces and labels mixed with one another", fit_mixup),
    "unthinned": Arm(
        "rwg with the real faces that thinning took away: what faces could give",
        fit_unthinned,
        refusal=needs_thinning,
        reference=True,
    ),
    "cutmix": Arm("rwg with windows of other faces", fit_cutmix, refusal=needs_images),
    "smote": Arm("cells raised by points between features of neighbours", fit_smote, refusal=needs_features),
}
"""Arms without synthesis, by name."""
_USES = {
    "mixed": ("{} mixed into the draws of every cell", fit_mixed, search_learning_rates, None),
    "two_stage": ("{} and real faces first, real ones last", fit_stages, search_learning_rates, None),
    "last_layer": (
        "{} for the body, the last layer from real faces",
        fit_last_layer,
        search_learning_rates,
        needs_body,
    ),
    "chosen": ("{} with a share for each cell chosen on validation", fit_mixed, search_shares, needs_trials),
}
"""Ways to use samples, by name: about, fit, search, refusal."""


def built_in_arms() -> dict[str, Arm]:
    """Return the arms of faceaug by name: those without synthesis, then ENGINE:USE for all engines that there are."""
    arms = dict(REAL_ARMS)
    for engine in engine_names():
        for use, (about, fit, search, refusal) in _USES.items():
            arm = Arm(about.format(engine), fit, engine, search)
            arms[f"{engine}:{use}"] = arm if refusal is None else Arm(arm.about, fit, engine, search, refusal)
    return arms


def check_arms(recipe: ExperimentRecipe) -> dict[str, Arm]:
    """Return the arms of a recipe by name, once each of them can run.

    Raises
    ------
    UsageError
        When there is no such arm, or it cannot run with the recipe; it says why.
    FaceaugError
        When the arm of another package cannot be loaded.
    """
    arms = {name: _find_arm(name) for name in recipe.arms}
    for name, arm in arms.items():
        refusal = guarded(f"the arm {shown(name)}", lambda arm=arm: arm.refusal(recipe))  # type: ignore[misc]
        if refusal:
            raise UsageError(f"the arm {shown(name)} cannot run: {refusal}")
        if arm.engine is not None:
            if recipe.synthesis.strategy is None and recipe.synthesis.each is None:
                raise UsageError(
                    f"the arm {shown(name)} needs synthetic faces, and the recipe does not say how many: give "
                    "synthesis.strategy or synthesis.each"
                )
            engine_specs(recipe.synthesis.run_config(arm.engine, 0))
    return arms


def _find_arm(name: str) -> Arm:
    own, points = built_in_arms(), _registered()
    if name in own:
        return own[name]
    base, bracket, rest = name.partition("[")
    if bracket and rest.endswith("]") and base in own and own[base].engine is not None:
        options = parse_sample_options(rest[:-1], name)
        if "share" in options and own[base].search is search_shares:
            raise UsageError(f"the arm {shown(name)} chooses the shares itself: leave share out, or use another arm")
        words = ", ".join(
            f"{key} {value if isinstance(value, str) else f'{value:g}'}" for key, value in options.items()
        )
        return replace(own[base], about=f"{own[base].about}; {words}", options=options)
    if name not in points:
        raise UsageError(f"there is no arm {shown(name)}; {nearest(name, [*own, *points])}")
    arm = guarded(f"the arm {shown(name)} of a plug-in", points[name].load)
    if not isinstance(arm, Arm):
        raise FaceaugError(f"the arm {shown(name)} of a plug-in is a {type(arm).__name__}; it must be an Arm")
    return arm


def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ARM_ENTRY_POINTS)}
