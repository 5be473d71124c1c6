from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tasks.context import Context
from tasks.errors import DataMissingError
from tasks.workload import TrainResult
from tests.celeriac.workloads.small_workloads import NoData, Of, WithDropout, random_examples, same, trained


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


INPUTS = np.arange(12, dtype=np.float32).reshape(6, 2) / 10
TARGETS = np.array([0, 1, 0, 1, 1, 0])


class TwoLayers(NoData):
    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


class Pairs(Dataset[tuple[np.ndarray, int]]):
    """The examples, one at a time."""

    def __len__(self) -> int:
        return len(TARGETS)

    def __getitem__(self, place: int) -> tuple[np.ndarray, int]:
        return INPUTS[place], int(TARGETS[place])


class Stream(IterableDataset[tuple[np.ndarray, int]]):
    """The examples in their order, of which nobody knows how many they are."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        return iter([(INPUTS[place], int(TARGETS[place])) for place in range(len(TARGETS))])


FORMS = {
    "a tuple of arrays": (INPUTS, TARGETS),
    "tensors": (torch.from_numpy(INPUTS).requires_grad_(), torch.from_numpy(TARGETS)),
    "a dataset of tensors": TensorDataset(torch.from_numpy(INPUTS), torch.from_numpy(TARGETS)),
    "a dataset": Pairs(),
    "a list of examples": [(INPUTS[place], int(TARGETS[place])) for place in range(6)],
    "another order of bytes": (INPUTS.astype(">f4"), TARGETS.astype(">i2")),
    "wider numbers": (INPUTS.astype(np.float64).round(1), TARGETS.astype(np.uint8)),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_data_trains_to_the_same_model(data: object) -> None:
    # Given data in some form, when a model trains on it, then it is the one that arrays give, to the bit
    expected = trained(TwoLayers(), SimpleNamespace(inputs=INPUTS, targets=TARGETS), batch_size=4, epochs=2)
    found = trained(TwoLayers(), data, batch_size=4, epochs=2)
    assert same(found.parameters, expected.parameters)
    assert (found.num_examples, found.num_steps, found.num_epochs) == (6, 4, 2.0)
    # And evaluation says the same
    parameters = expected.parameters
    evaluations = [
        TwoLayers().evaluate(parameters, each, Context())
        for each in (data, SimpleNamespace(inputs=INPUTS, targets=TARGETS))
    ]
    assert evaluations[0] == evaluations[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_makes_its_batches_itself_and_shuffles_by_the_client_s_seed(num_workers: int) -> None:
    # Given a loader that shuffles batches of two
    def train(seed: int) -> TrainResult:
        loader = DataLoader(Pairs(), batch_size=2, shuffle=True, num_workers=num_workers)
        return trained(TwoLayers(), loader, seed=seed, epochs=2, batch_size=5)

    # When a model trains on it twice, then its own size counts, and equal seeds give equal models
    once = train(1)
    assert (once.num_examples, once.num_steps, once.num_epochs) == (6, 6, 2.0)
    assert same(once.parameters, train(1).parameters)
    assert not same(once.parameters, train(2).parameters)


@pytest.mark.parametrize("data", [Stream(), DataLoader(Stream(), batch_size=4)], ids=["the dataset", "a loader of it"])
def test_of_a_stream_examples_are_counted_as_they_come(data: object) -> None:
    # Given examples of which the number isn't known, when a model trains on them, then they have been counted
    result = trained(TwoLayers(), data, batch_size=4, epochs=3)
    assert (result.num_examples, result.num_steps, result.num_epochs) == (6, 6, 3.0)
    # And evaluation and gradients are those over arrays
    start, arrays = TwoLayers().initial_parameters(Context(seed=1)), (INPUTS, TARGETS)
    found, expected = (TwoLayers().evaluate(start, each, Context()) for each in (data, arrays))
    assert found.num_examples == 6
    assert found.loss == pytest.approx(expected.loss)
    gradients, of_arrays = (TwoLayers().gradients(start, each, Context()) for each in (data, arrays))
    assert gradients.loss == pytest.approx(of_arrays.loss)
    for name, gradient in of_arrays.arrays.items():
        np.testing.assert_allclose(gradients.arrays[name], gradient, rtol=1e-5)


class Masked(nn.Module):
    """Takes two inputs by name, or one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.layer(values * mask)
        return logits


MASK = np.ones((6, 2), np.int16)


class Named(Dataset[tuple[dict[str, np.ndarray], int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> tuple[dict[str, np.ndarray], int]:
        return {"mask": MASK[place], "values": INPUTS[place]}, int(TARGETS[place])


@pytest.mark.parametrize(
    "data",
    [({"mask": MASK, "values": INPUTS}, TARGETS), ((INPUTS, MASK), TARGETS), Named()],
    ids=["a dict", "a tuple", "a dataset of dicts"],
)
def test_a_model_of_several_inputs_gets_them_by_name_or_by_place(data: object) -> None:
    # Given inputs in a dict or a tuple, when a model trains on them, then it has got each where it belongs
    result = trained(Of(Masked), data, batch_size=4)
    assert same(result.parameters, trained(Of(Masked), ((INPUTS, MASK), TARGETS), batch_size=4).parameters)
    assert Of(Masked).evaluate(result.parameters, data, Context()).num_examples == 6


def objects(*rows: object) -> np.ndarray:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((objects([1], [1, 2]), TARGETS[:2]), r"inputs are object of shape \(2,\), the first being list: numbers are"),
        (([[1.0], [1.0, 2.0]], TARGETS[:2]), "inputs are list of which NumPy says: .*: numbers are needed"),
        ((INPUTS, np.array(["a"] * 6)), r"targets are <U1 of shape \(6,\): numbers are needed"),
        ((INPUTS, TARGETS[:5]), r"inputs are float32 of shape \(6, 2\), targets int64 of shape \(5,\): as many rows"),
        (({"x": INPUTS, "y": np.array(["a"] * 6)}, TARGETS), "inputs 'y' are <U1"),
        ((INPUTS, np.array(3)), r"targets are int64 of shape \(\): numbers are needed .*, an example a row"),
        (INPUTS, "are ndarray: a DataLoader, a Dataset, a tuple"),
        (None, "are NoneType: a DataLoader"),
        ([np.zeros(2), np.zeros(3)], "examples of list don't make a batch: .*: give all one shape, or return a Data"),
        (DataLoader(["a", "b"]), "a batch of the DataLoader is list, and has no tensor with examples"),  # type: ignore[arg-type]
        (DataLoader(TensorDataset(torch.zeros(2, 2))), r"a batch is 1 parts: \(inputs, targets\) is needed, or a tr"),
    ],
)
def test_data_that_can_not_be_taken_is_told_with_what_is_wrong_and_allowed(data: object, message: str) -> None:
    # Given such data, when a model trains on it or is evaluated, then the message says which data and why
    start = TwoLayers().initial_parameters(Context())
    for told, call in (
        ("training data", lambda: trained(TwoLayers(), data)),
        ("held-out data", lambda: TwoLayers().evaluate(start, data, Context())),
        ("data to evaluate", lambda: TwoLayers().evaluate(start, data, Context(client_id="anna"))),
    ):
        with pytest.raises(DataMissingError, match=message) as raised:
            call()
        assert str(raised.value).startswith((told, "a batch"))
