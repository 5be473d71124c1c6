from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from benchmarks.contender import Case, Outcome
from benchmarks.contenders.by_name import CONTENDERS
from benchmarks.performance import CNN, PLANS, busy_loops, main, plans
from benchmarks.performance_results import Results, ratios
from benchmarks.performance_tables import all_tables, draw, processors, table
from benchmarks.scaling import CONTENDER, SMALL

PEAKS = {"server": 150.0, "all": 400.0}
IDLE = {"server": 50.0, "all": 100.0}
CPU = {"orchestrator": 10.0, "worker": 20.0}


def outcome(*rounds_s: float, **changes: object) -> Outcome:
    values = {"rounds_s": list(rounds_s), "peak_mb": PEAKS, "idle_mb": IDLE, "cpu_ms": CPU, **changes}
    return Outcome(**values)  # type: ignore[arg-type]


def turns(*seconds: float) -> list[Outcome]:
    """Return outcomes of so many turns, each with a round that counts."""
    return [outcome(9, each) for each in seconds]


def test_the_first_round_does_not_count() -> None:
    # Given rounds of which the first took long, when the median is asked for, then it is that of the others
    assert outcome(9, 1, 3, 2).median_s() == 2
    assert outcome(9).median_s() is None


def test_a_ratio_is_of_the_same_turn() -> None:
    # Given three turns, in which both took longer and longer, when they are compared, then turn by turn
    found = ratios({"floor": turns(0.5, 1.2, 1), "ours": turns(1, 2, 4)})
    assert found == {"floor": [0.5, 0.6, 0.25], "ours": [1.0, 1.0, 1.0]}


def test_what_did_not_complete_has_no_ratio() -> None:
    # Given a contender that did not complete once, when all are compared, then not in that turn
    contenders = {"ours-virtual": turns(2, 2), "flower-simulation": [outcome(error="out of memory"), *turns(3)]}
    assert ratios(contenders) == {"ours-virtual": [1.0, 1.0], "flower-simulation": [1.5]}


def test_figures_of_cases_that_were_not_run_this_time_are_kept(tmp_path: Path) -> None:
    # Given what was run at first
    path, machine = tmp_path / "kept" / "performance.json", {"CPU": "slow", "commit": "1"}
    first = Results.of(machine, "monday", path)
    first.cases = {Case(2, 0.4, busy=2): {"ours": turns(1, 1.5)}, CNN: {"ours-cnn": turns(3)}}
    first.units = {"connections": 8.0}
    first.save("tuesday", path)
    # When one of the cases is run again there
    second = Results.of(machine, "wednesday", path)
    second.cases[Case(2, 0.4, busy=2)] = {"ours": turns(0.5)}
    second.save("thursday", path)
    # Then that case has its new figures alone, and the other what it had
    third = Results.load(path)
    assert third is not None
    assert third.cases == {Case(2, 0.4, busy=2): {"ours": turns(0.5)}, CNN: {"ours-cnn": turns(3)}}
    assert (third.units, third.began, third.ended) == ({"connections": 8.0}, "monday", "thursday")


def test_of_another_machine_or_commit_nothing_is_kept(tmp_path: Path) -> None:
    # Given figures of a commit, when another is run, then they aren't beside its own
    path = tmp_path / "performance.json"
    Results({"commit": "1"}, {Case(2, 0.4): {"ours": turns(1)}}).save("monday", path)
    assert Results.of({"commit": "2"}, "tuesday", path) == Results({"commit": "2"}, began="tuesday")
    assert Results.load(tmp_path / "nothing.json") is None


def test_the_table_has_medians_ratios_and_memory_and_says_what_did_not_complete() -> None:
    # Given two turns, one of which a contender did not complete
    contenders = {
        "flower-simulation": [outcome(error="not within 900 s")] * 2,
        "floor": [outcome(9, 0.5, 0.5), outcome(error="out of memory")],
        "ours": [outcome(9, 1, 3, broker_in_mb=360.2, broker_out_mb=640.0), outcome(9, 2, 2)],
    }
    # When the table is made
    _, _, *rows = table(contenders).splitlines()
    # Then it has all of that, in the order in which contenders are run
    assert rows == [
        "| `ours` | **2** (1–3) | 1 (1–1) | 30 | 100 | 400 | 360 + 640 | 2 × 2 |",
        "| `floor` | **0.5** (0.5–0.5) | 0.25 (0.25–0.25) | 30 | 100 | 400 | – | 1 × 2, 1 of 2 did not complete |",
        "| `flower-simulation` | did not complete: not within 900 s | – | – | – | – | – | – |",
    ]


