from __future__ import annotations

import pytest
import torch

from tasks.device import check, resolved
from tasks.errors import ConfigurationError


def test_the_cpu_is_always_there_and_auto_is_a_device_of_torchs() -> None:
    # Given a machine, when the CPU is asked for, then it is that; what auto finds takes a tensor
    assert resolved("cpu") == "cpu"
    assert torch.zeros(1, device=resolved("auto")).item() == 0


@pytest.mark.parametrize("name", ["tpu", "", "cuda:", "cpu:0", "CUDA"])
def test_what_is_no_device_is_refused_with_what_is_allowed(name: str) -> None:
    # Given another name, when it is checked, then the message says which there are
    with pytest.raises(ConfigurationError, match=f"device '{name}': auto, cpu, cuda, cuda:N and mps are allowed"):
        check(name)


def test_a_device_that_is_not_there_is_told_with_those_that_are() -> None:
    # Given a device that this machine lacks, when it is asked for, then the message says which there are
    name = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigurationError, match=rf"device '{name}' isn't there: auto, .*cpu are allowed"):
        resolved(name)
