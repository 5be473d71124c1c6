"""Updates that are cut short, lost, come again, or are too many at a time, through Celery's eager mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from celery import Celery

from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Chord
from tasks import arrays
from tasks.messages import Order, Status, TrainOptions
from tasks.orders.train import TrainOrder
from tests.eager.federation import (
    Federation,
    digests,
)
from tests.support import InPlace


def test_an_update_that_was_cut_short_counts_with_what_was_done(federation: Federation) -> None:
    # Given hardly any time; the workload does a step before it looks at the clock
    folder = federation.run(rounds=1, timeout_s=1e-3, options=TrainOptions(epochs=100_000))
    # When a round is run, then all updates are taken in, marked as cut short
    record = folder.history()[0]
    assert {slot.status for slot in record.responses.values()} == {Status.TIMED_OUT}
    assert all(1 <= slot.num_steps < 300_000 for slot in record.responses.values())
    assert record.status == "closed"


def test_an_answer_that_is_stored_again_when_its_round_is_over_is_forgotten(federation: Federation) -> None:
    # Given a client whose worker gets its order of round 1 again, and answers, when round 2 is open
    transports: list[EagerTransport] = []
    sent: list[Order] = []

    class Noting(EagerTransport):
        def __init__(self, app: Celery) -> None:
            super().__init__(app)
            transports.append(self)

        def send(self, orders: Any, *rest: Any) -> None:
            super().send(orders, *rest)
            to_train = [order for order in orders if isinstance(order, TrainOrder)]
            if to_train:
                super().send([order for order in sent if order.round_number < to_train[0].round_number])
                sent.extend(to_train)

    # When the run is over
    federation.transport = Noting
    federation.run(rounds=2)

    # Then neither it nor any other answer to a train order is left
    assert len(sent) == 6
    assert transports[0].collect([order.order_id for order in sent], 0.0) == {}


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_a_workload_that_trains_in_place_changes_nobody_elses_model(federation: Federation, compression: str) -> None:
    # Given clients of one process that add 1 to the memory they are given, and write to it when they evaluate
    name = "tests.support:InPlace"
    federation.join_all(InPlace(), name)
    # When three rounds are carried out
    folder = federation.run(workload=name, compression=compression, verify=("holdout", "peers"))
    # Then each client began with the round's model: it is 1 after the first, 2 after the second
    history = folder.history()
    for number in (1, 2, 3):
        np.testing.assert_allclose(arrays.map_file(folder.checkpoint(number))["w"], number, rtol=1e-2)
        assert history[number - 1].metrics["loss"] == pytest.approx(number, rel=1e-2)
    assert history[-1].client_metrics["loss"] == pytest.approx(3, rel=1e-2)


def test_updates_that_a_broker_lost_after_all_had_answered_are_asked_for_again(federation: Federation) -> None:
    # Given an undisturbed run
    undisturbed = federation.run("undisturbed", rounds=2)
    forgotten: list[bool] = []

    class Emptied(EagerTransport):
        """Loses all that there is, once, when an update is to be taken in."""

        def send_part(self, chord: Chord, index: int, task: str, kwargs: Any, *, keep_result: bool = False) -> None:
            if not forgotten:
                forgotten.append(True)
                federation.chunks.chunks.clear()
                self.forget_all()
            else:  # a part of a chord that is forgotten does its work all the same
                super().send_part(chord, index, task, kwargs)

    def forgot() -> bool:
        if forgotten != [True]:
            return False
        forgotten.append(False)
        return True

    # When the broker is emptied when all have answered, and no update is taken in
    federation.transport, federation.forgot = Emptied, forgot
    folder = federation.run("emptied", rounds=2)

    # Then the clients are asked again, nobody is rejected, and the models are the same
    assert forgotten == [True, False]
    for record, other in zip(folder.history(), undisturbed.history(), strict=True):
        assert {response.status for response in record.responses.values()} == {Status.TRAINED}
        assert record.digest == other.digest


def test_a_round_whose_updates_are_too_many_at_a_time_ends_with_the_same_model(federation: Federation) -> None:
    # Given a run, and another of which no more than two updates may be on their way
    plenty = federation.run()
    crowded = federation.another("crowded").run(in_flight_mb=1e-6)
    # When both are done, then the models are equal
    assert digests(crowded) == digests(plenty)
