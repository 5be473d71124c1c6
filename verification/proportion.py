"""How long an update's changes are, part by part, and which updates are out of all proportion to the others.

The parts are what is trained, the buffers (running statistics), and each set that goes along, the same two of it
apart: what is wrong with one of them is not to hide behind another that is longer. Arrays of integers and booleans are
in none: a client of 1000 steps counts 1000 times as far as one of a single step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from statistics import median

from tasks.sets import MARK, parts_of

PARAMETERS = "parameters"
"""The part of what is trained."""
BUFFERS = "buffers"
LEAST_TO_COMPARE = 3
"""Updates among which one can be told from the others: of two nobody can say which is wrong."""
MOST_TIMES_MEDIAN = 100.0
"""How many times as long as the median a change may be.

Honest clients differ by what they have time and data for. On the digits one of 1000 steps goes 30 to 110 times as far
as one of a single step at usual learning rates, as steps turn and grow shorter on their way, and up to 750 times at
0.001, where all stay within the model's own length. Nonsense differs by powers of ten.
"""

MOST_TIMES_STEPS = 100.0
"""How many times the median's steps are believed: they are a client's own word, which nonsense may come with."""
MOST_TIMES_OWN = 10.0
"""How many times as long as the model itself a change may be in any case.

Where a model hardly moves any more, a hundred times the median is less than the model is long, and who turns its sign
goes farther. That is for scorers to judge, which are asked for; this can't be turned off.
"""

Lengths = Mapping[str, float]
"""L2 length of what changed, by part."""
OwnLength = Callable[[str], float]
"""From a part to the L2 length of that part of the model itself: :func:`verification.checks.own_length`."""


def part_of(name: str, buffers: Collection[str]) -> str:
    """Return the part that an array of an update belongs to: ``parameters``, ``buffers``, ``@c`` or ``@c/buffers``."""
    kind, own_name = parts_of(name)
    if not kind:
        return BUFFERS if own_name in buffers else PARAMETERS
    return f"{MARK}{kind}/{BUFFERS}" if own_name in buffers else f"{MARK}{kind}"


def described(part: str, length: float) -> str:
    """Return words for how long a part of an update is: the beginning of a reason."""
    if part.startswith(MARK):
        kind, own_name = parts_of(part)
        what = f"the set {kind!r} with it, for {BUFFERS}," if own_name else f"the set {kind!r} with it"
        return f"{what} has length {length:.3g}"
    return f"its change of the {part} has length {length:.3g}"


def out_of_proportion(
    lengths_of: Mapping[str, Lengths], steps_of: Mapping[str, int], own_length: OwnLength
) -> dict[str, str]:
    """Return whose updates are out of all proportion, and why.

    One is if a part of it is longer than ``MOST_TIMES_MEDIAN`` times the median of all updates', and longer than
    ``MOST_TIMES_OWN`` times the model itself: so a client that trained is not dropped because most others have not
    moved. One that did more steps than the median may be as many times as long again, ``MOST_TIMES_STEPS`` times at the
    most. That finds nonsense as long as fewer than half send it. Among fewer than ``LEAST_TO_COMPARE`` nobody is.

    Args:
        lengths_of: Client id -> the lengths of its update's parts.
        steps_of: Client id -> the steps that it says it did; 0 where there are none to count.
        own_length: From a part to the length of the model itself; asked only for a part that is that long.
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
    """Return how many times the median's steps a client did, from 1 to ``MOST_TIMES_STEPS``."""
    middle = max(1.0, float(median(steps_of.values())))
    return min(max(1.0, steps_of[client_id] / middle), MOST_TIMES_STEPS)


def by_part(lengths_of: Mapping[str, Lengths]) -> dict[str, dict[str, float]]:
    """Return the same by part: part -> client id -> length."""
    found: dict[str, dict[str, float]] = {}
    for client_id, lengths in lengths_of.items():
        for part, length in lengths.items():
            found.setdefault(part, {})[client_id] = length
    return found


def in_short(squares: Mapping[str, float]) -> dict[str, float]:
    """Return the lengths whose squares these are, of six digits each: that is enough to judge by."""
    return {part: float(f"{math.sqrt(square):.6g}") for part, square in squares.items()}
