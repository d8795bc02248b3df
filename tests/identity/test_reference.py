"""The nearest real faces, and the comparison of samples with their sources."""

from __future__ import annotations

import numpy as np
import pytest
from toy_embedder import ToyEmbedder

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.errors import IntegrityError, UsageError
from faceaug.identity import IdentityReference, SamePerson, is_new_person
from faceaug.utils.images import encode


@pytest.fixture
def dataset(tmp_path):
    """Ten plain pictures, ever brighter; the third is black, and the last is the same file as the first."""
    for k in range(10):
        value = {2: 0, 9: 10}.get(k, 10 * (k + 1) + k * k)
        path = tmp_path / "faces" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(np.full((6, 8, 3), value, np.uint8), "png"))
    return load_dataset(tmp_path / "faces", options=LoadOptions(needs_labels=False))


@pytest.fixture
def reference(dataset):
    return IdentityReference.build(dataset, ToyEmbedder())


def grey(*values: float) -> np.ndarray:
    """Embeddings of plain pictures."""
    return np.repeat(np.array(values, np.float32)[:, None] / 255, 12, 1)


def test_the_nearest_real_face_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 16)).astype(np.float32)
    queries = rng.normal(size=(300, 16)).astype(np.float32)
    reference = IdentityReference(ToyEmbedder(), real, tuple(bytes([0, 0, *divmod(k, 256)]) for k in range(400)))
    rows, distances = reference.nearest(queries)
    exact = np.sqrt(((queries[:, None].astype(float) - real[None]) ** 2).sum(2))
    np.testing.assert_array_equal(rows, exact.argmin(1))
    np.testing.assert_array_equal(distances, exact.min(1).astype(np.float32))
    alone = [reference.nearest(query[None]) for query in queries]
    np.testing.assert_array_equal(distances, np.concatenate([distance for _, distance in alone]))


def test_a_picture_without_a_face_has_no_nearest_and_is_nobodys_nearest(reference):
    np.testing.assert_array_equal(reference.face_found, [True] * 2 + [False] + [True] * 7)
    rows, distances = reference.nearest(np.concatenate([grey(np.nan), grey(1)]))
    assert rows.tolist() == [-1, 0]
    assert np.isnan(distances[0])
    assert distances[1] == pytest.approx(np.sqrt(12) * 9 / 255)


def test_real_faces_are_compared_with_each_other_without_their_own_file(reference):
    rows, distances = reference.nearest(reference.embeddings, exclude=np.arange(10))
    assert rows.tolist() == [1, 0, -1, 4, 3, 4, 5, 6, 7, 1]
    assert (distances[rows >= 0] > 0).all()


def test_rows_are_found_by_the_hash_of_their_file(reference, dataset):
    import hashlib

    assert reference.row_of(hashlib.sha256(dataset.encoded(4)).digest()) == 4
    assert reference.row_of(hashlib.sha256(dataset.encoded(9)).digest()) == 0
    assert reference.row_of(bytes(32)) == -1


def test_samples_are_copies_new_people_or_cannot_be_judged(reference):
    samples = grey(11, 19, 66, 58, np.nan, 40)
    comparison = reference.compare(samples, [[0, 3], [0], [0, 1], [2], [0], []])
    assert comparison.source_row.tolist() == [0, 0, 1, -1, 0, -1]
    np.testing.assert_allclose(comparison.source_distance[:3], np.sqrt(12) * np.array([1, 9, 45]) / 255, rtol=1e-5)
    assert np.isnan(comparison.source_distance[3:]).all()
    np.testing.assert_allclose(comparison.nearer_real, [0, 0, 3 / 8, *[np.nan] * 3], rtol=1e-5)
    assert comparison.nearest_row.tolist() == [0, 1, 4, 4, -1, 3]
    assert comparison.verdicts() == [
        "same person as a source",
        "new person",
        "new person",
        "new person",
        "no face found",
        "new person",
    ]
    assert is_new_person(comparison).tolist() == [False, True, True, True, False, True]


def test_a_sample_in_a_crowd_of_strangers_is_no_copy(reference):
    reference.embedder.same_person = SamePerson(0.5, "chosen for tests")
    comparison = reference.compare(grey(60), [[3]])  # 11 from its source, and three real faces are not nearer
    assert comparison.nearer_real.tolist() == [0]
    crowded = reference.compare(grey(36), [[4]])  # 30 from its source, and two of the eight others are nearer
    assert crowded.nearer_real.tolist() == [0.25]
    assert is_new_person(crowded).tolist() == [False]
    assert is_new_person(crowded, crowd=0.25).tolist() == [True]
    assert is_new_person(comparison, crowd=0.25).tolist() == [False]


def test_a_stand_in_gives_distances_and_no_verdict(dataset):
    embedder = ToyEmbedder()
    embedder.is_identity, embedder.same_person = False, SamePerson(float("nan"), "none")
    comparison = IdentityReference.build(dataset, embedder).compare(grey(11), [[0]])
    assert np.isfinite(comparison.source_distance[0])
    assert not comparison.copies.any()
    with pytest.raises(UsageError, match="do not tell people apart"):
        comparison.verdicts()
    with pytest.raises(UsageError, match="do not tell people apart"):
        is_new_person(comparison)


def test_embeddings_are_computed_once_for_each_file(dataset, tmp_path):
    cache, embedder, counts = tmp_path / "real.safetensors", ToyEmbedder(), []
    built = IdentityReference.build(dataset, embedder, cache=cache, progress=counts.append)
    assert (embedder.embedded, sum(counts)) == (9, 10)
    again = IdentityReference.build(dataset, embedder, cache=cache)
    assert embedder.embedded == 9
    np.testing.assert_array_equal(built.embeddings, again.embeddings)
    (tmp_path / "faces" / "5.png").write_bytes(encode(np.full((6, 8, 3), 7, np.uint8), "png"))
    assert IdentityReference.build(dataset, embedder, cache=cache).embeddings[5, 0] == np.float32(7 / 255)
    assert embedder.embedded == 10


def test_the_cache_of_another_embedder_is_not_used(dataset, tmp_path):
    cache, embedder = tmp_path / "real.safetensors", ToyEmbedder()
    IdentityReference.build(dataset, ToyEmbedder(), cache=cache)
    embedder.sha256 = "0" * 64
    IdentityReference.build(dataset, embedder, cache=cache)
    assert embedder.embedded == 9


def test_a_damaged_cache_is_refused(dataset, tmp_path):
    cache = tmp_path / "real.safetensors"
    cache.write_bytes(b"\x08" + bytes(20))
    with pytest.raises(IntegrityError, match=r"real\.safetensors cannot be read as embeddings"):
        IdentityReference.build(dataset, ToyEmbedder(), cache=cache)


def test_embeddings_of_another_width_are_refused(reference):
    with pytest.raises(UsageError, match="must come from the same embedder"):
        reference.nearest(np.zeros((2, 5), np.float32))
    with pytest.raises(UsageError, match="1 lists of sources do not fit 2 embeddings"):
        reference.compare(grey(1, 2), [[]])
