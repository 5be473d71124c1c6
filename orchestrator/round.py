"""One round, from the selection of its cohort to its line in the history."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.answers import MAX_ANSWER_BYTES, says_ready
from orchestrator.collecting import GRACE_S
from orchestrator.config import RunConfig
from orchestrator.context import OWN_WORK_TIMEOUT_S, RunContext, Term, ended_with_its_process, own_result
from orchestrator.couriers import Chord
from orchestrator.events import JoinedLive, RoundOpened, SlotFilled
from orchestrator.flow import Flow, slow_after_s, slow_updates_at_a_time, updates_at_a_time
from orchestrator.held_orders import HeldOrders
from orchestrator.peers import ask_peers
from orchestrator.records import ClosedRound, HandedOut, LateAnswer, OpenRound, PeerScores, RoundRecord
from orchestrator.run_folder import boot_id
from orchestrator.slots import Slot, Slots
from orchestrator.taking_in import discard_updates, kept_answer
from tasks import names
from tasks.blobs import BlobRef
from tasks.broker import CHUNK_TIMEOUT_S
from tasks.messages import Answer, Order, Status, TrainOrder, encode
from tasks.seeds import derive_seed

logger = logging.getLogger(__name__)


MAX_CHORDS = 3
"""How often a round's chord is started at the most, when pool processes of the own workers are killed."""
MIN_LEFT_SHARE = 0.1
"""Share of the timeout that must be left for a client to join a round that is open."""
ORDERS_A_PROCESS = 2
"""Orders that are out for each process of a worker that many clients share: one that it carries out, and the next."""


