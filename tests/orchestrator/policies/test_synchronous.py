from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.config import RunConfig
from orchestrator.policies import POLICIES, Progress, RoundPolicy, load_policy
from orchestrator.policies.synchronous import Synchronous
from tasks.errors import LoadError, UnknownNameError
from tasks.user_code import UserCodeError
from tests.support import run_config


@pytest.mark.parametrize(
    ("num_connected", "fraction", "num_wanted"),
    [
        (1, 0.001, 1),
        (3, 0.5, 2),
        (4, 0.5, 2),
        (5, 0.5, 3),
        (10, 0.1, 1),
        (10, 0.3, 3),
        (10, 0.31, 4),
        (10, 1.0, 10),
        (25, 0.28, 7),
        (100, 0.07, 7),
        (100, 0.55, 55),
    ],
)
def test_a_fraction_of_the_connected_is_rounded_up(num_connected: int, fraction: float, num_wanted: int) -> None:
    # Given a fraction, when it is taken of so many, then it is ceil(fraction * connected), the product being exact
    assert Synchronous(run_config(fraction=fraction)).num_wanted(num_connected) == num_wanted


def test_a_cohort_of_constant_size_waits_for_as_many() -> None:
    # Given a cohort of four, or half of those there and three updates
    constant, half = (
        Synchronous(run_config(num_clients=9, cohort=4)),
        Synchronous(run_config(num_clients=9, fraction=0.5, min_updates=3)),
    )
    # When it is asked for how many it waits, then for four; or for five, half of which are three
    assert (constant.least_connected(), constant.num_wanted(9)) == (4, 4)
    assert half.least_connected() == 5


@pytest.mark.parametrize(
    ("changes", "left_s", "timeout_s"),
    [
        ({}, 100.0, 60.0),
        ({}, 20.0, 20.0),
        ({}, 6.0, 6.0),
        ({}, 5.9, 0.0),
        ({}, -1.5, 0.0),
        ({"accept": "next"}, 60.0, 0.0),
        ({"cohort": 2}, 60.0, 0.0),
    ],
)
def test_a_newcomer_has_what_is_left_if_that_is_a_tenth_of_the_timeout(
    changes: dict[str, object], left_s: float, timeout_s: float
) -> None:
    # Given a timeout of a minute, when a client comes while so many seconds are left, then it has that long, or isn't
    # taken in
    assert Synchronous(run_config(timeout_s=60.0, **changes)).newcomer_timeout_s(left_s) == timeout_s


@pytest.mark.parametrize(("num_open", "is_complete"), [(0, True), (1, False)])
def test_a_round_is_complete_when_nobody_is_at_work(num_open: int, is_complete: bool) -> None:
    # Given a round, when it is asked whether it is complete, then that depends on those at work alone
    progress = Progress(num_open=num_open, num_updates=3, num_without=1)
    assert Synchronous(run_config()).is_complete(progress) == is_complete


def test_a_policy_is_found_by_its_name_and_anything_else_is_refused() -> None:
    # Given the built-in names, when they are loaded, then there is a policy of each, which goes by the config
    assert [load_policy(name, run_config()).timeout_s() for name in POLICIES] == [3600.0]
    # And a name that isn't there, and something that is no policy, are refused
    with pytest.raises(UnknownNameError, match="policy 'synchronos'"):
        load_policy("synchronos", run_config())
    with pytest.raises(LoadError, match="doesn't say that it returns a RoundPolicy"):
        load_policy("tests.support:points", run_config())


class Unmade(Synchronous):
    """Can't be made."""

    def __init__(self, config: RunConfig) -> None:
        raise ZeroDivisionError("no luck")


def test_a_policy_that_cant_be_made_is_told_with_its_exception() -> None:
    # Given a policy of a user's own that raises, when it is loaded, then the error is one that is told in a line
    with pytest.raises(UserCodeError, match=r"Unmade'.*ZeroDivisionError: no luck"):
        load_policy(f"{__name__}:Unmade", run_config())


class Odd(Synchronous):
    """Returns what no policy may, and raises."""

    def num_wanted(self, num_connected: int) -> int:
        return "two"  # type: ignore[return-value]  # as a user may

    def timeout_s(self) -> float:
        return 0.0

    def newcomer_timeout_s(self, left_s: float) -> float:
        return float("nan")

    def is_complete(self, progress: Progress) -> bool:
        raise KeyError("x")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda policy: policy.num_wanted(3), "num_wanted() returned 'two': whole numbers of clients are needed"),
        (lambda policy: policy.timeout_s(), "timeout_s() returned 0.0: seconds of more than 0 are needed"),
        (lambda policy: policy.newcomer_timeout_s(1.0), "newcomer_timeout_s() returned nan: seconds from 0 on are"),
        (lambda policy: policy.is_complete(Progress(1, 0, 0)), "is_complete(): KeyError: 'x'"),
    ],
    ids=["num_wanted", "timeout_s", "newcomer_timeout_s", "is_complete"],
)
def test_what_a_policy_may_not_return_and_what_it_raises_is_told_by_its_method(
    ask: Callable[[RoundPolicy], object], told: str
) -> None:
    # Given a policy of a user's own, when it returns nonsense or raises, then the message says which method did what
    spec = f"{__name__}:Odd"
    with pytest.raises(UserCodeError) as caught:
        ask(load_policy(spec, run_config()))
    assert str(caught.value).startswith(f"policy {spec!r}: {told}")
