"""Runs that are taken up again, given more rounds, or begun with another's model, through Celery's eager mode."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.observers.events import (
    ClientsJoined,
    OrdersAnswered,
    RunStarted,
)
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Chord
from tasks import arrays
from tests.eager.federation import (
    EXAMPLES,
    Federation,
    StoppedError,
    cut_history,
    digests,
    statuses,
)
from tests.support import Pull
from worker.serving import Serving


@pytest.mark.parametrize(
    ("num_kept", "are_new", "changes"),
    [(0, True, {"fraction": 0.5}), (1, True, {"fraction": 0.5}), (4, True, {"fraction": 0.5}), (3, False, {})],
)
def test_a_run_that_goes_on_from_any_round_ends_with_the_same_model(
    federation: Federation, num_kept: int, are_new: bool, changes: dict[str, Any]
) -> None:
    # Given a run of five rounds, of which the later lines are lost
    folder = federation.run(rounds=5, **changes)
    expected, trained = digests(folder), statuses(folder)
    cohorts = [record.cohort for record in folder.history()]
    cut_history(folder, num_kept)
    # When it goes on with clients that were started anew since, or that have been there all the time
    if are_new:
        federation.serving = Serving()
        federation.join_all()
    federation.go_on(folder)
    # Then the clients' updates are taken, and cohorts and checkpoints are the same, to the last bit
    assert statuses(folder) == trained == [dict.fromkeys(cohort, "trained") for cohort in cohorts]
    assert digests(folder) == expected
    assert [record.cohort for record in folder.history()] == cohorts
    assert federation.chunks.chunks == {}


def test_a_round_that_was_interrupted_is_taken_up_with_what_has_come_in(federation: Federation) -> None:
    # Given a run that ended in its second round, when two of three updates were taken in
    expected = federation.another("whole").run(rounds=3)
    interrupted = federation.another("interrupted")

    class Killed(EagerTransport):
        """Ends when two updates of the second round are taken in, and the third is not."""

        def send_part(self, chord: Chord, index: int, task: str, kwargs: Any, *, keep_result: bool = False) -> None:
            is_second = kwargs["round_number"] == 2
            taken_in = {**kwargs, "responses": kwargs["responses"][: 2 if is_second else None]}
            super().send_part(chord, index, task, taken_in, keep_result=keep_result)
            if is_second:
                raise StoppedError

    interrupted.transport = Killed
    with pytest.raises(StoppedError):
        interrupted.run(rounds=3)
    folder = RunFolder.open(interrupted.folder / "run")
    opened = folder.open_round()
    assert opened is not None
    assert (opened.round_number, len(folder.history())) == (2, 1)
    # When it goes on, and all know nothing any more of what they answered before, as the third was started anew
    interrupted.transport = EagerTransport
    trained: list[str] = []

    class Telling(Pull):
        def __init__(self, client_id: str) -> None:
            self.client_id = client_id

        def train(self, *arguments: Any, **rest: Any) -> Any:
            trained.append(self.client_id)
            return super().train(*arguments, **rest)

    interrupted.serving = Serving()
    for client_id in EXAMPLES:
        interrupted.join(client_id, Telling(client_id), incarnation="second" if client_id == "carl" else "first")
    interrupted.go_on(folder)
    # Then nobody but the third is asked again in that round, and all is as if nothing had happened
    assert trained == ["carl", "anna", "bert", "carl"]
    assert digests(folder) == digests(expected)
    kept, whole = folder.history()[1].responses["anna"], expected.history()[1].responses["anna"]
    times = {"duration_s": 0.0, "cpu_s": 0.0}
    assert kept.model_copy(update=times) == whole.model_copy(update=times)
    assert interrupted.chunks.chunks == {}


def test_a_run_that_is_given_more_rounds_ends_as_if_it_had_had_them_from_the_start(federation: Federation) -> None:
    # Given a run of five rounds, and another of two that is completed
    expected = digests(federation.another("whole").run(rounds=5))
    again = federation.another("again")
    folder = again.run(rounds=2)
    # When the second is given five rounds, and goes on
    folder.replace_config(folder.config().model_copy(update={"rounds": 5}), folder.lock()).close()
    again.go_on(folder)
    # Then its models are the first's, to the last bit
    assert digests(folder) == expected


def test_a_run_that_starts_from_anothers_model_goes_on_where_that_ended(federation: Federation) -> None:
    # Given a run of one round
    first = federation.run("first", rounds=1)
    # When another starts from its model, of which nothing is left then
    federation.run("second", rounds=1, run_id="second", initial_model=str(first.checkpoint(1)))
    second = RunFolder.open(federation.folder / "second")
    # Then its own folder has that model, byte by byte, and its first round trained it: 16 and 16 more steps
    assert second.checkpoint(0).read_bytes() == first.checkpoint(1).read_bytes()
    assert arrays.map_file(second.checkpoint(1))["steps"].item() == 32


def test_a_run_that_is_complete_does_nothing_more(federation: Federation) -> None:
    # Given a run that is complete
    folder = federation.run(rounds=2)
    federation.events.clear()
    # When it is to go on, then it is told that it began, clients that are there are said farewell to, and that is all
    federation.go_on(folder)
    assert {type(event) for event in federation.events} == {RunStarted, ClientsJoined, OrdersAnswered}
    assert len(folder.history()) == 2
