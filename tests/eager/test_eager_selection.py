"""Selectors in whole runs, through Celery's eager mode: with what clients announce, and with how they did before."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from celeriac.selectors import ConnectedClient, Selection
from celeriac.selectors.client_statistics import ClientStatistics
from orchestrator.driver import collector
from orchestrator.observers.events import Event, JoinedLive, RoundOpened, Waiting
from orchestrator.store.run_folder import RunFolder
from tasks.errors import SelectionError
from tests.eager.federation import EXAMPLES, Federation, cut_history, digests
from tests.support import Raising
from worker.serving import Serving

SIX = {"dora": 4, "emil": 4, "fred": 4}
"""Three clients more, with four examples each."""
seen: list[tuple[int, dict[str, ClientStatistics]]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def six(federation: Federation) -> Federation:
    """The three clients, and three more."""
    for client_id in SIX:
        federation.join(client_id)
    return federation


def cohorts(folder: RunFolder) -> list[list[str]]:
    return [record.cohort for record in folder.history()]


def select_by_feedback(clients: list[ConnectedClient], selection: Selection) -> list[str]:
    """Write down what is known, and choose those that were chosen least, a function of the user's own."""
    seen.append((selection.round_number, dict(selection.statistics)))
    asked = {name: known.num_selected for name, known in selection.statistics.items()}
    by_turn = sorted(clients, key=lambda client: (asked.get(client.client_id, 0), client.client_id))
    return [client.client_id for client in by_turn[: selection.num_wanted]]


@pytest.mark.parametrize(
    "select",
    ["connected", "random", "where:min-examples=4", "power-of-choice", "power-of-choice:5", "oort"],
)
def test_a_run_with_each_selector_completes(six: Federation, select: str) -> None:
    # Given six clients
    # When eight rounds of two clients each are run
    folder = six.run(num_clients=6, rounds=8, fraction=0.3, select=select)
    # Then all are closed, with two of them each
    assert [record.status for record in folder.history()] == ["closed"] * 8
    assert {len(cohort) for cohort in cohorts(folder)} == {2}


@pytest.mark.parametrize("select", ["power-of-choice", "power-of-choice:6", "oort"])
def test_selectors_that_go_by_feedback_try_all_clients(six: Federation, select: str) -> None:
    # Given six clients of which one fails
    six.join("emil", Raising())
    # When ten rounds of two are run, then everybody was asked, and the one that fails not in every round
    folder = six.run(num_clients=6, rounds=10, fraction=0.3, select=select)
    asked = [name for cohort in cohorts(folder) for name in cohort]
    assert set(asked) == EXAMPLES.keys() | SIX.keys()
    assert 1 <= asked.count("emil") <= 4


def test_those_with_the_highest_loss_are_chosen_when_all_were_tried(federation: Federation) -> None:
    # Given three clients, all of which are candidates in each round
    folder = federation.run(rounds=8, fraction=0.3, select="power-of-choice:3")
    # When a history of eight rounds of one client is read, then the first three are one each
    records = folder.history()
    assert {name for record in records[:3] for name in record.cohort} == EXAMPLES.keys()
    # And each of the others is the one whose last training had the highest loss
    losses: dict[str, float] = {}
    for record in records:
        assert record.round_number <= 3 or record.cohort == [max(losses, key=lambda name: losses[name])]
        losses.update({name: slot.metrics["train_loss"] for name, slot in record.responses.items()})


@pytest.mark.parametrize("num_kept", [0, 1, 3, 6])
@pytest.mark.parametrize("select", ["power-of-choice", "tests.eager.test_eager_selection:select_by_feedback"])
def test_a_run_that_goes_on_selects_as_if_nothing_had_happened(six: Federation, select: str, num_kept: int) -> None:
    # Given a run of seven rounds with three more clients, of which the later lines are lost
    folder = six.run(num_clients=6, rounds=7, fraction=0.3, select=select)
    expected, chosen = digests(folder), cohorts(folder)
    cut_history(folder, num_kept)
    # When it goes on, with clients that were started anew since
    six.serving = Serving()
    for client_id in (*EXAMPLES, *SIX):
        six.join(client_id)
    six.go_on(folder)
    # Then cohorts and checkpoints are the same, to the last bit
    assert cohorts(folder) == chosen
    assert digests(folder) == expected
    assert len({tuple(cohort) for cohort in chosen}) > 2


@pytest.mark.parametrize("num_kept", [1, 4, 6])
def test_oort_chooses_the_next_cohort_by_the_durations_of_the_history(six: Federation, num_kept: int) -> None:
    # Given a run of seven rounds, of which the later lines are lost
    folder = six.run(num_clients=6, rounds=7, fraction=0.6, select="oort")
    chosen = cohorts(folder)
    cut_history(folder, num_kept)
    # When it goes on, then the next round has the cohort that it had; later ones depend on durations that are new
    six.go_on(folder)
    assert cohorts(folder)[: num_kept + 1] == chosen[: num_kept + 1]


def test_a_selector_of_ones_own_sees_how_clients_did(federation: Federation) -> None:
    # Given three clients, one of which fails, and a function that takes turns
    federation.join("bert", Raising())
    folder = federation.run(rounds=4, fraction=0.5, select="tests.eager.test_eager_selection:select_by_feedback")
    # When four rounds of two clients are run
    assert cohorts(folder) == [["anna", "bert"], ["anna", "carl"], ["bert", "carl"], ["anna", "bert"]]
    # Then it was told of each what it did in the rounds before
    assert [number for number, _ in seen] == [1, 2, 3, 4]
    assert [len(known) for _, known in seen] == [0, 2, 3, 3]
    last, response = seen[3][1], folder.history()[1].responses["anna"]
    assert last["bert"] == ClientStatistics(num_selected=2, last_selected=3, num_missed=2)
    assert last["anna"] == ClientStatistics(
        num_selected=2, last_selected=2, num_accepted=2, last_accepted=2, train_loss=response.metrics["train_loss"],
        duration_s=response.duration_s, num_examples=3, num_steps=6,
    )  # fmt: skip


