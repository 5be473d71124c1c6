"""``audit.jsonl`` in a run's folder: which signed update went into which model, and what was refused.

Each line is signed by the orchestrator and has the digest of the line before it, so that none can be changed, left out
or put in later without its key. What a client sent stands there as the client signed it: that not even the orchestrator
can make up. There is such a trail where clients are enrolled; ``python -m orchestrator.trust audit`` checks it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.store.records import COUNTED, RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks.digests import digest_of_file
from tasks.errors import ConfigurationError, RunFolderError
from tasks.files import append_line
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.scope import ClientScope
from tasks.trust.keys import public_text, read_public
from tasks.trust.signing import ANSWER, NotSignedError, check_signed, signed

_LINE = "audit"
KeyOf = Callable[[str], Ed25519PublicKey]
"""Client id -> the key that it was enrolled with.

Raises:
    NotSignedError: If it never was.
"""


class Entry(BaseModel):
    """A line of the trail, but for its signature.

    Attributes:
        number: Which line it is, from 1.
        before: SHA-256 digest of the line before it; empty of the first.
        what: ``run``: the orchestrator began, or went on; ``answer``: a client sent an update; ``round``: one closed.
        said: What there is to say of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    before: str
    what: Literal["run", "answer", "round"]
    said: dict[str, Any]


class AuditTrail:
    """The trail of a run that is on; one that is taken up again goes on with it.

    Args:
        folder: The run's folder.
        run_id: The run.
        key: The orchestrator's key.

    Raises:
        RunFolderError: If what there is of it is damaged.
    """

    def __init__(self, folder: RunFolder, run_id: str, key: Ed25519PrivateKey) -> None:
        self._path, self._key = folder.audit, key
        self._number, self._before = 0, ""
        closed = 0
        for entry, line in read_trail(self._path):
            self._number, self._before = entry.number, _digest(line)
            closed += entry.what == "round"
        self._add("run", {"run_id": run_id, "orchestrator": public_text(key)})
        for record in folder.history()[closed:]:  # the orchestrator was killed as it closed this round
            self.note_round(record)

    def note_answer(self, answer: dict[str, Any], key: Ed25519PublicKey) -> None:
        """Note an answer that brings an update, as it was signed, and the key that it was signed with."""
        self._add("answer", {"answer": answer, "key": public_text(key)}, durable=False)

    def note_round(self, record: RoundRecord) -> None:
        """Note a round that was closed."""
        self._add("round", _told(record))

    def _add(self, what: str, said: Mapping[str, object], *, durable: bool = True) -> None:
        entry = {"number": self._number + 1, "before": self._before, "what": what, "said": dict(said)}
        line = json.dumps(signed(_LINE, entry, self._key), separators=(",", ":"))
        append_line(self._path, line, durable=durable)
        self._number, self._before = self._number + 1, _digest(line.encode())


def _told(record: RoundRecord) -> dict[str, object]:
    slots = {
        client_id: {"status": slot.status.value, "reason": slot.reason, "digest": slot.digest}
        for client_id, slot in record.responses.items()
    }
    return {
        "round_number": record.round_number,
        "status": record.status,
        "slots": slots,
        "model": record.digest,
        "state": record.state_digest,
    }


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def read_trail(path: Path) -> Iterator[tuple[Entry, bytes]]:
    """Yield the lines of a trail, each with its bytes; none if there is no trail. A last one that was cut short isn't.

    Raises:
        RunFolderError: If a line is no entry.
    """
    try:
        *lines, _cut_short = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{path} is damaged: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            yield Entry.model_validate({name: entry[name] for name in Entry.model_fields}), line
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
            raise RunFolderError(f"{path}: line {number} is no entry of a trail") from None


def problems(folder: RunFolder, orchestrator: Ed25519PublicKey, key_of: KeyOf) -> Iterator[str]:
    """Yield what is wrong with a run's trail, or with the models and the history that it tells of.

    Args:
        folder: The run's folder.
        orchestrator: The orchestrator's key.
        key_of: The keys of its clients, those whose enrolment is over included.

    Raises:
        RunFolderError: If trail or history can't be read.
    """
    run_id = folder.config().run_id
    before, sent, rounds = "", set[tuple[str, str]](), list[dict[str, Any]]()
    for expected, (entry, line) in enumerate(read_trail(folder.audit), 1):
        where = f"line {expected}"
        if entry.number != expected or entry.before != before:
            yield f"{where} doesn't follow the one before it: a line was changed, left out or put in"
        try:
            check_signed(_LINE, json.loads(line), orchestrator)
        except NotSignedError as error:
            yield f"{where} isn't the orchestrator's: {error}"
        before = _digest(line)
        if entry.what == "answer":
            yield from (f"{where}: {what}" for what in _wrong_with_answer(entry.said, key_of))
            sent.add(_sent(entry.said))
        elif entry.what == "round":
            rounds.append(entry.said)
            yield from (f"{where}: {what}" for what in _never_sent(run_id, entry.said, sent))
    if not rounds:
        yield "it tells of no round"
    yield from _differences(folder, rounds)


def _wrong_with_answer(said: Mapping[str, Any], key_of: KeyOf) -> Iterator[str]:
    answer = said.get("answer")
    client_id = str(answer.get("client_id")) if isinstance(answer, dict) else "?"
    try:
        check_signed(ANSWER, answer, read_public(str(said.get("key"))))
        if public_text(key_of(client_id)) != said["key"]:
            yield f"client {client_id} was enrolled with another key since"
    except (NotSignedError, ConfigurationError) as error:
        yield f"the answer of client {client_id} isn't its own: {error}"


def _sent(said: Mapping[str, Any]) -> tuple[str, str]:
    """Return which order an answer is for, and the digest of the update that it brings."""
    try:
        return str(said["answer"]["order_id"]), str(said["answer"]["update"]["digest"])
    except (KeyError, TypeError):
        return "", ""


def _never_sent(run_id: str, said: Mapping[str, Any], sent: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the updates that a round took in and that nobody signed for it."""
    try:
        number = said["round_number"]
        slots = said["slots"].items()
        counted = {client_id: str(slot["digest"]) for client_id, slot in slots if slot["status"] in COUNTED}
    except (KeyError, TypeError, AttributeError):
        yield "it tells of no round"
        return
    for client_id, digest in counted.items():
        scope = ClientScope(client_id)
        orders = (scope.order_id(run_id, number, kind.name) for kind in (TrainOrder, SurveyOrder))
        if not any((order_id, digest) in sent for order_id in orders):
            yield f"round {number} took in an update of client {client_id} that it didn't sign for that round"


def _differences(folder: RunFolder, rounds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the history and the models on disk have other than the trail."""
    history = [_told(record) for record in folder.history()]
    if len(history) != len(rounds):
        killed = len(history) == len(rounds) + 1
        hint = ": if the orchestrator was killed as it closed the last, the trail has it once the run goes on"
        yield f"history.jsonl has {len(history)} rounds, the trail {len(rounds)}{hint if killed else ''}"
    for told, noted in zip(history, rounds, strict=False):
        number = told["round_number"]
        if told != noted:
            yield f"history.jsonl tells something else of round {number}"
        paths = {"model": folder.checkpoint(int(str(number))), "state": folder.state(int(str(number)))}
        for name, path in paths.items():
            if path.exists() and digest_of_file(path) != noted.get(name):
                yield f"{path.name} isn't the {name} that round {number} ended with"
