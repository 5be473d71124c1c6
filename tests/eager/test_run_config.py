"""Settings and schedules as the study's code finds them, round by round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.driver.summary import summarise
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.messages import TrainOptions
from tasks.workload import TrainResult
from tests.eager.federation import Federation, StoppedError, stop_after
from tests.support import Pull

DECLARING = f"{__name__}:Declaring"
WHOLE = f"{__name__}:Whole"


class Telling(Pull):
    """Tells as metrics what it was told."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        told = {
            "rate": context.options.learning_rate,
            "epochs": context.options.epochs,
            "momentum": float(str(context.run_config.get("momentum", -1))),
            "round": context.round_number,
            "rounds": context.num_rounds,
            "cohort": context.cohort_size,
            "is_anna": context.client_id == "anna",
            "seed": context.seed,
            "draw": context.rng.random(),
        }
        return replace(super().train(parameters, data, context), metrics={key: float(told[key]) for key in told})


class Declaring(Pull):
    """Has one setting of its own, which its loss is."""

    run_config = {"momentum": 0.5}  # noqa: RUF012  # as a user would write it

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float(str(context.run_config["momentum"])), 1)


class Whole(Pull):
    """Has a whole number of its own, which its loss is."""

    run_config = {"depth": 4}  # noqa: RUF012  # as a user would write it

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        depth = context.run_config["depth"]
        assert isinstance(depth, int)
        return Evaluation(float(depth), 1)


def told(folder: RunFolder, name: str, client_id: str = "anna") -> list[float]:
    return [record.responses[client_id].metrics[name] for record in folder.history()]


def test_each_round_has_the_values_that_its_schedules_give(federation: Federation) -> None:
    # Given a run with schedules of two options, and of a setting
    federation.join_all(Telling())
    schedule = {"learning_rate": "step:0.5:0.5:1", "epochs": "cosine:4:1", "momentum": "cosine:0.9:0.1"}
    run_config = {"momentum": 0.9}
    folder = federation.run(rounds=3, schedule=schedule, run_config=run_config)
    # Then clients were told them, as well as what else there is to know
    assert told(folder, "rate") == [0.5, 0.25, 0.125]
    assert told(folder, "epochs") == [4, 2, 1]
    assert told(folder, "momentum") == pytest.approx([0.9, 0.5, 0.1])
    assert told(folder, "round") == [1, 2, 3]
    assert told(folder, "rounds") == told(folder, "cohort") == [3, 3, 3]
    assert (told(folder, "is_anna"), told(folder, "is_anna", "bert")) == ([1, 1, 1], [0, 0, 0])
    # And no two clients or rounds draw the same
    draws = {draw for client_id in ("anna", "bert", "carl") for draw in told(folder, "draw", client_id)}
    assert len(draws) == 9
    assert all(0 <= seed < 2**32 for seed in told(folder, "seed"))


def test_a_run_that_goes_on_has_the_same_schedule(federation: Federation) -> None:
    # Given a run with a schedule, and another that was killed after its first round
    settings: dict[str, Any] = {"rounds": 3, "schedule": {"learning_rate": "cosine:0.5:0.1"}}
    whole = federation.run("whole", **settings)
    federation.on_event = stop_after(1)
    with pytest.raises(StoppedError):
        federation.run("killed", **settings)
    federation.on_event = lambda _: None
    # When that goes on, then it ends at the same model
    killed = federation.go_on(RunFolder.open(federation.folder / "killed"))
    assert killed.checkpoint(3).read_bytes() == whole.checkpoint(3).read_bytes()
    # And at another than without the schedule
    plain = federation.run("plain", rounds=3, options=TrainOptions(epochs=2, learning_rate=0.5))
    assert plain.checkpoint(3).read_bytes() != whole.checkpoint(3).read_bytes()


def test_a_setting_that_the_workload_declares_has_its_default_on_both_sides(federation: Federation) -> None:
    # Given a workload that declares a setting, when it isn't given, and when it is
    for name, run_config, value in (("default", {}, 0.5), ("given", {"momentum": 0.25}, 0.25)):
        one = federation.another(name)
        one.join_all(Declaring(), DECLARING)
        folder = one.run(rounds=1, workload=DECLARING, run_config=run_config)
        # Then both the orchestrator and the clients have its value
        summary = summarise(folder.config(), folder, "completed", "", 1.0)
        assert (summary.final["loss"], summary.client_metrics["loss"]) == (value, value)


@pytest.mark.parametrize(("schedule", "told"), [("step:4:0.5:1", ""), ("cosine:4:1", "depth=2.5: its default is 4")])
def test_a_whole_number_stays_one_in_each_round_or_is_refused_before_the_first(
    federation: Federation, schedule: str, told: str
) -> None:
    # Given a workload that declares a whole number, and a schedule of it
    federation.join_all(Whole(), WHOLE)
    settings: dict[str, Any] = {"workload": WHOLE, "run_config": {"depth": 4}, "schedule": {"depth": schedule}}
    # When it is run, then it is whole in each round, or the run ends before the first
    if told:
        with pytest.raises(ConfigurationError, match=told):
            federation.run(rounds=3, **settings)
        assert RunFolder.open(federation.folder / "run").history() == []
    else:
        metrics = [
            record.client_metrics for record in federation.run(rounds=3, evaluate_clients_every=1, **settings).history()
        ]
        assert [each["loss"] for each in metrics] == [4.0, 2.0, 1.0]


def test_a_setting_that_the_workload_doesnt_have_ends_the_run_before_its_first_round(federation: Federation) -> None:
    federation.join_all(Declaring(), DECLARING)
    with pytest.raises(ConfigurationError, match=r"--run-config momentun: .* did you mean 'momentum'"):
        federation.run(rounds=1, workload=DECLARING, run_config={"momentun": 0.25})
