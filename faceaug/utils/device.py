"""Devices that torch computes on."""

from __future__ import annotations

import torch

from faceaug.errors import GeneratorError


def check_device(device: str | torch.device) -> torch.device:
    """Return a device after storing a value on it.

    Raises
    ------
    GeneratorError
        When the name is unknown or this machine has no such device.
    """
    try:
        checked = torch.device(device)
        torch.zeros(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        available = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise GeneratorError(f"the device {str(device)!r} is not available here; available: {available}") from error
    return checked
