from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm
from celeriac.workloads.datasets.digits import Digits
from orchestrator.store.facts import BUFFERS
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Arrays, ArraySpec, Spec
from tasks.context import Context
from tasks.errors import ConfigurationError, DataMissingError, LoadError, UnknownNameError
from tasks.seeds import context_seed
from tasks.user_code import UserCodeError
from tests.orchestrator.jobs.rounds import MODEL, WITH_BUFFERS, folder_in, initialise
from tests.support import HalfPrecision, Pull, points, run_config

NO_FUNCTION = "tests.support:PULL"
WITHOUT_HOLDOUT = "tests.support:WithoutHoldout"


class Broken(HalfPrecision):
    """A compressor that says nothing of float32."""

    def parts(self, original: ArraySpec) -> Spec:
        raise KeyError(original.dtype)


ASKING = Algorithm(name="asking", needs=("gradients",))


class Hashing(Pull):
    """Has a number in its model that a mean can't hold."""

    def initial_parameters(self, context: Context) -> Arrays:
        return {"point": np.zeros(3, np.float32), "steps": np.array(2**60 + 1)}


class BadHoldout(Pull):
    """Has held-out data that can't be loaded."""

    def holdout_data(self, folder: Path | None) -> Any:
        raise KeyError("x")


class MissingHoldout(Pull):
    """Has held-out data that isn't there."""

    def holdout_data(self, folder: Path | None) -> Any:
        raise DataMissingError("set --data")


class ByMomentum(Digits):
    """Takes its steps by another optimiser than some algorithms are meant for."""

    momentum = 0.9


BY_MOMENTUM = f"{__name__}:ByMomentum"
NO_MOMENTUM = (
    "the formulas of {} are those of plain SGD at --learning-rate, and the workload's optimiser is SGD with "
    "momentum=0.9: allowed is plain SGD, or another algorithm"
)
NO_SUCH_STEPS = "changes the clients' training steps, and workload Pull has no train_along()"
BY_HOLDOUT = "goes by the orchestrator's held-out data, and"
BROKEN_COMPRESSOR = f"compression '{__name__}:Broken' fails at this model's arrays: KeyError: 'F32'"
TOO_LARGE = f"workload '{__name__}:Hashing': its initial model: array 'steps' has a whole number of size"
BAD_HOLDOUT = "holdout_data(): KeyError: 'x' (test_initialise.py, line "
NO_GRADIENTS = "algorithm 'asking' asks clients for their gradients, and workload Pull has no gradients()"
TO_COMPARE = "--aggregator fltrust compares what clients send with what the orchestrator trains, and --algorithm mime "
ROOT_DATA = "--aggregator fltrust trains on data that the orchestrator holds out"


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"algorithm": "fedsgd"}, UnknownNameError, "unknown algorithm 'fedsgd'"),
        ({"aggregator": NO_FUNCTION}, LoadError, f"aggregator '{NO_FUNCTION}' is str, not a function"),
        ({"mix": ("nnm", NO_FUNCTION)}, LoadError, f"mixer '{NO_FUNCTION}' is str, not a function"),
        ({"mix": ("nnm", "bucketing:0")}, ConfigurationError, "mixer 'bucketing:0': after the colon stands"),
        ({"algorithm": "scaffold"}, ConfigurationError, f"algorithm 'scaffold' {NO_SUCH_STEPS}"),
        ({"algorithm": "mime"}, ConfigurationError, f"algorithm 'mime' {NO_SUCH_STEPS}"),
        ({"algorithm": f"{__name__}:ASKING"}, ConfigurationError, NO_GRADIENTS),
        ({"algorithm": "fednova", "workload": BY_MOMENTUM}, ConfigurationError, NO_MOMENTUM.format("fednova")),
        ({"algorithm": "scaffold", "workload": BY_MOMENTUM}, ConfigurationError, NO_MOMENTUM.format("scaffold")),
        ({"compression": f"{__name__}:Broken"}, ConfigurationError, BROKEN_COMPRESSOR),
        ({"workload": f"{__name__}:Hashing"}, ConfigurationError, TOO_LARGE),
        ({"workload": f"{__name__}:BadHoldout"}, UserCodeError, BAD_HOLDOUT),
        ({"workload": f"{__name__}:MissingHoldout"}, DataMissingError, "set --data"),
        ({"workload": WITHOUT_HOLDOUT, "verify": ("holdout",)}, ConfigurationError, f"--verify holdout {BY_HOLDOUT}"),
        ({"workload": WITHOUT_HOLDOUT, "verify": ("fltrust",)}, ConfigurationError, f"--verify fltrust {BY_HOLDOUT}"),
        ({"workload": WITHOUT_HOLDOUT, "aggregator": "fltrust"}, ConfigurationError, ROOT_DATA),
        ({"workload": "digits", "aggregator": "fltrust", "algorithm": "mime"}, ConfigurationError, TO_COMPARE),
    ],
)
def test_what_cant_be_trained_here_is_told_before_anything_is_made(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    # Given a run of a workload, with an algorithm, an aggregator, ... that aren't there or don't go together
    folder = RunFolder.create(tmp_path / "run", run_config(**changes))
    # When it is initialised, then that ends it without a model
    with pytest.raises(error, match=f"^{re.escape(told)}"):
        initialise(folder)
    assert not folder.checkpoint(0).exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"point": np.zeros(3, np.float32)}, r"array names differ from the model's: missing 'steps'"),
        ({**MODEL, "point": np.zeros(4, np.float32)}, r"array 'point' is F32 \(4,\), the model's is F32 \(3,\)"),
        ({**MODEL, "point": np.zeros(3)}, r"array 'point' is F64 \(3,\), the model's is F32 \(3,\)"),
        ({**MODEL, "point": np.array([0, np.inf, 0], np.float32)}, "array 'point' has values that are NaN or infinite"),
    ],
)
def test_a_model_to_start_from_that_is_none_of_the_workload_is_told_before_the_first_round(
    tmp_path: Path, given: Arrays, message: str
) -> None:
    # Given another model than the workload's, when the run is prepared, then that ends it without a model
    arrays.write_file(tmp_path / "given", given)
    folder = RunFolder.create(tmp_path / "run", run_config(initial_model=str(tmp_path / "given")))
    with pytest.raises(ConfigurationError, match=f"--initial-model {tmp_path / 'given'}: {message}"):
        initialise(folder)
    assert not folder.checkpoint(0).exists()


