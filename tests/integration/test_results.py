"""Results and announcements, on a real server."""

from __future__ import annotations

import threading

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from orchestrator.transport.results import Results
from tasks.announcement import Announcement
from tasks.broker.presence import RedisRegistry
from tasks.scope import PRESENCE_CHANNEL, ClientScope, result_key
from tests.integration import harness
from tests.integration.harness import url, wait_until
from tests.support import announcement

MAX_BYTES = 100
PATIENCE_S = 120.0


@pytest.fixture
def results(broker: Redis) -> Results:
    return Results(url(broker), "run", broker)


def store(broker: Redis, task_id: str, value: str, *, publish: bool = True) -> None:
    """Store a result as Celery's backend does."""
    broker.set(result_key(task_id), value)
    if publish:
        broker.publish(result_key(task_id), value)


def soon(action: object, *arguments: object, **options: object) -> threading.Timer:
    timer = threading.Timer(0.2, action, arguments, options)  # type: ignore[arg-type]
    timer.start()
    return timer


def test_a_result_that_was_there_before_is_found_again_and_again_until_it_is_forgotten(
    broker: Redis, results: Results
) -> None:
    # Given a result that nobody has listened for
    store(broker, "run/run/one", "1")
    # When it is waited for, with another that doesn't come, then it is found at once, and again
    for _ in range(2):
        assert results.collect(["run/run/one", "run/run/two"], PATIENCE_S, MAX_BYTES) == {"run/run/one": b"1"}
    # And when it was forgotten, it is gone, and nothing is left of it
    results.remove(["run/run/one"])
    assert results.collect(["run/run/one", "run/run/two"], 0.0, MAX_BYTES) == {}
    assert broker.keys("*") == []


def test_results_that_come_while_one_waits_are_found(broker: Redis, results: Results) -> None:
    # Given somebody who waits for two results
    assert results.collect(["run/run/one", "run/run/two"], 0.0, MAX_BYTES) == {}
    found: dict[str, bytes | str] = {}
    # When they come one after the other, then each is found
    for task_id in ("run/run/two", "run/run/one"):
        timer = soon(store, broker, task_id, "x" * 1000)
        while task_id not in found:
            found |= results.collect(
                [name for name in ("run/run/one", "run/run/two") if name not in found], PATIENCE_S, MAX_BYTES
            )
        timer.join()
    # And no more of them is read than says that they are too long
    assert found == dict.fromkeys(("run/run/one", "run/run/two"), b"x" * (MAX_BYTES + 1))


def test_what_a_message_brought_is_not_read_anew(broker: Redis, results: Results) -> None:
    # Given somebody who waits for a result
    assert results.collect(["run/run/one"], 0.0, MAX_BYTES) == {}
    # When a message brings it and what is stored is another, then the first time it is what the message brought
    broker.publish(result_key("run/run/one"), "1")
    broker.set(result_key("run/run/one"), "2")
    assert results.collect(["run/run/one"], PATIENCE_S, MAX_BYTES) == {"run/run/one": b"1"}
    # And after that what is stored
    assert results.collect(["run/run/one"], PATIENCE_S, MAX_BYTES) == {"run/run/one": b"2"}


def test_of_a_task_that_says_more_the_newest_is_found(broker: Redis, results: Results) -> None:
    # Given a task that has said something which is not its end
    assert results.collect(["run/run/one"], 0.0, MAX_BYTES) == {}
    store(broker, "run/run/one", "ready")
    assert results.collect(["run/run/one"], PATIENCE_S, MAX_BYTES) == {"run/run/one": b"ready"}
    results.expect_more("run/run/one")
    # When it says so again and then ends, before anybody asks, then the end is found
    store(broker, "run/run/one", "ready")
    store(broker, "run/run/one", "over")
    assert results.collect(["run/run/one"], PATIENCE_S, MAX_BYTES) == {"run/run/one": b"over"}


def test_a_result_that_no_message_told_of_is_found_all_the_same(broker: Redis, results: Results) -> None:
    # Given somebody who waits for a result
    assert results.collect(["run/run/one"], 0.0, MAX_BYTES) == {}
    # When it is stored, and the message is lost with a connection
    store(broker, "run/run/one", "1", publish=False)
    # Then a look without waiting finds it, as does one that has waited
    assert results.collect(["run/run/one"], 0.0, MAX_BYTES) == {"run/run/one": b"1"}
    broker.delete(result_key("run/run/one"))
    timer = soon(store, broker, "run/run/one", "1", publish=False)
    assert results.collect(["run/run/one"], 0.5, MAX_BYTES) == {"run/run/one": b"1"}
    timer.join()


def test_waiting_ends_when_something_changes_among_the_clients(broker: Redis, results: Results) -> None:
    # Given somebody who waits for a result
    results.collect(["run/run/one"], 0.0, MAX_BYTES)
    # When a client joins, then waiting ends without one, long before the test would be ended
    timer = soon(broker.publish, PRESENCE_CHANNEL, "anna")
    assert results.collect(["run/run/one"], 1e6, MAX_BYTES) == {}
    timer.join()


