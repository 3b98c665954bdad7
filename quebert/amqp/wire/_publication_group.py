"""
Messages that are published together: what is written at once, and one answer for all.

It knows no time.  Who does not want to wait any longer cancels the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from quebert._protocol.content import whole_content
from quebert.amqp.wire._publications import NotSent, Publication, Publications
from quebert.errors import BrokerError, ChannelLost

__all__ = ["UNKNOWN", "GroupWrites", "Outgoing", "PublicationGroup"]

#: Why a message is not confirmed in time.
UNKNOWN = "nobody knows whether the broker has the message: it confirms nothing"
#: Exchange, routing key, body, and encoded properties.
Outgoing = tuple[str, str, bytes, bytes]


class GroupWrites:
    """
    Gathers the frames of messages, until it has L{end}ed.

    @param channel: the number of the channel.
    @param most: bytes of a body that one frame can hold.
    @param write: writes the head and the body of one message.
    """

    def __init__(
        self, channel: int, most: int, write: Callable[[bytes, bytes], None]
    ) -> None:
        self._channel = channel
        self._most = most
        self._write = write
        self._gathered: list[bytes] = []
        self._has_ended = False

    def send(self, head: bytes, body: bytes) -> None:
        """
        Write a message, now or with those that follow.
        """
        if self._has_ended:
            self._write(head, body)
        elif len(body) <= self._most:
            self._gathered.append(whole_content(head, self._channel, body))
        else:
            self._write_gathered()
            self._write(head, body)

    def end(self) -> None:
        """
        Write what was gathered.
        """
        self._has_ended = True
        self._write_gathered()

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._write(b"".join(gathered), b"")


class PublicationGroup:
    """
    @param publications: those of the channel.
    @param size: how many messages there are.
    @ivar answered: fires with C{None} for each message that the broker has confirmed,
        or with why it has not; at once, when it is cancelled.
    """

    def __init__(self, publications: Publications, size: int) -> None:
        self.answered: Deferred[list[BrokerError | None]] = Deferred(self._give_up)
        self._publications = publications
        self._members: list[Publication] = []
        self._problems: list[BrokerError | None] = [None] * size
        self._open = set(range(size))
        if not size:
            self.answered.callback([])

    def put(self, publication: Publication) -> None:
        """
        Send one as soon as there is room.
        """
        self._members.append(publication)
        self._publications.put(publication)

    def tell(self, number: int, problem: BrokerError | None) -> None:
        """
        There is an answer for one.
        """
        if number not in self._open:
            return  # nobody wants to know any more
        self._open.remove(number)
        self._problems[number] = problem
        if not self._open:
            self._members.clear()  # which have the group: no garbage collection needed
            self.answered.callback(self._problems)

    def _give_up(self, answered: object) -> None:
        for each in self._members:
            if self._publications.take_back(each):
                each.settle(NotSent("the broker takes no messages for now"))
        for number in sorted(self._open):
            self.tell(number, ChannelLost(UNKNOWN))
