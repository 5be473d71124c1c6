"""Metrics of the usual tasks, with PyTorch's losses as they are documented: each by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from celeriac.workloads import torch_workload
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.user_code import checked_evaluation
from tasks.workload import ClientData, DataSource


class Given(TorchWorkload):
    """A model whose outputs are its inputs."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Identity()

    def client_data(self, source: DataSource) -> ClientData:
        raise NotImplementedError

    def holdout_data(self, folder: object) -> None:
        return None


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations take two examples at a time: no result is to depend on that."""
    monkeypatch.setattr(torch_workload, "EVALUATION_BATCH_SIZE", 2)


def evaluated(workload: TorchWorkload, outputs: Any, targets: Any) -> Evaluation:
    """What a workload says of these outputs, as it is taken from users."""
    data = SimpleNamespace(inputs=np.asarray(outputs), targets=np.asarray(targets))
    return checked_evaluation(workload.evaluate({}, data, Context()))


class Regression(Given):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        errors = ((outputs - targets) ** 2).sum()
        return {"r2": 1 - errors / ((targets - targets.mean()) ** 2).sum(), "rmse": torch.sqrt(errors / len(targets))}


def test_a_regression_has_its_own_metrics_and_no_accuracy() -> None:
    # Given predictions of counts, which floats hold, that are off by 1, 0 and 2
    evaluation = evaluated(Regression(), np.array([[2], [2], [5]], np.float32), np.array([[1], [2], [3]], np.float32))
    # Then the squares are 5 in all, of 2 around the mean of 2, over three examples
    assert evaluation.loss == pytest.approx(5 / 3)
    assert evaluation.metrics == {"r2": pytest.approx(1 - 5 / 2), "rmse": pytest.approx((5 / 3) ** 0.5)}


class SeveralLabels(Given):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        found, wanted = outputs > 0, targets > 0
        return {
            "exact": (found == wanted).all(dim=1).double().mean(),
            "micro f1": 2 * (found & wanted).sum() / (found.sum() + wanted.sum()),
        }


def test_several_labels_an_example_have_no_accuracy_that_one_has_not_asked_for() -> None:
    # Given three examples with two labels each, of which one label of the last is found wrongly
    logits = np.array([[1, -1], [1, 1], [1, 1]], np.float32)
    evaluation = evaluated(SeveralLabels(), logits, np.array([[1, 0], [1, 1], [1, 0]], np.float32))
    # Then two of three are right as a whole, and of five that were found four are among the four that there are
    assert evaluation.metrics == {"exact": pytest.approx(2 / 3), "micro f1": pytest.approx(2 * 4 / (5 + 4))}


def test_a_segmentation_s_accuracy_is_the_share_of_its_pixels() -> None:
    # Given three pictures of 2 x 2 pixels, of which class 1 of three is found everywhere
    logits = np.zeros((3, 3, 2, 2), np.float32)
    logits[:, 1] = 1
    masks = np.ones((3, 2, 2), np.int64)
    masks[0, 0] = [0, 2]
    masks[2, 1, 1] = 0
    # When three of twelve are another class, then nine are right
    assert evaluated(Given(), logits, masks).metrics == {"accuracy": 9 / 12}


class NextToken(Given):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("num_tokens", [2, 4])
def test_a_language_model_s_accuracy_is_the_share_of_its_tokens_but_for_padding(num_tokens: int) -> None:
    # Given three texts of which token 1 of three is always thought to be next
    logits = np.zeros((3, num_tokens, 3), np.float32)
    logits[..., 1] = 1
    targets = np.ones((3, num_tokens), np.int64)
    targets[0, 0], targets[1, 1] = 2, -100
    # When one is another, and one padding, then all others are right: with classes last, and second, as torch has them
    expected = {"accuracy": (3 * num_tokens - 2) / (3 * num_tokens - 1)}
    assert evaluated(NextToken(), logits, targets).metrics == expected
    assert evaluated(Given(), logits.transpose(0, 2, 1), targets).metrics == expected
