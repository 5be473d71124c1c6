"""The Celery tasks of the orchestrator's own workers; what goes wrong is a value: ``{"error", "exit_code"}``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from celery import shared_task
from pydantic import BaseModel, TypeAdapter

from orchestrator import closing
from orchestrator.adding_up import add_up, adds_up
from orchestrator.records import FilledSlot, OpenRound, PeerScores, SlotRecord
from orchestrator.run_folder import RunFolder
from orchestrator.taking_in import take_in
from tasks import names
from tasks.blobs import BlobStore
from tasks.described import described
from tasks.errors import FederationError
from tasks.messages import Answer, TrainOrder, decode

logger = logging.getLogger(__name__)

_PARTS = TypeAdapter(list[FilledSlot])
_stores: list[BlobStore] = []


def use_store(store: BlobStore) -> None:
    """Have the tasks of this process find blobs in ``store``."""
    _stores[:] = [store]


@shared_task(name=names.INITIALISE_TASK)
def initialise(run_dir: str) -> dict[str, object]:
    """Write the run's initial model and return how good it is."""
    return _value(lambda: closing.initialise(RunFolder(Path(run_dir))))


@shared_task(name=names.INGEST_TASK)
def ingest(
    run_dir: str, round_number: int, answer: dict[str, object], exchange: str = TrainOrder.name
) -> dict[str, object]:
    """Take in one answer of a round; a part of the round's chord, so it must not fail."""
    checked, folder = decode(Answer, answer), RunFolder(Path(run_dir))
    opened = _opened(folder, round_number)
    if opened is None:
        return FilledSlot(client_id=checked.client_id, record=SlotRecord.of(checked)).model_dump(mode="json")

    def score(record: SlotRecord) -> SlotRecord:
        return closing.score_as_it_comes(folder, round_number, checked.client_id, record)

    if exchange == TrainOrder.name:
        filled = take_in(folder, _stores[0], round_number, checked, score)
    else:
        filled = take_in(folder, _stores[0], round_number, checked, exchange=exchange)
    if adds_up(folder.config(), opened):
        add_up(folder, opened, exchange)
    return filled.model_dump(mode="json")


@shared_task(name=names.CLOSE_SURVEY_TASK)
def close_survey(parts: list[object], run_dir: str, round_number: int) -> dict[str, object]:
    """Aggregate what came in a round's first exchange: the body of its chord."""
    filled, folder = _PARTS.validate_python(parts), RunFolder(Path(run_dir))
    opened = _opened(folder, round_number)
    if opened is None:
        return {"error": f"round {round_number} is closed already", "exit_code": 1}
    return _value(lambda: closing.close_survey(folder, opened, filled))


@shared_task(name=names.HAND_OUT_TASK)
def hand_out(parts: list[object], run_dir: str, round_number: int) -> dict[str, object]:
    """Hand a round's updates out to be scored by clients: the body of its chord where they verify each other."""
    filled = _PARTS.validate_python(parts)
    return _value(lambda: closing.hand_out(RunFolder(Path(run_dir)), _stores[0], round_number, filled))


@shared_task(name=names.CLOSE_ROUND_TASK)
def close_round(
    parts: list[object], run_dir: str, round_number: int, peers: dict[str, object] | None = None
) -> dict[str, object]:
    """Close a round: the body of its chord, or what comes after the clients have scored."""
    filled = _PARTS.validate_python(parts)
    scores, folder = PeerScores.model_validate(peers or {}), RunFolder(Path(run_dir))
    if _opened(folder, round_number) is None:
        return {"error": f"round {round_number} is closed already", "exit_code": 1}
    return _value(lambda: closing.close_round(folder, round_number, filled, scores))


def _opened(folder: RunFolder, round_number: int) -> OpenRound | None:
    """Return the round if it is still open: a task that was sent twice may come when all is done."""
    opened = folder.open_round()
    return opened if opened is not None and opened.round_number == round_number else None


def _value(work: Callable[[], BaseModel]) -> dict[str, object]:
    try:
        result = work()
    except FederationError as error:
        if error.__cause__ is None:
            return {"error": str(error), "exit_code": error.exit_code}
        logger.exception("a task of the orchestrator failed")
        return {"error": f"{error}; see logs/worker.log", "exit_code": error.exit_code}
    except Exception as error:  # the boundary: the orchestrator is told, whatever it was
        logger.exception("a task of the orchestrator failed")
        return {"error": f"{described(error)}; see logs/worker.log", "exit_code": 1}
    return result.model_dump(mode="json")
