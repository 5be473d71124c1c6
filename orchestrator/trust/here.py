"""Enrolment without an operator: of the clients that a run starts on this machine, for as long as it is on."""

from __future__ import annotations

from pathlib import Path

from orchestrator.trust.authority import Authority
from tasks.trust.enrolment import Enrolment


def enrol_here(authority: Authority, client_id: str, count: int | None) -> Path:
    """Enrol a client, or a worker of many, and return the folder with its enrolment."""
    own = Enrolment.make(authority.folder / "here" / client_id)
    client = authority.approve(own.request(client_id, count))
    given = own.folder / "given.json"
    authority.package(client).save(given, authority.key)
    own.accept(given)
    return own.folder
