"""Holding orders and answers against the site's policy, which may change while the worker runs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.announcement import UNKNOWN, Announcement
from tasks.arrays import Arrays
from tasks.auxiliary import Sets
from tasks.errors import ConfigurationError
from tasks.files import replace_text
from tasks.messages import Order, Response, Status, UpdateOrder
from tasks.workload import TrainResult
from worker.policy.protection import NotProtectedError, protect
from worker.policy.refusals import (
    MAX_LIFE_S,
    is_about_data,
    refusal,
    refusal_of_answer,
    refusal_of_result,
    steps_a_pass,
)
from worker.policy.rules import Protects, Rules, listed, pinned, read_rules

if TYPE_CHECKING:
    from worker.client import Client

logger = logging.getLogger(__name__)

_COUNT = "orders_of_the_day.json"


@dataclass(slots=True)
class SitePolicy:
    """The policy of a client's site; it is read again when its file changes.

    Attributes:
        path: The file; None: there is no policy, and nothing is refused.
        orchestrator: Fingerprint of the key by which orders are signed; empty where they aren't, as the client isn't
            enrolled.
    """

    path: Path | None = None
    orchestrator: str = ""
    _read: tuple[tuple[int, ...], Rules] | None = field(default=None, repr=False, compare=False)

    def rules(self) -> Rules | None:
        """Return the rules as the file has them now; None if there is no policy.

        Raises:
            ConfigurationError: If the file can't be read, or isn't right.
        """
        if self.path is None:
            return None
        version = _version(self.path)
        if self._read is None or self._read[0] != version:
            self._read = None
            self._read = (version, read_rules(self.path, is_enrolled=bool(self.orchestrator)))
        return self._read[1]

    def check_own(self, workload: str) -> None:
        """Refuse to begin where every order would be refused, before the client's own workload is loaded.

        Raises:
            ConfigurationError: If the policy doesn't name this workload, or the orchestrator, or can't be read.
        """
        rules = self.rules()
        if rules is None:
            return
        if why := rules.refuses_code("workloads", workload):
            name = workload.partition(",")[0]
            needed = pinned(name) if ":" in name else name
            raise ConfigurationError(f"{self.path}: {why}, and CLIENT_WORKLOAD={workload} needs {needed!r} there")
        if why := self._refusal_of_orchestrator(rules):
            raise ConfigurationError(f"{self.path}: {why}")

    def carry_out(self, order: Order, client: Client, act: Callable[[], Response], code: str = "") -> Response:
        """Return what ``act`` answers, without what may not be told; if the policy forbids the order, a refusal.

        Args:
            order: The order.
            client: The client that it is for.
            act: Carries it out.
            code: How its kind is named if that is the site's own.
        """
        try:
            rules = self.rules()
        except ConfigurationError as error:
            logger.warning("order %s: refused, as this site's policy isn't right: %s", order.order_id, error)
            return order.respond(Status.FAILED, reason="refused by the site: its policy can't be read")
        if rules is None:
            return act()
        if why := (
            self._refusal_of_sender(rules, order, client)
            or refusal(rules, order, client, code)
            or _one_more(rules, order, client.folder)
        ):
            return _refused(order, why)
        response = act()
        if why := refusal_of_answer(rules, response):
            return _refused(order, why)
        return _less(rules, order, response)

    def _refusal_of_sender(self, rules: Rules, order: Order, client: Client) -> str:
        """Return why an order isn't taken from whom it comes, or at this time; empty if it is."""
        if why := self._refusal_of_orchestrator(rules):
            return why
        if self.orchestrator and order.deadline > client.connection.time() + MAX_LIFE_S:
            return f"no place for orders that hold for more than {MAX_LIFE_S} s"
        return ""

    def _refusal_of_orchestrator(self, rules: Rules) -> str:
        if rules.orchestrators is None or self.orchestrator in rules.orchestrators:
            return ""
        enrolled = f"enrolled with {self.orchestrator}" if self.orchestrator else "not enrolled"
        return f"orchestrators = {listed(rules.orchestrators)}, and the client is {enrolled}"

    def tells_errors(self, *, otherwise: bool) -> bool:
        """Say whether answers may have the texts of exceptions; ``otherwise`` if there is no policy."""
        try:
            rules = self.rules()
        except ConfigurationError:
            return False
        return otherwise if rules is None else rules.tells.errors

    def announced(self, announcement: Announcement) -> Announcement:
        """Return an announcement without what may not be told."""
        rules = self.rules()
        if rules is None:
            return announcement
        return announcement.model_copy(
            update={
                "num_examples": _rounded(rules, announcement.num_examples),
                "num_held_out": _rounded(rules, announcement.num_held_out),
                "labels": announcement.labels if rules.tells.labels else {},
                "hardware": announcement.hardware if rules.tells.hardware else UNKNOWN,
            }
        )

    def check_result(self, order: UpdateOrder, result: TrainResult) -> None:
        """Refuse to send what training returned, if that is more than the policy allows.

        Raises:
            NotProtectedError: If it is, or the policy can't be read any more.
        """
        rules = self._rules_under_way()
        if rules is not None and (why := refusal_of_result(rules, order, result)):
            logger.warning("order %s: nothing of it leaves by this site's policy: %s", order.order_id, why)
            raise NotProtectedError(f"the site's policy has {why}")

    def protected(self, start: Arrays, trained: Arrays, beside: Sets, results: Mapping[str, object]) -> Arrays:
        """Return what may leave of a trained model.

        Raises:
            NotProtectedError: If the policy clips updates, and there is more than a model's update to send, or it can't
                be read any more.
        """
        how = self._protects()
        if how is None:
            return trained
        if beside or results or not trained:
            raise NotProtectedError(
                "the site's policy clips updates, and this algorithm or workload sends more than the trained model"
            )
        return protect(start, trained, how)

    def protects(self) -> bool:
        """Say whether updates are clipped, as of the order that is carried out."""
        return self._protects() is not None

    def may_tell(self, metric: str) -> bool:
        """Say whether an answer may have a metric."""
        rules = self._rules_under_way()
        return rules is None or metric in rules.tells.metrics

    def _protects(self) -> Protects | None:
        rules = self._rules_under_way()
        return rules.protects if rules is not None else None

    def _rules_under_way(self) -> Rules | None:
        """Return the rules for what an order under way sends; what is wrong with them is for the client's log alone."""
        try:
            return self.rules()
        except ConfigurationError as error:
            logger.warning("an order under way: nothing of it leaves, as this site's policy isn't right: %s", error)
            raise NotProtectedError("this site's policy can't be read") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep out other processes, which may be given orders to the same client."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _version(path: Path) -> tuple[int, ...]:
    """Return what tells a file from what it was before; nothing if there is none, as reading it says."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _refused(order: Order, why: str) -> Response:
    logger.warning("order %s: refused by this site's policy: %s", order.order_id, why)
    return order.respond(Status.FAILED, reason=f"refused by the site: its policy has {why}")


def _one_more(rules: Rules, order: Order, folder: Path) -> str:
    """Count an order of today that is about the client's data; return the rule that forbids one more."""
    if rules.max_orders_per_day is None or not is_about_data(order):
        return ""
    path, today = folder / _COUNT, datetime.now(UTC).date().isoformat()
    with _alone(folder):
        try:
            kept = json.loads(path.read_text())
            count = int(kept["count"]) if kept["day"] == today else 0
        except FileNotFoundError:
            count = 0
        if count >= rules.max_orders_per_day:
            return f"max_orders_per_day = {rules.max_orders_per_day}"
        replace_text(path, json.dumps({"day": today, "count": count + 1}))
    return ""


def _less(rules: Rules, order: Order, response: Response) -> Response:
    """Return an answer without what may not be told."""
    is_score = response.status is Status.SCORED
    told = {name: value for name, value in response.metrics.items() if is_score or name in rules.tells.metrics}
    less = response.model_copy(update={"metrics": told, "num_examples": _rounded(rules, response.num_examples)})
    if not isinstance(order, UpdateOrder) or rules.tells.examples_rounded_to == 1:
        return less
    # Steps and passes would tell the number of examples: they are those that as many as are told would take.
    a_pass, options = steps_a_pass(order, less.num_examples), order.study.options
    num_steps = min(response.num_steps, options.max_steps or options.epochs * a_pass)
    return less.model_copy(update={"num_steps": num_steps, "num_epochs": num_steps / a_pass})


def _rounded(rules: Rules, num_examples: int) -> int:
    return num_examples - num_examples % rules.tells.examples_rounded_to
