"""A collector of OpenTelemetry's spans in this process, by OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came.

    Attributes:
        service: The service that it is of.
        name: Its name.
        trace: The id of its trace.
        own: Its id.
        parent: Its parent's; empty for none.
        links: The ids of others that it belongs to.
        attributes: What is said of it.
        error: Why it isn't as it should be; empty if it is.
        seconds: How long it was.
    """

    service: str
    name: str
    trace: str
    own: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]
    error: str
    seconds: float


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """The address of a collector, and the spans that have come there."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            spans.extend(read(gzip.decompress(body) if packed else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read(message: bytes) -> Iterator[Span]:
    """The spans of a message."""
    for of_service in ExportTraceServiceRequest.FromString(message).resource_spans:
        service = values(of_service.resource.attributes)["service.name"]
        for span in [span for scope in of_service.scope_spans for span in scope.spans]:
            yield Span(
                service=service,
                name=span.name,
                trace=span.trace_id.hex(),
                own=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                links=[link.span_id.hex() for link in span.links],
                attributes=values(span.attributes),
                error=span.status.message,
                seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            )


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
