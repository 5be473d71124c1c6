"""Brokers that answer and won't do, or don't answer: a scene for each row of the table on docs/broker.md."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.retry import Retry

from tests.integration import harness
from tests.integration.harness import wait_until
from tests.integration.pump import Change, pump

WHO = f"{harness.USER}:{harness.ENCODED}"
USER = "anna:secret"
RULES: dict[str, Any] = {"enabled": True, "passwords": ["+secret"], "categories": ["+@all"], "keys": ["*"]}
THEN = dt.datetime(2021, 1, 1)
"""When an old certificate became invalid."""
MONITOR = "sentinel monitor main 127.0.0.1 1 1"
BUSY_LOOP = "while true do redis.call('PING') end"


@contextmanager
def saying(answer: bytes | None) -> Iterator[str]:
    """Where something listens that answers whatever it is asked like this, closes the connection, or says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    with listener.accept()[0] as line:
                        line.recv(1)
                        line.sendall(answer or b"")
                except OSError:
                    return

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def sentinel(*settings: str) -> Iterator[tuple[int, Redis]]:
    """The port of a sentinel that is set so, and a client at its socket."""
    folder, port = Path(tempfile.mkdtemp(prefix="fl-test-")), harness.free_port()
    config, path = folder / "sentinel.conf", folder / "s"
    lines = (f"port {port}", "bind 127.0.0.1", f"unixsocket {path}", f"dir {folder}", *settings, "")
    config.write_text("\n".join(lines))
    watching = subprocess.Popen([harness.SERVER, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        with Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), 0)) as client:
            wait_until(lambda: _answers(client), "the sentinel answers", 30)
            yield port, client
    finally:
        watching.kill()
        watching.wait()
        shutil.rmtree(folder)


def tls_of(folder: Path, host: str = "127.0.0.1", *, not_after: dt.datetime | None = None) -> ssl.SSLContext:
    """How a server speaks TLS that has a certificate for a host; its authority's is in the folder, ``ca.pem``."""
    own, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.issue_cert(host, not_after=not_after).configure_cert(context)
    own.cert_pem.write_to_path(str(folder / "ca.pem"))
    return context


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except AuthenticationError:
        return True
    except RedisError:
        return False


class Stage:
    """What scenes are made with; all of it ends with the stack.

    Attributes:
        broker: A server that many scenes use, and leave as it was but for users of the access rules.
        folder: A folder for files.
    """

    def __init__(self, stack: ExitStack, broker: Redis, folder: Path) -> None:
        self._stack = stack
        self.broker = broker
        self.folder = folder

    def server(self, options: str = "", enter: Callable[[Redis], object] = bool) -> str:
        """The URL of a server of its own, which is brought into a state."""
        client = self._stack.enter_context(harness.server(*options.split())).client
        enter(client)
        return harness.url(client)

    def server_at_port(self, options: str) -> str:
        """The URL of a server that listens at a port."""
        port = harness.free_port()
        self.server(f"--port {port} {options}")
        return f"redis://{WHO}@127.0.0.1:{port}/0"

    def user(self, **rules: Any) -> str:
        """The URL of a user of the access rules."""
        self.broker.acl_setuser("anna", reset=True, **{**RULES, **rules})
        return harness.url(self.broker).replace(WHO, USER)

    def says(self, answer: bytes | None) -> str:
        """Where something listens that answers like this."""
        return self._stack.enter_context(saying(answer))

    def pumped(self, context: ssl.SSLContext | None = None, change: Change = bytes) -> str:
        """Where the server listens behind a pump."""
        return f"127.0.0.1:{self._stack.enter_context(pump(self.broker, [2**20], context, change))}"

    def tls(
        self, host: str = "127.0.0.1", *, is_known: bool = True, is_mutual: bool = False, is_old: bool = False
    ) -> str:
        """The URL of the server over TLS, with a certificate for a host."""
        context = tls_of(self.folder, host, not_after=THEN if is_old else None)
        if is_mutual:
            context.verify_mode = ssl.CERT_REQUIRED
        query = f"?ssl_ca_certs={self.folder}/ca.pem" if is_known else ""
        return f"rediss://{WHO}@{self.pumped(context)}/0{query}"

    def sentinel(self, *settings: str) -> str:
        """Where a sentinel listens that knows a primary ``main``."""
        return f"127.0.0.1:{self._stack.enter_context(sentinel(MONITOR, *settings))[0]}"

    def sentinel_over_tls(self) -> str:
        """Where one listens over TLS."""
        _, client = self._stack.enter_context(sentinel(MONITOR))
        return f"127.0.0.1:{self._stack.enter_context(pump(client, [2**20], tls_of(self.folder)))}"

    def file(self, data: bytes, name: str) -> Path:
        """A file with this in it."""
        path = self.folder / name
        path.write_bytes(data)
        return path

    def certificate_with_anothers_key(self) -> str:
        """The URL with a certificate and a key that don't go together."""
        own = trustme.CA()
        shown = self.file(own.issue_cert("a").cert_chain_pems[0].bytes(), "own.pem")
        key = self.file(own.issue_cert("b").private_key_pem.bytes(), "key.pem")
        return f"rediss://host?ssl_certfile={shown}&ssl_keyfile={key}"


