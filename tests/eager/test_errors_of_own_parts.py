"""What a user's algorithm, aggregator or mixer raises or returns that is wrong: the round says which, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pytest

from celeriac import Algorithm, federate
from celeriac.algorithms import Weights
from tasks.errors import RunFailedError
from tests.support import Pull


def fail(*_: object) -> NoReturn:
    raise KeyError("gamma")


def returning(value: object) -> Callable[..., Any]:
    return lambda *_: value


def step(value: Callable[[Any], object] | object) -> dict[str, Any]:
    function = value if callable(value) else returning(value)
    return {"algorithm": Algorithm("own", step=function)}  # type: ignore[arg-type]  # that it is wrong is the point


def weigh(value: object) -> dict[str, Any]:
    function: Any = value if callable(value) else returning(value)
    return {"algorithm": Algorithm("own", weigh=function)}


RAISED = r"KeyError: 'gamma' \(test_errors_of_own_parts.py, line \d+, in fail\)"
ARRAYS = "a dict of NumPy arrays by name is needed"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (step(None), r"step\(\) of \S+ returned NoneType: \(parameters, state\), two dicts, is needed"),
        (step({"point": 1}), r"step\(\) of \S+ returned dict: \(parameters, state\), two dicts, is needed"),
        (step(({"point": [1.0]}, {})), rf"step\(\) of \S+ returned parameters of which 'point' is list: {ARRAYS}"),
        (
            step(lambda server: (server.target, {"v": np.zeros(3)})),
            rf"step\(\) of \S+ returned sets of its state of which 'v' has arrays that are ndarray: {ARRAYS}",
        ),
        (step(fail), rf"step\(\) of \S+: {RAISED}"),
        (weigh([1.0, 1.0, 1.0]), r"weigh\(\) of \S+ returned list: Weights\(weights, scale\) is needed"),
        (weigh(Weights([1.0])), r"weigh\(\) of \S+ returned 1 weights for 3 updates"),
        (weigh(fail), rf"weigh\(\) of \S+: {RAISED}"),
        ({"aggregator": returning(None)}, rf"aggregator \S+ returned arrays that are NoneType: {ARRAYS}"),
        (
            {"aggregator": returning({})},
            r"aggregator \S+ returned something else than an update: array names differ from the model's: missing "
            "'point', 'steps'",
        ),
        (
            {"aggregator": returning({"point": np.zeros(3), "steps": np.array(0)})},
            r"aggregator \S+ returned something else than an update: array 'point' is F64 \(3,\), the model's is "
            r"F32 \(3,\)",
        ),
        ({"aggregator": fail}, rf"aggregator \S+: {RAISED}"),
        ({"mix": [fail]}, rf"--mix \S+: {RAISED}"),
    ],
)
def test_a_round_says_which_part_of_a_users_own_was_wrong(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(RunFailedError, match=rf", the last because {reason}$"):
        federate(Pull, clients=3, rounds=1, backend="eager", **options)
