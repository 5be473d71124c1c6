"""The certificates by which broker and clients know each other over TLS (X.509, RFC 5280)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tasks.errors import ConfigurationError
from tasks.files import replace_text, replacing
from tasks.trust.keys import check_private

AUTHORITY_DAYS = 3650
"""Days for which the certificates of the authority, the broker and the orchestrator hold, made once and together."""
DAYS = 365
"""Days for which a client's enrolment holds, and its certificate."""
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_BEFORE = timedelta(days=1)
"""By how much a clock elsewhere may be slow."""


class CertificateAuthority:
    """A certificate authority of this federation's own.

    Args:
        folder: Where its key and certificate are.
    """

    def __init__(self, folder: Path) -> None:
        self._key_path, self.path = folder / "authority.key", folder / "authority.pem"

    def make(self) -> None:
        """Make its key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "celeriac authority")])
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = _begun(name, name, key.public_key(), datetime.now(UTC) + timedelta(days=AUTHORITY_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        save_private(self._key_path, key)
        certificate = builder.sign(key, hashes.SHA256())
        replace_text(self.path, certificate.public_bytes(serialization.Encoding.PEM).decode())

    @property
    def text(self) -> str:
        """Its certificate, as PEM."""
        try:
            return self.path.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.path}: it is damaged ({error})") from None

    def certify_broker(self, hosts: Sequence[str], public_key: ec.EllipticCurvePublicKey, path: Path) -> None:
        """Write the certificate of a broker that is reached by these names or addresses."""
        names = x509.SubjectAlternativeName([general_name(host) for host in hosts])
        until = datetime.now(UTC) + timedelta(days=AUTHORITY_DAYS)
        replace_text(path, self._issue(hosts[0], public_key, until, ExtendedKeyUsageOID.SERVER_AUTH, names))

    def certify_user(self, user: str, public_key: Ed25519PublicKey, until: datetime) -> str:
        """Return the certificate, as PEM, that a user shows the broker."""
        return self._issue(user, public_key, until, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        name: str,
        public_key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
        until: datetime,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None = None,
    ) -> str:
        check_private(self._key_path)
        try:
            key = serialization.load_pem_private_key(self._key_path.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(self.path.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(f"{self._key_path.parent}: it isn't a whole authority ({error})") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{self._key_path}: it isn't this authority's key")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        builder = _begun(subject, certificate.subject, public_key, until)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(authority, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def save_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key into a file, as PEM, which its owner alone may read."""
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(pem)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | Ed25519PublicKey, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - _BEFORE).not_valid_after(until)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def general_name(host: str) -> x509.GeneralName:
    """Return how a certificate names a host.

    Raises:
        ConfigurationError: If it is neither a name nor an address.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _NAME.fullmatch(host):
        raise ConfigurationError(f"{host!r:.80}: it is neither a host's name nor an address")
    return x509.DNSName(host)
