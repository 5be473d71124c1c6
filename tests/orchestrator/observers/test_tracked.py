"""What trackers are told: settings that aren't the default ones, and numbers by round."""

from __future__ import annotations

from orchestrator.observers.events import ClientsJoined
from orchestrator.observers.tracked import NOTHING, Numbers, changed_settings, measured
from tasks.messages import TrainOptions
from tests.orchestrator.observers.telling import FIRST_START, NUMBERS, SECOND_START
from tests.support import PULL, run_config


def test_what_a_run_says_in_numbers_is_told_once_though_it_was_killed() -> None:
    # Given a run of two starts, when its numbers are taken, then each is there once a round
    found: dict[str, list[tuple[int, float]]] = {}
    for events in (FIRST_START, SECOND_START):
        numbers = Numbers()
        for round_number, told in map(numbers.of, events):
            for name, number in told.items():
                found.setdefault(name, []).append((round_number, number))
    assert found == NUMBERS


def test_who_takes_part_is_no_number() -> None:
    assert measured(ClientsJoined(clients={"anna": 5})) == NOTHING


def test_settings_that_are_the_default_ones_are_left_out() -> None:
    # Given a config that differs in a setting, in one of a setting's own, and in a list
    config = run_config(
        rounds=7,
        options=TrainOptions(learning_rate=0.5),
        verify=("norm", "cosine"),
        observe=("mlflow:http://u:p@host",),
    )
    # When it is told, then so are these, what is trained how, and nothing else: least of all where it is told to
    assert changed_settings(config) == {
        "workload": PULL,
        "algorithm": "fedavg",
        "rounds": 7,
        "options.learning_rate": 0.5,
        "verify": "norm,cosine",
    }
