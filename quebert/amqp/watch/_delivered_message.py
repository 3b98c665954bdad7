"""
A message of a watched queue: what RabbitMQ has sent, and what its watch knows of it.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from quebert._protocol.properties import TIMESTAMP
from quebert.amqp.wire import NOT_BEFORE, RUN_NOW, Message
from quebert.boundaries import CancelMark
from quebert.limits import WhenFree
from quebert.task_callbacks import CallbackTask
from quebert.task_events import EndedTask

__all__ = ["DeliveredMessage"]


class RequestPlaces(Protocol):
    """
    The places of a watch for requests: says whether a message may make its request now.
    """

    @property
    def known(self) -> Mapping[str, object]:
        """
        The origins whose requests are counted; where there are none, all may.
        """

    def admits(self, message: DeliveredMessage) -> bool:
        """
        Whether the callback may request the URL of C{message} now.
        """

    def refused(
        self, message: DeliveredMessage, seconds: float, when_free: WhenFree | None
    ) -> None:
        """
        The origin of C{message} takes no request for C{seconds}, or until C{when_free}
        tells.
        """


class DeliveredMessage(Message):
    """
    A message as a callback of C{watch} gets it: a L{WatchedMessage
    <quebert.boundaries.WatchedMessage>}.  The channel of a watch makes it, since a
    second object for each message would cost more.

    @ivar came: when it came, or a little earlier, in seconds of the reactor's clock.
    @ivar errors: how often in a row the callback has failed with it.
    @ivar may_have_past: whether it may have been put back, or delivered before.
    @ivar memory: bytes that its task takes at most while it is at work; 0 where these
        are so few that nobody counts them.
    @ivar url: what its callback has requested last; empty where it has requested
        nothing, or no answer came.
    @ivar request_places: says whether it may request, while some origins are slow;
        C{None} where it always may.
    @ivar origin: that of its request, for C{request_places}, while the message has one
        there, or waits for one.
    @ivar waits_since: since when it has waited in the line of its origin; C{None} where
        it never did.
    @ivar turned_away: whether its request has to wait for others to its origin.
    @ivar refused_for: in how many seconds its origin may take a request, if it was
        turned away since the origin took none.
    @ivar was_begun: whether it was with its callback before it waited.
    @ivar cancelled_tasks: the tasks of its queue that are cancelled, by their uuids.
    @ivar hastened: whether somebody wants it to run, so that it does not wait here.
    @ivar tells_end: whether an end note or a callback task is published before it is
        acknowledged for good.
    @ivar last_attempt: the last attempt at its task, if C{tells_end}, and if its
        callback is a mediator that has come so far.
    @ivar callback_task: the callback task, if its task asks for one, and likewise.
    """

    came = 0.0
    errors = 0
    memory = 0
    may_have_past = True
    url = ""
    request_places: RequestPlaces | None = None
    origin: Any = None
    turned_away = False
    refused_for = 0.0
    waits_since: float | None = None
    was_begun = False
    cancelled_tasks: Mapping[str, CancelMark] = MappingProxyType({})
    hastened = False
    tells_end = False
    last_attempt: EndedTask | None = None
    callback_task: CallbackTask | None = None

    @property
    def runs_now(self) -> bool:
        """
        Whether somebody wants its task to run although its time has not come.
        """
        return self.hastened or (self.was_put_back and self.number_in(RUN_NOW) > 0)

    @property
    def sent_at(self) -> float | None:
        """
        When it was sent, as its property C{timestamp} tells; C{None} where it does not.
        """
        flags = self.encoded_properties[1:2]
        if not flags or not flags[0] & TIMESTAMP:  # and nothing is decoded
            return None
        try:
            sent_at = self.properties.get("timestamp")
        except ValueError:
            return None
        return sent_at if isinstance(sent_at, (int, float)) else None

    @property
    def due_at(self) -> float | None:
        """
        Until when it has waited in the broker; C{None} where it has not.
        """
        return self.number_in(NOT_BEFORE) or None

    def may_request(self, url: str) -> bool:
        """
        A callback is about to request C{url}: whether it may.  Where it may not, it is
        to answer with a C{Retry} that is no attempt, and is called again with the
        message when it may.
        """
        self.url = url
        places = self.request_places
        return places is None or not places.known or places.admits(self)

    def was_refused(self, seconds: float, when_free: WhenFree | None = None) -> None:
        """
        The origin of C{url} takes no request for C{seconds}, or until C{when_free}
        tells.
        """
        if self.request_places is not None:
            self.request_places.refused(self, seconds, when_free)

    def was_unanswered(self) -> None:
        """
        No answer came, or no request was made.
        """
        self.url = ""
