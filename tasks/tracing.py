"""Spans of OpenTelemetry: what each process of a run does, all in one trace.

No context has to travel: the ids of a trace and of the spans that others hang theirs below are digests of names that
every order has in its id, which is signed where clients are enrolled. So a client that knows nothing of tracing gets
the orders that it always got, and one that does knows whose child its work is.

OpenTelemetry is imported where it is asked for alone; it is an extra of the installation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import signals, states

from tasks.digests import Digest

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Link, Span, SpanContext

RUN = "run"
"""The name of a run's own span, before the number of rounds that were closed when it was started."""
SCOPE = "celeriac"
"""What made a span, as OpenTelemetry has it."""
ENDPOINT_VARIABLES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""OpenTelemetry's own: either says where spans go, over HTTP."""
_DELAY_VARIABLE = "OTEL_BSP_SCHEDULE_DELAY"
_DELAY_MS = 20
"""Milliseconds that spans are kept to be sent together: a process of a run may be ended at once when that is over."""
_FLUSH_MS = 2000


class Traced(NamedTuple):
    """A task that is to be a span.

    Attributes:
        run_id: The run that it is of.
        parent: The names of the span that it is a child of, within the run; see :func:`child_of`.
        name: The span's name.
        attributes: What is said of it.
        links: The names of spans that it belongs to, too.
        endpoint: Where it goes; see :func:`make_provider`.
    """

    run_id: str
    parent: tuple[str, ...]
    name: str
    attributes: Mapping[str, str | int]
    links: tuple[tuple[str, ...], ...] = ()
    endpoint: str = ""


def is_asked_for() -> bool:
    """Say whether the environment says where spans go."""
    return any(os.environ.get(name) for name in ENDPOINT_VARIABLES)


def is_installed() -> bool:
    """Say whether OpenTelemetry is."""
    return find_spec("opentelemetry") is not None


def trace_id(run_id: str) -> int:
    """Return the id of a run's trace."""
    return int(Digest(f"run {run_id}".encode()).hexdigest(16), 16)


def span_id(run_id: str, *names: str) -> int:
    """Return the id of a run's span that others know by these names: of a round, or of a client's order in it."""
    return int(Digest("/".join((run_id, *names)).encode()).hexdigest(8), 16)


def child_of(run_id: str, *names: str) -> Context:
    """Return the context of what is a child of such a span."""
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context  # noqa: PLC0415

    return set_span_in_context(NonRecordingSpan(_known(run_id, *names)))


def _known(run_id: str, *names: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id(run_id), span_id(run_id, *names), is_remote=True, trace_flags=sampled)


def _links(told: Traced) -> list[Link]:
    from opentelemetry.trace import Link  # noqa: PLC0415

    return [Link(_known(told.run_id, *names)) for names in told.links]


def make_provider(service: str, endpoint: str = "", ids: IdGenerator | None = None) -> TracerProvider:
    """Return what makes spans and sends them, in a thread of its own: whoever makes one waits for nobody.

    Args:
        service: The name of the service, unless the environment has one.
        endpoint: Where they go, like ``http://127.0.0.1:4318``; empty for where the environment says.
        ids: Makes their ids; None: they are random.

    Raises:
        ImportError: If OpenTelemetry isn't installed.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
    delay = None if os.environ.get(_DELAY_VARIABLE) else _DELAY_MS
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name}), id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    return provider


class TaskTracer:
    """Makes a span of each Celery task that a process carries out, one at a time.

    Args:
        service: The name of the service.
        traced: Says of a task's name and arguments which span it is; None: it is none.
    """

    def __init__(self, service: str, traced: Callable[[str, Sequence[Any], Mapping[str, Any]], Traced | None]) -> None:
        self._service = service
        self._traced = traced
        self._providers: dict[str, TracerProvider] = {}
        """By where they send to; made in the process that carries tasks out."""
        self._span: Span | None = None

    def follow(self) -> None:
        """Have spans begin and end with this process's tasks, and what is left be sent when it ends."""
        signals.task_prerun.connect(self._begin, weak=False)
        signals.task_postrun.connect(self._end, weak=False)
        signals.worker_process_shutdown.connect(self._flush, weak=False)

    def _begin(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], **_: object) -> None:
        self._end(states.SUCCESS)  # of a chord's last part, whose process carries the body out
        told = self._traced(task.name, args, kwargs)
        self._span = None if told is None else self._new_span(told)

    def _new_span(self, told: Traced) -> Span:
        if told.endpoint not in self._providers:
            self._providers[told.endpoint] = make_provider(self._service, told.endpoint)
        tracer = self._providers[told.endpoint].get_tracer(SCOPE)
        parent = child_of(told.run_id, *told.parent)
        return tracer.start_span(told.name, parent, attributes=told.attributes, links=_links(told))

    def _end(self, state: str, **_: object) -> None:
        if self._span is not None:
            self._span.set_attribute("celery.state", state)
            self._span.end()
            self._span = None

    def _flush(self, **_: object) -> None:
        for provider in self._providers.values():
            provider.force_flush(_FLUSH_MS)
