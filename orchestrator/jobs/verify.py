"""The verification of a round's updates before they are aggregated: scorers, thresholds, and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from orchestrator.config import PEERS
from orchestrator.jobs.disproportion import InOrder, drop_disproportionate, outlying_sets, rejected
from orchestrator.jobs.job import Job
from orchestrator.jobs.streaming_mean import is_streamed
from orchestrator.store.records import ACCEPTED, Opinion, PeerScores, SlotRecord, Verdicts, Verified
from tasks import arrays, auxiliary
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.described import described
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tasks.orders.train import TrainOrder
from tasks.scope import RunScope
from tasks.seeds import generator
from tasks.user_code import checked_declared, checked_evaluation, user_code
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
    """Write what the orchestrator's scorers say of a round's updates, and hand out what peers are to score.

    Every scorer, the peers too, sees all updates that are in proportion.
    """
    in_proportion = drop_outliers(job, records)
    opinions = [
        Opinion() if scorer == PEERS else _opinion(job, scorer, threshold, in_proportion)
        for scorer, threshold in job.config.scorers()
    ]
    job.folder.save_verdicts(job.round_number, Verdicts(records=in_proportion, opinions=opinions))
    return Verified(handed_out=_hand_out(job, in_proportion) if job.config.asks_peers else {})


def judged(job: Job, peers: PeerScores) -> dict[str, SlotRecord]:
    """Return the records of a round's updates; one that any scorer rejects is, for the reason of the first that does.

    Without scorers, all that are in proportion are accepted. With a single update there is no peer, and it is taken.
    """
    if not job.config.verify:
        return drop_outliers(job, job.records())
    verdicts = job.folder.verdicts(job.round_number)
    records = dict(verdicts.records)
    for (scorer, threshold), opinion in zip(job.config.scorers(), verdicts.opinions, strict=True):
        if scorer == PEERS and peers.is_alone:
            continue
        said = _opinion_of_peers(job, threshold, peers) if scorer == PEERS else opinion
        records = {name: _verdict(record, scorer, threshold, said, name) for name, record in records.items()}
    return records


def _hand_out(job: Job, in_proportion: Mapping[str, SlotRecord]) -> dict[str, BlobRef]:
    """Put a round's updates where other clients can read them; their names don't tell whose they are."""
    accepted = [client_id for client_id, record in in_proportion.items() if record.status in ACCEPTED]
    updates = {}
    for client_id in accepted:
        parameters, _ = auxiliary.split(job.update(client_id))
        name = RunScope(job.config.run_id).new_handed_out()
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


def _opinion(job: Job, scorer: str, threshold_text: str, records: Mapping[str, SlotRecord]) -> Opinion:
    """Return what a scorer of the orchestrator's says of the updates that have come."""
    # Mapped anew for each: a scorer is a user's code, and may write to what it is given.
    candidates = [_candidate(job, name, record) for name, record in records.items() if record.status in ACCEPTED]
    if not candidates:
        return Opinion()
    threshold, global_score = load_threshold(threshold_text), None
    try:
        scores = _scores(job, scorer, candidates, records)
        if threshold.needs_global:
            global_score = score_of_global(load_scorer(scorer), _context(job))
        accepted = kept(scores, threshold, global_score, job.config.num_byzantine)
    except Exception as error:  # too few updates for it, or whatever the user's own raises
        logger.warning("round %d: %s could not score: %s", job.round_number, scorer, error)
        return Opinion(problem=str(error) if isinstance(error, ScoringError) else described(error))
    return Opinion(scores=scores, scored_by=dict.fromkeys(scores, ORCHESTRATOR), accepted=sorted(accepted))


def _opinion_of_peers(job: Job, threshold_text: str, peers: PeerScores) -> Opinion:
    """Return what clients say of each other's updates."""
    accepted = kept(peers.scores, load_threshold(threshold_text), None, job.config.num_byzantine)
    return Opinion(scores=peers.scores, scored_by=peers.scored_by, accepted=sorted(accepted))


def _scores(
    job: Job, scorer: str, candidates: Sequence[Candidate], records: Mapping[str, SlotRecord]
) -> dict[str, float]:
    """Return the orchestrator's scores by client id; those given as updates came stay."""
    found = {candidate.client_id: records[candidate.client_id].scores for candidate in candidates}
    scores = {client_id: known[scorer] for client_id, known in found.items() if scorer in known}
    rest = [candidate for candidate in candidates if candidate.client_id not in scores]
    return scores | checked_scores(load_scorer(scorer)(rest, _context(job)), rest) if rest else scores


def _context(job: Job) -> ScoringContext:
    config = job.config
    return ScoringContext(
        global_parameters=job.model(),
        evaluate=None if job.holdout is None else partial(_score, job),
        train_root=job.train_root,
        num_byzantine=config.num_byzantine,
        rng=generator(config.seed, job.round_number, "scoring"),
        buffers=job.buffers,
    )


def _score(job: Job, parameters: arrays.Arrays) -> float:
    """Return the score of parameters on the held-out data; NaN if they have none.

    Raises:
        ScoringError: If the global model has none either: no client's parameters are to stop the scoring of the others.
    """

    def evaluate(model: arrays.Arrays) -> Evaluation:
        with user_code("evaluate()"):
            return checked_evaluation(job.workload.evaluate(model, job.holdout, job.context("scoring")))

    declared = checked_declared(job.workload)
    evaluation = evaluate(arrays.copied(parameters))
    name = evaluation.judged_by(declared)
    if name in evaluation.metrics or name in declared:
        return evaluation.score(name, declared)
    of_global = evaluate(job.model())
    name = of_global.judged_by(declared)
    if name not in of_global.values:
        raise ScoringError(f"a score needs the metric {name}, and workload {job.config.workload!r} gives none")
    return evaluation.score(name, declared)


def _verdict(record: SlotRecord, scorer: str, threshold: str, said: Opinion, name: str) -> SlotRecord:
    """Return one update's record with what a scorer says of it: what wasn't scored isn't taken."""
    if said.problem and record.status in ACCEPTED:
        return record.rejected(f"{scorer} could not score: {said.problem}")
    if not record.size_bytes or record.status not in (*ACCEPTED, Status.REJECTED):
        return record
    score = said.scores.get(name)
    record = _scored(record, scorer, score, said.scored_by.get(name))
    if record.status not in ACCEPTED or name in said.accepted:
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
