"""Training and validation steps of a workload's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads.batches import Batch
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import TrainOptions
from tasks.metrics import Declared, Metric
from tasks.user_code import UserCodeError
from tasks.workload import Step
from tests.celeriac.workloads.small_workloads import NoData, WithDropout, endless, random_examples, same, trained


class OwnStep(WithDropout):
    """The default step, written out."""

    def training_step(self, model: nn.Module, batch: Batch, context: Context) -> Tensor:
        inputs, targets = batch
        return nn.functional.cross_entropy(model(inputs), targets)


def test_a_step_of_ones_own_trains_as_the_default_does_to_the_bit() -> None:
    # Given the default's step written out, when it trains, then the model is the default's
    data = random_examples(20)
    assert same(trained(OwnStep(), data).parameters, trained(WithDropout(), data).parameters)


@pytest.mark.parametrize("asks", [False, True], ids=["FedProx", "Mime"])
def test_algorithms_turn_a_step_of_ones_own(asks: bool) -> None:
    # Given a direction towards the start, which may ask for the same batch's gradients there
    data, start = random_examples(24), WithDropout().initial_parameters(Context(seed=1))

    def direction(step: Step) -> Arrays:
        there = step.gradients_at(start) if asks else {name: 0 * value for name, value in step.gradients.items()}
        return {
            name: gradient - there[name] + 0.1 * (step.parameters[name] - start[name])
            for name, gradient in step.gradients.items()
        }

    context = Context(options=TrainOptions(epochs=2, batch_size=8), seed=5, budget=endless())
    # When both train along it, then the models are equal to the bit
    own, default = (kind.train_along(start, data, context, direction) for kind in (OwnStep(), WithDropout()))
    assert same(own.parameters, default.parameters)
    own_gradients, gradients = (kind.gradients(start, data, context) for kind in (OwnStep(), WithDropout()))
    assert same(own_gradients.arrays, gradients.arrays)


def weight_after(*inputs: float, **attributes: object) -> list[float]:
    """The weight w, at first 1, that minimises w * x over inputs x, in steps of 0.5 and batches of one."""

    class Product(NoData):
        def build_model(self, context: Context) -> nn.Module:
            return nn.Linear(1, 1, bias=False)

        def training_step(self, model: nn.Module, batch: Batch, context: Context) -> Tensor:
            outputs: Tensor = model(batch[0])
            return outputs.mean()

    workload = type("Own", (Product,), attributes)()
    data = np.array(inputs, np.float32)[:, None]
    start = {"weight": np.ones((1, 1), np.float32)}
    result = trained(workload, (data, data), start, epochs=1, batch_size=1, learning_rate=0.5)
    return [result.num_steps, float(result.parameters["weight"][0, 0])]


def test_momentum_weight_decay_clipping_and_accumulation_are_attributes() -> None:
    # Given two examples x = 2 each, along whose gradient 2 two steps of 0.5 are done, from w = 1 to 0 and to -1
    assert weight_after(2, 2) == [2, -1]
    # When there is momentum, then the second step is one along 2 + 0.5 * 2
    assert weight_after(2, 2, momentum=0.5) == [2, -1.5]
    # When there is weight decay, then steps are along 2 + 1 and 2 - 0.5
    assert weight_after(2, 2, weight_decay=1.0) == [2, -1.25]
    # When gradients are clipped to 1, then each step is 0.5
    assert weight_after(2, 2, clip_norm=1.0) == [2, pytest.approx(0, abs=1e-5)]
    # When two batches make a step, then it is one along their mean, and a rest is one too
    assert weight_after(2, 2, accumulate=2) == [1, 0]
    assert weight_after(2, 2, 2, accumulate=2) == [2, -1]


def test_accumulated_batches_are_one_large_batch_to_every_algorithm() -> None:
    # Given batches of two, of which four make a step, and batches of eight
    class Accumulating(WithBatchesOfTwo):
        accumulate = 4

    data, start = random_examples(16), WithBatchesOfTwo().initial_parameters(Context(seed=1))

    def direction(step: Step) -> Arrays:
        there = step.gradients_at(start)
        return {name: gradient - 0.5 * there[name] for name, gradient in step.gradients.items()}

    # When both train along a direction that asks for gradients elsewhere, then they end at the same place
    found, expected = (
        workload.train_along(
            start, data, Context(options=TrainOptions(epochs=3, batch_size=size), seed=5, budget=endless()), direction
        )
        for workload, size in ((Accumulating(), 2), (WithBatchesOfTwo(), 8))
    )
    assert (found.num_steps, found.num_epochs) == (expected.num_steps, expected.num_epochs) == (6, 3.0)
    for name, values in expected.parameters.items():
        np.testing.assert_allclose(found.parameters[name], values, rtol=1e-4, atol=1e-6)


class WithBatchesOfTwo(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_setting_of_the_study_comes_before_the_attribute() -> None:
    # Given an attribute, and a setting of the same name, when the optimiser is made, then the setting counts
    class WithMomentum(WithDropout):
        momentum = 0.5

    model = nn.Linear(1, 1)
    made = [WithMomentum().build_optimizer(model, Context(run_config=given)) for given in ({}, {"momentum": 0.25})]
    assert [optimizer.param_groups[0]["momentum"] for optimizer in made] == [0.5, 0.25]


def test_in_mixed_precision_layers_compute_in_bfloat16_and_parameters_stay_as_they_are() -> None:
    # Given a workload that notes the dtype of its outputs
    seen: list[torch.dtype] = []

    class Mixed(WithDropout):
        mixed_precision = True

        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen.append(outputs.dtype)
            return super().loss(outputs, targets)

    # When it trains, then the layers computed in bfloat16, and the parameters are float32 and moved
    start = WithDropout().initial_parameters(Context(seed=1))
    result = trained(Mixed(), random_examples(8), start, epochs=1)
    assert seen == [torch.bfloat16]
    assert {values.dtype for values in result.parameters.values()} == {np.dtype(np.float32)}
    assert not same(result.parameters, start)


class Means(NoData):
    """Says of each batch what is told of it: its first input, and its largest."""

    known_metrics: ClassVar[Declared] = {"largest": Metric(average="max"), "seen": Metric(average="sum")}

    def build_model(self, context: Context) -> nn.Module:
        return nn.Linear(1, 1)

    def validation_step(self, model: nn.Module, batch: Batch, context: Context) -> Mapping[str, float | Tensor]:
        inputs, _ = batch
        return {"loss": inputs.mean(), "mean": inputs.mean(), "largest": inputs.max(), "seen": len(inputs)}


def test_what_a_validation_step_returns_is_averaged_by_examples_or_as_it_is_declared() -> None:
    # Given 300 numbers from 0, which are evaluated in batches of 256 and 44
    inputs = np.arange(300, dtype=np.float32)[:, None]
    workload = Means()
    # When they are evaluated, then means weigh as many examples as they are of, and a sum and a maximum are these
    evaluation = workload.evaluate(workload.initial_parameters(Context()), (inputs, inputs), Context())
    assert (evaluation.loss, evaluation.num_examples) == (149.5, 300)
    assert evaluation.metrics == pytest.approx({"mean": 149.5, "largest": 299.0, "seen": 300.0})


def test_with_a_training_step_of_ones_own_alone_the_loss_is_evaluated_by_it() -> None:
    # Given a training step, and no validation step, when a model is evaluated, then there is the step's loss alone
    class Constant(OwnStep):
        def training_step(self, model: nn.Module, batch: Batch, context: Context) -> Tensor:
            return torch.tensor(2.0)

    start = WithDropout().initial_parameters(Context(seed=1))
    assert Constant().evaluate(start, random_examples(5), Context()) == Evaluation(2.0, 5)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "the loss of a training step is NoneType: a tensor of one number is needed"),
        (torch.zeros(3), r"the loss of a training step is a tensor of shape \(3,\): a tensor of one number is needed"),
    ],
)
def test_a_loss_that_is_none_is_told(returned: object, message: str) -> None:
    # Given a training step that returns something else than a loss, when it trains, then the message says what
    class Wrong(WithDropout):
        def training_step(self, model: nn.Module, batch: Batch, context: Context) -> Tensor:
            return returned  # type: ignore[return-value]

    with pytest.raises(UserCodeError, match=message):
        trained(Wrong(), random_examples(4))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.5, r"validation_step\(\) returned float: a dict of numbers is needed"),
        ({"auc": torch.zeros(2)}, r"validation_step\(\) returned 'auc' that is Tensor of shape \(2,\): a number is"),
        ({"auc": None}, r"validation_step\(\) returned 'auc' that is NoneType: a number is needed"),
    ],
)
def test_what_is_no_numbers_by_name_is_told(returned: object, message: str) -> None:
    # Given a validation step that returns something else, when it evaluates, then the message says what
    class Wrong(WithDropout):
        def validation_step(self, model: nn.Module, batch: Batch, context: Context) -> Mapping[str, float | Tensor]:
            return returned  # type: ignore[return-value]

    with pytest.raises(UserCodeError, match=message):
        Wrong().evaluate(Wrong().initial_parameters(Context()), random_examples(4), Context())
