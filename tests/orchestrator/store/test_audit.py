"""The audit trail: what is right has no problems, and whatever is changed afterwards is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.store.audit import AuditTrail, problems
from orchestrator.store.records import RoundRecord, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.errors import RunFolderError
from tasks.messages import Status, encode
from tasks.trust.keys import new_key
from tasks.trust.signing import ANSWER, NotSignedError, signed
from tests.support import blob_ref, round_record, run_config, train_order, trained

ORCHESTRATOR, KEYS = new_key(), {"anna": new_key(), "bert": new_key()}
Lines = list[dict[str, Any]]


def key_of(client_id: str) -> Ed25519PublicKey:
    if client_id not in KEYS:
        raise NotSignedError(f"{client_id} isn't enrolled")
    return KEYS[client_id].public_key()


def found(folder: RunFolder) -> list[str]:
    return list(problems(folder, ORCHESTRATOR.public_key(), key_of))


def answer(client_id: str, round_number: int) -> dict[str, Any]:
    order = train_order(client_id, round_number)
    update = blob_ref(order.update_blob, digest=digest(client_id, round_number))
    return signed(ANSWER, encode(trained(order, update)), KEYS[client_id])


def digest(client_id: str, round_number: int) -> str:
    return f"{round_number}{'a' if client_id == 'anna' else 'b'}" * 32


def close(folder: RunFolder, round_number: int) -> RoundRecord:
    """Close a round with anna's update taken in, and bert's rejected."""
    written = arrays.write_file(folder.checkpoint(round_number), {"w": np.full(3, round_number, np.float32)})
    slots = {
        "anna": SlotRecord(status=Status.TRAINED, num_examples=5, digest=digest("anna", round_number)),
        "bert": SlotRecord(status=Status.REJECTED, reason="NaN", digest=digest("bert", round_number)),
    }
    record = round_record(round_number, responses=slots, digest=written)
    folder.close_round(record)
    return record


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run of two rounds, begun and taken up again."""
    folder = RunFolder.create(tmp_path / "run", run_config())
    for round_number in (1, 2):
        trail = AuditTrail(folder, "run", ORCHESTRATOR)
        for client_id in KEYS:
            trail.note_answer(answer(client_id, round_number), key_of(client_id))
        trail.note_round(close(folder, round_number))
    return folder


def test_a_trail_that_nobody_touched_has_no_problems(folder: RunFolder) -> None:
    kinds = [json.loads(line)["what"] for line in folder.audit.read_text().splitlines()]
    assert kinds == ["run", "answer", "answer", "round"] * 2
    assert found(folder) == []
    assert folder.audit.stat().st_mode & 0o077 == 0


def test_a_round_that_was_closed_as_the_orchestrator_was_killed_is_noted_at_its_next_start(folder: RunFolder) -> None:
    trail = AuditTrail(folder, "run", ORCHESTRATOR)
    trail.note_answer(answer("anna", 3), key_of("anna"))
    close(folder, 3)
    with folder.audit.open("ab") as file:
        file.write(b'{"cut short')
    assert any("history.jsonl has 3 rounds, the trail 2: if the" in told for told in found(folder))
    AuditTrail(folder, "run", ORCHESTRATOR)
    assert found(folder) == []


def set_status(lines: Lines) -> None:
    lines[3]["said"]["slots"]["bert"]["status"] = "trained"


def claim_other_update(lines: Lines) -> None:
    lines[3]["said"]["slots"]["anna"]["digest"] = "c" * 64


def swap(lines: Lines) -> None:
    lines[1], lines[2] = lines[2], lines[1]


CHANGES: dict[str, tuple[Callable[[Lines], object], str]] = {
    "a line left out": (lambda lines: lines.pop(2), "doesn't follow the one before it"),
    "two lines swapped": (swap, "doesn't follow the one before it"),
    "a line twice": (lambda lines: lines.insert(2, lines[1]), "doesn't follow the one before it"),
    "a verdict changed": (set_status, "line 4 isn't the orchestrator's"),
    "another update": (claim_other_update, "client anna that it didn't sign"),
    "the end cut off": (lambda lines: lines.pop(), "history.jsonl has 2 rounds, the trail 1"),
}


@pytest.mark.parametrize(("change", "problem"), CHANGES.values(), ids=CHANGES)
def test_a_trail_that_was_changed_is_found(folder: RunFolder, change: Callable[[Lines], object], problem: str) -> None:
    lines = [json.loads(line) for line in folder.audit.read_text().splitlines()]
    change(lines)
    folder.audit.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert any(problem in told for told in found(folder)), found(folder)


def test_an_update_that_no_client_signed_is_found_though_the_orchestrator_signed_the_trail(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", run_config())
    trail = AuditTrail(folder, "run", ORCHESTRATOR)
    made_up = signed(ANSWER, encode(trained(train_order("anna"))), ORCHESTRATOR)
    trail.note_answer(made_up, key_of("anna"))
    trail.note_round(close(folder, 1))
    told = found(folder)
    assert any("the answer of client anna isn't its own" in problem for problem in told), told


def test_a_model_or_history_that_was_changed_is_found(folder: RunFolder) -> None:
    arrays.write_file(folder.checkpoint(1), {"w": np.zeros(3, np.float32)})
    history = folder.path / "history.jsonl"
    history.write_text(history.read_text().replace('"NaN"', '"bad"', 1))
    assert found(folder) == [
        "history.jsonl tells something else of round 1",
        "round-0001.safetensors isn't the model that round 1 ended with",
    ]


def test_what_is_no_trail_is_said(folder: RunFolder) -> None:
    with folder.audit.open("ab") as file:
        file.write(b"[1]\n")
    with pytest.raises(RunFolderError, match="line 9 is no entry"):
        found(folder)
    folder.audit.unlink()
    assert found(folder)[0] == "it tells of no round"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"round_number": "x"},
        {"round_number": 1, "slots": 3},
        {"round_number": 1, "slots": {"anna": None}},
        {"round_number": 1, "slots": {"anna": {"status": "trained"}}},
    ],
)
def test_a_round_s_line_that_tells_nothing_of_a_round_is_a_problem(folder: RunFolder, said: dict[str, Any]) -> None:
    # Given a line that somebody else has written
    lines = [json.loads(line) for line in folder.audit.read_text().splitlines()]
    lines[3]["said"] = said
    folder.audit.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    # When the trail is checked, then that is told, and all else that there is to tell
    assert "line 4: it tells of no round" in found(folder)
    assert "history.jsonl tells something else of round 1" in found(folder)


def test_a_round_s_line_whose_digest_is_no_text_is_a_problem(folder: RunFolder) -> None:
    lines = [json.loads(line) for line in folder.audit.read_text().splitlines()]
    lines[3]["said"]["slots"]["anna"]["digest"] = []
    folder.audit.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert any("client anna that it didn't sign" in told for told in found(folder))
