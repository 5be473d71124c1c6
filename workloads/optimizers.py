"""What takes a model's training steps, in words: some algorithms are meant for plain SGD alone."""

from __future__ import annotations

from typing import Any

from torch import optim

_TOUCHES = {"momentum": 0, "weight_decay": 0, "maximize": False}
"""Settings of SGD that make it another optimiser than plain SGD, and what each is where it doesn't."""


def unlike_plain_sgd(optimizer: optim.Optimizer, learning_rate: float) -> str:
    """Return what an optimiser is, if it isn't SGD at this learning rate and without anything else; empty if it is.

    Args:
        optimizer: The optimiser.
        learning_rate: That of the training's options.

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
