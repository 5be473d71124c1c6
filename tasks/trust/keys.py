"""Ed25519 keys (RFC 8032): made, kept in files that nobody else may read, and written as text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tasks.errors import ConfigurationError
from tasks.files import replacing

_FINGERPRINT_BYTES = 15
_GROUP = 6


def new_key() -> Ed25519PrivateKey:
    """Return a new key."""
    return Ed25519PrivateKey.generate()


def save_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a key into a file, as PEM, which its owner alone may read."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(pem)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a key from a file.

    Raises:
        ConfigurationError: If there is none, or others than its owner may read it.
    """
    check_private(path)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: it can't be read as a key ({error})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path}: it isn't an Ed25519 key")
    return key


def check_private(path: Path) -> None:
    """Refuse a file with a secret that isn't there, or that others than its owner may read.

    Raises:
        ConfigurationError: If it is so.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"{path}: others than its owner may read it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}, and ask "
            "for a new one if somebody may have read it"
        )


def read_password(path: Path) -> str:
    """Read a password from a file.

    Raises:
        ConfigurationError: If there is none, or others than its owner may read it.
    """
    check_private(path)
    try:
        password = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        password = ""
    if not password:
        raise ConfigurationError(f"{path}: it can't be read as a password")
    return password


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return a public key as 44 characters of base64."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes_raw()).decode()


def read_public(text: str) -> Ed25519PublicKey:
    """Return the public key of a text that :func:`public_text` made.

    Raises:
        ConfigurationError: If it isn't one.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise ConfigurationError(f"{text!r:.60} isn't a public key") from None


def fingerprint(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return what two people read out to each other to see that they mean the same public key.

    It is 120 bits of its SHA-256 digest, in base32: four groups of six letters and digits.
    """
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    digest = hashlib.sha256(public.public_bytes_raw()).digest()[:_FINGERPRINT_BYTES]
    text = base64.b32encode(digest).decode()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))
