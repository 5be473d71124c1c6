from __future__ import annotations

import pytest

from orchestrator.policies import POLICIES, Progress, load_policy
from orchestrator.policies.synchronous import Synchronous
from tasks.errors import LoadError, UnknownNameError
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
    # Given the built-in names, when they are loaded, then there is a policy of each
    assert [type(load_policy(name, run_config())) for name in POLICIES] == [Synchronous]
    # And a name that isn't there, and something that is no policy, are refused
    with pytest.raises(UnknownNameError, match="policy 'synchronos'"):
        load_policy("synchronos", run_config())
    with pytest.raises(LoadError, match="doesn't say that it returns a RoundPolicy"):
        load_policy("tests.support:points", run_config())
