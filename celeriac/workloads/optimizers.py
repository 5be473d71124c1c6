"""Naming a model's optimiser, because some algorithms are meant for plain SGD alone."""

from __future__ import annotations

from typing import Any

from torch import optim

_TOUCHES = {"momentum": 0, "weight_decay": 0, "maximize": False}
"""Settings of SGD that change its steps, and the value of each in plain SGD."""


def unlike_plain_sgd(optimizer: optim.Optimizer, learning_rate: float) -> str:
    """Return a name for an optimiser other than plain SGD at this learning rate; empty for plain SGD.

    Args:
        optimizer: The optimiser.
        learning_rate: The learning rate in the training's options.

    Returns:
        Like ``Adam``, or ``SGD with momentum=0.9``.
    """
    if type(optimizer) is not optim.SGD:
        return type(optimizer).__name__
    found: dict[str, Any] = {}
    for group in optimizer.param_groups:
        found |= {name: group[name] for name, plain in _TOUCHES.items() if group[name] != plain}
        found |= {"lr": group["lr"]} if group["lr"] != learning_rate else {}
    return f"SGD with {', '.join(f'{name}={value}' for name, value in found.items())}" if found else ""
