"""Work in threads whose results come in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.utils.threads import map_in_order, map_in_threads


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(1, 6), st.integers(1, 4))
def test_results_come_in_order_and_never_too_many_are_under_way(count, ahead, workers):
    taken, lock = [], threading.Lock()
    most = 0

    def items():
        for i in range(count):
            taken.append(i)
            yield i

    def work(i):
        time.sleep(0.0005 * (i % 3))
        with lock:
            return i * i

    found = []
    with ThreadPoolExecutor(workers) as pool:
        for result in map_in_order(pool, work, items(), ahead):
            most = max(most, len(taken) - len(found))
            found.append(result)
    assert found == [i * i for i in range(count)]
    assert most <= ahead + 1  # those under way, and the one just handed over


def test_an_exception_is_raised_in_its_place():
    def work(i):
        if i == 3:
            raise ValueError("of the third")
        return i

    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="of the third"):  # noqa: PT012
        for result in map_in_order(pool, work, iter(range(9)), 4):
            found.append(result)
    assert found == [0, 1, 2]


def test_items_are_drawn_late_enough_to_depend_on_results():
    """What a result decides is known to the items that are drawn after it, at most `ahead` items later."""
    full, begun = [], []

    def items():
        for i in range(100):
            if full:
                return
            begun.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        for result in map_in_order(pool, lambda i: i, items(), 3):
            if result == 5:
                full.append(True)
    assert len(begun) <= 5 + 1 + 3


def names_of_threads(seconds: float, workers: int | None = 3) -> set[str]:
    def task(i):
        if seconds:
            time.sleep(seconds)
        return threading.current_thread().name

    return set(list(map_in_threads(task, 256, workers=workers))[8:])


def test_items_that_take_no_time_are_not_handed_to_threads():
    assert names_of_threads(0) == {threading.current_thread().name}
    assert threading.current_thread().name not in names_of_threads(0.001)
    assert names_of_threads(0.001, workers=1) == {threading.current_thread().name}


@pytest.mark.parametrize("seconds", [0, 0.0003])
def test_blocks_in_threads_come_in_order_and_are_counted(seconds):
    def task(i):
        time.sleep(seconds)
        return i

    for count in (0, 1, 8, 9, 72, 73, 300):
        told = []
        assert list(map_in_threads(task, count, workers=2, progress=told.append)) == list(range(count))
        assert sum(told) == count
        assert max(told, default=0) <= 64
