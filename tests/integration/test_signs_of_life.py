"""Own workers elsewhere, as the orchestrator sees them at a real broker."""

from __future__ import annotations

from redis import Redis

from orchestrator.transport.elsewhere import SILENT_S, Elsewhere, give_sign, take_leave
from tasks.scope import RunScope
from tests.integration.harness import server


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_whose_number_stands_still_is_lost_once(broker: Redis) -> None:
    # Given two workers that give signs of life
    clock = Clock()
    elsewhere = Elsewhere(broker, "run", clock)
    for name in ("one", "two"):
        give_sign(broker, "run", name)
    assert not elsewhere.look()
    assert elsewhere.num_present() == 2
    # When one gives none any more, then that is seen after a while, and told once
    clock.now = SILENT_S
    give_sign(broker, "run", "one")
    assert not elsewhere.look()
    clock.now = SILENT_S + 1
    assert elsewhere.look()
    assert elsewhere.num_present() == 1
    assert not elsewhere.look()
    # And it is there again as soon as it gives one
    give_sign(broker, "run", "two")
    assert not elsewhere.look()
    assert elsewhere.num_present() == 2


def test_a_worker_that_ends_in_good_order_is_no_loss(broker: Redis) -> None:
    # Given a worker that gave a sign of life
    elsewhere = Elsewhere(broker, "run")
    give_sign(broker, "run", "one")
    elsewhere.look()
    # When it says that it has ended, then nothing is lost
    take_leave(broker, "run", "one")
    assert not elsewhere.look()
    assert elsewhere.num_present() == 0
    assert not broker.exists(RunScope("run").elsewhere_key)


def test_while_the_broker_is_away_nobody_is_lost() -> None:
    # Given a worker that gave a sign of life
    with server() as broker:
        elsewhere = Elsewhere(broker.client, "run")
        give_sign(broker.client, "run", "one")
        elsewhere.look()
        # When the broker is gone, then nothing is said of it
        broker.kill()
        assert not elsewhere.look()
        assert elsewhere.num_present() == 1
