"""The loop of ``benchmarks.kill_points`` over some of its points: killed there, a run ends as if nothing had been."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kill_points import KINDS, Study

WHEN = ("open config.json", "os.rename checkpoints/round-0001", "open history.jsonl")
"""What a run is about to do as it is killed; where points have no such beginning, that is told."""
BESIDE = {"goals": ("os.remove checkpoints/round-0001", "open evaluations.jsonl")}
"""What else runs of some kinds do."""


PLAIN = "plain"


@pytest.fixture(scope="module", autouse=True)
def _without_plots() -> Iterator[None]:
    """The runs draw no plot, by which they are done sooner."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (PLAIN, "scaffold", "goals"):
            patch.setitem(KINDS, kind, (*KINDS[kind], "--observe", "console"))
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Runs that are given nothing beside the usual, the first of which nobody kills."""
    return Study(PLAIN, tmp_path_factory.mktemp(PLAIN))


@pytest.mark.parametrize("kind", [PLAIN, "scaffold", "goals"])
def test_a_run_that_is_killed_anywhere_ends_with_the_same_model(tmp_path: Path, plain: Study, kind: str) -> None:
    # Given a run that nobody kills, and what it does
    study = plain if kind == PLAIN else Study(kind, tmp_path)

    for what in (*WHEN, *BESIDE.get(kind, ())):
        # When one like it is killed as it is about to do some of that, and started again
        number = next(index for index, point in enumerate(study.points, start=1) if point.startswith(what))
        fault = study.kill_at(number)

        # Then it has each round once, the same model, and no files half written
        assert fault == ""
    assert study.num_killed == len((*WHEN, *BESIDE.get(kind, ())))


def test_a_model_that_differs_and_a_file_left_behind_are_found(tmp_path: Path, plain: Study) -> None:
    # Given a run that nobody kills
    run_dir = shutil.copytree(plain.whole, tmp_path / "whole")
    assert plain.fault(run_dir) == ""

    # When a file is left half written, the model is another, or a round is there twice
    stray = run_dir / "checkpoints" / "round-0001.safetensors.7.tmp"
    stray.touch()
    assert plain.fault(run_dir) == "it left checkpoints/round-0001.safetensors.7.tmp"
    model = run_dir / "checkpoints" / "round-0002.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    assert plain.fault(run_dir) == "its model differs"
    history = run_dir / "history.jsonl"
    history.write_text(history.read_text() * 2)

    # Then that is said
    assert plain.fault(run_dir) == "its history has the rounds [1, 2, 1, 2]"
