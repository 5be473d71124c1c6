"""Every client evaluates each client's own last model, and the global one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm, LocalResult, LocalTask
from orchestrator.observers.events import CrossSiteEvaluated, Event, RoundClosed
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.context import Context
from tests.eager.federation import EXAMPLES, Federation, StoppedError, local_training
from tests.support import Pull, points


def train_and_send(task: LocalTask) -> LocalResult:
    return LocalResult(task.train(None), sent={"c": {"point": np.ones(3, np.float32)}})


SENDING = f"{__name__}:ALGORITHM"
ALGORITHM = Algorithm(name="sending", local=train_and_send, sent=("c",))


def loss_of(model: arrays.Arrays, client_id: str) -> float | None:
    return Pull().evaluate(model, points(client_id, EXAMPLES[client_id]).test, Context()).loss


def test_the_matrix_has_what_each_model_is_on_each_clients_data(federation: Federation) -> None:
    # Given a run of two rounds, when it is over
    folder = federation.run(rounds=2, cross_site=True, evaluate_clients=False)
    # Then there is a row for the global model, and one for what each client has sent in the last round
    before = arrays.map_file(folder.checkpoint(1))
    own = {client_id: local_training(before, folder.config(), 2, client_id) for client_id in EXAMPLES}
    models: dict[str | None, arrays.Arrays] = {None: arrays.map_file(folder.checkpoint(2))}
    models.update(own)
    matrix = folder.cross_site()
    assert matrix is not None
    assert [(row.model_of, row.round_number) for row in matrix.rows] == [(name, 2) for name in models]
    for row in matrix.rows:
        losses = {client_id: metrics["loss"] for client_id, metrics in row.metrics.items()}
        assert losses == {client_id: loss_of(models[row.model_of], client_id) for client_id in EXAMPLES}
    # And it is told, and nothing of it is left on the broker
    assert [event.num_models for event in federation.events if isinstance(event, CrossSiteEvaluated)] == [4]
    assert list(federation.chunks.find("fl:blob:*/update/*")) == []


@pytest.mark.parametrize("settings", [{"algorithm": SENDING}, {"compression": "int8"}, {"in_flight_mb": 1e-6}])
def test_what_goes_beside_an_update_is_no_part_of_the_model(federation: Federation, settings: dict[str, Any]) -> None:
    federation.algorithm = SENDING
    federation.join_all()
    folder = federation.run(rounds=1, cross_site=True, **settings)
    matrix = folder.cross_site()
    assert matrix is not None
    assert [len(row.metrics) for row in matrix.rows] == [3, 3, 3, 3]


def test_a_client_that_was_not_drawn_in_the_last_round_stands_for_its_last(federation: Federation) -> None:
    # Given rounds of one client, drawn at random
    folder = federation.run(rounds=4, cross_site=True, cohort=1, seed=1)
    last: dict[str | None, int] = {record.cohort[0]: record.round_number for record in folder.history()}
    matrix = folder.cross_site()
    assert matrix is not None
    assert {row.model_of: row.round_number for row in matrix.rows} == last | {None: 4}
    assert len(set(last.values())) > 1


def test_a_run_that_is_killed_before_it_is_done_does_it_when_it_goes_on(federation: Federation) -> None:
    # Given a run that is killed when its last round is closed
    whole = federation.another("whole").run(rounds=2, cross_site=True)

    def kill(event: Event) -> None:
        if isinstance(event, RoundClosed) and event.round_number == 2:
            raise StoppedError

    federation.on_event = kill
    with pytest.raises(StoppedError):
        federation.run(rounds=2, cross_site=True)
    federation.on_event = lambda _: None
    # When it goes on, with clients that know nothing of it, then the matrix is the same
    federation.join_all(incarnation="second")
    folder = federation.go_on(RunFolder.open(federation.folder / "run"))
    assert folder.cross_site() == whole.cross_site() is not None
    # And no second time
    federation.events.clear()
    federation.go_on(folder)
    assert not [event for event in federation.events if isinstance(event, CrossSiteEvaluated)]


def test_a_run_that_is_given_more_rounds_does_it_again_with_the_models_of_those(federation: Federation) -> None:
    # Given a run that is over, when it goes on for another round
    folder = federation.run(rounds=2, cross_site=True)
    folder.replace_config(folder.config().model_copy(update={"rounds": 3}), folder.lock()).close()
    federation.join_all(incarnation="second")
    federation.go_on(folder)
    # Then the matrix is of the models of that round
    matrix = folder.cross_site()
    assert matrix is not None
    assert [row.round_number for row in matrix.rows] == [3, 3, 3, 3]


def test_a_client_that_cant_evaluate_is_in_the_matrix_with_its_reason(federation: Federation) -> None:
    class Unable(Pull):
        def evaluate(self, *_: object) -> object:  # type: ignore[override]  # whatever it is given
            raise RuntimeError("no luck")

    federation.join("bert", Unable())
    folder = federation.run(rounds=1, cross_site=True, evaluate_clients=False)
    matrix = folder.cross_site()
    assert matrix is not None
    for row in matrix.rows:
        assert sorted(row.metrics) == ["anna", "carl"]
        assert "RuntimeError: no luck" in row.not_evaluated["bert"]


def test_without_being_asked_for_nothing_is_kept(federation: Federation) -> None:
    folder = federation.run(rounds=1)
    assert folder.cross_site() is None
    assert not folder.last_models.exists()


def test_a_run_that_is_given_more_rounds_has_its_matrix_made_anew(federation: Federation) -> None:
    # Given a run of one round that is completed
    folder = federation.run(rounds=1, cross_site=True)
    # When it goes on to a second, then the matrix is of that
    more = folder.config().model_copy(update={"rounds": 2})
    folder.replace_config(more, folder.lock()).close()
    federation.join_all(incarnation="second")
    matrix = federation.go_on(folder).cross_site()
    assert matrix is not None
    assert {row.round_number for row in matrix.rows} == {2}
