"""The bundle: read back exactly, read as directions too, and refused in a sentence when anything is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bundles import NAMES, SIDE, small_bundle
from fakes import BlockGenerator
from safetensors import safe_open
from safetensors.numpy import save_file

from faceaug.errors import GeneratorError, IntegrityError, UsageError
from faceaug.latents.atoms import SparseAtoms
from faceaug.latents.bundle import WEIGHTS_PREFIX, atom_names, hash_of, read_bundle, semantic_ranges, with_atoms
from faceaug.latents.directions import read_directions
from faceaug.latents.face_regions import REGIONS

ARRAYS = ("seen", "depth", "albedo", "regions", "maps", "shares", "scale", "explained")


@pytest.fixture
def path(tmp_path):
    small_bundle().save(tmp_path / "bundle.safetensors")
    return tmp_path / "bundle.safetensors"


def rewritten(path, header=None, drop=(), **tensors):
    """Write the file again with changes."""
    with safe_open(str(path), "np") as file:
        found = json.loads(file.metadata()["faceaug"])
        parts = {name: file.get_tensor(name) for name in file.keys() if name not in drop}  # noqa: SIM118
    found = {name: value for name, value in {**found, **(header or {})}.items() if value is not None}
    save_file({**parts, **tensors}, str(path), metadata={"faceaug": json.dumps(found)})


def test_round_trip(path):
    written, read = small_bundle(), read_bundle(path)
    for name in ("ranges", *ARRAYS[1:]):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name in ("reconstruction", "generator_name", "made_by"):
        assert getattr(read, name) == getattr(written, name)
    assert read.weights.keys() == written.weights.keys()
    for name, value in written.weights.items():
        np.testing.assert_array_equal(read.weights[name], value)
    assert read.directions.sha256() == written.directions.sha256()


def test_a_bundle_is_directions_too(path):
    assert read_directions(path).sha256() == small_bundle().directions.sha256()


def test_directions_alone_are_not_a_bundle(tmp_path):
    small_bundle().directions.save(tmp_path / "old.safetensors")
    assert read_directions(tmp_path / "old.safetensors").names == NAMES
    with pytest.raises(IntegrityError, match="holds directions only"):
        read_bundle(tmp_path / "old.safetensors")


def test_another_generator_is_refused(path):
    bundle = read_bundle(path)
    bundle.directions.check_generator(BlockGenerator(6).sha256)
    with pytest.raises(GeneratorError, match="were made for the generator"):
        bundle.directions.check_generator(BlockGenerator(6, seed=1).sha256)


def test_regions_of_atoms():
    bundle = small_bundle()
    assert bundle.atoms == NAMES[2:]
    assert bundle.region("mouth_texture_1") == ("mouth", 1.0)
    assert bundle.region("eyes_shape_1") == ("eyes", 1.0)
    assert bundle.region("wide_texture_1") == (REGIONS[0], pytest.approx(1 / 8))
    assert bundle.region("yaw") is None
    with pytest.raises(UsageError):
        bundle.region("mouth_texture_9")


def test_values_are_read_where_the_atoms_are():
    bundle = small_bundle()
    true = np.random.default_rng(0).normal(size=(4, 3))
    faces = np.concatenate([bundle.depth[None], bundle.albedo]) + np.einsum("nk,kcyx->ncyx", true, bundle.maps)
    np.testing.assert_allclose(bundle.values(faces[:, 0], faces[:, 1:]), true, atol=1e-5)


def test_the_reader_is_found_once_and_reads_as_before(monkeypatch):
    bundle, rng = small_bundle(), np.random.default_rng(0)
    depth, albedo = rng.normal(size=(4, SIDE, SIDE)), rng.normal(size=(4, 3, SIDE, SIDE))
    shown = (bundle.maps * bundle.scale[:, None, None]).reshape(3, -1)
    change = np.concatenate([depth[:, None], albedo], 1) - np.concatenate([bundle.depth[None], bundle.albedo])
    expected = np.linalg.lstsq(shown.T, (change * bundle.scale[:, None, None]).reshape(4, -1).T, rcond=None)[0].T
    np.testing.assert_allclose(bundle.values(depth, albedo), expected, atol=1e-9)
    monkeypatch.setattr(np.linalg, "pinv", None)  # not needed again
    np.testing.assert_allclose(bundle.values(depth[:2], albedo[:2]), expected[:2], atol=1e-9)
    monkeypatch.undo()
    twice = replace(bundle, maps=2 * bundle.maps)
    np.testing.assert_allclose(twice.values(depth, albedo), expected / 2, atol=1e-9)


def test_what_is_stored_beside_the_network_is_hashed_too(tmp_path):
    """The alignment and the calibration are added to a bundle that names its network's hash already."""
    bundle = small_bundle()
    beside = {"alignment.trunk.weight": np.ones((2, 2), np.float32), "calibration.limits": np.arange(3.0)}
    whole = replace(bundle, weights={**bundle.weights, **beside})
    assert whole.reconstruction == hash_of(whole.weights) != bundle.reconstruction
    whole.save(tmp_path / "b.safetensors")
    read = read_bundle(tmp_path / "b.safetensors")
    assert read.reconstruction == whole.reconstruction
    assert read.weights.keys() == bundle.weights.keys() | beside.keys()
    rewritten(tmp_path / "b.safetensors", **{f"{WEIGHTS_PREFIX}calibration.limits": np.zeros(3)})
    with pytest.raises(IntegrityError, match="other weights"):
        read_bundle(tmp_path / "b.safetensors")


