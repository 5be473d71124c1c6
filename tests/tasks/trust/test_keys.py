"""Keys in files and as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tasks.errors import ConfigurationError
from tasks.trust.keys import fingerprint, load_key, new_key, public_text, read_public, save_key


def test_a_key_is_read_as_it_was_saved_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "key.pem"
    save_key(path, key)
    assert load_key(path).private_bytes_raw() == key.private_bytes_raw()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    save_key(path, new_key())
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_key(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(ConfigurationError, match="No such file"):
        load_key(path)
    path.touch(0o600)
    with pytest.raises(ConfigurationError, match="can't be read as a key"):
        load_key(path)
    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    with pytest.raises(ConfigurationError, match="isn't an Ed25519 key"):
        load_key(path)


def test_a_public_key_is_the_same_as_text() -> None:
    key = new_key()
    text = public_text(key)
    assert len(text) == 44
    assert public_text(read_public(text)) == text
    assert fingerprint(read_public(text)) == fingerprint(key) != fingerprint(new_key())
    assert re.fullmatch(r"([A-Z2-7]{6}-){3}[A-Z2-7]{6}", fingerprint(key))


@pytest.mark.parametrize("text", ["", "AAAA", "é" * 44, "A" * 44, "!" * 44])
def test_a_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="isn't a public key"):
        read_public(text)
