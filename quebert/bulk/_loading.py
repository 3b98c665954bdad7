"""
A run: records are read, made into batches and sent, and the state file is kept.

While the broker carries out a batch, the next one is made, and its messages are sent.
A batch is made in slices, so that the reactor has its turns in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert.amqp.wire import Wire
from quebert.bulk._batches import Batch, Digest, RecordReader
from quebert.bulk._count import Count
from quebert.bulk._patience import Patience
from quebert.bulk._rejects import Refusal, Rejects
from quebert.bulk._sending import Problem, Sending
from quebert.bulk._source import Source
from quebert.bulk._state import LoadState, Position
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ConfigError,
    ReplyCode,
    Unroutable,
)

__all__ = ["Loading"]

# Records between two turns of the reactor.
_SLICE = 100
# Tasks in a row that no queue takes, while others were taken before: more is no fault
# of these.
_IN_VAIN = 100
# Numbers of lines that a sentence tells.
_SHOWN = 20


class Loading:
    """
    One run.

    @param count: kept up to date.
    @param tell: called with a sentence for whoever looks on.
    @param step: called when C{count} has changed.
    """

    def __init__(
        self,
        source: Source,
        reader: RecordReader,
        state: LoadState,
        rejects: Rejects,
        count: Count,
        *,
        tell: Callable[[str], object],
        step: Callable[[], object],
    ) -> None:
        self._source = source
        self._reader = reader
        self._state = state
        self._rejects = rejects
        self._count = count
        self._tell = tell
        self._step = step
        self._digest = Digest()
        self._lines = 0
        self._has_begun = False
        self._batch: Batch | None = None  # the next one, or the one on its way
        self._following: Batch | None = None  # if it is made already
        self._in_vain = 0  # how many the broker has refused in a row
        self._again_from = -1  # the lines before the last batch that was sent again
        self._told = False
        self._waiting: Deferred[bool] | None = None  # for more to read

    def end(self) -> None:
        """
        Read no more, and end as soon as the last batch is carried out.
        """
        self._told = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _is_told(self) -> bool:
        """
        Whether it is to end.
        """
        return self._told

    async def run(self, wire: Wire, sending: Sending) -> None:
        """
        Go on where the state is, and to the end.  Where the connection is
        lost, it can be called again with another one.

        @raise BrokerError: the broker does not take tasks.
        @raise ConfigError: a file is wrong, or cannot be read or written.
        """
        patience = Patience(wire, self._tell, self._is_told)
        is_done = self._resolve(sending)
        if not self._has_begun:
            await self._begin_to_read(wire)
        elif is_done and self._batch is not None:
            self._counted(self._batch, [])
            self._batch = await self._next(wire)
        while self._batch is not None:
            await self._send(self._batch, wire, sending, patience)
            self._batch = await self._next(wire)
        if not self._is_told():
            self._count.ended = True
            await sending.forget()

    async def _send(
        self, batch: Batch, wire: Wire, sending: Sending, patience: Patience
    ) -> None:
        number = self._state.done.batch + 1
        position = self._begin(batch, number)
        if not batch.entries:
            self._state.end(position)
            self._counted(batch, [])
            return
        await patience.until_unblocked()
        if self._is_told():
            self._back(number)
            return
        answering = sending.send(batch, number)
        try:
            if self._following is None and self._source.is_quick:
                self._following = await self._make(wire)
                if self._following is not None:
                    sending.prepare(self._following)
        finally:
            problems = await self._problems(patience.answer(answering))
            self._end(batch, position, problems)

    async def _next(self, wire: Wire) -> Batch | None:
        following, self._following = self._following, None
        if self._is_told():
            return None
        return following or await self._make(wire)

    # -- Where it begins

    def _resolve(self, sending: Sending) -> bool:
        """
        Find out what became of a batch that was on its way when an earlier run, or the
        connection, ended.

        @return: whether it is done.
        """
        is_done = False
        state, begun = self._state, self._state.sending
        if begun is not None:
            last = sending.last
            if last is not None and not state.is_unsure and last >= begun.batch:
                state.end(begun)
                is_done = True
            elif last is None or state.is_unsure:
                if state.done.lines != self._again_from:  # else it is counted already
                    self._again_from = state.done.lines
                    self._count.again += begun.read - state.done.read
                state.end(attrs.evolve(state.done, batch=begun.batch))
        if sending.last is not None and sending.last > state.done.batch:
            raise ConfigError("the state file is older than what the broker has of it")
        self._rejects.back_to(state.done.rejects)
        return is_done

    async def _begin_to_read(self, wire: Wire) -> None:
        """
        Skip what is done, see whether it is the same, and make the first batch.
        """
        self._has_begun = True
        done = self._state.done
        while self._lines < done.lines and await self._fill():
            ready = self._source.ready
            while ready and self._lines < done.lines:
                record = ready.popleft()
                self._reader.format.takes(record)
                self._pass(record.raw, record.lines)
        if done.lines and not self._is_told():
            same = self._lines == done.lines and str(self._digest) == done.digest
            if not same:
                raise ConfigError(
                    f"the first {done.lines} lines of {self._source.name} are not those"
                    " that the state file is about"
                )
        self._count.there = done.read - done.refused
        self._count.refused = done.refused
        self._batch = await self._make(wire)

    def _pass(self, raw: bytes, lines: int) -> None:
        self._digest.add(raw)
        self._lines += lines

    # -- Batches

    async def _fill(self) -> bool:
        """
        Whether there are records that are ready.
        """
        if self._source.ready:
            return True
        if self._is_told():
            return False
        self._waiting = Deferred.fromCoroutine(self._source.fill())
        try:
            return await self._waiting
        except CancelledError:
            if self._is_told():
                return False
            raise
        finally:
            self._waiting = None

    async def _make(self, wire: Wire) -> Batch | None:
        """
        The next batch, or C{None} at the end.  It is not filled up where one would have
        to wait for more.
        """
        if self._is_told() or not await self._fill():
            return None
        batch, ready = Batch(behind=self._lines), self._source.ready
        while ready and batch.room > 0:
            for _ in range(_SLICE):
                if not ready or batch.room <= 0:
                    break
                record = ready.popleft()
                self._reader.add(record, batch)
                self._pass(record.raw, record.lines)
            await deferLater(wire.clock, 0)
        batch.lines, batch.digest = self._lines, str(self._digest)
        return batch

    def _begin(self, batch: Batch, number: int) -> Position:
        """
        Note that a batch is about to be sent.
        """
        done = self._state.done
        assert batch.behind == done.lines
        position = Position(
            batch=number,
            lines=batch.lines,
            digest=batch.digest,
            read=done.read + batch.read,
            refused=done.refused + len(batch.refusals),
            rejects=self._rejects.write(batch.refusals),
        )
        self._state.begin(position)
        return position

    async def _problems(self, answer: Awaitable[list[Problem]]) -> list[Problem]:
        """
        What the broker has not taken of a batch.
        """
        try:
            return await answer
        except BrokerRefused as e:
            # Else a message is too large, and RabbitMQ has refused all.
            if e.code == ReplyCode.PRECONDITION_FAILED and "larger than" not in str(e):
                self._state.unsure()
            raise

    def _end(self, batch: Batch, position: Position, problems: list[Problem]) -> None:
        """
        Note what became of it.

        @raise BrokerError: the broker has taken none.
        """
        if self._is_refused(batch, problems):
            self._back(position.batch)
            entry, error = problems[0]
            place = f"{self._source.name}, line {entry.record.line}"
            raise BrokerError(f"{place}, and all that was sent with it: {error}")
        if problems:
            refusals = [Refusal(entry.record, str(e)) for entry, e in problems]
            position = attrs.evolve(
                position,
                refused=position.refused + len(refusals),
                rejects=self._noted(batch, refusals),
            )
        self._state.end(position)
        self._counted(batch, problems)

    def _noted(self, batch: Batch, refusals: list[Refusal]) -> int:
        """
        Write what the broker has not taken of a batch into the file of refused lines.

        @raise ConfigError: it cannot be written.  What was taken is counted, and the
            next run sends the batch again: else the refused lines would be nowhere.
        """
        try:
            return self._rejects.write(refusals)
        except ConfigError as e:
            self._count.added += len(batch.entries) - len(refusals)
            try:
                self._state.unsure()
            except ConfigError as other:
                lines = ", ".join(str(each.record.line) for each in refusals[:_SHOWN])
                more = "" if len(refusals) <= _SHOWN else " and others"
                raise ConfigError(
                    f"{e}; {other}; so nothing tells that no queue took the lines"
                    f" {lines}{more}: add them again"
                ) from None
            raise

    def _is_refused(self, batch: Batch, problems: list[Problem]) -> bool:
        """
        Whether no more is taken, rather than some lines.  No queue takes the tasks of
        some lines where those have another kind; a batch may have no other lines.
        """
        if len(problems) < len(batch.entries):
            self._in_vain = 0
            return False
        self._in_vain += len(problems)
        return (
            self._in_vain > _IN_VAIN
            or not (self._count.added or self._count.there)
            or not all(isinstance(error, Unroutable) for _, error in problems)
        )

    def _back(self, number: int) -> None:
        """
        Note that nothing of a batch was taken.
        """
        done = attrs.evolve(self._state.done, batch=number)
        self._rejects.back_to(done.rejects)
        self._state.end(done)

    def _counted(self, batch: Batch, problems: list[Problem]) -> None:
        count = self._count
        count.added += len(batch.entries) - len(problems)
        count.refused += len(batch.refusals) + len(problems)
        count.consumed = self._source.consumed
        self._step()
