"""A run as spans of OpenTelemetry: the run, its rounds and each client's order; processes that work add their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from orchestrator.observers import ObserverContext, missing
from orchestrator.observers.events import (
    Event,
    JoinedLive,
    Outcome,
    RoundClosed,
    RoundOpened,
    RunEnded,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
)
from orchestrator.store.records import ACCEPTED
from tasks.errors import ConfigurationError
from tasks.tracing import RUN, SCOPE, child_of, is_asked_for, make_provider, span_id, trace_id

try:
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, StatusCode
except ImportError:
    raise missing("otel", "opentelemetry-sdk") from None


class Otel:
    """Sends spans to its parameter, like ``http://127.0.0.1:4318``, or to where the environment says."""

    def __init__(self, context: ObserverContext) -> None:
        self._run_id = context.config.run_id
        self._ids = _NamedIds(self._run_id)
        self._provider = make_provider("celeriac-orchestrator", context.parameter, self._ids)
        self._root: tuple[str, ...] = (RUN, "0")
        """The names of the run's own span: each start of the orchestrator has one."""
        self._open: dict[tuple[str, ...], Span] = {}
        """Spans that have begun, by their names."""

    @staticmethod
    def check(parameter: str) -> None:
        """Refuse what is no address.

        Raises:
            ConfigurationError: If it is none, or if neither it nor the environment says where spans go.
        """
        if parameter and not _is_address(parameter):
            raise ConfigurationError(
                f"observer 'otel:{parameter}': the address of a collector is needed, over HTTP, like "
                "otel:http://127.0.0.1:4318"
            )
        if not parameter and not is_asked_for():
            raise ConfigurationError(
                "observer 'otel' doesn't know where to send spans: name a collector, like otel:http://127.0.0.1:4318, "
                "or set OTEL_EXPORTER_OTLP_ENDPOINT"
            )

    def observe(self, event: Event) -> None:
        """Begin and end the spans that an event tells of."""
        said: dict[str, Any]
        match event:
            case RunStarted():
                self._root = (RUN, str(event.rounds_closed))
                said = {"algorithm": event.algorithm, "workload": event.workload}
                self._begin(event, self._root, f"run {event.run_id}", said)
            case RoundOpened(round_number=number, cohort=cohort):
                self._begin(event, (str(number),), f"round {number}", {"num_clients": len(cohort)}, self._root)
                self._begin_orders(event, number, cohort)
            case JoinedLive(round_number=number, client_ids=joined):
                self._begin_orders(event, number, joined)
            case SlotsFilled(round_number=number, slots=slots):
                for client_id, slot in slots.items():
                    why = "" if slot.status in ACCEPTED else slot.reason or slot.status.value
                    self._end(event, (str(number), client_id), _told(slot), why)
            case UpdatesJudged():
                self._note_rejected(event)
            case RoundClosed(round_number=number):
                said = {**event.train_metrics, "status": event.status, "num_accepted": event.num_accepted}
                self._end(event, (str(number),), said, event.reason if event.status == "failed" else "")
            case RunEnded():
                self._end_all(event)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _begin_orders(self, event: Event, round_number: int, client_ids: tuple[str, ...]) -> None:
        for client_id in client_ids:
            names = (str(round_number), client_id)
            self._begin(event, names, f"order {client_id}", {"client_id": client_id}, (str(round_number),))

    def _note_rejected(self, event: UpdatesJudged) -> None:
        for client_id, reason in event.rejected.items():
            said = {"client_id": client_id, "reason": reason}
            if span := self._open.get((str(event.round_number),)):
                span.add_event("update rejected", _prefixed(said), _nanoseconds(event))

    def _end_all(self, event: RunEnded) -> None:
        """End what is still open, and the run last."""
        summary = event.summary
        for names in [names for names in self._open if names != self._root]:
            self._end(event, names, {}, "the run ended")
        why = "" if summary.status == "completed" else summary.reason or summary.status
        self._end(event, self._root, {"status": summary.status, "rounds": summary.rounds}, why)

    def _begin(
        self, event: Event, names: tuple[str, ...], name: str, said: Mapping[str, Any], parent: tuple[str, ...] = ()
    ) -> None:
        self._ids.names = names
        self._open[names] = self._provider.get_tracer(SCOPE).start_span(
            name,
            child_of(self._run_id, *parent) if parent else None,
            attributes=_prefixed(said),
            start_time=_nanoseconds(event),
        )

    def _end(self, event: Event, names: tuple[str, ...], said: Mapping[str, Any], why: str) -> None:
        """End a span; ``why`` it isn't as it should be, if it isn't."""
        if (span := self._open.pop(names, None)) is None:
            return
        span.set_attributes(_prefixed(said))
        if why:
            span.set_status(StatusCode.ERROR, why)
        span.end(_nanoseconds(event))


class _NamedIds(IdGenerator):
    """Ids that all processes of a run know.

    Attributes:
        names: The names of the span that is begun next.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self.names: tuple[str, ...] = ()

    def generate_span_id(self) -> int:
        """Return the id that the names stand for."""
        return span_id(self._run_id, *self.names)

    def generate_trace_id(self) -> int:
        """Return the run's."""
        return trace_id(self._run_id)


def _is_address(parameter: str) -> bool:
    try:
        return urlsplit(parameter).scheme in ("http", "https")
    except ValueError:
        return False


def _told(slot: Outcome) -> dict[str, Any]:
    own = slot.model_dump(mode="json", include={"status", "num_examples", "duration_s", "size_bytes"})
    return {**slot.metrics, **own}  # a client may name its metrics as it likes


def _prefixed(said: Mapping[str, Any]) -> dict[str, Any]:
    return {f"celeriac.{name}": value for name, value in said.items()}


def _nanoseconds(event: Event) -> int:
    return int(datetime.fromisoformat(event.time).timestamp() * 1e9)
