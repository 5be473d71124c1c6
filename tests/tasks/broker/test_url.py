from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis

from tasks.broker import connection, needs
from tasks.broker.app import make_app
from tasks.broker.over_kombu import Channel
from tasks.broker.probe import check_broker
from tasks.broker.url import Broker, PinnedConnection, Tls, masked
from tasks.errors import BrokerUnreachableError, ConfigurationError

GOOD = {
    "redis://localhost": Broker("localhost"),
    "redis://localhost/": Broker("localhost"),
    "redis://localhost:6379/0": Broker("localhost"),
    "redis://Redis.example:6380/3": Broker("redis.example", 6380, database=3),
    "redis://h/0?db=0": Broker("h"),
    "redis://h?db=3": Broker("h", database=3),
    "redis://h/3?db=3": Broker("h", database=3),
    "redis://:secret@10.0.0.1:6380/3": Broker("10.0.0.1", 6380, database=3, password="secret"),
    "redis://anna:secret@host/1": Broker("host", database=1, user="anna", password="secret"),
    "redis://anna:a%2Fb%3Fc%23d%40e%3Af%2525@host": Broker("host", user="anna", password="a/b?c#d@e:f%25"),
    "redis://an%40na:p%C3%A9@host": Broker("host", user="an@na", password="p\u00e9"),
    "redis://:p;q+r@host": Broker("host", password="p;q+r"),
    "redis://anna@host": Broker("host", user="anna"),
    "redis://[::1]:6379/0": Broker("::1"),
    "redis://:secret@[fe80::1]/2": Broker("fe80::1", database=2, password="secret"),
    "redis+socket:///run/redis.sock": Broker(socket="/run/redis.sock"),
    "redis+socket:///run/my%20redis.sock?db=3": Broker(socket="/run/my redis.sock", database=3),
    "redis+socket://:secret@/run/a;b.sock": Broker(socket="/run/a;b.sock", password="secret"),
    "redis+socket://anna:sec%2Fret@/run/s?db=7": Broker(socket="/run/s", database=7, user="anna", password="sec/ret"),
    "sentinel://a:1,b,[::1]:2/3?primary=my%20master": Broker(
        sentinels=(("a", 1), ("b", 26379), ("::1", 2)), primary="my master", database=3
    ),
    "sentinel://anna:sec%2Cret@a?primary=m": Broker(
        sentinels=(("a", 26379),), primary="m", user="anna", password="sec,ret"
    ),
    "sentinel://:pass@a?primary=m&sentinel_password=sec%2Fr+t": Broker(
        sentinels=(("a", 26379),), primary="m", password="pass", sentinel_password="sec/r+t"
    ),
    "sentinels://a?primary=m&sentinel_user=anna&sentinel_password=sec%26&ssl_check_hostname=no": Broker(
        sentinels=(("a", 26379),),
        primary="m",
        sentinel_user="anna",
        sentinel_password="sec&",
        tls=Tls(check_hostname=False),
    ),
    "rediss://host:6379/0": Broker("host", tls=Tls()),
    "rediss://:secret@host/1?ssl_cert_reqs=CERT_REQUIRED": Broker("host", database=1, password="secret", tls=Tls()),
    "rediss://host?ssl_cert_reqs=required": Broker("host", tls=Tls()),
    "rediss://host?ssl_cert_reqs=CERT_NONE": Broker("host", tls=Tls(cert_reqs="none")),
    "rediss://host?ssl_cert_reqs=none": Broker("host", tls=Tls(cert_reqs="none")),
    "rediss://host/2?ssl_cert_reqs=optional&ssl_check_hostname=false": Broker(
        "host", database=2, tls=Tls(cert_reqs="optional", check_hostname=False)
    ),
    "rediss://host?ssl_ca_certs=./a%2Fca.pem": Broker("host", tls=Tls(ca_certs="./a/ca.pem")),
    "rediss://host?ssl_ca_certs=a/ca.pem&ssl_ca_only=true": Broker("host", tls=Tls(ca_certs="a/ca.pem", ca_only=True)),
    "rediss://host?db=4&ssl_certfile=a%2Fown.pem&ssl_keyfile=a/key.pem": Broker(
        "host", database=4, tls=Tls(certfile="a/own.pem", keyfile="a/key.pem")
    ),
}
_SAME = ("host", "port", "path", "db", "username", "password", "cert_reqs", "ca_certs", "certfile", "keyfile",
         "check_hostname")  # fmt: skip


class Unconnected(Channel):
    """A channel that doesn't look whether its broker is there."""

    def _get_client(self) -> type[Redis]:
        return type("Client", (Redis,), {"ping": lambda _: True})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose folder ``a`` are an authority's certificate, and one of it with its key."""
    made, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    own = authority.issue_cert("host")
    (made / "a").mkdir()
    for name, blob in (
        ("ca", authority.cert_pem),
        ("own", own.cert_chain_pems[0]),
        ("key", own.private_key_pem),
        ("other", authority.issue_cert("host").private_key_pem),
    ):
        blob.write_to_path(str(made / "a" / f"{name}.pem"))
    return made


