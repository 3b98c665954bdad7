"""
The cancelled tasks of one queue, as one mediator knows them.  Pure.

A uuid has one entry, also if it was cancelled several times.  Such an entry may mean
several tasks, so others are not told that a mediator has met it.
"""

from __future__ import annotations

from collections.abc import Iterable

from quebert.amqp.coordination._cancellation import MOST_CANCELLED, Cancellation

__all__ = ["KnownCancelled"]


class KnownCancelled:
    """
    @ivar marks: by the uuids of the tasks.  It is the same object always, and changes.
    """

    def __init__(self) -> None:
        self.marks: dict[str, Cancellation] = {}

    def __len__(self) -> int:
        return len(self.marks)

    @property
    def is_full(self) -> bool:
        """
        Whether no more are to come: those who cancel tasks heed L{MOST_CANCELLED}.
        """
        return len(self.marks) >= 2 * MOST_CANCELLED

    def add(self, some: Iterable[Cancellation]) -> None:
        """
        Know that these tasks are cancelled.
        """
        marks = self.marks
        for each in some:
            known = marks.setdefault(each.uuid, each)
            if known.at != each.at:
                marks[each.uuid] = known.and_another(each)
            elif each.kept < known.kept and not known.several:  # it was met
                marks[each.uuid] = each

    def met(self, uuid: str, now: float) -> Cancellation | None:
        """
        A mediator has dropped the task: what is to be known of it from now on; C{None}
        where nothing changes.
        """
        known = self.marks.get(uuid)
        if known is None or known.several:
            return None
        changed = known.met(now)
        if changed == known:
            return None
        self.marks[uuid] = changed
        return changed

    def forget_old(self, now: float) -> None:
        """
        Forget those whose time is over.
        """
        for uuid in [u for u, each in self.marks.items() if each.until <= now]:
            del self.marks[uuid]
