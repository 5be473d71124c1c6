"""Clients are asked without a run: by a kind of orders of a user's own, after its page alone."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from redis import Redis

from tasks.broker import run_lock
from tests.integration.harness import ROOT, WORKLOADS, Field, Program, part, present, url, wait_until

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
        assert "the client knows no orders of the kind" in second

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


class Held:
    """Two clients at a broker, of which the first holds on to its order as long as its file is there.

    Args:
        field: Starts them.
        broker: The broker.
        folder: Where they are started.
    """

    def __init__(self, field: Field, broker: Redis, folder: Path) -> None:
        self._field, self._broker, self._folder = field, broker, folder
        self._paths = os.pathsep.join(map(str, (ROOT, WORKLOADS)))
        self.file = folder / "client-1"
        self.file.touch()
        settings = {"CLIENT_ORDERS": "held:HELD", "PYTHONPATH": self._paths}
        self.clients = [field.client(broker, name, cwd=folder, **settings) for name in ("client-1", "client-2")]
        (folder / "ask.py").write_text(
            "import sys\n"
            "from held import HeldOrder\n"
            "from orchestrator.asking import connect_clients\n"
            "with connect_clients(sys.argv[1], workload='pulled:Pulled', timeout_s=float(sys.argv[2])) as clients:\n"
            "    for response in clients.ask(HeldOrder):\n"
            "        print(response.client_id, response.status, response.reason)\n"
        )

    def ask(self, timeout_s: float) -> Program:
        """Have them asked, and return when the first has begun."""
        command = ("ask.py", url(self._broker), str(timeout_s))
        asking = self._field.start("ask", *command, cwd=self._folder, python=[sys.executable], PYTHONPATH=self._paths)
        wait_until((self._folder / "client-1.begun").exists, "the first has begun")
        return asking


@pytest.fixture
def held(field: Field, broker: Redis, tmp_path: Path) -> Held:
    return Held(field, broker, tmp_path)


def test_a_client_that_is_killed_at_its_order_is_lost_and_the_others_answer(held: Held) -> None:
    # Given two clients that are asked, of which one is at it
    asking = held.ask(timeout_s=60)

    # When its worker is killed, with its pool
    for process in held.clients[0].descendants():
        process.kill()
    held.clients[0].send(signal.SIGKILL)

    # Then it is lost, and the other one's answer is there
    asking.succeeds()
    assert asking.output.splitlines() == ["client-1 lost the client vanished", "client-2 done "]


def test_a_client_that_doesnt_come_to_an_end_is_given_up_and_answers_the_next_time(held: Held) -> None:
    # Given a client that takes longer than it has, when it is asked, then it has failed,
    asking = held.ask(timeout_s=1)
    asking.succeeds()
    first, second = asking.output.splitlines()
    assert first.startswith("client-1 failed "), asking.output
    assert second == "client-2 done "

    # And when nothing holds it, then it answers
    held.file.unlink()
    again = held.ask(timeout_s=60)
    again.succeeds()
    assert again.output.splitlines() == ["client-1 done ", "client-2 done "]


def test_clients_may_be_asked_by_several_at_a_time(held: Held, field: Field, broker: Redis) -> None:
    # Given clients that are being asked
    asking = held.ask(timeout_s=60)

    # When they are asked for statistics meanwhile, then they answer both, one after the other
    command = ("orchestrator.statistics", "--broker", url(broker), "--workload", "pulled:Pulled")
    second = field.start("second", *command)
    wait_until(lambda: len(run_lock.read_all(broker)) == 2, "both are on")
    held.file.unlink()
    asking.succeeds()
    second.wait()
    assert "at work on this broker" not in second.output
