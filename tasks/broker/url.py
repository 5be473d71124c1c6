"""The broker's URL: read once, here, and what connections are made of it.

redis-py, kombu and Celery each have a reader of their own, and these differ: of ``redis+socket:///s?db=3`` one takes
database 3, and another 0. None of them is given a URL; each is given :attr:`Broker.connection`.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from redis import Connection, ConnectionPool, SSLConnection
from redis.connection import UnixDomainSocketConnection
from redis.maint_notifications import MaintNotificationsConfig

from tasks.broker.by_sentinel import ManagedConnection, ManagedTlsConnection, pool_of
from tasks.broker.fresh import fresh
from tasks.broker.refusals import Parser
from tasks.errors import ConfigurationError
from tasks.files import is_file

URL_VARIABLE = "CELERY_BROKER_URL"
"""The variable that Celery itself reads, so that there is one place to say it."""
DEFAULT_PORT = 6379
SENTINEL_PORT = 26379
SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "sentinels")
_OVER_TLS = ("rediss", "sentinels")
_BY_SENTINELS = ("sentinel", "sentinels")
MASK = "**"
OPTION = "broker"
"""The option, of Celery's transports of messages and of results, that holds the :class:`Broker`."""
_FORMS = "write redis://HOST:PORT/DB, rediss://… for TLS, redis+socket:///PATH, or sentinel://HOST:PORT,HOST:PORT/DB?primary=NAME"
_ENCODE = "percent-encode what a password or a path has of / ? # @ (they are %2F %3F %23 %40)"
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_KEYS = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_CA_ONLY = "ssl_ca_only"
"""A setting of ``rediss`` alone."""
_SENTINEL_KEYS = ("primary", "sentinel_user", "sentinel_password")
_KEYS = ("db", "primary", "sentinel_user", *_TLS_KEYS, _CA_ONLY)
"""Keys whose values may be shown."""
_NO_NOTIFICATIONS = MaintNotificationsConfig(enabled=False)
"""Of maintenance none is told but by Redis Enterprise, and to ask for it takes a round trip a connection."""
_SEVERAL_HOSTS = re.compile(r"sentinels?://(?:[^/?#]*@)?[^,/?#]*(?P<others>,[^/?#]*)", re.IGNORECASE)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

CertReqs = Literal["required", "optional", "none"]


@dataclass(frozen=True, slots=True)
class Tls:
    """How a connection is encrypted, and whom it trusts.

    Attributes:
        ca_certs: A file with the certificates of authorities that are trusted beside the system's, or those of
            ``SSL_CERT_FILE``.
        certfile: A file with the certificate that is shown to the server.
        keyfile: A file with its key.
        cert_reqs: Whether the server's certificate is checked.
        check_hostname: Whether it has to be for the host that the URL names.
        ca_only: Whether the authorities in the file are the only ones that are trusted: not the system's, either.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: CertReqs = "required"
    check_hostname: bool = True
    ca_only: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of a connection of redis-py's."""
        return {
            "ssl_ca_certs": self.ca_certs,
            "ssl_certfile": self.certfile,
            "ssl_keyfile": self.keyfile,
            "ssl_cert_reqs": self.cert_reqs,
            "ssl_check_hostname": self.check_hostname,
        }

    @property
    def connection_class(self) -> type[SSLConnection]:
        """The class of a connection."""
        return PinnedConnection if self.ca_only else SSLConnection

    @property
    def unchecked(self) -> str:
        """The setting by which anybody on the way can pass for the server; empty if there is none."""
        if self.cert_reqs != "required":
            return f"ssl_cert_reqs={self.cert_reqs}"
        return "" if self.check_hostname else "ssl_check_hostname=false"


class PinnedConnection(SSLConnection):
    """A connection over TLS to a server that an authority of the file has certified."""

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it checks the certificate, and the host in it
        context.load_verify_locations(self.ca_certs)
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile, password="")
        return context.wrap_socket(sock, server_hostname=self.host)