def test_who_asks_for_a_part_is_heard_at_once_and_ends_no_waiting(broker: Redis) -> None:
    # Given somebody who waits for a result, and for a client that has been granted what it asked for
    granted: list[str] = []
    results = Results(url(broker), "run", broker, granted.extend)
    results.collect(["run/run/one"], 0.0, MAX_BYTES)
    # When two ask for a part, and a client joins when they were heard
    for client_id in ("anna", "bert"):
        broker.publish(PRESENCE_CHANNEL, ClientScope(client_id).wants_part_key)

    def join() -> None:
        wait_until(lambda: granted == ["anna", "bert"], "they are heard")
        broker.publish(PRESENCE_CHANNEL, "anna")

    timer = soon(join)
    # Then it is this that ends the waiting
    assert results.collect(["run/run/one"], 1e6, MAX_BYTES) == {}
    timer.join()
    assert granted == ["anna", "bert"]


def test_that_the_connection_was_lost_is_told_once_when_it_is_there_again() -> None:
    # Given results that somebody waits for
    with harness.server() as server:
        results = Results(url(server.client), "run", server.client)
        results.collect(["client/run/1/train"], 0.1)
        assert not results.take_reconnected()
        # When the server is killed, then that is not told as long as it is away
        server.kill()
        results.collect(["client/run/1/train"], 0.1)
        assert not results.take_reconnected()
        # And when it is there again, then it is, once
        server.start()
        results.collect(["client/run/1/train"], 0.1)
        assert [results.take_reconnected() for _ in range(2)] == [True, False]


def test_many_announcements_are_put_up_and_read_at_once(broker: Redis) -> None:
    # Given announcements of three clients, one of which another worker has put up too, and keys that are none
    registry, reader = RedisRegistry(broker), RedisRegistry(broker)
    own = [announcement(client_id, shared_queue="clients.ward.3") for client_id in ("ward-1", "ward-2", "ward-3")]
    other = announcement("ward-2", "other")
    registry.announce_all([other])
    broker.set(ClientScope("zoe").key, "nonsense")
    # When they are put up, then what was there is returned, and when they are refreshed that is themselves
    assert registry.announce_all(own) == [None, other, None]
    assert registry.announce_all(own) == own
    # And they are read, at the second look too, with what has changed by then
    assert reader.present() == {said.client_id: said for said in own}
    registry.announce_all([other])
    broker.delete(ClientScope("ward-3").key)
    assert reader.present() == {"ward-1": own[0], "ward-2": other}
    # And those alone that are still up become leaving ones
    registry.announce_all_leaving(own)
    assert reader.present() == {"ward-1": own[0].model_copy(update={"leaving": True}), "ward-2": other}


def test_announcements_that_stand_are_kept_from_expiring(broker: Redis) -> None:
    # Given announcements of more clients than are refreshed at once, soon to expire
    registry = RedisRegistry(broker)
    own = [announcement(f"ward-{number}", heartbeat_s=60) for number in range(2100)]
    registry.announce_all(own)
    for said in own:
        broker.pexpire(ClientScope(said.client_id).key, 60_000)
    # When one was replaced by another worker's, one is gone, and all are refreshed
    other = announcement("ward-7", "other")
    RedisRegistry(broker).announce_all([other])
    broker.delete(ClientScope("ward-2050").key)
    expected: list[Announcement | None] = [*own]
    expected[7], expected[2050] = other, None
    # Then that is said, all stand again, and for long
    assert registry.announce_all(own) == expected
    assert registry.present() == {said.client_id: said for said in own}
    assert min(broker.pttl(ClientScope(said.client_id).key) for said in own) > 60_000
    # And when one says something else from now on, that stands
    changed = announcement("ward-7", num_examples=3)
    assert registry.announce_all([own[6], changed]) == [own[6], own[7]]
    assert registry.present()["ward-7"] == changed


def test_what_somebody_put_in_an_announcements_place_keeps_no_other_from_standing(broker: Redis) -> None:
    # Given two clients, in place of one of whose announcements is a list
    registry, own = RedisRegistry(broker), [announcement("anna"), announcement("bert")]
    registry.announce_all(own)
    broker.delete(ClientScope("anna").key)
    broker.rpush(ClientScope("anna").key, "nonsense")
    broker.pexpire(ClientScope("bert").key, 500)
    # When they are refreshed, then the other's is kept up all the same
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        registry.announce_all(own)
    assert broker.pttl(ClientScope("bert").key) > 3000


def test_an_announcement_under_anothers_key_is_none(broker: Redis) -> None:
    # Given an announcement that stands where another client's would, when one looks, twice, then nobody is there
    broker.set(ClientScope("anna").key, announcement("bert").model_dump_json())
    reader = RedisRegistry(broker)
    assert [reader.present(), reader.present()] == [{}, {}]
