"""A client's folder: made once, for its owner's eyes, and good for packages that are for its key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.broker.url import masked
from tasks.errors import ConfigurationError
from tasks.trust.enrolment import SOON, Enrolment, with_user
from tasks.trust.keys import new_key, public_text
from tests.support import modes_under
from tests.tasks.trust.test_papers import package_of

ORCHESTRATOR = new_key()


def handed(folder: Path, key: Ed25519PrivateKey, until: datetime | None = None) -> Path:
    """A package's file for a key."""
    package = package_of(key, ORCHESTRATOR, until=until or datetime.now(UTC) + timedelta(days=365))
    package.save(folder / "p.json", ORCHESTRATOR)
    return folder / "p.json"


def accepted(folder: Path, until: datetime | None = None) -> Enrolment:
    """A client's enrolment that ends then."""
    own = Enrolment.make(folder / "enrolment")
    own.accept(handed(folder, own.key))
    if until is not None:  # it was accepted while it held
        (own.folder / "package.json").write_bytes(handed(folder, own.key, until).read_bytes())
    return Enrolment(own.folder)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    # Given an enrolment, when it is made again, then its key and password are as they were
    first, again = Enrolment.make(tmp_path / "e"), Enrolment.make(tmp_path / "e")
    assert public_text(first.key) == public_text(again.key)
    assert first.password == again.password
    assert len(first.password) >= 40


def test_all_of_it_is_its_owners_alone(tmp_path: Path) -> None:
    own = accepted(tmp_path)
    modes = modes_under(own.folder)
    assert modes.pop(".") == 0o700
    assert set(modes) == {"key.pem", "password", "package.json", "authority.pem", "certificate.pem"}
    assert set(modes.values()) == {0o600}


def test_an_accepted_package_says_who_and_where(tmp_path: Path) -> None:
    own = accepted(tmp_path)
    assert own.broker_url == f"rediss://client-hospital-a:{own.password}@broker:6379/0"
    assert own.site.orchestrator.public_bytes_raw() == ORCHESTRATOR.public_key().public_bytes_raw()
    assert own.site.key.private_bytes_raw() == own.key.private_bytes_raw()
    assert own.orchestrator == public_text(ORCHESTRATOR)


def test_over_tls_no_authority_is_trusted_but_the_federations() -> None:
    url = with_user("rediss://b:1/0", "client-a", "secret", {"ssl_ca_certs": "/a b/ca.pem"})
    assert url == "rediss://client-a:secret@b:1/0?ssl_ca_certs=%2Fa%20b%2Fca.pem&ssl_ca_only=true"
    assert "secret" not in masked(url)


def test_without_a_package_nothing_is_enrolled(tmp_path: Path) -> None:
    own = Enrolment.make(tmp_path / "e")
    assert not own.is_accepted
    with pytest.raises(ConfigurationError, match=r"worker\.enrol accept PACKAGE"):
        _ = own.package


def test_a_package_for_another_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    own = Enrolment.make(tmp_path / "e")
    before = modes_under(own.folder)
    with pytest.raises(ConfigurationError, match="it is for another key of hospital-a than that in"):
        own.accept(handed(tmp_path, new_key()))
    assert modes_under(own.folder) == before


def test_a_package_that_lies_there_is_checked_whenever_it_is_read(tmp_path: Path) -> None:
    # Given an enrolment in whose folder somebody puts another's package
    own = accepted(tmp_path)
    (own.folder / "package.json").write_bytes(handed(tmp_path, new_key()).read_bytes())
    with pytest.raises(ConfigurationError, match="for another key"):
        _ = own.package


def test_an_enrolment_that_is_over_is_refused(tmp_path: Path) -> None:
    own = accepted(tmp_path, datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match=r"the enrolment of hospital-a ended on .*: have it renewed"):
        _ = own.package


def test_it_ends_soon_in_its_last_thirty_days(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert not accepted(tmp_path / "a", now + SOON + timedelta(hours=1)).ends_soon
    assert accepted(tmp_path / "b", now + SOON - timedelta(hours=1)).ends_soon


@pytest.mark.parametrize("name", ["key.pem", "password"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_secrets_that_others_may_read_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    own = accepted(tmp_path)
    (own.folder / name).chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{name}: others than its owner may read it .*chmod 600"):
        _ = own.site, own.broker_url


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=f"^{tmp_path}/file/e: "):
        Enrolment.make(tmp_path / "file" / "e")
