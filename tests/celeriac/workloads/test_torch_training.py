from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads import torch_workload
from celeriac.workloads.examples import Examples
from tasks.arrays import map_file, write_file
from tasks.context import Context
from tasks.messages import TrainOptions
from tests.celeriac.workloads.small_workloads import (
    ONE_EXAMPLE,
    NoData,
    Of,
    OneWeight,
    WithBuffers,
    WithDropout,
    budget_of_steps,
    endless,
    random_examples,
    same,
    trained,
    weights,
)


def test_one_step_is_one_of_plain_sgd_on_the_cross_entropy() -> None:
    # Given weights of zero and one example x = 1 of class 0, so that both classes have probability 1/2
    # When one step of rate 0.1 is done, along the gradient (1/2 - 1, 1/2)
    result = trained(OneWeight(), ONE_EXAMPLE, weights(0, 0), epochs=1, learning_rate=0.1)
    # Then the weights are 0.05 and -0.05, and the loss was ln 2
    np.testing.assert_allclose(result.parameters["weight"], [[0.05], [-0.05]], rtol=1e-6)
    assert result.metrics == pytest.approx({"train_loss": math.log(2)})
    assert (result.num_examples, result.num_steps, result.num_epochs) == (1, 1, 1.0)


def test_train_loss_is_that_of_the_last_epoch() -> None:
    # Given the example and step above, when it is done twice, with logits ±0.05 in the second
    result = trained(OneWeight(), ONE_EXAMPLE, weights(0, 0), epochs=2, learning_rate=0.1)
    # Then the loss is ln(1 + exp(-0.1))
    assert result.metrics["train_loss"] == pytest.approx(math.log(1 + math.exp(-0.1)))


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    # Given ten examples in batches of four, when two epochs are done
    result = trained(WithDropout(), random_examples(10), epochs=2, batch_size=4)
    # Then each took three steps
    assert (result.num_steps, result.num_epochs) == (6, 2.0)


class Noting(nn.Module):
    """Notes how many examples each training batch has."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.sizes.append(len(inputs))
        return inputs


class WithNotes(NoData):
    """A model with the given layer after its first, that notes its batches."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        self.layer = layer
        self.sizes: list[int] = []

    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(Noting(self.sizes), nn.Linear(3, 4), self.layer(), nn.Linear(4, 2))


class FrozenNorm(nn.BatchNorm1d):
    """Keeps to its running statistics in training too."""

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(mode=False)


