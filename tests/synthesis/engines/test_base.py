"""What all engines share: seeds of attempts, and the account of a block."""

from __future__ import annotations

from faceaug.synthesis.engines.base import BlockResult, sample_seed, seed_number


def test_seeds_of_attempts_differ():
    states = {tuple(sample_seed(s, c, a).generate_state(4)) for s in (0, 1) for c in range(5) for a in range(20)}
    assert len(states) == 200
    assert tuple(sample_seed(0, 3, 7).generate_state(4)) in states


def test_the_number_of_a_seed_is_stored_in_64_bits():
    numbers = {seed_number(sample_seed(0, 1, attempt)) for attempt in range(100)}
    assert len(numbers) == 100
    assert all(0 <= number < 2**64 for number in numbers)


def test_refusals_are_counted_by_reason_up_to_an_attempt():
    result = BlockResult((), {3: "a", 4: "b", 7: "a", 9: "a"}, {})
    assert result.refusals() == {"a": 3, "b": 1}
    assert result.refusals(before=7) == {"a": 1, "b": 1}
    assert result.refusals(before=3) == {}
