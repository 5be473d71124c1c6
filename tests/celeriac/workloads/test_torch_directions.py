from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads.datasets.digits import Digits
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.arrays import Arrays
from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions
from tasks.workload import DataSource, Part, Step
from tests.celeriac.workloads.small_workloads import NoData, WithDropout, endless, random_examples, same


def test_a_step_knows_its_gradients_here_and_elsewhere() -> None:
    # Given training in one batch of all examples
    workload = Digits()
    data = workload.client_data(DataSource(part=Part(0, 20))).train
    start, elsewhere = workload.initial_parameters(Context(seed=1)), workload.initial_parameters(Context(seed=2))
    options = TrainOptions(epochs=1, batch_size=len(data), learning_rate=0.5)
    seen: list[Arrays] = []

    def direction(step: Step) -> Arrays:
        found = (step.gradients, step.gradients_at(elsewhere), step.gradients_at(start))
        seen.extend({name: value.copy() for name, value in gradients.items()} for gradients in found)
        return {name: 0 * value for name, value in step.gradients.items()}

    # When a step is done along nothing
    result = workload.train_along(start, data, Context(options=options, seed=5, budget=TimeBudget(60)), direction)

    # Then the model has not moved, and the gradients are those over all examples, at either place
    assert all((result.parameters[name] == start[name]).all() for name in start)
    for found, at in zip(seen, (start, elsewhere, start), strict=True):
        expected = workload.gradients(at, data, Context())
        assert expected.loss == pytest.approx(workload.evaluate(at, data, Context()).loss, rel=1e-5)
        for name, gradient in expected.arrays.items():
            np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-6)


class WithManyDraws(NoData):
    """Dropout, and noise in the loss; batch normalisation, whose statistics a forward pass changes."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs + 0.1 * torch.randn_like(outputs), targets)


@pytest.mark.parametrize("workload", [WithDropout(), WithManyDraws()])
def test_a_step_s_gradients_at_its_own_parameters_are_its_gradients_to_the_last_bit(workload: TorchWorkload) -> None:
    # Given a model that draws masks
    start = workload.initial_parameters(Context(seed=1))
    pairs: list[tuple[Arrays, Arrays]] = []

    # When each step asks for its gradients elsewhere, and then where it is
    def direction(step: Step) -> Arrays:
        step.gradients_at(start)
        pairs.append(
            ({name: value.copy() for name, value in step.gradients.items()}, step.gradients_at(step.parameters))
        )
        return step.gradients

    options = TrainOptions(epochs=2, batch_size=8)
    workload.train_along(start, random_examples(24), Context(options=options, seed=5, budget=endless()), direction)

    # Then in every step they are equal
    assert len(pairs) == 6
    assert all(same(gradients, again) for gradients, again in pairs)


@pytest.mark.parametrize("asks", [False, True], ids=["asks nothing", "asks for gradients elsewhere"])
@pytest.mark.parametrize("workload", [Digits(), WithDropout(), WithManyDraws()])
def test_along_its_own_gradients_training_is_the_same_to_the_last_bit(workload: TorchWorkload, asks: bool) -> None:
    # Given a workload, which may draw masks, and a direction that may ask for gradients elsewhere and changes nothing
    is_digits = isinstance(workload, Digits)
    data = workload.client_data(DataSource(part=Part(0, 20))).train if is_digits else random_examples(24)
    start, options = workload.initial_parameters(Context(seed=1)), TrainOptions(epochs=2, batch_size=8)

    def direction(step: Step) -> Arrays:
        if asks:
            step.gradients_at(start)
        return step.gradients

    # When it trains with it and without
    plain = workload.train(start, data, Context(options=options, seed=5, budget=endless()))
    along = workload.train_along(start, data, Context(options=options, seed=5, budget=endless()), direction)

    # Then it ends at the same place
    assert same(plain.parameters, along.parameters)
    assert plain.metrics == along.metrics
