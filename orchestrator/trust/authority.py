"""The operator's folder: this federation's authority, the broker's files, the orchestrator's keys, its clients.

``authority/`` and ``orchestrator/`` have secrets that are for the operator alone. ``broker/`` is what the broker's
machine needs: its configuration, its certificate, and the users that it lets in, of whom the orchestrator is one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrator.trust.certificates import AUTHORITY_DAYS, DAYS, CertificateAuthority, general_name, save_private
from orchestrator.trust.clients import Client, Clients
from tasks.broker.rules import NOBODY, ORCHESTRATOR, client_rules, orchestrator_rules, user_name
from tasks.errors import ConfigurationError
from tasks.files import is_file, make_private, replace_text
from tasks.trust.enrolment import with_user
from tasks.trust.keys import load_key, new_key, public_text, read_password, save_key
from tasks.trust.papers import Package, Request

_PASSWORD_BYTES = 32
_BROKER_FILE = "broker-url"
_CONF = """# The broker of this federation. Start it: redis-server redis.conf
# On another machine: copy this folder there, and name where it is in the next line.
dir "{folder}"
port 0
tls-port {port}
tls-cert-file broker.pem
tls-key-file broker.key
tls-ca-cert-file authority.pem
tls-auth-clients yes
aclfile users.acl
maxmemory-policy noeviction
appendonly no
save ""
"""


class Authority:
    """The operator's folder.

    Args:
        folder: The folder.

    Raises:
        ConfigurationError: If it isn't one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        if not self.is_at(self.folder):
            raise ConfigurationError(f"{folder}: it isn't a folder that python -m orchestrator.trust init made")
        self.clients = Clients(self.folder / "clients")
        self._certificates = CertificateAuthority(self.folder / "authority")

    @classmethod
    def make(cls, folder: Path, broker: str, hosts: Sequence[str] = (), port: int = 0) -> Authority:
        """Make a folder with all that a federation begins with.

        Args:
            folder: The folder, which must not be there, or be empty, as one is where a volume is mounted.
            broker: The broker's URL, without user and password.
            hosts: Names and addresses by which it is reached over TLS; without any, the connection isn't encrypted, as
                by a unix socket.
            port: The port at which it listens.

        Raises:
            ConfigurationError: If the folder is there, or can't be made.
        """
        folder = folder.expanduser().resolve()
        if cls.is_at(folder):
            raise ConfigurationError(f"{folder}: it is there already")
        if any(not path.is_dir() for path in folder.rglob("*")):
            raise ConfigurationError(f"{folder}: there is something else in it")
        for host in hosts:
            general_name(host)
        try:
            for name in ("", "authority", "orchestrator", "broker", "clients"):
                make_private(folder / name)
            save_key(folder / "orchestrator" / "key.pem", key := new_key())
            replace_text(folder / "orchestrator" / "password", secrets.token_urlsafe(_PASSWORD_BYTES))
            if hosts:
                _make_certificates(folder, key, hosts)
                quoted = str(folder / "broker").replace("\\", "\\\\").replace('"', '\\"')
                replace_text(folder / "broker" / "redis.conf", _CONF.format(folder=quoted, port=port))
            replace_text(folder / _BROKER_FILE, broker + "\n")  # when the rest is there: by this file it is one
            made = cls(folder)
            made.write_users()
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}") from None
        return made

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Say whether a folder is one."""
        return is_file(folder / _BROKER_FILE)

    @property
    def broker(self) -> Path:
        """What the broker's machine needs."""
        return self.folder / "broker"

    @property
    def users(self) -> Path:
        """The file of the users that the broker lets in."""
        return self.broker / "users.acl"

    @property
    def _own(self) -> Path:
        return self.folder / "orchestrator"

    @property
    def _broker_path(self) -> Path:
        return self.folder / _BROKER_FILE

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """The orchestrator's key."""
        return load_key(self._own / "key.pem")

    def key_of(self, client_id: str) -> Ed25519PublicKey:
        """Return the key of a client that may take part; see :meth:`orchestrator.trust.clients.Clients.key_of`."""
        return self.clients.key_of(client_id)

    @cached_property
    def broker_url(self) -> str:
        """The broker's URL, with the orchestrator's user and password, which are for nobody else's eyes."""
        names = {"ssl_certfile": "certificate.pem", "ssl_keyfile": "key.pem"}
        files = {"ssl_ca_certs": self._certificates.path, **{name: self._own / file for name, file in names.items()}}
        tls = {name: str(path) for name, path in files.items()} if self._is_encrypted else {}
        return with_user(self._place, ORCHESTRATOR, self._password, tls)

    @cached_property
    def _place(self) -> str:
        try:
            return self._broker_path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self._broker_path}: it is damaged ({error})") from None

    @cached_property
    def _password(self) -> str:
        return read_password(self._own / "password")

    @property
    def _is_encrypted(self) -> bool:
        return is_file(self._certificates.path)

    def approve(self, request: Request) -> Client:
        """Let a client in, or let it go on for another year.

        Raises:
            ConfigurationError: If its id is another's.
        """
        if request.client_id == ORCHESTRATOR:
            raise ConfigurationError(f"client {ORCHESTRATOR}: it is the orchestrator's name, no client may have it")
        former = self.clients.named(request.client_id)
        if former is not None and former.key != request.key and former.status == "enrolled":
            raise ConfigurationError(
                f"client {request.client_id} is enrolled with another key: revoke that first, if this one is right"
            )
        if other := self.clients.overlapping(request):
            raise ConfigurationError(f"{request.named}: its ids would be among those of {other}, which is enrolled")
        now = datetime.now(UTC).replace(microsecond=0)
        client = Client(**request.model_dump(), approved=now, until=now + timedelta(days=DAYS))
        self.clients.save(client)
        self.write_users()
        return client

    def package(self, client: Client) -> Package:
        """Return what a client is given."""
        is_encrypted = self._is_encrypted
        certify, user = self._certificates.certify_user, user_name(client.client_id)
        return Package(
            client_id=client.client_id,
            count=client.count,
            key=client.key,
            orchestrator=public_text(self.key),
            broker=self._place,
            authority=self._certificates.text if is_encrypted else "",
            certificate=certify(user, client.public_key, client.until) if is_encrypted else "",
            until=client.until,
        )

    def find(self, client_id: str) -> Client:
        """Return what was enrolled by an id.

        Raises:
            ConfigurationError: If nothing was.
        """
        client = self.clients.named(client_id)
        if client is None:
            known = ", ".join(each.client_id for each in self.clients.all()) or "none"
            raise ConfigurationError(f"no client {client_id!r:.70} is enrolled; these are: {known}")
        return client

    def revoke(self, client_id: str) -> Client:
        """Let a client in no longer.

        Raises:
            ConfigurationError: If none of this id is enrolled.
        """
        revoked = self.find(client_id).model_copy(update={"status": "revoked"})
        self.clients.save(revoked)
        self.write_users()
        return revoked

    def write_users(self) -> None:
        """Write the file of the users that the broker lets in: it is made of what is known, and never read."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        lines = [" ".join(("user", *NOBODY)), _user(ORCHESTRATOR, digest, orchestrator_rules())]
        lines += [
            _user(user_name(client.client_id), client.password_digest, client_rules(client.client_id, client.count))
            for client in self.clients.all()
            if client.standing == "enrolled"
        ]
        replace_text(self.users, "".join(f"{line}\n" for line in lines))


def _make_certificates(folder: Path, orchestrator: Ed25519PrivateKey, hosts: Sequence[str]) -> None:
    broker, authority = folder / "broker", CertificateAuthority(folder / "authority")
    authority.make()
    key = ec.generate_private_key(ec.SECP256R1())
    save_private(broker / "broker.key", key)
    authority.certify_broker(hosts, key.public_key(), broker / "broker.pem")
    replace_text(broker / "authority.pem", authority.text)
    until = datetime.now(UTC) + timedelta(days=AUTHORITY_DAYS)
    own = authority.certify_user(ORCHESTRATOR, orchestrator.public_key(), until)
    replace_text(folder / "orchestrator" / "certificate.pem", own)


def _user(name: str, digest: str, rules: Sequence[str]) -> str:
    return " ".join(("user", name, *user_words(digest, rules)))


def user_words(digest: str, rules: Sequence[str]) -> tuple[str, ...]:
    """Return what a user of the broker's is, as ``ACL SETUSER`` takes it, whatever it was before."""
    return ("reset", "on", f"#{digest}", *rules)
