"""What a model's answers say of it: which are right, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""A target that torch's cross entropy leaves out."""

Count = tuple[int, int]
"""Right answers, and all."""


def are_right(outputs: Any, targets: Tensor, *, by_classes: bool) -> Tensor | None:
    """Return whether each answer is right, or None; see ``TorchWorkload.are_right``.

    Args:
        outputs: The model's result.
        targets: The targets.
        by_classes: Whether the loss takes classes in the second dimension: then that is where they are looked for.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return None
    if (dim := _classes_in(outputs, targets, by_classes=by_classes)) is not None:
        return (outputs.argmax(dim=dim) == targets)[targets != IGNORED]
    if outputs.ndim > 1 and outputs.shape[1] > 1:
        return None
    are_ones = targets == 1
    if outputs.numel() != targets.numel() or not bool((are_ones | (targets == 0)).all()):
        return None
    return (outputs.reshape(targets.shape) > 0) == are_ones


def _classes_in(outputs: Tensor, targets: Tensor, *, by_classes: bool) -> int | None:
    """Return the dimension that has the outputs of the targets' classes; None if it isn't clear that one has."""
    if targets.is_floating_point():
        return None
    shape, dims = outputs.shape, sorted({1, outputs.ndim - 1})
    found = [dim for dim in dims if shape[dim:][:1].numel() > 1 and shape[:dim] + shape[dim + 1 :] == targets.shape]
    return found[0] if found and (len(found) == 1 or by_classes) else None


def accuracy(counts: Sequence[Count | None]) -> dict[str, float]:
    """Return the share of right answers from each batch's counts; none if a batch has no counts."""
    known = [count for count in counts if count is not None]
    num_answers = sum(number for _, number in known)
    if not num_answers or len(known) < len(counts):
        return {}
    return {"accuracy": sum(right for right, _ in known) / num_answers}


def joined(parts: Sequence[Any]) -> Any:
    """Return batches of tensors as one on the CPU, tuples and dicts of them part by part."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(joined(part) for part in zip(*parts, strict=True))
    return torch.cat(list(parts)).cpu()
