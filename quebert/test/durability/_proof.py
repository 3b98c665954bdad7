"""
What is to hold at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

import attrs

from quebert.test.durability._clients import ENDED, AcceptedTask, Told
from quebert.test.durability._executor import CountingExecutor
from quebert.test.durability._orders import DELETE, RUN

__all__ = ["Proof"]

# Results of a deletion, but for the one that no attempt begins any more: one that was
# under way may come, and is the last.
_TOO_LATE = "too_late"
# A mediator did not answer, and may begin one.
_MARKED = "marked"
# No attempt at it was under way, and it was not done.
_CANCELLED = "cancelled"
# Seconds after a kill in which a mediator may not know that its connection is lost.
_UNNOTICED = 1.0
# Broken lines that are shown of each kind.
_SHOWN = 5


@attrs.frozen
class Proof:
    """
    @ivar told: what clients were told.
    @ivar executor: what was done.
    @ivar named: the numbers of tasks that have names.
    @ivar losses: when a mediator or RabbitMQ was killed, in seconds since the epoch.
    @ivar states: of the rows that are neither ended nor deleted, by their uuids.
    """

    told: Told
    executor: CountingExecutor
    named: Set[int]
    losses: Sequence[float] = ()
    states: Mapping[str, str] = attrs.field(factory=dict)

    def missing(self) -> list[AcceptedTask]:
        """
        Tasks that are not done, and were not deleted.  One that is to run now, and was
        never found for that, waits for its time, and is told as an unexpected answer.
        """
        return [
            each
            for each in self.told.accepted.values()
            if each.fate != DELETE
            and not (each.order.then == RUN and each.fate != RUN)
            and not self.executor.done[each.label]
        ]

    def lines(self) -> Mapping[str, Sequence[str]]:
        """
        What is to be empty, by its name.
        """
        return {
            "unexpected answers": self.told.broken,
            "tasks lost": [str(each) for each in self.missing()],
            "names accepted twice": list(self._names_twice()),
            "names taken by no task": list(self._names_by_none()),
            "keys with two tasks": list(self._keys_twice()),
            "names done twice": list(self._names_done_twice()),
            "deleted tasks that ran": list(self._deleted_ran()),
            "cancelled tasks that were done": list(self._cancelled_done()),
            "rows without an end": [f"{u}: {s}" for u, s in self.states.items()],
        }

    def broken(self) -> str:
        """
        The broken lines with some examples; empty if all hold.
        """
        return "\n".join(
            f"{name}: {len(found)}, such as {'; '.join(found[:_SHOWN])}"
            for name, found in self.lines().items()
            if found
        )

    def _names_twice(self) -> Iterator[str]:
        for name, tasks in self.told.by_name().items():
            uuids = {each.uuid for each in tasks}
            if len(uuids) > 1:
                yield f"{name}: {uuids}"

    def _names_done_twice(self) -> Iterator[str]:
        for number, labels in self._labels().items():
            if number in self.named and len(labels) > 1:
                yield f"{number}: {labels}"

    def _names_by_none(self) -> Iterator[str]:
        """
        Names that were refused, although no task of that name was answered or done.
        """
        accepted, labels = self.told.by_name(), self._labels()
        for queue, name in self.told.taken:
            if (queue, name) not in accepted and int(name[1:]) not in labels:
                yield f"{queue}: {name}"

    def _labels(self) -> Mapping[int, set[str]]:
        """
        Those that were attempted, by the numbers of their orders.
        """
        found: defaultdict[int, set[str]] = defaultdict(set)
        for label in self.executor.attempts:
            found[int(label.partition("/")[0])].add(label)
        return found

    def _keys_twice(self) -> Iterator[str]:
        for key, uuids in self.told.by_key().items():
            if len(uuids) > 1:
                yield f"{key}: {uuids}"

    def _deleted_ran(self) -> Iterator[str]:
        for each in self.told.accepted.values():
            if each.fate == DELETE and each.told != ENDED:
                times = self.executor.attempts.get(each.label, ())
                late = [time for time in times if time > each.told_at]
                allowed = 1 if each.told in (_TOO_LATE, _MARKED) else 0
                if len(late) > allowed:
                    yield f"{each}, attempted {times}"

    def _cancelled_done(self) -> Iterator[str]:
        """
        Tasks that were done before they were deleted.  Where the mediator or RabbitMQ
        was killed after the attempt, nobody knows of it, and RabbitMQ had the task.
        """
        for each in self.told.accepted.values():
            if each.fate == DELETE and each.told == _CANCELLED:
                times = self.executor.attempts.get(each.label, ())
                if self.executor.done[each.label] and not self._is_lost(
                    max(times), each.told_at
                ):
                    yield f"{each}, attempted {times}"

    def _is_lost(self, attempted: float, told_at: float) -> bool:
        """
        Whether an attempt may have ended unknown to all.
        """
        return any(
            attempted <= loss + _UNNOTICED and loss <= told_at for loss in self.losses
        )
