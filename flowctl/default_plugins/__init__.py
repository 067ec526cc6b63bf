"""Plugins that are always there. They come in through the same door as everybody's."""

from __future__ import annotations

from collections.abc import Mapping

MODULES = ("flowctl.default_plugins.core",)
"""The modules, in the order in which they are loaded."""

TELEMETRY = "flowctl.telemetry"
"""The one that is there when somebody asks for it: it brings OpenTelemetry, which takes its time."""

ASKED_BY = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
"""The variables that ask for it: they say where to."""

DISABLED = "OTEL_SDK_DISABLED"


def modules(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What is loaded, given the environment."""
    return (*MODULES, TELEMETRY) if telemetry_asked_by(environment) else MODULES


def telemetry_asked_by(environment: Mapping[str, str]) -> str | None:
    """The variable that asks for telemetry, if one does."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        return None
    return next((name for name in ASKED_BY if environment.get(name)), None)
