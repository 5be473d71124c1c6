"""Reading the parameter of ``--compression NAME:PARAMETER``."""

from __future__ import annotations

import math

from tasks.errors import ConfigurationError


def no_parameter(name: str, parameter: str) -> None:
    """Refuse a parameter for a compression that has none.

    Raises:
        ConfigurationError: If there is one.
    """
    if parameter:
        raise ConfigurationError(f"compression '{name}:{parameter}': {name} has no parameter, write {name}")


def share(name: str, parameter: str, default: float, least: float, most: float) -> float:
    """Read the SHARE of ``NAME:SHARE``, or return the default if there is none.

    Raises:
        ConfigurationError: If it is no number from ``least`` to ``most``.
    """
    try:
        number = float(parameter) if parameter else default
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ConfigurationError(
            f"compression '{name}:{parameter}': write {name}:SHARE with SHARE from {least:g} to {most:g}, "
            f"like {name}:{default:g}"
        )
    return number
