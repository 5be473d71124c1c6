"""A run's figures for Prometheus, which fetches them from here: named as https://prometheus.io/docs/practices/naming."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from orchestrator.observers import ObserverContext, missing
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    Event,
    Initialised,
    JobDone,
    JoinedLive,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
    RoundClosed,
    RoundOpened,
    RunEnded,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
)
from tasks.errors import ConfigurationError
from tasks.messages import Status
from tasks.metrics import Metrics

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server
except ImportError:
    raise missing("prometheus", "prometheus-client") from None

LOOPBACK = "127.0.0.1"
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Upper edges of the bins that durations are counted in."""


DISPROPORTION, MALFORMED = "disproportion", "malformed"
"""Why an update is rejected by no scorer: it is far longer than the others, or isn't one of this model at all."""
TRAINING_ENDS = (Status.TRAINED, Status.TIMED_OUT, Status.FAILED, Status.LOST, Status.REJECTED)
"""What comes of an order to train."""


class Figures:
    """What Prometheus is told. None has a client's id: each client would be a series of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.run = Info("celeriac_run", "The run.", registry=registry)
        self.planned = Gauge("celeriac_rounds_planned", "Rounds that the run has.", registry=registry)
        self.open = Gauge("celeriac_round_open", "The round that was opened last.", registry=registry)
        self.cohort = Gauge("celeriac_cohort_clients", "Clients that this round has asked.", registry=registry)
        self.unanswered = Gauge("celeriac_orders_open", "Orders to train that are out.", registry=registry)
        self.connected = Gauge("celeriac_clients_connected", "Clients that are connected.", registry=registry)
        self.rounds = Counter("celeriac_rounds", "Rounds that are over.", ["status"], registry=registry)
        self.slots = Counter("celeriac_slots", "Orders to train, by what came of them.", ["status"], registry=registry)
        self.accepted = Counter("celeriac_updates_accepted", "Updates in the model.", registry=registry)
        self.rejected = Counter("celeriac_updates_rejected", "Updates that weren't.", ["reason"], registry=registry)
        self.late = Counter("celeriac_responses_late", "Responses that came too late.", registry=registry)
        self.sent = Counter("celeriac_sent_bytes", "Bytes of models that went out.", registry=registry)
        self.received = Counter("celeriac_received_bytes", "Bytes of updates that came in.", registry=registry)
        self.round_s = Histogram(
            "celeriac_round_duration_seconds", "Rounds, opened to closed.", registry=registry, buckets=_SECONDS
        )
        self.order_s = Histogram(
            "celeriac_order_duration_seconds", "Training, by clients' clocks.", registry=registry, buckets=_SECONDS
        )
        self.job_s = Histogram(
            "celeriac_job_duration_seconds", "Own workers' tasks.", ["task"], registry=registry, buckets=_SECONDS
        )
        self.metric = Gauge(
            "celeriac_metric", "The last model's metrics, and training's.", ["metric", "data"], registry=registry
        )


class Prometheus:
    """Answers whoever asks for ``/metrics`` at ``[HOST:]PORT``, its parameter, as long as the run lasts."""

    def __init__(self, context: ObserverContext) -> None:
        host, port = _address(context.parameter)
        self._figures = Figures()
        self._scorers = context.config.verify
        self._show_zeros()
        self._connected: set[str] = set()
        self._shown: dict[str, frozenset[str]] = {}
        """Names of the metrics that are shown, by the data that they are of."""
        self._server, self._thread = start_http_server(port, host, self._figures.registry)

    @staticmethod
    def check(parameter: str) -> None:
        """Refuse what is no address.

        Raises:
            ConfigurationError: If it is none.
        """
        _address(parameter)

    def observe(self, event: Event) -> None:
        """Count an event."""
        told = self._figures
        match event:
            case RunStarted():
                told.run.info({"run_id": event.run_id, "workload": event.workload, "algorithm": event.algorithm})
                told.planned.set(event.rounds)
            case ClientsJoined(clients=clients):
                self._connected |= clients.keys()
            case ClientsLeft(client_ids=left):
                self._connected -= set(left)
            case RoundOpened():
                told.open.set(event.round_number)
                told.cohort.set(len(event.cohort))
                told.unanswered.set(len(event.cohort))
            case JoinedLive(client_ids=joined):
                told.cohort.inc(len(joined))
                told.unanswered.inc(len(joined))
            case SlotsFilled(slots=slots):
                told.unanswered.dec(len(slots))
                self._count_slots(list(slots.values()))
            case RoundClosed():
                self._count_round(event)
            case _:
                self._count_rest(event)
        told.connected.set(len(self._connected))

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _show_zeros(self) -> None:
        """Show what may be counted before any is: a first one that nobody saw the zero of is no increase."""
        told = self._figures
        for status in get_args(RoundClosed.model_fields["status"].annotation):
            told.rounds.labels(status)
        for outcome in TRAINING_ENDS:
            told.slots.labels(outcome.value)
        for reason in (*self._scorers, DISPROPORTION, MALFORMED):
            told.rejected.labels(reason)

    def _count_slots(self, slots: list[Outcome]) -> None:
        for slot in slots:
            self._figures.slots.labels(slot.status.value).inc()
            if slot.duration_s:
                self._figures.order_s.observe(slot.duration_s)

    def _count_round(self, event: RoundClosed) -> None:
        told = self._figures
        told.unanswered.set(0)
        told.rounds.labels(event.status).inc()
        told.round_s.observe(event.duration_s)
        told.sent.inc(event.bytes_down)
        told.received.inc(event.bytes_up)
        self._set(event.train_metrics, "training")

    def _count_rest(self, event: Event) -> None:
        told = self._figures
        match event:
            case UpdatesJudged():
                told.accepted.inc(len(event.accepted))
                for reason in event.rejected.values():
                    told.rejected.labels(reason_class(reason, self._scorers)).inc()
            case ResponsesLate():
                told.late.inc(len(event.orders))
            case JobDone():
                told.job_s.labels(event.job).observe(event.duration_s)
            case Initialised() | ModelEvaluated():
                self._set(event.metrics, "held_out")
            case ClientsEvaluated():
                self._set(event.metrics, "clients")
            case RunEnded():
                self._connected.clear()
                told.unanswered.set(0)

    def _set(self, metrics: Metrics, data: str) -> None:
        """Show these metrics in place of those before: clients may make up other names each round."""
        if not metrics:
            return
        for name in self._shown.get(data, frozenset()) - metrics.keys():
            self._figures.metric.remove(name, data)
        self._shown[data] = frozenset(metrics)
        for name, value in metrics.items():
            self._figures.metric.labels(name, data).set(value)


def reason_class(reason: str, scorers: Iterable[str]) -> str:
    """Return the scorer that rejected an update, or of what kind the check is that did: a label with few values."""
    for scorer in scorers:
        if reason.startswith((f"{scorer}: ", f"{scorer} could not score")):
            return scorer
    return DISPROPORTION if " has length " in reason else MALFORMED


def _address(parameter: str) -> tuple[str, int]:
    """Return host and port of ``[HOST:]PORT``."""
    host, _, port = parameter.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise ConfigurationError(
            f"observer 'prometheus:{parameter}': prometheus:[HOST:]PORT is needed, a port from 1 to 65535, like "
            "prometheus:9464, or prometheus:0.0.0.0:9464 for who asks from elsewhere"
        )
    return host.strip("[]") or LOOPBACK, int(port)