def fail_to_save(client: Redis) -> None:
    """Have the server find that it can't write to its disk."""
    folder = client.connection_pool.connection_kwargs["path"].removesuffix("/s")
    Path(folder, "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "it couldn't save")


def loop(client: Redis) -> None:
    """Keep the server busy with a script until that is killed."""
    client.config_set("lua-time-limit", 1)  # the name that all servers know
    path = client.connection_pool.connection_kwargs["path"]

    def go() -> None:
        with pytest.raises(RedisError), Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0)) as other:
            other.eval(BUSY_LOOP, 0)

    threading.Thread(target=go).start()


def is_loading(client: Redis) -> bool:
    """Say whether a server that was just started loads its data."""
    try:
        return not client.ping()
    except BusyLoadingError:
        return True
    except RedisError:
        return False


def close_to_default(client: Redis) -> None:
    """Have the server let nobody in without a password."""
    client.acl_setuser("default", enabled=False)


def removing(client: Redis) -> None:
    """Have the server remove keys when its memory is full."""
    client.config_set("maxmemory", 2**30)
    client.config_set("maxmemory-policy", "allkeys-lru")


def busy(client: Redis) -> None:
    """Wait until the server says that a script keeps it busy."""
    loop(client)
    path = client.connection_pool.connection_kwargs["path"]

    def refuses() -> bool:
        try:
            with Redis(unix_socket_path=path) as other:
                return not other.ping()
        except RedisError as error:
            return "BUSY" in str(error) or "busy" in str(error)

    wait_until(refuses, "it is busy")


def _old(data: bytes) -> bytes:
    return re.sub(rb"(redis_version:)\d\.\d\.(\d+)", rb"\g<1>6.0.\g<2>", data)


Scene = Callable[[Stage], str]
CLUSTER, LOST = harness.CLUSTER, "--replicaof 127.0.0.1 1"
DENIED = b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n"

URLS: dict[str, Scene] = {
    "it names something else: `amqp://HOST`": lambda _: "amqp://host",
    "a port that is no number": lambda _: "redis://host:port/0",
    "an IPv6 address without its end": lambda _: "redis://[::1",
    "a database that is no number": lambda _: "redis://host/one",
    "two databases": lambda _: "redis://host/1?db=2",
    "`/` in a password": lambda _: "redis://:sec/ret@host",
    "`#` and more": lambda _: "redis://host/0#secret",
    "a setting that there isn't: `?socket_timeout=3`": lambda _: "redis://host/0?socket_timeout=3",
    "the password as a setting": lambda _: "redis://host/0?password=secret",
    "a setting said twice": lambda _: "redis://host?db=1&db=1",
    "a socket's path after two slashes": lambda _: "redis+socket://run/redis.sock",
    "a setting for TLS after `redis://`": lambda _: "redis://host?ssl_cert_reqs=none",
    "another value of `ssl_cert_reqs`": lambda _: "rediss://host?ssl_cert_reqs=maybe",
    "a file that isn't there": lambda _: "rediss://host?ssl_ca_certs=/nowhere/ca.pem",
    "a file that holds no certificate": lambda on: f"rediss://host?ssl_ca_certs={on.file(b'secret', 'ca.pem')}",
    "a key without its certificate": lambda on: f"rediss://host?ssl_keyfile={on.file(b'', 'key.pem')}",
    "a certificate with another's key": Stage.certificate_with_anothers_key,
    "sentinels without a name": lambda _: "sentinel://host:26379/0",
    "a sentinels' user without a password": lambda _: "sentinel://host/0?primary=m&sentinel_user=anna",
}
"""First cell of a row -> what makes a URL that is wrong in that way."""

