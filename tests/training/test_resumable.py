import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from faces_in_memory import face_dataset
from forked import run_forked
from shard_samples import write_output
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from faceaug.datasets import BalancedDataset, ShardDataset, group_weights
from faceaug.errors import UsageError
from faceaug.training import ResumableLoader, ResumableSampler

torch.set_num_threads(1)
COUNT = 53
WEIGHTS = np.arange(COUNT) % 4


class Numbers:
    """A map-style data set whose items are their own numbers."""

    def __init__(self, count=COUNT):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index


def sampler(count=COUNT, **options):
    return ResumableSampler(Numbers(count), **options)


def loader(workers=0, batch=7, count=COUNT, drop_last=False, **options):
    """A loader whose workers read ahead as usual."""
    given = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}
    numbers = Numbers(count)
    inner = DataLoader(numbers, batch, sampler=ResumableSampler(numbers, **options), drop_last=drop_last, **given)
    return ResumableLoader(inner)


def epochs(reader, count):
    return [[batch.tolist() for batch in reader] for _ in range(count)]


def flat(batches):
    return [index for batch in batches for index in batch]


# The order


def test_every_epoch_is_another_order_of_all_items():
    numbers = sampler(seed=3)
    passes = [list(numbers) for _ in range(3)]
    assert all(sorted(one) == list(range(COUNT)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3
    assert passes[0] != list(sampler(seed=4))


def test_an_epoch_can_be_chosen():
    numbers = sampler()
    passes = [list(numbers) for _ in range(3)]
    numbers.set_epoch(1)
    assert list(numbers) == passes[1]
    assert list(numbers) == passes[2]
    assert numbers.epoch == 2


@pytest.mark.parametrize("options", [{}, {"weights": WEIGHTS}, {"world_size": 2, "rank": 1}])
def test_the_order_does_not_depend_on_workers_or_batch_size(options):
    expected = [flat(one) for one in epochs(loader(**options), 2)]
    for workers in (0, 1, 2):
        for batch in (1, 16):
            assert [flat(one) for one in epochs(loader(workers, batch, **options), 2)] == expected


def test_weights_say_how_often_items_are_drawn():
    numbers = sampler(weights=WEIGHTS)
    drawn = np.bincount([k for _ in range(400) for k in numbers], minlength=COUNT)
    assert (drawn[WEIGHTS == 0] == 0).all()
    rates = [drawn[weight == WEIGHTS].mean() for weight in (1, 2, 3)]
    assert rates == pytest.approx(400 * COUNT / WEIGHTS.sum() * np.array([1, 2, 3]), rel=0.05)


# Shares


@pytest.mark.parametrize("count", [1, 3, 52, 53, 54])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_shares_are_equally_long_and_hold_everything(count, world_size):
    shares = [list(sampler(count, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(sampler(count, rank=0, world_size=world_size))}
    together = sorted(flat(shares))
    assert set(together) == set(range(count))
    assert len(together) - count == -count % world_size


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_with_drop_last_no_item_comes_twice(world_size):
    shares = [list(sampler(rank=rank, world_size=world_size, drop_last=True)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {COUNT // world_size}
    assert len(set(flat(shares))) == len(flat(shares))


def test_processes_draw_shares_of_one_order_by_weights():
    whole = list(sampler(52, weights=WEIGHTS[:52]))
    shares = [list(sampler(52, weights=WEIGHTS[:52], rank=rank, world_size=4)) for rank in range(4)]
    assert [shares[k % 4][k // 4] for k in range(52)] == whole


def test_an_empty_data_set_has_an_empty_order():
    assert list(sampler(0)) == list(sampler(0, weights=[])) == list(sampler(0, rank=1, world_size=2)) == []


# Continuing


@pytest.mark.parametrize(
    ("workers", "batch"),
    [(0, 1), (0, 7), (0, 16), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(1, 7), (2, 7), (2, 16)])],
)
def test_a_loader_continues_after_the_last_batch_that_training_received(workers, batch):
    expected = epochs(loader(batch=batch), 3)
    for received in (0, 1, len(expected[1]) - 1):
        first = loader(workers, batch)
        assert [b.tolist() for b in first] == expected[0]
        seen = []
        for one in first if received else ():
            seen.append(one.tolist())
            if len(seen) == received:
                break
        state = json.loads(json.dumps(first.state_dict()))
        second = loader(workers, batch)
        second.load_state_dict(state)
        assert second.sampler.epoch == 1
        rest = epochs(second, 2)
        assert [seen + rest[0], rest[1]] == expected[1:]


@pytest.mark.parametrize("options", [{"weights": WEIGHTS}, {"world_size": 2, "rank": 0}, {"seed": 9}])
def test_a_state_serves_other_batch_sizes_and_workers(options):
    expected = [flat(one) for one in epochs(loader(**options), 2)]
    first = loader(2, 5, **options)
    taken = [next(passing).tolist() for passing in [iter(first)] for _ in range(3)]
    second = loader(0, 4, **options)
    second.load_state_dict(first.state_dict())
    rest = epochs(second, 2)
    assert [flat(taken) + flat(rest[0]), flat(rest[1])] == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_state_at_the_last_batch_leaves_nothing_of_its_epoch(workers, drop_last):
    """So a count of epochs in the training loop stays right; after the loop, the state is the next epoch."""
    expected = epochs(loader(drop_last=drop_last), 2)
    first = loader(workers, drop_last=drop_last)
    for _ in first:
        inside = first.state_dict()
    after = first.state_dict()
    assert (after["epoch"], after["consumed"]) == (1, 0)
    for state, rest in ((inside, [[], expected[1]]), (after, [expected[1]])):
        second = loader(workers, drop_last=drop_last)
        second.load_state_dict(state)
        assert epochs(second, len(rest)) == rest


def test_a_state_can_be_saved_again_before_the_first_batch_and_after_a_second_break():
    expected = flat(epochs(loader(), 1)[0])
    state, seen = None, []
    for _ in range(4):
        reader = loader(2)
        if state is not None:
            reader.load_state_dict(state)
            assert reader.state_dict() == state
        seen += next(iter(reader)).tolist()
        state = reader.state_dict()
    assert seen == expected[:28]
    assert state["consumed"] == 28


def test_whoever_counts_needs_no_wrapper():
    numbers = sampler()
    plain = DataLoader(Numbers(), 5, sampler=numbers, num_workers=2, multiprocessing_context="fork")
    passing = iter(plain)
    seen = [next(passing).tolist() for _ in range(3)]
    assert numbers.state_dict()["consumed"] > 15  # workers are ahead
    again = sampler()
    again.load_state_dict(numbers.state_dict(consumed=15))
    assert flat(seen) + list(again) == list(sampler())


def test_choosing_the_epoch_of_a_state_keeps_its_place():
    numbers = sampler()
    numbers.load_state_dict({**sampler().state_dict(), "epoch": 2, "consumed": 10})
    numbers.set_epoch(2)
    assert len(list(numbers)) == COUNT - 10
    numbers.load_state_dict({**sampler().state_dict(), "epoch": 2, "consumed": 10})
    numbers.set_epoch(3)
    assert len(list(numbers)) == COUNT


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batch", [7, 16, None])
@pytest.mark.parametrize("received", [0, 2, "all", "end"])
def test_torchdata_continues_too(workers, batch, received):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    given = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}

    def build():
        return stateful(Numbers(), batch_size=batch, sampler=sampler(weights=WEIGHTS), **given)

    def run(reader, most=None):
        seen = []
        for one in reader:
            seen.append(one.tolist() if isinstance(one, torch.Tensor) else [one])
            if len(seen) == most:
                break
        return seen

    reference = build()
    expected = [run(reference) for _ in range(3)]
    first = build()
    run(first)
    seen = run(first, {"all": len(expected[1]), "end": None}.get(received, received)) if received else []
    state = first.state_dict()
    second = build()
    second.load_state_dict(state)
    if received == "end":
        assert run(second) == expected[2]
    else:
        assert [seen + run(second), run(second)] == expected[1:]


# States and arguments that are refused


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "None is no state of a ResumableSampler"),
        ([1], "is no state of a ResumableSampler"),
        ({"format": "other"}, "is no state of a ResumableSampler"),
        ({"version": 2}, "version 2, and this faceaug reads version 1"),
        ({"version": True}, "version True"),
        ({"consumed": -1}, "damaged .consumed"),
        ({"consumed": 2.0}, "damaged .consumed"),
        ({"consumed": "3"}, "damaged .consumed"),
        ({"consumed": COUNT + 1}, "consumed is 54, but an epoch has 53 items"),
        ({"epoch": -1}, "damaged .epoch"),
        ({"epoch": None}, "damaged .epoch"),
        ({"extra": 1}, "damaged .extra"),
        ({3: 1}, "damaged"),
        ({"seed": 1}, "saved with seed 1, but here it is 0"),
        ({"length": 52}, "saved with length 52, but here it is 53"),
        ({"world_size": 2}, "saved with world_size 2, but here it is 1"),
        ({"drop_last": True}, "saved with drop_last True, but here it is False"),
        ({"weights": "ab" * 32}, "saved with weights abababababab, but here it is None"),
    ],
)
def test_a_state_of_another_order_or_damaged_is_refused(state, message):
    numbers = sampler()
    whole = {**sampler().state_dict(), **state} if isinstance(state, dict) else state
    with pytest.raises(UsageError, match=message):
        numbers.load_state_dict(whole)
    assert list(numbers) == list(sampler())


def test_a_state_of_other_weights_is_refused():
    state = sampler(weights=WEIGHTS).state_dict()
    sampler(weights=torch.tensor(WEIGHTS)).load_state_dict(state)
    with pytest.raises(UsageError, match=r"saved with weights [0-9a-f]{12}, but here it is [0-9a-f]{12};"):
        sampler(weights=WEIGHTS + 1).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"rank": 0}, "give both or neither"),
        ({"rank": 2, "world_size": 2}, "rank is 2 and world_size 2"),
        ({"rank": 0, "world_size": 0}, "rank is 0 and world_size 0"),
        ({"rank": 0, "world_size": 60, "drop_last": True}, "53 items cannot be divided among 60 processes"),
        ({"weights": [1.0]}, r"the shape \[1\]; give one for each of the 53"),
        ({"weights": np.full(COUNT, -1.0)}, "negative or infinite"),
        ({"weights": np.zeros(COUNT)}, "none above 0"),
        ({"weights": ["a"] * COUNT}, "not numbers"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        sampler(**options)
    with pytest.raises(UsageError, match="consumed is 54; give the items of this epoch, at most 53"):
        sampler().state_dict(consumed=54)


def test_loaders_that_cannot_be_counted_are_refused():
    with pytest.raises(UsageError, match="sampler is a SequentialSampler"):
        ResumableLoader(DataLoader(Numbers()))
    batches = BatchSampler(RandomSampler(Numbers()), 4, False)
    with pytest.raises(UsageError, match="sampler is a SequentialSampler"):
        ResumableLoader(DataLoader(Numbers(), batch_sampler=batches))


# The data sets of faceaug


def ages(batch):
    return batch[1]["age"].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_and_balanced_data_sets_continue(tmp_path, workers):
    out = write_output(tmp_path / "out", count=30, rows=12, codec="png")
    both = BalancedDataset(face_dataset(), out, share=0.5)
    for dataset, weights in ((ShardDataset(out), None), (both, group_weights(both, by="gender"))):
        options = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}

        def build(dataset=dataset, weights=weights, options=options):
            order = ResumableSampler(dataset, seed=5, weights=weights)
            return ResumableLoader(DataLoader(dataset, batch_size=4, sampler=order, **options))

        expected = [ages(batch) for batch in build()]
        first = build()
        seen = [ages(next(passing)) for passing in [iter(first)] for _ in range(2)]
        second = build()
        second.load_state_dict(first.state_dict())
        assert seen + [ages(batch) for batch in second] == expected


# Two processes

PAIR = """
import json, sys, torch, torch.distributed as dist
from torch.utils.data import DataLoader
from faceaug.training import ResumableLoader, ResumableSampler

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)

def read(most=None, state=None):
    numbers = list(range(50))
    reader = ResumableLoader(DataLoader(numbers, 4, sampler=ResumableSampler(numbers, seed=1), num_workers=1))
    if state:
        reader.load_state_dict(state)
    seen = []
    for batch in reader:
        seen += batch.tolist()
        dist.all_reduce(torch.ones(1))  # waits for ever, unless both processes have equally many batches
        if len(seen) == most:
            break
    return seen, reader.state_dict()

(whole, _), (seen, state) = read(), read(most=12)
if rank == 0:
    torch.save(state, f"{folder}/state.pt")
dist.barrier()
rest, _ = read(state=torch.load(f"{folder}/state.pt", weights_only=True))
print(json.dumps([whole, seen, rest]))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_share_an_epoch_and_continue_from_one_state(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda rank: run_forked(PAIR, rank, tmp_path), range(2)))
    assert [process.returncode for process in ended] == [0, 0], ended
    whole, begun, rest = zip(*(json.loads(process.stdout.splitlines()[-1]) for process in ended), strict=True)
    assert sorted(flat(whole)) == list(range(50))
    assert [len(part) for part in begun] == [12, 12]
    assert [one + two for one, two in zip(begun, rest, strict=True)] == list(whole)
