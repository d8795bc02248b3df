"""Factors: the effect of the mirror, and slicing and concatenation."""

from __future__ import annotations

import torch

from faceaug.reconstruction.factors import FaceFactors, concatenate_factors


def factors(n: int = 3) -> FaceFactors:
    rng = torch.Generator().manual_seed(0)
    shapes = ((n, 4, 4), (n, 3, 4, 4), (n, 4), (n, 6))
    return FaceFactors(*(torch.rand(shape, generator=rng) for shape in shapes))


def test_the_mirror_flips_maps_and_odd_factors():
    one = factors()
    other = one.mirrored()
    assert torch.equal(other.depth, one.depth.flip(-1))
    assert torch.equal(other.albedo, one.albedo.flip(-1))
    assert torch.equal(other.light, one.light * torch.tensor([1.0, 1, -1, 1]))
    assert torch.equal(other.view, one.view * torch.tensor([1.0, -1, -1, -1, 1, 1]))
    back = other.mirrored()
    assert all(torch.equal(getattr(back, name), getattr(one, name)) for name in ("depth", "albedo", "light", "view"))


def test_flipping_the_face_leaves_view_and_light():
    one = factors()
    other = one.flipped()
    assert torch.equal(other.depth, one.mirrored().depth)
    assert torch.equal(other.albedo, one.mirrored().albedo)
    assert other.light is one.light
    assert other.view is one.view


def test_concatenating_slices_gives_the_factors_again():
    one = factors(5)
    again = concatenate_factors([one[:2], one[2:]])
    assert len(again) == 5
    assert torch.equal(again.albedo, one.albedo)
    assert torch.equal(again.view, one.view)


def test_detached_factors_have_no_graph():
    one = factors().map(lambda tensor: tensor.requires_grad_())
    assert not any(getattr(one.detach(), name).requires_grad for name in ("depth", "albedo", "light", "view"))
