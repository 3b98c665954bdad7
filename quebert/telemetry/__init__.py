"""
OpenTelemetry: one trace for a task, from the program that adds it to its last attempt,
and metrics; an extra, C{telemetry}.

A producer makes a span of each message that it sends, and writes C{traceparent} into
the headers of the message, where it stays whatever becomes of the message.  A mediator
makes a span of each time that it processes a task, and one of the request, and passes
C{traceparent} on to the executor.  Names and attributes are those of the semantic
conventions 1.44 of OpenTelemetry (C{_conventions}).

The standard C{OTEL_*} variables alone say whether, and where to (C{_environment}).
Where they say nothing, OpenTelemetry is not imported, a mediator is made of the same
objects as without this package, and a producer calls one function per message.

Nothing here decides anything about a task: whatever fails, the task goes on.  Spans and
metrics are sent by threads of OpenTelemetry's own (C{_sdk}).

This face is for producers, and needs no Twisted; L{quebert.telemetry.mediating} is for
mediators.

To add an attribute: its name in C{_conventions}; C{_sending}, C{_processing} or
C{_requests}, whichever makes the span; C{docs/tracing.rst}.  An attribute of data
points may have few values.  To add a metric: C{_instruments}, and the same.  To heed
another variable: C{_environment}, or C{_sdk}, if the SDK does not read it itself.
"""

from __future__ import annotations

from quebert.telemetry._process import Sender, SendSpan, forget, sender

__all__ = ["SendSpan", "Sender", "forget", "sender"]
