"""The engine that edits generated faces: how many blocks it gives a cell, and what it writes of them."""

from __future__ import annotations

import pytest
from fakes import ToyFaces
from quick_runs import QUICK, changed, small_plan

from faceaug.errors import UsageError
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.latent.latent_edit import EDIT_BLOCK, LatentEditEngine, create_engine
from faceaug.synthesis.request import check_request


@pytest.fixture(scope="module")
def request_of(toy_dataset):
    """Return the request of a run on toy faces by bar."""
    return lambda **changes: check_request(
        toy_dataset, small_plan(toy_dataset, "bar", 8), changed(QUICK, generator=ToyFaces(), **changes)
    )


@pytest.mark.parametrize(
    ("planned", "tries", "expected"), [(1, 1, 2), (100, 12, 75), (16, 2, 2), (16, 3, 3), (17, 2, 3)]
)
def test_blocks_follow_the_tries(request_of, planned, tries, expected):
    assert EDIT_BLOCK == 16
    cell = PlannedCell(0, {"bar": "yes"}, real=5, wanted=planned, planned=planned)
    engine = LatentEditEngine(request_of(tries=tries), ToyFaces(), None)
    assert engine.blocks(cell) == expected


def test_columns_have_harmonization_parameters_only_where_samples_are_harmonized(request_of):
    harmonized, raw = (create_engine(request_of(harmonize=harmonize)).columns for harmonize in (True, False))
    assert {column.group for column in harmonized} - {column.group for column in raw} == {"harmonize"}


def test_edits_of_real_faces_need_directions_of_view_and_light(request_of):
    with pytest.raises(UsageError, match="no directions of view and light are known"):
        create_engine(request_of(from_real=True))
