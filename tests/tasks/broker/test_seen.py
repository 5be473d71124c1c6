from __future__ import annotations

from celery.worker.control import Panel

from tasks.broker.app import IN_MEMORY, make_app
from tasks.broker.seen import ANSWERED, LookingControl, SeenWorker


def test_only_what_looks_is_heeded() -> None:
    # Given what Celery has a worker heed, when ours is asked, then it knows those that look, and none that does
    mailbox = LookingControl(make_app("seen", IN_MEMORY, (), is_seen=True)).mailbox  # type: ignore[attr-defined]
    node = mailbox.Node("here", handlers=Panel.data)
    assert node.handlers.keys() == ANSWERED
    assert node.handlers.keys().isdisjoint({"shutdown", "revoke", "terminate", "pool_grow", "rate_limit", "memdump"})


def test_workers_are_seen_only_where_they_are_to_be() -> None:
    # Given the apps of both sides, when a worker is made, then only the one is seen
    seen, quiet = make_app("seen", IN_MEMORY, (), is_seen=True), make_app("quiet", IN_MEMORY, ())
    assert issubclass(seen.Worker, SeenWorker)
    assert not issubclass(quiet.Worker, SeenWorker)
    assert not quiet.conf.worker_enable_remote_control