def test_the_selector_of_the_docs_runs(six: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the code of docs/selection.md, where the docs say, and six clients
    page = (Path(__file__).parents[2] / "docs" / "selection.md").read_text(encoding="utf-8")
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    (tmp_path / "my_selection.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    six.join("bert", Raising())
    # When twenty rounds of two clients are run with it
    folder = six.run(num_clients=6, rounds=20, fraction=0.3, select="my_selection:least_seen")
    # Then in the first three each is asked once; the one that fails rests 1, 2, 4 and 8 rounds after, so it is asked in
    # rounds 1, 3, 6, 11 and 20 at the most, and the others take turns: 35 slots and more among five
    chosen = cohorts(folder)
    assert sorted(name for cohort in chosen[:3] for name in cohort) == sorted([*EXAMPLES, *SIX])
    counts = Counter(name for cohort in chosen for name in cohort)
    assert counts.pop("bert") <= 5
    assert min(counts.values()) >= 6


def test_only_clients_that_fit_are_asked(federation: Federation) -> None:
    # Given clients with 3, 5 and 11 examples, when those with five or more are wanted, then the first is never asked
    folder = federation.run(select="where:min-examples=5,labels=point")
    assert cohorts(folder) == [["bert", "carl"]] * 3


def test_a_run_waits_for_clients_that_fit(federation: Federation) -> None:
    # Given clients of which one has four or more examples, where two are needed
    def join_when_told(event: Event) -> None:
        if isinstance(event, Waiting) and event.reason:
            told.append(event)
            federation.join("dora")

    told: list[Waiting] = []
    del federation.registry.announcements["bert"]
    federation.on_event = join_when_told
    # When another one with four comes as it is told that the run waits
    folder = federation.run(num_clients=2, select="where:min-examples=4", min_updates=2)
    # Then it said for what, once, and goes on with the two
    assert told == [
        Waiting(
            num_connected=1, num_needed=2, reason="1 of 2 connected clients fit 'where:min-examples=4', 2 are needed"
        )
    ]
    assert cohorts(folder) == [["carl", "dora"]] * 3


def test_a_run_waits_no_longer_than_it_may_for_clients_that_fit(federation: Federation) -> None:
    # Given nobody with a hundred examples, and a clock that goes on a second each time it is looked at
    with pytest.raises(SelectionError) as caught:
        federation.run(select="where:min-examples=100", wait_timeout_s=30, clock=itertools.count().__next__)
    # When the run is begun, then it ends, and says what was asked
    assert str(caught.value) == (
        "0 of 3 connected clients fit 'where:min-examples=100', 1 are needed: no more came within 30 s (--wait-timeout)"
    )


@pytest.fixture
def looking_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has come is looked for whenever answers are, and not once a second: eager rounds are shorter than that."""
    monkeypatch.setattr(collector, "TICK_S", 0.0)


def joining_in_the_first_round(federation: Federation, *client_ids: str) -> None:
    """Have these clients come when the first round is open."""

    def join(event: Event) -> None:
        if isinstance(event, RoundOpened) and event.round_number == 1:
            for client_id in client_ids:
                federation.join(client_id)

    federation.on_event = join


@pytest.mark.usefixtures("looking_all_the_time")
def test_who_doesnt_fit_doesnt_join_a_round_that_is_open_either(federation: Federation) -> None:
    # Given two clients that come when the first round is open, one of which fits
    federation.registry.announcements.clear()
    federation.join("carl")
    joining_in_the_first_round(federation, "bert", "dora")
    # When two rounds are run
    folder = federation.run(num_clients=1, rounds=2, select="where:min-examples=5")
    # Then that one joins live, and the other is never asked
    assert [event.client_ids for event in federation.events if isinstance(event, JoinedLive)] == [("bert",)]
    # But it is told why
    assert federation.registry.passed_over == [("dora", "it doesn't fit the run's --select where:min-examples=5")]
    assert cohorts(folder) == [["bert", "carl"]] * 2


@pytest.mark.usefixtures("looking_all_the_time")
def test_with_other_selectors_whoever_comes_joins_a_round_that_is_open(federation: Federation) -> None:
    # Given a client that comes when the first round is open
    joining_in_the_first_round(federation, "dora")
    # When a round is run, then it joins, and what it did is known in the next
    folder = federation.run(rounds=2, select="tests.eager.test_eager_selection:select_by_feedback")
    assert cohorts(folder)[0] == ["anna", "bert", "carl", "dora"]
    assert seen[1][1]["dora"].num_accepted == 1


@pytest.mark.usefixtures("looking_all_the_time")
def test_nobody_joins_a_round_whose_cohort_has_a_fixed_size(federation: Federation) -> None:
    # Given a cohort of three, and a fourth client that comes when the first round is open
    joining_in_the_first_round(federation, "dora")
    # When rounds are run, then there are three in each
    folder = federation.run(rounds=6, cohort=3)
    assert [len(cohort) for cohort in cohorts(folder)] == [3] * 6
    assert any("dora" in cohort for cohort in cohorts(folder))


def test_two_runs_with_one_seed_select_the_same_by_loss(federation: Federation) -> None:
    # Given two runs with one seed, when their histories are compared, then cohorts and checkpoints are the same
    one, two = (
        federation.another(name).run(run_id=name, seed=5, rounds=6, fraction=0.5, select="power-of-choice")
        for name in ("one", "two")
    )
    assert cohorts(one) == cohorts(two)
    assert digests(one) == digests(two)
