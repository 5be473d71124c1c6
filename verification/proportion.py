"""The length of an update's changes, part by part, and updates out of all proportion to the others.

The parts are the trained arrays, the buffers (running statistics), for each set of arrays that goes along these two
again, and each result that is declared to be judged. They are judged apart, so that an error in one can't hide behind a
longer one. Arrays of integers and booleans are in no part, but for such results: a client with 1000 steps counts 1000
times as far as a client with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from statistics import median

from tasks.auxiliary import MARK, parts_of
from tasks.results import KIND as RESULTS

PARAMETERS = "parameters"
"""The part of the trained arrays."""
BUFFERS = "buffers"
LEAST_TO_COMPARE = 3
"""Least number of updates to compare: among two, neither can be called the outlier."""
MOST_TIMES_MEDIAN = 100.0
"""How many times as long as the median a change may be.

Honest clients differ in time and data. On the digits, 1000 steps go 30 to 110 times as far as a single step at usual
learning rates, because steps turn and grow shorter on their way. At 0.001 they go up to 750 times as far, but stay
within the model's own length. Nonsense differs by powers of ten.
"""

MOST_TIMES_STEPS = 100.0
"""How many times the median number of steps a client's claim is believed."""
MOST_TIMES_OWN = 10.0
"""How many times as long as the model itself a change may always be.

Once a model hardly moves, a hundred times the median is less than the model's length, and an update that flips the
model's sign is longer. Judging such an update is left to scorers, which the user chooses; this check is always on.
"""

Lengths = Mapping[str, float]
"""L2 length of the change, by part."""
OwnLength = Callable[[str], float]
"""From a part to its L2 length in the model itself: :func:`verification.checks.own_length`."""


def part_of(name: str, buffers: Collection[str]) -> str:
    """Return the part that an array of an update belongs to: ``parameters``, ``buffers``, ``@c`` or ``@c/buffers``."""
    kind, own_name = parts_of(name)
    if not kind:
        return BUFFERS if own_name in buffers else PARAMETERS
    return f"{MARK}{kind}/{BUFFERS}" if own_name in buffers else f"{MARK}{kind}"


def result_part(name: str) -> str:
    """Return the part that a result makes by itself."""
    return f"{MARK}{RESULTS}/{name}"


def described(part: str, length: float) -> str:
    """Return how long a part of an update is, in words: the beginning of a reason."""
    if part.startswith(MARK):
        kind, own_name = parts_of(part)
        if kind == RESULTS:
            return f"its result {own_name!r} has length {length:.3g}"
        what = f"the set {kind!r} with it, for {BUFFERS}," if own_name else f"the set {kind!r} with it"
        return f"{what} has length {length:.3g}"
    return f"its change of the {part} has length {length:.3g}"


def out_of_proportion(
    lengths_of: Mapping[str, Lengths], steps_of: Mapping[str, int], own_length: OwnLength
) -> dict[str, str]:
    """Return the clients whose updates are out of all proportion, each with the reason.

    An update is listed if a part of it is longer than ``MOST_TIMES_MEDIAN`` times the median of all updates, and longer
    than ``MOST_TIMES_OWN`` times the model itself, so that a client isn't dropped because most others hardly trained.
    For a client that took r times the median number of steps, the first limit is r times as high, r being at most
    ``MOST_TIMES_STEPS``. This finds nonsense as long as fewer than half of the clients send it. A part that fewer than
    ``LEAST_TO_COMPARE`` updates have is not judged.

    Args:
        lengths_of: Client id -> the lengths of its update's parts.
        steps_of: Client id -> the steps that it claims; 0 where there are none to count.
        own_length: From a part to its length in the model itself; called only for a part with a suspect.
    """
    reasons: dict[str, str] = {}
    for part, each in by_part(lengths_of).items():
        if len(each) < LEAST_TO_COMPARE:
            continue
        middle = median(each.values())
        most = MOST_TIMES_MEDIAN * middle
        if max(each.values()) <= most:
            continue
        floor = MOST_TIMES_OWN * own_length(part)
        for client_id, length in each.items():
            allowed = max(most * _times_steps(steps_of, client_id), floor)
            if length > allowed > 0:
                told = f"the median of all is {middle:.3g}: at most {allowed:.3g} is allowed"
                reasons.setdefault(client_id, f"{described(part, length)}, {told}")
    return reasons


def _times_steps(steps_of: Mapping[str, int], client_id: str) -> float:
    """Return a client's steps over the median of all, clipped to 1 and ``MOST_TIMES_STEPS``."""
    middle = max(1.0, float(median(steps_of.values())))
    return min(max(1.0, steps_of[client_id] / middle), MOST_TIMES_STEPS)


def by_part(lengths_of: Mapping[str, Lengths]) -> dict[str, dict[str, float]]:
    """Regroup the lengths: part -> client id -> length."""
    found: dict[str, dict[str, float]] = {}
    for client_id, lengths in lengths_of.items():
        for part, length in lengths.items():
            found.setdefault(part, {})[client_id] = length
    return found


def in_short(squares: Mapping[str, float]) -> dict[str, float]:
    """Return the square root of each, rounded to six digits, which is enough to judge by."""
    return {part: float(f"{math.sqrt(square):.6g}") for part, square in squares.items()}
