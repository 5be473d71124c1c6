"""Clients are asked without a run: by a kind of orders of a user's own, after its page alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.harness import ROOT, Field, part, present, url, wait_until

KIND = "my_orders:BRIGHTNESS"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder outside the repo with the two files of docs/orders.md."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "orders.md").read_text(), flags=re.DOTALL)
    for name, block in zip(("my_orders.py", "ask_brightness.py"), blocks, strict=True):
        (tmp_path / name).write_text(block)
    return tmp_path


def test_an_order_of_ones_own_is_answered_by_local_clients_after_its_page_alone(field: Field, study: Path) -> None:
    # Given what the page says to put into a folder, when its command is run there
    asking = field.start("ask", "ask_brightness.py", cwd=study, python=[sys.executable], CLIENT_ORDERS=KIND)
    asking.succeeds()

    # Then both clients answer
    lines = asking.output.splitlines()
    assert [line.split()[:2] for line in lines] == [["client-1", "done"], ["client-2", "done"]], asking.output
    assert all(-2 <= float(line.split()[2]) <= 2 for line in lines)


def test_clients_of_a_broker_are_asked_and_stay_and_one_that_knows_no_such_order_says_so(
    field: Field, study: Path, broker: Redis
) -> None:
    # Given two clients at a broker, of which one was told of the kind
    told = [{"CLIENT_ORDERS": KIND}, {}]
    for number, environment in enumerate(told, start=1):
        settings = {"CLIENT_WORKLOAD": "digits", **part(number, 2), **environment}
        field.client(broker, f"client-{number}", cwd=study, **settings)

    # When they are asked, twice
    for _ in range(2):
        asking = field.start("ask", "ask_brightness.py", url(broker), cwd=study, python=[sys.executable])
        asking.succeeds()

        # Then one answers, the other says what is missing,
        first, second = asking.output.splitlines()
        assert first.startswith("client-1 done "), asking.output
        assert second.startswith("client-2 failed ")
        assert "NotRegistered: it knows no orders of this kind; CLIENT_ORDERS has it know one" in second

    # And both are still there, and nothing else is left on the broker
    wait_until(lambda: present(broker) == {"client-1", "client-2"}, "both are there")
    assert not list(broker.scan_iter("*ask-*"))


def test_a_client_whose_kind_of_orders_cant_be_loaded_ends_with_what_is_wrong(
    field: Field, study: Path, broker: Redis
) -> None:
    # Given a client that is told of a kind that isn't there, when it is started, then it says so in one line
    client = field.client(broker, "client-1", cwd=study, CLIENT_WORKLOAD="digits", CLIENT_ORDERS="my_orders:BRIGHT")
    assert client.wait() == 2
    assert client.output.splitlines()[-1] == (
        "error: order kind 'my_orders:BRIGHT': 'my_orders' has no 'BRIGHT'; did you mean 'BRIGHTNESS'?"
    )
