"""
What is published on one channel: sent within limits, returned, confirmed.

Pure bookkeeping: it is given what sends each, and told what the broker says of
them.  It knows no time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice, takewhile

import attrs
from twisted.internet.defer import Deferred

from quebert._text import printable
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    PublishRefused,
    Unroutable,
)

__all__ = [
    "LAST_TAG",
    "MAX_SENT",
    "MAX_SENT_BYTES",
    "NotSent",
    "Publication",
    "Publications",
    "ReturnedMessage",
    "Unconfirmed",
]

#: How many publications may be sent and not confirmed; others wait for them.
MAX_SENT = 5_000
#: And with how many bytes, unless it is a single one.
MAX_SENT_BYTES = 64 * 2**20
# How many are looked at, of which some may have waited for long.
_OLDEST = 1_000

#: No publication of a channel has a higher tag.
LAST_TAG = 2**64 - 1


class NotSent(ChannelLost):
    """
    The channel went away before the publication was sent: the broker has not
    got it for certain.
    """

    added = False


class Unconfirmed(ChannelLost):
    """
    The channel was closed before the confirm: the broker may have the message.

    @ivar refusal: why the broker closed it, which may be because of another message;
        C{None} where the connection was lost.
    """

    def __init__(self, error: BrokerError) -> None:
        super().__init__(f"nobody knows whether the broker has the message: {error}")
        self.refusal = error if isinstance(error, BrokerRefused) else None


@attrs.define(eq=False)
class Publication:
    """
    A message that waits to be sent, and then for its confirm.

    @ivar send: writes its frames.
    @ivar size: bytes of what is sent.
    @ivar tell: called when it is confirmed, or with why it is not.
    @ivar problem: the error to tell, if the broker has returned the message.
    """

    send: Callable[[], None]
    size: int
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    tell: Callable[[BrokerError | None], None]
    problem: BrokerError | None = None

    def is_like(self, returned: ReturnedMessage) -> bool:
        """
        Whether it may be what was returned.
        """
        return (
            self.problem is None
            and self.body == returned.body
            and self.routing_key == returned.routing_key
            and self.exchange == returned.exchange
        )

    def words(self) -> str:
        """
        The words for its confirm.
        """
        where = f"exchange {self.exchange!r}, key {self.routing_key!r}"
        return f"the confirm of a message ({where})"

    def settle(self, problem: BrokerError | None) -> None:
        """
        The broker has answered, or never will.
        """
        self.tell(self.problem or problem)


@attrs.define(eq=False)
class ReturnedMessage:
    """
    A C{basic.return}, whose content comes after it.

    @ivar text: why the broker returns the message (reply-text).
    """

    text: str
    exchange: str
    routing_key: str
    body: bytes = b""
    encoded_properties: bytes = b""


class Publications:
    """
    The publications of one channel in confirm mode.

    @param blocked: whether the broker reads none of them for now.
    @ivar unconfirmed_bytes: bytes of what was sent and is not confirmed.
    """

    def __init__(self, blocked: Callable[[], bool]) -> None:
        self._blocked = blocked
        self._unsent: OrderedDict[Publication, None] = OrderedDict()
        self._unconfirmed: dict[int, Publication] = {}
        self.unconfirmed_bytes = 0
        self._tag = 0

    def __len__(self) -> int:
        """
        How many have no answer yet.
        """
        return len(self._unsent) + len(self._unconfirmed)

    def oldest(self) -> Collection[Publication]:
        """
        Of those for each address, the one that has waited for its confirm for longest,
        among those that have waited for longest.
        """
        first: dict[tuple[str, str], Publication] = {}
        for each in islice(self._unconfirmed.values(), _OLDEST):
            first.setdefault((each.exchange, each.routing_key), each)
        return first.values()

    def add(
        self,
        send: Callable[[], None],
        size: int,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
    ) -> Deferred[None]:
        """
        Send one as soon as there is room; the Deferred fires with its confirm.
        One that is cancelled before is not sent.

        @param send: writes its frames.
        @param size: bytes of what is sent.
        """
        confirmed: Deferred[None] = Deferred(
            lambda _: self._unsent.pop(publication, None)
        )
        publication = Publication(
            send,
            size,
            exchange,
            routing_key,
            properties,
            body,
            partial(_tell, confirmed),
        )
        self.put(publication)
        return confirmed

    def put(self, publication: Publication) -> None:
        """
        Send one as soon as there is room.
        """
        if not self._unsent and self._has_room(publication.size):
            self._send(publication)
        else:
            self._unsent[publication] = None

    def take_back(self, publication: Publication) -> bool:
        """
        Do not send one, if it is not sent yet.

        @return: whether it was not.
        """
        is_unsent = publication in self._unsent
        if is_unsent:
            del self._unsent[publication]
        return is_unsent

    def send_waiting(self) -> None:
        """
        Send those for which there is room by now.
        """
        while self._unsent and self._has_room(next(iter(self._unsent)).size):
            self._send(self._unsent.popitem(last=False)[0])

    def _has_room(self, size: int) -> bool:
        if not self._unconfirmed:
            return not self._blocked()
        return (
            len(self._unconfirmed) < MAX_SENT
            and self.unconfirmed_bytes + size <= MAX_SENT_BYTES
            and not self._blocked()
        )

    def _send(self, publication: Publication) -> None:
        self._tag += 1
        self._unconfirmed[self._tag] = publication
        self.unconfirmed_bytes += publication.size
        publication.send()

    # -- What the broker says

    def confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """
        C{basic.ack}, or C{basic.nack} where it was not C{taken}.
        """
        why = "the broker refused the message (basic.nack)"
        problem = None if taken else PublishRefused(why)
        waiting = self._unconfirmed
        up_to = takewhile(lambda each: each <= tag, waiting)
        tags = list(up_to) if multiple else [tag]
        for each in tags:
            publication = waiting.pop(each, None)
            if publication is not None:  # else unknown, or ended meanwhile
                self.unconfirmed_bytes -= publication.size
                publication.settle(problem)
        self.send_waiting()

    def returned(self, returned: ReturnedMessage) -> None:
        """
        The broker tells of a return before it confirms, but not of which publication.
        It is the oldest one with the same exchange, key and body, and if possible with
        the same properties.
        """
        # Not a list: thousands may be outstanding, and the first of them is it.
        alike = (each for each in self._unconfirmed.values() if each.is_like(returned))
        first = next(alike, None)
        properties = returned.encoded_properties
        if first is not None and first.properties == properties:
            publication: Publication | None = first
        else:
            # A broker may write properties in another way than we did.
            same = (each for each in alike if each.properties == properties)
            publication = next(same, first)
        if publication is not None:
            if returned.exchange:
                where = f"exchange {returned.exchange!r}, key {returned.routing_key!r}"
                text = f"no queue takes this message ({where})"
            else:  # each queue has its name for a key there
                text = f"there is no queue {returned.routing_key!r}"
            publication.problem = Unroutable(f"{text}: {returned.text}")

    def end(self, error: BrokerError) -> None:
        """
        The channel is closed: nothing more will be heard.
        """
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        unsent, self._unsent = self._unsent, OrderedDict()
        for publication in unconfirmed.values():
            publication.settle(_unknown(publication, error))
        for publication in unsent:
            publication.settle(NotSent(f"the message was not sent: {error}"))


def _tell(confirmed: Deferred[None], problem: BrokerError | None) -> None:
    if confirmed.called:
        return  # cancelled: nobody wants to know
    if problem is None:
        confirmed.callback(None)
    else:
        confirmed.errback(problem)


def _unknown(publication: Publication, error: BrokerError) -> BrokerError:
    no_such_exchange = printable(f"no exchange '{publication.exchange}'")
    if isinstance(error, BrokerRefused) and no_such_exchange in str(error):
        return Unroutable(f"no queue takes this message: {error}")
    return Unconfirmed(error)