@dataclass(frozen=True, slots=True)
class Broker:
    """A Redis, as its URL names it.

    Attributes:
        host: Its name or address; empty if it listens at a socket.
        port: Its port.
        socket: The path of its unix socket; empty if it listens at a port.
        sentinels: Host and port of each sentinel that knows where it is; none if its place is given.
        primary: The name by which they know it.
        sentinel_user: Whom their access rules know who asks as.
        sentinel_password: That user's, or the sentinels' own.
        database: The database's number.
        user: Whom its access rules know the connection as. Without a password it may be one, so it isn't shown either.
        password: That user's, or the server's.
        tls: None: the connection isn't encrypted.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    socket: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    primary: str = ""
    sentinel_user: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    database: int = 0
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None

    @classmethod
    def read(cls, url: str) -> Broker:
        """Take a URL apart.

        Raises:
            ConfigurationError: If it isn't one that a broker can have. The message holds no password.
        """
        try:
            return _read(url)
        except ValueError as error:
            raise ConfigurationError(f"broker {masked(url)!r}: {error}") from None

    def __json__(self) -> str:
        """Return what Celery's tools are told of it."""
        return str(self)

    def __str__(self) -> str:
        """Return the URL without the password, and without settings of TLS."""
        who = MASK if self.password is None else f"{quote(self.user or '', safe='')}:{MASK}"
        at = f"{who}@" if self.user or self.password else ""
        if self.socket:
            return f"redis+socket://{at}{quote(self.socket)}" + (f"?db={self.database}" if self.database else "")
        if self.sentinels:
            hosts = ",".join(_place(*sentinel) for sentinel in self.sentinels)
            return f"sentinel{'s' if self.tls else ''}://{at}{hosts}/{self.database}?primary={quote(self.primary)}"
        return f"redis{'s' if self.tls else ''}://{at}{_place(self.host, self.port)}/{self.database}"

    @property
    def place(self) -> tuple[object, ...]:
        """Where it is, whoever connects and however."""
        return self.host, self.port, self.socket, self.sentinels, self.primary, self.database

    @property
    def connection(self) -> dict[str, Any]:
        """What a connection of redis-py's is made with: its class under ``connection_class``, and its arguments."""
        common = {"db": self.database, "username": self.user, "password": self.password, "parser_class": Parser}
        common["driver_info"] = None  # what asks isn't told, which would take commands that rules needn't allow
        if self.socket:
            return {**common, "connection_class": UnixDomainSocketConnection, "path": self.socket}
        tls = self.tls.settings if self.tls else {}
        if self.sentinels:
            return {**common, **tls, "connection_class": ManagedTlsConnection if tls else ManagedConnection}
        common |= {"host": self.host, "port": self.port}
        return {**common, **tls, "connection_class": self.tls.connection_class if self.tls else Connection}

    @property
    def asking_sentinels(self) -> dict[str, Any]:
        """What a client of redis-py's for a sentinel is made with, beside where that is."""
        tls = {"ssl": True, **self.tls.settings} if self.tls else {}
        return {"username": self.sentinel_user, "password": self.sentinel_password, **tls}

    def pool(self, *, is_polled: bool = False, **settings: Any) -> ConnectionPool:
        """Return a pool of connections.

        Args:
            is_polled: Whether an event loop waits for what is said on them, and so looks after them itself.
            settings: Further arguments of a connection or a pool; they come before this broker's own.
        """
        arguments = {**self.connection, **settings}
        if not is_polled:
            arguments["connection_class"] = fresh(arguments["connection_class"])
        if self.sentinels:
            return pool_of(self.sentinels, self.primary, self.asking_sentinels, **arguments)
        return ConnectionPool(maint_notifications_config=_NO_NOTIFICATIONS, **arguments)


def _place(host: str, port: int) -> str:
    return f"{f'[{host}]' if ':' in host else quote(host)}:{port}"


def masked(url: str) -> str:
    """Return any text that may have been meant as a URL without what may be a secret in it.

    That is all up to the last ``@`` but for a user's name, what stands for a port and is none, the values of settings
    that there aren't, and all after ``#``.
    """
    head, slashes, rest = url.partition("//") if "//" in url else ("", "", url)
    before, at, rest = rest.rpartition("@")
    user = re.match(r"([^:/?#]*):", before)
    who = f"{user[1]}:{MASK}@" if user else f"{MASK}{at}" if at else ""
    rest = re.sub(r"^([^:/?#\[\]]*):(?!\d*(?:[,/?#]|$))[^/?#]*", rf"\1:{MASK}", rest)
    rest = re.sub(r"#.*", f"#{MASK}", rest, flags=re.DOTALL)
    rest = re.sub(rf"([?&#;](?!(?:{'|'.join(_KEYS)})=)[^=&#;]*=).*", rf"\1{MASK}", rest, flags=re.DOTALL)
    return f"{head}{slashes}{who}{rest}"


def _read(url: str) -> Broker:
    """Take a URL apart; a ``ValueError`` says what is wrong with it."""
    parts = _split(url)
    query = _query(parts)
    if parts.scheme == "redis+socket":
        if parts.hostname:
            raise ValueError("a socket's path begins after three slashes: redis+socket:///PATH")
        if "\0" in unquote(parts.path):
            raise ValueError("a socket's path has no null character")
        where: dict[str, Any] = {"socket": unquote(parts.path), "database": _database(query.get("db", "0"))}
    else:
        where = {**_where(parts, query), "database": _path_database(parts, query)}
    return Broker(
        **where,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls(query) if parts.scheme in _OVER_TLS else None,
    )


def _where(parts: SplitResult, query: dict[str, str]) -> dict[str, Any]:
    """Return the host and port, or those of the sentinels."""
    if parts.scheme not in _BY_SENTINELS:
        return {"host": _host(parts), "port": _port(parts, DEFAULT_PORT)}
    if not query.get("primary"):
        raise ValueError("primary is the name by which the sentinels know the server, like ?primary=mymaster")
    each = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    sentinels = tuple((_host(one), _port(one, SENTINEL_PORT)) for one in each)
    if "sentinel_user" in query and "sentinel_password" not in query:
        raise ValueError("sentinel_user is whose password sentinel_password is: give both")
    return {"sentinels": sentinels, **{key: query[key] for key in _SENTINEL_KEYS if key in query}}


