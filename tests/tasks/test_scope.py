from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import scope
from tasks.names import numbered_client_id
from tasks.scope import ClientScope, RunScope

ROOT = Path(__file__).parents[2]
PACKAGES = ("celeriac", "orchestrator", "tasks", "verification", "worker")


def test_names_are_spelled_like_this() -> None:
    # Given a client and a run
    anna, run = ClientScope("anna"), RunScope("run")
    # When names are asked for, then they are these
    assert (anna.queue, scope.client_queue("anna")) == ("client.anna", "client.anna")
    assert scope.shared_queue("ward", 50) == "clients.ward.50"
    assert (anna.key, anna.away_key, anna.passed_over_key) == ("fl:client:anna", "fl:away:anna", "fl:passed-over:anna")
    assert (anna.part_key, anna.wants_part_key) == ("fl:part:anna", "fl:wants-part:anna")
    assert (run.mark_key, run.folder_key) == ("fl:mark:run", "fl:folder:run")
    assert (run.store_key, run.elsewhere_key) == ("fl:store:run", "fl:elsewhere:run")
    assert (run.queue, run.anywhere_queue) == ("orchestrator.run", "orchestrator.run/anywhere")
    assert run.round_files(3) == "fl:blob:workers/run/3/files"
    assert run.round_start(3) == "fl:blob:workers/run/3/start"
    assert run.group_sum(3, "ab") == "fl:blob:workers/run/3/sum/ab"
    assert anna.order_id("run", 3, "train") == "client/anna/run/3/train"
    assert scope.result_key("anna/run/3/train") == "celery-task-meta-anna/run/3/train"
    assert (anna.update("run", 3), anna.survey("run", 3)) == (
        "fl:blob:update/anna/run/3",
        "fl:blob:update/anna/run/3/survey",
    )
    assert (run.model(3), run.broadcast(3)) == ("fl:blob:model/run/3", "fl:blob:model/run/3/broadcast")
    assert run.surveyed(3) == "fl:blob:model/run/3/surveyed"
    assert re.fullmatch("fl:blob:handed-out/run/[0-9a-f]{32}", run.new_handed_out())
    assert (run.initialise_id, run.evaluate_id(3)) == ("run/run/initialise", "run/run/3/evaluate")
    assert scope.body_id("run/run/3/ab") == "run/run/3/ab/body"
    assert scope.part_id("run/3/ab", 2) == "run/3/ab/2"


@pytest.mark.parametrize(("prefix", "count"), [("ward", 50), ("ward-0.5", 3), ("a.10", 100)])
def test_a_shared_queue_is_for_its_own_clients_alone(prefix: str, count: int) -> None:
    # Given a worker of several clients, and the ids of two others
    queue, others = scope.shared_queue(prefix, count), [("ward", 9), ("ward-0", 5), ("a", 100)]
    ids = [numbered_client_id(prefix, index, count) for index in range(count)]
    # When one asks who is served by its queue, then all of its own are, and nobody else
    assert all(scope.is_served_by(client_id, queue) for client_id in ids)
    strangers = [prefix, f"{prefix}-{count + 1}", *(numbered_client_id(each, 1, of) for each, of in others)]
    assert not any(scope.is_served_by(client_id, queue) for client_id in strangers)
    assert not scope.is_served_by(ids[0], scope.client_queue(ids[0]))


IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,8}\Z")


