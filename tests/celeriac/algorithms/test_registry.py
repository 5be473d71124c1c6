from __future__ import annotations

import pytest

from celeriac.algorithms import Algorithm, load_algorithm, settings_of
from celeriac.algorithms.fedavg import FEDAVG
from celeriac.algorithms.feddyn import FEDDYN
from celeriac.algorithms.fedprox import FEDPROX
from tasks.errors import ConfigurationError, LoadError

ASKS_TOO_MUCH = Algorithm("greedy", survey=lambda _: {}, surveyed=("a", "b", "c", "d"))
ASKS_NOTHING = Algorithm("idle", survey=lambda _: {})
SENDS_RESULTS = Algorithm("results", sent=("results",))
ASKS_FOR_ITS_OWN = Algorithm("forgetful", survey=lambda _: {}, surveyed=("c",), broadcast=("c",))
TALKATIVE = Algorithm(name="talkative", sent=("a", "b", "c", "d"))
MISNAMED = Algorithm(name="misnamed", sent=("a/b",))


def test_algorithms_are_found_by_name() -> None:
    # Given names and something that is no algorithm, when they are loaded, then they are found, or it is told
    assert load_algorithm("fedavg") is FEDAVG
    assert load_algorithm("tests.support:EQUAL_WEIGHTS").name == "equal"
    with pytest.raises(LoadError, match=r"is function, not an algorithms\.Algorithm"):
        load_algorithm("celeriac.algorithms.fedprox:local")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TALKATIVE", "sends 4 sets of arrays: 3 are allowed"),
        ("ASKS_TOO_MUCH", "sends 4 sets of arrays: 3 are allowed"),
        ("MISNAMED", "the name of a set of arrays can't have a '/' in it"),
        ("ASKS_NOTHING", "has one of survey and surveyed: both are needed, or neither"),
        ("SENDS_RESULTS", "a set of arrays can't be named 'results': that is for the workload's"),
        ("ASKS_FOR_ITS_OWN", "the set 'c' is both in surveyed and in broadcast"),
    ],
)
def test_an_algorithm_whose_sets_of_arrays_cant_be_sent_is_refused(name: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load_algorithm(f"{__name__}:{name}")


def test_settings_are_the_defaults_but_for_those_that_are_given() -> None:
    assert settings_of(FEDPROX, {}) == {"mu": 0.01}
    assert settings_of(FEDPROX, {"mu": 0.5}) == {"mu": 0.5}


@pytest.mark.parametrize(
    ("algorithm", "given", "message"),
    [
        (FEDPROX, {"nu": 1.0}, r"--set nu: fedprox has no such setting; it has mu \(0.01\)"),
        (FEDAVG, {"mu": 1.0}, "--set mu: fedavg has no such setting; it has none"),
        (FEDPROX, {"mu": float("nan")}, "--set mu=nan: numbers from 0 are allowed"),
        (FEDPROX, {"mu": -0.5}, "--set mu=-0.5: numbers from 0 are allowed"),
        (FEDDYN, {"alpha": 0.0}, "--set alpha=0: numbers over 0 are allowed, feddyn divides by it"),
    ],
)
def test_a_setting_that_an_algorithm_hasnt_is_refused(
    algorithm: Algorithm, given: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settings_of(algorithm, given)
