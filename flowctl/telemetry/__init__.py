"""OpenTelemetry: runs, steps and attempts as traces and metrics. A plugin like any other, that listens to
events; it is loaded only if somebody asks for it in the environment (``default_plugins.modules``).

Endpoints, headers, intervals, sampling and the names of resources are those of the SDK's own ``OTEL_*``
variables, which are all that there is to configure. An installation without the SDK, or with a variable that
makes no sense to it, is named as a plugin that cannot be used, and nothing else suffers from it.

    spans     run, step, attempt: made when they are over, of what the event says
    metrics   counters, durations, and how many runs wait for a worker
    setup     providers that export by OTLP over HTTP
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from flowctl.activities import Attempt
from flowctl.errors import UsageError
from flowctl.hookspecs import hookimpl

try:
    from flowctl.telemetry.metrics import Metrics
    from flowctl.telemetry.setup import Providers, provide
    from flowctl.telemetry.spans import Spans, inside
except ModuleNotFoundError as missing:
    raise UsageError(
        f"traces and metrics were asked for (OTEL_EXPORTER_OTLP_…), and {missing.name} is not installed:"
        " pip install 'flowctl[otel]', or unset the variable"
    ) from missing


class _Telemetry(NamedTuple):
    providers: Providers
    spans: Spans
    metrics: Metrics


@functools.cache
def _telemetry() -> _Telemetry:
    """That of this process."""
    providers = provide()
    return _Telemetry(providers, Spans(providers.tracers), Metrics(providers.meters))


@hookimpl
def flowctl_configure(settings: Mapping[str, Any]) -> None:
    """Make what is needed, now: what the SDK does not understand is told while plugins are loaded."""
    if settings:
        raise UsageError("it has no settings here; the OTEL_… variables say all there is to say")
    _telemetry()


@hookimpl
def flowctl_on_event(event: Mapping[str, Any]) -> None:
    """Make of it what it is the end of."""
    telemetry = _telemetry()
    telemetry.spans.hear(event)
    telemetry.metrics.hear(event)


def begin(address: str, due: Callable[[], int] | None = None) -> None:
    """This process drives runs at that address. ``due`` counts those that wait; where runs are in a journal,
    that is asked.
    """
    _telemetry().metrics.watch(address, due)


def end() -> None:
    """It does no longer: export what there is."""
    _telemetry().providers.flush()


@contextlib.contextmanager
def around(attempt: Attempt) -> Iterator[None]:
    """Spans that an activity makes meanwhile are inside of that of its attempt."""
    with inside(_telemetry().spans, attempt):
        yield


@contextlib.contextmanager
def around_in_child(attempt: Attempt) -> Iterator[None]:
    """The same in a process of its own, which may be gone afterwards."""
    try:
        with around(attempt):
            yield
    finally:
        _telemetry().providers.tracers.force_flush()
