"""The notice that keeps a second orchestrator off a broker, on a real server."""

from __future__ import annotations

import logging

import pytest
from redis import Redis

from tasks.broker import run_lock
from tasks.broker.connection import connect_quickly
from tasks.errors import ConfigurationError, FederationBusyError
from tasks.scope import RUN_LOCK_KEY
from tests.integration import harness


def lock_of(run_id: str, broker: Redis) -> run_lock.RunLock:
    """The lock of a run, which nobody has put up yet."""
    return run_lock.RunLock(connect_quickly(harness.url(broker)), run_lock.Notice(run_id=run_id, num_parts=3))


def test_a_second_run_is_told_of_the_first_until_that_is_over(broker: Redis) -> None:
    # Given a run that is on
    first, second = lock_of("one", broker), lock_of("two", broker)
    first.put_up()
    # When another is to begin, then it is told which run is at work, and nothing of the first's notice is changed
    with pytest.raises(FederationBusyError, match=r"^another orchestrator is at work on this broker, with run one: "):
        second.put_up()
    assert run_lock.read(broker) == run_lock.Notice(run_id="one", num_parts=3)
    # When the second takes its own down, which isn't up, then the first's stays; with the first's own it goes
    second.take_down()
    assert run_lock.read(broker) is not None
    first.take_down()
    second.put_up()
    assert run_lock.read(broker) == run_lock.Notice(run_id="two", num_parts=3)


def test_a_run_that_is_taken_up_again_finds_its_own_notice_and_keeps_it(broker: Redis) -> None:
    # Given a run whose orchestrator was killed, so that its notice is still up for some seconds
    lock_of("one", broker).put_up()
    # When it is taken up again, and lasts, then its notice is there for its whole lifetime again
    again = lock_of("one", broker)
    broker.expire(RUN_LOCK_KEY, 1)
    again.refresh()
    assert broker.pttl(RUN_LOCK_KEY) > 1000
    # When that was just now, then nothing is done
    broker.delete(RUN_LOCK_KEY)
    again.refresh()
    assert run_lock.read(broker) is None


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b'{"run_id": 5}'])
def test_what_is_no_notice_holds_no_run_up(broker: Redis, text: bytes) -> None:
    # Given something else under the notice's name, when a run begins, then it counts for nothing
    broker.set(RUN_LOCK_KEY, text)
    assert run_lock.read(broker) is None
    lock_of("one", broker).put_up()
    assert run_lock.read(broker) == run_lock.Notice(run_id="one", num_parts=3)


def test_a_broker_that_goes_away_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    # Given a run on a broker that is gone
    with harness.server() as server:
        lock = lock_of("one", server.client)
    # When the run keeps its notice up, and ends, then the log says so, and that is all
    with caplog.at_level(logging.WARNING):
        lock.refresh()
        lock.take_down()
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("the broker can't be reached: ")
    assert second.startswith("the run's notice could not be taken down: ")


def test_a_broker_that_is_set_to_remove_keys_ends_the_run(broker: Redis) -> None:
    # Given a run on whose broker somebody allows keys to be removed
    lock = lock_of("one", broker)
    broker.config_set("maxmemory", "100mb")
    broker.config_set("maxmemory-policy", "allkeys-lru")
    # When the run looks, then it says what is to be set
    with pytest.raises(ConfigurationError, match=r"maxmemory-policy allkeys-lru.*: set maxmemory-policy noeviction"):
        lock.refresh()
