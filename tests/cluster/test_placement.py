"""Where work is computed: what is refused, in a sentence, and what holds in every process."""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from ray_nodes import NEEDS_RAY

from faceaug.cluster import placement, ray_cluster
from faceaug.cluster.placement import Placement
from faceaug.cluster.ray_cluster import PATIENCE_SECONDS, RayCluster
from faceaug.errors import FaceaugError, UsageError


def test_what_cannot_be_is_refused(monkeypatch):
    assert not Placement().on_ray
    with pytest.raises(UsageError, match="the executor folder is for faceaug balance alone: give local or ray"):
        Placement("folder")
    with pytest.raises(UsageError, match="there is no executor 'rai': did you mean 'ray'"):
        Placement("rai")
    with pytest.raises(UsageError, match="address is given, which the executor local does not use"):
        Placement(address="auto")
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package ray: pip install 'faceaug\[ray\]'"):
        Placement("ray")


def test_a_worker_process_computes_in_one_thread_and_prepares_a_value_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference.value))
    monkeypatch.setattr(ray_cluster, "_PREPARED", OrderedDict())
    before, made = torch.get_num_threads(), []

    def prepared(key: str) -> str:
        box = [SimpleNamespace(binary=key.encode, value=key)]
        return ray_cluster.prepared(box, lambda value: made.append(value) or value)

    try:
        with contextlib.ExitStack() as limits:
            monkeypatch.setattr(ray_cluster, "_LIMITS", limits)
            torch.set_num_threads(2)
            assert [prepared(key) for key in "aabba"] == list("aabba")
            assert torch.get_num_threads() == 1
            assert made == ["a", "b"]
            assert [prepared(key) for key in "cab"] == list("cab")
            assert made == ["a", "b", "c", "b"]  # the last two are kept
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("use", [lambda cluster: cluster.ahead, lambda cluster: cluster.share(1)])
def test_a_cluster_that_is_gone_is_said_in_a_sentence(monkeypatch, use):
    exceptions = pytest.importorskip("ray", reason=NEEDS_RAY).exceptions

    def gone(*_: object) -> None:
        raise exceptions.RpcError("no connection")

    ray = SimpleNamespace(is_initialized=lambda: True, cluster_resources=gone, put=gone, exceptions=exceptions)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(FaceaugError, match=r"the Ray cluster does not answer any more .*no connection"):
        use(RayCluster(None, 1, "cpu"))


def test_a_cluster_whose_nodes_are_gone_is_waited_for_and_then_ends_the_work(monkeypatch, caplog):
    resources = {"CPU": 2.0}
    ray = SimpleNamespace(is_initialized=lambda: True, cluster_resources=lambda: resources)
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = RayCluster(None, 1, "cpu")
    cluster.look(0)
    resources.clear()
    for now in (10, 50, 500):
        cluster.look(now)
    assert [record.getMessage() for record in caplog.records] == [
        "the Ray cluster has no processors now; the work goes on when a node joins it"
    ]
    resources["CPU"] = 1.0
    cluster.look(700)  # one has joined
    resources.clear()
    cluster.look(710)
    with pytest.raises(FaceaugError, match="no processors for 10 minutes: let nodes join it"):
        cluster.look(710 + PATIENCE_SECONDS + 1)
