"""The training loop: checkpoints, resuming to the bit, a log that fits, and a time limit."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.utils.training.train_loop import descend, rng_of, run


class Toy:
    """Learns to double numbers; fails at a step if told to."""

    def __init__(self, steps: int = 60, stop_at: int | None = None) -> None:
        self.step, self.steps, self.stop_at = 0, steps, stop_at
        self.model = nn.Linear(2, 2)
        nn.init.zeros_(self.model.weight)
        nn.init.zeros_(self.model.bias)
        self.adam = torch.optim.Adam(self.model.parameters(), 0.1)
        self.networks, self.optimizers = {"model": self.model}, {"adam": self.adam}

    def advance(self):
        if self.step == self.stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 2, generator=rng_of(0, self.step))
        loss = (self.model(x) - 2 * x).square().mean()
        descend(self.adam, loss)
        return {"loss": loss.item()}


def weights(toy: Toy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in toy.model.parameters()])


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = Toy()
    assert run(whole, tmp_path / "whole", {"seed": 1}, save_every=0.0)
    with pytest.raises(KeyboardInterrupt):
        run(Toy(stop_at=37), tmp_path / "cut", {"seed": 1}, save_every=0.0)
    resumed = Toy()
    steps = []
    assert run(resumed, tmp_path / "cut", {"seed": 1}, progress=lambda step, *_: steps.append(step))
    assert steps == list(range(38, 61))
    assert torch.equal(weights(whole), weights(resumed))

    def log(name):
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        return [(row["step"], row["loss"]) for row in rows]

    assert log("cut") == log("whole")
    assert [step for step, _ in log("whole")] == [25, 50, 60]


def test_a_finished_run_is_not_done_again(tmp_path):
    first = Toy()
    run(first, tmp_path)
    again = Toy(stop_at=0)
    assert run(again, tmp_path)
    assert torch.equal(weights(first), weights(again))


def test_the_time_is_a_limit_and_one_step_is_done_at_least(tmp_path):
    toy = Toy()
    assert not run(toy, tmp_path, until=0.0)
    assert toy.step == 1
    assert not run(Toy(), tmp_path, until=0.0)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2]


def test_the_log_tells_the_time_left(tmp_path):
    run(Toy(50), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["seconds_left"] >= 0
    assert rows[-1]["seconds_left"] == 0


def test_another_setup_is_refused(tmp_path):
    run(Toy(), tmp_path, {"seed": 1})
    with pytest.raises(GeneratorError, match="seed was 1, is 2"):
        run(Toy(), tmp_path, {"seed": 2})


def test_a_loss_that_is_no_finite_number_is_an_error():
    toy = Toy()
    nn.init.constant_(toy.model.weight, float("nan"))
    with pytest.raises(FaceaugError, match=r"diverged at step 1.* another --seed and a fresh --work") as caught:
        run(toy)
    assert "resume" not in str(caught.value), "the same steps would come to the same end"


def test_a_step_has_its_own_randomness():
    one, other = (torch.rand(4, generator=rng_of(0, step)) for step in (1, 2))
    assert torch.equal(one, torch.rand(4, generator=rng_of(0, 1)))
    assert not torch.equal(one, other)
