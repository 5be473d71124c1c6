from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.jobs.verify import score_as_it_comes
from orchestrator.store.records import SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.messages import Status
from tests.orchestrator.jobs.rounds import Part, close_round, folder_in, part
from tests.support import Pull, added_in_place, job_of
from verification import Candidate, ScoringContext, alone

seen: list[list[str]] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.clear()


@alone
def first_element(candidates: Sequence[Candidate], context: ScoringContext) -> Mapping[str, float]:
    seen.append([candidate.client_id for candidate in candidates])
    return {candidate.client_id: float(candidate.parameters["point"][0]) for candidate in candidates}


def among_others(candidates: Sequence[Candidate], context: ScoringContext) -> Mapping[str, float]:
    seen.append([candidate.client_id for candidate in candidates])
    return {candidate.client_id: float(len(candidates)) for candidate in candidates}


@alone
def raising(candidates: Sequence[Candidate], context: ScoringContext) -> Mapping[str, float]:
    raise ZeroDivisionError("no luck")


class WithOneOfSome(Pull):
    """Gives the point's first element as the accuracy, none if it is negative, and NaN if it is more than 1."""

    def evaluate(self, parameters: arrays.Arrays, data: Any, context: Context) -> Evaluation:
        first = float(parameters["point"][0])
        return Evaluation(0.5, 1, {} if first < 0 else {"accuracy": first if first <= 1 else math.nan})


class WithoutAny(Pull):
    """Gives neither a loss nor an accuracy."""

    def evaluate(self, parameters: arrays.Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(None, 1, {"size": 3.0})


def come(folder: RunFolder, client_id: str, first: float) -> Part:
    """An update that is taken in as it comes."""
    return part(folder, client_id, [first, 0, 0])


@pytest.mark.parametrize("name", ["first_element", "among_others"])
def test_a_scorer_that_looks_at_each_update_alone_is_asked_as_they_come_and_others_at_the_end(
    tmp_path: Path, name: str
) -> None:
    # Given a run whose updates are scored
    spec = f"{__name__}:{name}"
    folder = folder_in(tmp_path, verify=(spec,), threshold=("1.5",))

    # When two updates come in
    parts = [come(folder, "anna", 1.0), come(folder, "bert", 2.0)]

    # Then they have been scored if the scorer needs no other update, each by itself
    is_alone = name == "first_element"
    assert seen == ([["anna"], ["bert"]] if is_alone else [])
    assert [record.scores for _, record in parts] == ([{spec: 1.0}, {spec: 2.0}] if is_alone else [{}, {}])

    # And when the round is closed, no update is scored twice, and the threshold decides
    closed = close_round(folder, parts)
    assert seen == ([["anna"], ["bert"]] if is_alone else [["anna", "bert"]])
    statuses = {client_id: record.status for client_id, record in closed.responses.items()}
    assert statuses == {"anna": Status.REJECTED if is_alone else Status.TRAINED, "bert": Status.TRAINED}
    assert closed.responses["bert"].scores == {spec: 2.0}
    assert closed.responses["bert"].scored_by == {spec: "@orchestrator"}


def test_a_scorer_that_fails_as_an_update_comes_in_is_told_when_the_round_is_closed(tmp_path: Path) -> None:
    # Given a scorer that raises
    folder = folder_in(tmp_path, verify=(f"{__name__}:raising",), threshold=("0",))

    # When an update comes in, then it is taken in all the same
    taken = come(folder, "anna", 1.0)
    assert taken[1].status is Status.TRAINED

    # And rejected with the reason when the round is closed
    closed = close_round(folder, [taken])
    assert closed.status == "failed"
    assert closed.responses["anna"].reason.rpartition(" (")[0].endswith("could not score: ZeroDivisionError: no luck")


def test_what_was_not_taken_in_is_not_scored(tmp_path: Path) -> None:
    # Given a client that failed
    folder = folder_in(tmp_path, verify=(f"{__name__}:first_element",), threshold=("0",))
    failed = SlotRecord(status=Status.FAILED, reason="no luck")

    # Then there is nothing to be scored
    assert score_as_it_comes(job_of(folder), "anna", failed) == failed
    assert seen == []


def test_without_a_metric_to_go_by_holdout_can_not_score_and_each_update_s_reason_says_so(tmp_path: Path) -> None:
    # Given a workload that gives none
    spec = f"{__name__}:WithoutAny"
    folder = folder_in(tmp_path, workload=spec, verify=("holdout",), threshold=("0",))
    # When a round is closed
    closed = close_round(folder, [come(folder, "anna", 1.0), come(folder, "bert", 2.0)])
    # Then no update is taken
    why = f"holdout could not score: a score needs the metric loss, and workload {spec!r} gives none"
    assert [(record.status, record.reason) for record in closed.responses.values()] == [(Status.REJECTED, why)] * 2


@pytest.mark.parametrize("first", [-1.0, 65.0])
def test_an_update_whose_accuracy_is_none_does_not_keep_others_from_being_scored(tmp_path: Path, first: float) -> None:
    # Given a workload that gives an accuracy, and an update that makes it none, or no number
    spec = f"{__name__}:WithOneOfSome"
    folder = folder_in(tmp_path, workload=spec, verify=("holdout",), threshold=("0",))
    # When a round is closed
    closed = close_round(folder, [come(folder, "anna", 0.5), come(folder, "bert", first)])
    # Then that one isn't scored and not taken, and the other is
    assert closed.responses["anna"].scores == {"holdout": 0.5}
    assert (closed.responses["anna"].status, closed.responses["bert"].status) == (Status.TRAINED, Status.REJECTED)
    assert closed.responses["bert"].reason == "holdout: nobody scored it"


def scribbling(candidates: Sequence[Candidate], context: ScoringContext) -> Mapping[str, float]:
    """Add 1 to every update, and say what its first element was."""
    return {each.client_id: float(added_in_place(each.parameters["point"])[0]) - 1 for each in candidates}


def test_a_scorer_that_writes_to_updates_changes_nobody_elses(tmp_path: Path) -> None:
    # Given a run whose first scorer writes to what it is given
    names = (f"{__name__}:scribbling", f"{__name__}:among_others", f"{__name__}:scribbling")
    folder = folder_in(tmp_path, verify=names, threshold=("0",))
    parts = [come(folder, "anna", 1.0), come(folder, "bert", 2.0)]
    # When a round is closed, then the next scorer, and the mean, are those of the updates as they came
    closed = close_round(folder, parts)
    assert closed.responses["anna"].scores[names[0]] == 1.0
    assert closed.responses["bert"].scores[names[0]] == 2.0
    assert arrays.map_file(folder.checkpoint(1))["point"][0] == 1.5
