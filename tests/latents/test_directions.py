"""Directions: the algebra of likeliest steps, and a file that is read back exactly or refused in a sentence."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import BlockGenerator, block_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from faceaug.errors import GeneratorError, IntegrityError, UsageError
from faceaug.latents.directions import Directions, read_directions


@pytest.fixture
def directions() -> Directions:
    return block_reader(BlockGenerator(6), 3).directions(
        kinds=("attribute", "view", "scene"), units=("a", "degrees", "c")
    )


@pytest.fixture
def path(directions, tmp_path):
    directions.save(tmp_path / "directions.safetensors")
    return tmp_path / "directions.safetensors"


def sentence(error: pytest.ExceptionInfo[Exception]) -> str:
    """Return the error's text, which must be a line."""
    text = str(error.value)
    assert "\n" not in text
    assert 20 < len(text) < 400
    return text


def rewritten(path, header=None, drop=(), **tensors):
    """Write the file again with some of it changed."""
    with safe_open(str(path), "np") as file:
        found = json.loads(file.metadata()["faceaug"])
        parts = {name: file.get_tensor(name) for name in file.keys() if name not in drop}  # noqa: SIM118
    metadata = header if isinstance(header, str) else json.dumps({**found, **(header or {})})
    save_file({**parts, **tensors}, str(path), metadata={"faceaug": metadata})


def test_round_trip(directions, path):
    read = read_directions(path)
    for name in ("names", "kinds", "units", "generator"):
        assert getattr(read, name) == getattr(directions, name)
    for name in ("B", "offset", "spread", "r2", "w_mean", "covariance"):
        np.testing.assert_array_equal(getattr(read, name), getattr(directions, name))
    assert read.sha256() == directions.sha256()


def test_the_hash_depends_on_all_content(directions):
    others = [
        replace(directions, B=directions.B * (1 + 1e-15)), replace(directions, units=("a", "b", "c")),
        replace(directions, generator="0" * 64),
        replace(directions, offset=directions.spread, spread=directions.offset),
    ]  # fmt: skip
    assert len({d.sha256() for d in (directions, *others)}) == 5


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"version": 3}, "'faceaug-directions', version 3; faceaug-directions, version 1 or 2, is read"),
        ({"version": None}, "version None"),
        ({"format": "faceaug-probe"}, "'faceaug-probe', version 1; faceaug-directions"),
        ("{}", "no faceaug file"),
        ("[1]", "cannot be read as directions"),
        ("{", "cannot be read as directions"),
        ({"names": ["s0"]}, "damaged"),
        ({"units": ["a"]}, "damaged"),
        ({"names": 7}, "cannot be read as directions"),
    ],
)
def test_a_header_of_another_kind_is_refused(path, header, said):
    rewritten(path, header)
    with pytest.raises(IntegrityError) as error:
        read_directions(path)
    assert said in sentence(error)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("drop", "tensors"),
    [
        (("B",), {}),
        ((), {"extra": np.zeros(1)}),
        ((), {"B": np.zeros((3, 5))}),
        ((), {"B": np.full((3, 6), np.nan)}),
        ((), {"covariance": np.full((6, 6), np.inf)}),
        ((), {"w_mean": np.float64(0)[None][0:0]}),
        ((), {"w_mean": np.array(1.0)}),
    ],
)
def test_tensors_that_do_not_fit_are_refused(path, drop, tensors):
    rewritten(path, drop=drop, **tensors)
    with pytest.raises(IntegrityError) as error:
        read_directions(path)
    sentence(error)


def test_a_damaged_file_is_refused(path, tmp_path):
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-8], b"", b"not tensors at all", b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(IntegrityError) as error:
            read_directions(path)
        sentence(error)
    with pytest.raises(IntegrityError, match="nowhere"):
        read_directions(tmp_path / "nowhere.safetensors")


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 600), byte=st.integers(0, 255))
def test_a_flipped_byte_near_the_head_is_refused_or_harmless(tmp_path_factory, place, byte):
    """The head says what the numbers mean: it is read, maybe with another text, or refused; never a traceback."""
    path = tmp_path_factory.mktemp("flip") / "d.safetensors"
    block_reader(BlockGenerator(3), 1).directions().save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    with contextlib.suppress(IntegrityError):
        assert read_directions(path).B.shape == (1, 3)


def test_another_generator_is_refused(directions):
    directions.check_generator(BlockGenerator(6).sha256)
    with pytest.raises(GeneratorError) as error:
        directions.check_generator(BlockGenerator(6, seed=1).sha256)
    assert "find directions for this generator" in sentence(error)


@pytest.mark.parametrize("names", [("s1",), ("s0", "s1"), ("s2", "s1", "s0")])
def test_a_flat_direction_is_refused(directions, names):
    rows = directions.B.copy()
    rows[1] = 0
    with pytest.raises(UsageError, match="'s1' does not change along w") as error:
        replace(directions, B=rows).steps(names)
    sentence(error)
    assert replace(directions, B=rows).steps(["s0", "s2"]).shape == (6, 2)


def test_an_unknown_name_is_refused_with_the_nearest(directions):
    named = replace(directions, names=("gender=female", "yaw", "outside_red"))
    assert named.index(["yaw", "gender=female"]) == [1, 0]
    with pytest.raises(UsageError, match="did you mean 'outside_red'"):
        named.index(["outside_rad"])


def test_predict_is_the_line(directions):
    w = np.random.default_rng(0).normal(size=(5, 6))
    expected = [[directions.offset[s] + directions.B[s] @ (row - directions.w_mean) for s in range(3)] for row in w]
    np.testing.assert_allclose(directions.predict(w), expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(0, 999), st.lists(st.floats(-8, 8), min_size=5, max_size=5))
def test_a_step_moves_one_and_keeps_the_others(count, seed, exponents):
    """Whatever the units: each column of the steps changes its own semantic by one, and no other."""
    reader = block_reader(BlockGenerator(7, seed=seed % 50), count, seed)
    scale = 10 ** np.array(exponents[:count])
    directions = reader.directions(B=reader.B * scale[:, None])
    names = directions.names
    effect = directions.B @ directions.steps(names)  # [S, K]
    np.testing.assert_allclose(effect / scale[:, None] * scale[None], np.eye(count), atol=1e-6)


def test_a_step_alone_follows_the_covariance(directions):
    """One axis by itself: along Sigma b, as textbooks have it, so what covaries with it follows."""
    b, covariance = directions.B[1], directions.covariance
    np.testing.assert_allclose(directions.steps(["s1"])[:, 0], covariance @ b / (b @ covariance @ b), rtol=1e-10)


def test_axes_that_say_the_same_are_shared_out(directions):
    twice = replace(directions, B=np.stack([directions.B[0], 10 * directions.B[0], directions.B[2]]))
    steps = twice.steps(["s0", "s1"])
    assert np.isfinite(steps).all()
    np.testing.assert_allclose(twice.B[:2] @ steps @ [1, 10], [1, 10], atol=1e-9)  # both asked alike: both are met
