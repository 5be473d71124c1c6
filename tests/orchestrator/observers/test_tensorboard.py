"""A run's numbers, as TensorBoard's own reader finds them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from orchestrator.observers import ObserverContext
from orchestrator.observers.tensorboard import TensorBoard
from tests.orchestrator.observers.telling import FIRST_START, NUMBERS, SECOND_START, tell
from tests.support import run_config


def test_a_run_of_two_starts_is_one_at_tensorboard(tmp_path: Path) -> None:
    # Given a run that was killed and taken up again
    tell(tmp_path, "tensorboard", *FIRST_START)
    tell(tmp_path, "tensorboard", *SECOND_START)
    # When TensorBoard reads it, then each number is there once, by its round, as a scalar
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    told = {
        name: [(each.step, make_ndarray(each.tensor_proto).item()) for each in found.Tensors(name)] for name in NUMBERS
    }
    assert told == NUMBERS
    assert {found.SummaryMetadata(name).plugin_data.plugin_name for name in NUMBERS} == {"scalars"}


def test_an_event_is_there_before_the_next_one(tmp_path: Path) -> None:
    # Given an observer that is never closed, as that of a run that is killed

    observer = TensorBoard(ObserverContext(tmp_path, run_config(), "", Console()))
    # When it was told, then it is there
    for event in FIRST_START:
        observer.observe(event)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [each.step for each in found.Tensors("held_out/loss")] == [0, 1, 2]
    observer.close()
