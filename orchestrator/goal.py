"""What ``--stop-when`` says: the value that a metric is to reach."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import ConfigurationError

NEVER = "never"
"""What it says if a run isn't to end before its last round."""
_SIGNS = {">=": operator.ge, "<=": operator.le}
_FORM = re.compile(r"\s*(\S.*?)\s*(>=|<=)\s*([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Goal:
    """A value that a metric is to reach; ``sign`` is ``>=`` or ``<=``."""

    name: str
    sign: str
    value: float

    def is_reached(self, metrics: Mapping[str, float]) -> bool:
        """Say whether metrics have it; without the metric they don't."""
        return self.name in metrics and bool(_SIGNS[self.sign](metrics[self.name], self.value))

    def __str__(self) -> str:
        """Return the form that :func:`parse_goal` reads."""
        return f"{self.name}{self.sign}{self.value:g}"


def parse_goal(text: str) -> Goal | None:
    """Read ``auc>=0.98`` or ``loss<=0.1``; None for ``never``.

    Raises:
        ConfigurationError: If it is of another form.
    """
    if text.strip() == NEVER:
        return None
    match = _FORM.fullmatch(text)
    try:
        value = float(match[3]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value):
        raise ConfigurationError(f"--stop-when {text!r}: write a metric and a number, like 'auc>=0.98' or 'loss<=0.1'")
    return Goal(match[1], match[2], value)
