"""A client's enrolment: the folder with its keys, its password at the broker, and what the operator gave it."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.broker.rules import user_name
from tasks.errors import ConfigurationError
from tasks.files import is_file, make_private, replacing
from tasks.trust.keys import check_private, load_key, new_key, public_text, read_password, read_public, save_key
from tasks.trust.papers import Package, Request
from tasks.trust.signing import Site

SOON = timedelta(days=30)
"""How long before its end it is told that an enrolment has to be renewed."""
_PASSWORD_BYTES = 32


def with_user(broker: str, user: str, password: str, tls: dict[str, str]) -> str:
    """Return a broker's URL with who connects, and the files of its TLS by the names of the URL's settings.

    Over TLS no authority is trusted but this federation's own: none that the system trusts can certify a broker.
    """
    scheme, _, place = broker.partition("://")
    query = f"?{urlencode({**tls, 'ssl_ca_only': 'true'}, quote_via=quote)}" if tls else ""
    return f"{scheme}://{user}:{password}@{place}{query}"


@dataclass(frozen=True)
class Enrolment:
    """What is in the folder.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Enrolment:
        """Make a folder with keys and a password, unless it has some.

        Raises:
            ConfigurationError: If it can't be written, or what is there can be read by others.
        """
        made = cls(folder)
        try:
            make_private(folder)
            if not is_file(made._key_path):
                save_key(made._key_path, new_key())
            if not is_file(made._password_path):
                with replacing(made._password_path) as temporary:
                    temporary.write_text(secrets.token_urlsafe(_PASSWORD_BYTES), encoding="ascii")
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}") from None
        check_private(made._password_path)
        return made

    @property
    def _key_path(self) -> Path:
        return self.folder / "key.pem"

    @property
    def _password_path(self) -> Path:
        return self.folder / "password"

    @property
    def package_path(self) -> Path:
        """Where the package is kept, if there is one."""
        return self.folder / "package.json"

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """The client's key."""
        return load_key(self._key_path)

    @cached_property
    def password(self) -> str:
        """The client's password at the broker."""
        return read_password(self._password_path)

    @property
    def is_begun(self) -> bool:
        """Whether there is a key, with which the operator was asked."""
        return is_file(self._key_path)

    @property
    def is_accepted(self) -> bool:
        """Whether there is a package."""
        return is_file(self.package_path)

    @cached_property
    def package(self) -> Package:
        """What the operator gave.

        Raises:
            ConfigurationError: If there is none yet, or it is another's, or over.
        """
        if not self.is_accepted:
            raise ConfigurationError(
                f"{self.folder}: there is no package of the operator's yet: python -m worker.enrol accept PACKAGE"
            )
        package = Package.read(self.package_path)
        self.check(package, self.package_path)
        return package

    @property
    def orchestrator(self) -> str:
        """The key of the orchestrator in the package that was accepted, be it over or not."""
        return Package.read(self.package_path).orchestrator

    def check(self, package: Package, path: Path) -> None:
        """Refuse a package that isn't for this client's key, or is over.

        Raises:
            ConfigurationError: If it is so.
        """
        if package.key != public_text(self.key):
            raise ConfigurationError(f"{path}: it is for another key of {package.named} than that in {self.folder}")
        if package.until <= datetime.now(UTC):
            end = f"{package.until:%Y-%m-%d}"
            raise ConfigurationError(f"{path}: the enrolment of {package.named} ended on {end}: have it renewed")

    def request(self, client_id: str, count: int | None) -> Request:
        """Return what to ask the operator for; see :class:`tasks.trust.papers.Request`."""
        digest = hashlib.sha256(self.password.encode()).hexdigest()
        return Request(client_id=client_id, count=count, key=public_text(self.key), password_digest=digest)

    def accept(self, path: Path) -> None:
        """Keep a package, and its certificates where connections look for them.

        Raises:
            ConfigurationError: If it isn't one for this client, or is older than the one that it has.
        """
        package = Package.read(path)
        self.check(package, path)
        self._check_newer(package, path)
        try:
            self._keep(package, path)
        except OSError as error:
            raise ConfigurationError(f"{self.folder}: {error.strerror}") from None

    def _check_newer(self, package: Package, path: Path) -> None:
        try:
            former = Package.read(self.package_path) if self.is_accepted else None
        except ConfigurationError:  # a new one is what mends it
            former = None
        if former and former.orchestrator == package.orchestrator and package.until < former.until:
            ends = f"{package.until:%Y-%m-%d %H:%M}, before {former.until:%Y-%m-%d %H:%M}"
            raise ConfigurationError(f"{path}: it is older than the one that was accepted: it ends on {ends} (UTC)")

    def _keep(self, package: Package, path: Path) -> None:
        for name, text in (("authority.pem", package.authority), ("certificate.pem", package.certificate)):
            with replacing(self.folder / name) as temporary:
                temporary.write_text(text, encoding="ascii")
        with replacing(self.package_path) as temporary:
            temporary.write_bytes(path.read_bytes())

    @property
    def site(self) -> Site:
        """The keys with which orders are checked, and answers signed."""
        return Site(self.key, read_public(self.package.orchestrator))

    @property
    def broker_url(self) -> str:
        """The broker's URL, with the client's user and password, which are for nobody else's eyes."""
        names = {"ssl_ca_certs": "authority.pem", "ssl_certfile": "certificate.pem", "ssl_keyfile": "key.pem"}
        tls = {name: str(self.folder / file) for name, file in names.items()} if self.package.authority else {}
        return with_user(self.package.broker, user_name(self.package.client_id), self.password, tls)

    @property
    def ends_soon(self) -> bool:
        """Whether it is time to have it renewed."""
        return self.package.until - datetime.now(UTC) < SOON
