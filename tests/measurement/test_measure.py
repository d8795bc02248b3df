"""Measuring data sets: a row a picture, reasons where nothing can be told, and columns of a dataset."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from bundles import small_bundle
from fake_measurer import fake_measurer, reconstruct, slope, write_slopes

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
from faceaug.reconstruction.networks import Reconstructor, export_weights, network_from_weights
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.images import encode

STRENGTHS = [-0.9, -0.3, 0.0, 0.3, 0.9]


@pytest.fixture(scope="module")
def measurer():
    return fake_measurer()


@pytest.fixture
def faces(tmp_path):
    return write_slopes(tmp_path / "faces", STRENGTHS)


def load(path, labels=None, **options):
    return load_dataset(path, labels, options=LoadOptions(needs_labels=False, **options))


def never():
    raise AssertionError("nothing had to be measured")


def test_a_row_a_picture_with_values_and_confidence(faces, measurer):
    told = []
    table = measure(load(faces), measurer, progress=told.append)
    assert list(table.columns) == [
        "file",
        *(c for name in FACTOR_NAMES for c in (name, f"{name}_confidence")),
        "cannot_tell",
    ]
    assert list(table["file"]) == [f"{k:02d}.png" for k in range(5)]
    assert (table["cannot_tell"] == "").all()
    assert table["yaw"].is_monotonic_increasing
    assert table["yaw"].iloc[0] < -3 < 3 < table["yaw"].iloc[4]
    assert table["light_x"].iloc[4] > 20
    assert (table["light"] == 0.25).all()
    assert table["yaw_confidence"].tolist() == pytest.approx([0.881] * 5)
    assert sum(told) == 5


def test_a_mirrored_picture_measures_mirrored(measurer, tmp_path):
    rng = np.random.default_rng(0)
    picture = (slope(0.5).astype(int) + rng.integers(-30, 30, (48, 48, 3))).clip(0, 255).astype(np.uint8)
    for name, pixels in (("a", picture), ("b", picture[:, ::-1])):
        (tmp_path / f"{name}.png").write_bytes(encode(np.ascontiguousarray(pixels), "png"))
    one, two = (row for _, row in measure(load(tmp_path), measurer).iterrows())
    for name in FACTOR_NAMES:
        sign = -1 if name in ("yaw", "roll", "light_x") else 1
        assert one[name] == pytest.approx(sign * two[name], abs=0.02)
    assert abs(one["yaw"]) > 1


def test_what_cannot_be_told_is_missing_and_says_why(faces, measurer):
    (faces / "10.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), "png"))
    (faces / "11.png").write_bytes(encode(slope(0.5, 8), "png"))
    (faces / "12.png").write_bytes(b"no picture")
    (faces / "13.png").write_bytes(encode(slope(0.5, red=0.9), "png"))
    table = measure(load(faces, check="none"), measurer)
    assert list(table["cannot_tell"][5:]) == [
        "blank", "smaller than 24 pixels", "unreadable", "not explained by the reconstruction",
    ]  # fmt: skip
    for name in FACTOR_NAMES:
        assert table[name][:5].notna().all()
        assert table[name][5:].isna().all()
        assert (table[f"{name}_confidence"][5:] == 0).all()
    found = summarize_measurements(table, measurer)
    assert (found["images"], found["measured"]) == (9, 5)
    assert sum(found["cannot_tell"].values()) == 4
    assert found["semantics"]["yaw"]["quantiles"][1] == pytest.approx(table["yaw"][2], abs=0.001)


def test_nothing_measured_has_a_summary_too(measurer, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(slope(0.5, 8), "png"))
    found = summarize_measurements(measure(load(tmp_path), measurer), measurer)
    assert found["measured"] == 0
    assert found["semantics"]["yaw"]["quantiles"] is None


def test_paths_and_workers_and_company_change_nothing(faces, measurer, monkeypatch):
    alone = measure(load(faces), measurer, workers=1)
    assert measure(load(faces), measurer, workers=3).equals(alone)
    monkeypatch.setattr("faceaug.measurement.measure.TOGETHER", 4)
    paths = sorted(faces.glob("*.png"))
    many = measure([*paths, "nowhere.png", *paths], measurer)
    for name in FACTOR_NAMES:
        assert np.abs(many[name].drop(5).to_numpy().reshape(2, 5) - alone[name].to_numpy()).max() <= 0.0101
    assert many["file"][0] == str(paths[0])
    assert many["cannot_tell"].tolist() == ["" if k != 5 else "unreadable" for k in range(11)]
    assert measure([], measurer).empty


def test_aligned_reads_the_middle_square(measurer, tmp_path):
    wide = np.concatenate([slope(0.0, 30, 48), slope(0.9, 48), slope(0.0, 30, 48)], 1)
    (tmp_path / "wide.png").write_bytes(encode(wide, "png"))
    (tmp_path / "whole.png").write_bytes(encode(slope(0.9), "png"))
    whole, cut = measure(load(tmp_path), measurer, aligned=True)["yaw"]
    assert cut == pytest.approx(whole, rel=0.1)
    assert abs(measure(load(tmp_path), measurer)["yaw"][1] - whole) > 0.3 * whole


def test_labels_travel_along_but_for_what_is_measured(faces, measurer, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gender,yaw,split\n" + "".join(f"{k:02d}.png,x,999,train\n" for k in range(5)))
    table = measure(load(faces, labels, split="all"), measurer)
    assert list(table.columns[:4]) == ["file", "gender", "split", "yaw"]
    assert table["yaw"].abs().max() < 90
    file = tmp_path / "measured.parquet"
    table.to_parquet(file)
    again = load_dataset(faces, file)
    assert list(again.table["yaw"]) == list(table["yaw"])
    assert add_measured_columns(again, ["gender", "yaw"], never) is again


def test_a_measured_column_of_a_target(faces, measurer):
    dataset = load(faces)
    measured = add_measured_columns(dataset, ["yaw", "light"], lambda: measurer)
    assert measured.attributes == ("yaw", "light")
    assert measured.table["yaw"].is_monotonic_increasing
    assert dataset.attributes == ()
    assert measured.fingerprint() != dataset.fingerprint()
    assert (
        measured.fingerprint()
        == add_measured_columns(dataset, ["yaw", "light"], lambda: measurer, workers=3).fingerprint()
    )


def test_the_labels_win(faces, measurer, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,yaw\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    both = add_measured_columns(load(faces, labels), ["yaw", "pitch"], lambda: measurer)
    assert list(both.table["yaw"]) == [0, 1, 2, 3, 4]
    assert both.table["pitch"].notna().all()


def test_what_is_not_needed_is_not_loaded(faces, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,yaw\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    dataset = load(faces, labels)
    assert add_measured_columns(dataset, ["yaw", "split"], never) is dataset


def test_a_name_that_nobody_knows_is_left_to_whoever_looks_for_it(faces, measurer, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gender\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(5)))
    dataset = load(faces, labels)

    def nothing():
        raise DatasetError("nothing that measures")

    assert add_measured_columns(dataset, ["gendre"], lambda: measurer) is dataset
    assert add_measured_columns(dataset, ["gendre"], nothing) is dataset
    with pytest.raises(DatasetError, match="nothing that measures"):
        add_measured_columns(dataset, ["gendre", "yaw"], nothing)


def test_what_cannot_be_told_is_counted_and_said(faces, measurer, caplog):
    (faces / "10.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), "png"))
    (faces / "11.png").write_bytes(encode(slope(0.5, 8), "png"))
    with caplog.at_level(logging.WARNING, "faceaug"):
        dataset = add_measured_columns(load(faces), ["yaw"], lambda: measurer)
    assert dataset.table["yaw"].isna().tolist() == [False] * 5 + [True] * 2
    assert caplog.messages == ["faces: nothing can be measured on 2 of 7 images (blank 1, smaller than 24 pixels 1)"]


def test_no_face_anywhere_is_an_error(measurer, tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(encode(np.full((64, 64, 3), k, np.uint8), "png"))
    with pytest.raises(DatasetError, match=r"nothing can be measured on the 3 images .* \(blank 3\): give photographs"):
        add_measured_columns(load(tmp_path), ["yaw"], lambda: measurer)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["gender"], r"images but no labels, and 'gender' is not measured .* with --labels"),
     (["yaw", "pich"], r"'pich' is not measured \(did you mean 'pitch'\?\)")],
)  # fmt: skip
def test_other_columns_need_labels(faces, measurer, names, said):
    with pytest.raises(DatasetError, match=said):
        add_measured_columns(load(faces), names, lambda: measurer)


def test_it_travels_as_tensors(faces, measurer):
    state = estimator_state(measurer) | {"encoder.x": np.zeros(1)}
    assert {name.split(".")[0] for name in state} == {"alignment", "calibration", "encoder"}
    again = estimator_from_state(state, reconstruct)
    assert measure(load(faces), again).equals(measure(load(faces), measurer))
    with pytest.raises(IntegrityError):
        estimator_from_state({name: value for name, value in state.items() if "trunk.0" not in name}, reconstruct)


def test_atoms_are_columns_as_well(faces, measurer):
    class Mean:
        atoms, depth = ("mouth_shape_1",), np.ones((16, 16), np.float32)

        def values(self, depth, albedo):
            assert depth.shape[1:] == albedo.shape[2:] == (16, 16)
            return albedo.mean((1, 2, 3))[:, None].astype(np.float64)

    state = estimator_state(measurer)
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


def test_without_anything_that_measures_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "nothing.safetensors")
    with pytest.raises(DatasetError, match=r"faceaug discover .* --reconstruction FILE, or label the images"):
        load_estimator()


def test_a_file_of_directions_measures(faces, measurer, tmp_path):
    network = network_from_weights(export_weights(Reconstructor(seed=1)))
    bundle = small_bundle()
    state = estimator_state(FaceEstimator(network, measurer.aligner, measurer.confidence_model))
    for name in ("spread", "bias", "centre", "scale", "weights"):  # of the atoms too
        part = state[f"calibration.{name}"]
        state[f"calibration.{name}"] = np.concatenate([part, *[part[-1:]] * len(bundle.atoms)])
    state["calibration.limits"][:3] = 1e9  # what was never trained explains nothing
    weights = export_weights(network) | state
    path = tmp_path / "found.safetensors"
    small_bundle(weights=weights, reconstruction=hash_of(weights)).save(path)
    table = measure(load(faces), load_estimator(path))
    expected = estimator_from_state(state, network, bundle)
    assert table.equals(measure(load(faces), expected))
    assert set(bundle.atoms) < set(table.columns)
    assert (table["cannot_tell"] == "").all()


def test_a_file_of_directions_alone_does_not(tmp_path):
    path = tmp_path / "found.safetensors"
    small_bundle().save(path)
    with pytest.raises(IntegrityError, match="nothing that measures pictures: make it with faceaug discover"):
        load_estimator(path)
    with pytest.raises(IntegrityError):
        load_estimator(tmp_path / "nowhere.safetensors")


def test_a_table_can_be_empty_of_reasons(faces, measurer, tmp_path):
    table, none = measure(load(faces), measurer), measure([], measurer)
    assert table["cannot_tell"].tolist() == [""] * 5
    assert (
        summarize_measurements(table, measurer)["cannot_tell"]
        == summarize_measurements(none, measurer)["cannot_tell"]
        == {}
    )
    assert list(none.columns) == list(table.columns)
    for k, each in enumerate((table, none)):  # text in the file as well, also where there is no row
        assert each["cannot_tell"].dtype == object
        each.to_parquet(tmp_path / f"{k}.parquet")
        assert pd.read_parquet(tmp_path / f"{k}.parquet")["cannot_tell"].tolist() == each["cannot_tell"].tolist()
