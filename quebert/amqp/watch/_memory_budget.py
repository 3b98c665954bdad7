"""
How much memory tasks at work may take, those of all watches of a client together.  That
holds beside the number of messages that each watch has.

A task beyond the budget is not refused.  It waits for a place, not decoded, until
others have ended.  No other begins while one that came before waits for the budget, so
that small tasks do not keep a large one waiting for ever.

Whoever may publish to a queue chooses how large its tasks are, and how long they take.
Two rules keep them from stopping all others:

 1. A task that takes very little is free: it is not counted, and waits for nobody.
 2. Where there are several watches, the tasks of one may take half of what the others
    leave, or be one task.  So a watch leaves something to each of the others.  Who has
    to wait for tasks of its own watch alone keeps no other waiting.

How much memory a task takes, L{quebert.amqp.watch._task_memory} tells.  The budget is
C{maxMemory} of L{TxAMQPClient<quebert.amqp.TxAMQPClient>}, and in a file C{max_memory}
of L{Service<quebert.config.Service>}; if that changes, the service makes another client
(C{_kind_of_client} in C{service/_watches}).  Nobody looks at the memory of the process
itself.  Executors count by themselves (C{executor/_memory}).
"""

from __future__ import annotations

from collections.abc import Callable

from quebert._bounds import AT_WORK

__all__ = ["Budget", "Part"]

# A free task takes this part of the budget: as many as can be at work in one watch take
# about as much as there is.
_FREE = 2_048

Again = Callable[[], None]


class Budget:
    """
    What the L{Part}s of all watches take.

    @param most: bytes that all tasks at work take together.
    @ivar most: the same.
    @ivar free: bytes of a task that is not counted.
    @ivar taken: how many they take now.
    @ivar parts: of the watches that there are.
    @ivar line: what asks again, in the order in which it was refused.
    @ivar aside: what asks again, and waits for tasks of its own watch.
    """

    def __init__(self, most: int = AT_WORK) -> None:
        self.most = most
        self.free = most // _FREE
        self.taken = 0
        self.parts: set[Part] = set()
        self.line: dict[Again, None] = {}
        self.aside: dict[Again, None] = {}

    def go_on(self) -> None:
        """
        Some memory is free again: whoever waits for it may ask again.
        """
        asking, self.line, self.aside = [*self.line, *self.aside], {}, {}
        for again in asking:
            again()


class Part:
    """
    What the tasks of one watch take.

    @ivar taken: bytes.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.taken = 0
        budget.parts.add(self)

    def end(self) -> None:
        """
        The watch is over.
        """
        self._budget.parts.discard(self)

    def admits(self, memory: int, again: Again) -> bool:
        """
        Whether a task of the watch may begin: it fits beside what is taken, and nobody
        waits in the line.  One that is larger than the whole budget begins only alone.

        @param memory: bytes that it takes.
        @param again: called when others have ended, where it may not.
        """
        budget = self._budget
        if not budget.taken:
            return True
        left = budget.most - budget.taken
        mine, others = self.taken + memory, len(budget.parts) > 1
        if self.taken and others and mine > (left + self.taken) // 2:
            budget.aside[again] = None
            return False
        if budget.line or memory > left:
            budget.line[again] = None
            return False
        return True

    def forget(self, again: Again) -> None:
        """
        What asked has no message that waits any more.
        """
        self._budget.line.pop(again, None)
        self._budget.aside.pop(again, None)

    def take(self, memory: int) -> None:
        """
        A task begins.
        """
        self.taken += memory
        self._budget.taken += memory

    def give(self, memory: int) -> None:
        """
        A task has ended.
        """
        budget = self._budget
        self.taken -= memory
        budget.taken -= memory
        budget.go_on()
