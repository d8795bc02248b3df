"""The configuration of a run: defaults that are valid, bounds, errors of one sentence, and help for every setting."""

from __future__ import annotations

import json
import os

import pydantic
import pytest
from fakes import ToyFaces
from quick_runs import changed

from faceaug.errors import UsageError
from faceaug.synthesis.config import HASHED_INPUTS, OF_MACHINES, AcceptanceThresholds, RunConfig, section_of

SETTINGS = [name for name in RunConfig.model_fields if name != "thresholds"]


@pytest.mark.parametrize("model", [RunConfig, AcceptanceThresholds])
def test_defaults_are_valid_values(model):
    assert model(**dict(model())) == model()
    strict = pydantic.TypeAdapter(model).json_schema()
    assert set(strict["properties"]) == set(model.model_fields)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed is -1; it must be greater than or equal to 0"),
        ({"seed": 2**32}, "seed is 4294967296; it must be less than 4294967296"),
        ({"seed": "one"}, "seed is 'one'; it must be a valid integer"),
        ({"batch_size": 0}, "batch_size is 0; it must be greater than or equal to 1"),
        ({"tries": 0}, "tries is 0"),
        ({"tries": 2.5}, "tries is 2.5"),
        ({"origins": 0}, "origins is 0"),
        ({"corrections": -1}, "corrections is -1"),
        ({"survey_samples": 100}, "survey_samples is 100"),
        ({"workers": 0}, "workers is 0"),
        ({"max_uses": 0}, "max_uses is 0"),
        ({"truncation_psi": 0.0}, "truncation_psi is 0.0; it must be greater than 0"),
        ({"truncation_psi": 1.5}, "truncation_psi is 1.5; it must be less than or equal to 1"),
        ({"truncation_psi": float("nan")}, "truncation_psi is nan"),
        ({"layout": "zip"}, "layout is 'zip'; it must be 'blob' or 'raw'"),
        ({"image_format": "gif"}, "image_format is 'gif'"),
        ({"harmonize": "perhaps"}, "harmonize is 'perhaps'; it must be a valid boolean"),
        ({"draws": 300}, "there is no setting draws"),
        ({"sed": 1}, "there is no setting sed: did you mean 'seed'?"),
        ({"seed": "7"}, "seed is '7'; it must be a valid integer"),
        ({"keep": "gender"}, "keep is 'gender'; it must be a valid tuple"),
        ({"thresholds": {"held_out": 2}}, "the threshold held_out is 2; it must be less than or equal to 1"),
        ({"thresholds": 3}, "thresholds is 3"),
    ],
)
def test_values_out_of_bounds_are_refused_in_a_sentence(given, message):
    with pytest.raises(UsageError) as error:
        RunConfig(**given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"confidence": 1.01}, "the threshold confidence is 1.01"),
        ({"held_out": -0.1}, "the threshold held_out is -0.1"),
        ({"drift": -1.0}, "the threshold drift is -1.0"),
        ({"drift": float("inf")}, "the threshold drift is inf"),
        ({"spill": -1.0}, "the threshold spill is -1.0"),
        ({"plausible": 2.0}, "the threshold plausible is 2.0"),
        ({"realistic": 2.0}, "the threshold realistic is 2.0"),
        ({"face_quality": 2.0}, "the threshold face_quality is 2.0"),
        ({"exposure": 0.5}, "the threshold exposure is 0.5; it must be less than 0.5"),
        ({"duplicate_bits": 65}, "the threshold duplicate_bits is 65"),
        ({"duplicate_bits": 1.5}, "the threshold duplicate_bits is 1.5"),
        ({"uncovered": 2.0}, "the threshold uncovered is 2.0"),
        ({"distorted": 2.0}, "the threshold distorted is 2.0"),
        ({"inversion": -1.0}, "the threshold inversion is -1.0"),
        ({"judge": 0.5}, "there is no threshold judge"),
    ],
)
def test_thresholds_out_of_bounds_are_refused_in_a_sentence(given, message):
    with pytest.raises(UsageError) as error:
        AcceptanceThresholds(**given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(UsageError) as error:
        RunConfig(layout="x" * 10_000)
    assert len(str(error.value)) < 200


def test_every_setting_has_a_sentence_of_help_and_a_section():
    for name in SETTINGS:
        assert RunConfig.model_fields[name].description.endswith("."), name
        assert section_of(name) in ("dataset", "generator", "run", "output")
    for name, field in AcceptanceThresholds.model_fields.items():
        assert field.description.endswith("."), name


def test_every_default_obeys_the_bounds_that_are_stated():
    """pydantic does not check defaults."""
    for model in (RunConfig, AcceptanceThresholds):
        for name, field in model.model_fields.items():
            assert getattr(model(**{name: field.default}), name) == field.default


def test_a_configuration_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        RunConfig().seed = 1


def test_json_has_all_settings_but_the_models():
    config = RunConfig(generator=ToyFaces(), keep=("age",), thresholds=AcceptanceThresholds(drift=1.0))
    values = json.loads(json.dumps(config.to_json()))
    assert set(values) == set(RunConfig.model_fields) - HASHED_INPUTS - OF_MACHINES
    models, images = {"generator", "directions", "reconstruction"}, {"candidates", "candidate_labels"}
    assert models | images == HASHED_INPUTS
    assert (values["keep"], values["thresholds"]["drift"]) == (["age"], 1.0)
    assert RunConfig(**values, generator=config.generator) == config


def test_objects_are_taken_as_they_are():
    faces = ToyFaces()
    assert RunConfig(generator=faces).generator is faces


def test_changed_settings_are_those_that_differ_from_the_default():
    config = RunConfig(seed=0, tries=4, keep=("age",), harmonize=False)
    assert config.changed(frozenset(RunConfig.model_fields)) == ["keep", "tries", "harmonize"]
    assert config.changed(frozenset({"seed", "tries"})) == ["tries"]
    assert RunConfig().changed(frozenset(RunConfig.model_fields)) == []


def test_a_gpu_has_one_worker_and_a_processor_as_many_as_asked_for():
    assert RunConfig(workers=3).worker_threads == 3
    assert RunConfig().worker_threads == os.cpu_count()
    assert changed(RunConfig(workers=3), device="cuda").worker_threads == 1
