"""The atlas: the image of every direction shows the effect of its edit, and the page lists them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import NAMES, SIDE, small_bundle
from fakes import BlockGenerator

from faceaug.discovery import atlas
from faceaug.errors import GeneratorError, UsageError
from faceaug.utils.images import decode


@pytest.fixture(scope="module")
def generator():
    return BlockGenerator(6)


@pytest.fixture(scope="module")
def written(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    counts = []
    page = atlas.write_atlas(small_bundle(generator), generator, folder, faces=3, progress=counts.append)
    assert counts == [1] * len(NAMES)
    return page


def tile(picture, row, column):
    left, top = column * atlas._TILE, row * atlas._TILE
    return picture[top : top + atlas._TILE, left : left + atlas._TILE]


def test_there_is_an_image_per_direction_and_a_page(written):
    text = written.read_text()
    pictures = sorted(file.name for file in written.parent.glob("*.png"))
    assert pictures == [f"{k:03d}-{name}.png" for k, name in enumerate(NAMES)]
    assert re.findall(r'<img src="([^"]+)"', text) == pictures
    for words in (*NAMES, "mouth (100%)", "degrees", "blocks-6-0", "faceaug discover --generator blocks"):
        assert words in text
    assert "http:" not in text
    assert "https:" not in text
    assert "What else moves" in text


def test_the_tiles_are_the_edited_faces(generator):
    bundle = small_bundle(generator)
    directions = bundle.directions
    w = np.random.default_rng(0).normal(size=(2, 6)) * 0.3
    picture, length = atlas.render_direction(bundle, generator, w, "yaw")
    step = atlas._step(directions, "yaw") * directions.spread[0]
    assert length == pytest.approx(np.sqrt(step @ np.linalg.inv(directions.covariance) @ step))
    for row, column, amount in ((0, 0, -3), (1, 3, 0), (1, 6, 3), (0, 5, 2)):
        expected = generator.synthesize(torch.from_numpy(w[row : row + 1] + amount * step))[0, 0]
        shown = tile(picture, row, column)[..., 0].astype(float)
        six = atlas._TILE // 16
        at_centres = shown[six // 2 :: six, six // 2 :: six]
        inner = np.s_[1::4, 1::4]  # in the middle of a block, where resizing changes nothing much
        assert np.abs(at_centres - (expected.numpy() + 1) * 127.5)[inner].max() < 6


def test_an_edit_moves_its_semantic_and_hardly_the_held_ones():
    directions = small_bundle().directions
    names = ["yaw", *NAMES[2:]]
    effect = directions.B @ atlas._step(directions, "yaw") * directions.spread[0] / directions.spread
    free = directions.B @ directions.steps(["yaw"])[:, 0] * directions.spread[0] / directions.spread
    assert effect[0] == pytest.approx(1)
    rows = directions.index(names[1:])
    assert np.abs(effect[rows]).max() < np.abs(free[rows]).max()


def test_redundant_semantics_do_not_move_an_edit_out_of_the_samples():
    directions = small_bundle().directions
    rows = directions.B.copy()
    rows[2] = rows[0] / directions.spread[0] * directions.spread[2] * 0.99  # an atom that is nearly the view
    rows[2, 5] += 0.01 * np.abs(rows[2]).max()
    near = replace(directions, B=rows)
    assert np.linalg.norm(near.steps(["yaw", NAMES[2]])[:, 0]) > 20 * np.linalg.norm(near.steps(["yaw"])[:, 0])
    assert np.linalg.norm(atlas._step(near, "yaw")) < 5 * np.linalg.norm(near.steps(["yaw"])[:, 0])


def test_held_semantics_depend_on_the_kind():
    directions = small_bundle().directions
    assert atlas.held_names(directions, "yaw") == list(NAMES[2:])
    assert atlas.held_names(directions, "mouth_texture_1") == ["yaw", *NAMES[3:]]
    assert atlas.held_names(directions, "exposure") == ["yaw"]
    attribute = replace(directions, kinds=("view", "scene", "attribute", "shape atom", "light"))
    assert atlas.held_names(attribute, NAMES[2]) == ["yaw", "exposure", NAMES[4]]
    rows = directions.B.copy()
    rows[3] = 0
    assert atlas.held_names(replace(directions, B=rows), "yaw") == [NAMES[2], NAMES[4]]


def test_maps_show_the_regions_of_atoms(generator):
    bundle = small_bundle(generator)
    steps = bundle.directions.steps([NAMES[0], *NAMES[2:]])
    grey = atlas._bytes(atlas._grey_face(bundle))
    shape, texture = atlas._shape_map(bundle, steps[:, 2]), atlas._texture_map(bundle, steps[:, 1])
    eyes, mouth = bundle.maps[1, 0] != 0, bundle.maps[0, 1] != 0
    np.testing.assert_array_equal((shape != grey).any(2), eyes)
    np.testing.assert_array_equal((texture != grey).any(2), mouth)
    assert (shape[eyes] == atlas._LESS).all()  # depth grows there: the face recedes
    assert (atlas._shape_map(bundle, -steps[:, 2])[eyes] == atlas._MORE).all()
    np.testing.assert_array_equal(atlas._texture_map(bundle, steps[:, 0]), grey)  # yaw alone changes no atom


def test_a_direction_without_effect_has_an_image_too(generator):
    bundle = small_bundle(generator)
    rows = bundle.directions.B.copy()
    rows[2] = 0
    still = small_bundle(generator, directions=replace(bundle.directions, B=rows))
    picture, length = atlas.render_direction(still, generator, np.zeros((1, 6)), NAMES[2])
    assert length == 0
    np.testing.assert_array_equal(tile(picture, 0, 0), tile(picture, 0, 6))


def test_a_second_atlas_replaces_the_first(generator, tmp_path):
    bundle = small_bundle(generator)
    atlas.write_atlas(bundle, generator, tmp_path / "a", faces=1)
    names = ("a/b <b>", *NAMES[1:])
    other = small_bundle(generator, directions=replace(bundle.directions, names=names))
    page = atlas.write_atlas(other, generator, tmp_path / "a", faces=1)
    assert sorted(file.name for file in page.parent.glob("*.png"))[0] == "000-a-b--b-.png"
    assert len(list(page.parent.iterdir())) == len(NAMES) + 1
    assert "<b>" not in page.read_text()
    decode((page.parent / "000-a-b--b-.png").read_bytes())


def test_files_of_the_user_are_not_replaced(generator, tmp_path):
    """Files with names like those of an atlas are not replaced, without an atlas or beside one."""
    bundle, folder = small_bundle(generator), tmp_path / "a"
    folder.mkdir()
    (folder / "001-alice.png").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"001-alice\.png"):
        atlas.write_atlas(bundle, generator, folder, faces=1)
    (folder / "index.html").write_text('<title>Holidays</title><img src="001-alice.png">')
    with pytest.raises(UsageError, match="no part of an atlas"):
        atlas.write_atlas(bundle, generator, folder, faces=1)
    assert {file.name for file in folder.iterdir()} == {"001-alice.png", "index.html"}
    (folder / "index.html").unlink()
    (folder / "001-alice.png").rename(tmp_path / "001-alice.png")
    atlas.write_atlas(bundle, generator, folder, faces=1)
    (tmp_path / "001-alice.png").rename(folder / "001-alice.png")
    atlas.write_atlas(bundle, generator, folder, faces=1)
    assert (folder / "001-alice.png").read_bytes() == b"precious"
    alice = replace(bundle.directions, names=(NAMES[0], "alice", *NAMES[2:]))
    with pytest.raises(UsageError, match=r"001-alice\.png"):
        atlas.write_atlas(small_bundle(generator, directions=alice), generator, folder, faces=1)
    assert (folder / "001-alice.png").read_bytes() == b"precious"
    assert (folder / f"001-{NAMES[1]}.png").exists()


def test_images_whose_names_are_quoted_in_addresses_are_replaced(generator, tmp_path):
    bundle = small_bundle(generator)
    named = replace(bundle.directions, names=("a=b+c", *NAMES[1:]))
    atlas.write_atlas(small_bundle(generator, directions=named), generator, tmp_path, faces=1)
    assert (tmp_path / "000-a=b+c.png").exists()
    atlas.write_atlas(bundle, generator, tmp_path, faces=1)
    assert len(list(tmp_path.iterdir())) == len(NAMES) + 1


@pytest.mark.parametrize("at", range(len(NAMES) + 1))
def test_an_interrupted_atlas_is_written_again(generator, tmp_path, monkeypatch, at):
    bundle = small_bundle(generator)
    atlas.write_atlas(bundle, generator, tmp_path, faces=1)
    other = small_bundle(generator, directions=replace(bundle.directions, names=("a", "b", *NAMES[2:])))
    whole, count = atlas.write_bytes, iter(range(99))

    def cut_off(path, data):
        if next(count) == at:
            raise KeyboardInterrupt
        whole(path, data)

    monkeypatch.setattr(atlas, "write_bytes", cut_off)
    with pytest.raises(KeyboardInterrupt):
        atlas.write_atlas(other, generator, tmp_path, faces=1)
    monkeypatch.setattr(atlas, "write_bytes", whole)
    atlas.write_atlas(other, generator, tmp_path, faces=1)
    assert len(list(tmp_path.iterdir())) == len(NAMES) + 1


def test_refusals(generator, tmp_path):
    bundle = small_bundle(generator)
    with pytest.raises(GeneratorError, match="were made for the generator"):
        atlas.write_atlas(bundle, BlockGenerator(6, seed=1), tmp_path / "a")
    with pytest.raises(UsageError, match="at least 1"):
        atlas.write_atlas(bundle, generator, tmp_path / "a", faces=0)
    assert not (tmp_path / "a").exists()
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        atlas.write_atlas(bundle, generator, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    assert bundle.maps.shape[-1] == SIDE
