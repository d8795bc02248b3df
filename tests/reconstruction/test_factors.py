"""Readings: what the mirror does to them, and taking them apart and together."""

from __future__ import annotations

import torch

from faceaug.reconstruction.factors import FaceFactors, concatenate_factors


def reading(n: int = 3) -> FaceFactors:
    rng = torch.Generator().manual_seed(0)
    shapes = ((n, 4, 4), (n, 3, 4, 4), (n, 4), (n, 6))
    return FaceFactors(*(torch.rand(shape, generator=rng) for shape in shapes))


def test_the_mirror_turns_maps_and_odd_numbers():
    one = reading()
    other = one.mirrored()
    assert torch.equal(other.depth, one.depth.flip(-1))
    assert torch.equal(other.albedo, one.albedo.flip(-1))
    assert torch.equal(other.light, one.light * torch.tensor([1.0, 1, -1, 1]))
    assert torch.equal(other.view, one.view * torch.tensor([1.0, -1, -1, -1, 1, 1]))
    back = other.mirrored()
    assert all(torch.equal(getattr(back, name), getattr(one, name)) for name in ("depth", "albedo", "light", "view"))


def test_flipping_the_face_leaves_view_and_light():
    one = reading()
    other = one.flipped()
    assert torch.equal(other.depth, one.mirrored().depth)
    assert torch.equal(other.albedo, one.mirrored().albedo)
    assert other.light is one.light
    assert other.view is one.view


def test_apart_and_together():
    one = reading(5)
    again = concatenate_factors([one[:2], one[2:]])
    assert len(again) == 5
    assert torch.equal(again.albedo, one.albedo)
    assert torch.equal(again.view, one.view)


def test_detached_readings_have_no_graph():
    one = reading().map(lambda part: part.requires_grad_())
    assert not any(getattr(one.detach(), name).requires_grad for name in ("depth", "albedo", "light", "view"))
