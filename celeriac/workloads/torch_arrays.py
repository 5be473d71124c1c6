"""A PyTorch model's state as named arrays, and back.

The names are the keys of the ``state_dict``. A tensor with several names (tied weights: an output layer that shares the
embedding's matrix) becomes one array under the first name: it is trained, sent, averaged and stepped once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import parameter

from tasks.arrays import BFLOAT16, Array, Arrays, difference, spec_of
from tasks.errors import ArraysError


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers in a model's ``state_dict``, each once, under the first of its names."""
    own: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    own |= dict(model.named_buffers(remove_duplicate=False))
    named: dict[int, tuple[str, Tensor]] = {}
    entries = model.state_dict()
    for name, value in entries.items():
        tensor = own.get(name, value)
        named.setdefault(id(tensor), (name, tensor))
    return dict(named.values())


def array_of(tensor: Tensor) -> Array:
    """Return a tensor as an array: one on the CPU as an array that shares its memory."""
    tensor = tensor.cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(BFLOAT16)
    array: Array = tensor.numpy()
    return array


def tensor_of(array: Array) -> Tensor:
    """Return a writable array as a tensor that shares its memory."""
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def arrays_of(model: nn.Module) -> dict[str, Array]:
    """Return the state of a model as arrays, which share its memory if it is on the CPU.

    Raises:
        ArraysError: If an entry is not a dense tensor, or NumPy lacks its dtype.
    """
    arrays = {}
    for name, value in tensors_of(model).items():
        try:
            arrays[name] = array_of(value.detach())
        except (AttributeError, TypeError) as error:
            raise ArraysError(f"parameter {name!r} of {type(model).__name__} can't be an array: {error}") from error
    return arrays


def is_lazy(model: nn.Module) -> bool:
    """Say whether a model has tensors whose shapes its first batch gives (``nn.LazyLinear`` and its like)."""
    return any(parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers()))


def copy_into(model: nn.Module, parameters: Arrays) -> None:
    """Copy ``parameters``, which may be read-only, into a model; they give lazy tensors their shapes.

    Raises:
        ArraysError: If names, shapes or dtypes differ from :func:`arrays_of`.
    """
    tensors = tensors_of(model)
    for name, tensor in tensors.items():
        if parameter.is_lazy(tensor) and name in parameters:
            tensor.materialize(parameters[name].shape)
    own = arrays_of(model)
    if wrong := difference(spec_of(parameters), spec_of(own)):
        raise ArraysError(f"parameters don't fit the {type(model).__name__} that is made here: {wrong}")
    for name, array in own.items():
        array[...] = parameters[name]
        _put_back(tensors[name], array)


def put_gradients(tensors: Mapping[str, Tensor], gradients: Arrays, others: Arrays) -> None:
    """Replace the gradients of a model's tensors, as :func:`gradients_of` gave them, by others."""
    for name, array in gradients.items():
        array[...] = others[name]
        _put_back(tensors[name].grad, array)


def _put_back(tensor: Tensor | None, array: Array) -> None:
    """Copy an array into the tensor that it was made of, if that isn't on the CPU: there they share memory."""
    if tensor is not None and tensor.device.type != "cpu":
        tensor.detach().copy_(tensor_of(array))


def gradients_of(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return the gradients of a model's tensors, where there are any, as arrays that share their memory."""
    return {name: array_of(value.grad) for name, value in tensors.items() if value.is_leaf and value.grad is not None}


def buffer_names_of(model: nn.Module) -> frozenset[str]:
    """Return the names of the arrays of a model that aren't its parameters."""
    return frozenset(name for name, value in tensors_of(model).items() if not isinstance(value, nn.Parameter))
