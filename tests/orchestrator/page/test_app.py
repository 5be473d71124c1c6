"""The page's documents, what follows them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator.observers.events import ClientsJoined, OrdersTaken, RoundOpened
from orchestrator.page.app import make_app
from orchestrator.page.files import downloads_of
from orchestrator.page.screens import MAX_CELLS
from orchestrator.page.shelf import Shelf
from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.page.told import ATTACK, Told


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run that ended well, and one that is on and had a round of troubles."""
    ended = Told(tmp_path / "ended", rounds=2)
    ended.begin("anna", "bert")
    ended.close(1, "anna", "bert", at_s=10)
    ended.close(2, "anna", "bert", at_s=20)
    ended.end(best_round=1)
    (ended.folder.logs / "orchestrator.log").write_text("all is well\n2026 WARNING something isn't\n")
    ended.folder.checkpoint(2).write_bytes(b"model")
    killed = Told(tmp_path / "troubled", rounds=5, verify=("holdout",), threshold=("0.5",), algorithm="fedprox")
    killed.begin("anna", "bert", "carl", "dora", "emil")
    killed.trouble(1, at_s=10)
    return tmp_path


def browser(runs: Path) -> TestClient:
    return TestClient(make_app(Shelf(runs)), base_url="http://localhost:8600")


def shown(runs: Path, path: str) -> str:
    """The document at an address."""
    answer = browser(runs).get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_list_has_a_line_a_run(runs: Path) -> None:
    # Given also a run whose config is damaged
    (runs / "broken").mkdir()
    (runs / "broken" / "config.json").write_text("{")
    # When the list is opened, then each run has a line: how it is, how far, and how good
    text = shown(runs, "/")
    for told in ('href="/runs/ended"', "completed", "2/2", "killed", "1/5", "fedprox", "damaged"):
        assert told in text


def test_a_run_is_found_whatever_its_folder_is_called(tmp_path: Path) -> None:
    # Given a run whose name means something in an address
    name = 'lr=0.1 #2? 50% & "ü"'
    told = Told(tmp_path / name, rounds=1)
    told.begin("anna")
    told.close(1, "anna")
    # When each link of the list, and each of the run's own, is followed, then it leads to a screen
    links = set(re.findall(r'href="(/runs/[^"]+)"', shown(tmp_path, "/")))
    assert len(links) == 1
    links |= set(re.findall(r'href="(/runs/[^"]+)"', shown(tmp_path, links.pop())))
    assert len(links) == 7
    for link in links:
        assert "<main" in shown(tmp_path, link)


def test_a_folder_without_runs_says_how_one_begins(tmp_path: Path) -> None:
    assert "orchestrator.start" in shown(tmp_path, "/")


def test_the_folder_of_one_run_is_shown_alone(runs: Path) -> None:
    assert "/runs/ended" in shown(runs / "ended", "/")
    assert "troubled" not in shown(runs / "ended", "/")


def test_a_run_shows_its_progress_its_curves_its_cohort_and_its_rounds(runs: Path) -> None:
    text = shown(runs, "/runs/ended")
    for told in ("2 of 2", "Metrics by round", "held-out data", "The clients of round 2", "accepted", "rounds/1"):
        assert told in text


def test_a_run_that_was_killed_has_no_client_connected(runs: Path) -> None:
    assert "<dt>clients connected</dt><dd>0</dd>" in shown(runs, "/runs/troubled")
    assert "0 of 5 clients" in shown(runs, "/runs/troubled/clients?show=connected")
    assert "2026-01-02" not in shown(runs, "/runs/troubled/clients").partition('<section id="clients">')[2]
    with RunFolder(runs / "troubled").lock():
        assert "<dt>clients connected</dt><dd>4</dd>" in shown(runs, "/runs/troubled")
        assert "4 of 5 clients" in shown(runs, "/runs/troubled/clients?show=connected")


def test_labels_are_shown_where_a_client_announced_them(runs: Path) -> None:
    assert "examples of each label" not in shown(runs, "/runs/ended/clients")
    told = Told(runs / "labelled")
    told.begin("anna")
    told.tell(ClientsJoined(clients={"bert": 9}, labels={"bert": {"3": 7, ATTACK: 2}}))
    text = shown(runs, "/runs/labelled/clients")
    assert "examples of each label" in text
    assert '<span class="name">3:</span> 7' in text
    assert ATTACK not in text


def test_a_round_that_was_open_when_the_run_ended_has_clients_that_are_waited_for_no_more(runs: Path) -> None:
    # Given a run with an open round
    told = Told(runs / "open", rounds=2)
    told.begin("anna", "bert")
    told.tell(RoundOpened(round_number=1, cohort=("anna", "bert")), at_s=3)
    told.tell(OrdersTaken(round_number=1, client_ids=("anna",)), at_s=4)
    # When it is on, then one trains, and one waits; when it was killed, then neither
    for path in ("/runs/open", "/runs/open/rounds/1"):
        with told.folder.lock():
            text = shown(runs, path)
            assert "which is open" in text
            assert all(f'class="mark {state}"' in text for state in ("training", "waiting"))
        text = shown(runs, path)
        assert "which was not closed" in text
        assert 'class="mark unanswered"' in text
        assert 'class="mark training"' not in text


