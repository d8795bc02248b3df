"""What a run is asked to do is checked before anything is read or written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quick_runs import small_plan

from faceaug.errors import UsageError
from faceaug.shards.manifest import GeneratorRecord
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.request import KEPT_QUANTILES, check_licences, check_request
from faceaug.synthesis.sample_columns import INVERSION_ERROR


@pytest.fixture(scope="module")
def plan(toy_dataset):
    return small_plan(toy_dataset, "bar", 8)


def test_kept_attributes_follow_the_axes_of_the_plan(toy_dataset, plan):
    request = check_request(toy_dataset, plan, RunConfig(keep=("spot",)))
    assert [axis.name for axis in request.axes] == ["bar", "spot"]
    assert [axis.name for axis in request.kept] == ["spot"]
    assert [(task.name, task.kind) for task in request.tasks] == [("bar", "classes"), ("spot", "value")]
    assert len(request.kept[0].levels) == KEPT_QUANTILES  # so many numbers are no classes


def test_a_kept_attribute_of_few_values_has_classes(toy_dataset, plan):
    table = toy_dataset.table.assign(hat=np.where(np.arange(len(toy_dataset)) % 2 == 0, "on", "off"))
    request = check_request(replace(toy_dataset, table=table), plan, RunConfig(keep=("hat",)))
    assert request.kept[0].levels == ("off", "on")


@pytest.mark.parametrize("name", ["w", "seed", INVERSION_ERROR, "face_luminance"])
def test_names_that_outputs_use_are_refused(toy_dataset, plan, name):
    dataset = replace(toy_dataset, table=toy_dataset.table.rename(columns={"spot": name}))
    with pytest.raises(UsageError, match=f"an attribute is called '{name}', a name that faceaug uses itself"):
        check_request(dataset, plan, RunConfig(keep=(name,)))


def test_an_attribute_that_is_kept_twice_is_refused(toy_dataset, plan):
    with pytest.raises(UsageError, match="the attribute 'spot' is named twice"):
        check_request(toy_dataset, plan, RunConfig(keep=("spot", "spot")))


def test_a_licence_that_allows_research_alone_is_asked_about(toy_dataset, plan):
    weights = GeneratorRecord(name="faces", sha256="0" * 64, licence="CC BY-NC 4.0", origin="", w_dim=4)
    free = weights.model_copy(update={"licence": "CC0"})
    for config, generator, named in (
        (RunConfig(), weights, r"the generator 'faces' allows research or non-commercial use alone \('CC BY-NC 4.0'\)"),
        (RunConfig(licence="research only"), free, f"the images of {toy_dataset.name}"),
        (RunConfig(licence="research only"), None, "give --allow-research-only"),
    ):
        with pytest.raises(UsageError, match=named):
            check_licences(check_request(toy_dataset, plan, config), generator)
        allowed = config.model_copy(update={"allow_research_only": True})
        check_licences(check_request(toy_dataset, plan, allowed), generator)
    check_licences(check_request(toy_dataset, plan, RunConfig(licence="CC BY 4.0")), free)
