from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ArraysError, ConfigurationError
from tests.celeriac.workloads.small_workloads import (
    ONE_EXAMPLE,
    NoData,
    Of,
    OneWeight,
    WithBuffers,
    WithDropout,
    random_examples,
    same,
    trained,
    weights,
)


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


class Lazy(NoData):
    """A model whose layers find their sizes by the first batch."""

    def build_model(self, context: Context) -> nn.Module:
        return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))


def test_lazy_layers_find_their_sizes_by_the_orchestrator_s_held_out_data() -> None:
    # Given held-out data of three inputs an example
    context = Context(seed=1, load_holdout=lambda: random_examples(5))
    # When the initial model is made, then its layers have sizes, equal seeds give equal ones, and statistics are new
    parameters = Lazy().initial_parameters(context)
    assert {name: array.shape for name, array in parameters.items() if name.endswith("weight")} == {
        "0.weight": (4, 3), "1.weight": (4,), "3.weight": (2, 4),
    }  # fmt: skip
    assert same(parameters, Lazy().initial_parameters(context))
    assert parameters["1.running_mean"].tolist() == [0.0] * 4
    # And it trains, has gradients elsewhere, and is evaluated
    result = trained(Lazy(), random_examples(8), parameters)
    assert Lazy().evaluate(result.parameters, random_examples(8), Context()).num_examples == 8
    assert Lazy().buffer_names(Context()) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_lazy_layers_without_held_out_data_are_told_with_what_is_needed() -> None:
    # Given no held-out data, when the initial model is made, then the message says what to do
    with pytest.raises(ConfigurationError, match=r"build_model\(\) of Lazy has lazy layers.*return some from holdout"):
        Lazy().initial_parameters(Context())
