"""Traces by OpenTelemetry: a span for the run, and below it one for each request, made by httpx's own instrumentation.

Needs the extra `otel`; where spans go is said by the variables of OpenTelemetry (`OTEL_EXPORTER_OTLP_ENDPOINT`, …). The
token stands in the path of every request, so the instrumentation never sees the request: it is shown one without token,
number, header or body, and what goes over the wire is the real one (`importer.client.tracing`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from importer import __version__
from importer.client.tracing import Around, seen_through
from importer.errors import UsageProblem
from importer.model import Balance

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SERVICE = "phone-list-importer"
LONGEST_EXPORT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """A run being traced. `around` wraps a transport; `finish` notes the counts and the exit code."""

    span: Span
    around: Around

    def finish(self, exit_code: int, balance: Balance | None, *, import_id: int | None) -> None:
        """Attributes for people who look at the trace; counts only."""
        self.span.set_attribute("importer.exit_code", exit_code)
        if import_id is not None:
            self.span.set_attribute("importer.import_id", import_id)
        for name in Balance.__dataclass_fields__ if balance is not None else ():
            self.span.set_attribute(f"importer.rows.{name}", getattr(balance, name))


@contextlib.contextmanager
def traced(
    name: str, provider: TracerProvider | None = None, *, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Trace]:
    """A span around a run. Without a provider: one that exports by OTLP, emptied at the end, for at most some seconds.

    That spans could not be delivered is told once. **Errors**: UsageProblem without the extra.
    """
    try:
        from opentelemetry import context, trace
        from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport
    except ImportError as problem:
        raise UsageProblem("Traces need OpenTelemetry.", hint='pip install "phone-list-importer[otel]"') from problem
    provider = provider or _exporting()
    tracer = provider.get_tracer("importer", __version__)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_listening(tell))
        stack.callback(provider.shutdown)
        span = stack.enter_context(tracer.start_as_current_span(name, record_exception=False))
        parent = trace.set_span_in_context(span)

        def inside() -> contextlib.AbstractContextManager[None]:
            return _attached(context, parent)

        yield Trace(
            span=span,
            around=lambda transport: seen_through(
                transport, lambda inner: SyncOpenTelemetryTransport(inner, tracer_provider=provider), inside
            ),
        )


class _Failures(logging.Handler):
    """Hears the exporter's complaints, of which one sentence is enough."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.has_any = False

    def emit(self, record: logging.LogRecord) -> None:
        """Notes that there was one."""
        self.has_any = self.has_any or bool(record)


@contextlib.contextmanager
def _listening(tell: Callable[[str], None]) -> Iterator[None]:
    """While spans leave: complaints in one sentence at the end, not in the library's own words."""
    logger, failures = logging.getLogger("opentelemetry"), _Failures()
    propagates = logger.propagate
    logger.addHandler(failures)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(failures)
        logger.propagate = propagates
    if failures.has_any:
        tell("Not all traces could be delivered; the run itself is not touched by that.")


@contextlib.contextmanager
def _attached(context: Any, parent: Any) -> Iterator[None]:
    """The run's span as the current one, in whatever thread this is."""
    token = context.attach(parent)
    try:
        yield
    finally:
        context.detach(token)


def _exporting() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": SERVICE, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(timeout=LONGEST_EXPORT_S), export_timeout_millis=LONGEST_EXPORT_S * 1000)
    )
    return provider
