"""The federation's own certificates: the broker's is for its hosts and for servers, a client's for clients."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from orchestrator.trust.certificates import CertificateAuthority, save_private
from tasks.errors import ConfigurationError
from tasks.trust.keys import new_key, save_key

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """An authority."""
    made = CertificateAuthority(tmp_path)
    made.make()
    return made


def broker_files(authority: CertificateAuthority, folder: Path, *hosts: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    save_private(folder / "b.key", key)
    authority.certify_broker(hosts, key.public_key(), folder / "b.pem")
    return folder / "b.pem", folder / "b.key"


def client_files(authority: CertificateAuthority, folder: Path) -> tuple[Path, Path]:
    key = new_key()
    save_key(folder / "c.key", key)
    (folder / "c.pem").write_text(authority.certify_user("client-a", key.public_key(), SOON))
    return folder / "c.pem", folder / "c.key"


def handshake(
    authority: Path, server: tuple[Path, Path], client: tuple[Path, Path] | None, host: str = "broker.example"
) -> None:
    """Have both sides of TLS speak in memory, each of which wants the other's certificate."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(*server)
    ours.load_verify_locations(authority)
    ours.verify_mode = ssl.CERT_REQUIRED
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.load_verify_locations(authority)
    if client:
        theirs.load_cert_chain(*client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        theirs.wrap_bio(to_client, to_server, server_hostname=host),
        ours.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert all(end.cipher() for end in ends)


def test_broker_and_client_know_each_other(authority: CertificateAuthority, tmp_path: Path) -> None:
    broker = broker_files(authority, tmp_path, "broker.example", "10.0.0.1", "::1")
    for host in ("broker.example", "10.0.0.1", "::1"):
        handshake(authority.path, broker, client_files(authority, tmp_path), host)


def test_another_host_isnt_the_broker(authority: CertificateAuthority, tmp_path: Path) -> None:
    broker = broker_files(authority, tmp_path, "broker.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(authority.path, broker, client_files(authority, tmp_path), "other.example")


def test_a_client_cant_pass_for_the_broker_nor_the_broker_for_a_client(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    broker, client = broker_files(authority, tmp_path, "broker.example"), client_files(authority, tmp_path)
    for server, shown in ((client, client), (broker, broker)):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"purpose"):
            handshake(authority.path, server, shown)


def test_a_client_without_a_certificate_isnt_let_in(authority: CertificateAuthority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(authority.path, broker_files(authority, tmp_path, "broker.example"), None)


def test_another_authority_isnt_trusted(authority: CertificateAuthority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = CertificateAuthority(tmp_path / "other")
    other.make()
    broker = broker_files(other, tmp_path, "broker.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(authority.path, broker, client_files(authority, tmp_path))


def test_a_client_s_certificate_ends_with_its_enrolment(authority: CertificateAuthority, tmp_path: Path) -> None:
    made = x509.load_pem_x509_certificate(client_files(authority, tmp_path)[0].read_bytes())
    assert made.not_valid_after_utc == SOON
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_the_authority_s_key_is_for_nobody_elses_eyes(authority: CertificateAuthority, tmp_path: Path) -> None:
    key = tmp_path / "authority.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others than its owner may read it"):
        authority.certify_user("client-a", new_key().public_key(), SOON)


@pytest.mark.parametrize("host", ["bröker.example", "\u2603"])
def test_a_host_that_a_certificate_cant_name_is_refused(
    authority: CertificateAuthority, tmp_path: Path, host: str
) -> None:
    with pytest.raises(ConfigurationError, match="neither a host's name nor an address"):
        broker_files(authority, tmp_path, host)


def test_a_clock_that_is_a_day_slow_finds_a_new_certificate_right(authority: CertificateAuthority) -> None:
    text = authority.certify_user("anna", new_key().public_key(), SOON)
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert certificate.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=23)
