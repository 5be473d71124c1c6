from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from orchestrator.observers import plot
from orchestrator.store.records import RoundRecord, SlotRecord
from tasks.messages import Status
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


def test_the_initial_model_is_the_point_of_round_0() -> None:
    # Given a history of two rounds, and what the initial model was worth
    history = [round_record(1, metrics={"loss": 0.5, "accuracy": 0.8}), round_record(2, metrics={"loss": 0.25})]
    # When it is drawn, then both curves begin there
    assert plot.points_of(history, {"loss": 2.0, "accuracy": 0.1}) == {
        "loss": [(0, 2.0), (1, 0.5), (2, 0.25)],
        "accuracy": [(0, 0.1), (1, 0.8)],
    }


def responses(**of: tuple[Status, int, float]) -> dict[str, SlotRecord]:
    return {
        client_id: SlotRecord(status=status, num_examples=number, metrics={"train_loss": loss})
        for client_id, (status, number, loss) in of.items()
    }


def test_without_held_out_data_the_clients_train_loss_is_drawn(tmp_path: Path) -> None:
    # Given rounds without metrics, in which clients with 1 and 3 examples tell losses, and one that is rejected
    first = responses(anna=(Status.TRAINED, 1, 2.0), bert=(Status.TIMED_OUT, 3, 4.0), carl=(Status.REJECTED, 9, 99.0))
    history = [round_record(1, metrics={}, responses=first), round_record(2, metrics={}, responses={})]
    # When the history is drawn, then it is their mean by examples: (1 * 2 + 3 * 4) / 4 = 3.5
    assert plot.points_of(history, {}) == {"train_loss": [(1, 3.5)]}
    assert drawn(history, tmp_path).shape == (432, 1080, 4)
    # And where there is a loss on held-out data, that alone is drawn
    with_loss = [round_record(1, metrics={"loss": 1.0}, responses=first)]
    assert plot.points_of(with_loss, {}) == {"loss": [(1, 1.0)]}


def test_a_title_stands_above(tmp_path: Path) -> None:
    # Given the names of two runs, with signs that mean something to TeX
    titles = [f"fedavg on my_study:Net,cost=$5_a$, run {name}" for name in ("one", "two")]
    # When their histories, which are the same, are drawn, then the pictures tell them apart
    for title in titles:
        plot.draw([round_record()], tmp_path / f"{title[-3:]}.png", title=title)
    one, two = (image.imread(tmp_path / f"{title[-3:]}.png") for title in titles)
    assert not np.array_equal(one, two)


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
