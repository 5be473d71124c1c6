"""The verification of a round's updates before they are aggregated: scorers, thresholds, and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from orchestrator.config import PEERS
from orchestrator.jobs.disproportion import InOrder, drop_disproportionate, outlying_sets, rejected
from orchestrator.jobs.job import Job
from orchestrator.jobs.streaming_mean import is_streamed
from orchestrator.store.records import ACCEPTED, PeerScores, SlotRecord, Verdicts, Verified
from tasks import arrays, auxiliary
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.messages import Status
from tasks.orders.train import TrainOrder
from tasks.scope import RunScope
from tasks.seeds import generator
from verification import (
    Candidate,
    ScoringContext,
    ScoringError,
    checked_scores,
    load_scorer,
    score_of_global,
    scores_alone,
)
from verification.checks import own_length
from verification.thresholds import kept, load_threshold

logger = logging.getLogger(__name__)

ORCHESTRATOR = "@orchestrator"
"""Who scored, where it wasn't a client; no client's id begins like this."""


def score_as_it_comes(job: Job, client_id: str, record: SlotRecord) -> SlotRecord:
    """Return the record of an update that has just been taken in, with what scorers say that look at it alone.

    Taking in must not fail: where one of them can't score it, that is for :func:`judge` to find again and to tell.
    """
    for spec in job.config.verify if record.status in ACCEPTED else ():
        if spec == PEERS:
            continue
        try:
            function = load_scorer(spec)
            if scores_alone(function):
                candidate = _candidate(job, client_id, record)
                scores = checked_scores(function([candidate], _context(job)), [candidate])
                record = _scored(record, spec, scores.get(client_id), ORCHESTRATOR)
        except Exception as error:  # whatever the user's own raises
            logger.info("round %d: %s could not score %s yet: %s", job.round_number, spec, client_id, error)
    return record


def verify_updates(job: Job, records: Mapping[str, SlotRecord]) -> Verified:
    """Judge a round's updates by the orchestrator's scorers, write the verdicts, and hand out what peers are to score.

    Every scorer, the peers too, sees all updates that are in proportion; one that any of them rejects is rejected.
    """
    in_proportion = drop_outliers(job, records)
    job.folder.save_verdicts(job.round_number, Verdicts(records=_judge(job, in_proportion)))
    return Verified(handed_out=_hand_out(job, in_proportion) if job.config.asks_peers else {})


def judged(job: Job, peers: PeerScores) -> dict[str, SlotRecord]:
    """Return the records of a round's updates as they were judged, by peers too if they were asked.

    Without scorers, all that are in proportion are accepted. With a single update there is no peer, and it is taken.
    """
    if not job.config.verify:
        return drop_outliers(job, job.records())
    records = dict(job.folder.verdicts(job.round_number).records)
    for scorer, threshold_text in job.config.scorers():
        if scorer == PEERS and not peers.is_alone:
            accepted = kept(peers.scores, load_threshold(threshold_text), None, job.config.num_byzantine)
            records = _told(records, scorer, threshold_text, peers.scores, peers.scored_by, accepted)
    return records


def _judge(job: Job, in_proportion: Mapping[str, SlotRecord]) -> dict[str, SlotRecord]:
    """Return the records, with the orchestrator's scores, and those rejected that score below a threshold."""
    records = dict(in_proportion)
    for scorer, threshold in job.config.scorers():
        # Mapped anew for each: a scorer is a user's code, and may write to what it is given.
        taken = {name: record for name, record in in_proportion.items() if record.status in ACCEPTED}
        candidates = [_candidate(job, name, record) for name, record in taken.items()]
        if candidates and scorer != PEERS:
            records = _apply(job, scorer, threshold, candidates, records)
    return records


def _hand_out(job: Job, in_proportion: Mapping[str, SlotRecord]) -> dict[str, BlobRef]:
    """Put a round's updates where other clients can read them; their names don't tell whose they are."""
    accepted = [client_id for client_id, record in in_proportion.items() if record.status in ACCEPTED]
    updates = {}
    for number, client_id in enumerate(accepted):
        parameters, _ = auxiliary.split(job.update(client_id))
        name = RunScope(job.config.run_id).handed_out(job.round_number, number)
        updates[client_id] = blob.publish(job.store, name, arrays.encode(parameters))
    return updates


