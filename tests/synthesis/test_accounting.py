"""The accounting of a run: in the order of attempts, up to what is needed, and whole after an interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.gates import DUPLICATE
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.accounting import USED_UP, Accounting, shortfall_note
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.base import BlockResult, Candidate, SourceImage
from faceaug.utils.images import decode


def candidate(attempt: int, value: int) -> Candidate:
    return Candidate(
        attempt=attempt,
        seed=1000 + attempt,
        engine="generator",
        image=np.zeros((2, 2, 3), np.uint8),
        quality=90,
        harmonize={"blur": 0.5},
        w=np.full(3, attempt, np.float32),
        origin_w=np.zeros(3, np.float32),
        attr={"hair": "fair"},
        confidence={"hair": 0.9},
        semantic={"hair=fair": 2.0},
        plausibility=0.5,
        realism=0.6,
        hash=np.uint64(value),
    )


def result(hashes: dict[int, int], refused: dict[int, str] | None = None, nearest: float = 0.5) -> BlockResult:
    """Return a block whose candidates have these hashes by attempt."""
    return BlockResult(tuple(candidate(a, h) for a, h in hashes.items()), refused or {}, {"hair": nearest})


def cell(planned: int, index: int = 2) -> PlannedCell:
    return PlannedCell(index, {"hair": "fair"}, real=5, wanted=planned + 1, planned=planned)


def fresh(*real: int, within: int = 0, max_uses: int = 1) -> Accounting:
    return Accounting(DuplicateIndex(np.array(real, np.uint64), within), max_uses)


def test_candidates_are_taken_in_order_until_the_cell_is_full():
    accounting = fresh()
    samples = accounting.take(cell(2), 0, result({1: 11, 4: 14, 6: 16}, {0: "a", 2: "b", 5: "a", 7: "b"}))
    assert [sample.seed for sample in samples] == [1001, 1004]
    assert accounting.accepted[2] == 2
    # Attempts after the last that was needed count as not made.
    assert accounting.refused[2] == {"a": 1, "b": 1}
    assert accounting.next_block(2) == 1


def test_a_cell_that_is_not_full_counts_everything():
    accounting = fresh()
    assert len(accounting.take(cell(9), 0, result({1: 11}, {0: "a", 2: "b", 5: "a"}))) == 1
    assert accounting.refused[2] == {"a": 2, "b": 1}
    assert len(accounting.take(cell(9), 1, result({9: 12}, {8: "b"}))) == 1
    assert accounting.refused[2] == {"a": 2, "b": 2}
    assert (accounting.accepted[2], accounting.next_block(2)) == (2, 2)


def test_a_few_refused_pictures_are_kept_of_what_was_needed_and_survive_an_interruption():
    accounting = Accounting(DuplicateIndex(np.array([], np.uint64), 0), keep_refused=True)
    refused = {0: "a", 1: "b", 2: "a", 3: "a", 7: "b"}
    pictures = {k: np.full((200, 150, 3), k, np.uint8) for k in (0, 2, 3, 7)}  # of 1 nothing was rendered
    block = replace(result({4: 11, 6: 12}, refused), pictures=pictures, from_photographs=False)
    accounting.take(cell(2), 0, block)
    kept = accounting.refused_pictures.kept
    assert [(p.cell, p.attempt, p.reason) for p in kept] == [(2, 0, "a"), (2, 2, "a")]  # 7 came after the last needed
    assert not kept[0].from_photographs
    assert decode(kept[1].image).shape == (128, 96, 3)
    stored = json.loads(json.dumps(accounting.progress(2)["refused_pictures"]))
    again = Accounting(DuplicateIndex(np.array([], np.uint64), 0), keep_refused=True)
    again.refused_pictures.restore(stored)
    assert again.refused_pictures.kept == kept
    without = fresh()
    without.refused_pictures.restore(stored)  # a run that is resumed with --no-keep-refused
    without.take(cell(2), 0, block)
    assert without.refused_pictures.kept == []


def test_no_picture_is_kept_of_a_copy():
    accounting = Accounting(DuplicateIndex(np.array([11], np.uint64), 0), keep_refused=True)
    accounting.take(cell(2), 0, result({0: 11}))
    assert accounting.refused[2] == {DUPLICATE: 1}
    assert accounting.refused_pictures.kept == []


def test_near_copies_are_rejected_and_the_first_stays():
    accounting = fresh(0b111, within=1)
    samples = accounting.take(cell(9), 0, result({0: 0b110, 1: 0xF0, 2: 0xF1, 3: 0xFF, 4: 0xF0}))
    assert [sample.seed for sample in samples] == [1001, 1003]
    assert accounting.refused[2] == {DUPLICATE: 3}
    assert accounting.take(cell(9, index=5), 0, result({0: 0xFF})) == []  # in whatever cell
    assert accounting.refused[5] == {DUPLICATE: 1}


def test_near_copies_after_the_last_needed_sample_are_not_counted():
    accounting = fresh(7)
    accounting.take(cell(1), 0, result({0: 7, 1: 8, 2: 7}))
    assert accounting.refused[2] == {DUPLICATE: 1}  # attempt 2 was not needed


def test_a_real_image_gives_no_more_samples_than_it_may():
    accounting = fresh(max_uses=2)
    source = SourceImage(b"s" * 32, np.uint64(5))
    candidates = tuple(replace(candidate(attempt, 10 * attempt), source=source) for attempt in range(4))
    samples = accounting.take(cell(9), 0, BlockResult(candidates, {}, {}))
    assert [sample.source_sha256 for sample in samples] == [source.sha256] * 2
    assert accounting.refused[2] == {USED_UP: 2}


def test_a_sample_may_be_like_the_image_that_it_was_made_of_and_no_other():
    accounting = fresh(0b1111, 0xFF00, within=1)
    own, other = (SourceImage(b"s" * 32, np.uint64(value)) for value in (0b1111, 0xFF00))
    candidates = (replace(candidate(0, 0b1110), source=other), replace(candidate(1, 0b1110), source=own))
    assert [sample.seed for sample in accounting.take(cell(9), 0, BlockResult(candidates, {}, {}))] == [1001]
    assert accounting.refused[2] == {DUPLICATE: 1}


def test_samples_carry_what_their_candidates_have():
    (sample,) = fresh().take(cell(1, index=4), 0, result({3: 1}))
    expected = candidate(3, 1)
    assert (sample.cell, sample.engine, sample.source_sha256) == (4, "generator", None)
    np.testing.assert_array_equal(sample.image, expected.image)
    np.testing.assert_array_equal(sample.w, expected.w)
    np.testing.assert_array_equal(sample.origin_w, expected.origin_w)
    for name in ("seed", "quality", "harmonize", "attr", "semantic", "plausibility", "realism"):
        assert getattr(sample, name) == getattr(expected, name)
    assert sample.attr_confidence == expected.confidence


def test_samples_carry_the_name_of_their_engine():
    other = BlockResult((replace(candidate(0, 1), engine="morph"),), {}, {})
    (sample,) = fresh().take(cell(1), 0, other)
    assert sample.engine == "morph"


def test_the_highest_probability_of_all_blocks_is_remembered():
    accounting = fresh()
    for block, probability in enumerate((0.2, 0.7, 0.4)):
        accounting.take(cell(5), block, result({}, {block: "a"}, probability))
    note = accounting.state(cell(5), ended=True).note
    assert note.startswith("5 short")
    assert "a 3" in note
    assert "hair 0.70" in note
    assert accounting.state(cell(5)).note == ""  # not while it is under way
    assert accounting.state(cell(5)).rejected == {"a": 3}


def test_a_full_cell_needs_no_note():
    accounting = fresh()
    accounting.take(cell(1), 0, result({0: 1}))
    assert accounting.state(cell(1), ended=True).note == ""
    assert fresh().state(cell(3), ended=True).note  # nothing was even tried


def test_a_note_names_the_most_frequent_reasons_first():
    refused = {"plausible": 3, "held-out classifier agrees": 40, "realistic": 7, "change inside the face": 9}
    note = shortfall_note(12, refused, {"hair": 0.4213, "age": 0.9})
    assert note.startswith("12 short")
    assert "held-out classifier agrees 40, change inside the face 9, realistic 7" in note
    assert "plausible" not in note
    assert "hair 0.42, age 0.90" in note


def test_a_note_where_nothing_was_rejected():
    assert shortfall_note(1, {}, {}) == "1 short after all attempts; no attempt was rejected"


def test_notes_do_not_depend_on_the_order_of_counts():
    assert shortfall_note(1, {"b": 2, "a": 2}, {}) == shortfall_note(1, {"a": 2, "b": 2}, {})


blocks_of_eight = st.lists(st.dictionaries(st.integers(0, 7), st.integers(0, 6), max_size=6), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(blocks_of_eight, st.integers(1, 8))
def test_attempts_are_accepted_or_rejected(blocks, planned):
    """However the candidates fall: no attempt is counted twice, and none before the last needed one is forgotten."""
    accounting, tried = fresh(), 0
    for number, block in enumerate(blocks):
        if accounting.accepted[2] >= planned:
            break
        hashes = {number * 8 + a: value for a, value in sorted(block.items())}
        refused = {number * 8 + a: "gate" for a in range(8) if a not in block}
        samples = accounting.take(cell(planned), number, result(hashes, refused))
        full = accounting.accepted[2] == planned
        tried += samples[-1].seed - 1000 - number * 8 + 1 if full and samples else 8
    assert accounting.accepted[2] <= planned
    assert accounting.accepted[2] + sum(accounting.refused[2].values()) == tried


class Folder:
    """An output folder as an accounting sees it."""

    def __init__(self, shards, accepted, rejected, progress) -> None:
        self._shards, self._accepted = shards, accepted
        cells = [SimpleNamespace(index=index, rejected=counts) for index, counts in rejected.items()]
        self.manifest = SimpleNamespace(cells=cells, progress=progress)

    def readers(self):
        return [SimpleNamespace(column=shard.__getitem__, keys=tuple(shard)) for shard in self._shards]

    def accepted(self):
        return Counter(self._accepted)


class FirstNumberEngine:
    """An engine of which a sample's hash is its latent's first number; real images have the hash 900."""

    real_hashes = np.array([900], np.uint64)

    def stored_hashes(self, reader) -> Iterator[np.uint64]:
        yield from reader.column("w")[:, 0].astype(np.uint64)


EXACT = RunConfig(thresholds=AcceptanceThresholds(duplicate_bits=0), max_uses=1)


def test_a_resumed_accounting_knows_what_the_first_one_did():
    accounting = fresh(900)
    first, second = result({0: 10, 1: 11}, {2: "a"}), result({8: 12, 9: 900}, {10: "b"})
    samples = [*accounting.take(cell(9), 0, first), *accounting.take(cell(9), 1, second)]
    for sample, value in zip(samples, (10, 11, 12), strict=True):
        sample.w[:] = value
    w = np.stack([sample.w for sample in samples])
    progress = json.loads(json.dumps(accounting.progress(2)))
    folder = Folder([{"w": w[:2]}, {"w": w[2:]}], {2: 3}, {2: dict(accounting.refused[2])}, progress)
    again = Accounting.resumed(folder, FirstNumberEngine(), EXACT)
    for name in ("accepted", "refused", "nearest", "blocks"):
        assert getattr(again, name) == getattr(accounting, name)
    third = result({16: 11, 17: 12, 18: 900, 19: 13})
    taken = [[sample.seed for sample in one.take(cell(9), 2, third)] for one in (again, accounting)]
    assert taken == [[1019], [1019]]
    one, two = again.progress(2), accounting.progress(2)
    assert one.pop("seconds") == pytest.approx(two.pop("seconds"), abs=1)
    assert one == two


def test_a_resumed_accounting_knows_how_often_sources_were_used():
    source = SourceImage(b"s" * 32, np.uint64(5))
    shard = {"w": np.zeros((2, 3), np.float32), "source_sha256": np.zeros((2, 32), np.uint8)}
    shard["source_sha256"][0] = np.frombuffer(source.sha256, np.uint8)  # the other sample has no source
    again = Accounting.resumed(Folder([shard], {2: 2}, {2: {}}, None), FirstNumberEngine(), EXACT)
    assert again.take(cell(9), 1, BlockResult((replace(candidate(8, 77), source=source),), {}, {})) == []
    assert again.refused[2] == {USED_UP: 1}


def test_a_fresh_folder_gives_a_fresh_accounting():
    accounting = Accounting.resumed(Folder([], {}, {2: {}}, None), FirstNumberEngine(), EXACT)
    assert (accounting.accepted, accounting.blocks, accounting.nearest) == ({}, {}, {})
    assert accounting.next_block(2) == 0
    samples = accounting.take(cell(2), 0, result({0: 900, 1: 901}))
    assert samples[0].seed == 1001  # real faces are known from the start


def test_the_seconds_of_synthesis_go_on_after_an_interruption():
    progress = {**fresh().progress(2), "seconds": 100.0}
    again = Accounting.resumed(Folder([], {}, {}, progress), FirstNumberEngine(), EXACT)
    assert 100 <= again.seconds() < 160


# --- cells that are given up ---


def after_blocks(accepted: list[int], tries: int = 8, next_engine: int | None = None) -> tuple[Accounting, int]:
    """Take blocks of 16 attempts, and return the accounting with the number of blocks that were needed."""
    accounting, wanted, number = Accounting(DuplicateIndex(np.empty(0, np.uint64), 0), 1, tries), cell(500), 0
    for block, count in enumerate(accepted):
        if not accounting.needs(wanted, block):
            continue
        hashes = {16 * block + k: 1000 * block + k for k in range(count)}
        refused = {16 * block + k: "a" for k in range(count, 16)}
        done = replace(result(hashes, refused), next_engine=next_engine)
        accounting.take(wanted, block, done)
        accounting.end_hopeless(wanted, done, len(accepted))
        number += 1
    return accounting, number


def test_a_cell_with_hardly_any_success_is_given_up_and_says_so():
    accounting, blocks = after_blocks([8] * 10 + [0] * 90)
    assert 16 < blocks < 30  # within the attempts that are looked at, after success ended
    note = accounting.state(cell(500), ended=True).note
    assert note.startswith("420 short, given up since ")
    assert "another sample would cost more than 16" in note


def test_a_cell_goes_on_while_success_is_not_proven_to_be_rare():
    assert after_blocks([1] * 60)[1] == 60  # one in 16, as the limit is
    assert after_blocks([0] * 15)[1] == 15  # too few attempts to say
    assert after_blocks([0] * 60, tries=200)[1] == 60
    assert " after all attempts" in after_blocks([1] * 60)[0].state(cell(500), ended=True).note


def test_candidates_of_a_given_number_are_all_looked_at():
    accounting, wanted = Accounting(DuplicateIndex(np.empty(0, np.uint64), 0), 1, 8), cell(500)
    for block in range(60):
        done = replace(result({}, {16 * block + k: "a" for k in range(16)}), steady=False)
        accounting.take(wanted, block, done)
        accounting.end_hopeless(wanted, done, 100)
    assert accounting.next_block(2) == 60


def test_the_next_engine_of_a_chain_begins_anew():
    accounting, _ = after_blocks([0] * 16, next_engine=40)
    assert accounting.next_block(2) == 40
    assert accounting.progress(2)["recent"] == {"2": []}


def test_a_block_without_attempts_ends_an_engine():
    accounting, blocks = after_blocks([8, 8])[0], 9
    accounting.take(cell(500), 2, BlockResult((), {}, {}))
    accounting.end_hopeless(cell(500), BlockResult((), {}, {}), blocks)
    assert accounting.next_block(2) == blocks
    assert "given up when there was nothing more to try" in accounting.state(cell(500), ended=True).note
