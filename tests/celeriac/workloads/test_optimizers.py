from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, optim

from celeriac.workloads.optimizers import unlike_plain_sgd


class Own(optim.SGD):
    """SGD of one's own, which may do anything."""


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda weights: optim.SGD(weights, lr=0.1), ""),
        (lambda weights: optim.SGD(weights, lr=0.1, momentum=0.9), "SGD with momentum=0.9"),
        (
            lambda weights: optim.SGD(weights, lr=0.1, momentum=0.5, weight_decay=0.01),
            "SGD with momentum=0.5, weight_decay=0.01",
        ),
        (lambda weights: optim.SGD(weights, lr=0.5), "SGD with lr=0.5"),
        (lambda weights: optim.SGD(weights, lr=0.1, maximize=True), "SGD with maximize=True"),
        (lambda weights: optim.SGD([{"params": weights, "weight_decay": 1.0}], lr=0.1), "SGD with weight_decay=1.0"),
        (lambda weights: optim.Adam(weights, lr=0.1), "Adam"),
        (lambda weights: Own(weights, lr=0.1), "Own"),
    ],
)
def test_an_optimiser_is_told_by_what_makes_it_another_than_plain_sgd(
    make: Callable[[list[Tensor]], optim.Optimizer], expected: str
) -> None:
    # Given an optimiser, when it is compared with plain SGD at a rate of 0.1, then it is told by what differs
    assert unlike_plain_sgd(make([torch.zeros(1, requires_grad=True)]), 0.1) == expected
