from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click import ClickException
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scaling
from benchmarks.capacity import (
    ADDING,
    BROKER,
    DISK,
    LOOP,
    NETWORK_IN,
    NETWORK_OUT,
    WORKERS,
    Costs,
    Site,
    best_tree,
    binding,
    broker_memory,
    max_clients,
    max_connected,
    merging_s,
    num_sites,
    round_s,
    tree_round_s,
)  # fmt: skip
from benchmarks.scaling_costs import CHECK, Measured, expected_cpu_s, line_through
from benchmarks.scaling_tables import all_tables, digits, markdown
from benchmarks.server_costs import Speed

ROOT = Path(__file__).parents[2]
COSTS = Costs(
    broker_in_s=1e-9,
    broker_out_s=0.5e-9,
    broker_client_s=1e-3,
    loop_client_s=2e-3,
    worker_client_s=4e-3,
    worker_byte_s=2e-9,
    adding_byte_s=0.5e-9,
    disk_bytes_s=1e9,
    message_in_bytes=20e3,
    message_out_bytes=10e3,
    connections=8,
    connection_bytes=17e3,
    download_bytes=4e6,
)
SITE = Site(line_bytes_s=100e6, processes=2)


def test_what_a_round_takes_is_worked_by_hand() -> None:
    # Given ten clients and a model of 10 MB, when a round is calculated
    seconds = round_s(COSTS, SITE, 10e6, 10)
    # Then the broker is sent ten updates, the model once, and messages, and sends the model ten times
    assert seconds[NETWORK_IN] == pytest.approx((10 * 20e3 + 110e6) / 100e6)
    assert seconds[NETWORK_OUT] == pytest.approx((10 * 10e3 + 100e6) / 100e6)
    # And its processor takes in 110 MB, gives the model and the updates, 100 MB each
    assert seconds[BROKER] == pytest.approx(0.010 + 0.110 + 0.100)
    assert seconds[LOOP] == pytest.approx(0.020)
    assert seconds[WORKERS] == pytest.approx((0.040 + 0.200) / 2)
    assert seconds[ADDING] == pytest.approx(0.050)
    assert seconds[DISK] == pytest.approx(0.110)
    assert binding(seconds) == NETWORK_IN


def test_own_workers_on_other_machines_fetch_updates_over_the_brokers_line() -> None:
    beside, elsewhere = (round_s(COSTS, replace(SITE, are_elsewhere=there), 10e6, 10) for there in (False, True))
    assert elsewhere[NETWORK_OUT] == pytest.approx(beside[NETWORK_OUT] + 1.0)
    assert {**elsewhere, NETWORK_OUT: 0.0} == {**beside, NETWORK_OUT: 0.0}


def test_with_object_storage_the_broker_carries_messages_alone() -> None:
    seconds = round_s(COSTS, replace(SITE, has_object_storage=True), 10e6, 10)
    assert seconds[BROKER] == pytest.approx(0.010)
    assert seconds[NETWORK_OUT] == pytest.approx(10 * 10e3 / 100e6)
    # And own workers fetch the updates over a line all the same
    assert seconds[NETWORK_IN] == pytest.approx((10 * 20e3 + 100e6) / 100e6)
    assert seconds[WORKERS] == round_s(COSTS, SITE, 10e6, 10)[WORKERS]


@given(model_bytes=st.floats(1e5, 1e8), period_s=st.floats(5, 1e4), has_storage=st.booleans())
def test_as_many_clients_as_are_allowed_keep_to_the_period_and_one_more_doesnt(
    model_bytes: float, period_s: float, has_storage: bool
) -> None:
    site = replace(SITE, has_object_storage=has_storage)
    for name, most in max_clients(COSTS, site, model_bytes, period_s).items():
        assert round_s(COSTS, site, model_bytes, most)[name] <= period_s * (1 + 1e-9)
        assert round_s(COSTS, site, model_bytes, most + 1)[name] > period_s * (1 - 1e-9)


def test_no_client_fits_where_the_model_alone_takes_the_period() -> None:
    assert max_clients(COSTS, SITE, 1e9, 5.0)[NETWORK_IN] == 0


def test_a_server_takes_as_many_clients_as_their_connections_allow() -> None:
    assert max_connected(COSTS) == 1250