def _host(parts: SplitResult) -> str:
    host = unquote(parts.hostname or "")
    try:
        host.encode("idna")  # as it is when it is looked up
        is_name = host.isprintable()
    except UnicodeError:
        is_name = False
    if not is_name:
        raise ValueError("its host can't be looked up: a name has 1 to 63 printable characters between points")
    return host


def _split_at_hosts(url: str) -> SplitResult:
    """Take a URL apart as :func:`urlsplit` does, which in some releases takes no brackets but those of a first host."""
    found = _SEVERAL_HOSTS.match(url)
    if not found:
        return urlsplit(url)
    parts = urlsplit(url[: found.start("others")] + url[found.end() :])
    return parts._replace(netloc=parts.netloc + found["others"])


def _split(url: str) -> SplitResult:
    try:
        parts = _split_at_hosts(url)
        url.encode()
    except UnicodeEncodeError:
        raise ValueError(f"it isn't UTF-8; {_ENCODE}") from None
    except ValueError:  # its text may hold a password
        raise ValueError(f"its host can't be told: an IPv6 address is in brackets; {_ENCODE}") from None
    if "@" in url.replace(parts.netloc, "", 1):
        raise ValueError(_ENCODE)
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.path) or url != url.strip():
        raise ValueError(_FORMS)
    if parts.fragment:
        raise ValueError(f"there is no meaning in what follows #; {_ENCODE}")
    return parts


def _port(parts: SplitResult, default: int) -> int:
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port, after the host's last colon, is a number from 1 to 65535") from None
    if not parts.hostname or port == 0:
        raise ValueError(_FORMS)
    return port or default


def _query(parts: SplitResult) -> dict[str, str]:
    """Return the settings after the question mark, each of which there is, and is said once."""
    pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    keys = [key for key, _ in pairs]
    allowed = (
        "db",
        *(_SENTINEL_KEYS if parts.scheme in _BY_SENTINELS else ()),
        *(_TLS_KEYS if parts.scheme in _OVER_TLS else ()),
        *((_CA_ONLY,) if parts.scheme == "rediss" else ()),
    )
    for key in keys:
        if key in _TLS_KEYS and key not in allowed:
            raise ValueError(f"{key} is for TLS: write rediss://… or sentinels://…")
        if key not in allowed:
            raise ValueError(f"there is no setting {key!r}, allowed are {', '.join(allowed)}")
        if keys.count(key) > 1:
            raise ValueError(f"{key} is said twice")
    return dict(pairs)


def _path_database(parts: SplitResult, query: dict[str, str]) -> int:
    if not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise ValueError("after the port comes the number of a database, like /0")
    in_path = parts.path.strip("/")
    database = _database(query.get("db", in_path or "0"))
    if in_path and int(in_path) != database:
        raise ValueError(f"it names two databases, {in_path} and {database}")
    return database


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("db is the number of a database, like db=0")
    return int(text)


def _check_certificates(query: dict[str, str]) -> None:
    """Check that the files hold what they are to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authorities := query.get("ssl_ca_certs"):
            context.load_verify_locations(authorities)
    except OSError:
        raise ValueError(f"ssl_ca_certs={authorities}: it holds no certificate that can be read (PEM)") from None
    try:
        if shown := query.get("ssl_certfile"):
            # OpenSSL would ask for the password of a key at the terminal.
            context.load_cert_chain(shown, query.get("ssl_keyfile"), password="")
    except OSError:
        key = query.get("ssl_keyfile", shown)
        raise ValueError(
            f"ssl_certfile={shown}: it holds no certificate that can be read (PEM), or {key} not its key without a "
            "password"
        ) from None


def _tls(query: dict[str, str]) -> Tls:
    for key in _FILES:
        if key in query and not is_file(Path(query[key])):
            raise ValueError(f"{key}={query[key]}: there is no such file")
    if "ssl_keyfile" in query and "ssl_certfile" not in query:
        raise ValueError("ssl_keyfile is the key of a certificate: name that with ssl_certfile")
    _check_certificates(query)
    requirement = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if requirement not in get_args(CertReqs):
        raise ValueError(f"ssl_cert_reqs is one of {', '.join(get_args(CertReqs))}")
    check, only = _boolean(query, "ssl_check_hostname", "true"), _boolean(query, _CA_ONLY, "false")
    if only and ("ssl_ca_certs" not in query or requirement != "required" or not check):
        raise ValueError("ssl_ca_only=true needs ssl_ca_certs, and goes with no setting that checks less")
    return Tls(
        ca_certs=query.get("ssl_ca_certs"),
        certfile=query.get("ssl_certfile"),
        keyfile=query.get("ssl_keyfile"),
        cert_reqs=requirement,  # type: ignore[arg-type]  # it was looked up
        check_hostname=check,
        ca_only=only,
    )


def _boolean(query: dict[str, str], key: str, default: str) -> bool:
    value = _BOOLEANS.get(query.get(key, default).lower())
    if value is None:
        raise ValueError(f"{key} is true or false")
    return value
