"""Why a task ended without an answer, told after what Celery stores of it; nothing in that is trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.messages import Order
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.user_code import SEE_LOG

_PROCESS_DIED = "WorkerLostError"
"""What Celery calls it when the process is gone that carried a task out."""
_OUT_OF_TIME = "TimeLimitExceeded"
"""What it calls it when that process had to be killed, as it went on when its time was long over."""
_UNKNOWN = "NotRegistered"
"""What it calls it when a worker has no task of this name."""
_METHODS = {
    TrainOrder.name: ("train()", "trained"),
    EvaluateOrder.name: ("evaluate()", "evaluated"),
    VerifyOrder.name: ("evaluate()", "evaluated"),
    SurveyOrder.name: ("the algorithm's first exchange", "told what the algorithm asks"),
}
"""What users' code does at an order of a kind, and what the client does meanwhile."""
_SIGNALS = {
    "SIGKILL": ", as the system does when memory runs out",
    "SIGSEGV": ", a crash in compiled code",
    "SIGABRT": ", a crash in compiled code",
}
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """What is stored of a task that has failed.

    Attributes:
        kind: What Celery calls the failure.
        text: What it says of it.
    """

    kind: str
    text: str

    @classmethod
    def of(cls, document: Mapping[str, object]) -> TaskFailure:
        """Read the document that Celery's backend has stored."""
        result = document.get("result")
        failure = result if isinstance(result, dict) else {}
        return cls(str(failure.get("exc_type"))[:100], str(failure.get("exc_message"))[:_MAX_TEXT])

    @property
    def process_died(self) -> bool:
        """Whether the process is gone that carried the task out."""
        return self.kind == _PROCESS_DIED

    def how(self) -> str:
        """Say how the process died, as far as it is known; empty if it isn't."""
        if found := re.search(r"signal \d+ \((SIG[A-Z0-9]+)\)", self.text):
            return f": ended by {found[1]}{_SIGNALS.get(found[1], '')}"
        if found := re.search(r"exitcode (\d{1,3})\b", self.text):
            return f": it ended itself, with exit code {found[1]}"
        return ""

    def told(self, order: Order) -> str:
        """Say why an order was not answered."""
        method, doing = _METHODS.get(order.name, ("", f"carried out the order {order.name!r}"))
        if self.process_died:
            return f"the client's process died while it {doing}{self.how()}"
        if self.kind == _OUT_OF_TIME and method:
            hint = ": ask context.budget.is_over() before each step" if order.name == TrainOrder.name else ""
            return f"{method} didn't end within {order.timeout_s:.6g} s (--timeout){hint}"
        if self.kind == _OUT_OF_TIME:
            return f"the order {order.name!r} wasn't carried out within {order.timeout_s:.6g} s"
        if self.kind == _UNKNOWN:
            return f"the client knows no orders of the kind {order.name!r}: CLIENT_ORDERS has it know one"
        return f"the client's worker gave up the order{SEE_LOG}"