def test_the_brokers_memory_is_bounded_by_what_may_be_on_its_way() -> None:
    # Given 100 clients and 40 MB; on fast lines two updates are on their way, on slow ones 64 * 16 / 40 = 25
    fast, slow = (broker_memory(COSTS, 40_000_000, 100, 64e6, are_slow=are_slow) for are_slow in (False, True))
    assert (fast.model, fast.updates, fast.downloads) == (40e6, 80e6, 0)
    assert (slow.updates, slow.downloads) == (1000e6, 400e6)
    assert fast.clients == slow.clients == 100 * 8 * 17e3
    assert slow.total == pytest.approx(40e6 + 1000e6 + 400e6 + 13.6e6)
    # And with few clients there are no more updates than clients
    assert broker_memory(COSTS, 40_000_000, 2, 64e6, are_slow=True).updates == 80e6


def test_merging_is_worked_by_hand() -> None:
    # Given four sites and 10 MB: the model goes out four times; sums are twice as long, and come in over 100 MB/s
    expected = 40e6 / 100e6 + 80e6 / 100e6 + 80e6 * 2.5e-9
    assert merging_s(COSTS, SITE, 10e6, 4) == pytest.approx(expected)


def test_a_tree_takes_what_its_leaves_take_and_each_merging() -> None:
    leaf = max(round_s(COSTS, SITE, 10e6, 50).values())
    assert tree_round_s(COSTS, SITE, 10e6, [50]) == leaf
    expected = leaf + merging_s(COSTS, SITE, 10e6, 4) + merging_s(COSTS, SITE, 10e6, 2)
    assert tree_round_s(COSTS, SITE, 10e6, [50, 4, 2]) == pytest.approx(expected)
    # And there are eight leaves, two nodes above them, and the root
    assert (num_sites([50]), num_sites([50, 4]), num_sites([50, 4, 2])) == (1, 5, 11)


@pytest.mark.parametrize("num_clients", [100, 1_000, 10_000])
def test_the_best_tree_of_two_levels_has_nearly_the_best_fans(num_clients: int) -> None:
    # Given all fans of two levels, when the best is looked for among few, then it is hardly worse than any
    fans = best_tree(COSTS, SITE, 10e6, num_clients, depth=2)
    assert fans[0] * fans[1] >= num_clients
    every = (tree_round_s(COSTS, SITE, 10e6, [-(-num_clients // fan), fan]) for fan in range(2, num_clients + 1))
    assert tree_round_s(COSTS, SITE, 10e6, fans) <= 1.02 * min(every)
    assert best_tree(COSTS, SITE, 10e6, num_clients, depth=1) == (num_clients,)


def test_two_sizes_show_what_is_fixed_and_what_a_byte_takes() -> None:
    assert line_through((1.0, 5.0), (3.0, 9.0)) == (3.0, 2.0)


def measured() -> Measured:
    speeds = {"in tcp 2": Speed(1e9, 2e-10), "out tcp 2": Speed(2e9, 1e-10)}
    roles = {"orchestrator": 0.1, "broker": 0.2, "worker": 0.3}
    return Measured(speeds, {str(CHECK): roles}, {str(CHECK): (1.0, 2.0)}, 2e-10, COSTS)


def test_what_is_expected_of_a_run_is_worked_by_hand() -> None:
    # Given 80 clients of 4 MB that share a worker of 2 processes, each of which fetches the model once
    expected = expected_cpu_s(COSTS, CHECK, 2)
    assert expected["broker"] == pytest.approx(1e-3 + 4e6 * (81 / 80 * 1e-9 + 82 / 80 * 0.5e-9))
    assert expected["worker"] == pytest.approx(4e-3 + 8e-3)
    assert expected["orchestrator"] == 2e-3


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results" / "scaling.json"
    scaling.save(measured(), {"cores": "2"}, path)
    assert scaling.load(path) == (measured(), {"cores": "2"})


@pytest.mark.parametrize(
    ("text", "message"), [(None, "doesn't exist: run `make scaling`"), ("{}", "is not what"), ("x", "is not what")]
)
def test_without_figures_there_are_no_tables(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "scaling.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClickException, match=message):
        scaling.load(path)


def test_every_table_has_its_place_in_the_page() -> None:
    # Given the page, when tables are made, then there is one pair of markers for each, and for no other
    page = (ROOT / "docs" / "scaling.md").read_text()
    names = ["machine", *all_tables(measured())]
    assert re.findall(r"<!-- (.+): begin -->", page) == re.findall(r"<!-- (.+): end -->", page)
    assert sorted(re.findall(r"<!-- (.+): begin -->", page)) == sorted(names)


def test_numbers_have_two_digits_that_count() -> None:
    assert [digits(value) for value in (0, 0.0123, 0.123, 1.26, 12.6, 12345.6)] == [
        "0", "0.01", "0.12", "1.3", "13", "12,346",
    ]  # fmt: skip


def test_a_table_is_markdown() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
