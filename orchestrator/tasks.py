"""The Celery tasks of the orchestrator's own workers; what goes wrong is a value: ``{"error", "exit_code"}``.

Celery gives a task nothing but its message. So what the process has loaded is with the app that it runs under, as the
attribute ``loaded``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import shared_task
from pydantic import BaseModel

from orchestrator.jobs import close_round as closing
from orchestrator.jobs import group_sums
from orchestrator.jobs.elsewhere import Place, job_at, published, withdraw
from orchestrator.jobs.evaluation import evaluate_model
from orchestrator.jobs.ingest import ingest_responses, note_records, with_new_updates
from orchestrator.jobs.initialise import make_model
from orchestrator.jobs.job import Job, Loaded
from orchestrator.jobs.streaming_mean import add_next, is_spread, is_streamed
from orchestrator.jobs.verify import judged, verify_updates
from orchestrator.store.records import PeerScores, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks import names
from tasks.described import described
from tasks.errors import FederationError
from tasks.messages import Response, Status, decode, encode
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.scope import RunScope

logger = logging.getLogger(__name__)


@shared_task(name=names.INITIALISE_TASK, bind=True)
def initialise(self: Any, run_dir: str) -> dict[str, object]:
    """Write the run's initial model and return how good it is."""
    job = _job(self, run_dir, 0)
    return _value("initialise", job, lambda: make_model(job))


@shared_task(name=names.INGEST_TASK, bind=True)
def ingest(
    self: Any,
    run_dir: str,
    round_number: int,
    responses: list[dict[str, object]],
    exchange: str = TrainOrder.name,
    *,
    found: dict[str, dict[str, object]] | None = None,
    opened_at: str = "",
) -> None:
    """Take in answers of a round; their records are on disk then. If this part of a chord fails, all are done again.

    In a round that is spread any own worker takes them in, and says what it ``found`` in a round opened at that time.
    What it couldn't take in is left to this one.
    """
    job = _job(self, run_dir, round_number)
    if job.opened is None:
        return
    answers = [decode(Response, response) for response in responses]
    if found is None and job.loaded.crew is not None and is_spread(job):
        _have_others_ingest(self, job, answers, exchange)
    if found and job.opened.started_at == opened_at:
        note_records(job, {client_id: decode(SlotRecord, record) for client_id, record in found.items()}, exchange)
    ingest_responses(job, answers, exchange)
    if is_streamed(job) and not is_spread(job):
        add_next(job, exchange)


def _have_others_ingest(task: Any, job: Job, answers: list[Response], exchange: str) -> None:
    """Have any own worker take the place of a task, if there are updates among answers that nobody has taken in."""
    new = with_new_updates(job, answers, exchange)
    if not new:
        return
    ingest_responses(job, [each for each in answers if each not in new], exchange)
    place, responses = encode(published(job)), [encode(response) for response in new]
    kwargs = {"place": place, "responses": responses, "exchange": exchange}
    queue = RunScope(job.config.run_id).anywhere_queue
    task.app.loaded.crew.hand_on(task.request, names.INGEST_ANYWHERE_TASK, queue, kwargs)


@shared_task(name=names.INGEST_ANYWHERE_TASK, bind=True)
def ingest_anywhere(self: Any, place: dict[str, object], responses: list[dict[str, object]], exchange: str) -> None:
    """Take in answers of a round wherever this is; who has the run's folder notes what was found."""
    where, loaded = decode(Place, place), self.app.loaded
    answers, found, opened_at = [decode(Response, response) for response in responses], dict[str, SlotRecord](), ""
    try:
        job = job_at(where, loaded)
        found, opened_at = ingest_responses(job, answers, exchange), job.opened.started_at if job.opened else ""
    except Exception as error:  # whatever is missing on this machine
        logger.warning("round %d: updates are left to others: %s", where.round_number, described(error))
    # Who rejects one may have no line to the store.
    accepted = {client_id: record for client_id, record in found.items() if record.status is not Status.REJECTED}
    kwargs = {
        "run_dir": where.run_dir,
        "round_number": where.round_number,
        "responses": [encode(each) for each in answers if each.client_id not in accepted],
        "exchange": exchange,
        "found": {client_id: encode(record) for client_id, record in accepted.items()},
        "opened_at": opened_at,
    }
    loaded.crew.hand_on(self.request, names.INGEST_TASK, RunScope(where.run_id).queue, kwargs)


