"""What strangers may have put where announcements and the like are kept: anything."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis import Redis

from orchestrator.clients.manager import ClientManager
from tasks.announcement import DETAILS, Announcement
from tasks.broker import run_lock
from tasks.broker.presence import RedisRegistry
from tasks.broker.run_lock import Notice
from tasks.scope import RUN_LOCK_KEY, ClientScope
from tests.fuzz.bounds import SOME, read
from tests.fuzz.mutations import mutated, mutated_json
from tests.integration import harness
from tests.support import PULL, announcement
from worker.connection import Absence, read_told

ANNA, BERT = ClientScope("a-1"), announcement("bert")
_SAID = json.loads(announcement("a-1", labels={"3": 4, "7": 1}, shared_queue="clients.a.2").model_dump_json())
_NOTICE = json.loads(Notice(run_id="run", num_parts=2, wants=("labels", "num_cpus")).model_dump_json())


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    """One real server for all examples."""
    with harness.server() as started:
        yield started.client


def test_an_announcement_is_one_or_is_passed_over_whatever_it_says(server: Redis) -> None:
    @SOME
    @given(mutated_json(st.just(_SAID)))
    @example(json.dumps({**_SAID, "heartbeat_s": 1e-9}).encode())  # expires before a server's clock goes on
    def check(raw: bytes) -> None:
        # Given what a client announced, beside another client
        server.set(ANNA.key, raw)
        server.set(ClientScope("bert").key, BERT.model_dump_json())
        registry = RedisRegistry(server)
        # When the orchestrator looks who is there
        manager = ClientManager(registry.present, workload=PULL, tell=registry.say_passed_over)
        read(manager.refresh, len(raw))
        # Then it finds the other in any case, and of the first what it says in return can be said
        found = {client.client_id: client.announcement for client in manager.connected()}
        assert found["bert"] == BERT
        assert found.keys() <= {"a-1", "bert"}
        for said in registry.present().values():
            registry.announce_all([said])
            registry.say_passed_over({said.client_id: (said, "no room")})
            assert Announcement.model_validate_json(said.model_dump_json()) == said

    check()


def test_a_client_stays_away_or_not_whatever_it_is_told(server: Redis) -> None:
    told = mutated(st.sampled_from((b"", b"first", b"first no room left", b"second no room left")))

    @SOME
    @given(told, told)
    def check(away: bytes, passed_over: bytes) -> None:
        # Given what a client is told
        server.set(ANNA.away_key, away)
        server.set(ANNA.passed_over_key, passed_over)
        # When its heartbeat reads it
        found = read(lambda: read_told(server, {"a-1": "first"}), len(away) + len(passed_over))
        # Then it stays away only if it is told just that, and what it was told can be logged
        assert found is not None
        told = found[0]["a-1"]
        assert (told.absence is Absence.NONE) == (away != b"" and away.partition(b" ")[0] != b"first")
        assert told.passed_over.isprintable()

    check()


def test_a_notice_is_one_or_none_whatever_it_says(server: Redis) -> None:
    @SOME
    @given(mutated_json(st.just(_NOTICE)))
    def check(raw: bytes) -> None:
        # Given what stands where a run makes itself known, when a client reads it, then it is a notice, or none
        server.set(RUN_LOCK_KEY, raw)
        read(lambda: run_lock.read(server), len(raw))
        # And what it wants told can be told, or not
        _, notices = read_told(server, {"a-1": "first"})
        wanted = notices[0].wanted if notices else ()
        assert set(announcement("a-1").telling(wanted).untold) == {*DETAILS} - {*wanted}

    check()
