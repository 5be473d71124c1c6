from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, optim

from celeriac.workloads.optimizers import StepSettings
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.run_config import RunSetting


class Own(optim.SGD):
    """SGD of one's own, which may do anything."""


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda weights: optim.SGD(weights, lr=0.1), ""),
        (lambda weights: optim.SGD(weights, lr=0.1, momentum=0.9), "SGD with momentum=0.9"),
        (
            lambda weights: optim.SGD(weights, lr=0.1, momentum=0.5, weight_decay=0.01),
            "SGD with momentum=0.5",
        ),
        (lambda weights: optim.SGD(weights, lr=0.5), "SGD with lr=0.5"),
        (lambda weights: optim.SGD(weights, lr=0.1, maximize=True), "SGD with maximize=True"),
        (lambda weights: optim.SGD([{"params": weights, "momentum": 0.3}], lr=0.1), "SGD with momentum=0.3"),
        (lambda weights: optim.Adam(weights, lr=0.1), "Adam"),
        (lambda weights: Own(weights, lr=0.1), "Own"),
    ],
)
def test_an_optimiser_is_told_by_what_makes_it_another_than_plain_sgd(
    make: Callable[[list[Tensor]], optim.Optimizer], expected: str
) -> None:
    # Given an optimiser, when it is compared with plain SGD at a rate of 0.1, then it is told by what differs
    settings = StepSettings.of(TorchWorkload, Context())
    assert settings.unlike_plain_sgd(make([torch.zeros(1, requires_grad=True)]), 0.1) == expected


def test_clipping_makes_it_another_than_plain_sgd() -> None:
    # Given plain SGD whose steps are clipped, when it is named, then the name says so
    settings = StepSettings.of(TorchWorkload, Context(run_config={"clip_norm": 2.0}))
    assert settings.unlike_plain_sgd(optim.SGD([torch.zeros(1)], lr=0.1), 0.1) == "SGD with clip_norm=2.0"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 1.0}, "momentum=1.0: numbers from 0 to under 1 are allowed"),
        ({"momentum": "0.9"}, "momentum='0.9': numbers from 0 to under 1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1: numbers from 0 are allowed"),
        ({"clip_norm": 0}, "clip_norm=0: None and numbers over 0 are allowed"),
        ({"accumulate": 0}, "accumulate=0: whole numbers from 1 are allowed"),
        ({"mixed_precision": 1}, "mixed_precision=1: True and False are allowed"),
    ],
)
def test_settings_that_no_step_can_have_are_refused(given: dict[str, RunSetting], message: str) -> None:
    # Given such a setting of the study's, when steps are to be taken, then the message says what is allowed
    with pytest.raises(ConfigurationError, match=message):
        StepSettings.of(TorchWorkload, Context(run_config=given))
