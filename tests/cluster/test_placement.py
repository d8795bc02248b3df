"""Where work is computed: what is refused, in a sentence."""

from __future__ import annotations

import pytest

from faceaug.cluster import placement
from faceaug.cluster.placement import Placement
from faceaug.errors import UsageError


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
