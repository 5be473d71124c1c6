"""What a client does with an order of each kind: ``handle`` in a file of its own, found here by the kind's name.

A kind is two files, ``tasks/orders/NAME.py`` with what the order says and ``worker/handlers/NAME.py`` with what the
client does, and its line below.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.kind import AnyKind, OrderKind
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from worker.handlers import disconnect, evaluate, set_parameters, survey, train, verify

_KINDS: tuple[AnyKind, ...] = (
    OrderKind(SurveyOrder, survey.handle),
    OrderKind(TrainOrder, train.handle),
    OrderKind(EvaluateOrder, evaluate.handle),
    OrderKind(VerifyOrder, verify.handle),
    OrderKind(SetParametersOrder, set_parameters.handle),
    OrderKind(DisconnectOrder, disconnect.handle),
)
KINDS: Mapping[str, AnyKind] = {kind.order.name: kind for kind in _KINDS}