@shared_task(name=names.SUM_GROUP_TASK, bind=True)
def sum_group(self: Any, place: dict[str, object], group: dict[str, object]) -> dict[str, object]:
    """Take the sum of a group of updates, wherever this is; return nothing if it can't be taken here."""
    try:
        summed = group_sums.sum_anywhere(decode(Place, place), decode(group_sums.Group, group), self.app.loaded)
        return encode(summed) if summed else {}
    except Exception as error:  # who closes the round takes the sum, or finds what is wrong
        logger.warning("the sum of a group of updates is left to others: %s", described(error))
        return {}


@shared_task(name=names.CLOSE_SURVEY_TASK, bind=True)
def close_survey(self: Any, run_dir: str, round_number: int) -> dict[str, object]:
    """Aggregate what came in a round's first exchange: the body of its chord."""
    job = _job(self, run_dir, round_number)
    return _closed("close_survey", job, lambda: closing.close_survey(job, job.records(SurveyOrder.name)))


@shared_task(name=names.VERIFY_UPDATES_TASK, bind=True)
def verify(self: Any, run_dir: str, round_number: int) -> dict[str, object]:
    """Judge a round's updates: the body of its chord where a scorer is asked for. ``close_round`` comes after it."""
    job = _job(self, run_dir, round_number)
    return _closed("verify", job, lambda: verify_updates(job, job.records()))


@shared_task(name=names.CLOSE_ROUND_TASK, bind=True)
def close_round(
    self: Any, run_dir: str, round_number: int, peers: dict[str, object] | None = None
) -> dict[str, object]:
    """Aggregate what was accepted: the body of a round's chord, or what comes after ``verify``."""
    job, scores = _job(self, run_dir, round_number), PeerScores.model_validate(peers or {})
    return _closed("close_round", job, lambda: closing.close_round(job, judged(job, scores)))


@shared_task(name=names.EVALUATE_MODEL_TASK, bind=True)
def evaluate(self: Any, run_dir: str, round_number: int) -> dict[str, object]:
    """Evaluate the model that a round ended with."""
    job = _job(self, run_dir, round_number)
    return _value("evaluate", job, lambda: evaluate_model(job))


def _job(task: Any, run_dir: str, round_number: int) -> Job:
    loaded: Loaded = task.app.loaded
    return Job(RunFolder(Path(run_dir)), round_number, loaded)


def _closed(name: str, job: Job, work: Callable[[], BaseModel]) -> dict[str, object]:
    """Return what comes of closing an exchange of a round: a task that was sent twice may come when all is done."""
    if job.opened is None:
        return {"error": f"round {job.round_number} is closed already", "exit_code": 1}

    def close() -> BaseModel:
        closed = work()
        if is_spread(job):
            withdraw(job)
        return closed

    return _value(name, job, close)


def _value(name: str, job: Job, work: Callable[[], BaseModel]) -> dict[str, object]:
    """Return what a task's work returns, and how long it took."""
    started = time.perf_counter()
    try:
        result = work()
    except FederationError as error:
        if error.__cause__ is None:
            return {"error": str(error), "exit_code": error.exit_code}
        logger.exception("a task of the orchestrator failed")
        return {"error": f"{error}; see logs/jobs.log", "exit_code": error.exit_code}
    except Exception as error:  # the boundary: the orchestrator is told, whatever it was
        logger.exception("a task of the orchestrator failed")
        return {"error": f"{described(error)}; see logs/jobs.log", "exit_code": 1}
    took = {"duration_s": round(time.perf_counter() - started, 6), "cpu_s": job.loaded.untold_cpu_s()}
    return {**result.model_dump(mode="json"), "done": {"job": name, "round_number": job.round_number, **took}}
