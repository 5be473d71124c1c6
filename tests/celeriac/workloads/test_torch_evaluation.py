from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads import torch_workload
from celeriac.workloads.examples import Examples
from tasks.context import Context
from tasks.evaluation import Evaluation
from tests.celeriac.workloads.small_workloads import NoData, OneWeight, WithDropout, random_examples, weights


def test_evaluation_is_mean_loss_and_share_of_right_answers() -> None:
    # Given logits (x, 0), and examples x = 1 of class 0, x = -1 of class 1, x = 2 of class 1
    data = Examples(np.array([[1], [-1], [2]], np.float32), np.array([0, 1, 1]))
    # When they are evaluated
    evaluation = OneWeight().evaluate(weights(1, 0), data, Context())
    # Then two are right, and the losses are twice ln(1 + 1/e) and once ln(1 + e^2)
    assert evaluation.metrics == {"accuracy": pytest.approx(2 / 3)}
    assert evaluation.loss == pytest.approx((2 * math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 3)
    assert evaluation.num_examples == 3


def test_batches_of_unequal_size_weigh_as_many_examples_as_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given seven examples, evaluated at once
    workload, data = WithDropout(), random_examples(7)
    parameters = workload.initial_parameters(Context(seed=1))
    at_once = workload.evaluate(parameters, data, Context())
    # When they are evaluated in batches of three
    monkeypatch.setattr(torch_workload, "EVALUATION_BATCH_SIZE", 3)
    in_batches = workload.evaluate(parameters, data, Context())
    # Then the result is the same, and dropout is off
    assert in_batches.loss == pytest.approx(at_once.loss, rel=1e-5)
    assert (in_batches.metrics, in_batches.num_examples) == (at_once.metrics, 7)


def test_of_no_examples_there_is_no_accuracy() -> None:
    # Given no examples, when they are evaluated, then there is no accuracy
    workload = WithDropout()
    assert workload.evaluate(workload.initial_parameters(Context(seed=1)), random_examples(0), Context()) == Evaluation(
        0.0, 0
    )


class Returning(NoData):
    """A model that returns its inputs as they are; the loss is zero."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Identity()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros(())


def accuracy_of(outputs: object, targets: object) -> float | None:
    """The accuracy of a model whose outputs are given."""
    data = SimpleNamespace(inputs=np.asarray(outputs), targets=np.asarray(targets))
    return Returning().evaluate({}, data, Context()).metrics.get("accuracy")


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("target_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_one_logit_is_right_if_it_is_above_zero_for_a_one_and_not_for_a_zero(
    shape: tuple[int, ...], target_shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    # Given the logits 2, 0.1, -1 and 0 for targets of 1, 0, 0 and 0, in columns or not
    outputs = np.array([2, 0.1, -1, 0], np.float32).reshape(shape)
    targets = np.array([1, 0, 0, 0]).astype(dtype).reshape(target_shape)
    # When they are evaluated, then all but the second are right
    assert accuracy_of(outputs, targets) == 0.75


def test_of_classes_at_many_places_the_share_of_places_counts() -> None:
    # Given logits of two classes at three places of two examples: class 1 is the largest at the last place alone
    logits = np.zeros((2, 2, 3), np.float32)
    logits[:, 0, :2] = logits[:, 1, 2] = 1
    # When the targets are class 0 but for the last place of the first example, then five of six are right
    assert accuracy_of(logits, np.array([[0, 0, 1], [0, 0, 0]])) == pytest.approx(5 / 6)
    # And of one logit a place, above 0 at the last alone, as many are
    assert accuracy_of(logits[:, 1:] - 0.5, np.array([[0, 0, 1], [0, 0, 0]])) == pytest.approx(5 / 6)


def test_of_tokens_whose_classes_are_last_the_share_of_tokens_counts_without_those_that_the_loss_leaves_out() -> None:
    # Given logits of three classes for two texts of two tokens, of which class 2 is always the largest
    logits = np.zeros((2, 2, 3), np.float32)
    logits[:, :, 2] = 1
    # When one of three tokens is another, and one is padding, then two of three are right, wherever the classes are
    targets = np.array([[2, 1], [2, -100]])
    assert accuracy_of(logits, targets) == pytest.approx(2 / 3)
    assert accuracy_of(logits.transpose(0, 2, 1), targets) == pytest.approx(2 / 3)
    # And of padding alone there is no accuracy
    assert accuracy_of(logits, np.full((2, 2), -100)) is None


def test_for_torchs_own_loss_the_classes_are_in_its_dimension() -> None:
    # Given as many classes as tokens, and a workload with the default loss
    class Classes(NoData):
        def build_model(self, context: Context) -> nn.Module:
            return nn.Identity()

    logits = np.array([[[1, 1], [0, 0]]], np.float32)
    # When class 0 is the largest at both of its places, then the one target of two that is 0 is right
    assert Classes().evaluate({}, SimpleNamespace(inputs=logits, targets=np.array([[0, 1]])), Context()).metrics == {
        "accuracy": 0.5
    }


def test_metrics_of_ones_own_are_of_all_examples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a workload that measures what no mean of batches is, on outputs of two parts
    class Measuring(Returning):
        def build_model(self, context: Context) -> nn.Module:
            return Both()

        def measure(self, outputs: Any, targets: Tensor) -> dict[str, float]:
            return {
                "rmse": torch.sqrt(((outputs["same"] - targets) ** 2).mean()).item(),
                "most": outputs["more"][0].max().item(),
            }

    class Both(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, Any]:
            return {"same": inputs, "more": (inputs + 1, inputs)}

    monkeypatch.setattr(torch_workload, "EVALUATION_BATCH_SIZE", 2)
    data = SimpleNamespace(inputs=np.array([1, 2, 3], np.float32), targets=np.array([1, 2, 6], np.float32))
    # When three examples are evaluated, in two batches, then it is the root of 9 / 3, and the most is 4
    assert Measuring().evaluate({}, data, Context()).metrics == {"rmse": pytest.approx(3**0.5), "most": 4.0}


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        pytest.param(np.ones((4, 1), np.float32), np.array([[0.5], [2], [1], [0]], np.float32), id="regression"),
        pytest.param(np.ones((4, 1), np.float32), np.arange(4), id="regression of counts"),
        pytest.param(np.ones((4, 2), np.float32), np.ones((4, 2), np.float32), id="autoencoder"),
        pytest.param(np.ones((4, 2), np.float32), np.ones((4, 2), np.int64), id="several labels"),
        pytest.param(np.ones((4, 1), np.float32), np.ones((4, 3), np.float32), id="more targets than outputs"),
        pytest.param(np.ones((4, 1), np.float32), np.array([3.0, 1.0, 0.0, 2.0], np.float32), id="counts as floats"),
        pytest.param(np.ones((4, 2), np.float32), np.array([0.0, 1.0, 1.0, 0.0], np.float32), id="classes as floats"),
        pytest.param(np.ones((4, 3, 3), np.float32), np.ones((4, 3), np.int64), id="classes in either dimension"),
    ],
)
def test_where_answers_are_not_right_or_wrong_there_is_no_accuracy(outputs: object, targets: object) -> None:
    # Given outputs that are neither the logits of classes nor one logit a target, when evaluated, then there is none
    assert accuracy_of(outputs, targets) is None


def test_whether_there_is_an_accuracy_is_decided_over_all_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a regression whose first targets, or whose last, are by chance all 0 or 1
    monkeypatch.setattr(torch_workload, "EVALUATION_BATCH_SIZE", 2)
    outputs = np.ones((4, 1), np.float32)
    # When it is evaluated in batches, then there is no accuracy in either case
    assert accuracy_of(outputs, np.array([[0], [1], [0.5], [3]], np.float32)) is None
    assert accuracy_of(outputs, np.array([[0.5], [3], [0], [1]], np.float32)) is None


def test_a_model_that_returns_no_tensor_has_a_loss_and_no_accuracy() -> None:
    # Given a model with two heads, and a loss of its own
    class TwoHeads(nn.Linear):
        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return super().forward(inputs), inputs

    class WithTwoHeads(OneWeight):
        def build_model(self, context: Context) -> nn.Module:
            return TwoHeads(1, 2, bias=False)

        def loss(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:  # type: ignore[override]
            return outputs[1].mean()

    # When it is evaluated at x = 1 and x = 3, then the loss is their mean
    data = Examples(np.array([[1], [3]], np.float32), np.zeros(2, np.int64))
    assert WithTwoHeads().evaluate(weights(1, 2), data, Context()) == Evaluation(2.0, 2)


def test_what_is_right_can_be_replaced() -> None:
    # Given a workload of several labels an example, whose answers are right if all the labels are
    class SeveralLabels(Returning):
        def are_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return ((outputs > 0) == (targets > 0)).all(dim=1)

    logits, labels = np.array([[1, -1], [1, 1]], np.float32), np.array([[1, 0], [1, 0]], np.float32)
    # When the first of two examples has both of its labels right, then the accuracy is a half
    assert SeveralLabels().evaluate({}, SimpleNamespace(inputs=logits, targets=labels), Context()).metrics == {
        "accuracy": 0.5
    }
