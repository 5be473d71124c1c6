"""The notices of the runs that are on, on a real server."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor

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


def on(broker: Redis) -> list[str]:
    """The runs that are on, the oldest first."""
    return [notice.run_id for notice in run_lock.read_all(broker)]


def test_runs_that_are_on_know_of_each_other(broker: Redis) -> None:
    # Given a run that is on
    first, second = lock_of("one", broker), lock_of("two", broker)
    first.put_up()
    assert (first.is_oldest, first.others()) == (True, [])
    # When another begins, then each knows of the other at once, and which is the older
    second.put_up()
    assert on(broker) == ["one", "two"]
    assert [(each.is_oldest, [other.run_id for other in each.others()]) for each in (first, second)] == [
        (True, ["two"]),
        (False, ["one"]),
    ]
    # When the first takes its notice down, then the second's stays, and is the oldest
    first.take_down()
    second.put_up()
    assert (on(broker), second.is_oldest) == (["two"], True)
    # And when that takes down its own, and does so again, then nothing is left
    second.take_down()
    second.take_down()
    assert broker.keys("*") == []


def test_a_notice_that_nobody_keeps_up_is_taken_away_by_others(broker: Redis) -> None:
    # Given two runs, one of which was killed so long ago that its notice is void
    lock_of("killed", broker).put_up()
    second = lock_of("two", broker)
    second.put_up()
    notices = json.loads(harness.stored(broker, RUN_LOCK_KEY))
    broker.set(RUN_LOCK_KEY, json.dumps({**notices, "until": 1}))
    # When the other keeps its own up, then it alone is on
    second.put_up()
    assert (on(broker), second.is_oldest) == (["two"], True)


def test_a_notice_that_nobody_keeps_up_goes_in_time_though_the_brokers_clock_was_set_back(broker: Redis) -> None:
    # Given two runs, of which one was killed before the clock was set back by an hour
    lock_of("killed", broker).put_up()
    second = lock_of("two", broker)
    second.put_up()
    notices = json.loads(harness.stored(broker, RUN_LOCK_KEY))
    broker.set(RUN_LOCK_KEY, json.dumps({**notices, "until": notices["until"] + 3600}))
    # When the other keeps its own up, then the killed one's is void no later than its own
    second.put_up()
    killed, own = run_lock.read_all(broker)
    assert (killed.run_id, own.run_id) == ("killed", "two")
    assert killed.until <= own.until


def test_no_notice_is_lost_where_many_put_theirs_up_at_once(broker: Redis) -> None:
    # Given as many runs as may be on
    locks = [lock_of(f"run-{number:02d}", broker) for number in range(run_lock.MAX_RUNS)]
    # When all put up their notices at once, then all are there
    with ThreadPoolExecutor(len(locks)) as threads:
        list(threads.map(lambda lock: lock.put_up(), locks))
    assert sorted(on(broker)) == [f"run-{number:02d}" for number in range(run_lock.MAX_RUNS)]
    # And one more is told that there are too many, and changes nothing; those that are on may go on
    with pytest.raises(FederationBusyError, match=r"^16 runs are on at this broker \(run-\d\d, …\), 16 may be: "):
        lock_of("more", broker).put_up()
    with pytest.raises(FederationBusyError):
        run_lock.check_free(broker, "more")
    locks[3].put_up()
    run_lock.check_free(broker, "run-03")
    assert len(on(broker)) == run_lock.MAX_RUNS


def test_a_run_of_a_version_that_bears_no_other_has_the_broker_for_itself(broker: Redis) -> None:
    # Given a notice that doesn't say until when it holds, as versions wrote it that looked for one alone
    notice = run_lock.Notice(run_id="one", num_parts=3)
    broker.set(RUN_LOCK_KEY, notice.model_dump_json(exclude={"until", "order_s"}))
    # When another run is to begin, then it is told which run is at work, and nothing is changed
    with pytest.raises(FederationBusyError, match=r"^another orchestrator is at work on this broker with run one, "):
        lock_of("two", broker).put_up()
    assert run_lock.read(broker) == notice


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
    assert on(broker) == ["one"]


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
