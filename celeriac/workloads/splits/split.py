"""The type of a split, and functions that the splits share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from celeriac.workloads.examples import Indices
from tasks.errors import ConfigurationError

Labels = npt.NDArray[np.int64]
"""The class of each example of a data set, shape ``(n,)``."""

Split = Callable[[Labels, int, int], list[Indices]]
"""A pure function from labels, number of parts and seed to each part's indices, ascending."""

MIN_EXAMPLES = 10
"""Least number of examples in a part of a skewed split, as in NIID-Bench (Li et al. 2021, arXiv 2102.02079)."""


def check_num_parts(num_examples: int, num_parts: int) -> None:
    """Refuse a number of parts that would leave one empty.

    Raises:
        ConfigurationError: If there are fewer examples than parts, or no parts.
    """
    if not 1 <= num_parts <= num_examples:
        raise ConfigurationError(
            f"{num_examples} examples can't be split into {num_parts} parts: take 1 to {num_examples} parts"
        )


def no_parameter(name: str, parameter: str) -> None:
    """Refuse a parameter for a split that has none.

    Raises:
        ConfigurationError: If there is one.
    """
    if parameter:
        raise ConfigurationError(f"split '{name}:{parameter}': {name} has no parameter, write split={name}")


def concentration(name: str, parameter: str, default: float) -> float:
    """Read the ALPHA of ``NAME:ALPHA``, or return the default if there is none.

    Raises:
        ConfigurationError: If it is no number from 0.001 to 1,000,000.
    """
    try:
        alpha = float(parameter) if parameter else default
    except ValueError:
        alpha = math.nan
    if not 1e-3 <= alpha <= 1e6:
        raise ConfigurationError(
            f"split '{name}:{parameter}': write {name}:ALPHA with ALPHA from 0.001 to 1000000, like {name}:{default:g}"
        )
    return alpha


def positive_number(name: str, parameter: str, default: int) -> int:
    """Read the N of ``NAME:N``, or return the default if there is none.

    Raises:
        ConfigurationError: If it is no whole number from 1 on.
    """
    if not parameter:
        return default
    if not (parameter.isascii() and parameter.isdigit() and len(parameter) < 10 and int(parameter) > 0):
        raise ConfigurationError(
            f"split '{name}:{parameter}': write {name}:N with a whole number from 1 to 999999999, like {name}:{default}"
        )
    return int(parameter)


def cut(examples: Indices, shares: npt.NDArray[np.float64]) -> list[Indices]:
    """Cut ``examples`` into consecutive pieces in proportion to ``shares``, rounding each cut.

    Args:
        examples: int64, shape ``(n,)``.
        shares: float64, shape ``(parts,)``; they sum to 1.
    """
    cuts = np.rint(np.cumsum(shares)[:-1] * len(examples)).astype(np.int64)
    return np.split(examples, np.minimum(cuts, len(examples)))


def top_up(parts: Sequence[Indices], rng: np.random.Generator) -> list[Indices]:
    """Give every part at least :data:`MIN_EXAMPLES`, or a quarter of an equal share (but one or more) if that is less.

    A minimum near the average would undo the skew. In the order of parts, a part with too few takes random examples,
    one at a time, from the part that is the largest at that moment (the first of equals). All other examples stay where
    they are.

    Returns:
        Ascending int64 indices of each part.
    """
    average = sum(len(part) for part in parts) // len(parts)
    least = min(MIN_EXAMPLES, max(average // 4, 1))
    shuffled = [rng.permutation(part).tolist() for part in parts]
    for part in shuffled:
        while len(part) < least:
            part.append(max(shuffled, key=len).pop())
    return [np.array(sorted(part), dtype=np.int64) for part in shuffled]
