"""
Adding many tasks, blocking: a window of them is unconfirmed at any time.

An item is read when there is room for it in the window.  So memory is bounded, however
many items there are, and a broker that is slow slows down their source.

The broker's answers are read while tasks are sent, and the window has few bytes: a
broker that returns tasks, and cannot get rid of them, might read no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from quebert.errors import (
    BadTask,
    BrokerError,
    MessageRefused,
    PublishRefused,
)
from quebert.producer._connection import Answer, PublishingConnection
from quebert.producer._deadline import StreamEnded, TimeIsUp
from quebert.producer._items import (
    OnResult,
    ResultTeller,
    TaskResult,
    check_window,
    item_letter,
)
from quebert.producer._letter import Letter
from quebert.producer._publishing import BlockingPublisher, Limit
from quebert.producer._sending import OutgoingLetter

__all__ = ["BlockingWindow"]

#: Bytes that all bodies of a window may have, unless it is a single one.
WINDOW_BYTES = 2**20
#: Tasks that are sent, and seconds that pass, before answers are looked for.
_TOGETHER = 64
_LOOKING = 0.5
#: A larger one has the window for itself: a broker that finds it too large closes the
#: channel, and does not tell which of the tasks before it has been taken.
_SURELY_TAKEN = 2**18
#: Seconds for which a connection is used at least.  RabbitMQ 3 may refuse all that is
#: published on a channel to a quorum queue that was full once; where it is full still,
#: another channel does not help.
_LASTING = 1.0


@attrs.frozen
class _SentItem:
    """
    An item whose task is sent.
    """

    index: int
    item: Mapping[str, Any]
    uuid: str
    sending: OutgoingLetter

    @property
    def letter(self) -> Letter:
        return self.sending.letter

    @property
    def size(self) -> int:
        return len(self.letter.body)

    def result(self, error: Exception | None) -> TaskResult:
        self.sending.ended(error)
        return TaskResult(self.index, self.item, self.uuid, error)


class BlockingWindow:
    """
    The tasks of one C{add_tasks} that the broker has not confirmed.

    @param now: the time of day, in seconds since the epoch.
    @param patience: seconds for each wait.
    @param size: how many tasks there may be.
    @raise ConfigError: that is no number from 1 on.
    """

    def __init__(
        self,
        publisher: BlockingPublisher,
        on_result: OnResult,
        now: Callable[[], float],
        patience: float,
        size: int,
    ) -> None:
        check_window(size)
        self._publisher = publisher
        self._teller = ResultTeller(on_result)
        self._now = now
        self._patience = patience
        self._size = size
        self._unconfirmed: dict[int, _SentItem] = {}
        self._bytes = 0
        self._connection: PublishingConnection | None = None
        self._connected_at = 0.0
        self._looked_at = 0.0
        self._has_refused = False  # the connection

    def add_all(self, items: Iterable[Mapping[str, Any]]) -> int:
        """
        Add the tasks; return how many the broker has confirmed, once the result of each
        is told.

        @raise BrokerError: no more can be added.
        @raise Exception: what C{items} or C{on_result} raised first.
        """
        slot = self._publisher.take(Limit.of(self._patience))
        try:
            self._connection = self._publisher.kept(slot)
            self._read(iter(items))
            self._drain()
        except BaseException:
            if self._connection is not None:
                self._connection.close()
            slot.give_back()
            raise
        if self._has_refused:
            self._leave()
        slot.give_back(self._connection)
        self._connection = None
        error, self._teller.error = self._teller.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame
        return self._teller.added

    def _read(self, items: Iterator[Mapping[str, Any]]) -> None:
        index = 0
        while self._teller.error is None:
            try:
                item = next(items)
            except StopIteration:
                return
            except Exception as e:
                self._teller.end_with(e)
                return
            self._begin(index, item)
            index += 1

    def _begin(self, index: int, item: Mapping[str, Any]) -> None:
        """
        Send an item; return when there is room for another one.
        """
        try:
            uuid, letter = item_letter(item, self._now())
        except BadTask as e:
            self._teller.tell(TaskResult.without_task(index, item, e))
            return
        except Exception as e:  # of the item, or of a signal handler
            self._teller.tell(TaskResult.without_task(index, item, e))
            self._teller.end_with(e)
            return
        sending = OutgoingLetter(self._publisher.exchange, letter)
        sent = _SentItem(index, item, uuid, sending)
        if sent.size > _SURELY_TAKEN:
            self._drain()
        self._send(sent)
        while self._unconfirmed and self._is_full(sent.size):
            self._take_answers()

    def _is_full(self, last: int) -> bool:
        return (
            self._is_to_be_replaced
            or last > _SURELY_TAKEN
            or len(self._unconfirmed) >= self._size
            or self._bytes > WINDOW_BYTES
        )

    @property
    def _is_to_be_replaced(self) -> bool:
        lasted = time.monotonic() - self._connected_at
        return self._has_refused and lasted >= _LASTING

    def _drain(self) -> None:
        while self._unconfirmed:
            self._take_answers()

    def _send(self, sent: _SentItem) -> None:
        """
        Send an item.  If the connection is lost before that is done, send it over
        another one.
        """
        for last in (False, True):
            limit = Limit.of(self._patience)
            connection = self._connected(sent, limit)
            if connection is None:
                return
            try:
                self._look(sent, connection, limit)
                exchange = self._publisher.exchange
                tag = connection.publish(exchange, sent.letter, limit.deadline)
            except StreamEnded as e:
                self._lost(e, connection, limit)
                if last or isinstance(e, TimeIsUp):
                    problem = self._publisher.not_confirmed(
                        e, connection, sent.letter, limit, sent=False
                    )
                    self._teller.tell(sent.result(problem))
                    if _ends_all(problem) or isinstance(e, TimeIsUp):
                        self._teller.end_with(problem)
                    return
            else:
                self._unconfirmed[tag] = sent
                self._bytes += sent.size
                return

    def _look(
        self, sent: _SentItem, connection: PublishingConnection, limit: Limit
    ) -> None:
        """
        Now and then, take in what the broker has said.  Where the source of the items
        is slow, it may have given the connection up.
        """
        late = time.monotonic() - self._looked_at >= _LOOKING
        if late or connection.blocked or sent.index % _TOGETHER == 0:
            connection.when_unblocked(limit.deadline)
            self._take(connection.answered())
            self._looked_at = time.monotonic()

    def _connected(self, sent: _SentItem, limit: Limit) -> PublishingConnection | None:
        if self._is_to_be_replaced and not self._unconfirmed:
            self._leave()
        if self._connection is None:
            try:
                self._connection = self._publisher.connect(limit)
            except StreamEnded as e:
                problem = self._publisher.not_connected(e)
                self._teller.tell(sent.result(problem))
                self._teller.end_with(problem)
            self._connected_at = time.monotonic()
        return self._connection

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        self._has_refused = False
        if connection is not None:
            self._publisher.leave(connection)

    def _take_answers(self) -> None:
        """
        Wait for answers, and tell them.
        """
        connection = self._connection
        assert connection is not None
        limit = Limit.of(self._patience)
        try:
            answers = connection.answers(limit.deadline)
        except StreamEnded as e:
            self._lost(e, connection, limit)
        else:
            self._take(answers)

    def _take(self, answers: Iterable[Answer]) -> None:
        for tag, problem in answers:
            sent = self._unconfirmed.pop(tag)
            self._bytes -= sent.size
            if isinstance(problem, PublishRefused):
                self._has_refused = True
            self._teller.tell(sent.result(problem))

    def _lost(
        self, ended: StreamEnded, connection: PublishingConnection, limit: Limit
    ) -> None:
        """
        The connection has ended, or the broker does not answer in time: nobody knows
        what it has of the tasks that are not confirmed.
        """
        self._take(connection.answered())
        self._connection, self._has_refused = None, False
        connection.close()
        lost, self._unconfirmed = self._unconfirmed, {}
        self._bytes = 0
        for each in lost.values():
            problem = self._publisher.not_confirmed(
                ended, connection, each.letter, limit
            )
            if len(lost) > 1:
                problem.added = None  # the broker does not tell which task it refused
            self._teller.tell(each.result(problem))
            if _ends_all(problem) or isinstance(ended, TimeIsUp):
                self._teller.end_with(problem)


def _ends_all(problem: BrokerError) -> bool:
    """
    Whether no other task would be taken, either.
    """
    return problem.final and not isinstance(problem, MessageRefused)
