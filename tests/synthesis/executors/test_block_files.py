"""Results of blocks on disk: the same as they were, to the last bit, or none at all."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from candidates import candidate

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.synthesis.engines.base import BlockResult, Candidate, SourceImage
from faceaug.synthesis.executors.block_files import BlockFiles, decode_block, encode_block
from faceaug.synthesis.executors.rebuilt_engine import RebuiltEngine

RUN = "a fingerprint"
RESULT = BlockResult(
    (
        candidate(0),
        candidate(3, image=b"encoded", quality=90, w=None, source=SourceImage(b"s" * 32, np.uint64(7))),
        candidate(4, donors=(SourceImage(b"d" * 32), SourceImage(b"e" * 32))),
    ),
    {1: "a gate", 2: "another"},
    {"g": np.float32(0.7)},
    next_engine=4,
    steady=False,
    pictures={1: np.zeros((2, 2, 3), np.uint8)},
)


def test_a_result_is_the_same_after_it_was_written():
    after = decode_block(encode_block(RESULT, RUN), RUN)
    for name in ("refused", "nearest", "next_engine", "steady", "from_photographs"):
        assert getattr(after, name) == getattr(RESULT, name)
    np.testing.assert_array_equal(after.pictures[1], RESULT.pictures[1])
    for one, two in zip(RESULT.candidates, after.candidates, strict=True):
        for field in dataclasses.fields(Candidate):
            np.testing.assert_equal(getattr(two, field.name), getattr(one, field.name), field.name)
        assert type(two.image) is type(one.image)
        assert two.hash.dtype == np.uint64


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_damaged_result_is_refused_and_counts_as_absent(tmp_path, cut):
    data = encode_block(RESULT, RUN)[:cut]
    with pytest.raises(IntegrityError, match="damaged"):
        decode_block(data, RUN)
    files = BlockFiles(tmp_path, RUN)
    files.create()
    files.write(0, 1, data)
    assert files.read(0, 1) is None
    assert not files.path(0, 1).exists()


def test_results_are_removed_once_the_manifest_has_their_samples(tmp_path):
    files = BlockFiles(tmp_path, RUN)
    files.create()
    for cell, block in ((0, 0), (0, 1), (1, 0)):
        files.write(cell, block, encode_block(RESULT, RUN))
    files.remove_saved(SimpleNamespace(progress={"blocks": {"0": 1}}))
    assert sorted(path.stem for path in files.folder.iterdir()) == ["0-1", "1-0"]


def test_a_result_of_another_run_counts_as_absent(tmp_path):
    earlier, files = BlockFiles(tmp_path, "an earlier run"), BlockFiles(tmp_path, RUN)
    files.create()
    earlier.write(0, 0, encode_block(RESULT, "an earlier run"))
    files.write(0, 1, encode_block(RESULT, RUN))
    assert files.read(0, 0) is None
    assert not files.path(0, 0).exists()  # so that a worker computes it
    assert files.read(0, 1).refused == RESULT.refused


@pytest.mark.parametrize(
    "changes",
    [{"seed": "x"}, {"quality": [1]}, {"image": np.zeros((2, 2, 3), np.float32)}, {"image": np.zeros(1, np.uint8)}],
)
def test_a_result_that_could_not_be_read_is_an_error_of_the_engine_and_not_computed_for_ever(changes):
    result = BlockResult((candidate(0, **changes),), {}, {})
    with pytest.raises(IntegrityError, match="damaged"):
        decode_block(encode_block(result, RUN), RUN)
    engine = SimpleNamespace(names=("mean",), propose=lambda cell, block: result)
    with pytest.raises(FaceaugError, match="the engine mean returned a block that cannot be handed over"):
        RebuiltEngine(engine, RUN, keep_refused=True).encoded(None, 0)


@pytest.mark.parametrize(("keep_refused", "kept"), [(True, [1]), (False, [])])
def test_refused_pictures_are_handed_over_only_where_they_are_kept(keep_refused, kept):
    engine = SimpleNamespace(names=("mean",), propose=lambda cell, block: RESULT)
    data = RebuiltEngine(engine, RUN, keep_refused).encoded(None, 0)
    assert list(decode_block(data, RUN).pictures) == kept
