"""The pretrained network: the same as its package's, whatever is computed together, and refused without its weights."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from faceaug.errors import GeneratorError
from faceaug.pretrained import efficientnet
from faceaug.pretrained.efficientnet import (
    EFFICIENTNET_INSTALL,
    EfficientNetStages,
    by_tiles,
    efficientnet_state,
    efficientnet_weights_installed,
)

installed = pytest.mark.skipif(not efficientnet_weights_installed(), reason=EFFICIENTNET_INSTALL)


@installed
@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, 4, 7])
def test_its_maps_are_those_of_the_package(stages):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    network = package.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(efficientnet_state())
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        x = ((images + 1) * 127.5 - 127) / 128
        x = network._swish(network._bn0(network._conv_stem(x)))
        blocks = sum(count for count, *_ in efficientnet.STAGES[:stages])
        for block in network._blocks[:blocks]:
            x = block(x)
        found = EfficientNetStages(stages)(images)
    assert found.shape == x.shape
    torch.testing.assert_close(found, x, atol=1e-3, rtol=1e-3)


def test_rows_are_computed_for_a_fixed_number_at_a_time():
    seen = []

    def double(x):
        seen.append(len(x))
        return x * 2

    for count in (0, 1, 4, 9):
        x = torch.arange(count * 2.0).view(count, 2)
        assert torch.equal(by_tiles(double, x, 4), x * 2)
    assert set(seen) == {4}


def test_without_the_package_one_sentence_says_how_to_install_it(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(efficientnet, "distribution", absent)
    with pytest.raises(GeneratorError, match="is not installed") as error:
        efficientnet_state()
    assert EFFICIENTNET_INSTALL in str(error.value)
    monkeypatch.setattr(efficientnet, "version", absent)
    assert not efficientnet_weights_installed()
