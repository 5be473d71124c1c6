"""Schedules: how an option of training, or a setting of the study's own, goes over a run's rounds.

A schedule is a function from the round's number, from 1, and the number of rounds to a value.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from tasks.errors import ConfigurationError
from tasks.plugins import load_form

Schedule = Callable[[int, int], float]
"""From the round's number, the first is 1, and the number of rounds to the value in that round."""

SCHEDULES = {"cosine": "celeriac.schedules:cosine", "step": "celeriac.schedules:step"}
"""Names for ``--schedule``, and where each is defined."""

FORMS = {"cosine": "cosine:FIRST:LAST", "step": "step:FIRST:FACTOR:EVERY"}
"""How to write them: each is a function from the text after the first colon to a schedule."""

load_schedule: Callable[[str], Schedule] = functools.partial(load_form, "schedule", known=SCHEDULES, forms=FORMS)
"""Return a schedule by ``name:parameters``, or ``module:function``; see :func:`tasks.plugins.load_form`."""


def cosine(text: str) -> Schedule:
    """Return a schedule along half a wave of the cosine, from ``FIRST`` in the first round to ``LAST`` in the last.

    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017
    (https://arxiv.org/abs/1608.03983), equation 5, with one period.

    Raises:
        ConfigurationError: If ``text`` isn't two numbers with a colon between.
    """
    first, last = _numbers("cosine", text, 2)

    def at(round_number: int, num_rounds: int) -> float:
        share = (round_number - 1) / max(num_rounds - 1, 1)
        return last + (first - last) * (1 + math.cos(math.pi * share)) / 2

    return at


def step(text: str) -> Schedule:
    """Return a schedule that begins at ``FIRST`` and is multiplied by ``FACTOR`` after every ``EVERY`` rounds.

    Raises:
        ConfigurationError: If ``text`` isn't three numbers with colons between, the last a whole one from 1.
    """
    first, factor, every = _numbers("step", text, 3)
    if every < 1 or every != int(every):
        raise ConfigurationError(f"schedule step:{text}: EVERY is {every:g}: a whole number of rounds from 1 is needed")

    def at(round_number: int, _num_rounds: int) -> float:
        return first * factor ** ((round_number - 1) // int(every))

    return at


def _numbers(name: str, text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(f"schedule {name}:{text}: write {FORMS[name]}, all of them numbers")
    return numbers
