from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.contender import Case, Outcome
from benchmarks.contenders import CONTENDERS
from benchmarks.performance import ROUNDS, main
from benchmarks.performance_results import MNIST, Results, Run, ratios
from benchmarks.performance_tables import all_tables, draw, mnist_table, table

PEAKS = {"server": 150.0, "all": 400.0}
IDLE = {"server": 50.0, "all": 100.0}
RESIDENT = {"orchestrator": 100.0, "worker": 70.0, "broker": 30.0, "clients": 900.0}


def outcome(*rounds_s: float, **changes: object) -> Outcome:
    values = {"rounds_s": list(rounds_s), "peak_mb": PEAKS, "idle_mb": IDLE, "resident_mb": RESIDENT, **changes}
    return Outcome(**values)  # type: ignore[arg-type]


def run(*rounds_s: float, session: str = "monday", repeat: int = 1, **changes: object) -> Run:
    return Run(session, repeat, outcome(*rounds_s, **changes))


def test_the_first_round_does_not_count() -> None:
    # Given rounds of which the first took long, when the median is asked for, then it is that of the others
    assert outcome(9, 1, 3, 2).median_s() == 2
    assert outcome(9).median_s() is None


def test_a_ratio_is_of_runs_in_the_same_repeat_and_the_median_over_them() -> None:
    # Given three repeats, in which both took longer and longer, and one of another session
    ours = [run(9, seconds, repeat=index) for index, seconds in enumerate((1, 2, 4), 1)]
    floor = [run(9, seconds, repeat=index) for index, seconds in enumerate((0.5, 1.2, 1), 1)]
    floor.append(run(9, 0.001, session="tuesday"))
    # When they are compared
    found = ratios({"floor": floor, "ours": ours})
    # Then the floor is at half of ours, the median of 0.5, 0.6 and 0.25
    assert found == {"floor": 0.5, "ours": 1.0}


def test_what_did_not_complete_has_no_ratio() -> None:
    # Given a contender that did not complete, when all are compared, then it isn't
    contenders = {"ours-virtual": [run(9, 2)], "flower-simulation": [run(error="out of memory")]}
    assert ratios(contenders) == {"ours-virtual": 1.0}


def test_with_mnist_the_whole_time_is_compared() -> None:
    # Given all rounds of both, when they are compared, then by the sum, with the bare loop's
    assert ratios({"federated": [run(4, 2, 3)], "pytorch": [run(2, 2, 2)]}, MNIST) == {"federated": 1.5, "pytorch": 1.0}


def test_figures_of_what_was_not_run_this_time_are_kept(tmp_path: Path) -> None:
    # Given the figures of a session
    path, first = tmp_path / "kept" / "performance.json", Results()
    first.sessions = {"monday": {"CPU": "slow"}}
    first.add("2x0.4", "ours", run(2, 1))
    first.add("2x0.4", "ours", run(2, 1.5, repeat=2))
    first.add("8x40", "ours", run(4, 3, broker_in_mb=1.5))
    first.save(path)
    # When another session runs one of the cases
    second = Results.load(path)
    second.sessions["tuesday"] = {"CPU": "fast"}
    second.add("2x0.4", "ours", run(1, 0.5, session="tuesday"))
    second.save(path)
    # Then that case has its figures alone, and the other what it had
    third = Results.load(path)
    assert third.cases["2x0.4"]["ours"] == [run(1, 0.5, session="tuesday")]
    assert third.cases["8x40"]["ours"] == [run(4, 3, broker_in_mb=1.5)]
    assert third.sessions == {"monday": {"CPU": "slow"}, "tuesday": {"CPU": "fast"}}


def test_a_session_of_which_nothing_is_kept_is_forgotten() -> None:
    # Given a session's only figure, when a later one replaces it, then its machine is gone too
    results = Results({"monday": {}, "tuesday": {}}, {"2x0.4": {"ours": [run(2, 1)]}})
    results.add("2x0.4", "ours", run(2, 1, session="tuesday"))
    assert results.sessions == {"tuesday": {}}


def test_the_table_has_medians_ratios_and_memory_and_says_what_did_not_complete() -> None:
    # Given two repeats, one of which a contender did not complete
    contenders = {
        "flower-simulation": [run(error="not within 900 s")],
        "floor": [run(9, 0.5, 0.5), run(repeat=2, error="out of memory")],
        "ours": [run(9, 1, 3, broker_in_mb=360.2, broker_out_mb=640.0), run(9, 2, 2, repeat=2)],
    }
    # When the table is made
    _, _, *rows = table(contenders).splitlines()
    # Then it has all of that, in the order in which contenders are run
    assert rows == [
        "| `ours` | **2** (1–3) | 1 | 100 | 200 | 300 | 400 | 360 + 640 | 2 × 2 |",
        "| `floor` | **0.5** (0.5–0.5) | 0.25 | 100 | 200 | 300 | 400 | – | 1 × 2, 1 of 2 runs did not complete |",
        "| `flower-simulation` | did not complete: not within 900 s | – | – | – | – | – | – | – |",
    ]


def test_there_is_a_table_a_case_small_ones_first_and_a_plot(tmp_path: Path) -> None:
    # Given figures of two cases and of MNIST, one of which failed
    results = Results()
    results.add("100x40", "ours-virtual", run(9, 1, 3))
    results.add("8x400", "ours", run(9, 1, 3))
    results.add("8x400", "floor", run(error="out of memory"))
    results.add(MNIST, "federated", run(4, 2, 3))
    results.add(MNIST, "pytorch", run(2, 2, 2))
    # When tables and plot are made
    headings = [line for line in all_tables(results).splitlines() if line.startswith("#")]
    draw(results, tmp_path / "images" / "plot.png")
    # Then they are there
    assert headings == ["### 8 clients, 400 MB", "### 100 clients, 40 MB"]
    assert "| `federated` | 3 | **9** | 1.5 |" in mnist_table(results)
    assert (tmp_path / "images" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_every_contender_of_the_table_of_cases_exists() -> None:
    # Given the table, when its contenders are looked up, then they are there, and each has two rounds or more
    for contenders in ROUNDS.values():
        assert contenders.keys() <= CONTENDERS.keys()
        assert min(contenders.values()) >= 2


@pytest.mark.parametrize("text", ["8x40", "2x0.4", "10000x0.4"])
def test_a_case_is_written_as_it_is_read(text: str) -> None:
    # Given a case as text, when it is read, then it is written the same
    assert str(Case.parse(text)) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--case", "8by40"), "--case 8by40: write mnist-cnn, or clients and MB like 8x40"),
        (("--case", "0x40"), "--case 0x40"),
        (("--case", "mnist-cnn"), "name the folder with its files by --data"),
        (("--contender", "flour"), "'flour' is not one of"),
    ],
)
def test_a_wrong_argument_is_told_of(arguments: tuple[str, ...], message: str) -> None:
    # Given a wrong argument, when the benchmark is started, then it says what is wrong, with exit code 2
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2
    assert message in result.output
