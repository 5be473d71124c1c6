from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.contender import Outcome
from benchmarks.pasting import markdown
from benchmarks.performance_results import Results
from benchmarks.scaling import (
    CASES,
    CHECK,
    CONTENDER,
    GIGABIT,
    LARGE,
    SMALL,
    Costs,
    Measured,
    all_tables,
    digits,
    expected_cpu_s,
    line_through,
    max_clients,
    measured,
    round_s,
    slow_lines,
)
from benchmarks.unit_costs import Speed

ROOT = Path(__file__).parents[2]
COSTS = Costs(
    broker_in_s=1e-9,
    broker_out_s=0.5e-9,
    broker_client_s=1e-3,
    loop_client_s=2e-3,
    worker_client_s=4e-3,
    worker_byte_s=2e-9,
    adding_byte_s=0.5e-9,
    digest_byte_s=2e-10,
    disk_bytes_s=1e9,
    message_in_bytes=20e3,
    message_out_bytes=10e3,
    connections=8,
    connection_bytes=17e3,
    download_bytes=4e6,
)
LINE = 100e6


def test_what_a_round_takes_is_worked_by_hand() -> None:
    # Given a model of 10 MB, when a round is calculated, then each client's update goes in, and the model once
    seconds = round_s(COSTS, LINE, 10e6)
    assert seconds["network in"] == pytest.approx((10.02e6 / 100e6, 10e6 / 100e6))
    assert seconds["network out"] == pytest.approx((10.01e6 / 100e6, 0))
    # And the server takes an update in, gives it to an own worker, and gives the model
    assert seconds["broker's CPU"] == pytest.approx((0.001 + 0.010 + 2 * 0.005, 0.010))
    assert seconds["loop process"] == pytest.approx((2e-3, 0))
    assert seconds["own workers"] == pytest.approx(((0.004 + 0.020) / 4, 0))
    assert seconds["adding up"] == pytest.approx((0.005, 0))
    assert seconds["disk"] == pytest.approx((0.01, 0.01))


@given(size=st.floats(1e5, 1e8), period_s=st.floats(5, 1e4))
def test_as_many_clients_as_are_allowed_keep_to_the_period_and_one_more_doesnt(size: float, period_s: float) -> None:
    for name, most in max_clients(COSTS, LINE, size, period_s).items():
        client_s, once_s = round_s(COSTS, LINE, size)[name]
        assert once_s + most * client_s <= period_s * (1 + 1e-9)
        assert once_s + (most + 1) * client_s > period_s * (1 - 1e-9)


def test_no_client_fits_where_the_model_alone_takes_the_period() -> None:
    assert max_clients(COSTS, LINE, 1e9, 5.0)["network in"] == 0


def test_large_models_on_slow_lines_wait_for_turns() -> None:
    # Given 1,000 updates of 40 MB, 32 s each at 10 Mbit/s, of which 64 MB allow 25 at a time, and 250 MB 100
    rows = slow_lines().splitlines()
    assert "| 40 MB | 64 | 25 | 1,280 | 320 |" in rows
    assert "| 40 MB | 250 | 100 | 320 | 320 |" in rows
    assert GIGABIT == 1_000 * 40e6 / 320


def test_two_sizes_show_what_is_fixed_and_what_a_byte_takes() -> None:
    assert line_through((1.0, 5.0), (3.0, 9.0)) == (3.0, 2.0)


SPEEDS = {"in tcp 2": Speed(1e9, 2e-10), "out tcp 2": Speed(2e9, 1e-10)}
MEASURED = Measured(SPEEDS, {"orchestrator": 0.1, "broker": 0.2, "worker": 0.3}, COSTS)


def test_what_is_expected_of_a_run_is_worked_by_hand() -> None:
    # Given 80 clients of 4 MB that share a worker of 2 processes, each of which fetches the model once
    expected = expected_cpu_s(COSTS, CHECK, 2)
    assert expected["broker"] == pytest.approx(1e-3 + 4e6 * (81 / 80 * 1e-9 + 82 / 80 * 0.5e-9))
    assert expected["worker"] == pytest.approx(4e-3 + 8e-3)
    assert expected["orchestrator"] == 2e-3


def outcome(orchestrator: float, broker: float, worker: float) -> Outcome:
    """Return what came of rounds, given milliseconds of processor time."""
    cpu_ms = {"orchestrator": orchestrator, "broker": broker, "worker": worker, "clients": 1.0}
    return Outcome(rounds_s=[2.0, 1.0], cpu_ms=cpu_ms, broker_in_mb=90.0, broker_out_mb=90.0)


def test_costs_are_those_of_the_runs_and_of_what_was_measured_beside_them() -> None:
    # Given a run that did not complete, and runs of 200 clients with 0.4 MB, 24 with 20 MB, and 80 with 4 MB
    few, large, check = outcome(200, 400, 1000), outcome(24, 240, 24 * 44.2), outcome(80, 160, 240)
    cases = {
        SMALL: {CONTENDER: [Outcome(error="out of memory"), few]},
        LARGE: {CONTENDER: [large]},
        CHECK: {CONTENDER: [check]},
    }
    pure = ("adding_byte_s", "digest_byte_s", "disk_bytes_s", "connections", "connection_bytes", "download_bytes")
    units = {"speeds": {name: {"bytes_s": 1e9, "cpu_s": 1e-10} for name in SPEEDS}, **dict.fromkeys(pure, 3.0)}
    # When costs come of them
    found = measured(Results({}, cases, units))
    # Then an update takes an own worker 5 ms, and 39.2 ms more where it is 19.6 MB longer
    assert found is not None
    assert found.costs.worker_byte_s == pytest.approx(2e-9)
    assert found.costs.worker_client_s == pytest.approx(5e-3 - 0.8e-3)
    assert found.costs.loop_client_s == pytest.approx(1e-3)
    assert found.costs.connections == 3.0
    # And what they are checked by is a client's share
    assert found.check["worker"] == pytest.approx(3e-3)


@pytest.mark.parametrize("lacking", CASES)
def test_without_all_runs_there_are_no_costs(lacking: object) -> None:
    cases = {case: {CONTENDER: [outcome(1, 1, 1)] if case != lacking else []} for case in CASES}
    assert measured(Results({}, cases, {"speeds": {}})) is None
    assert measured(Results({}, {case: {CONTENDER: [outcome(1, 1, 1)]} for case in CASES})) is None


def test_every_table_has_its_place_in_the_page() -> None:
    # Given the page, when tables are made, then there is one pair of markers for each, and for no other
    page = (ROOT / "docs" / "scaling.md").read_text()
    names = ["machine", "many-rounds", "many-idle", *all_tables(MEASURED)]
    assert re.findall(r"<!-- (.+): begin -->", page) == re.findall(r"<!-- (.+): end -->", page)
    assert sorted(re.findall(r"<!-- (.+): begin -->", page)) == sorted(names)


def test_numbers_have_two_digits_that_count() -> None:
    assert [digits(value) for value in (0, 0.0123, 0.123, 1.26, 12.6, 12345.6)] == [
        "0", "0.01", "0.12", "1.3", "13", "12,346",
    ]  # fmt: skip


def test_a_table_is_markdown() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |"
