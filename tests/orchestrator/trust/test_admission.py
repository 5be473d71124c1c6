"""Admission without an operator: who is let in that asks in a folder, and who isn't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.trust import admission as module
from orchestrator.trust.admission import Admission
from orchestrator.trust.authority import Authority
from tasks.errors import ConfigurationError
from tasks.trust.keys import new_key, public_text
from tasks.trust.papers import Package, Request, package_in, request_in, requests_in
from tests.integration import harness


class Machine:
    """An operator's folder, its broker, and the two folders in which clients ask and find the answer."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.requests, self.packages = folder / "requests", folder / "packages"
        self.requests.mkdir()
        self.packages.mkdir()
        self.authority = Authority.make(folder / "op", broker)
        self.admission = Admission(self.authority, self.requests, self.packages)

    def ask(self, client_id: str, key: Ed25519PrivateKey | None = None, count: int | None = None) -> Path:
        key = key or new_key()
        asked = Request(client_id=client_id, count=count, key=public_text(key), password_digest="a" * 64)
        asked.save(path := request_in(self.requests, client_id), key)
        return path

    def look(self) -> list[str]:
        return list(self.admission.look())

    def standings(self) -> dict[str, str]:
        return {client.client_id: client.standing for client in self.authority.clients.all()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Such folders, of a broker that takes what it is told."""
    monkeypatch.setattr("orchestrator.trust.at_broker.tell", lambda authority: "")
    return Machine(tmp_path, "redis+socket:///nowhere")


def test_who_asks_is_let_in_and_finds_its_package(machine: Machine) -> None:
    # Given a client that asks, and a worker of many
    machine.ask("anna", key := new_key())
    machine.ask("lab", count=20)
    # When the requests are looked at
    said = machine.look()
    # Then both are in, each with a package for its own key, and nothing is left to do
    assert [line.split(" is ")[0] for line in said] == ["anna", "lab (20 clients)"]
    assert Package.read(package_in(machine.packages, "anna")).key == public_text(key)
    assert machine.standings() == {"anna": "enrolled", "lab": "enrolled"}
    assert (requests_in(machine.requests), machine.look()) == ([], [])


def test_an_id_that_is_enrolled_is_nobody_else_s(machine: Machine) -> None:
    # Given a client that was let in
    machine.ask("anna", key := new_key())
    machine.look()
    # When another asks by its id, then that is refused, and the package stays
    machine.ask("anna")
    assert machine.look() == [
        "refused: client anna is enrolled with another key: revoke that first, if this one is right"
    ]
    assert Package.read(package_in(machine.packages, "anna")).key == public_text(key)
    assert requests_in(machine.requests) == []
    # But it is given a package again itself
    machine.ask("anna", key)
    assert machine.look()[0].startswith("anna is enrolled until")


def test_who_was_revoked_stays_out_by_another_id_and_by_another_key(machine: Machine) -> None:
    machine.ask("anna", key := new_key())
    machine.look()
    machine.authority.revoke("anna")
    for client_id, own in (("anna", key), ("berta", key), ("anna", new_key())):
        machine.ask(client_id, own)
        assert machine.look() == [f"refused: client {client_id} was revoked"]
    assert machine.standings() == {"anna": "revoked"}


def test_no_more_are_let_in_than_the_operator_s_folder_is_to_hold(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    machine.ask("anna", key := new_key())
    machine.look()
    machine.ask("berta")
    machine.ask("anna", key)
    said = machine.look()
    assert said[0].startswith("anna is enrolled until") or said[1].startswith("anna is enrolled until")
    assert "refused: client berta: 1 clients were let in, no more are" in said
    assert machine.standings() == {"anna": "enrolled"}


def test_what_is_no_request_is_refused_and_goes(machine: Machine) -> None:
    # Given files that are none: nonsense, one that was changed, one of another's key
    (machine.requests / "a.request.json").write_text("{")
    changed = machine.ask("berta")
    changed.write_text(json.dumps({**json.loads(changed.read_text()), "client_id": "bertha"}))
    machine.ask("orchestrator")
    # When they are looked at, then nobody is let in
    said = machine.look()
    assert [line.startswith("refused: ") for line in said] == [True] * 3
    assert (machine.standings(), requests_in(machine.requests)) == ({}, [])


def test_neither_folders_nor_links_are_read(machine: Machine) -> None:
    # Given a folder by a request's name, and a link to a file of the operator's
    (machine.requests / "a.request.json").mkdir()
    secret = machine.authority.folder / "orchestrator" / "password"
    (machine.requests / "b.request.json").symlink_to(secret)
    # When requests are looked for, then there are none, and the file stays
    assert machine.look() == []
    assert secret.is_file()


def test_a_request_waits_until_the_broker_knows(tmp_path: Path) -> None:
    # Given a broker that is away
    with harness.server() as server:
        url = harness.url(server.client)
    machine = Machine(tmp_path, url)
    machine.ask("anna")
    # When the requests are looked at, then that is said, and no client is told that it may come
    (line,) = machine.look()
    assert line.startswith("the broker doesn't know yet of clients that ask: ")
    assert not package_in(machine.packages, "anna").exists()
    assert len(requests_in(machine.requests)) == 1


def test_a_folder_that_isnt_there_is_refused(machine: Machine) -> None:
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        Admission(machine.authority, machine.requests / "none", machine.packages)


def test_an_operator_s_folder_may_be_made_where_empty_ones_are_mounted(tmp_path: Path) -> None:
    # Given a folder with another in it, and nothing else
    (tmp_path / "op" / "broker").mkdir(parents=True)
    # When it is made an operator's, then it is one
    made = Authority.make(tmp_path / "op", "rediss://redis:6379/0", ("redis",), 6379)
    assert made.users.is_file()
    # But not where anything is in it
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="there is something else in it"):
        Authority.make(tmp_path / "other", "rediss://redis:6379/0", ("redis",), 6379)