def drop_outliers(
    job: Job, records: Mapping[str, SlotRecord], exchange: str = TrainOrder.name
) -> dict[str, SlotRecord]:
    """Return the records, those rejected that are out of proportion; where updates are verified, outlying sets too.

    Args:
        job: The job.
        records: The records of one of the round's exchanges, by client id.
        exchange: Which of its exchanges.
    """

    def own(part: str) -> float:
        return own_length(part, job.model(), job.buffers)

    if job.opened is None or not is_streamed(job):
        judged = drop_disproportionate(records, own)
    else:
        in_order = InOrder(job.opened.asked(exchange), records.get, own, is_over=True)
        judged = rejected(records, in_order.all_reasons())
    if not job.config.verify:
        return judged
    return rejected(judged, outlying_sets({name: each.lengths for name, each in judged.items() if each.is_accepted}))


def _apply(
    job: Job,
    scorer: str,
    threshold_text: str,
    candidates: Sequence[Candidate],
    judged: Mapping[str, SlotRecord],
) -> dict[str, SlotRecord]:
    threshold, global_score = load_threshold(threshold_text), None
    try:
        scores = _scores(job, scorer, candidates, judged)
        if threshold.needs_global:
            global_score = score_of_global(load_scorer(scorer), _context(job))
        accepted = kept(scores, threshold, global_score, job.config.num_byzantine)
    except Exception as error:  # too few updates for it, or whatever the user's own raises
        logger.warning("round %d: %s could not score: %s", job.round_number, scorer, error)
        return {client_id: _unscored(record, scorer, error) for client_id, record in judged.items()}
    return _told(judged, scorer, threshold_text, scores, dict.fromkeys(scores, ORCHESTRATOR), accepted)


def _told(
    judged: Mapping[str, SlotRecord],
    scorer: str,
    threshold_text: str,
    scores: Mapping[str, float],
    scored_by: Mapping[str, str],
    accepted: Collection[str],
) -> dict[str, SlotRecord]:
    """Return the records with what a scorer says of them."""
    return {
        name: _verdict(record, scorer, threshold_text, scores.get(name), scored_by.get(name), name in accepted)
        for name, record in judged.items()
    }


def _scores(
    job: Job, scorer: str, candidates: Sequence[Candidate], records: Mapping[str, SlotRecord]
) -> dict[str, float]:
    """Return the orchestrator's scores by client id; those given as updates came stay."""
    found = {candidate.client_id: records[candidate.client_id].scores for candidate in candidates}
    scores = {client_id: known[scorer] for client_id, known in found.items() if scorer in known}
    rest = [candidate for candidate in candidates if candidate.client_id not in scores]
    return scores | checked_scores(load_scorer(scorer)(rest, _context(job)), rest) if rest else scores


def _unscored(record: SlotRecord, scorer: str, error: Exception) -> SlotRecord:
    """Return an update's record when a scorer couldn't score: nothing is taken in that was to be judged and wasn't."""
    if record.status not in ACCEPTED:
        return record
    kind = "" if isinstance(error, ScoringError) else f"{type(error).__name__}: "
    return record.rejected(f"{scorer} could not score: {kind}{error}")


def _context(job: Job) -> ScoringContext:
    config, workload, holdout = job.config, job.workload, job.holdout

    def evaluate(parameters: arrays.Arrays) -> float:
        evaluation = workload.evaluate(arrays.copied(parameters), holdout)
        # Asked of the global model too: no client's parameters are to stop the scoring of the others.
        if evaluation.accuracy is None and workload.evaluate(job.model(), holdout).accuracy is None:
            raise ScoringError(f"a score needs an accuracy from 0 to 1, and workload {config.workload!r} gives none")
        return evaluation.share_right

    return ScoringContext(
        global_parameters=job.model(),
        evaluate=None if holdout is None else evaluate,
        train_root=job.train_root,
        num_byzantine=config.num_byzantine,
        rng=generator(config.seed, job.round_number, "scoring"),
        buffers=job.buffers,
    )


def _verdict(
    record: SlotRecord, scorer: str, threshold: str, score: float | None, scored_by: str | None, accepted: bool
) -> SlotRecord:
    """Return one update's record with what a scorer says of it."""
    if not record.size_bytes or record.status not in (*ACCEPTED, Status.REJECTED):
        return record
    record = _scored(record, scorer, score, scored_by)
    if record.status not in ACCEPTED or accepted:
        return record
    told = "nobody scored it" if score is None else f"{score:.6g} is not within the threshold {threshold}"
    return record.rejected(f"{scorer}: {told}")


def _scored(record: SlotRecord, scorer: str, score: float | None, scored_by: str | None) -> SlotRecord:
    if score is None or scored_by is None:
        return record
    scores, scorers = {**record.scores, scorer: score}, {**record.scored_by, scorer: scored_by}
    return record.model_copy(update={"scores": scores, "scored_by": scorers})


def _candidate(job: Job, client_id: str, record: SlotRecord) -> Candidate:
    parameters, _ = auxiliary.split(job.update(client_id))
    return Candidate(client_id, parameters, record.num_examples, record.num_steps)