def test_ranges_leave_out_one_percent():
    values = np.stack([np.linspace(0, 100, 1001), np.linspace(-1, 1, 1001)], 1)
    np.testing.assert_allclose(semantic_ranges(values), [[0.5, 99.5], [-0.99, 0.99]])


def test_without_a_network(tmp_path):
    small_bundle(weights={}, reconstruction="ab" * 32).save(tmp_path / "b.safetensors")
    read = read_bundle(tmp_path / "b.safetensors")
    assert (dict(read.weights), read.reconstruction) == ({}, "ab" * 32)


def test_the_hash_of_weights_depends_on_names_types_shapes_and_numbers():
    weights = small_bundle().weights
    assert hash_of(dict(reversed(weights.items()))) == hash_of(weights)
    changed = {**weights, "steps": np.array(8)}
    reshaped = {**weights, "trunk.0.weight": weights["trunk.0.weight"].T.copy()}
    renamed = {("x" if name == "steps" else name): value for name, value in weights.items()}
    typed = {**weights, "steps": np.array(7, np.int32)}
    assert len({hash_of(w) for w in (weights, changed, reshaped, renamed, typed)}) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seen", np.zeros((4, 2))),
        ("seen", np.tile([1.0, 0.0], (5, 1))),
        ("seen", np.zeros((5, 2), np.float32)),
        ("depth", np.full((SIDE, SIDE), np.nan, np.float32)),
        ("albedo", np.zeros((SIDE, SIDE), np.float32)),
        ("regions", np.full((SIDE, SIDE), len(REGIONS), np.uint8)),
        ("regions", np.array(3, np.uint8)),
        ("maps", np.zeros((2, 4, SIDE, SIDE), np.float32)),
        ("maps", np.zeros((3, 4, SIDE, SIDE - 1), np.float32)),
        ("shares", np.zeros((3, 3), np.float32)),
        ("explained", np.array([np.inf, 0, 0])),
        ("scale", np.ones(3)),
        ("B", np.zeros((5, 3))),
        (f"{WEIGHTS_PREFIX}steps", np.array(8)),
    ],
)
def test_damage_is_refused_in_one_sentence(path, name, value):
    rewritten(path, **{name: value})
    with pytest.raises(IntegrityError, match=r"damaged") as error:
        read_bundle(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*ARRAYS, "B", "covariance"])
def test_a_missing_part(path, name):
    rewritten(path, drop=(name,))
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_bundle(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"regions": ["face"]}, "names the regions"),
        ({"regions": None}, "cannot be read"),
        ({"generator_name": None}, "cannot be read"),
        ({"kinds": ["view", "scene", "texture atom", "shape atom", "sound"]}, "kind 'sound'"),
        ({"kinds": ["view", "scene", "texture atom", "shape atom", "view"]}, "damaged"),
        ({"version": 3}, "version 3"),
    ],
)
def test_a_header_that_does_not_fit(path, header, said):
    rewritten(path, header)
    with pytest.raises(IntegrityError, match=said):
        read_bundle(path)


@pytest.mark.parametrize("keep", [0, 7, 200, 3000])
def test_a_file_cut_off(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IntegrityError):
        read_bundle(path)
    with pytest.raises(IntegrityError):
        read_bundle(path.with_name("none.safetensors"))


def test_what_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(IntegrityError, match="this bundle has maps"):
        small_bundle(maps=np.zeros((1, 4, SIDE, SIDE), np.float32)).save(tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())


def test_names_of_atoms_and_their_directions():
    bundle = small_bundle()
    maps = np.concatenate([bundle.maps, bundle.maps[:1], bundle.maps[2:]]).astype(float)
    count, width = len(maps), 6
    rng = np.random.default_rng(0)
    atoms = SparseAtoms(
        reading=rng.normal(size=(width, count)), steps=np.zeros((width, count)), maps=maps, effects=maps,
        explained=np.arange(5, 0, -1) / 10, scale=np.array([100.0, 1, 1, 1]),
        reconstruction=1.0, dense_reconstruction=1.0, odd=0.0,
    )  # fmt: skip
    names, kinds, shares = atom_names(atoms, bundle.regions)
    outside = np.mean(bundle.regions == REGIONS.index("outside"))
    assert outside < 0.6
    assert names == ("mouth_texture_1", "eyes_shape_1", "wide_texture_1", "mouth_texture_2", "wide_texture_2")
    assert kinds == tuple(f"{'shape' if 'shape' in name else 'texture'} atom" for name in names)
    assert shares[0, REGIONS.index("mouth")] == 1
    scene = replace(bundle.directions, names=("a", "b", "c", "d", "e"), kinds=("scene",) * 5)
    whole, found = with_atoms(scene, atoms, bundle.regions, np.full(5, 0.7))
    np.testing.assert_array_equal(found, shares)
    assert whole.names == ("a", "b", "c", "d", "e", *names)
    w = rng.normal(size=(4, width))
    np.testing.assert_allclose(whole.predict(w)[:, 5:], (w - whole.w_mean) @ atoms.reading)
    np.testing.assert_array_equal(whole.r2[5:], 0.7)
