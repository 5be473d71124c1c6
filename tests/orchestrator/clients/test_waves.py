from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.clients.waves import Place, in_turn, num_waves, seconds_a_wave, waves_by_queue


@pytest.mark.parametrize(
    ("num_clients", "num_processes", "waves"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (7, 2, 4), (20, 2, 10), (20, 8, 3)]
)
def test_there_are_as_many_waves_as_a_workers_processes_need(num_clients: int, num_processes: int, waves: int) -> None:
    # Given clients of one worker, when their waves are counted, then that is clients divided by processes, rounded up
    assert num_waves([Place("clients.ward.9", num_processes)] * num_clients) == waves


def test_the_busiest_worker_says_how_many_waves_there_are() -> None:
    # Given five clients of a worker with two processes, and two with a worker each
    places = [*[Place("clients.ward.5", 2)] * 5, Place("client.anna"), Place("client.bert")]
    # When waves are counted, then the five need three, and the others one
    assert waves_by_queue(places) == {"clients.ward.5": 3, "client.anna": 1, "client.bert": 1}
    assert num_waves(places) == 3
    assert num_waves([]) == 1


def test_who_claims_more_processes_than_the_others_takes_no_time_from_them() -> None:
    # Given a client that announces a thousand processes for the queue of three honest ones
    places = [*[Place("clients.ward.3", 2)] * 3, Place("clients.ward.3", 1000)]
    # When waves are counted, then it is four clients by two processes
    assert num_waves(places) == 2


def test_each_client_is_in_the_last_wave_as_often_as_the_others() -> None:
    # Given six clients of one worker with two processes, and one with its own
    places = {client_id: Place("clients.ward.6", 2) for client_id in "abcdef"} | {"z": Place("client.z")}
    # When they are ordered in three rounds
    sent = [in_turn(list("abcdefz"), places.__getitem__, round_number) for round_number in (1, 2, 3)]
    # Then each wave of two is the last once, and the other client isn't moved by that
    assert ["".join(clients) for clients in sent] == ["abcdefz", "cdefabz", "efabcdz"]
    assert Counter(client_id for clients in sent for client_id in clients[4:6]) == Counter("abcdef")


def test_with_three_clients_on_two_processes_another_is_last_every_round() -> None:
    # Given three clients, when they are ordered in three rounds, then each is last once
    place = Place("clients.ward.3", 2)
    assert [in_turn("abc", lambda _: place, number)[-1] for number in (1, 2, 3)] == ["c", "b", "a"]


def test_newcomers_share_what_is_left_of_a_round_with_the_others_of_their_worker() -> None:
    # Given three clients that join a round with 30 s left: two of a worker with two processes, of which three more are
    # at work, and one with a worker of its own
    shared = Place("clients.ward.5", 2)
    places = dict.fromkeys("abcde", shared) | {"z": Place("client.z"), "y": Place("client.y")}
    # When time is shared out, then five clients on two processes have three waves of ten seconds, and the other all
    left = seconds_a_wave("dez", "abcy", places.__getitem__, 30.0)
    assert left == {"d": 10.0, "e": 10.0, "z": 30.0}