@pytest.mark.parametrize("url", GOOD)
def test_a_url_says_the_same_to_all_who_connect(url: str, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a URL, when it is read, then it says what it is to
    monkeypatch.chdir(certificates)
    for variable in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(variable, "redis://elsewhere")
    read = Broker.read(url)
    assert read == GOOD[url]

    # And redis-py, both of kombu's kinds of connections, and Celery's results are at that same place
    app = make_app("test", url, include=())
    with app.connection_for_write() as connected:
        channel = Unconnected(connected.transport)
        pools = [connection.connect(url).connection_pool, channel.pool, channel.async_pool]
    pools.append(app.backend.client.connection_pool)  # type: ignore[attr-defined]
    first, *others = [_told(pool.make_connection()) for pool in pools]
    assert first["db"] == read.database
    assert (first["username"], first["password"]) == (read.user, read.password)
    if not read.sentinels:
        assert (first.get("host") or "", first.get("path") or "") == (read.host, read.socket)
    assert [getattr(pool, "service_name", "") for pool in pools] == [read.primary] * 4
    assert ("cert_reqs" in first) == (read.tls is not None)
    assert first["is pinned"] == (read.tls is not None and read.tls.ca_only)
    assert others == [first] * 3
    # And sentinels are asked as the URL says
    for pool in pools if read.sentinels else ():
        asked: Any = pool
        with asked.sentinel_manager.sentinels[0] as sentinel:
            made = sentinel.connection_pool.make_connection()
        assert (made.username, made.password) == (read.sentinel_user, read.sentinel_password)
        assert hasattr(made, "cert_reqs") == (read.tls is not None)
    # And what Celery shows reads as that place
    assert app.connection_for_read().as_uri() == app.backend.as_uri() == str(read)
    assert "sec" not in str(read)
    monkeypatch.undo()


def _told(made: Any) -> dict[str, object]:
    told = {name: getattr(made, name) for name in _SAME if hasattr(made, name)}
    return {**told, "is pinned": isinstance(made, PinnedConnection)}


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "localhost:6379", "http://host", "amqp://host", "memory://", "redis://", "redis:", " redis://h"],
)
def test_a_url_of_something_else_is_refused_with_what_to_write(url: str) -> None:
    # Given something else, when it is checked, then the message says what a URL looks like
    with pytest.raises(ConfigurationError, match=r"write redis://HOST:PORT/DB, rediss://… for TLS"):
        connection.check_url(url)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis://host:port/0", "the port, after the host's last colon, is a number from 1 to 65535"),
        ("redis://host:99999", "the port, after"),
        ("redis://[::1", "an IPv6 address is in brackets"),
        ("redis://host/one", "after the port comes the number of a database, like /0"),
        ("redis://host/1/2", "after the port comes the number of a database"),
        ("redis://host/1?db=2", "it names two databases, 1 and 2"),
        ("redis://host?db=x", "db is the number of a database"),
        ("redis://host?db=1&db=1", "db is said twice"),
        ("redis://host/0?socket_timeout=3", "there is no setting 'socket_timeout', allowed are db"),
        ("redis://host/0?password=secret", "there is no setting 'password', allowed are db"),
        ("redis+socket:///run/s?virtual_host=3", "there is no setting 'virtual_host', allowed are db"),
        ("redis+socket://run/redis.sock", "a socket's path begins after three slashes: redis+socket:///PATH"),
        ("redis://host?ssl_cert_reqs=none", "ssl_cert_reqs is for TLS: write rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs is one of required, optional, none"),
        ("rediss://host?ssl_check_hostname=maybe", "ssl_check_hostname is true or false"),
        ("rediss://host?ssl_ca_only=maybe", "ssl_ca_only is true or false"),
        ("rediss://host?ssl_ca_only=true", "ssl_ca_only=true needs ssl_ca_certs"),
        ("redis://host?ssl_ca_only=true", "there is no setting 'ssl_ca_only'"),
        ("sentinels://a/0?primary=m&ssl_ca_only=true", "there is no setting 'ssl_ca_only'"),
        ("rediss://host?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs=/nowhere/ca.pem: there is no such file"),
        (f"rediss://host?ssl_keyfile={__file__}", "name that with ssl_certfile"),
        ("rediss://host?ssl_password=secret", "allowed are db, ssl_ca_certs, ssl_certfile, ssl_keyfile, "),
        ("sentinel://a:1,b:2/0", "primary is the name by which the sentinels know the server, like ?primary=mymaster"),
        ("sentinel://a:1,b:x/0?primary=m", "the port, after"),
        ("sentinel://a:1,,b/0?primary=m", "write redis://"),
        ("sentinel://a/0?primary=m&ssl_cert_reqs=none", "write rediss://… or sentinels://…"),
        ("sentinels://a/0?primary=m&x=1", "allowed are db, primary, sentinel_user, sentinel_password, ssl_ca_certs, "),
        ("redis://a/0?primary=m", "there is no setting 'primary', allowed are db"),
        ("redis://:sec/ret@host", "percent-encode what a password"),
        ("redis://:sec?ret@host", "percent-encode what a password"),
        ("redis://:sec#ret@host", "percent-encode what a password"),
        ("redis://host/0#secret", "there is no meaning in what follows #"),
    ],
)
def test_a_url_that_cant_be_read_is_refused_with_the_reason(url: str, what: str) -> None:
    # Given a URL with something wrong, when it is checked, then the message names it and ends in one line
    with pytest.raises(ConfigurationError) as caught:
        connection.check_url(url)
    assert what in str(caught.value)
    assert str(caught.value).startswith("broker '")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("ssl_ca_certs=a/key.pem", "ssl_ca_certs=a/key.pem: it holds no certificate that can be read (PEM)"),
        ("ssl_certfile=a/own.pem", "a/own.pem not its key without a password"),
        ("ssl_certfile=a/key.pem&ssl_keyfile=a/key.pem", "ssl_certfile=a/key.pem: it holds no certificate"),
        ("ssl_certfile=a/own.pem&ssl_keyfile=a/other.pem", "or a/other.pem not its key"),
        ("ssl_ca_certs=a/ca.pem&ssl_ca_only=true&ssl_cert_reqs=none", "goes with no setting that checks less"),
        ("ssl_ca_certs=a/ca.pem&ssl_ca_only=true&ssl_check_hostname=no", "goes with no setting that checks less"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    query: str, what: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given files of which one has another thing in it, when a URL names them, then the message says which it is
    monkeypatch.chdir(certificates)
    with pytest.raises(ConfigurationError) as caught:
        connection.check_url(f"rediss://host?{query}")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("rediss://host", ""),
        ("rediss://host?ssl_cert_reqs=required&ssl_check_hostname=true", ""),
        ("rediss://host?ssl_cert_reqs=none", "ssl_cert_reqs=none"),
        ("rediss://host?ssl_cert_reqs=optional", "ssl_cert_reqs=optional"),
        ("sentinels://host?primary=m&ssl_check_hostname=no", "ssl_check_hostname=false"),
    ],
)
def test_what_switches_checks_off_is_said_at_each_start(
    url: str, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a URL, when a side looks at the broker, which isn't there, then it says which setting is a danger, if one is
    with pytest.raises(BrokerUnreachableError):
        check_broker(url.replace("//host", "//127.0.0.1:1"), needs.of_orchestrator("run"))
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("DANGER: anybody")]
    assert len(told) == bool(setting)
    assert all(f"because of {setting}: " in line for line in told)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:**@host:6379/0"),
        ("redis://anna:secret@host:6379/2", "redis://anna:**@host:6379/2"),
        ("redis://secret@host", "redis://**@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("redis://:sec/ret@host", "redis://:**@host"),
        ("redis://:sec//ret@host", "redis://:**@host"),
        ("redis://:sec@ret@host", "redis://:**@host"),
        ("redis://anna:se:c?r#e/t@host:1/2?db=3", "redis://anna:**@host:1/2?db=3"),
        ("redis://an/na:secret@host", "redis://**@host"),
        ("redis://:secret", "redis://:**"),
        ("redis://:secret/0", "redis://:**/0"),
        ("redis://host:secret@", "redis://host:**@"),
        ("anna:secret@host", "anna:**@host"),
        ("secret@host:6379", "**@host:6379"),
        (":secret", ":**"),
        ("redis://host/0?password=secret", "redis://host/0?password=**"),
        ("redis://host/0#secret", "redis://host/0#**"),
        (
            "sentinel://a?primary=m&sentinel_user=anna&sentinel_password=secret",
            "sentinel://a?primary=m&sentinel_user=anna&sentinel_password=**",
        ),
        ("redis://host/0?db=1&password=sec&ret", "redis://host/0?db=1&password=**"),
        ("redis://host/0?Password=sec;ret=1", "redis://host/0?Password=**"),
        ("redis://host/0?password=secret@host", "redis://**@host"),
        (
            "rediss://host?ssl_ca_certs=/ca.pem&ssl_password=secret",
            "rediss://host?ssl_ca_certs=/ca.pem&ssl_password=**",
        ),
        ("redis://:secret@host:port/0", "redis://:**@host:**/0"),
        ("redis://anna:secret@[::1", "redis://anna:**@[::1"),
        ("http://anna:secret@host", "http://anna:**@host"),
        ("redis://:secret\u2100@host", "redis://:**@host"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    # Given a URL, or what was meant as one, when it is shown, then the secret isn't there
    assert masked(url) == shown
    # And no message of it has it either
    try:
        told = f"{Broker.read(url)!r} {Broker.read(url)}"
    except ConfigurationError as error:
        told = str(error)
    assert "sec" not in told
    assert "ret@" not in told


def test_the_url_is_the_variables_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the variable that Celery reads too, when it is set, empty, or not set, then the URL is its or the default
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:1")
    assert connection.named_broker() == "redis://elsewhere:1"
    monkeypatch.setenv("CELERY_BROKER_URL", "")
    assert connection.named_broker() == "redis://localhost:6379/0"
    monkeypatch.delenv("CELERY_BROKER_URL")
    assert connection.named_broker() == "redis://localhost:6379/0"
