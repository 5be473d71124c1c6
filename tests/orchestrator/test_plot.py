from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from orchestrator import plot
from orchestrator.records import RoundRecord
from tests.support import round_record

FAILED = {"status": "failed", "reason": "0 updates", "metrics": {}}


def drawn(history: list[RoundRecord], folder: Path) -> np.ndarray:
    path = folder / "plot.png"
    plot.draw(history, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    return image.imread(path)


def red(pixels: np.ndarray) -> int:
    """Number of pixels in the colour of the loss."""
    return int(((pixels[..., 0] > 0.75) & (pixels[..., 1] < 0.3) & (pixels[..., 2] < 0.3)).sum())


@pytest.mark.parametrize(
    "history",
    [
        [],
        [round_record(1)],
        [round_record(number, metrics={"loss": 1 / number, "accuracy": 0.5}) for number in range(1, 31)],
        [round_record(1), round_record(2, **FAILED), round_record(3)],
        [round_record(number, **FAILED) for number in (1, 2, 3)],
        [round_record(number, metrics={}) for number in (1, 2)],
        [round_record(1, metrics={"loss": 1e30}), round_record(2, metrics={"accuracy": 0.0})],
    ],
    ids=["no rounds", "one round", "thirty rounds", "a failed one", "all failed", "no metrics", "one metric each"],
)
def test_any_history_is_drawn_as_a_picture_that_can_be_read(tmp_path: Path, history: list[RoundRecord]) -> None:
    # Given a history, when it is drawn, then there is a picture of 9 by 3.6 inches at 120 dots each, not all white
    pixels = drawn(history, tmp_path)
    assert pixels.shape == (432, 1080, 4)
    assert pixels[..., :3].min() < 0.5


def test_the_loss_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    # Given a history with losses, and one without
    with_loss = [round_record(number, metrics={"loss": 1 / number}) for number in range(1, 11)]
    without = [round_record(number, metrics={}) for number in range(1, 11)]
    # When they are drawn, then one of them has a red line
    assert red(drawn(with_loss, tmp_path)) > 100
    assert red(drawn(without, tmp_path)) == 0


def test_without_an_accuracy_the_loss_has_all_the_room(tmp_path: Path) -> None:
    # Given a history with both, and one with losses alone
    both = [round_record(number, metrics={"loss": 1 / number, "accuracy": 0.5}) for number in range(1, 11)]
    loss = [round_record(number, metrics={"loss": 1 / number}) for number in range(1, 11)]
    # When they are drawn, then the loss is in the right half, and in both halves
    halves = [
        (red(pixels[:, :540]) > 50, red(pixels[:, 540:]) > 50)
        for pixels in (drawn(both, tmp_path), drawn(loss, tmp_path))
    ]
    assert halves == [(False, True), (True, True)]


def test_a_failed_round_is_marked(tmp_path: Path) -> None:
    # Given two histories that differ in a failed round without metrics
    closed = [round_record(number) for number in (1, 2, 4)]
    failed = [*closed[:2], round_record(3, **FAILED), closed[2]]
    # When they are drawn, then the pictures differ
    assert not np.array_equal(drawn(closed, tmp_path), drawn(failed, tmp_path))


def test_a_picture_is_replaced_and_no_figure_stays_open(tmp_path: Path) -> None:
    # Given a picture that is drawn 21 times, which matplotlib warns of if the figures stay open
    for _ in range(21):
        drawn([], tmp_path)
    # When figures are asked for, then there is none
    from matplotlib import pyplot as plt

    assert plt.get_fignums() == []
