"""Measuring data sets: a row per image, reasons of refusals, and columns of a data set."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from bundles import small_bundle
from fake_estimator import enlarging_aligner, fake_estimator, reconstruct, slope, write_slopes

from faceaug import load_dataset
from faceaug.datasets import LoadOptions
from faceaug.errors import DatasetError, IntegrityError
from faceaug.latents.bundle import hash_of
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import (
    add_measured_columns,
    estimator_from_state,
    estimator_state,
    load_estimator,
    measure,
    summarize_measurements,
)
from faceaug.measurement.skin_tone import skin_tone_confidence
from faceaug.reconstruction.networks import Reconstructor, export_weights, network_from_weights, optimized_for_reading
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import encode

STRENGTHS = [-0.9, -0.3, 0.0, 0.3, 0.9]


@pytest.fixture(scope="module")
def estimator():
    return fake_estimator()


@pytest.fixture
def faces(tmp_path):
    return write_slopes(tmp_path / "faces", STRENGTHS)


def load(path, labels=None, split=None, **options):
    return load_dataset(path, labels, split=split, options=LoadOptions(needs_labels=False, **options))


def never():
    raise AssertionError("nothing had to be measured")


def test_a_row_per_image_has_values_and_confidence(faces, estimator):
    counts = []
    table = measure(load(faces), estimator, progress=counts.append)
    assert list(table.columns) == [
        "file",
        *(c for name in (*FACTOR_NAMES, "skin_tone") for c in (name, f"{name}_confidence", f"{name}_error")),
        "cannot_tell",
    ]
    assert list(table["file"]) == [f"{k:02d}.png" for k in range(5)]
    assert (table["cannot_tell"] == "").all()
    assert table["yaw"].is_monotonic_increasing
    assert table["yaw"].iloc[0] < -3 < 3 < table["yaw"].iloc[4]
    assert table["light_x"].iloc[4] > 20
    assert (table["light"] == 0.25).all()
    assert table["yaw_confidence"].tolist() == pytest.approx([0.881] * 5)
    assert sum(counts) == 5


def test_a_mirrored_image_has_mirrored_values(estimator, tmp_path):
    rng = np.random.default_rng(0)
    picture = (slope(0.5).astype(int) + rng.integers(-30, 30, (48, 48, 3))).clip(0, 255).astype(np.uint8)
    for name, pixels in (("a", picture), ("b", picture[:, ::-1])):
        (tmp_path / f"{name}.png").write_bytes(encode(np.ascontiguousarray(pixels), "png"))
    one, two = (row for _, row in measure(load(tmp_path), estimator).iterrows())
    for name in FACTOR_NAMES:
        sign = -1 if name in ("yaw", "roll", "light_x") else 1
        assert one[name] == pytest.approx(sign * two[name], abs=0.02)
    assert abs(one["yaw"]) > 1


def test_refused_images_have_no_values_and_a_reason(faces, estimator):
    (faces / "10.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), "png"))
    (faces / "11.png").write_bytes(encode(slope(0.5, 8), "png"))
    (faces / "12.png").write_bytes(b"no picture")
    (faces / "13.png").write_bytes(encode(slope(0.5, red=0.9), "png"))
    table = measure(load(faces, check="none"), estimator)
    assert list(table["cannot_tell"][5:]) == [
        "blank",
        "smaller than 24 pixels",
        "unreadable",
        "not explained by the reconstruction",
    ]
    for name in FACTOR_NAMES:
        assert table[name][:5].notna().all()
        assert table[name][5:].isna().all()
        assert (table[f"{name}_confidence"][5:] == 0).all()
    summary = summarize_measurements(table, estimator)
    assert (summary["images"], summary["measured"]) == (9, 5)
    assert sum(summary["cannot_tell"].values()) == 4
    assert summary["semantics"]["yaw"]["quantiles"][1] == pytest.approx(table["yaw"][2], abs=0.001)


def test_a_table_without_values_has_a_summary(estimator, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(slope(0.5, 8), "png"))
    summary = summarize_measurements(measure(load(tmp_path), estimator), estimator)
    assert summary["measured"] == 0
    assert summary["semantics"]["yaw"]["quantiles"] is None


@pytest.mark.slow
def test_paths_workers_and_batches_change_nothing(faces, estimator):
    alone = measure(load(faces), estimator, workers=1)
    assert measure(load(faces), estimator, workers=3).equals(alone)
    paths = sorted(faces.glob("*.png"))
    many = measure([*paths, "nowhere.png", *paths * 13], estimator)  # more than a batch
    for name in FACTOR_NAMES:
        assert np.abs(many[name].drop(5).to_numpy().reshape(14, 5) - alone[name].to_numpy()).max() <= 0.0101
    assert many["file"][0] == str(paths[0])
    assert many["cannot_tell"].tolist() == ["" if k != 5 else "unreadable" for k in range(71)]
    assert measure([], estimator).empty


def test_aligned_images_are_read_in_the_central_square(estimator, tmp_path):
    wide = np.concatenate([slope(0.0, 30, 48), slope(0.9, 48), slope(0.0, 30, 48)], 1)
    (tmp_path / "wide.png").write_bytes(encode(wide, "png"))
    (tmp_path / "whole.png").write_bytes(encode(slope(0.9), "png"))
    whole, cut = measure(load(tmp_path), estimator, aligned=True)["yaw"]
    assert cut == pytest.approx(whole, rel=0.1)
    searched = measure(load(tmp_path), replace(estimator, aligner=enlarging_aligner()))["yaw"][1]
    assert abs(searched - cut) > 0.3 * cut


def test_the_table_keeps_labels_except_for_measured_columns(faces, estimator, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gender,yaw,split\n" + "".join(f"{k:02d}.png,x,999,train\n" for k in range(5)))
    table = measure(load(faces, labels, split="all"), estimator)
    assert list(table.columns[:4]) == ["file", "gender", "split", "yaw"]
    assert table["yaw"].abs().max() < 90
    file = tmp_path / "measured.parquet"
    table.to_parquet(file)
    again = load_dataset(faces, file)
    assert list(again.table["yaw"]) == list(table["yaw"])
    assert add_measured_columns(again, ["gender", "yaw"], never) is again


def test_a_measured_column_of_a_target(faces, estimator):
    dataset = load(faces)
    measured = add_measured_columns(dataset, ["yaw", "light"], lambda: estimator)
    assert measured.attributes == ("yaw", "light")
    assert measured.table["yaw"].is_monotonic_increasing
    assert dataset.attributes == ()
    assert measured.fingerprint() != dataset.fingerprint()
    assert (
        measured.fingerprint()
        == add_measured_columns(dataset, ["yaw", "light"], lambda: estimator, workers=3).fingerprint()
    )


def test_labels_have_precedence(faces, estimator, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,yaw\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    both = add_measured_columns(load(faces, labels), ["yaw", "pitch"], lambda: estimator)
    assert list(both.table["yaw"]) == [0, 1, 2, 3, 4]
    assert both.table["pitch"].notna().all()


def test_the_estimator_is_loaded_only_when_needed(faces, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,yaw\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    dataset = load(faces, labels)
    assert add_measured_columns(dataset, ["yaw", "split"], never) is dataset


def test_an_unknown_name_is_left_to_the_caller(faces, estimator, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gender\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    dataset = load(faces, labels)

    def nothing():
        raise DatasetError("nothing that measures")

    assert add_measured_columns(dataset, ["gendre"], lambda: estimator) is dataset
    assert add_measured_columns(dataset, ["gendre"], nothing) is dataset
    with pytest.raises(DatasetError, match="nothing that measures"):
        add_measured_columns(dataset, ["gendre", "yaw"], nothing)


def test_refusals_are_counted_in_a_warning(faces, estimator, caplog):
    (faces / "10.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), "png"))
    (faces / "11.png").write_bytes(encode(slope(0.5, 8), "png"))
    with caplog.at_level(logging.WARNING, "faceaug"):
        dataset = add_measured_columns(load(faces), ["yaw"], lambda: estimator)
    assert dataset.table["yaw"].isna().tolist() == [False] * 5 + [True] * 2
    assert caplog.messages == ["faces: nothing can be measured on 2 of 7 images (blank 1, smaller than 24 pixels 1)"]


def test_no_face_in_any_image_is_an_error(estimator, tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(encode(np.full((64, 64, 3), k, np.uint8), "png"))
    with pytest.raises(DatasetError, match=r"nothing can be measured on the 3 images .* \(blank 3\): give photographs"):
        add_measured_columns(load(tmp_path), ["yaw"], lambda: estimator)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gender"], r"images but no labels, and 'gender' is not measured .* with --labels"),
        (["yaw", "pich"], r"'pich' is not measured \(did you mean 'pitch'\?\)"),
    ],
)
def test_other_columns_need_labels(faces, estimator, names, message):
    with pytest.raises(DatasetError, match=message):
        add_measured_columns(load(faces), names, lambda: estimator)


def test_its_state_restores_it(faces, estimator):
    state = estimator_state(estimator) | {"encoder.x": np.zeros(1)}
    assert {name.split(".")[0] for name in state} == {"alignment", "calibration", "encoder"}
    again = estimator_from_state(state, reconstruct)
    assert measure(load(faces), again).equals(measure(load(faces), estimator))
    with pytest.raises(IntegrityError):
        estimator_from_state({name: value for name, value in state.items() if "trunk.0" not in name}, reconstruct)


def test_the_confidence_of_skin_tones_is_that_of_the_network(faces, estimator):
    shipped = skin_tone_confidence()
    surer = replace(estimator, tone_model=replace(shipped, bias=shipped.bias + 1, spread=shipped.spread * 2))
    restored = estimator_from_state(estimator_state(surer), reconstruct)
    one, other = measure(load(faces), restored), measure(load(faces), estimator)
    assert one["skin_tone"].equals(other["skin_tone"])
    assert (one["skin_tone_confidence"] > other["skin_tone_confidence"]).any()
    assert measure(load(faces), surer).equals(one)


def test_atoms_are_columns_too(faces, estimator):
    class Mean:
        atoms, depth = ("mouth_shape_1",), np.ones((16, 16), np.float32)

        def values(self, depth, albedo):
            assert depth.shape[1:] == albedo.shape[2:] == (16, 16)
            return albedo.mean((1, 2, 3))[:, None].astype(np.float64)

    state = estimator_state(estimator)
    for name in ("spread", "bias", "centre", "scale", "weights"):
        part = state[f"calibration.{name}"]
        state[f"calibration.{name}"] = np.concatenate([part, part[-1:]])
    whole = estimator_from_state(state, reconstruct, Mean())
    assert whole.units[-1] == "standard deviations"
    table = measure(load(faces), whole)
    assert table["mouth_shape_1"].between(0.4, 0.6).all()
    assert add_measured_columns(load(faces), ["mouth_shape_1", "yaw"], lambda: whole).attributes == (
        "yaw",
        "mouth_shape_1",
    )


def test_without_an_estimator_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "nothing.safetensors")
    with pytest.raises(DatasetError, match=r"faceaug discover .* --reconstruction FILE, or label the images"):
        load_estimator()


def test_a_file_of_directions_holds_an_estimator(faces, estimator, tmp_path):
    network = network_from_weights(export_weights(Reconstructor(seed=1)))
    bundle = small_bundle()
    state = estimator_state(FaceEstimator(network, estimator.aligner, estimator.confidence_model))
    for name in ("spread", "bias", "centre", "scale", "weights"):  # of the atoms too
        part = state[f"calibration.{name}"]
        state[f"calibration.{name}"] = np.concatenate([part, *[part[-1:]] * len(bundle.atoms)])
    state["calibration.limits"][:3] = 1e9  # an untrained network explains nothing
    weights = export_weights(network) | state
    path = tmp_path / "found.safetensors"
    small_bundle(weights=weights, reconstruction=hash_of(weights)).save(path)
    table = measure(load(faces), load_estimator(path))
    as_loaded = optimized_for_reading(network).to(memory_format=torch.channels_last)
    assert table.equals(measure(load(faces), estimator_from_state(state, as_loaded, bundle)))
    assert set(bundle.atoms) < set(table.columns)
    assert (table["cannot_tell"] == "").all()


def test_a_file_of_directions_alone_holds_no_estimator(tmp_path):
    path = tmp_path / "found.safetensors"
    small_bundle().save(path)
    with pytest.raises(IntegrityError, match="no estimator of view and light: make one with faceaug discover"):
        load_estimator(path)
    with pytest.raises(IntegrityError):
        load_estimator(tmp_path / "nowhere.safetensors")


def test_a_table_without_reasons_keeps_its_types(faces, estimator, tmp_path):
    table, none = measure(load(faces), estimator), measure([], estimator)
    assert table["cannot_tell"].tolist() == [""] * 5
    assert (
        summarize_measurements(table, estimator)["cannot_tell"]
        == summarize_measurements(none, estimator)["cannot_tell"]
        == {}
    )
    assert list(none.columns) == list(table.columns)
    for k, each in enumerate((table, none)):  # also in the file, and without rows
        assert each["cannot_tell"].dtype == object
        each.to_parquet(tmp_path / f"{k}.parquet")
        assert pd.read_parquet(tmp_path / f"{k}.parquet")["cannot_tell"].tolist() == each["cannot_tell"].tolist()
