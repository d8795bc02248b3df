"""The discriminator scores images and is told how much a batch varies."""

from __future__ import annotations

import math

import torch

from faceaug.gan_training.discriminator import Discriminator
from faceaug.generators.stylegan2_networks import StyleGAN2Config, reset_parameters


def test_scores_every_image_and_sees_the_batch():
    config = StyleGAN2Config(16, z_dim=4, w_dim=4, mapping_layers=1, channel_base=256, channel_max=16)
    discriminator = Discriminator(config)
    reset_parameters(discriminator, 0)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = discriminator(images)
    assert scores.shape == (8, 1)
    scores.sum().backward()
    assert (images.grad.flatten(1).abs().max(1).values > 0).all()
    with torch.no_grad():
        same = discriminator(images[:1].expand(8, -1, -1, -1))
        assert not torch.allclose(same[0], scores[0]), "a batch without variation is told from one with"
        assert math.isfinite(float(discriminator(images[:7]).sum())), "a batch that no group divides"
