"""Orchestrator and clients of different versions: the present one, and a next one that is made of it here."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from tasks.own_packages import OWN_PACKAGES
from tests.integration.harness import ROOT, Field, history, wait_until

SAYS_MORE = {
    "tasks/announcement.py": r"class Announcement\(BaseModel\):",
    "tasks/broker/run_lock.py": r"class Notice\(BaseModel\):",
    "tasks/messages.py": r"class (?:Response|Order|Study)\(Message\):",
    "tasks/blobs/blob.py": r"class BlobRef\(BaseModel\):",
}
"""File -> the messages in it that have a field more."""

Release = Callable[[str, int], str]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Makes a version with a field more in all that is said, which speaks a protocol; returns its folder."""

    def make(name: str, protocol: int) -> str:
        folder = tmp_path / name
        for package in OWN_PACKAGES:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file, classes in SAYS_MORE.items():
            path = folder / file
            field = r'\1\n\n    later: str = "more"'
            text, number = re.subn(rf'({classes}\n    """[^"]*""")', field, path.read_text())
            assert number == (3 if "|" in classes else 1), file
            path.write_text(text)
        path = folder / "tasks" / "protocol.py"
        path.write_text(path.read_text().replace("PROTOCOL = 2\n", f"PROTOCOL = {protocol}\n"))
        return str(folder)

    return make


def test_a_later_client_or_orchestrator_works_with_the_present_other(
    field: Field, broker: Redis, tmp_path: Path, release: Release
) -> None:
    present, later = str(ROOT), release("later", 2)
    for name, client_path, orchestrator_path in (("client", later, present), ("orchestrator", present, later)):
        # Given a client, when an orchestrator of the other version trains with it
        client = field.client(broker, f"with-{name}", PYTHONPATH=client_path)
        run_dir = tmp_path / f"run-{name}"
        field.run(run_dir, "--rounds 2 --clients 1", broker=broker, PYTHONPATH=orchestrator_path).succeeds()
        # Then it has taken part in each round, has evaluated the model, and ends with the run
        records = history(run_dir)
        assert [each["status"] for record in records for each in record["responses"].values()] == ["trained"] * 2
        assert records[-1]["num_evaluated"] == 1
        client.succeeds()


def test_another_protocol_is_told_of_on_both_sides(
    field: Field, broker: Redis, tmp_path: Path, release: Release
) -> None:
    # Given a client that speaks a later protocol and has its own data, and one that is to get a part
    later = release("later", 3)
    own = field.client(broker, "own", PYTHONPATH=later, CLIENT_PART="1/1")
    shared = field.client(broker, "shared", PYTHONPATH=later)
    wait_until(lambda: "joined" in own.output, "it has joined")
    # When an orchestrator of this version waits for clients
    program = field.run(tmp_path / "run", "--rounds 1 --clients 1 --wait-timeout 20", broker=broker)
    # Then each side says that the other isn't understood, and of which version it is
    why = r"it speaks protocol {} \(celeriac [\d.]+\), here it is {} \(celeriac [\d.]+\): upgrade the older one"
    assert program.wait() != 0
    assert re.search(rf"client own passed over: {why.format(3, 2)}", program.output)
    assert re.search(rf"passed over by the run: {why.format(3, 2)}", own.output)
    assert re.search(rf"client shared can't take part in run \S+: {why.format(2, 3)}", shared.output)
