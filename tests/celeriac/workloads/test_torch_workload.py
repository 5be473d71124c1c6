from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads import torch_workload
from celeriac.workloads.digits import Digits
from celeriac.workloads.examples import Examples
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.arrays import Arrays, map_file, write_file
from tasks.context import Context, TimeBudget
from tasks.errors import ArraysError
from tasks.evaluation import Evaluation
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource, Part, Step, TrainResult


class NoData(TorchWorkload):
    """A workload whose tests give it data of their own."""

    def client_data(self, source: DataSource) -> ClientData:
        raise NotImplementedError

    def holdout_data(self, folder: Path | None) -> None:
        return None


class OneWeight(NoData):
    """Logits are ``(w0 * x, w1 * x)``."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Linear(1, 2, bias=False)


class WithDropout(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


class WithBuffers(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class Of(NoData):
    """A workload of the model that a function builds."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build = build

    def build_model(self, context: Context) -> nn.Module:
        return self.build()


ONE_EXAMPLE = Examples(np.ones((1, 1), np.float32), np.zeros(1, np.int64))
"""x = 1, of class 0."""


def endless() -> TimeBudget:
    return TimeBudget(math.inf)


def budget_of_steps(num_steps: int) -> TimeBudget:
    """Time that passes by one second each time it is asked for."""
    return TimeBudget(num_steps + 1, clock=itertools.count().__next__)


def random_examples(num_examples: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((num_examples, 3)).astype(np.float32)
    return Examples(inputs, (inputs.sum(axis=1) > 0).astype(np.int64))


def trained(
    workload: TorchWorkload,
    data: object,
    start: Arrays | None = None,
    *,
    seed: int = 1,
    budget: TimeBudget | None = None,
    **options: float,
) -> TrainResult:
    """Train from ``start``, or from what the workload starts with."""
    parameters = workload.initial_parameters(Context(seed=1)) if start is None else start
    chosen = TrainOptions.model_validate(options)
    return workload.train(parameters, data, Context(options=chosen, seed=seed, budget=budget or endless()))


def weights(*rows: float) -> Arrays:
    return {"weight": np.array([[row] for row in rows], dtype=np.float32)}


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


# Parameters


def test_parameters_are_the_state_dict_with_its_names_shapes_and_dtypes() -> None:
    # Given a model with buffers
    parameters = WithBuffers().initial_parameters(Context(seed=1))
    # Then buffers are there too, a count without dimensions included
    assert {name: (array.dtype.name, array.shape) for name, array in parameters.items()} == {
        "0.weight": ("float32", (4, 3)),
        "0.bias": ("float32", (4,)),
        "1.weight": ("float32", (4,)),
        "1.bias": ("float32", (4,)),
        "1.running_mean": ("float32", (4,)),
        "1.running_var": ("float32", (4,)),
        "1.num_batches_tracked": ("int64", ()),
        "2.weight": ("float32", (2, 4)),
        "2.bias": ("float32", (2,)),
    }


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    # Given draws from torch in between
    once = WithDropout().initial_parameters(Context(seed=1))
    torch.rand(7)
    again, other = WithDropout().initial_parameters(Context(seed=1)), WithDropout().initial_parameters(Context(seed=2))
    # Then equal seeds give equal parameters, and others give others
    assert same(once, again)
    assert not same(once, other)


def test_torch_s_own_generator_is_left_as_it_was() -> None:
    # Given its state
    before = torch.get_rng_state()
    # When parameters are made, trained and evaluated
    workload, data = WithDropout(), random_examples(20)
    parameters = workload.initial_parameters(Context(seed=1))
    trained(workload, data, parameters, epochs=1)
    workload.evaluate(parameters, data, Context())
    # Then it is the same
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"array names differ from the model's: missing 'weight'$"),
        ({**weights(0, 0), "bias": np.zeros(2, np.float32)}, r"array names differ from the model's: unknown 'bias'$"),
        (weights(0, 0, 0), r"array 'weight' is F32 \(3, 1\), the model's is F32 \(2, 1\)"),
        ({"weight": np.zeros((2, 1))}, r"array 'weight' is F64 \(2, 1\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: Arrays, message: str) -> None:
    # Given other names, shapes or dtypes, when they are trained or evaluated, then the message says what doesn't fit
    with pytest.raises(ArraysError, match=f"parameters don't fit the Linear that is made here: {message}"):
        trained(OneWeight(), ONE_EXAMPLE, parameters)
    with pytest.raises(ArraysError, match=f"parameters don't fit the Linear that is made here: {message}"):
        OneWeight().evaluate(parameters, ONE_EXAMPLE, Context())


def test_a_model_of_a_dtype_that_arrays_lack_is_refused() -> None:
    # Given a model in 8-bit floats, when its parameters are made, then the message names the first
    with pytest.raises(ArraysError, match="'weight' of Linear can't be an array"):
        Of(lambda: nn.Linear(1, 2, bias=False).to(torch.float8_e4m3fn)).initial_parameters(Context(seed=1))


def test_tied_weights_stay_tied() -> None:
    # Given a model whose two layers are one matrix
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
        model[1].weight = model[0].weight
        return model

    # When it trains
    workload = Of(tied)
    parameters = workload.initial_parameters(Context(seed=1))
    result = trained(workload, random_examples(8), parameters)
    # Then the matrix is one array, and has moved
    assert list(result.parameters) == list(parameters) == ["0.weight"]
    assert not np.array_equal(result.parameters["0.weight"], parameters["0.weight"])


# Training


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


# Data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_may_be_lists_and_wider_or_narrower_floats_than_the_model(dtype: torch.dtype) -> None:
    # Given a model of either precision, float inputs in lists and targets of 32 bits
    workload = Of(lambda: nn.Linear(1, 2, bias=False, dtype=dtype))
    data = SimpleNamespace(inputs=[[1.0], [2.0]], targets=np.array([0, 1], np.int32))
    # When it trains and evaluates
    result = trained(workload, data)
    # Then it does
    assert result.num_steps == 5
    assert workload.evaluate(result.parameters, data, Context()).num_examples == 2


def test_read_only_data_is_taken() -> None:
    # Given data that can't be written to
    workload, data = WithDropout(), random_examples(8)
    data.inputs.flags.writeable = False
    data.targets.flags.writeable = False
    # When it is evaluated, then torch doesn't warn (a warning is an error here)
    assert workload.evaluate(workload.initial_parameters(Context(seed=1)), data, Context()).num_examples == 8


# Evaluation


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