def test_what_became_of_each_client_is_told_with_its_reason(runs: Path) -> None:
    text = shown(runs, "/runs/troubled/rounds/1")
    for told in (
        "rejected",
        "lost",
        "timed out",
        "late",
        "the client vanished",
        "at least 0.5 is kept",
        "threshold 0.5",
    ):
        assert told in text
    # And those of one state can be asked for
    lost = shown(runs, "/runs/troubled/rounds/1?state=lost")
    assert "q=carl" in lost
    assert "q=anna" not in lost


@pytest.mark.parametrize(
    ("num_clients", "has_cells"), [(12, False), (13, True), (MAX_CELLS, True), (MAX_CELLS + 1, False)]
)
def test_as_many_clients_as_can_be_seen_have_a_cell_each(tmp_path: Path, num_clients: int, has_cells: bool) -> None:
    told = Told(tmp_path / "run", rounds=1)
    told.tell(RoundOpened(round_number=1, cohort=tuple(f"client-{n}" for n in range(num_clients))))
    text = shown(tmp_path, "/runs/run")
    assert ('class="cells"' in text) is has_cells
    assert f"all {num_clients}" in text


def test_what_a_client_says_is_text(runs: Path) -> None:
    for path in ("/runs/troubled", "/runs/troubled/rounds/1", "/runs/troubled/clients"):
        text = shown(runs, path)
        assert ATTACK not in text
        assert "&lt;script&gt;" in text


def test_clients_are_filtered_and_sorted(runs: Path) -> None:
    # When those that were ever rejected are asked for, then it is one
    text = shown(runs, "/runs/troubled/clients?show=rejected")
    assert "1 of 5 clients" in text
    assert 'scope="row">bert' in text
    # And names or reasons that hold a text are found
    assert "1 of 5 clients" in shown(runs, "/runs/troubled/clients?q=VANISHED")
    # And the order is that of a column, either way
    text = shown(runs, "/runs/troubled/clients?sort=-late")
    assert text.index('scope="row">dora') < text.index('scope="row">anna')
    assert 'aria-sort="descending"' in text


def test_logs_settings_and_files_are_shown(runs: Path) -> None:
    assert '<div class="bad">2026 WARNING' in shown(runs, "/runs/ended/logs")
    assert "all is well" in shown(runs, "/runs/ended/logs?file=../../config.json")
    assert "There are none" in shown(runs, "/runs/troubled/logs")
    settings = shown(runs, "/runs/troubled/settings")
    assert "--algorithm" in settings
    assert "not the default" in settings
    assert "How updates become a model: one of the built-in algorithms, or your own" in settings
    assert "{" not in settings
    assert "round-0002.safetensors" in shown(runs, "/runs/ended/files")


def test_runs_are_compared(runs: Path) -> None:
    text = shown(runs, "/compare?run=ended&run=troubled")
    for told in ("line-1", "line-2", "--algorithm", "fedprox", "What came of them"):
        assert told in text
    assert "No run is chosen" in shown(runs, "/compare")


def test_files_are_taken_along_by_the_names_that_are_listed(runs: Path) -> None:
    web = browser(runs)
    answer = web.get("/runs/ended/files/round-0002.safetensors")
    assert answer.content == b"model"
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''ended-round-0002.safetensors"
    # And nothing else: no path, no link to elsewhere
    (runs / "ended" / "plot.png").symlink_to("/etc/passwd")
    for name in ("plot.png", "..%2ftroubled%2fconfig.json", "own-code.json", "%2fetc%2fpasswd"):
        assert web.get(f"/runs/ended/files/{name}").status_code == 404, name
    assert web.get("/runs/none/files/config.json").status_code == 404


def test_a_record_that_grows_is_sent_as_it_was_listed(runs: Path) -> None:
    # Given the records of a run that is on
    history = runs / "troubled" / "history.jsonl"
    history.write_text("one\n")
    download = downloads_of(RunFolder(runs / "troubled"), 1)["history.jsonl"]
    # When a line is appended before they are sent, then as many bytes are as was said
    history.write_text("one\ntwo\n")
    assert b"".join(download.parts()) == b"one\n"
    answer = browser(runs).get("/runs/troubled/files/history.jsonl")
    assert (answer.content, answer.headers["content-length"]) == (b"one\ntwo\n", "8")


@pytest.mark.parametrize("path", ["/runs/none", "/runs/ended/rounds/9", "/compare?run=none", "/x"])
def test_what_there_is_not_is_not_found(runs: Path, path: str) -> None:
    assert browser(runs).get(path).status_code == 404


def test_a_damaged_file_is_said(runs: Path) -> None:
    (runs / "ended" / "config.json").write_text("{")
    answer = browser(runs).get("/runs/ended")
    assert answer.status_code == 500
    assert "config.json" in answer.text
    # And so are events that can't be read
    (runs / "troubled" / "events.jsonl").unlink()
    (runs / "troubled" / "events.jsonl").mkdir()
    answer = browser(runs).get("/runs/troubled")
    assert answer.status_code == 500
    assert "events.jsonl" in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_done(runs: Path, method: str) -> None:
    same = {"origin": "http://localhost:8600"}
    assert browser(runs).request(method, "/runs/ended", headers=same).status_code == 405
    assert browser(runs).request(method, "/runs/ended/stop", headers=same).status_code in (404, 405)


def test_a_browser_is_told_to_load_and_run_nothing_else(runs: Path) -> None:
    policy = browser(runs).get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
