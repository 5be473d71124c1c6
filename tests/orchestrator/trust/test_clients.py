"""Who is enrolled: by which ids, until when, and what of it counts in a run that is on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.trust.clients import Client, Clients
from tasks.errors import ConfigurationError
from tasks.trust.keys import new_key, public_text
from tasks.trust.papers import Request
from tasks.trust.signing import NotSignedError

NOW = datetime.now(UTC)


def client(client_id: str, count: int | None = None, **given: Any) -> Client:
    key = public_text(new_key())
    fields = {"client_id": client_id, "count": count, "key": key, "password_digest": "a" * 64}
    return Client(**{**fields, "approved": NOW, "until": NOW + timedelta(days=1), **given})


def request(client_id: str, count: int | None = None) -> Request:
    return Request(client_id=client_id, count=count, key=public_text(new_key()), password_digest="a" * 64)


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    """Nobody yet."""
    return Clients(tmp_path / "clients")


def test_a_client_is_found_by_its_id(clients: Clients) -> None:
    clients.save(anna := client("anna"))
    assert clients.find("anna") == clients.named("anna") == anna
    assert public_text(clients.key_of("anna")) == anna.key
    assert clients.find("anna-1") is None


@pytest.mark.parametrize(
    ("client_id", "is_one"),
    [("lab-2-01", True), ("lab-2-20", True), ("lab-2-00", False), ("lab-2-21", False), ("lab-2-1", False)]
    + [
        (name, False)
        for name in ("lab-2-001", "lab-2", "lab-2-", "lab-2-٠١", "lab-2-+1", "lab-01", "lab-2-01-1", "-", "")
    ],
)
def test_of_a_worker_s_clients_exactly_its_own_have_its_key(clients: Clients, client_id: str, is_one: bool) -> None:
    clients.save(lab := client("lab-2", 20))
    assert clients.find(client_id) == (lab if is_one else None)


def test_who_isnt_enrolled_has_no_key(clients: Clients) -> None:
    with pytest.raises(NotSignedError, match="client anna isn't enrolled"):
        clients.key_of("anna")


def test_who_is_revoked_in_a_running_run_has_no_key_from_then_on(clients: Clients, tmp_path: Path) -> None:
    # Given a run that has read a client's file
    running = Clients(tmp_path / "clients")
    clients.save(anna := client("anna"))
    running.key_of("anna")
    # When it is revoked by another process, then the run knows
    clients.save(anna.model_copy(update={"status": "revoked"}))
    with pytest.raises(NotSignedError, match="the enrolment of client anna was revoked"):
        running.key_of("anna")


def test_who_has_expired_has_no_key(clients: Clients) -> None:
    clients.save(anna := client("anna", until=NOW - timedelta(seconds=1)))
    assert anna.standing == "expired"
    with pytest.raises(NotSignedError, match=r"the enrolment of client anna ended on \d{4}-"):
        clients.key_of("anna")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]"])
def test_a_damaged_file_lets_nobody_in_and_ends_no_run(clients: Clients, tmp_path: Path, content: bytes) -> None:
    clients.save(client("anna"))
    (tmp_path / "clients" / "anna.json").write_bytes(content)
    with pytest.raises(NotSignedError, match=r"anna\.json: it is damaged"):
        clients.key_of("anna")
    with pytest.raises(ConfigurationError, match="damaged"):
        list(clients.all())


@pytest.mark.parametrize(
    ("there", "asked", "overlaps"),
    [
        (("c", 500), ("c-001", None), True),
        (("c", 500), ("c-999", None), True),  # the rules at the broker know digits, no numbers
        (("c-001", None), ("c", 500), True),
        (("c", 500), ("c-01", None), False),
        (("c", 500), ("c-0001", None), False),
        (("c-1", None), ("c", 500), False),
        (("c-1", 5), ("c", 5), False),
        (("c", None), ("d", None), False),
        (("c.d", 5), ("cxd-1", None), False),
    ],
)
def test_ids_that_could_be_each_others_overlap(
    clients: Clients,
    there: tuple[str, int | None],
    asked: tuple[str, int | None],
    overlaps: bool,
) -> None:
    clients.save(client(*there))
    assert clients.overlapping(request(*asked)) == (there[0] if overlaps else "")
