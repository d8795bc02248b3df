"""Explanations of a data set: which parts carry which label, which faces are left out, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bundles import small_bundle
from explainable import EYES, MOUTH, as_dataset, measured_table, measurer_of_parts

from faceaug.errors import DatasetError, UsageError
from faceaug.explain.explain import ExplainConfig, columns_for, explain, face_of
from faceaug.reconstruction.semantics import FACTOR_NAMES

FEW = ExplainConfig(resamples=4, shuffles=3)


@pytest.fixture(scope="module")
def bundle():
    return small_bundle()


@pytest.mark.slow
def test_labels_are_carried_by_the_parts_that_make_them(bundle):
    gender, age = explain(as_dataset(measured_table()), "gender,age", bundle, FEW)
    assert (gender.question.attribute, gender.question.level, gender.question.against, gender.measure) == (
        "gender",
        "male",
        "female",
        "balanced accuracy",
    )
    first = gender.parts[0]
    assert (first.name, first.kind, first.region, first.region_share) == (MOUTH, "albedo", "mouth", 1.0)
    assert first.coefficient > 0
    assert first.shows == "lighter"
    assert first.stable == 4
    assert gender.fit.score > 0.75
    assert gender.regions["mouth"] > 0.8
    assert gender.kinds["albedo"] == pytest.approx(1 - gender.kinds["depth"])
    assert (age.question.level, age.measure, age.parts[0].name, age.parts[0].kind) == ("", "R²", EYES, "depth")
    assert age.parts[0].coefficient == pytest.approx(-10, rel=0.2)
    assert age.parts[0].shows == "nearer"
    assert sum(part.share or 0 for part in age.parts) == pytest.approx(1)


def test_the_map_is_the_sum_of_coefficient_times_map(bundle):
    (age,) = explain(as_dataset(measured_table()), "age", bundle, FEW)
    expected = sum(age.fit.coefficients[k] * bundle.maps[k] for k in range(3))
    np.testing.assert_allclose(age.change, expected, rtol=1e-6)
    assert age.change.shape == (4, 16, 16)


@pytest.mark.slow
def test_an_attribute_of_the_light_is_explained_by_light(bundle):
    table = measured_table()
    table = table[table["group"] != "c"].reset_index(drop=True)
    (group,) = explain(as_dataset(table), "group", bundle, FEW)
    strongest = max(group.parts, key=lambda part: abs(part.coefficient))
    assert (strongest.name, strongest.kind, strongest.share) == ("light_x", "light", None)
    assert group.fit.controls > 0.9
    assert [part.share is None for part in group.parts] == sorted(part.share is None for part in group.parts)


@pytest.mark.slow
def test_several_levels_one_by_one_and_a_rare_one_is_left_out_with_a_sentence(bundle, caplog):
    explanations = explain(as_dataset(measured_table()), "group", bundle, FEW)
    assert [(one.question.level, one.question.against) for one in explanations] == [
        ("a", "all others"),
        ("b", "all others"),
    ]
    assert "faces: group=c has 7 faces that are measured where at least 30 are needed" in caplog.text


@pytest.mark.slow
def test_faces_that_are_not_measured_or_labelled_are_left_out_and_counted(bundle):
    table = measured_table()
    table.loc[3:12, [*FACTOR_NAMES, MOUTH]] = np.nan
    table.loc[100:104, "gender"] = None
    (gender,) = explain(as_dataset(table), "gender", bundle, FEW)
    assert gender.question.left_out == {"not measured": 10, "without a label": 5}
    assert gender.fit.rows == len(table) - 15
    assert "left out 10 not measured, left out 5 without a label" in gender.to_text()


@pytest.mark.slow
def test_other_splits_judge(bundle):
    table = measured_table().assign(split=["train", "val", "train", "test", None] * 48)
    (gender,) = explain(as_dataset(table), "gender", bundle, FEW)
    assert (gender.question.judged_on, gender.fit.rows, gender.fit.held_out) == ("val and test", 96, 96)
    (whole,) = explain(as_dataset(table), "gender", bundle, replace(FEW, use_splits=False))
    assert (whole.question.judged_on, whole.fit.rows) == ("5 folds in turn", 240)
    few = table.assign(split=["train"] * 230 + ["test"] * 10)
    (again,) = explain(as_dataset(few), "gender", bundle, FEW)  # ten faces are too few to judge on
    assert (again.question.judged_on, again.fit.rows) == ("5 folds in turn", 230)


@pytest.mark.slow
def test_bins_make_classes_of_a_number(bundle):
    explanations = explain(as_dataset(measured_table()), "age:0/45/55/120", bundle, FEW)
    assert [one.question.level for one in explanations] == ["0 to 45", "45 to 55", "55 to 120"]
    assert explanations[0].parts[0].name == explanations[2].parts[0].name == EYES


@pytest.mark.slow
def test_many_faces_are_sampled(bundle):
    (gender,) = explain(as_dataset(measured_table()), "gender", bundle, replace(FEW, max_faces=100))
    assert gender.fit.rows == 100


@pytest.mark.slow
def test_text_and_json(bundle):
    (gender,) = explain(as_dataset(measured_table()), "gender", bundle, FEW)
    text, facts = gender.to_text(), json.loads(json.dumps(gender.to_dict()))
    assert text.startswith("gender: male against female\n  240 faces learnt from\n  balanced accuracy 0.")
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "held-out faces (5 folds in turn)",
        "view and light alone",
        "labels shuffled",
        "mouth 100%",
        "4 of 4",
    ):
        assert words in text
    assert facts["parts"][0]["name"] == MOUTH
    assert facts["interval"][0] < facts["score"] < facts["interval"][1]
    assert facts["shuffled"]["mean"] <= facts["shuffled"]["most"]
    assert set(facts["regions"]) > {"mouth", "eyes"}


def test_an_explanation_without_parts_says_so(bundle):
    table = measured_table()
    table["gender"] = np.random.default_rng(5).permutation(table["gender"])
    (gender,) = explain(as_dataset(table), "gender", bundle, FEW)
    silent = replace(gender, parts=())
    assert silent.to_text().endswith("No part of the face carries it, as far as this can tell.")


@pytest.mark.parametrize(
    ("by", "kind", "said"),
    [
        ("gendre", UsageError, r"--explain needs a label: .*did you mean 'gender'\?"),
        (MOUTH, UsageError, "is a part of the face itself"),
        ("yaw", UsageError, "is a control of the explanation"),
        ("same", DatasetError, "'same' is 'x' on every face"),
        (
            "rare",
            DatasetError,
            r"faces: rare=yes has 4 faces that are measured where at least 30 are needed: it cannot",
        ),
        ("few", DatasetError, "few is known of 40 faces that are measured where at least 60 are needed"),
    ],
)
def test_bad_requests_are_refused(bundle, by, kind, said):
    table = measured_table().assign(
        same="x", rare=["yes"] * 4 + ["no"] * 236, few=np.arange(240.0) * [[1], [np.nan]][0]
    )
    table.loc[40:, "few"] = np.nan
    with pytest.raises(kind, match=said):
        explain(as_dataset(table), by, bundle, FEW)


def test_parts_of_another_reconstruction_are_refused(bundle):
    table = measured_table().drop(columns=MOUTH)
    with pytest.raises(DatasetError, match=r"hold 2 of the 3 parts .* another reconstruction; name its file as --rec"):
        columns_for(as_dataset(table), "gender", bundle)
    bare = measured_table().drop(columns=list(bundle.atoms))
    assert columns_for(as_dataset(bare), "gender", bundle) == [*FACTOR_NAMES, *bundle.atoms]


def test_an_estimator_without_atoms_is_refused(bundle):
    assert face_of(measurer_of_parts(bundle)) is bundle
    with pytest.raises(DatasetError, match="knows no localized parts: make it with faceaug discover"):
        face_of(replace(measurer_of_parts(bundle), atoms=None))
