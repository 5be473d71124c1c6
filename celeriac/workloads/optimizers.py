"""How steps are taken: what a workload sets of them, and a name for an optimiser other than plain SGD."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from torch import nn, optim

from tasks.context import Context
from tasks.errors import ConfigurationError

_TOUCHES = {"momentum": 0, "maximize": False}
"""Settings of SGD that make its steps other ones than those along the gradients, and the value of each in plain SGD."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How a ``TorchWorkload`` takes its steps; the attributes of the same names say what each means."""

    momentum: float
    weight_decay: float
    clip_norm: float | None
    accumulate: int
    mixed_precision: bool

    @classmethod
    def of(cls, workload: object, context: Context) -> Self:
        """Return a workload's attributes, or the study's settings of their names.

        Raises:
            ConfigurationError: If a value isn't allowed.
        """
        names = [field.name for field in fields(cls)]
        return cls(**{name: context.run_config.get(name, getattr(workload, name)) for name in names})

    def __post_init__(self) -> None:
        """Check the values."""
        _check("momentum", self.momentum, "numbers from 0 to under 1", is_allowed=_is_number(self.momentum, 0, 1))
        _check("weight_decay", self.weight_decay, "numbers from 0", is_allowed=_is_number(self.weight_decay, 0))
        is_norm = self.clip_norm is None or (_is_number(self.clip_norm, 0) and self.clip_norm > 0)
        _check("clip_norm", self.clip_norm, "None and numbers over 0", is_allowed=is_norm)
        is_count = isinstance(self.accumulate, int) and self.accumulate >= 1
        _check("accumulate", self.accumulate, "whole numbers from 1", is_allowed=is_count)
        is_bool = isinstance(self.mixed_precision, bool)
        _check("mixed_precision", self.mixed_precision, "True and False", is_allowed=is_bool)

    def sgd(self, model: nn.Module, learning_rate: float) -> optim.Optimizer:
        """Return SGD with momentum and weight decay."""
        return optim.SGD(model.parameters(), lr=learning_rate, momentum=self.momentum, weight_decay=self.weight_decay)

    def unlike_plain_sgd(self, optimizer: optim.Optimizer, learning_rate: float) -> str:
        """Return a name for what takes other steps than plain SGD at this learning rate; empty for plain SGD.

        Args:
            optimizer: The optimiser.
            learning_rate: The learning rate in the training's options.

        Returns:
            Like ``Adam``, or ``SGD with momentum=0.9, clip_norm=1.0``.
        """
        if type(optimizer) is not optim.SGD:
            return type(optimizer).__name__
        found: dict[str, Any] = {}
        for group in optimizer.param_groups:
            found |= {name: group[name] for name, plain in _TOUCHES.items() if group[name] != plain}
            found |= {"lr": group["lr"]} if group["lr"] != learning_rate else {}
        found |= {"clip_norm": self.clip_norm} if self.clip_norm is not None else {}
        return f"SGD with {', '.join(f'{name}={value}' for name, value in found.items())}" if found else ""


def _is_number(value: object, least: float, under: float = float("inf")) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < under


def _check(name: str, value: object, allowed: str, *, is_allowed: bool) -> None:
    if not is_allowed:
        raise ConfigurationError(f"{name}={value!r}: {allowed} are allowed")
