"""Ways to train on real and synthetic faces together, with one's own model, optimizer and loss.

A model that sees synthetic faces in some groups only can learn to tell the group by the traces of synthesis (Qraitem et
al., "From Fake to Real", ECCV 2024). Two ways avoid it: draw the same share of synthetic faces in every group
(`GroupSampler`), or train on the balanced set first and finish on real faces (`fit_two_stage`). In experiments of
faceaug's the second gained most, with a third of the draws synthetic (docs/results.md).

>>> from faceaug.training import BalancedDataset, GroupSampler, fit_two_stage  # doctest: +SKIP
>>> both = BalancedDataset(dataset, "out/")  # doctest: +SKIP
>>> mixed = DataLoader(both, 64, sampler=GroupSampler.over(both, "gender,ethnicity", share=0.33))  # doctest: +SKIP
>>> real = DataLoader(both, 64, sampler=GroupSampler.over(both, "gender,ethnicity"))  # doctest: +SKIP
>>> fit_two_stage(model, optimizer, loss, real, mixed, steps=3000)  # doctest: +SKIP
"""

from faceaug.datasets.torch_dataset import BalancedDataset, group_weights
from faceaug.training.group_sampler import GroupSampler
from faceaug.training.resumable import ResumableLoader, ResumableSampler
from faceaug.training.stages import MIXED_SHARE, fit_steps, fit_two_stage

__all__ = [
    "MIXED_SHARE",
    "BalancedDataset",
    "GroupSampler",
    "ResumableLoader",
    "ResumableSampler",
    "fit_steps",
    "fit_two_stage",
    "group_weights",
]
