"""Signs of life: a thread that keeps up the announcements of a worker's clients, through outages and absences."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from tasks.announcement import DETAILS, Announcement
from tasks.broker.presence import RedisRegistry
from tasks.broker.refusals import is_refusal
from tasks.broker.run_lock import LIFETIME_S, Notice
from tasks.errors import ConfigurationError
from tasks.protocol import difference
from tasks.trust.signing import Site
from worker.connection import Absence, read_told

logger = logging.getLogger(__name__)

MAX_OTHERS = 2
"""Heartbeats in a row that find another worker's announcement in place of one's own."""

MAX_SHUT_OUT = 10
"""Heartbeats in a row at which the broker doesn't let the worker in: one that is started anew may not know all yet."""


@dataclass(slots=True, eq=False)
class _Sign:
    """A client's announcement, and what goes with it.

    Attributes:
        whole: What its site allows it to say.
        announcement: What it says: of details those that the run wants.
        up: Whether it is up.
        num_others: How often in a row another worker's was found in its place.
        passed_over: Why the client takes no part in the run, as was said last.
        left: The runs that have told it to leave for good.
    """

    whole: Announcement
    announcement: Announcement
    up: bool = False
    num_others: int = 0
    passed_over: str = ""
    left: set[str] = field(default_factory=set)


