"""A comparison of directions: the same faces of one generator, edited by every method (docs/bench.md)."""

from __future__ import annotations

from pathlib import Path

from faceaug.bench.directions.attribute_readers import (
    AttributeReaders,
    FitSamples,
    fit_readers,
    generator_of,
    read_labelled,
    shipped_or_given,
)
from faceaug.bench.directions.chosen_steps import ChosenStep, choose_steps
from faceaug.bench.directions.comparison_record import (
    ATTRIBUTE_LENGTH,
    EDIT_LENGTHS,
    ComparedDirections,
    DirectionComparison,
    write_comparison,
)
from faceaug.bench.directions.direction_methods import DirectionFinder, check_methods
from faceaug.bench.directions.direction_recipe import DirectionRecipe
from faceaug.bench.directions.edit_effects import EditEffect, EffectMeter
from faceaug.bench.directions.yaw_accuracy import YAW, yaw_accuracy
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.run_files import STATE_FILE, locked_folder, refuse_other_content
from faceaug.errors import OutputError, UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_stream
from faceaug.generators.registry import load_generator
from faceaug.identity.dlib_embedder import DlibEmbedder, dlib_installed
from faceaug.utils.files import read_json, write_json
from faceaug.utils.threads import StageProgress, single_threaded

COMPARISON_STATE = "faceaug-direction-comparison"
_SELECTION_STREAM, _EVALUATION_STREAM = 0xD3, 0xD4


def compare_directions(recipe: DirectionRecipe, run: ExperimentRun) -> DirectionComparison:
    """Find directions by every method, edit the same faces by each, and write results.json, a picture and a page.

    Raises
    ------
    FaceaugError
        In one sentence with the remedy.
    """
    if run.placement.on_ray:
        raise UsageError("the executor ray is for experiments with arms; leave it out where directions are compared")
    refuse_other_content(run.out)
    with single_threaded():
        generator = load_generator(generator_of(recipe, run.folder), recipe.device)
        bundle = shipped_or_given(recipe, generator, run.folder)
        check_methods(generator, recipe.methods)
        labelled = None if recipe.labelled is None else read_labelled(recipe.labelled, recipe.seed, run.folder, bundle)
        with locked_folder(run.out):
            _claim(run.out, recipe)
            readers, fit = fit_readers(recipe, generator, bundle, labelled, run.progress)
            compared = _compare(recipe, generator, readers, fit, run.progress)
            return write_comparison(compared, run.command, run.out)


def _claim(out: Path, recipe: DirectionRecipe) -> None:
    """Write which comparison the folder is of; refuse that of another one."""
    state = {"format": COMPARISON_STATE, "recipe": recipe.decisive()}
    path = out / STATE_FILE
    if path.exists() and read_json(path, "the state of an experiment") != state:
        raise OutputError(f"{out} holds an experiment of another recipe; choose another folder")
    write_json(path, state)


def _compare(
    recipe: DirectionRecipe,
    generator: Generator,
    readers: AttributeReaders,
    fit: FitSamples,
    progress: StageProgress,
) -> ComparedDirections:
    finder = DirectionFinder(generator, readers, fit, recipe.components, recipe.extremes)
    selection, evaluation = (
        sample_stream(generator, count, (recipe.seed, stream)).double().cpu().numpy()
        for count, stream in ((recipe.selection_faces, _SELECTION_STREAM), (recipe.faces, _EVALUATION_STREAM))
    )
    chosen: dict[str, dict[str, ChosenStep]] = {}
    for done, method in enumerate(recipe.methods):
        progress("choosing directions", done, len(recipe.methods))
        chosen[method] = choose_steps(generator, readers, finder, method, selection, recipe.reach)
    progress("choosing directions", len(recipe.methods), len(recipe.methods))
    embedder = DlibEmbedder() if recipe.identity_faces and dlib_installed() else None
    meter = EffectMeter(generator, readers, evaluation, embedder, recipe.identity_faces)
    effects = _effects(meter, readers, chosen, progress)
    turned = {}
    if YAW in readers.names:
        turns = {method: (own[YAW].step, own[YAW].response) for method, own in chosen.items() if YAW in own}
        turned = yaw_accuracy(generator, readers, finder, meter.faces, turns, fit.w, recipe.seed)
    return ComparedDirections(recipe, generator, readers, meter.faces, chosen, effects, turned)


def _effects(
    meter: EffectMeter,
    readers: AttributeReaders,
    chosen: dict[str, dict[str, ChosenStep]],
    progress: StageProgress,
) -> dict[tuple[str, str, str], EditEffect]:
    """Return the effect of each method, attribute and length of the edit."""
    total, effects = sum(len(own) for own in chosen.values()), {}
    done = 0
    for method, own in chosen.items():
        for name, each in own.items():
            for kind in EDIT_LENGTHS:
                step = each.step * (each.length if kind == ATTRIBUTE_LENGTH else 1.0)
                effects[method, name, kind] = meter.measure(readers.names.index(name), step)
            done += 1
            progress("editing faces", done, total)
    return effects
