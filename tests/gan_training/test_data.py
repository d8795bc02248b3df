"""Sources of training images: folders, and samples of a generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.errors import DatasetError, GeneratorError
from faceaug.gan_training.data import FolderImageSource, GeneratorImageSource, SquareConfig, load_squares
from faceaug.utils.images import encode


def write(folder, sizes):
    folder.mkdir(exist_ok=True)
    for k, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(k).integers(0, 256, (height, width, 3), dtype=np.uint8)
        (folder / f"{k:03d}.png").write_bytes(encode(pixels, "png"))
    return load_dataset(folder, options=LoadOptions(needs_labels=False, check="header"))


def numbered(n, side=8):
    """Images that show their own number as grey."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, side, side, 3)).copy()


def test_images_become_squares_of_one_size(tmp_path):
    dataset = write(tmp_path / "faces", [(16, 16), (32, 32), (20, 16)])
    pixels, left_out = load_squares(dataset, SquareConfig(16))
    assert (pixels.shape, left_out) == ((3, 16, 16, 3), 0)
    assert np.array_equal(pixels[0], dataset.image(0))
    assert np.array_equal(pixels[2], dataset.image(2)[:, 2:18]), "the middle"


def test_images_that_do_not_fit_are_refused_in_one_sentence(tmp_path):
    dataset = write(tmp_path / "faces", [(16, 16), (12, 16), (16, 40), (16, 50)])
    with pytest.raises(DatasetError) as caught:
        load_squares(dataset, SquareConfig(16))
    assert str(caught.value) == (
        "of 4 images 1 are smaller than 16 pixels and 2 are far from square (first: 001.png, 12 by 16): choose a lower "
        "--resolution, take the middle squares with --crop, or leave them out with --leave-out"
    )
    pixels, left_out = load_squares(dataset, SquareConfig(16, leave_out=True))
    assert (len(pixels), left_out) == (1, 3)
    pixels, left_out = load_squares(dataset, SquareConfig(16, leave_out=True, crop=True))
    assert (len(pixels), left_out) == (3, 1)
    with pytest.raises(DatasetError, match="compare with larger"):
        load_squares(dataset, SquareConfig(64, leave_out=True, small_advice="compare with larger ones"))


def test_held_out_images_are_never_sampled_for_training():
    pictures = FolderImageSource(numbered(100), "x", mirror=False)
    rng = torch.Generator().manual_seed(0)
    seen = {round(float(x) * 127.5 + 127.5) for x in pictures.sample(3000, 8, rng)[:, 0, 0, 0]}
    apart = {round(float(x) * 127.5 + 127.5) for x in pictures.sample_held_out(500, 8, rng)[:, 0, 0, 0]}
    assert (len(seen), len(apart)) == (84, 16)
    assert not seen & apart
    assert pictures.origin == "84 images of x"


def test_mirror_images_are_sampled_where_requested():
    pixels = np.zeros((64, 8, 8, 3), np.uint8)
    pixels[:, :, :4] = 255
    plain, both = FolderImageSource(pixels, "x", mirror=False), FolderImageSource(pixels, "x")
    rng = torch.Generator().manual_seed(0)
    assert (plain.sample(200, 8, rng)[:, 0, 0, 0] == 1).all()
    assert 70 < int((both.sample(200, 8, rng)[:, 0, 0, 0] == 1).sum()) < 130
    assert plain.sha256 != both.sha256
    assert "mirror" in both.origin
    assert FolderImageSource(pixels, "other", mirror=False).sha256 == plain.sha256, "of the pictures, not of their name"


def test_too_few_images_are_refused():
    with pytest.raises(DatasetError, match="has 63 images, and a generator needs at least 64"):
        FolderImageSource(numbered(63), "faces")
    with pytest.raises(GeneratorError, match="8 pixels a side; 16 are needed"):
        FolderImageSource(numbered(64), "faces").sample(2, 16, torch.Generator())


def test_selected_samples_are_the_best_of_more(small):
    def score(images):
        return images.mean((1, 2, 3))

    selected, plain = GeneratorImageSource(small, score=score, keep=0.25), GeneratorImageSource(small)
    kept = selected.sample(8, 16, torch.Generator().manual_seed(3))
    every = plain.sample(32, 16, torch.Generator().manual_seed(3))
    best = every[score(every).topk(8).indices.sort().values]
    torch.testing.assert_close(kept, best)
    assert "the 25% of highest face quality" in selected.origin
    assert selected.sha256 != plain.sha256
    assert selected.sample_held_out(8, 16, torch.Generator()) is None
    with pytest.raises(GeneratorError, match="keep is 0"):
        GeneratorImageSource(small, keep=0.0)
