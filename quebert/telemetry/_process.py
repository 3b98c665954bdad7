"""
The telemetry of messages that this process sends, made with the first of them.

Only here is decided whether OpenTelemetry is imported.  Needs no Twisted.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

from quebert.telemetry._environment import Signals, signals_in

__all__ = ["MISSING", "SendSpan", "Sender", "forget", "problems_of", "sender"]

#: What is said where the extra is missing.
MISSING = (
    "OTEL_* variables ask for it, but OpenTelemetry cannot be imported: install"
    " quebert-mediator[telemetry]"
)


class SendSpan(Protocol):
    """
    The span of one message that is sent.

    @ivar properties: those of the message, with headers that tell of the span.
    """

    properties: Mapping[str, Any]

    def ended(self, error: BaseException | None) -> None:
        """
        The broker has confirmed the message, or C{error} says why not.
        """


class Sender(Protocol):
    """
    Makes spans of messages that are sent.
    """

    def begin(
        self,
        exchange: str,
        routing_key: str,
        message_id: str | None,
        size: int,
        properties: Mapping[str, Any],
    ) -> SendSpan | None:
        """
        A message is about to be sent.

        @param size: bytes of its body.
        @return: C{None} where there is no span, as where one cannot be made.
        """


class _Process:
    """
    @ivar known: whether the environment has been read.
    """

    def __init__(self) -> None:
        self.known = False
        self.sender: Sender | None = None


_process = _Process()


def sender() -> Sender | None:
    """
    Makes spans of the messages that this process sends; C{None} if no variable asks for
    telemetry, or it cannot be had.
    """
    if not _process.known:
        _process.known = True  # whatever comes, once
        signals = signals_in(os.environ)
        for problem in problems_of(signals):
            logging.getLogger("quebert").warning("No telemetry: %s.", problem)
        if signals.wanted:
            _process.sender = _made(signals)
    return _process.sender


def forget() -> None:
    """
    Read the environment again when the next message is sent.
    """
    _process.known = False
    _process.sender = None


def problems_of(signals: Signals) -> list[str]:
    """
    Why signals cannot be had as they were asked for.
    """
    problems = list(signals.problems)
    if signals.wanted and not _is_installed():
        problems.append(MISSING)
    return problems


def _is_installed() -> bool:
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except Exception:  # also where its parts do not fit to each other
        return False
    return True


def _made(signals: Signals) -> Sender | None:
    if not _is_installed():
        return None
    try:
        from quebert.telemetry._faults import Faults
        from quebert.telemetry._sdk import sdk_of
        from quebert.telemetry._sending import MessageSender

        faults = Faults(logging.getLogger("quebert").exception)
        sdk = sdk_of(signals, os.environ, faults)
        atexit.register(sdk.end)
        return MessageSender(sdk)
    except Exception:  # of a variable that cannot be read, say
        logging.getLogger("quebert").exception("No telemetry.")
        return None