@pytest.mark.parametrize(
    ("layer", "num_examples", "batch_size", "sizes"),
    [
        (lambda: nn.BatchNorm1d(4), 9, 4, [4, 5]),
        (lambda: nn.BatchNorm1d(4), 5, 4, [5]),
        (lambda: nn.BatchNorm1d(4), 10, 4, [4, 4, 2]),
        (lambda: nn.BatchNorm1d(4), 8, 4, [4, 4]),
        (lambda: nn.BatchNorm1d(4), 3, 4, [3]),
        (lambda: FrozenNorm(4), 9, 4, [4, 4, 1]),
        (lambda: nn.LayerNorm(4), 9, 4, [4, 4, 1]),
        (lambda: nn.LayerNorm(4), 2, 1, [1, 1]),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before_it_where_variances_over_batches_are_taken(
    layer: Callable[[], nn.Module], num_examples: int, batch_size: int, sizes: list[int]
) -> None:
    # Given a model with some normalisation, and examples in batches of which the last may be a single one
    workload = WithNotes(layer)
    # When it trains for two epochs
    result = trained(workload, random_examples(num_examples), epochs=2, batch_size=batch_size)
    # Then the batches are of these sizes in either, and all examples are seen
    assert workload.sizes == 2 * sizes
    assert (result.num_steps, result.num_epochs) == (2 * len(sizes), 2.0)


def test_gradients_over_all_examples_take_no_batch_of_one_either(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given nine examples, taken four at a time
    monkeypatch.setattr(torch_workload, "EVALUATION_BATCH_SIZE", 4)
    data = random_examples(9)
    normed, plain = WithNotes(lambda: nn.BatchNorm1d(4)), WithNotes(lambda: nn.LayerNorm(4))
    # When the gradients over all of them are taken, and the model is evaluated
    for workload in (normed, plain):
        assert set(workload.gradients(workload.initial_parameters(Context(seed=1)), data, Context()).arrays) > {
            "1.weight",
            "3.weight",
        }
        assert workload.evaluate(workload.initial_parameters(Context(seed=1)), data, Context()).num_examples == 9
    # Then the last joined the others where their variance is taken
    assert (normed.sizes, plain.sizes) == ([4, 5], [4, 4, 1])


@pytest.mark.parametrize(("num_examples", "batch_size"), [(1, 4), (4, 1)])
def test_where_every_batch_is_a_single_example_torch_says_what_its_batch_normalisation_needs(
    num_examples: int, batch_size: int
) -> None:
    # Given a single example in all, or batches of one
    # When a model with batch normalisation is trained, then the error is torch's own
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        trained(WithBuffers(), random_examples(num_examples), epochs=1, batch_size=batch_size)


def test_read_only_parameters_of_a_memory_map_are_taken_and_left_as_they_were(tmp_path: Path) -> None:
    # Given parameters in a file
    workload, data = WithBuffers(), random_examples(8)
    write_file(tmp_path / "parameters", workload.initial_parameters(Context(seed=1)))
    before = (tmp_path / "parameters").read_bytes()
    parameters = map_file(tmp_path / "parameters")
    # When they are trained and evaluated
    result = trained(workload, data, parameters)
    workload.evaluate(parameters, data, Context())
    # Then the file is as it was, and what was trained, buffers included, is memory of its own
    assert (tmp_path / "parameters").read_bytes() == before
    assert all(not np.shares_memory(array, parameters[name]) for name, array in result.parameters.items())
    assert result.parameters["1.num_batches_tracked"] == 5


def test_evaluating_leaves_writable_parameters_as_they_were() -> None:
    # Given writable parameters with buffers that training would change
    workload = WithBuffers()
    parameters = workload.initial_parameters(Context(seed=1))
    before = {name: array.copy() for name, array in parameters.items()}
    # When they are evaluated
    workload.evaluate(parameters, random_examples(8), Context())
    # Then they are the same
    assert same(parameters, before)


def test_training_twice_with_one_seed_is_bit_equal_and_with_another_is_not() -> None:
    # Given a model with dropout, and draws from torch in between
    workload, data = WithDropout(), random_examples(50)
    parameters = workload.initial_parameters(Context(seed=1))
    once = trained(workload, data, parameters)
    torch.rand(7)
    # When it trains again
    again, other = trained(workload, data, parameters), trained(workload, data, parameters, seed=2)
    # Then the seed alone decides
    assert same(once.parameters, again.parameters)
    assert once.metrics == again.metrics
    assert not same(once.parameters, other.parameters)


def test_the_result_does_not_depend_on_how_many_threads_the_process_has() -> None:
    # Given a model wide enough for torch to share its sums between threads
    workload = Of(lambda: nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10)))
    rng = np.random.default_rng(0)
    data = Examples(rng.random((64, 784), dtype=np.float32), rng.integers(10, size=64))
    parameters = workload.initial_parameters(Context(seed=1))
    before = torch.get_num_threads()
    results = []
    # When it trains in a process that uses one thread, and in one that uses two
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            results.append(trained(workload, data, parameters))
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    # Then the results are equal to the bit, and the process keeps its number
    assert same(results[0].parameters, results[1].parameters)


def test_dropout_follows_the_seed_even_where_the_order_of_examples_can_not() -> None:
    # Given a single example
    data = random_examples(1)
    # When it is trained on with many seeds
    losses = {trained(WithDropout(), data, seed=seed, epochs=1).metrics["train_loss"] for seed in range(8)}
    # Then dropout differs
    assert len(losses) > 1


def test_every_epoch_has_each_example_once_in_an_order_of_its_own() -> None:
    # Given a workload that notes what it sees
    seen: list[float] = []

    class Noting(OneWeight):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen.extend(targets.tolist())
            return outputs.sum()

    data = SimpleNamespace(inputs=np.ones((20, 1), np.float32), targets=np.arange(20))
    # When two epochs are done
    Noting().train(weights(0, 0), data, Context(options=TrainOptions(epochs=2, batch_size=8), seed=1, budget=endless()))
    # Then both have all examples, and their orders differ
    first, second = seen[:20], seen[20:]
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second != sorted(second)


@pytest.mark.parametrize(
    ("num_examples", "time_for", "cut_short"), [(8, 0, True), (0, 100, False)], ids=["no time", "no examples"]
)
def test_without_time_or_examples_no_step_is_done(num_examples: int, time_for: int, cut_short: bool) -> None:
    # Given no time at all, or no examples
    budget = budget_of_steps(time_for)
    # When training is tried
    parameters = WithDropout().initial_parameters(Context(seed=1))
    result = trained(WithDropout(), random_examples(num_examples), parameters, budget=budget)
    # Then the parameters come back as they were, with nothing to say of the loss
    assert same(result.parameters, parameters)
    assert (result.num_examples, result.num_steps, result.num_epochs, result.metrics) == (num_examples, 0, 0.0, {})
    assert budget.cut_short == cut_short


@pytest.mark.parametrize(
    ("time_for", "epochs", "num_epochs", "cut_short"),
    [(3, 5, 0.75, True), (4, 1, 1.0, False)],
    ids=["within an epoch", "after the last step"],
)
def test_what_was_done_when_the_time_is_up_is_returned(
    time_for: int, epochs: int, num_epochs: float, cut_short: bool
) -> None:
    # Given eight examples in batches of two, and time for three of an epoch's four steps, or for all that are wanted
    budget = budget_of_steps(time_for)
    # When it trains
    result = trained(WithDropout(), random_examples(8), budget=budget, epochs=epochs, batch_size=2)
    # Then these are done, and nothing was cut short if they are all
    assert (result.num_steps, result.num_epochs) == (time_for, num_epochs)
    assert budget.cut_short == cut_short


@pytest.mark.parametrize(
    ("max_steps", "num_examples", "num_steps", "num_epochs"), [(3, 8, 3, 0.75), (9, 8, 9, 2.25), (5, 0, 0, 0.0)]
)
def test_so_many_steps_are_done_in_as_many_passes_as_they_take(
    max_steps: int, num_examples: int, num_steps: int, num_epochs: float
) -> None:
    # Given examples in batches of two, and one epoch
    data = random_examples(num_examples)
    # When so many steps are asked for, then they are done, in less than a pass or in several; without examples none is
    result = trained(WithDropout(), data, epochs=1, batch_size=2, max_steps=max_steps)
    assert (result.num_steps, result.num_epochs) == (num_steps, num_epochs)


def test_loss_and_optimizer_can_be_replaced() -> None:
    # Given a workload with a loss of w0 + w1 at x = 1, and twice the rate
    class Own(OneWeight):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.sum()

        def build_optimizer(self, model: nn.Module, context: Context) -> torch.optim.Optimizer:
            return torch.optim.SGD(model.parameters(), lr=2 * context.options.learning_rate)

    # When one step of rate 0.25 is done
    result = trained(Own(), ONE_EXAMPLE, weights(1, 2), epochs=1, learning_rate=0.25)
    # Then both weights are less by 0.5
    assert result.parameters["weight"].tolist() == [[0.5], [1.5]]
