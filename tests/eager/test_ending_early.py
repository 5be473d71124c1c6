"""Runs that end when a metric says so, and that keep the best models alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

import tests.support
from orchestrator.driver.summary import summarise
from orchestrator.observers.events import RoundClosed, StoppedEarly
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.metrics import Metric
from tests.eager.federation import Federation, StoppedError, digests, stop_after
from tests.support import Pull

WORKLOAD = "tests.support:Swinging"
GAINS = (0.1, 0.3, 0.5, 0.4, 0.2, 0.6, 0.1)
"""What each model is worth, the initial one first: of the rounds the best are 5, 2 and 3."""
STEPS = 2 * (3 + 5 + 11)
"""Steps of a round, over all clients."""


class Swinging(Pull):
    """Finds each round's model as good as ``GAINS`` say; the model itself counts the rounds."""

    known_metrics: ClassVar = {"gain": Metric("higher")}

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(0.5, len(data), {"gain": GAINS[context.round_number]})


@pytest.fixture
def swinging(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Federation:
    """Three clients of that workload."""
    monkeypatch.setattr(tests.support, "Swinging", Swinging, raising=False)
    federation.join_all(Swinging(), WORKLOAD)
    return federation


def another(federation: Federation, name: str) -> Federation:
    """The same in a folder of its own."""
    other = federation.another(name)
    other.join_all(Swinging(), WORKLOAD)
    return other


def kept(folder: RunFolder) -> list[int]:
    """The rounds that have a checkpoint."""
    return sorted(int(path.name.split("-")[1].split(".")[0]) for path in folder.checkpoints.iterdir())


@pytest.mark.parametrize(
    ("options", "last", "why"),
    [
        ({"stop_when": "gain>=0.5"}, 2, "gain is 0.5000 (--stop-when gain>=0.5)"),
        ({"stop_when": "gain>=0.5", "evaluate_every": 5}, 5, "gain is 0.6000 (--stop-when gain>=0.5)"),
        ({"patience": 2}, 4, "the best is round 2 with gain 0.5000 (--patience 2)"),
        ({"patience": 3}, 6, ""),
        ({"stop_when": "gain>=0.9"}, 6, ""),
    ],
)
def test_a_run_ends_with_the_round_whose_model_says_so(
    swinging: Federation, options: dict[str, Any], last: int, why: str
) -> None:
    # Given a run of six rounds that may end before, when it is carried out
    folder = swinging.run(workload=WORKLOAD, rounds=6, **options)
    # Then it ends there, its clients have evaluated the last model, and the summary says why
    history = folder.history()
    assert len(history) == last
    assert [bool(record.num_evaluated) for record in history] == [False] * (last - 1) + [True]
    summary = summarise(folder.config(), folder, "completed", "", 1.0)
    assert (summary.stopped, summary.rounds, summary.best_round) == (why, last, 5 if last >= 5 else 2)
    told = [event for event in swinging.events if isinstance(event, StoppedEarly)]
    assert [(event.round_number, event.reason) for event in told] == ([(last, why)] if why else [])
    # And its models are those of a run that goes on
    assert digests(folder) == digests(another(swinging, "on").run(workload=WORKLOAD, rounds=6))[:last]


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_that_was_killed_ends_with_the_same_round(swinging: Federation, killed_after: int) -> None:
    # Given a run that is to end with round 2, which is killed when a round is closed
    swinging.on_event = stop_after(killed_after)
    with pytest.raises(StoppedError):
        swinging.run(workload=WORKLOAD, rounds=6, stop_when="gain>=0.5", keep_best=1)
    swinging.on_event = lambda _: None
    # When it is taken up again, then it ends there, and once more it has nothing left to do
    folder = RunFolder.open(swinging.folder / "run")
    for _ in range(2):
        swinging.go_on(folder)
        assert len(folder.history()) == 2
    assert kept(folder) == [0, 2]


def test_the_best_models_are_kept_beside_the_first_and_the_last(swinging: Federation) -> None:
    # Given a run that keeps the two best of its models, when it is carried out
    closed: list[list[int]] = []
    folder = RunFolder(swinging.folder / "run")
    swinging.on_event = lambda event: closed.append(kept(folder)) if isinstance(event, RoundClosed) else None
    swinging.run(workload=WORKLOAD, rounds=6, keep_best=2)
    # Then those of rounds 2 and 5 stay, and of the others the first and the last
    assert kept(folder) == [0, 2, 5, 6]
    # And on the way never were there many more
    assert max(map(len, closed)) <= 6


@pytest.mark.parametrize(
    ("options", "rounds"),
    [({"keep": 1}, [0, 5, 6]), ({"keep": 3}, [0, 4, 5, 6]), ({"keep": 2, "keep_best": 2}, [0, 2, 5, 6])],
)
def test_the_last_models_are_kept_beside_the_first_and_the_best(
    swinging: Federation, options: dict[str, Any], rounds: list[int]
) -> None:
    # Given a run that keeps the last of its models, when it is carried out, then it has these, the first and the best
    assert kept(swinging.run(workload=WORKLOAD, rounds=6, **options)) == rounds


def test_a_run_keeps_fewer_models_from_where_it_is_taken_up(swinging: Federation) -> None:
    # Given a run that has kept all of its models
    folder = swinging.run(workload=WORKLOAD, rounds=5)
    # When it goes on for a round, and is to keep the last alone
    changed = folder.config().model_copy(update={"rounds": 6, "keep": 1})
    folder.replace_config(changed, folder.lock()).close()
    swinging.go_on(folder)
    # Then the others are gone but for the first and the best
    assert kept(folder) == [0, 5, 6]


def test_a_run_whose_models_find_no_room_is_refused_before_its_first_round(swinging: Federation) -> None:
    # Given more rounds than any disk has room for, when they are begun, then it is said what would do
    why = (
        r"^10{13} checkpoints of \d+ bytes to come take .* PB, and .*run has .* left: --keep N keeps those of the last"
    )
    with pytest.raises(ConfigurationError, match=why):
        swinging.run(workload=WORKLOAD, rounds=10**13)
    # And where few are kept, or the run may end early, it begins
    allowed: dict[str, dict[str, Any]] = {"few": {"keep": 3}, "early": {"stop_when": "gain>=0.3"}}
    for name, options in allowed.items():
        begun = another(swinging, name)
        begun.on_event = stop_after(1)
        with pytest.raises(StoppedError):
            begun.run(workload=WORKLOAD, rounds=10**13, **options)


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_run_that_keeps_the_best_goes_on_wherever_it_was_killed(swinging: Federation, killed_after: int) -> None:
    # Given a run that is killed as a round is closed
    swinging.on_event = stop_after(killed_after)
    with pytest.raises(StoppedError):
        swinging.run(workload=WORKLOAD, rounds=6, keep_best=1)
    swinging.on_event = lambda _: None
    # When it is taken up again, then it ends with the models of one that wasn't
    folder = swinging.go_on(RunFolder.open(swinging.folder / "run"))
    assert kept(folder) == [0, 5, 6]
    assert digests(folder) == digests(another(swinging, "whole").run(workload=WORKLOAD, rounds=6))


class WithoutHoldout(Swinging):
    """Leaves evaluations to clients."""

    def holdout_data(self, folder: Path | None) -> None:
        return None


def test_without_held_out_data_a_run_goes_by_what_its_clients_find(
    swinging: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a workload whose clients alone evaluate models, every round
    monkeypatch.setattr(tests.support, "Swinging", WithoutHoldout)
    # When a run is to end when the best model is two rounds old, then it does, and keeps that
    options: dict[str, Any] = {"workload": WORKLOAD, "rounds": 6, "evaluate_clients_every": 1}
    folder = swinging.run(patience=2, keep_best=1, **options)
    assert len(folder.history()) == 4
    assert kept(folder) == [0, 2, 4]
    assert summarise(folder.config(), folder, "completed", "", 1.0).best_round == 2
    # And a metric that the clients don't give is told of when they first evaluate a model
    with pytest.raises(ConfigurationError, match=r"^--stop-when auc>=0.5: .* gives no auc, but gain, loss$"):
        another(swinging, "another").run(stop_when="auc>=0.5", **options)


def test_a_metric_that_there_isnt_is_refused_before_the_first_round(swinging: Federation, tmp_path: Path) -> None:
    # Given a goal for a metric that the workload doesn't give, when the run is begun, then it is refused
    with pytest.raises(ConfigurationError, match=r"^--stop-when auc>=0.5: .* gives no auc, but loss, gain$"):
        swinging.run(workload=WORKLOAD, stop_when="auc>=0.5")
    assert not RunFolder.open(swinging.folder / "run").has_rounds()
