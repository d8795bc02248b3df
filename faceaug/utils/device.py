"""Devices that torch computes on, and the kind of machine."""

from __future__ import annotations

import os
import platform

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


def machine_class(device: str = "cpu") -> str:
    """Return the kind of machine, not which one: "2-core x86-64 CPU", with the GPU's name when it was used."""
    architecture = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine()
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    machine = f"{cores}-core {architecture} CPU"
    if not device.startswith("cuda"):
        return machine
    return f"{machine}, {torch.cuda.get_device_name(device)}"
