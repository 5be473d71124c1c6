"""Closing a round's exchanges: what came and was accepted is aggregated, and the next model written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from celeriac.aggregators import AggregationError
from celeriac.algorithms import State
from orchestrator.jobs.disproportion import rejected
from orchestrator.jobs.group_sums import UpdatesLostError
from orchestrator.jobs.job import Job
from orchestrator.jobs.server_update import next_model, surveyed_sets
from orchestrator.jobs.verify import drop_outliers
from orchestrator.store.records import ACCEPTED, MAX_IN_HISTORY, ClosedRound, ShortResults, SlotRecord, Surveyed
from tasks import arrays, auxiliary, results
from tasks.arrays import Arrays
from tasks.digests import digest_of_file
from tasks.files import link_or_copy
from tasks.orders.survey import SurveyOrder
from tasks.user_code import UserCodeError
from verification.checks import is_finite, within_whole

logger = logging.getLogger(__name__)

Records = Mapping[str, SlotRecord]
"""The records of an exchange's slots by client id, sorted."""


def close_survey(job: Job, records: Records) -> Surveyed:
    """Judge what came in a round's first exchange, and write the aggregate of what is accepted; with too little, fail.

    Asked for again, it comes to the same: what was taken in stays as it is.
    """
    judged = drop_outliers(job, records, SurveyOrder.name)
    counted = {client_id: record for client_id, record in judged.items() if record.is_accepted}
    left_out = {client_id: record for client_id, record in judged.items() if not record.is_accepted}
    try:
        if len(counted) < job.config.min_updates:
            raise ValueError(f"{len(counted)} clients are left, {job.config.min_updates} are needed (--min-updates)")
        aggregate = auxiliary.join({}, surveyed_sets(job, counted))
        if not all(is_finite(values) for values in aggregate.values()):
            raise ValueError("what came aggregates to values that are NaN or infinite")
    except UpdatesLostError as error:
        return close_survey(job, _without(records, error.reasons))
    except (AggregationError, UserCodeError, ValueError, ArithmeticError) as error:
        return Surveyed(left_out=left_out, failed=_failed(job, judged, f"the exchange before training: {error}"))
    digest = arrays.write_file(job.folder.surveyed(job.round_number), aggregate)
    bytes_up = sum(record.size_bytes for record in counted.values())
    return Surveyed(left_out=left_out, bytes_up=bytes_up, digest=digest)


def close_round(job: Job, judged: Records) -> ClosedRound:
    """Aggregate those of a round's updates that are accepted, and write the model; with too few, keep it.

    Args:
        job: The job.
        judged: The records of all slots, see :func:`orchestrator.jobs.verify.judged`.
    """
    responses = dict(judged)
    accepted = {client_id: record for client_id, record in responses.items() if record.status in ACCEPTED}
    if len(accepted) < job.config.min_updates:
        reason = f"{len(accepted)} updates were accepted, {job.config.min_updates} are needed (--min-updates)"
        return _failed(job, responses, reason)
    try:
        parameters, state = next_model(job, accepted)
    except UpdatesLostError as error:
        return close_round(job, _without(judged, error.reasons))
    except (AggregationError, UserCodeError) as error:
        logger.exception("round %d can't be aggregated", job.round_number)
        return _failed(job, responses, str(error))
    except (ValueError, ArithmeticError) as error:  # numbers that clients sent, and that nothing can be made of
        logger.exception("round %d can't be aggregated", job.round_number)
        return _failed(job, responses, f"its updates can't be aggregated: {error}")
    parameters = within_whole(parameters)
    if not all(is_finite(values) for values in auxiliary.join(parameters, state).values()):
        return _failed(job, responses, "its updates aggregate to values that are NaN or infinite")
    state_digest = _write_state(job, state)
    digest = arrays.write_file(job.folder.checkpoint(job.round_number), parameters, job.check_open)
    short = _short(job, state.get(results.KIND, {}))
    return ClosedRound(status="closed", responses=responses, digest=digest, state_digest=state_digest, results=short)


def _without(records: Records, reasons: Mapping[str, str]) -> Records:
    """Return the records, those rejected for which there are reasons: their clients took away what was to be added."""
    for client_id, reason in reasons.items():
        logger.warning("the update of client %s is rejected: %s", client_id, reason)
    return rejected(records, reasons)


def _short(job: Job, reduced: Arrays) -> ShortResults:
    """Return the results that a line of the history has room for; what is put one after the other isn't."""
    return {
        name: (values if values.dtype.kind in "iu" else values.astype(float)).tolist()
        for name, values in reduced.items()
        if values.ndim < 2 and values.size <= MAX_IN_HISTORY and job.results[name].reduction != "concat"
    }


def _failed(job: Job, responses: dict[str, SlotRecord], reason: str) -> ClosedRound:
    """Keep the model, and the algorithm's state, as they were."""
    job.check_open()
    folder, number = job.folder, job.round_number
    digest = _keep(folder.checkpoint(number - 1), folder.checkpoint(number))
    former, path = folder.state(number - 1), folder.state(number)
    path.unlink(missing_ok=True)
    state_digest = _keep(former, path) if former.exists() else ""
    return ClosedRound(status="failed", reason=reason, responses=responses, digest=digest, state_digest=state_digest)


def _write_state(job: Job, state: State) -> str:
    """Write an algorithm's state and return its digest; where it has none, leave none of a former attempt either."""
    path = job.folder.state(job.round_number)
    if state:
        return arrays.write_file(path, auxiliary.join({}, state), job.check_open)
    path.unlink(missing_ok=True)
    return ""


def _keep(previous: Path, path: Path) -> str:
    link_or_copy(previous, path)
    return digest_of_file(path)
