"""Devices that torch computes on."""

from __future__ import annotations

import torch

from faceaug.errors import GeneratorError


def check_device(device: str | torch.device) -> torch.device:
    """Return `device` as torch knows it, once a value has really been stored there.

    Raises
    ------
    GeneratorError
        When the name means nothing or the device is not in this machine.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        has = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise GeneratorError(f"the device {str(device)!r} is not available here; available: {has}") from error
    return found
