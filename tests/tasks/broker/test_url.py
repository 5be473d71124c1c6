from __future__ import annotations

import pytest

from tasks.broker import connection
from tasks.errors import BrokerUnreachableError, ConfigurationError

GOOD = [
    "redis://localhost",
    "redis://localhost:6379/0",
    "redis://:secret@10.0.0.1:6380/3",
    "redis://anna:secret@host/1",
    "rediss://host:6379/0",
    "redis://[::1]:6379/0",
    "redis+socket:///run/redis.sock",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_url_of_a_redis_is_returned(url: str) -> None:
    # Given a URL, when it is checked, then it is returned
    assert connection.check_url(url) == url


@pytest.mark.parametrize(
    "url", ["", "localhost", "localhost:6379", "http://host", "amqp://host", "memory://", "redis://", "redis:"]
)
def test_a_url_of_something_else_is_refused_with_what_to_write(url: str) -> None:
    # Given something else, when it is checked, then the message says what a URL looks like
    with pytest.raises(ConfigurationError, match=r"write redis://HOST:PORT/DB, rediss://… for TLS"):
        connection.check_url(url)


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://host:99999", "redis://[::1"])
def test_a_url_that_cant_be_taken_apart_is_refused_with_the_reason(url: str) -> None:
    # Given a URL with a wrong port or bracket, when it is checked, then the message names it and ends in one line
    with pytest.raises(ConfigurationError, match=r"^broker 'redis://.*': .+$"):
        connection.check_url(url)


@pytest.mark.parametrize("url", ["redis://:secret@host:port/0", "redis://anna:secret@[::1", "http://anna:secret@host"])
def test_a_password_isnt_told_even_if_the_url_is_wrong(url: str) -> None:
    # Given a wrong URL with a password, when it is checked, then the message doesn't hold it
    with pytest.raises(ConfigurationError) as caught:
        connection.check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:**@host:6379/0"),
        ("redis://anna:secret@host:6379/2", "redis://anna:**@host:6379/2"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    # Given a URL, when it is shown, then all but the password is there
    assert connection.shown(url) == shown


def test_the_url_is_the_variables_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the variable that Celery reads too, when it is set, empty, or not set, then the URL is its or the default
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:1")
    assert connection.broker_url() == "redis://elsewhere:1"
    monkeypatch.setenv("CELERY_BROKER_URL", "")
    assert connection.broker_url() == "redis://localhost:6379/0"
    monkeypatch.delenv("CELERY_BROKER_URL")
    assert connection.broker_url() == "redis://localhost:6379/0"


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "redis+socket:///nowhere/redis.sock"])
def test_a_redis_that_doesnt_answer_is_told_without_a_password(url: str) -> None:
    # Given a port and a socket where nobody listens, when a sign of life is asked for, then there is advice
    with pytest.raises(
        BrokerUnreachableError, match=r"no Redis answers at .*: start one there, or name another"
    ) as caught:
        connection.check_reachable(url)
    assert "secret" not in str(caught.value)