def test_what_isnt_trained_is_kept_with_the_run(tmp_path: Path) -> None:
    # Given a run of a workload that counts its steps
    folder = folder_in(tmp_path, workload=WITH_BUFFERS)
    assert BUFFERS.of(folder) == []
    # When it is initialised, then its folder says what isn't trained
    initialise(folder)
    assert BUFFERS.of(folder) == ["steps"]


@pytest.mark.parametrize(("algorithm", "former"), [("scaffold", "c"), ("feddyn", "h")])
def test_a_run_whose_state_an_earlier_version_made_is_refused(tmp_path: Path, algorithm: str, former: str) -> None:
    # Given a run whose state is a mean, by the name that it had then
    folder = folder_in(tmp_path, algorithm=algorithm, workload="digits")
    arrays.write_file(folder.state(0), {f"@{former}/point": np.zeros(3, np.float32)})
    # When it is to go on, then it is refused
    with pytest.raises(ConfigurationError, match=f"an earlier version of {algorithm} began the run"):
        initialise(folder)


def test_the_initial_model_is_the_workloads_own_and_is_made_once(tmp_path: Path) -> None:
    # Given a new run with seed 5
    folder = RunFolder.create(tmp_path / "run", run_config(seed=5))
    # When it is initialised, twice
    metrics = initialise(folder)
    stamp = folder.checkpoint(0).stat().st_mtime_ns
    again = initialise(folder)
    # Then the model is the workload's for a seed derived from the run's
    expected = Pull().initial_parameters(Context(seed=context_seed(5, 0, "initial parameters")))
    assert arrays.map_file(folder.checkpoint(0))["point"].tolist() == expected["point"].tolist()
    evaluation = Pull().evaluate(expected, points("held out", 8).test, Context())
    assert metrics.metrics == again.metrics == evaluation.values
    assert folder.checkpoint(0).stat().st_mtime_ns == stamp