class Round:
    """A round under way.

    Args:
        context: The run's.
        opened: Which round, its cohort, and the model that it starts from.
    """

    def __init__(self, context: RunContext, opened: OpenRound) -> None:
        self._context = context
        self._opened = opened
        self._is_crowded = context.wire.has_flow and opened.is_crowded
        term = context.term(context.config.timeout_s)
        orders = [self._order(client_id, term) for client_id in sorted(opened.cohort)]
        self._slots = Slots(orders, opened.cohort)
        self._flow = self._new_flow()
        self._held = HeldOrders()
        self._hold_back(orders)
        self._connected_before = {client.client_id for client in context.manager.connected()}
        self._chords: list[Chord] = []
        self._called: list[str] = []
        self._started = context.clock()

    def forget_former_answers(self) -> None:
        """Remove what was answered to a former attempt at the round, whose updates have been taken in and are gone.

        Who waits for its turn since then is given it now.
        """
        orders = {order.order_id: order for order in self._slots.orders()}
        found = self._context.wire.courier.collect(orders, 0.0, MAX_ANSWER_BYTES)
        self._context.wire.courier.forget([key for key, raw in found.items() if not says_ready(raw, orders[key])])

    def send_orders(self) -> None:
        """Put the orders on the clients' queues."""
        self._open_chord()
        orders = self._slots.orders()
        self._context.collector.send(
            names.TRAIN_TASK, [order for order in orders if not self._held.is_held(order.order_id)]
        )

    def run(self, meanwhile: Callable[[], None]) -> RoundRecord:
        """Collect the answers, have them aggregated, and return the round's record.

        Args:
            meanwhile: Called while an own worker closes the round.

        Raises:
            RunFailedError: If the orchestrator's own workers don't get it done.
        """
        context, opened = self._context, self._opened
        context.report(RoundOpened(opened.round_number, tuple(sorted(opened.cohort))))
        if not self._chords:
            self._open_chord()
        self._fill_what_was_taken_in()
        context.collector.collect(
            names.TRAIN_TASK,
            self._slots,
            context.config.timeout_s + GRACE_S,
            self._fill,
            refill=self._start_chord_anew,
            admit=self._admit,
            flow=self._flow,
            held=self._held,
        )
        context.collector.expect_late(self._unanswered())
        meanwhile()
        closed = self._closed()
        for sent in (opened.parameters, opened.broadcast):
            if sent is not None:
                context.wire.blobs.discard([sent.name], sent.size_bytes)
        return self._record(closed)

    def forget(self) -> None:
        """Remove what the round has left on the broker."""
        courier = self._context.wire.courier
        task_ids = self._context.collector.over(order.order_id for order in self._slots.orders())
        if self._is_crowded:
            over = set(task_ids)  # the others' clients may still be to see that they are to stop
            courier.take_turns_away([order for order in self._slots.orders() if order.order_id in over])
            task_ids += [chord.part_id(index) for chord in self._chords for index in range(len(self._slots))]
        task_ids += [chord.body_id for chord in self._chords] + self._called
        courier.forget(task_ids, self._chords)
        updates = [
            names.update_blob(order.client_id, order.run_id, order.round_number) for order in self._slots.orders()
        ]
        model_bytes = self._context.folder.checkpoint(self._opened.round_number - 1).stat().st_size
        # Of those that came late or were rejected unread.
        discard_updates(self._context.wire.blobs, updates, model_bytes)

    def _order(self, client_id: str, term: Term) -> TrainOrder:
        context, opened = self._context, self._opened
        return context.order(
            TrainOrder,
            client_id,
            opened.round_number,
            term,
            parameters=opened.parameters,
            options=context.config.options,
            seed=derive_seed(context.config.seed, opened.round_number, client_id),
            algorithm=context.algorithm_of_clients,
            settings=context.settings,
            num_clients=opened.num_clients,
            broadcast=opened.broadcast,
            compression=context.config.compression,
            accepted=context.accepted.get(client_id, ""),
            waits_for_turn=self._is_crowded and not context.config.local,
        )

    def _hold_back(self, orders: Sequence[Order]) -> list[Order]:
        """Hold orders back to clients that share a worker, if the round is crowded; return the others."""
        manager, others = self._context.manager, []
        for order in orders:
            queue = manager.queue(order.client_id)
            if self._is_crowded and queue != names.client_queue(order.client_id):
                room = ORDERS_A_PROCESS * manager.num_processes(order.client_id)
                self._held.hold(order.order_id, queue, room)
            else:
                others.append(order)
        return others

    def _new_flow(self) -> Flow:
        """Return the flow of the round's updates: all may be on their way if they are few, or aren't carried."""
        config = self._context.config
        if not self._is_crowded or config.local:
            return Flow(sys.maxsize)
        allowed = config.in_flight_mb * 1e6, self._opened.parameters.size_bytes
        return Flow(
            updates_at_a_time(*allowed),
            slow_updates_at_a_time(*allowed),
            slow_after_s(*allowed),
            # A client gives a connection up on which a chunk has taken longer, and begins anew.
            min(CHUNK_TIMEOUT_S, config.timeout_s / 2),
        )

    def _admit(self, left_s: float) -> None:
        """Take clients that have joined since the round was opened into it, if there is time enough."""
        context = self._context
        timeout_s = left_s - GRACE_S
        takes_any = context.config.accept == "live" and context.config.cohort is None
        if not takes_any or timeout_s < MIN_LEFT_SHARE * context.config.timeout_s:
            return
        known = self._connected_before | {order.client_id for order in self._slots.orders()}
        newcomers = [
            client for client in context.manager.connected() if client.client_id not in known and context.fits(client)
        ]
        if not newcomers:
            return
        term = context.term(timeout_s)
        for newcomer in newcomers:
            context.report(JoinedLive(self._opened.round_number, newcomer.client_id))
            context.wire.courier.add_slot(self._chords[-1])
            self._slots.add(self._order(newcomer.client_id, term), newcomer.announcement.incarnation)
        incarnations = {client.client_id: client.announcement.incarnation for client in newcomers}
        self._opened = self._opened.model_copy(update={"cohort": {**self._opened.cohort, **incarnations}})
        new = [slot.order for slot in self._slots.open() if slot.order.client_id in incarnations]
        context.collector.send(names.TRAIN_TASK, self._hold_back(new))
        context.folder.save_open_round(self._opened)

    def _unanswered(self) -> list[Order]:
        return [slot.order for slot, answer in self._slots.filled() if answer.status is Status.LOST]

    def _fill_what_was_taken_in(self) -> None:
        """Fill the slots of a round that is taken up again with what was taken in before."""
        for slot in self._slots.open():
            answer = kept_answer(self._context.folder, slot.order)
            if answer is not None and self._slots.fill(slot.order.order_id, answer):
                self._held.over(slot.order.order_id)
                self._fill(slot, answer)

    def _open_chord(self) -> None:
        config, opened = self._context.config, self._opened
        chord = Chord(
            group_id=f"{config.run_id}/{opened.round_number}/{secrets.token_hex(4)}",
            body_task=names.HAND_OUT_TASK if config.asks_peers else names.CLOSE_ROUND_TASK,
            body_kwargs={"run_dir": str(self._context.folder.path), "round_number": opened.round_number},
        )
        self._chords.append(chord)
        self._context.wire.courier.open_chord(chord, len(self._slots))

    def _start_chord_anew(self) -> None:
        """Do again what a worker of the orchestrator's may have lost; taking in is done once all the same."""
        logger.warning("round %d: its chord is started anew", self._opened.round_number)
        self._open_chord()
        parts = {self._fill_chord(slot, answer): slot.order.order_id for slot, answer in self._slots.filled()}
        self._flow.renew(parts, self._context.clock())

    def _fill(self, slot: Slot, answer: Answer) -> str | None:
        """Have an answer taken in, and return the task that does it if it is to be known when that is done."""
        part_id = self._fill_chord(slot, answer)
        self._context.report(
            SlotFilled(self._opened.round_number, answer.client_id, answer.status, answer.reason, dict(answer.metrics))
        )
        return part_id if self._is_crowded else None

    def _fill_chord(self, slot: Slot, answer: Answer) -> str:
        """Have an own worker take an answer in as a part of the chord, and return that task's id."""
        kwargs = {
            "run_dir": str(self._context.folder.path),
            "round_number": self._opened.round_number,
            "answer": encode(answer),
        }
        chord = self._chords[-1]
        self._context.wire.courier.fill(chord, slot.index, names.INGEST_TASK, kwargs, keep_result=self._is_crowded)
        return chord.part_id(slot.index)

    def _closed(self) -> ClosedRound:
        def again() -> str:
            self._start_chord_anew()
            return self._chords[-1].body_id

        context, opened = self._context, self._opened
        what = f"round {opened.round_number} could not be closed"
        raw = context.collector.result(self._chords[-1].body_id, OWN_WORK_TIMEOUT_S, again)
        for _ in range(MAX_CHORDS - 1):
            if not ended_with_its_process(raw):
                break
            raw = context.collector.result(again(), OWN_WORK_TIMEOUT_S, again)
        if not context.config.asks_peers:
            return own_result(raw, ClosedRound, what)
        handed_out = own_result(raw, HandedOut, what)
        peers = ask_peers(context, opened.round_number, handed_out)
        return own_result(self._call_to_close(handed_out, peers), ClosedRound, what)

    def _call_to_close(self, handed_out: HandedOut, peers: PeerScores) -> bytes | str | None:
        """Have an own worker close the round when the clients have scored; return the raw result."""
        context, opened = self._context, self._opened
        kwargs = {
            "parts": [encode(part) for part in handed_out.parts],
            "run_dir": str(context.folder.path),
            "round_number": opened.round_number,
            "peers": encode(peers),
        }

        def call() -> str:
            task_id = f"{context.config.run_id}/{opened.round_number}/{secrets.token_hex(4)}/close"
            self._called.append(task_id)
            context.wire.courier.call(names.CLOSE_ROUND_TASK, task_id, kwargs)
            return task_id

        return context.collector.result(call(), OWN_WORK_TIMEOUT_S, call)

    def _record(self, closed: ClosedRound) -> RoundRecord:
        context, opened = self._context, self._opened
        return RoundRecord(
            round_number=opened.round_number,
            status=closed.status,
            reason=closed.reason,
            cohort=sorted(opened.cohort),
            answers=closed.answers,
            metrics=closed.evaluated.metrics,
            evaluation_problem=closed.evaluated.problem,
            checkpoint=context.folder.checkpoint(opened.round_number).name,
            digest=closed.digest,
            state_digest=closed.state_digest,
            started_at=opened.started_at,
            duration_s=round(context.clock() - self._started, 6),
            bytes_down=opened.size_bytes * len(opened.cohort),
            bytes_up=sum(answer.size_bytes for answer in closed.answers.values()),
            late=[
                LateAnswer(client_id=answer.client_id, order_id=answer.order_id, answered=answer.status)
                for answer in context.collector.late()
            ],
        )


def open_record(
    config: RunConfig,
    round_number: int,
    cohort: Mapping[str, str],
    parameters: BlobRef,
    broadcast: BlobRef | None,
    num_clients: int,
) -> OpenRound:
    """Return the record of a round that opens now."""
    started_at = datetime.now(UTC).isoformat(timespec="microseconds")
    return OpenRound(
        round_number=round_number,
        cohort=dict(cohort),
        parameters=parameters,
        broadcast=broadcast,
        num_clients=num_clients,
        is_crowded=len(cohort) > updates_at_a_time(config.in_flight_mb * 1e6, parameters.size_bytes),
        started_at=started_at,
        boot_id=boot_id(),
    )