class Heartbeat:
    """Keeps announcements up until it is told to stop; without any left, it ends its worker.

    A heartbeat is two or three round trips, however many clients the worker serves. What the runs that are on want told
    is announced until they want something else, or for as long as a notice lasts that nobody keeps up. A client that
    was told to leave for good does so when it was told so by all runs that are on. When none of them splits the data
    into as many parts as the one that granted the client its part, the worker ends to begin anew.

    Attributes:
        exit_code: What the worker that it ends is to end with.
        begins_anew: Whether the worker is to begin anew when it has ended.
    """

    def __init__(self, client: Redis, announcements: Sequence[Announcement], site: Site | None = None) -> None:
        self._client = client
        self._registry = RedisRegistry(client, site)
        self._runs: dict[str, tuple[Notice, float]] = {}
        """The runs that are on: their notices, and when these were last up. An emptied one has them again soon."""
        self._wanted: Collection[str] = set()
        self._wanted_at = 0.0
        self._signs = [_Sign(whole, whole.telling(self._wanted)) for whole in announcements]
        self._heartbeat_s = announcements[0].heartbeat_s
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        self._leaving = False
        self._told_leaving = False
        self._num_shut_out = 0
        self.exit_code = 0
        self.begins_anew = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Announce the clients, and go on doing so."""
        self._thread.start()

    def leave(self) -> None:
        """Let it be known that the clients take no further orders, while the last tasks end.

        Signals' handlers call this, one in the middle of another, where a lock would be waited for for ever. A worker
        that is about to begin anew ends when it is told to once more.
        """
        self.begins_anew &= not self._leaving
        self._leaving = True
        self._wakes.put(None)

    def stop(self) -> None:
        """End the thread. The announcements, which say that the clients are leaving, expire by themselves.

        Until then an order that a client has not begun is kept for it, should it be started again.
        """
        self._stopped = self._leaving = True
        self._wakes.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            last = self._stopped
            try:
                if self._leaving:
                    self._say_leaving()
                else:
                    self._beat()
                self._num_shut_out = 0
            except AuthenticationError as error:
                self._say_shut_out(error)
            except (RedisError, OSError) as error:
                what = "is refused by the broker for now" if is_refusal(error) else "can't reach the broker"
                self._say_down(what, error)
            if last:
                return
            with suppress(Empty):
                self._wakes.get(timeout=self._heartbeat_s)

    def _say_down(self, what: str, error: Exception) -> None:
        for sign in self._signs:
            sign.up = False
        logger.warning("%s %s: %s", _names(self._signs), what, error)

    def _say_shut_out(self, error: AuthenticationError) -> None:
        """Say once that the broker lets the worker in no longer, and end it if that stays so."""
        self._num_shut_out += 1
        if self._num_shut_out == 1:
            self._say_down("isn't let in by the broker any more", error)
        elif self._num_shut_out == MAX_SHUT_OUT:
            logger.error(
                "%s: the broker lets this worker in no longer, as it was revoked or cut off, or its password is "
                "another: it ends; ask the operator",
                _names(self._signs),
            )
            self._give_up(self._signs, exit_code=ConfigurationError.exit_code)

    def _say_leaving(self) -> None:
        if not self._signs:
            return
        self._registry.announce_all_leaving([sign.announcement for sign in self._signs])
        if not self._told_leaving:
            self._told_leaving = True
            self._tell(self._signs, "is leaving" if len(self._signs) == 1 else "are leaving")

    def _beat(self) -> None:
        present = self._present()
        former = self._registry.announce_all([sign.announcement for sign in present]) if present else []
        taken = [sign for sign, found in zip(present, former, strict=True) if self._is_taken(sign, found)]
        for sign in taken:
            logger.error(
                "another worker goes by the id of client %s, which this one serves no longer: set CLIENT_ID to another",
                sign.announcement.client_id,
            )
        joined = [sign for sign in present if not sign.up]
        for sign in joined:
            sign.up = True
        if joined:
            self._tell(joined, "joined")
        self._give_up(taken, exit_code=ConfigurationError.exit_code)

    def _present(self) -> list[_Sign]:
        """Return the clients that are not to stay away, and serve those no longer that are to do so for good."""
        incarnations = {sign.announcement.client_id: sign.announcement.incarnation for sign in self._signs}
        found, notices = read_told(self._client, incarnations)
        self._note_runs(notices)
        self._tell_wanted({name for notice in notices for name in notice.wanted} if notices else None)
        self._say_passed_over({client_id: told.passed_over for client_id, told in found.items() if told.passed_over})
        away, done = set(), []
        for sign in self._signs:
            told = found[sign.announcement.client_id]
            if told.absence is Absence.FOR_GOOD:
                sign.left.add(told.left)
            if told.absence is Absence.FOR_NOW:
                away.add(sign.announcement.client_id)
                sign.up = False
            elif sign.left and self._runs.keys() <= sign.left:
                done.append(sign)
        self._give_up(done)
        return [sign for sign in self._signs if sign.announcement.client_id not in away]

    def _note_runs(self, notices: Sequence[Notice]) -> None:
        """See whether other runs have begun or ended, and whether the client's part of the data is one of theirs."""
        now, before = time.monotonic(), self._runs
        kept = {run_id: seen for run_id, seen in before.items() if now - seen[1] < LIFETIME_S}
        self._runs = {**kept, **{notice.run_id: (notice, now) for notice in notices}}
        if new := self._runs.keys() - before.keys():
            logger.info("%s: run %s is on", _names(self._signs), ", ".join(sorted(new)))
            for sign in self._signs:
                sign.passed_over = ""
                sign.left -= new
        if notices:
            self._see_part(notices[0])

    def _see_part(self, oldest: Notice) -> None:
        """Have the worker begin anew, with a part of the oldest run's, if it has one of no run that is on."""
        num_parts = {sign.whole.num_parts for sign in self._signs} - {0}
        if num_parts <= {notice.num_parts for notice, _ in self._runs.values()} or difference(oldest.protocol):
            return
        if not self.begins_anew:
            logger.info(
                "run %s splits the data into %d parts, and the worker begins anew with one",
                oldest.run_id,
                oldest.num_parts,
            )
            self.begins_anew = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _tell_wanted(self, wanted: Collection[str] | None) -> None:
        """Have the clients announce those details that runs want; None: no run is on, or there is no notice of it."""
        now = time.monotonic()
        if wanted is None and now - self._wanted_at < LIFETIME_S:
            return
        self._wanted_at = now
        if self._wanted == set(wanted or ()):
            return
        self._wanted = set(wanted or ())
        for sign in self._signs:
            sign.announcement = sign.whole.telling(self._wanted)
        told = ", ".join(name for name in DETAILS if name in self._wanted)
        logger.info("%s: announced as the run wants it: %s", _names(self._signs), told or "no details")

    def _say_passed_over(self, reasons: Mapping[str, str]) -> None:
        """Log why clients take no part in a run that is on, once for each reason."""
        news: dict[str, list[_Sign]] = {}
        for sign in self._signs:
            reason = reasons.get(sign.announcement.client_id, "")
            if reason and reason != sign.passed_over:
                sign.passed_over = reason
                news.setdefault(reason, []).append(sign)
        for reason, signs in news.items():
            logger.warning("%s: passed over by the run: %s", _names(signs), reason)

    def _is_taken(self, sign: _Sign, found: Announcement | None) -> bool:
        """Say whether another worker goes by a client's id and keeps it: the one whose incarnation sorts first."""
        mine = sign.announcement.incarnation
        is_another = sign.up and found is not None and found.incarnation != mine and not found.leaving
        sign.num_others = sign.num_others + 1 if is_another else 0
        return found is not None and sign.num_others >= MAX_OTHERS and mine > found.incarnation

    def _give_up(self, signs: Sequence[_Sign], exit_code: int = 0) -> None:
        """Announce these clients no more; when there are no others, end this worker."""
        if not signs:
            return
        given_up = set(signs)
        self._signs = [sign for sign in self._signs if sign not in given_up]
        if not self._signs:
            self.exit_code = exit_code
            os.kill(os.getpid(), signal.SIGTERM)

    def _tell(self, signs: Sequence[_Sign], what: str) -> None:
        self._registry.tell(signs[0].announcement.client_id)
        num_examples = sum(sign.announcement.num_examples for sign in signs)
        logger.info("%s %s, with %d examples", _names(signs), what, num_examples)


def _names(signs: Sequence[_Sign]) -> str:
    client_ids = [sign.announcement.client_id for sign in signs]
    if len(client_ids) < 2:
        return f"client {''.join(client_ids)}"
    return f"{len(client_ids)} clients ({client_ids[0]} to {client_ids[-1]})"
