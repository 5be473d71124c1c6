"""Holding orders and answers against the site's policy, which may change while the worker runs."""

from __future__ import annotations

import fcntl
import json
import logging
import math
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
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.set_parameters import SetParametersOrder
from worker.policy.protection import NotProtectedError, protect
from worker.policy.rules import Protects, Rules, read_rules

if TYPE_CHECKING:
    from worker.client import Client

logger = logging.getLogger(__name__)

_COUNT = "orders_of_the_day.json"
_NOT_ABOUT_DATA = (DisconnectOrder, SetParametersOrder)


@dataclass(slots=True)
class SitePolicy:
    """The policy of a client's site; it is read again when its file changes.

    Attributes:
        path: The file; None: there is no policy, and nothing is refused.
    """

    path: Path | None = None
    _read: tuple[tuple[int, int, int], Rules] | None = field(default=None, repr=False, compare=False)

    def rules(self) -> Rules | None:
        """Return the rules as the file has them now; None if there is no policy.

        Raises:
            ConfigurationError: If the file can't be read, or isn't right.
        """
        if self.path is None:
            return None
        try:
            stat = self.path.stat()
        except OSError as error:
            raise ConfigurationError(f"{self.path}: {error.strerror}: a policy in TOML is needed") from None
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._read is None or self._read[0] != version:
            self._read = (version, read_rules(self.path))
        return self._read[1]

    def carry_out(self, order: Order, client: Client, act: Callable[[], Response]) -> Response:
        """Return what ``act`` answers, without what may not be told; if the policy forbids the order, a refusal."""
        try:
            rules = self.rules()
        except ConfigurationError:
            logger.exception("order %s: refused, as this site's policy isn't right", order.order_id)
            return order.respond(Status.FAILED, reason="refused by the site: its policy can't be read")
        if rules is None:
            return act()
        if why := _refusal(rules, order, client) or _one_more(rules, order, client.folder):
            logger.warning("order %s: refused by this site's policy: %s", order.order_id, why)
            return order.respond(Status.FAILED, reason=f"refused by the site: its policy has {why}")
        return _less(rules, order, act())

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
        except ConfigurationError:
            logger.exception("an order under way: nothing of it leaves")
            raise NotProtectedError("this site's policy can't be read") from None


def _refusal(rules: Rules, order: Order, client: Client) -> str:
    """Return the rule that an order breaks, with what it asks for; empty if there is none."""
    if order.name not in rules.orders:
        return f"orders = [{', '.join(rules.orders)}], and this is {order.name}"
    if rules.max_timeout_s is not None and order.timeout_s > rules.max_timeout_s:
        return f"max_timeout_s = {rules.max_timeout_s:g}, and the order may take {order.timeout_s:g} s"
    if not isinstance(order, _NOT_ABOUT_DATA) and client.data.num_train < rules.min_examples:
        return f"min_examples = {rules.min_examples}, and the client has fewer"
    if isinstance(order, UpdateOrder):
        return _refusal_of_update(rules, order, client)
    return ""


def _refusal_of_update(rules: Rules, order: UpdateOrder, client: Client) -> str:
    if why := rules.allows_code("algorithms", order.algorithm):
        return f"{why}, and the run's is {order.algorithm}"
    if why := rules.allows_code("compressions", order.compression):
        return f"{why}, and the run's is {order.compression}"
    if order.name == "survey" and rules.protects is not None:
        return "protects, which covers updates alone, and the algorithm asks for more before it trains"
    epochs = _epochs(order, client.data.num_train)
    if rules.max_epochs is not None and epochs > rules.max_epochs:
        # How many passes its steps are tells how many examples there are.
        asked = f"{epochs:g}" if order.study.options.max_steps is None else f"{order.study.options.max_steps} steps"
        return f"max_epochs = {rules.max_epochs:g}, and the order asks for {asked}"
    return ""


def _epochs(order: UpdateOrder, num_examples: int) -> float:
    """Return how many passes over so many examples an order asks for."""
    options = order.study.options
    return options.epochs if options.max_steps is None else options.max_steps / _steps_a_pass(order, num_examples)


def _steps_a_pass(order: UpdateOrder, num_examples: int) -> int:
    return max(1, math.ceil(num_examples / order.study.options.batch_size))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep out other processes, which may be given orders to the same client."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _one_more(rules: Rules, order: Order, folder: Path) -> str:
    """Count an order of today that is about the client's data; return the rule that forbids one more."""
    if rules.max_orders_per_day is None or isinstance(order, _NOT_ABOUT_DATA):
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
    steps_a_pass, options = _steps_a_pass(order, less.num_examples), order.study.options
    num_steps = min(response.num_steps, options.max_steps or options.epochs * steps_a_pass)
    return less.model_copy(update={"num_steps": num_steps, "num_epochs": num_steps / steps_a_pass})


def _rounded(rules: Rules, num_examples: int) -> int:
    return num_examples - num_examples % rules.tells.examples_rounded_to
