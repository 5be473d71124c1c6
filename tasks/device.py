"""The device that a workload computes on, as torch names it."""

from __future__ import annotations

import functools
import importlib.util
import re
from typing import Annotated

from pydantic import AfterValidator

from tasks.errors import ConfigurationError


def check(device: str) -> str:
    """Return the name of a device.

    Raises:
        ConfigurationError: If it is none.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", device):
        raise ConfigurationError(f"device {device!r}: auto, cpu, cuda, cuda:N and mps are allowed")
    return device


Device = Annotated[str, AfterValidator(check)]
"""``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the first of CUDA's, Apple's and the CPU that is there."""


@functools.cache
def resolved(device: str) -> str:
    """Return the device that is meant; torch is asked for another than the CPU's, in the process that computes.

    Raises:
        ConfigurationError: If it isn't there.
    """
    if device == "cpu":
        return device
    there = _there()
    if device == "auto":
        return there[0]
    if device not in there and not (device == "cuda:0" and "cuda" in there):
        raise ConfigurationError(f"device {device!r} isn't there: auto, {', '.join(there)} are allowed")
    return device


def _there() -> list[str]:
    """Return the devices of this machine, the fastest first."""
    if importlib.util.find_spec("torch") is None:
        return ["cpu"]
    import torch  # noqa: PLC0415  # takes a second, and is needed for other devices alone

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = ["cuda", *(f"cuda:{index}" for index in range(count))] if count else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
