"""A chord's body is carried out by the process of the last part."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import states
from celery.app.task import Context
from redis import Redis

from orchestrator.transport.chords import ChordBackend
from tasks.broker.app import make_app
from tasks.scope import chord_keys, result_key
from tests.integration.harness import url

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # it is Celery that calls it

CHORD = "run/r/1/abc"
BODY = {"task": "close", "args": [], "kwargs": {"number": 7}, "options": {"task_id": "body"}}


@pytest.fixture
def closed() -> list[int]:
    """What the body was given, each time that it was carried out."""
    return []


@pytest.fixture
def backend(broker: Redis, closed: list[int]) -> ChordBackend:
    """The backend of an own worker."""
    app = make_app("orchestrator", url(broker), include=(), result_backend="orchestrator.transport.chords:ChordBackend")

    @app.task(name="close", shared=False)
    def close(number: int) -> str:
        closed.append(number)
        return "closed"

    app.finalize()
    found = app.backend
    assert isinstance(found, ChordBackend)
    return found


def end(backend: ChordBackend, index: int, state: str = states.SUCCESS, result: object = None) -> None:
    """Have a part end, as Celery tells of it."""
    request = Context(id=f"{CHORD}/{index}", group=CHORD, group_index=index, chord=BODY)
    backend.on_chord_part_return(request, state, result)


def result_of_body(broker: Redis) -> Any:
    """What is stored of the body."""
    return json.loads(broker.get(result_key("body")) or "null")


def test_the_body_is_carried_out_when_the_last_part_is_done(
    backend: ChordBackend, broker: Redis, closed: list[int]
) -> None:
    # Given a chord of which one part ended before anybody knew of how many there are, and ended twice
    end(backend, 0)
    end(backend, 0)
    backend.set_chord_size(CHORD, 2)
    assert closed == []
    # When the other ends, twice too, then the body was carried out once, with what it is to be given
    end(backend, 1)
    end(backend, 1)
    assert closed == [7]
    assert result_of_body(broker)["result"] == "closed"
    # And nothing stays for good, should nobody remove it
    assert all(0 < broker.ttl(key) <= 24 * 3600 for key in [*chord_keys(CHORD), result_key("body")])


def test_a_part_whose_process_was_killed_ends_the_chord(
    backend: ChordBackend, broker: Redis, closed: list[int]
) -> None:
    # Given a chord of one part, when its process was killed, then that is the body's result
    backend.set_chord_size(CHORD, 1)
    end(backend, 0, states.FAILURE, RuntimeError("signal 9"))
    assert closed == []
    found = result_of_body(broker)
    assert (found["status"], found["result"]["exc_type"]) == (states.FAILURE, "ChordError")
    assert "signal 9" in str(found["result"]["exc_message"])


def test_an_error_after_the_body_is_done_changes_nothing(
    backend: ChordBackend, broker: Redis, closed: list[int]
) -> None:
    # Given a process that is killed when the body was carried out, before it could say so
    backend.set_chord_size(CHORD, 1)
    end(backend, 0)
    end(backend, 0, states.FAILURE, RuntimeError("signal 9"))
    # Then what the body returned stands
    assert (closed, result_of_body(broker)["result"]) == ([7], "closed")
