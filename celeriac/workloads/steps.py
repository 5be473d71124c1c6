"""What a training step or a validation step gets and returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from celeriac.workloads.batches import Batch
from tasks.errors import DataMissingError
from tasks.evaluation import Evaluation
from tasks.metrics import Declared, averaged
from tasks.user_code import UserCodeError


def pair_of(batch: Batch) -> tuple[Any, Any]:
    """Return inputs and targets of a batch.

    Raises:
        DataMissingError: If it isn't these two.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
    raise DataMissingError(f"a batch is {what}: (inputs, targets) is needed, or a training_step() that takes it")


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """Return a model's outputs; a dict holds keyword arguments, a tuple or list positional ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def checked_loss(returned: object) -> Tensor:
    """Return what ``training_step()`` or ``loss()`` returned, if steps can be done on it.

    Raises:
        UserCodeError: If it isn't a tensor of one number.
    """
    if isinstance(returned, Tensor) and returned.numel() == 1:
        return returned
    what = f"a tensor of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else type(returned).__name__
    raise UserCodeError(f"the loss of a training step is {what}: a tensor of one number is needed, the batch's mean")


def numbers_of(returned: object) -> dict[str, float]:
    """Return what ``validation_step()`` returned as plain numbers.

    Raises:
        UserCodeError: If it isn't numbers by name.
    """
    if not isinstance(returned, Mapping):
        raise UserCodeError(f"validation_step() returned {type(returned).__name__}: a dict of numbers is needed")
    numbers = {}
    for name, value in returned.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise UserCodeError(
                f"validation_step() returned {name!r} that is {type(value).__name__}{shape}: a number is needed"
            ) from None
    return numbers


def validated(steps: Iterable[tuple[int, dict[str, float]]], declared: Declared) -> Evaluation:
    """Return one evaluation for all batches.

    Args:
        steps: Each batch's size and what ``validation_step()`` said of it.
        declared: How metrics are averaged.
    """
    told = list(steps)
    num_examples = sum(size for size, _ in told)
    losses = [(size, numbers.pop("loss")) for size, numbers in told if "loss" in numbers]
    loss = sum(size * value for size, value in losses) / max(sum(size for size, _ in losses), 1) if losses else None
    return Evaluation(loss, num_examples, averaged(told, declared).metrics)
