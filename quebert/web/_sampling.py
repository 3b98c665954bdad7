"""
Samples of attempts, for listeners: a number, and some of the attempts.  Pure.

Theory of operation.  At 20,000 attempts a second nobody reads them, and a browser
could not show them.  So each listener gets a number and the newest L{SHOWN} twice a
second.  Records stay as they came in their batch until some are shown.  A batch is gone
through once, however many listeners there are: by queues, and not at all where no
listener asks for a single queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from quebert.events import AttemptBatch, AttemptRecord
from quebert.history import PastAttempt
from quebert.web._views import AttemptPage

__all__ = ["SHOWN", "Sample", "Samples"]

#: Attempts that are shown at a time.
SHOWN = 30

_Shown = tuple[AttemptRecord, str]


class Sample:
    """
    Attempts since the last look.
    """

    def __init__(self) -> None:
        self._count = 0
        self._shown: deque[_Shown] = deque(maxlen=SHOWN)

    def add(self, count: int, newest: Iterable[_Shown]) -> None:
        """
        There were some more, of which these are the newest.
        """
        self._count += count
        self._shown.extend(newest)

    @property
    def mark(self) -> object:
        """
        The same for samples that are the same now; C{None} for an empty one.
        """
        if not self._count:
            return None
        first, last = self._shown[0], self._shown[-1]
        return self._count, id(first[0]), id(last[0]), len(self._shown)

    def take(self) -> AttemptPage:
        """
        The attempts since the last call, the newest first.
        """
        shown = tuple(PastAttempt.of(*each) for each in reversed(self._shown))
        page = AttemptPage(count=self._count, shown=shown)
        self._count = 0
        self._shown.clear()
        return page


class Samples:
    """
    A sample for each kind of listener.
    """

    def __init__(self) -> None:
        self._all: list[Sample] = []
        self._some: list[tuple[Callable[[str], bool], Sample]] = []

    def open(self, sees: Callable[[str], bool] | None) -> Sample:
        """
        Begin a sample.

        @param sees: whether a queue is in it; C{None} for each queue.
        """
        sample = Sample()
        if sees is None:
            self._all.append(sample)
        else:
            self._some.append((sees, sample))
        return sample

    def close(self, sample: Sample) -> None:
        """
        End a sample.
        """
        self._all = [each for each in self._all if each is not sample]
        self._some = [pair for pair in self._some if pair[1] is not sample]

    def add(self, batch: AttemptBatch) -> None:
        """
        Attempts have ended.
        """
        records, mediator = batch.records, batch.mediator
        if self._all:
            newest = [(each, mediator) for each in records[-SHOWN:]]
            for sample in self._all:
                sample.add(len(records), newest)
        if self._some:
            by_queue: dict[str, list[AttemptRecord]] = {}
            for record in records:
                by_queue.setdefault(record.queue, []).append(record)
            for queue, found in by_queue.items():
                newest = [(each, mediator) for each in found[-SHOWN:]]
                for sees, sample in self._some:
                    if sees(queue):
                        sample.add(len(found), newest)