@given(one=st.tuples(IDS, IDS, st.integers(0, 99)), other=st.tuples(IDS, IDS, st.integers(0, 99)))
def test_names_are_equal_only_if_what_they_name_is(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    # Given two clients, runs and rounds
    client, of_other, run = ClientScope(one[0]), ClientScope(other[0]), RunScope(other[1])
    # When their names are equal, then so are they
    assert (client.update(*one[1:]) == of_other.update(*other[1:])) == (one == other)
    assert (client.order_id(*one[1:], "train") == of_other.order_id(*other[1:], "train")) == (one == other)
    # And nothing that a client sends lies where a global model does, or what goes out with one
    sent = {client.update(*one[1:]), client.survey(*one[1:])}
    assert len(sent) == 2
    assert sent.isdisjoint({run.model(other[2]), run.broadcast(other[2])})
    assert sent.isdisjoint({run.surveyed(other[2]), run.new_handed_out()})


def test_a_client_by_the_id_of_a_run_has_no_name_of_the_run_s() -> None:
    # Given a run, and clients by the ids of the run, and of the words for what a name is of
    run = RunScope("run")
    for client_id in ("run", "model", "update", "client", "handed-out"):
        client, anna = ClientScope(client_id), ClientScope("anna")
        # When all is looked for that begins with what such a client may write or read
        results = "celery-task-meta-client/" + client_id + "/"
        own = ("fl:blob:update/" + client_id + "/", results)
        assert client.update("x", 1).startswith(own[0])
        assert scope.result_key(client.order_id("x", 1, "train")).startswith(results)
        # Then none of the run's models is among it, of others' updates, or of results
        blobs = [run.model(1), run.broadcast(1), run.surveyed(1), run.new_handed_out(), anna.update("run", 1)]
        tasks = [run.initialise_id, run.evaluate_id(1), run.new_chord_id(1), anna.order_id("run", 1, "train")]
        keys = [*blobs, *map(scope.result_key, tasks)]
        assert not any(key.startswith(own) for key in keys)


def test_nobody_can_guess_the_name_of_what_is_handed_out() -> None:
    # Given a run, when updates are handed out, then their names differ, and lie beside what all may read
    run = RunScope("run")
    names = {run.new_handed_out() for _ in range(100)}
    assert len(names) == 100
    assert not any(name.startswith(run.model(1).rpartition("/")[0]) for name in names)


def test_the_run_of_a_task_is_known_by_its_id_if_it_is_the_run_s_own() -> None:
    run = RunScope("a")
    assert scope.run_of_task(run.initialise_id) == scope.run_of_task(run.new_chord_id(3)) == "a"
    assert scope.run_of_task(ClientScope("run").order_id("a", 1, "train")) == ""


def test_everything_a_client_writes_holds_its_id() -> None:
    # Given a client, when names of what it writes are asked for, then its id is the first part of each
    anna = ClientScope("anna")
    for name in (anna.update("run", 1), anna.survey("run", 1)):
        assert name.startswith("fl:blob:update/anna/")
    assert scope.result_key(anna.order_id("run", 1, "train")).startswith("celery-task-meta-client/anna/")
    assert anna.key.removeprefix(scope.CLIENT_KEY_PREFIX) == "anna"


def test_chords_and_closings_have_a_new_id_each_time() -> None:
    # Given a run, when ids are asked for twice, then they are two, both of the run and the round
    run = RunScope("run")
    ids = [run.new_chord_id(3), run.new_chord_id(3), run.new_close_id(3), run.new_close_id(3)]
    assert len(set(ids)) == 4
    assert all(each.startswith("run/run/3/") for each in ids)


def test_what_a_run_leaves_is_found_by_its_patterns_and_nothing_of_another_run() -> None:
    # Given what a run and its clients write
    def written(run: RunScope) -> list[str]:
        anna = ClientScope("anna")
        task_ids = [anna.order_id(run.run_id, 1, "train"), run.initialise_id, run.new_close_id(1)]
        chord_id = run.new_chord_id(1)
        return [
            *(run.model(0), run.broadcast(0), run.surveyed(1), run.new_handed_out()),
            *(anna.update(run.run_id, 1), anna.survey(run.run_id, 1), scope.turn_key(anna.update(run.run_id, 1))),
            *map(scope.result_key, [*task_ids, scope.body_id(chord_id), scope.part_id(chord_id, 0)]),
            *scope.chord_keys(chord_id),
        ]

    # When it is looked for, then all of it is found, and nothing of another run
    patterns = [*RunScope("run").blobs, RunScope("run").results_and_chords]
    assert all(any(fnmatchcase(key, pattern) for pattern in patterns) for key in written(RunScope("run")))
    assert not any(fnmatchcase(key, pattern) for pattern in patterns for key in written(RunScope("other")))
    # And its tasks' results are told of on channels of one pattern
    results = scope.result_key(ClientScope("anna").order_id("run", 1, "train"))
    assert fnmatchcase(results, RunScope("run").result_keys)


def spelled(path: Path) -> Iterator[str]:
    """Yield what a module spells that is a key, a queue or a task's id on the broker."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [value for value in values if isinstance(value, str)]
    yield from (text for text in texts if text.startswith(("fl:", "celery-t", "client.", "clients.")))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and re.search(r"/\{[\w.]*run_id\}|\{[\w.]*run_id\}/", ast.unparse(node)):
            yield ast.unparse(node)


def test_a_key_that_is_spelled_is_seen(tmp_path: Path) -> None:
    # Given a module that builds names by itself, when it is read, then each is seen
    (tmp_path / "module.py").write_text("a = f'fl:blob:{x}'\nb = f'{config.run_id}/close'\nc = 'celery-task-meta-'\n")
    assert list(spelled(tmp_path / "module.py")) == ["celery-task-meta-", "fl:blob:", "f'{config.run_id}/close'"]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_else_spells_a_name_on_the_broker(package: str) -> None:
    # Given our modules but for the one that spells names, when they are read, then none builds one
    modules = set((ROOT / package).rglob("*.py")) - {ROOT / "tasks" / "scope.py"}
    found = {str(path.relative_to(ROOT)): names for path in sorted(modules) if (names := list(spelled(path)))}
    assert found == {}
