"""Requests and packages: signed, bounded, and refused in one line when anything is wrong with them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.errors import ConfigurationError
from tasks.trust.keys import new_key, public_text
from tasks.trust.papers import MAX_BYTES, Package, Request

DIGEST = "a" * 64
ANOTHER = public_text(Ed25519PrivateKey.from_private_bytes(bytes(32)))
"""Another's key."""


def request_of(key: Ed25519PrivateKey, **given: Any) -> Request:
    return Request(**{"client_id": "hospital-a", "key": public_text(key), "password_digest": DIGEST, **given})


def package_of(key: Ed25519PrivateKey, orchestrator: Ed25519PrivateKey, **given: Any) -> Package:
    fields = {
        "client_id": "hospital-a",
        "key": public_text(key),
        "orchestrator": public_text(orchestrator),
        "broker": "rediss://broker:6379/0",
        "until": datetime.now(UTC) + timedelta(days=1),
    }
    return Package(**{**fields, **given})


def changed(path: Path, **fields: Any) -> Path:
    """The file with other fields, and the signature that it had."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A request's file."""
    key = new_key()
    request_of(key, count=3).save(tmp_path / "r.json", key)
    return tmp_path / "r.json"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A package's file."""
    orchestrator = new_key()
    package_of(new_key(), orchestrator).save(tmp_path / "p.json", orchestrator)
    return tmp_path / "p.json"


def one_line(kind: type[Request | Package], path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        kind.read(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert "\n" not in told
    return told


def test_each_is_read_as_it_was_written(tmp_path: Path) -> None:
    key, orchestrator, path = new_key(), new_key(), tmp_path / "paper.json"
    for paper, signer in ((request_of(key, count=3), key), (package_of(key, orchestrator), orchestrator)):
        paper.save(path, signer)
        assert type(paper).read(path) == paper


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", "hospital-b"),
        ("count", 4),
        ("count", None),
        ("password_digest", "b" * 64),
        ("key", ANOTHER),
        ("signature", "A" * 88),
        ("signature", None),
    ],
)
def test_a_request_that_was_altered_is_refused(asked: Path, field: str, value: object) -> None:
    # Given a request of which one field is another than was signed, when it is read, then it is refused
    assert "sign" in one_line(Request, changed(asked, **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", "hospital-b"),
        ("broker", "redis://broker:6379/0"),
        ("authority", "another's"),
        ("certificate", "another's"),
        ("until", "2099-01-01T00:00:00Z"),
        ("orchestrator", ANOTHER),
    ],
)
def test_a_package_that_was_altered_is_refused(given: Path, field: str, value: object) -> None:
    # Given a package of which one field is another than was signed, when it is read, then it is refused
    assert "signature isn't right" in one_line(Package, changed(given, **{field: value}))


def test_neither_passes_for_the_other(asked: Path, given: Path) -> None:
    assert "it is no package" in one_line(Package, asked)
    assert "it is no request" in one_line(Request, given)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"client_id": "../a"}, "client id"),
        ({"client_id": "a" * 65}, "client id"),
        ({"count": 0}, "count"),
        ({"count": 100_001}, "count"),
        ({"password_digest": "short"}, "password_digest"),
        ({"key": "none"}, "public key"),
        ({"more": 1}, "more"),
    ],
)
def test_what_a_request_may_not_say_is_named(asked: Path, fields: dict[str, Any], said: str) -> None:
    assert said in one_line(Request, changed(asked, **fields))


def test_an_end_without_its_time_zone_is_refused(given: Path) -> None:
    assert "until" in one_line(Package, changed(given, until="2099-01-01T00:00:00"))


@pytest.mark.parametrize("text", ["", "[]", "{", "1", "[" * 10_000, "{" + " " * MAX_BYTES + "}", "\ud800", "{}"])
def test_what_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "it is no request" in one_line(Request, path)


def test_a_pipe_that_takes_a_file_s_place_isnt_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipe where there was a file when it was looked for
    os.mkfifo(path := tmp_path / "r.json")
    monkeypatch.setattr("tasks.trust.papers.is_file", lambda _: True)
    # When it is read, then that is said at once
    assert "it is no file any more" in one_line(Request, path)


def test_one_that_isnt_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in one_line(Request, tmp_path / "r.json")