def test_there_is_a_table_a_case_small_ones_first_and_a_plot(tmp_path: Path) -> None:
    # Given figures of some cases, one of which failed, and of one that is run for the page on scaling
    cases = {
        CNN: {"ours-cnn": turns(4), "pytorch": turns(2)},
        Case(100, 40): {"ours-virtual": turns(1, 3)},
        Case(8, 400): {"ours": turns(1, 3), "floor": [outcome(error="out of memory")]},
        Case(2, 0.4, busy=2): {"ours": turns(1)},
        SMALL: {CONTENDER: turns(1)},
    }
    results = Results({"CPU": "slow"}, cases)
    # When tables and plot are made
    headings = [line for line in all_tables(results).splitlines() if line.startswith("#")]
    draw(results, tmp_path / "images" / "plot.png")
    # Then they are there
    assert headings == [
        "### 2 clients, 0.4 MB, beside 2 busy loops",
        "### 8 clients, 400 MB",
        "### 100 clients, 40 MB",
        "### 100 clients that train mnist-cnn, 6.65 MB",
    ]
    assert "| `ours-cnn` | **4** (4–4) | 2 (2–2) |" in all_tables(results)
    assert (tmp_path / "images" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_where_time_goes_is_shown_by_role() -> None:
    # Given a case that the table is about, when it is made, then it has each role's time and the broker's commands
    results = Results({}, {Case(2, 0.4): {"ours": [outcome(9, 1, commands=40.0), outcome(9, 1, commands=42.0)]}})
    _, _, *rows = processors(results).splitlines()
    assert rows == [
        "| orchestrator, ms | 10 |",
        "| server, ms | – |",
        "| own worker, ms | 20 |",
        "| clients' workers, ms | – |",
        "| commands of the broker | 41 |",
    ]


def test_every_contender_of_the_table_of_cases_exists() -> None:
    # Given the table, when its contenders are looked up, then they are there, and each has two rounds or more
    for plan in PLANS.values():
        assert plan.rounds.keys() <= CONTENDERS.keys()
        assert min(plan.rounds.values()) >= 2


def test_busy_loops_end_with_what_they_are_beside() -> None:
    # Given loops, when what they are beside is over, then there are as many processes as before
    before = set(psutil.Process().children())
    with busy_loops(2):
        assert len(set(psutil.Process().children()) - before) == 2
    assert not set(psutil.Process().children()) - before


def test_cases_are_run_beside_busy_loops() -> None:
    # Given two cases and two numbers of loops, when it is looked at what is to be run, then it is each with each
    found = plans(["2x0.4", "3x1"], [0, 2])
    assert list(found) == [Case(2, 0.4), Case(2, 0.4, busy=2), Case(3, 1), Case(3, 1, busy=2)]
    # And a case of the table has its contenders there
    assert found[Case(2, 0.4, busy=2)] == PLANS[Case(2, 0.4, busy=2)]


@pytest.mark.parametrize("text", ["8x40", "2x0.4", "10000x0.4"])
def test_a_case_is_written_as_it_is_read(text: str) -> None:
    # Given a case as text, when it is read, then it is written the same
    assert str(Case.parse(text)) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--case", "8by40"), "--case 8by40: write mnist-cnn, or clients and MB like 8x40"),
        (("--case", "0x40"), "--case 0x40"),
        (("--contender", "flour"), "'flour' is not one of"),
        (("--case", "100x0.4", "--contender", "chord"), "none of these contenders carries out one of these cases"),
    ],
)
def test_a_wrong_argument_is_told_of(arguments: tuple[str, ...], message: str) -> None:
    # Given a wrong argument, when the benchmark is started, then it says what is wrong, with exit code 2
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2
    assert message in result.output
