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
