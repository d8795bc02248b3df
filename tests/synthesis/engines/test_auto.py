"""The engine auto: which engines fill which cells, and the generator only if its faces are of the data set's world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Outcome
from demo_faces import labelled_demo
from fakes import ToyFaces
from nosy_faces import nosy_dataset, nosy_estimator
from quick_runs import LOOSE, changed, make_small, small_plan

from faceaug.errors import MissingWeightsError, UsageError
from faceaug.shards.manifest import read_manifest
from faceaug.synthesis.acceptance.domain import DomainCheck
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines import auto
from faceaug.synthesis.engines.base import Engine
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import check_request
from faceaug.synthesis.stages import fingerprint

CONFIG = RunConfig(
    generator=ToyFaces(),
    reconstruction=nosy_estimator(),
    aligned=True,
    workers=1,
    report=False,
    embedder="none",
    survey_samples=256,
    thresholds=LOOSE,
)
LABELS, VIEW, BOTH = "shape", "yaw:-25/-10/10/25", "shape,yaw:-25/-10/10/25"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nosy_dataset(tmp_path_factory.mktemp("faces") / "images", 60)


def engine_of(dataset, by: str, **changes) -> Engine:
    return create_engine(check_request(dataset, small_plan(dataset, by, 8), changed(CONFIG, **changes)))


@pytest.fixture
def domain(monkeypatch):
    """Let the domain check give a fixed AUC, or nothing."""

    def give(auc: float | None) -> None:
        def check(dataset, generator, *, limit, seed):
            return None if auc is None else DomainCheck(generator.name, auc, limit, len(dataset))

        monkeypatch.setattr(auto, "check_domain", check)

    return give


@pytest.mark.parametrize(
    ("by", "names"),
    [(LABELS, ("morph",)), (VIEW, ("rerender",)), (BOTH, ("morph", "rerender")), ("weight:2", ("morph",))],
)
@pytest.mark.parametrize(("auc", "more"), [(0.5, ("generator",)), (0.9, ()), (None, ())])
def test_engines_follow_from_what_cells_are_made_of_and_the_generator_from_the_check(
    dataset, domain, by, names, auc, more
):
    domain(auc)
    engine = engine_of(dataset, by)
    assert engine.names == (*names, *more)
    assert (engine.generator is not None) is bool(more)


def test_without_the_weights_of_the_default_generator_the_other_engines_go_on(dataset, monkeypatch):
    def missing(*_):
        raise MissingWeightsError("its weights are not installed")

    monkeypatch.setattr("faceaug.synthesis.engines.latent.latent_edit.load_generator", missing)
    assert engine_of(dataset, BOTH, generator="embedded").names == ("morph", "rerender")
    with pytest.raises(MissingWeightsError, match="not installed"):
        engine_of(dataset, BOTH, generator="digiface")


def test_the_limit_is_the_threshold_of_the_run(dataset, domain):
    domain(0.9)
    assert engine_of(dataset, LABELS, thresholds=changed(LOOSE, domain=0.95)).names == ("morph", "generator")
    domain(0.5)
    assert engine_of(dataset, LABELS, thresholds=changed(LOOSE, domain=0.4)).names == ("morph",)


@pytest.mark.slow
def test_the_check_is_that_of_the_generators_own_faces(dataset, toy_dataset):
    assert engine_of(dataset, LABELS).names == ("morph",)  # nosy faces are no toy faces
    assert engine_of(toy_dataset, "bar").names == ("morph", "generator")


def test_a_run_is_not_continued_with_other_engines(dataset, domain):
    plan = small_plan(dataset, LABELS, 8)
    request = check_request(dataset, plan, CONFIG)
    prints, identities = [], []
    for auc in (0.5, 0.5, 0.9, None):
        domain(auc)
        engine = create_engine(request)
        prints.append(fingerprint(request, engine))
        identities.append(engine.identity)
    assert prints[0] == prints[1] != prints[2]
    assert prints[2] == prints[3]
    assert identities[0]["engines"] == ["morph", "generator"]
    assert identities[2]["engines"] == ["morph"]


def test_settings_that_no_engine_of_it_uses_are_refused(dataset):
    with pytest.raises(UsageError, match="from_real is True, which does nothing with the engine auto"):
        engine_of(dataset, LABELS, from_real=True)
    with pytest.raises(UsageError, match="the layout raw holds images of one size"):
        engine_of(dataset, LABELS, layout="raw", harmonize=False)


def test_columns_are_those_of_all_its_engines(dataset, domain):
    domain(0.9)
    keys = {column.key for column in engine_of(dataset, BOTH).columns}
    for by in (LABELS, VIEW):
        assert {column.key for column in engine_of(dataset, by).columns} <= keys


# --- what a user sees ---


@pytest.fixture
def command(capsys, monkeypatch):
    from faceaug.cli.main import run

    make_small(monkeypatch)
    monkeypatch.setattr("faceaug.synthesis.engines.morphs.morph.MORPH_BLOCK", 4)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.mark.slow
def test_a_run_that_ends_short_says_why_the_generator_was_not_used(command, tmp_path, domain):
    folder: Path = tmp_path / "images"
    labelled_demo(folder, alone=True)
    domain(0.987)
    shown = command(
        *("balance", folder, "--labels", tmp_path / "images.csv", "--by", "kind,side", "--max-total", 6),
        *("--embedder", "none", "--tries", 1, "--workers", 1, "--no-report", "-o", tmp_path / "out"),
    )
    assert shown.status == 0, shown.err
    measured = read_manifest(tmp_path / "out").measured["domain"]
    assert (measured["auc"], measured["limit"]) == (0.987, 0.75)
    assert (
        f"The generator {measured['generator']} was not used: a classifier tells its faces from the photographs with "
        "an AUC of 0.987, more than the 0.75 of the threshold domain. --engine generator uses it all the same."
    ) in " ".join(shown.out.split())
    assert "a morph needs two faces of its cell, and this one has 1" in "".join(
        cell.note for cell in read_manifest(tmp_path / "out").cells
    )


def test_toy_faces_by_pose_are_turned_first(toy_dataset, domain):
    domain(0.5)
    turned = replace(toy_dataset, table=toy_dataset.table.rename(columns={"spot": "yaw"}))
    assert engine_of(turned, "yaw:-3/0/3").names == ("rerender", "generator")
