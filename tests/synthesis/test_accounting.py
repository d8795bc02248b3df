"""The account of a run under way: in the order of attempts, up to what is needed, and whole after an interruption."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.gates import DUPLICATE
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.latent_edit import BlockResult, Candidate


def candidate(attempt, mark) -> Candidate:
    return Candidate(
        attempt=attempt, seed=1000 + attempt, image=np.zeros((2, 2, 3), np.uint8), quality=90, finish={"blur": 0.5},
        w=np.full(3, attempt, np.float32), origin_w=np.zeros(3, np.float32), attr={"hair": "fair"},
        confidence={"hair": 0.9}, semantic={"hair=fair": 2.0}, plausibility=0.5, realism=0.6, hash=np.uint64(mark),
    )  # fmt: skip


def result(marks, refused=None, nearest=0.5) -> BlockResult:
    """A block whose candidates have these {attempt: hash}."""
    return BlockResult(tuple(candidate(a, m) for a, m in marks.items()), refused or {}, {"hair": nearest})


def cell(planned, index=2) -> PlannedCell:
    return PlannedCell(index, {"hair": "fair"}, real=5, wanted=planned + 1, planned=planned)


def fresh(*real, within=0) -> Accounting:
    return Accounting(DuplicateIndex(np.array(real, np.uint64), within))


def test_candidates_are_taken_in_order_until_the_cell_is_full():
    book = fresh()
    samples = book.take(cell(2), 0, result({1: 11, 4: 14, 6: 16}, {0: "a", 2: "b", 5: "a", 7: "b"}))
    assert [sample.seed for sample in samples] == [1001, 1004]
    assert book.accepted[2] == 2
    # What came after the last that was needed was not tried.
    assert book.refused[2] == {"a": 1, "b": 1}
    assert book.next_block(2) == 1


def test_a_cell_that_is_not_full_counts_everything():
    book = fresh()
    assert len(book.take(cell(9), 0, result({1: 11}, {0: "a", 2: "b", 5: "a"}))) == 1
    assert book.refused[2] == {"a": 2, "b": 1}
    assert len(book.take(cell(9), 1, result({9: 12}, {8: "b"}))) == 1
    assert book.refused[2] == {"a": 2, "b": 2}
    assert (book.accepted[2], book.next_block(2)) == (2, 2)


def test_near_copies_are_refused_and_the_first_stays():
    book = fresh(0b111, within=1)
    samples = book.take(cell(9), 0, result({0: 0b110, 1: 0xF0, 2: 0xF1, 3: 0xFF, 4: 0xF0}))
    assert [sample.seed for sample in samples] == [1001, 1003]
    assert book.refused[2] == {DUPLICATE: 3}
    assert book.take(cell(9, index=5), 0, result({0: 0xFF})) == []  # in whatever cell
    assert book.refused[5] == {DUPLICATE: 1}


def test_a_near_copy_that_was_last_is_counted_where_it_was_tried():
    book = fresh(7)
    book.take(cell(1), 0, result({0: 7, 1: 8, 2: 7}))
    assert book.refused[2] == {DUPLICATE: 1}  # attempt 2 was not needed


def test_samples_carry_what_their_candidates_did():
    (sample,) = fresh().take(cell(1, index=4), 0, result({3: 1}))
    found = candidate(3, 1)
    assert (sample.cell, sample.engine, sample.source_sha256) == (4, "generator", None)
    np.testing.assert_array_equal(sample.image, found.image)
    np.testing.assert_array_equal(sample.w, found.w)
    np.testing.assert_array_equal(sample.origin_w, found.origin_w)
    for name in ("seed", "quality", "finish", "attr", "semantic", "plausibility", "realism"):
        assert getattr(sample, name) == getattr(found, name)
    assert sample.attr_confidence == found.confidence


def test_the_nearest_of_all_blocks_is_remembered():
    book = fresh()
    for block, near in enumerate((0.2, 0.7, 0.4)):
        book.take(cell(5), block, result({}, {block: "a"}, near))
    note = book.state(cell(5), ended=True).note
    assert note.startswith("5 short")
    assert "a 3" in note
    assert "hair 0.70" in note
    assert book.state(cell(5)).note == ""  # not while it is under way
    assert book.state(cell(5)).rejected == {"a": 3}


def test_a_full_cell_needs_no_note():
    book = fresh()
    book.take(cell(1), 0, result({0: 1}))
    assert book.state(cell(1), ended=True).note == ""
    assert fresh().state(cell(3), ended=True).note  # nothing was even tried


blocks_of_eight = st.lists(st.dictionaries(st.integers(0, 7), st.integers(0, 6), max_size=6), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(blocks_of_eight, st.integers(1, 8))
def test_tried_is_accepted_and_refused(blocks, planned):
    """However the candidates fall: no attempt is counted twice, and none before the last needed one is forgotten."""
    book, tried = fresh(), 0
    for number, block in enumerate(blocks):
        if book.accepted[2] >= planned:
            break
        marks = {number * 8 + a: mark for a, mark in sorted(block.items())}
        refused = {number * 8 + a: "gate" for a in range(8) if a not in block}
        samples = book.take(cell(planned), number, result(marks, refused))
        full = book.accepted[2] == planned
        tried += samples[-1].seed - 1000 - number * 8 + 1 if full and samples else 8
    assert book.accepted[2] <= planned
    assert book.accepted[2] + sum(book.refused[2].values()) == tried


class Folder:
    """An output folder as a ledger sees it."""

    def __init__(self, w, accepted, rejected, progress) -> None:
        self._w, self._accepted = w, accepted
        cells = [SimpleNamespace(index=index, rejected=counts) for index, counts in rejected.items()]
        self.manifest = SimpleNamespace(cells=cells, progress=progress)

    def readers(self):
        return [SimpleNamespace(column={"w": part}.__getitem__, keys=("w",)) for part in self._w]

    def accepted(self):
        return Counter(self._accepted)


@pytest.fixture
def by_latent():
    """An engine of which a sample's hash is its latent's first number."""
    marks = lambda reader: reader.column("w")[:, 0].astype(np.uint64)  # noqa: E731
    return SimpleNamespace(real=np.array([900], np.uint64), marks=marks)


def test_a_continued_ledger_knows_what_the_first_one_did(by_latent):
    book = fresh(900)
    first, second = result({0: 10, 1: 11}, {2: "a"}), result({8: 12, 9: 900}, {10: "b"})
    samples = [*book.take(cell(9), 0, first), *book.take(cell(9), 1, second)]
    for sample, mark in zip(samples, (10, 11, 12), strict=True):
        sample.w[:] = mark
    w = np.stack([sample.w for sample in samples])
    progress = json.loads(json.dumps(book.progress()))
    folder = Folder([w[:2], w[2:]], {2: 3}, {2: dict(book.refused[2])}, progress)
    again = Accounting.continued(folder, by_latent, 0, 1)
    for name in ("accepted", "refused", "nearest", "blocks"):
        assert getattr(again, name) == getattr(book, name)
    third = result({16: 11, 17: 12, 18: 900, 19: 13})
    assert [s.seed for s in again.take(cell(9), 2, third)] == [s.seed for s in book.take(cell(9), 2, third)] == [1019]
    assert again.progress() == book.progress()


def test_a_fresh_folder_gives_a_fresh_ledger(by_latent):
    book = Accounting.continued(Folder([], {}, {2: {}}, None), by_latent, 0, 1)
    assert (book.accepted, book.blocks, book.nearest) == ({}, {}, {})
    assert book.next_block(2) == 0
    assert book.take(cell(2), 0, result({0: 900, 1: 901}))[0].seed == 1001  # real faces are known from the start
