"""Orders to clients, and how long clients have for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.clients.waves import num_waves
from orchestrator.driver.collector import GRACE_S
from orchestrator.driver.context import RunContext
from tasks.messages import Order, Study
from tasks.scope import ClientScope
from tasks.seeds import context_seed

O = TypeVar("O", bound=Order)  # noqa: E741


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long clients have.

    Attributes:
        timeout_s: Seconds that each has, from when it takes its order up.
        deadline: When all is over for all of them, by the broker's clock: where clients share a worker, one wave of
            them after the other has its time.
        total_s: Seconds from now after which nobody waits for an answer any more.
    """

    timeout_s: float
    deadline: float
    total_s: float


def time_limits(
    context: RunContext, timeout_s: float, client_ids: Iterable[str] = (), turn_s: float = 0.0
) -> TimeLimits:
    """Return the time limits of orders that go out now: while other runs are on, their orders may come first.

    Args:
        context: The run's.
        timeout_s: Seconds that each client has.
        client_ids: The clients: as many waves of them have their time as the busiest of their workers needs.
        turn_s: Seconds more that a wave may take as its clients wait for their turns to send.
    """
    waves = num_waves(map(context.manager.place, client_ids))
    total_s = waves * (timeout_s + GRACE_S) + (waves - 1) * turn_s + _others_s(context)
    return TimeLimits(timeout_s, context.services.broker_time() + total_s - GRACE_S, total_s)


def _others_s(context: RunContext) -> float:
    """Return how long orders may wait behind those of other runs, which may be to all clients of a worker."""
    others_s = context.services.others_s()
    if not others_s:
        return 0.0
    connected = (client.client_id for client in context.manager.connected())
    return others_s * num_waves(map(context.manager.place, connected))


def make_order(
    context: RunContext,
    kind: type[O],
    client_id: str,
    round_number: int,
    limits: TimeLimits,
    version: str = "",
    **rest: object,
) -> O:
    """Return an order of this run to a client.

    Args:
        context: The run's.
        kind: Class of the order.
        client_id: Whom it is for.
        round_number: The round that it belongs to.
        limits: How long the client has.
        version: What tells it from other orders of this kind to this client in this round, if there may be any.
        rest: What orders of this kind have beside.
    """
    config = context.config
    suffix = f"-{version}" if version else ""
    return kind.model_validate(
        {
            "order_id": ClientScope(client_id).order_id(config.run_id, round_number, kind.name + suffix),
            "run_id": config.run_id,
            "client_id": client_id,
            "round_number": round_number,
            "workload": config.workload,
            "timeout_s": limits.timeout_s,
            "deadline": limits.deadline,
            **rest,
        }
    )


def for_study(context: RunContext, client_id: str, round_number: int, cohort_size: int) -> dict[str, Any]:
    """Return what an order says to the study's code, beside the model.

    Args:
        context: The run's.
        client_id: Whom it is for.
        round_number: The round that it belongs to.
        cohort_size: Clients that are asked.
    """
    config = context.config.in_round(round_number)
    study = Study(
        num_rounds=config.rounds,
        cohort_size=cohort_size,
        options=config.options,
        run_config={**context.prepared, **config.run_config},
    )
    seed = context_seed(config.seed, round_number, client_id)
    return {"study": study, "seed": seed, "accepted": context.accepted.get(client_id, "")}
