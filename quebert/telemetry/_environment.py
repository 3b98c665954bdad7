"""
The signals that the C{OTEL_*} variables ask for.  Pure.

By the specification of OpenTelemetry, a program without any of these variables sends to
this machine.  Here it sends nothing, so that nobody pays for it who did not ask for it:
a variable must say where to send, or how.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["Signals", "signals_in"]

#: Where spans and metrics go; a signal may have an endpoint of its own.
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
#: The protocol of the exporter that the extra installs.
_SPOKEN = "http/protobuf"
_EXPORTERS = ("otlp", "console")


@attrs.frozen
class Signals:
    """
    The signals to export.

    @ivar traces: the exporters of spans: any of C{"otlp"} and C{"console"}.
    @ivar metrics: the exporters of metrics, likewise.
    @ivar problems: variables that cannot be heeded; each a sentence.
    """

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """
        Whether anything is.
        """
        return bool(self.traces or self.metrics)


def signals_in(environ: Mapping[str, str]) -> Signals:
    """
    The signals that an environment asks for.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Signals()
    problems: list[str] = []
    traces = _exporters("TRACES", environ, problems)
    metrics = _exporters("METRICS", environ, problems)
    return Signals(traces, metrics, tuple(dict.fromkeys(problems)))


def _exporters(
    signal: str, environ: Mapping[str, str], problems: list[str]
) -> tuple[str, ...]:
    """
    The exporters of a signal.
    """
    name = f"OTEL_{signal}_EXPORTER"
    has_place = _of_signal(_ENDPOINT, signal, environ)
    asked = environ.get(name, "").strip() or ("otlp" if has_place else "none")
    found = tuple(dict.fromkeys(each.strip() for each in asked.split(",")))
    for each in found:
        if each not in (*_EXPORTERS, "none", ""):
            problems.append(
                f"{name} must be {', '.join(_EXPORTERS)} or none, not {each!r:.40}"
            )
    if "none" in found:
        return ()
    protocol = _of_signal(_PROTOCOL, signal, environ) or _SPOKEN
    if "otlp" in found and protocol != _SPOKEN:
        problems.append(
            f"quebert exports by {_SPOKEN}, not by {protocol!r:.40} as {_PROTOCOL} says"
        )
        found = tuple(each for each in found if each != "otlp")
    return tuple(each for each in found if each in _EXPORTERS)


def _of_signal(name: str, signal: str, environ: Mapping[str, str]) -> str:
    own = name.replace("_OTLP_", f"_OTLP_{signal}_")
    return environ.get(own, "").strip() or environ.get(name, "").strip()
