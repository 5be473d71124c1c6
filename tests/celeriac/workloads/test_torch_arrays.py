from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads.torch_arrays import arrays_of, buffer_names_of, copy_into, gradients_of, tensor_of, tensors_of
from tasks.errors import ArraysError


class Tied(nn.Module):
    """An output layer that shares the embedding's matrix, and a layer of statistics that is there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.norm_again = self.norm
        self.head = nn.Linear(2, 3, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm_again(self.norm(self.embed(words))))
        return logits


ONCE = ["embed.weight", "norm.bias", "norm.num_batches_tracked", "norm.running_mean", "norm.running_var", "norm.weight"]


def test_a_tensor_with_several_names_is_one_array_under_the_first() -> None:
    # Given a model that has a matrix and a layer under two names each, when it is made arrays, then each is there once
    model = Tied()
    assert sorted(arrays_of(model)) == ONCE
    # And names of trained arrays, of buffers and of gradients are among those
    model(torch.arange(3)).sum().backward()
    assert sorted(gradients_of(tensors_of(model))) == ["embed.weight", "norm.bias", "norm.weight"]
    assert sorted(buffer_names_of(model)) == ["norm.num_batches_tracked", "norm.running_mean", "norm.running_var"]


def test_arrays_share_the_model_s_memory() -> None:
    # Given a model's arrays, when one is changed, then the model is changed under both names
    model = Tied()
    arrays_of(model)["embed.weight"][...] = 7
    assert torch.all(model.embed.weight == 7)
    assert torch.all(model.head.weight == 7)


def test_arrays_of_bfloat16_share_the_model_s_memory_too() -> None:
    # Given a layer in bfloat16, and its gradients
    model = nn.Linear(2, 1, bias=False).bfloat16()
    model(torch.ones(1, 2, dtype=torch.bfloat16)).sum().backward()
    [weight], [gradient] = arrays_of(model).values(), gradients_of(tensors_of(model)).values()
    # When an array is changed, then the layer is, and gradients are as they were taken
    weight[...] = 0.5
    assert model.weight.tolist() == [[0.5, 0.5]]
    assert gradient.astype(float).tolist() == [[1.0, 1.0]]
    # And an array becomes a tensor of its own dtype
    assert tensor_of(weight).dtype == torch.bfloat16


def test_copying_into_a_model_keeps_its_weights_tied() -> None:
    # Given the arrays of another model
    model, other = Tied(), arrays_of(Tied())
    # When they are copied into it
    copy_into(model, other)
    # Then both layers have them, and are one tensor still
    assert model.head.weight is model.embed.weight
    assert np.array_equal(model.head.weight.detach().numpy(), other["embed.weight"])


def test_the_arrays_are_loaded_by_plain_torch_where_the_repeated_names_may_be_missing() -> None:
    # Given the arrays of one model
    arrays = arrays_of(Tied())
    # When torch loads them into another
    model = Tied()
    missing, unexpected = model.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, strict=False
    )
    # Then all that it misses are the repeated names, whose tensors it has
    assert unexpected == []
    assert all(name.startswith(("norm_again.", "head.")) for name in missing)
    assert np.array_equal(model.head.weight.detach().numpy(), arrays["embed.weight"])


def test_a_state_dict_that_leaves_names_out_is_taken_as_it_is() -> None:
    # Given a model whose state is its head alone, by a state_dict of its own without torch's arguments
    class HeadOnly(Tied):
        def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
            return {"head.weight": super().state_dict()["head.weight"]}

    model = HeadOnly()
    # When it is trained, then values and gradients have the name that is left
    model(torch.arange(3)).sum().backward()
    assert list(arrays_of(model)) == list(gradients_of(tensors_of(model))) == ["head.weight"]
    assert buffer_names_of(model) == frozenset()


def test_two_equal_tensors_are_two_arrays() -> None:
    # Given two layers of equal values that aren't one, when they are made arrays, then both are there
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].load_state_dict(model[0].state_dict())
    assert sorted(arrays_of(model)) == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_a_state_that_is_no_tensor_is_refused_by_its_name() -> None:
    # Given a model with a state of its own kind
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 1}

    # When it is made arrays, then the message names it
    with pytest.raises(ArraysError, match="'_extra_state' of Extra can't be an array"):
        arrays_of(Extra(1, 1))
