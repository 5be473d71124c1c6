from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from orchestrator.observers import plot
from orchestrator.store.records import RoundRecord
from tests.support import round_record

FAILED = {"status": "failed", "reason": "0 updates", "metrics": {}}


def drawn(history: list[RoundRecord], folder: Path) -> np.ndarray:
    path = folder / "plot.png"
    plot.figure_of(history).savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    return image.imread(path)


def blue(pixels: np.ndarray) -> int:
    """Number of pixels in the colour of what was measured on the orchestrator's held-out data."""
    return int(((pixels[..., 0] < 0.3) & (pixels[..., 1] < 0.6) & (pixels[..., 2] > 0.6)).sum())


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
    # When they are drawn, then one of them has a line
    assert blue(drawn(with_loss, tmp_path)) > 100
    assert blue(drawn(without, tmp_path)) == 0


def test_each_metric_has_a_panel_three_side_by_side_and_twelve_at_the_most(tmp_path: Path) -> None:
    # Given histories with more and more metrics
    def size(num_metrics: int) -> tuple[int, ...]:
        metrics = {f"metric {number}": 0.5 for number in range(num_metrics)}
        return drawn([round_record(number, metrics=metrics) for number in (1, 2)], tmp_path).shape[:2]

    # When they are drawn, then the picture has rows of 3.6 inches, 9 inches wide, with three columns 12
    assert [size(1), size(2), size(3), size(4)] == [(432, 1080), (432, 1080), (432, 1440), (864, 1440)]
    assert size(100) == size(12) == (4 * 432, 1440)


def test_the_initial_model_is_the_point_of_round_0() -> None:
    # Given a history of two rounds, and what the initial model was worth
    history = [round_record(1, metrics={"loss": 0.5, "accuracy": 0.8}), round_record(2, metrics={"loss": 0.25})]
    # When it is drawn, then both curves begin there
    assert plot.panels_of(history, {"loss": 2.0, "accuracy": 0.1}) == {
        "loss": {"held-out data": [(0, 2.0), (1, 0.5), (2, 0.25)]},
        "accuracy": {"held-out data": [(0, 0.1), (1, 0.8)]},
    }


def test_what_clients_say_is_in_the_panel_of_its_metric(tmp_path: Path) -> None:
    # Given a round whose clients tell a loss of their training, and evaluate the model; and metrics of their own
    said = {"train_metrics": {"train_loss": 3.5, "norm": 1.0}, "client_metrics": {"loss": 3.0, "auc": 0.5}}
    history = [round_record(1, metrics={"loss": 2.0}, **said)]
    # When it is drawn, then the losses are in one panel
    assert plot.panels_of(history, {}) == {
        "loss": {"held-out data": [(1, 2.0)], "clients' held-out data": [(1, 3.0)], "clients' training": [(1, 3.5)]},
        "auc": {"clients' held-out data": [(1, 0.5)]},
        "norm": {"clients' training": [(1, 1.0)]},
    }
    assert drawn(history, tmp_path).shape == (432, 1440, 4)


def test_without_held_out_data_the_clients_train_loss_is_drawn() -> None:
    # Given a round without metrics whose clients tell of their training, when it is drawn, then that is
    history = [round_record(1, metrics={}, train_metrics={"train_loss": 3.5})]
    assert plot.panels_of(history, {}) == {"loss": {"clients' training": [(1, 3.5)]}}


def test_a_result_that_is_one_number_is_drawn_round_by_round() -> None:
    # Given rounds with results, when they are drawn, then those of one number have a panel
    history = [round_record(number, metrics={}, results={"deaths": 3 * number, "days": [1, 2]}) for number in (1, 2)]
    assert plot.panels_of(history, {}) == {"deaths": {"all clients' results": [(1, 3), (2, 6)]}}


def test_a_title_stands_above(tmp_path: Path) -> None:
    # Given the names of two runs, with signs that mean something to TeX
    titles = [f"fedavg on my_study:Net,cost=$5_a$, run {name}" for name in ("one", "two")]
    # When their histories, which are the same, are drawn, then the pictures tell them apart
    for title in titles:
        plot.figure_of([round_record()], title=title).savefig(tmp_path / f"{title[-3:]}.png")
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
