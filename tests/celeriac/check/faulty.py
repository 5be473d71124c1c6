"""Workloads with one fault each, and what is to be said of it: ``FAULTS``."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from celeriac import Arrays, ClientData, Context, DataSource, Direction, Evaluation, Gradients, Step, TrainResult
from tasks.metrics import Metric
from tests.celeriac.check.sound import Points, Sound


class CantBeMade(Sound):
    def __init__(self) -> None:
        raise OSError("no such device")


class ListOfArrays(Sound):
    def initial_parameters(self, context: Context) -> Arrays:
        return [np.zeros(1)]  # type: ignore[return-value]


class ComplexModel(Sound):
    def initial_parameters(self, context: Context) -> Arrays:
        return {"slope": np.zeros(1, complex)}


class NanInModel(Sound):
    def initial_parameters(self, context: Context) -> Arrays:
        return {**super().initial_parameters(context), "offset": np.full(1, np.nan)}


class UnseededModel(Sound):
    def initial_parameters(self, context: Context) -> Arrays:
        return {**super().initial_parameters(context), "offset": np.random.default_rng().random(1)}


class UnknownBuffer(Sound):
    def buffer_names(self, context: Context) -> frozenset[str]:
        return frozenset({"running_mean"})


class DataAsTuple(Sound):
    def client_data(self, source: DataSource) -> ClientData:
        return Points(0, 40), Points(1, 10)  # type: ignore[return-value]


class NoData(Sound):
    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(Points(0, 0), Points(1, 10), 0)


class SamePart(Sound):
    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(Points(0, 40), Points(1, 10), 40)


class DataAnewEachTime(Sound):
    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(Points(time.perf_counter_ns(), 40), Points(1, 10), 40)


class BrokenHoldout(Sound):
    def holdout_data(self, folder: Path | None) -> Any:
        raise FileNotFoundError(2, "No such file or directory", "test.csv")


class EmptyHoldout(Sound):
    def holdout_data(self, folder: Path | None) -> Any:
        return Points(0, 0)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return super().evaluate(parameters, data, context) if len(data) else Evaluation(0.0, 0)


class ResultAsTuple(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return super().train(parameters, data, context).parameters, 40, {}  # type: ignore[return-value]


class Exits(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        sys.exit("my data set is broken")


class Asserts(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        assert len(data) == 41
        return super().train(parameters, data, context)


class Interrupts(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        raise KeyboardInterrupt


class Changed(Sound):
    """Changes the result of a training that is sound."""

    changes: ClassVar[Mapping[str, Any]] = {}

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        return replace(result, **{name: change(result, parameters) for name, change in self.changes.items()})


class OtherNames(Changed):
    changes: ClassVar = {"parameters": lambda result, _: {f"module.{n}": v for n, v in result.parameters.items()}}


class OtherDtype(Changed):
    changes: ClassVar = {"parameters": lambda result, _: {n: np.float32(v) for n, v in result.parameters.items()}}


class NanBack(Changed):
    changes: ClassVar = {"parameters": lambda result, _: {**result.parameters, "slope": np.full(1, np.inf)}}


class UntrainedBack(Changed):
    changes: ClassVar = {"parameters": lambda _, parameters: parameters}


class NoSteps(Changed):
    changes: ClassVar = {"num_steps": lambda *_: 0}


class TooManyExamples(Changed):
    changes: ClassVar = {"num_examples": lambda *_: 41}


class NestedMetrics(Changed):
    changes: ClassVar = {"metrics": lambda *_: {"class 0": {"f1": 0.5}}}


class InPlace(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.from_numpy(parameters["slope"]).add_(1)
        return super().train(parameters, data, context)


class UnseededTraining(Sound):
    def batches(self, num: int, context: Context) -> Any:
        return np.array_split(np.random.default_rng().permutation(num), 20)


class NeverAsks(Sound):
    def is_over(self, context: Context) -> bool:
        return False


class AsksOnce(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        self.over = context.budget.is_over()
        return super().train(parameters, data, context)

    def is_over(self, context: Context) -> bool:
        return self.over


class GoesOn(Sound):
    def is_over(self, context: Context) -> bool:
        context.budget.is_over()
        return False


class Hangs(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        time.sleep(60)
        return super().train(parameters, data, context)


class DividesByNoSteps(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        result = super().train(parameters, data, context)
        return replace(result, metrics={"loss_a_step": 1 / result.num_steps})


class KeepsAModel(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        context.state["optimizer"] = object()
        return super().train(parameters, data, context)


class StateOfRoundTwo(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        _ = context.state.setdefault("moments", {"slope": [0.0]})["offset" if context.round_number == 2 else "slope"]
        return super().train(parameters, data, context)


class OtherWay(Sound):
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return super().train_along(parameters, data, context, lambda step: {n: -v for n, v in step.gradients.items()})

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        return super().train_along(parameters, data, context, direction)


class OtherGradientsThere(Sound):
    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        def turned(step: Step) -> Arrays:
            return direction(replace(step, gradients_at=lambda there: {n: v + 1 for n, v in step.gradients.items()}))

        return super().train_along(parameters, data, context, turned)

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return super().train_along(parameters, data, context, lambda step: step.gradients)


class GradientsOfNothing(Sound):
    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        return Gradients(0.5, {"slopes": np.zeros(1)})


class EvaluationAsTuple(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return 0.5, {}  # type: ignore[return-value]


class PerCent(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(0.5, len(data), {"accuracy": 97.0})


class LossOfNan(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float("nan"), len(data))


class EvaluatesAtRandom(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float(np.random.default_rng().random()), len(data))


class EvaluatesInPlace(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.from_numpy(parameters["slope"]).add_(1)
        return super().evaluate(parameters, data, context)


class EvaluatesTheFirstModelAlone(Sound):
    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        if parameters["steps"]:
            raise RuntimeError("bad state")
        return super().evaluate(parameters, data, context)


class DeclaresText(Sound):
    known_metrics: ClassVar[Mapping[str, Metric]] = {"auc": "higher"}  # type: ignore[dict-item]


FAULTS: Mapping[type[Sound], str] = {
    CantBeMade: "making it failed: OSError: no such device (faulty.py, line",
    ListOfArrays: "initial_parameters() returned parameters that are list: a dict of NumPy arrays by name is needed",
    ComplexModel: "initial_parameters(): array 'slope' has dtype complex128: allowed are",
    NanInModel: "initial_parameters() returned values that are NaN or infinite, in 'offset'",
    UnseededModel: "initial_parameters() returned another model when it was called again with the same seed",
    UnknownBuffer: "buffer_names() returned names that no parameter has: 'running_mean'",
    DataAsTuple: "client_data() returned tuple: a ClientData(",
    NoData: "client_data() of part 1/2 returned no training examples: num_train=0",
    SamePart: "client_data() returned the same training examples for parts 1 and 2 of 2",
    DataAnewEachTime: "client_data() of part 1/2 returned other training examples when it was called again",
    BrokenHoldout: "holdout_data(): FileNotFoundError: [Errno 2] No such file or directory: 'test.csv' (faulty",
    EmptyHoldout: "evaluate() on holdout_data(): there are no held-out examples",
    ResultAsTuple: "train() returned tuple: a TrainResult(",
    Exits: "train(): SystemExit: my data set is broken (faulty.py, line",
    Asserts: "train(): AssertionError: assert len(data) == 41 (faulty.py, line",
    Interrupts: "train(): KeyboardInterrupt: raise KeyboardInterrupt (faulty.py, line",
    OtherNames: "train() returned parameters: array names differ from the model's: missing 'offset', 'slope', 'steps'",
    OtherDtype: "train() returned parameters: array 'offset' is F32 (1,), the model's is F64 (1,); so are 2 more",
    NanBack: "train() returned values that are NaN or infinite, in 'slope'",
    UntrainedBack: "train() returned the parameters as it was given them, after 4 steps",
    NoSteps: "train() returned num_steps=0",
    TooManyExamples: "train() returned num_examples=41: 1 to 40 is allowed",
    NestedMetrics: "metric 'class 0' of train(): dict is no number",
    InPlace: "train() changed the parameters that it was given, in place",
    UnseededTraining: "train() returned another model when it was called again with the same seed",
    NeverAsks: "train() asked context.budget.is_over() never in 20 steps",
    AsksOnce: "train() asked context.budget.is_over() once in 20 steps",
    GoesOn: "train() went on after context.budget.is_over() had said so",
    Hangs: "train() didn't end within 2 s (--timeout): ask context.budget.is_over()",
    DividesByNoSteps: "train() with no time left for a step: ZeroDivisionError: division by zero (faulty.py, line",
    KeepsAModel: "train() left in context.state what can't be kept: Object of type object is not JSON serializable",
    StateOfRoundTwo: "in a second round, with what the first has left: train(): KeyError: 'offset' (faulty.py, line",
    OtherWay: "train_along() along the gradients themselves gave another model than train(), in 'slope', 'offset'",
    OtherGradientsThere: "train_along() gave gradients that gradients_at(parameters) doesn't return, of 'slope'",
    GradientsOfNothing: "gradients() returned arrays: array names differ from the model's: unknown 'slopes'",
    EvaluationAsTuple: "evaluate() returned tuple: an Evaluation(",
    PerCent: "evaluate() returned accuracy 97: a share from 0 to 1 is allowed",
    LossOfNan: "evaluate() on holdout_data(): the loss is nan",
    EvaluatesAtRandom: "evaluate() on the client's test examples returned something else when it was called again",
    EvaluatesInPlace: "evaluate() on holdout_data() changed the parameters that it was given, in place",
    EvaluatesTheFirstModelAlone: "evaluate() of a trained model on holdout_data(): RuntimeError: bad state (faulty.py",
    DeclaresText: "DeclaresText.known_metrics has 'auc' as str",
}
"""Each workload, and how the finding begins that tells of its fault, or what is in it."""
