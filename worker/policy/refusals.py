"""Why a site's policy refuses an order: the rule that it breaks, and what it asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tasks.messages import Order, Response, Status, StudyOrder, UpdateOrder
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.workload import TrainResult
from worker.policy.rules import Rules, listed

if TYPE_CHECKING:
    from worker.client import Client

MAX_LIFE_S = 7 * 24 * 3600
"""Seconds before its deadline at which a signed order comes at the earliest: it can't be kept to be used much later."""
_NOT_ABOUT_DATA = (DisconnectOrder, SetParametersOrder)
_ABOUT_EXAMPLES = (Status.EVALUATED, Status.SCORED)


def is_about_data(order: Order) -> bool:
    """Say whether a client has to look at its data for an order."""
    return not isinstance(order, _NOT_ABOUT_DATA)


def refusal(rules: Rules, order: Order, client: Client, code: str) -> str:
    """Return why an order is refused before anything is done; empty if it isn't.

    Args:
        rules: The policy.
        order: The order.
        client: The client that it is for.
        code: How a kind of orders of the site's own is named (``module:name``); empty for one that is built in.
    """
    if why := rules.refuses_code("orders", code or order.name):
        return f"{why}, and this is {order.name}"
    if rules.max_timeout_s is not None and order.timeout_s > rules.max_timeout_s:
        return f"max_timeout_s = {rules.max_timeout_s:g}, and the order may take {order.timeout_s:g} s"
    if not is_about_data(order):
        return ""
    return (
        _of_code(rules, order, client)
        or _of_few_examples(rules, order, client)
        or (_of_update(rules, order, client) if isinstance(order, UpdateOrder) else "")
    )


def _of_code(rules: Rules, order: Order, client: Client) -> str:
    if order.workload == client.workload_name and (why := rules.refuses_code("workloads", order.workload)):
        return f"{why}, and the client has {order.workload}"
    if not isinstance(order, StudyOrder):
        return ""
    own = client.workload.run_config or {}
    given = [name for name, value in order.study.run_config.items() if name not in own or own[name] != value]
    if others := sorted(set(given) - set(rules.run_config)):
        return f"run_config = {listed(rules.run_config)}, and the run gives {others[0]}"
    return ""


def _of_few_examples(rules: Rules, order: Order, client: Client) -> str:
    if client.data.num_train < rules.min_examples:
        return f"min_examples = {rules.min_examples}, and the client has fewer"
    num_test = client.data.num_test
    if isinstance(order, EvaluateOrder) and num_test is not None and num_test < rules.min_examples:
        return f"min_examples = {rules.min_examples}, and the client holds out fewer"
    return ""


def _of_update(rules: Rules, order: UpdateOrder, client: Client) -> str:
    if why := rules.refuses_code("algorithms", order.algorithm):
        return f"{why}, and the run's is {order.algorithm}"
    if why := rules.refuses_code("compressions", order.compression):
        return f"{why}, and the run's is {order.compression}"
    if order.name == "survey" and rules.protects is not None:
        return "protects, which covers updates alone, and the algorithm asks for more before it trains"
    epochs, options = _epochs(order, client.data.num_train), order.study.options
    if rules.max_epochs is not None and epochs > rules.max_epochs:
        # How many passes its steps are tells how many examples there are.
        asked = f"{epochs:g}" if options.max_steps is None else f"{options.max_steps} steps"
        return f"max_epochs = {rules.max_epochs:g}, and the order asks for {asked}"
    if options.max_steps is not None and options.max_steps * options.batch_size < rules.min_examples:
        steps = f"{options.max_steps} steps of {options.batch_size}"
        return f"min_examples = {rules.min_examples}, and the order asks for {steps}"
    return ""


def _epochs(order: UpdateOrder, num_examples: int) -> float:
    """Return how many passes over so many examples an order asks for."""
    options = order.study.options
    return options.epochs if options.max_steps is None else options.max_steps / steps_a_pass(order, num_examples)


def steps_a_pass(order: UpdateOrder, num_examples: int) -> int:
    """Return the steps in which a client passes over so many examples."""
    return max(1, math.ceil(num_examples / order.study.options.batch_size))


def refusal_of_result(rules: Rules, order: UpdateOrder, result: TrainResult) -> str:
    """Return why nothing may leave of what training returned; empty if it may."""
    if others := sorted(set(result.results) - set(rules.tells.results)):
        return f"tells.results = {listed(rules.tells.results)}, and there is {others[0]}"
    if result.num_epochs < 1 and result.num_steps * order.study.options.batch_size < rules.min_examples:
        return f"min_examples = {rules.min_examples}, and it trained on fewer"
    return ""


def refusal_of_answer(rules: Rules, response: Response) -> str:
    """Return why nothing may leave of what was found out about examples; empty if it may."""
    if response.status in _ABOUT_EXAMPLES and response.num_examples < rules.min_examples:
        return f"min_examples = {rules.min_examples}, and these are fewer"
    return ""
