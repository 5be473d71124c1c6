"""A PyTorch model's state as named arrays, and back.

The names are those of the ``state_dict``. A tensor that a model has under several names (tied weights: an output layer
that shares the embedding's matrix) is one array, under the first of them: it is trained, sent, averaged and stepped
once, as in a model that has it under one name.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tasks.arrays import Array, Arrays, Spec, spec_of
from tasks.errors import ArraysError


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's own parameters and buffers, those of its ``state_dict``, each under the first of its names."""
    own: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    own |= dict(model.named_buffers(remove_duplicate=False))
    named: dict[int, tuple[str, Tensor]] = {}
    entries = model.state_dict()
    for name, value in entries.items():
        tensor = own.get(name, value)
        named.setdefault(id(tensor), (name, tensor))
    return dict(named.values())


def arrays_of(model: nn.Module) -> dict[str, Array]:
    """Return the state of a model on the CPU as arrays that share its memory: change one, change both.

    Raises:
        ArraysError: If an entry is no dense tensor of a dtype that NumPy has.
    """
    arrays = {}
    for name, value in tensors_of(model).items():
        try:
            arrays[name] = value.detach().numpy()
        except (AttributeError, TypeError) as error:
            raise ArraysError(f"parameter {name!r} of {type(model).__name__} can't be an array: {error}") from error
    return arrays


def copy_into(model: nn.Module, parameters: Arrays) -> None:
    """Copy ``parameters``, which may be read-only, into a model on the CPU.

    Raises:
        ArraysError: If names, shapes or dtypes aren't those of :func:`arrays_of`.
    """
    own = arrays_of(model)
    expected, given = spec_of(own), spec_of(parameters)
    if expected != given:
        raise ArraysError(f"parameters don't fit {type(model).__name__}: {_difference(expected, given)}")
    for name, array in own.items():
        array[...] = parameters[name]


def gradients_of(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return the gradients of a model's tensors, of those that have one, as arrays that share their memory."""
    return {name: value.grad.numpy() for name, value in tensors.items() if value.is_leaf and value.grad is not None}


def buffer_names_of(model: nn.Module) -> frozenset[str]:
    """Return the names of those arrays that are no parameters of the model."""
    return frozenset(name for name, value in tensors_of(model).items() if not isinstance(value, nn.Parameter))


def _difference(expected: Spec, given: Spec) -> str:
    missing, unknown = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    if missing or unknown:
        return f"missing are {missing}, not in the model are {unknown}"
    name = next(name for name in expected if expected[name] != given[name])
    need, have = expected[name], given[name]
    return f"{name!r} is {have.dtype} of shape {have.shape}, the model's is {need.dtype} of shape {need.shape}"
