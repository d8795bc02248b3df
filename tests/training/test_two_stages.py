"""Training in two stages, and draws of every group equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from faceaug.errors import UsageError
from faceaug.training import GroupSampler, fit_two_stage


class _Recorder:
    """A model, an optimizer and a loss that write down what they are given."""

    def __init__(self):
        self.seen = []

    def zero_grad(self):
        self.seen.append("zero")

    def step(self):
        self.seen.append("step")

    def backward(self):
        self.seen.append("backward")

    def loss(self, model, batch):
        assert model is self
        self.seen.append(batch)
        return self


def test_synthetic_batches_come_first_and_real_ones_last_whatever_the_framework():
    recorder, counted = _Recorder(), []
    fit_two_stage(
        recorder, recorder, recorder.loss, ["r1", "r2"], ["s"], steps=5, mixed_share=0.4, after_step=counted.append
    )
    assert [each for each in recorder.seen if each not in ("zero", "step", "backward")] == ["s", "s", "r1", "r2", "r1"]
    assert recorder.seen[:4] == ["zero", "s", "backward", "step"]
    assert counted == [1, 2, 3, 4, 5]


def test_a_model_of_torch_learns_with_loaders():
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    data = list(zip(x, (x.sum(1) > 0).float(), strict=True))
    model = torch.nn.Linear(3, 1)

    def loss(net, batch):
        return torch.nn.functional.binary_cross_entropy_with_logits(net(batch[0])[:, 0], batch[1])

    before = float(loss(model, (x, (x.sum(1) > 0).float())).detach())
    loader = DataLoader(data, 16, sampler=GroupSampler([0, 1] * 32))
    fit_two_stage(model, torch.optim.Adam(model.parameters(), 0.05), loss, loader, loader, steps=60)
    assert float(loss(model, (x, (x.sum(1) > 0).float())).detach()) < before / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixed_share": 1.5}, "mixed_share is 1.5"),
        ({"mixed": 0.5}, "no option 'mixed'"),
        ({"steps": -1}, "-1 steps"),
    ],
)
def test_bad_options_are_named(options, message):
    recorder = _Recorder()
    with pytest.raises(UsageError, match=message):
        fit_two_stage(recorder, recorder, recorder.loss, [1], [1], **{"steps": 2, **options})


def test_without_a_batch_there_is_an_error():
    recorder = _Recorder()
    with pytest.raises(UsageError, match="no batch"):
        fit_two_stage(recorder, recorder, recorder.loss, [], [1], steps=4)


def test_groups_are_drawn_equally_with_the_share_of_each():
    groups = np.repeat([0, 1, 2, -1], [100, 10, 30, 5])
    synthetic = np.arange(145) % 2 == 1
    synthetic[groups == 2] = False  # nothing was made for it
    rows = np.array(list(GroupSampler(groups, synthetic, {0: 0.25, 1: 0.75, 2: 0.5}, samples=6000, seed=3)))
    assert np.bincount(groups[rows], minlength=3).tolist() == [2000, 2000, 2000]
    shares = [synthetic[rows][groups[rows] == group].mean() for group in range(3)]
    assert shares == pytest.approx([0.25, 0.75, 0.0], abs=0.04)
    again = np.array(list(GroupSampler(groups, synthetic, {0: 0.25, 1: 0.75, 2: 0.5}, samples=6000, seed=3)))
    assert (rows == again).all()


def test_all_faces_of_a_group_are_drawn_before_any_again():
    rows = list(GroupSampler([0] * 7 + [1] * 3, samples=14, seed=1))
    assert sorted(row for row in rows if row < 7) == list(range(7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [True]), "shapes"),
        (([-1, -1],), "no item is in a group"),
        (([0, 1], None, 1.5), "share is 1.5"),
    ],
)
def test_bad_groups_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        GroupSampler(*arguments)


def test_a_module_of_lightning_trains_in_two_stages(tmp_path):
    lightning = pytest.importorskip("lightning")
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    data = list(zip(x, (x.sum(1) > 0).float(), strict=True))

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(3, 1)
            self.losses = []

        def training_step(self, batch, number):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(self.net(batch[0])[:, 0], batch[1])
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.05)

    def fit(module, loader, steps):
        quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        lightning.Trainer(accelerator="cpu", max_steps=steps, default_root_dir=tmp_path, **quiet).fit(module, loader)

    module, groups = Module(), [0, 1] * 32
    mixed = DataLoader(data, 16, sampler=GroupSampler(groups, [False] * 48 + [True] * 16, share=0.5))
    real = DataLoader(data, 16, sampler=GroupSampler(groups, [False] * 48 + [True] * 16))
    fit(module, mixed, 40)
    fit(module, real, 20)
    assert len(module.losses) == 60
    assert np.mean(module.losses[-5:]) < np.mean(module.losses[:5]) / 2
