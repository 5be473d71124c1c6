from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import image
from matplotlib import pyplot as plt

import tests.support
from celeriac.workloads.show_split import count_labels, draw, main, table
from tasks.workload import ClientData, DataSource
from tests.support import Pull


class Labelled(Pull):
    """Client 1 has a 2 and three 10s, the others one example of label 2 each; with ``labels``, of so many labels."""

    def __init__(self, labels: str = "") -> None:
        self.num_labels = int(labels or 0)

    def client_data(self, source: DataSource) -> ClientData:
        labels = {"2": 1, "10": 3} if source.part.index == 0 else {"2": 1}
        if self.num_labels:
            labels = {str(number): 1 for number in range(self.num_labels)}
        return ClientData(None, None, sum(labels.values()), labels)


@pytest.fixture(autouse=True)
def _labelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The workload, found by name, and a folder to stand in."""
    monkeypatch.setattr(tests.support, "Labelled", Labelled, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exit_code, result.output
    return result


def test_the_table_has_a_row_a_client_and_a_line_about_all() -> None:
    # Given three clients, the first with more, when the command is run
    result = run("--workload", "tests.support:Labelled", "--clients", "3", "-o", "out.png")
    # Then labels are in the order of their numbers, and it says how sizes and labels differ
    assert result.stdout.splitlines() == [
        "client  2  10  all",
        "     1  1   3    4",
        "     2  1   0    1",
        "     3  1   0    1",
        "   all  3   3    6",
        "",
        "training examples a client: 1 to 4, median 1",
        "labels a client: 1 to 2, median 1",
        "share of the largest label a client: 0.75 to 1, median 1",
        "drawn: out.png",
    ]


@pytest.mark.parametrize(("num_clients", "width"), [(1, 840), (3, 840), (20, 1_080), (100, 1_920)])
def test_the_image_grows_with_the_number_of_clients_up_to_a_width(num_clients: int, width: int) -> None:
    # Given few clients and many, when they are drawn, then the image is as wide as is needed, and not blank
    run("--clients", str(num_clients), "--split", "dirichlet:0.1")
    pixels = image.imread("split.png")
    assert pixels.shape[:2] == (840, width)
    assert len(np.unique(pixels[..., 0])) > 10


def test_bars_are_the_counts_above_and_their_shares_below(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given counts of two labels at two clients, one of whom has nothing, and the figure that is drawn
    kept: list[Any] = []
    monkeypatch.setattr(plt, "close", kept.append)
    # When they are drawn
    draw(["a", "b"], np.array([[1, 3], [0, 0]]), "two clients", Path("out.png"))
    monkeypatch.undo()
    # Then bars stand on each other, with title, axes and legend
    (figure,) = kept
    above, below = figure.axes
    for axis, scale in ((above, 4), (below, 1)):
        bars = [(bar.get_y() / scale, bar.get_height() / scale) for bar in axis.patches]
        assert bars == [(0, 0.25), (0, 0), (0.25, 0.75), (0, 0)]
    assert figure.get_suptitle() == "two clients"
    assert (above.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == (
        "training examples",
        "share by label",
        "client",
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "a"]
    plt.close(figure)


def test_a_long_table_is_cut_after_twenty_clients() -> None:
    # Given 21 clients, when their table is made, then the line about all counts the last one too
    lines = table(["x"], np.ones((21, 1), dtype=np.int64)).splitlines()
    assert [line.split()[0] for line in lines[:23]] == ["client", *map(str, range(1, 21)), "…", "all"]
    assert lines[22].split() == ["all", "21", "21"]


def test_of_many_labels_the_last_are_put_together() -> None:
    # Given 25 labels, when they are counted, then the first nineteen have columns, and the other six one
    labels, counts = count_labels("tests.support:Labelled,labels=25", None, 1)
    assert labels == [*map(str, range(19)), "others"]
    assert counts.tolist() == [[1] * 19 + [6]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "digit"], "unknown workload 'digit': did you mean 'digits'?"),
        (["--split", "dirichle"], "unknown split 'dirichle': did you mean 'dirichlet'?"),
        (["--workload", "digits,split=iid", "--split", "shards"], "has split=iid already"),
        (["--workload", "mnist"], "MNIST needs a data folder"),
        (["--clients", "1439"], "1438 examples can't be split into 1439 parts"),
        (["-o", "nowhere/split.png"], "-o nowhere/split.png: the image can't be written"),
        (["-o", "split.table"], "-o split.table: the image can't be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], message: str) -> None:
    # Given something wrong, when the command is run, then it ends with 2 and one line, and draws nothing
    result = run(*arguments, exit_code=2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert result.stdout == ""
    assert list(Path.cwd().iterdir()) == []


def test_the_page_says_of_each_level_of_skew_what_the_table_says() -> None:
    # Given the rows of docs/workloads.md on the levels
    page = (Path(__file__).parents[3] / "docs" / "workloads.md").read_text(encoding="utf-8")
    [labels] = re.findall(r"^\| of ten labels a client has \(median\) \| (.*) \|$", page, re.MULTILINE)
    [shares] = re.findall(r"^\| share of a client's largest label \(median\) \| (.*) \|$", page, re.MULTILINE)
    rows = zip(labels.split(" | "), shares.split(" | "), strict=True)
    # When digits are split among ten clients at each level, then the medians are those
    for level, (num_labels, share) in enumerate(rows):
        shown = table(*count_labels(f"digits,split=niid:{level}", None, 10))
        medians = [float(line.rpartition("median ")[2]) for line in shown.splitlines()[-2:]]
        assert medians == [float(num_labels), pytest.approx(float(share), abs=0.006)]