SCENES: dict[str, Scene] = {
    "nobody listens at the port": lambda _: "redis://:secret@127.0.0.1:1",
    "there is no such socket": lambda _: "redis+socket://:secret@/nowhere/redis.sock",
    "there is no such host": lambda _: "redis://:secret@no-such-host.invalid",
    "who listens closes the connection": lambda on: f"redis://{on.says(b'')}",
    "a web server answers": lambda on: f"redis://{on.says(b'HTTP/1.1 400 Bad Request')}",
    "TLS, and something else answers": lambda on: f"rediss://{on.says(b'-ERR unknown command')}",
    "no TLS, and the server wants it": lambda on: on.tls().replace("rediss", "redis").partition("?")[0],
    "a certificate of an authority that isn't trusted": lambda on: on.tls(is_known=False),
    "a certificate for another host": lambda on: on.tls("other.example"),
    "a certificate that is too old": lambda on: on.tls(is_old=True),
    "a server that wants a certificate, too": lambda on: on.tls(is_mutual=True),
    "no sentinel listens": lambda _: f"sentinel://{USER}@127.0.0.1:1/0?primary=main",
    "sentinels know no primary of the name": lambda on: f"sentinel://{USER}@{on.sentinel()}?primary=other",
    "sentinels that want a password": lambda on: f"sentinel://{USER}@{on.sentinel('requirepass x')}?primary=main",
    "sentinels over TLS that aren't trusted": lambda on: f"sentinels://{USER}@{on.sentinel_over_tls()}?primary=main",
    "a server in a sentinel's place": lambda on: f"sentinel://{USER}@{on.pumped()}?primary=main",
    "a sentinel in a server's place": lambda on: f"redis://{on.sentinel()}",
    "a wrong password": lambda on: harness.url(on.broker).replace(harness.ENCODED, "secret"),
    "a user that there isn't, or is off": lambda on: on.user(enabled=False),
    "no password": lambda on: on.server("", close_to_default).replace(f"{WHO}@", ""),
    "a database that isn't there": lambda on: f"{harness.url(on.broker)}?db=99",
    "protected mode, and no password": lambda on: f"redis://{on.says(DENIED)}",
    "access rules that forbid everything": lambda on: on.user(categories=["-@all"]),
    "access rules that forbid a command": lambda on: on.user(commands=["-setex"]),
    "Redis 6.0 or older": lambda on: f"redis://{WHO}@{on.pumped(change=_old)}",
    "a replica": lambda on: on.server(LOST),
    "a replica that has lost its primary": lambda on: on.server(f"{LOST} --replica-serve-stale-data no"),
    "a node of a cluster": lambda on: on.server(CLUSTER),
    "no connection left": lambda on: on.server_at_port("--maxclients 1"),
    "`proto-max-bulk-len` below 2 MiB": lambda on: on.server("--proto-max-bulk-len 1048576"),
    "commands renamed or switched off": lambda on: on.server(
        "--rename-command SETEX hidden --rename-command PUBLISH no"
    ),
    "no transactions": lambda on: on.server("--rename-command MULTI hidden"),
}
"""First cell of a row -> what makes a broker that is like that to both sides."""

CLIENTS: dict[str, Scene] = {
    "access rules that forbid a key": lambda on: on.user(keys=["fl:*", "client.*"]),
    "access rules that forbid to say something on a channel": lambda on: on.user(reset_channels=True),
}
"""The same, to a client."""

ORCHESTRATORS: dict[str, Scene] = {
    "who listens says nothing": lambda on: f"redis://{on.says(None)}",
    "few connections left": lambda on: on.server("--maxclients 10"),
    "TLS, and the server has none": lambda on: f"rediss://{WHO}@{on.pumped()}",
    "access rules that forbid to listen to a channel": lambda on: on.user(
        reset_channels=True, channels=["celery-task-meta-run/2*"]
    ),
    "keys are removed when memory is full": lambda on: on.server("", removing),
}
"""The same, to an orchestrator."""

PASSING: dict[str, Scene] = {
    "its disk can't be written to": lambda on: on.server("", fail_to_save),
    "too few replicas follow it": lambda on: on.server("--min-replicas-to-write 1"),
    "a script runs for long": lambda on: on.server("", busy),
}
"""The same, to both, for a while."""
