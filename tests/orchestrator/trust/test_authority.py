"""The operator's folder: what is in it, who is let in, and what is told to whom."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.trust.authority import Authority
from orchestrator.trust.reaching import reach
from tasks.broker.rules import client_rules, orchestrator_rules
from tasks.broker.url import Broker
from tasks.errors import ConfigurationError
from tasks.trust.keys import new_key, public_text
from tasks.trust.papers import Request
from tasks.trust.signing import NotSignedError
from tests.support import modes_under

URL = "rediss://broker.example:6379/0"
HOSTS = ("broker.example", "10.0.0.1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A new authority."""
    return Authority.make(tmp_path / "op", URL, HOSTS, 6379)


def request(client_id: str = "anna", count: int | None = None, key: Ed25519PrivateKey | None = None) -> Request:
    digest = hashlib.sha256(client_id.encode()).hexdigest()
    return Request(client_id=client_id, count=count, key=public_text(key or new_key()), password_digest=digest)


def users(authority: Authority) -> dict[str, list[str]]:
    """The words of each user in the broker's file."""
    lines = [line.split() for line in authority.users.read_text().splitlines()]
    assert {line[0] for line in lines} == {"user"}
    return {line[1]: line[2:] for line in lines}


def test_what_is_made_is_its_owners_alone(authority: Authority) -> None:
    modes = modes_under(authority.folder)
    folders = {".", "authority", "orchestrator", "broker", "clients"}
    assert {name: modes.pop(name) for name in folders} == dict.fromkeys(folders, 0o700)
    assert set(modes.values()) == {0o600}


def test_the_broker_s_folder_has_no_secret_but_its_own_key(authority: Authority) -> None:
    # Given all of the broker's files
    told = {path.name: path.read_text() for path in authority.broker.iterdir()}
    assert set(told) == {"redis.conf", "users.acl", "broker.pem", "broker.key", "authority.pem"}
    # When one looks for secrets, then there is the broker's key, and no password
    assert [name for name, text in told.items() if "PRIVATE KEY" in text] == ["broker.key"]
    password = Broker.read(authority.broker_url).password
    assert password is not None
    assert not [name for name, text in told.items() if password in text]


def test_a_folder_that_is_there_is_refused(authority: Authority) -> None:
    before = modes_under(authority.folder)
    with pytest.raises(ConfigurationError, match="it is there already"):
        Authority.make(authority.folder, URL, HOSTS, 6379)
    assert modes_under(authority.folder) == before


@pytest.mark.parametrize("name", ["a b", 'a"b', "a\\b"])
def test_the_configuration_names_its_folder_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    made = Authority.make(tmp_path / name, URL, HOSTS, 6379)
    (line,) = [line for line in (made.broker / "redis.conf").read_text().splitlines() if line.startswith("dir ")]
    text = line.removeprefix('dir "').removesuffix('"')
    assert text.replace('\\"', '"').replace("\\\\", "\\") == str(made.broker)


def test_the_broker_lets_in_the_orchestrator_and_who_is_enrolled(authority: Authority) -> None:
    # Given two clients that were let in
    authority.approve(asked := request("anna"))
    authority.approve(request("lab", 20))
    # When the broker's users are looked at, then they are these, by digests, and nobody else comes in
    found = users(authority)
    assert list(found) == ["default", "orchestrator", "client-anna", "client-lab"]
    assert found["default"] == ["reset", "off", "allkeys", "allchannels", "+@all"]
    assert found["orchestrator"][3:] == list(orchestrator_rules())
    assert found["client-anna"] == ["reset", "on", f"#{asked.password_digest}", *client_rules("anna")]
    assert found["client-lab"][3:] == list(client_rules("lab", 20))


def test_who_is_revoked_is_no_user_and_has_no_key(authority: Authority) -> None:
    authority.approve(request())
    authority.key_of("anna")
    authority.revoke("anna")
    assert "client-anna" not in users(authority)
    with pytest.raises(NotSignedError, match="was revoked"):
        authority.key_of("anna")
    with pytest.raises(ConfigurationError, match="no client 'berta' is enrolled; these are: anna"):
        authority.revoke("berta")


def test_a_revoked_client_may_be_let_in_by_a_new_request(authority: Authority) -> None:
    authority.approve(request())
    authority.revoke("anna")
    authority.approve(again := request())
    assert public_text(authority.key_of("anna")) == again.key


def test_another_key_for_an_id_that_is_enrolled_is_refused(authority: Authority) -> None:
    authority.approve(request(key=(key := new_key())))
    with pytest.raises(ConfigurationError, match="client anna is enrolled with another key: revoke that first"):
        authority.approve(request())
    assert authority.approve(request(key=key)).standing == "enrolled"


def test_an_id_whose_enrolment_has_ended_is_still_its_own(authority: Authority) -> None:
    # Given a client whose year is over
    ended = authority.approve(request(key=(key := new_key()))).model_copy(update={"until": datetime.now(UTC)})
    authority.clients.save(ended)
    # When another asks by its id, then that is refused; the client itself is let in again
    with pytest.raises(ConfigurationError, match="client anna is enrolled with another key"):
        authority.approve(request())
    assert authority.approve(request(key=key)).standing == "enrolled"


@pytest.mark.parametrize(
    ("given", "said"),
    [(("orchestrator",), "the orchestrator's name"), (("lab-01",), "its ids would be among those of lab")],
)
def test_an_id_that_could_be_anothers_is_refused(authority: Authority, given: tuple[Any, ...], said: str) -> None:
    authority.approve(request("lab", 20))
    with pytest.raises(ConfigurationError, match=said):
        authority.approve(request(*given))
    assert [client.client_id for client in authority.clients.all()] == ["lab"]


def test_a_package_is_for_the_client_s_key(authority: Authority) -> None:
    # Given a client that was let in, when its package is made, then its certificate is for its key and its time
    client = authority.approve(request(key=(key := new_key())))
    package = authority.package(client)
    certificate = x509.load_pem_x509_certificate(package.certificate.encode())
    assert certificate.public_key() == key.public_key()
    assert certificate.not_valid_after_utc == package.until == client.until
    assert (package.broker, package.orchestrator) == (URL, public_text(authority.key))


def test_a_folder_reaches_the_broker_as_the_orchestrator(authority: Authority) -> None:
    url, found = reach(str(authority.folder))
    assert found is not None
    read = Broker.read(url)
    assert (read.host, read.port, read.user) == ("broker.example", 6379, "orchestrator")
    assert read.tls is not None
    assert read.tls.ca_only
    assert read.tls.unchecked == ""
    assert reach("redis://host:1/0") == ("redis://host:1/0", None)


@pytest.mark.parametrize("name", ["orchestrator/key.pem", "orchestrator/password"])
def test_secrets_that_others_may_read_are_refused(authority: Authority, name: str) -> None:
    (authority.folder / name).chmod(0o644)
    again = Authority(authority.folder)
    with pytest.raises(ConfigurationError, match="others than its owner may read it"):
        _ = again.key, again.broker_url


def test_what_is_no_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"orchestrator\.trust init"):
        Authority(tmp_path)
