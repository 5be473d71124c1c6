"""One round, from the selection of its cohort to its line in the history.

Where the algorithm wants to know something of the clients before they train, the round has two exchanges: what they
send in the first is aggregated, and goes out with the orders of the second to those that sent it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.clients.waves import seconds_a_wave
from orchestrator.driver.collector import GRACE_S
from orchestrator.driver.context import RunContext, own_result
from orchestrator.driver.exchange import Exchange
from orchestrator.driver.model_publisher import publish_surveyed
from orchestrator.driver.orders import O, TimeLimits, for_study, make_order, time_limits
from orchestrator.driver.peers import ask_peers
from orchestrator.observers.events import JoinedLive, Outcome, RoundOpened, SlotsFilled
from orchestrator.store.facts import METRICS
from orchestrator.store.records import (
    ACCEPTED,
    ClosedRound,
    LateResponse,
    OpenRound,
    PeerScores,
    RoundRecord,
    SlotRecord,
    Surveyed,
    Verified,
)
from tasks import names
from tasks.blobs.blob import BlobRef
from tasks.messages import encode, turn_timeout_s
from tasks.metrics import Averages, Declared, averaged
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder

logger = logging.getLogger(__name__)


class Round:
    """A round under way.

    Args:
        context: The run's.
        opened: Which round, its cohort, and the model that it starts from.
    """

    def __init__(self, context: RunContext, opened: OpenRound) -> None:
        self._context = context
        self._opened = opened
        self._surveyed: BlobRef | None = None
        """Where what came of the first exchange is, for clients to read."""
        self._exchanges: list[Exchange] = []
        """Those that are over, if only in a former start of the orchestrator, and the one that is on."""
        self._connected_before = {client.client_id for client in context.manager.connected()}
        self._called: list[str] = []
        self._total_s = 0.0
        """Seconds that the exchange which is on may take."""
        self._started = context.clock()
        if context.algorithm.survey is not None:
            self._exchanges.append(self._first_exchange())
        if not self._is_to_survey:
            self._exchanges.append(self._training())

    def forget_former_responses(self) -> None:
        """Remove what was answered to a former attempt at the round, whose updates have been taken in and are gone."""
        self._exchanges[-1].forget_former_responses()

    def send_orders(self) -> None:
        """Put the orders of the current exchange on the clients' queues."""
        self._exchanges[-1].send()

    def run(self, meanwhile: Callable[[], None]) -> RoundRecord:
        """Collect the answers, have them aggregated, and return the round's record.

        Args:
            meanwhile: Called while an own worker closes an exchange.

        Raises:
            RunFailedError: If the orchestrator's own workers don't get it done.
        """
        context, opened = self._context, self._opened
        context.report(RoundOpened(round_number=opened.round_number, cohort=tuple(sorted(opened.cohort))))
        failed = self._survey(meanwhile) if self._is_to_survey else None
        if failed is None:
            self._send_again_if_unsure()
            self._collect(meanwhile)
        closed = failed or self._closed()
        for sent in (opened.parameters, opened.broadcast, self._surveyed):
            if sent is not None:
                context.services.blobs.discard([sent.name], sent.size_bytes)
        return self._record(closed)

    def forget(self) -> None:
        """Remove what the round has left on the broker."""
        model_bytes = self._context.folder.checkpoint(self._opened.round_number - 1).stat().st_size
        for exchange in self._exchanges:
            exchange.forget(model_bytes)
        if self._called:
            self._context.services.transport.forget(self._called)

    @property
    def _is_to_survey(self) -> bool:
        return self._context.algorithm.survey is not None and self._opened.surveyed is None

    def _first_exchange(self) -> Exchange:
        """Return the exchange before training, its orders not sent."""
        context, opened = self._context, self._opened
        limits = self._begin(opened.cohort)
        orders = [self._survey_order(client_id, limits) for client_id in sorted(opened.cohort)]
        return Exchange(context, opened, orders, names.CLOSE_SURVEY_TASK)

    def _training(self) -> Exchange:
        """Return the exchange in which clients train, its orders not sent."""
        context, opened = self._context, self._opened
        if opened.surveyed is not None:
            self._surveyed = publish_surveyed(context, opened.round_number, opened.surveyed.digest)
        limits = self._begin(opened.trainers)
        orders = [self._train_order(client_id, limits) for client_id in sorted(opened.trainers)]
        body_task = names.VERIFY_UPDATES_TASK if context.config.verify else names.CLOSE_ROUND_TASK
        return Exchange(context, opened, orders, body_task)

    def _begin(self, client_ids: Collection[str]) -> TimeLimits:
        """Return the term of an exchange with these clients, and note how long that may take."""
        timeout_s = self._context.policy.timeout_s()
        turn_s = turn_timeout_s(timeout_s) if self._waits_for_turn else 0.0
        limits = time_limits(self._context, timeout_s, client_ids, turn_s)
        self._total_s = limits.total_s
        return limits

    @property
    def _waits_for_turn(self) -> bool:
        return self._opened.is_crowded and self._context.services.blobs.needs_permits

    def _survey(self, meanwhile: Callable[[], None]) -> ClosedRound | None:
        """Carry out the first exchange, and get the second ready; return the round if it failed by the first.

        What came of the first is on disk before an order to train is sent: none is ever carried out with another's.
        """
        context, number = self._context, self._opened.round_number
        self._collect(meanwhile)
        raw = self._exchanges[-1].result()
        surveyed = own_result(raw, Surveyed, f"the exchange before round {number}'s training failed", context.report)
        if surveyed.left_out:
            slots = {client_id: Outcome.of(record) for client_id, record in surveyed.left_out.items()}
            context.report(SlotsFilled(round_number=number, slots=slots))
        cohort = {**self._opened.cohort, **self._present(self._opened.cohort)}
        self._opened = self._opened.model_copy(update={"surveyed": surveyed, "cohort": cohort, "orders_are_out": False})
        if surveyed.failed is not None:
            return surveyed.failed
        context.folder.save_open_round(self._opened)
        self._exchanges.append(self._training())
        return None

    def _collect(self, meanwhile: Callable[[], None]) -> None:
        """Have the exchange that is on filled, with clients that join it, and an own worker close it."""
        for left_s in self._exchanges[-1].collect(self._total_s):
            self._admit(left_s)
        meanwhile()

    def _present(self, client_ids: Mapping[str, str]) -> dict[str, str]:
        """Return the incarnations of those of these clients that are there: one may have been started anew."""
        present = self._context.manager.incarnations()
        return {client_id: present[client_id] for client_id in client_ids if client_id in present}

    def _send_again_if_unsure(self) -> None:
        """Send the orders of the exchange that is on if they may not be out."""
        if not self._opened.orders_are_out:
            self._exchanges[-1].send_again()
            self._opened = self._opened.model_copy(update={"orders_are_out": True})
            self._context.folder.save_open_round(self._opened)

    def _survey_order(self, client_id: str, limits: TimeLimits) -> SurveyOrder:
        return self._order(SurveyOrder, client_id, limits)

    def _train_order(self, client_id: str, limits: TimeLimits) -> TrainOrder:
        """Return an order to train; one with something else from the first exchange would be another order."""
        version = self._surveyed.digest[:16] if self._surveyed else ""
        return self._order(
            TrainOrder,
            client_id,
            limits,
            version,
            surveyed=self._surveyed,
            wants_parameters=self._context.algorithm.sends_parameters,
            results_bytes=self._opened.results_bytes,
        )

    def _order(self, kind: type[O], client_id: str, limits: TimeLimits, version: str = "", **rest: object) -> O:
        context, opened = self._context, self._opened
        return make_order(
            context,
            kind,
            client_id,
            opened.round_number,
            limits,
            version,
            parameters=opened.parameters,
            algorithm=context.algorithm_of_clients,
            settings=context.settings,
            num_clients=opened.num_clients,
            broadcast=opened.broadcast,
            compression=context.config.compression,
            waits_for_turn=self._waits_for_turn,
            **for_study(context, client_id, opened.round_number, len(opened.cohort)),
            **rest,
        )

    def _admit(self, left_s: float) -> None:
        """Take clients that have joined since the round was opened into it, if its policy does.

        Into the second exchange nobody is taken: what goes out with it was made without them.
        """
        context = self._context
        if self._opened.surveyed is not None or not context.policy.newcomer_timeout_s(left_s - GRACE_S):
            return
        known = self._connected_before | self._opened.cohort.keys()
        newcomers = [
            client for client in context.manager.connected() if client.client_id not in known and context.fits(client)
        ]
        limits_of = self._limits_left([client.client_id for client in newcomers], left_s) if newcomers else {}
        if not limits_of:
            return
        context.report(JoinedLive(round_number=self._opened.round_number, client_ids=tuple(limits_of)))
        incarnations = {
            client.client_id: client.announcement.incarnation for client in newcomers if client.client_id in limits_of
        }
        make = self._survey_order if self._is_to_survey else self._train_order
        self._opened = self._opened.model_copy(update={"cohort": {**self._opened.cohort, **incarnations}})
        self._exchanges[-1].add([make(client_id, limits_of[client_id]) for client_id in incarnations], incarnations)
        context.folder.save_open_round(self._opened)

    def _limits_left(self, newcomers: Sequence[str], left_s: float) -> dict[str, TimeLimits]:
        """Return how long each newcomer has of the seconds that are left, its worker's other clients having as long.

        Those for whom that is too little are left out.
        """
        context, others = self._context, self._exchanges[-1].open_clients()
        waves_s = seconds_a_wave(newcomers, others, context.manager.place, left_s)
        limits = TimeLimits(left_s - GRACE_S, context.services.broker_time() + left_s - GRACE_S, left_s)
        timeouts_s = {name: context.policy.newcomer_timeout_s(wave_s - GRACE_S) for name, wave_s in waves_s.items()}
        return {name: replace(limits, timeout_s=timeout_s) for name, timeout_s in timeouts_s.items() if timeout_s}

    def _closed(self) -> ClosedRound:
        context, opened = self._context, self._opened
        what = f"round {opened.round_number} could not be closed"
        raw = self._exchanges[-1].result()
        if not context.config.verify:
            return own_result(raw, ClosedRound, what, context.report)
        verified = own_result(raw, Verified, what, context.report)
        is_asked = context.config.asks_peers
        peers = ask_peers(context, opened.round_number, verified.handed_out) if is_asked else PeerScores()
        return own_result(self._call_to_close(peers), ClosedRound, what, context.report)

    def _call_to_close(self, peers: PeerScores) -> bytes | str | None:
        """Have an own worker close a round whose updates were verified; return the raw result."""
        context, opened = self._context, self._opened
        kwargs = {
            "run_dir": str(context.folder.path),
            "round_number": opened.round_number,
            "peers": encode(peers),
        }

        def call() -> str:
            task_id = context.scope.new_close_id(opened.round_number)
            self._called.append(task_id)
            context.services.transport.call(names.CLOSE_ROUND_TASK, task_id, kwargs)
            return task_id

        return context.collector.result(call(), call)

    def _record(self, closed: ClosedRound) -> RoundRecord:
        context, opened = self._context, self._opened
        surveyed = opened.surveyed or Surveyed()
        responses: dict[str, SlotRecord] = {**surveyed.left_out, **closed.responses}
        trained = training_averages(responses.values(), METRICS.of(context.folder))
        bytes_surveyed = self._surveyed.size_bytes * len(opened.trainers) if self._surveyed else 0
        return RoundRecord(
            round_number=opened.round_number,
            status=closed.status,
            reason=closed.reason,
            cohort=sorted(opened.cohort),
            responses=dict(sorted(responses.items())),
            train_metrics=trained.metrics,
            train_partial=dict(trained.partial),
            evaluation_due=context.config.is_evaluated(opened.round_number),
            checkpoint=context.folder.checkpoint(opened.round_number).name,
            digest=closed.digest,
            state_digest=closed.state_digest,
            results=closed.results,
            started_at=opened.started_at,
            duration_s=round(context.clock() - self._started, 6),
            bytes_down=opened.size_bytes * len(opened.cohort) + bytes_surveyed,
            bytes_up=surveyed.bytes_up + sum(response.size_bytes for response in responses.values()),
            late=[
                LateResponse(
                    client_id=response.client_id,
                    order_id=response.order_id,
                    answered=response.status,
                    cpu_s=response.cpu_s,
                )
                for response in context.collector.late.pop()
            ],
        )


def training_averages(slots: Iterable[SlotRecord], declared: Declared) -> Averages:
    """Return the averages of what clients say of their training, over the updates that were accepted."""
    return averaged([(slot.num_examples, slot.metrics) for slot in slots if slot.status in ACCEPTED], declared)
