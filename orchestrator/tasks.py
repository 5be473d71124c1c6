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
from orchestrator.jobs.evaluation import evaluate_model
from orchestrator.jobs.ingest import ingest_responses
from orchestrator.jobs.initialise import make_model
from orchestrator.jobs.job import Job, Loaded
from orchestrator.jobs.streaming_mean import add_next, is_streamed
from orchestrator.jobs.verify import judged, verify_updates
from orchestrator.store.records import PeerScores
from orchestrator.store.run_folder import RunFolder
from tasks import names
from tasks.described import described
from tasks.errors import FederationError
from tasks.messages import Response, decode
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder

logger = logging.getLogger(__name__)


@shared_task(name=names.INITIALISE_TASK, bind=True)
def initialise(self: Any, run_dir: str) -> dict[str, object]:
    """Write the run's initial model and return how good it is."""
    job = _job(self, run_dir, 0)
    return _value("initialise", job, lambda: make_model(job))


@shared_task(name=names.INGEST_TASK, bind=True)
def ingest(
    self: Any, run_dir: str, round_number: int, responses: list[dict[str, object]], exchange: str = TrainOrder.name
) -> None:
    """Take in answers of a round; a part of the round's chord, so it must not fail. Their records are on disk then."""
    job = _job(self, run_dir, round_number)
    if job.opened is None:
        return
    ingest_responses(job, [decode(Response, response) for response in responses], exchange)
    if is_streamed(job):
        add_next(job, exchange)


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
    return _value(name, job, work)


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
