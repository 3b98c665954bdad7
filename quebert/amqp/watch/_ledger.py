"""
The ledger: all deliveries of a watch that RabbitMQ waits for.  Pure.

An event goes in; the answer says whether the delivery was still ours, so that it is to
be acknowledged or given back.  The ledger knows no channel, no callback and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Generic, Protocol, TypeVar

from quebert._machine import WrongEvent
from quebert.amqp.watch._delivery import TABLE, Event, Fate, State

__all__ = ["Counts", "Delivered", "Ledger", "WrongEvent"]


class Delivered(Protocol):
    """
    A message that RabbitMQ has delivered.

    @ivar consumer_tag: the consumer that got it.
    """

    body: bytes
    consumer_tag: str


M = TypeVar("M", bound=Delivered)

# Python looks up a member of an Enum slowly, and uses it slowly as an index.
_WAITING, _RUNNING = int(State.WAITING), int(State.RUNNING)


class Counts:
    """
    What became of the messages so far::

        received == (done + retried + discarded + buried + returned
                     + watcher.in_flight)

    @param fates: how many messages had each L{Fate
        <quebert.amqp.watch._delivery.Fate>}.
    @param live: all that are neither settled nor lost.
    """

    def __init__(self, fates: Sequence[int], live: Sized) -> None:
        self._fates = fates
        self._live = live

    def __repr__(self) -> str:
        fates = ", ".join(f"{each.name.lower()}={self._fates[each]}" for each in Fate)
        return f"<Counts received={self.received}, {fates}>"

    @property
    def received(self) -> int:
        """
        How many have come.
        """
        return len(self._live) + sum(self._fates)

    @property
    def done(self) -> int:
        """
        How many are done.
        """
        return self._fates[Fate.DONE]

    @property
    def retried(self) -> int:
        """
        How many were put back, to be attempted again.
        """
        return self._fates[Fate.RETRIED]

    @property
    def discarded(self) -> int:
        """
        How many were dropped.
        """
        return self._fates[Fate.DISCARDED]

    @property
    def buried(self) -> int:
        """
        How many were moved to C{<queue>.dead}.
        """
        return self._fates[Fate.BURIED]

    @property
    def returned(self) -> int:
        """
        How many were not finished here: given back (stop, pause, rate), lost with the
        channel, or replaced by a copy.
        """
        return self._fates[Fate.RETURNED]


class Ledger(Generic[M]):
    """
    The deliveries of a watch, each in its state.  One that is settled or lost is not in
    it any more.

    @param table: as L{TABLE<quebert.amqp.watch._delivery.TABLE>}.
    @ivar counts: what became of all messages.
    @ivar numbers: how many deliveries are in each state.
    @ivar bytes: of the bodies of all deliveries, and of what is published for them.
    @ivar of_consumers: how many deliveries each consumer has, by its tag.
    """

    def __init__(self, table: Mapping[Event, Mapping[State, State]] = TABLE) -> None:
        self.bytes = 0
        self.of_consumers: dict[str, int] = {}
        # Plain numbers, which are quick.
        self._table = tuple(
            {int(old): int(new) for old, new in table[event].items()} for event in Event
        )
        self._states: dict[M, int] = {}
        self.numbers = [0] * len(State)
        self._fates = [0] * len(Fate)
        self.counts = Counts(self._fates, self._states)

    def __contains__(self, message: M) -> bool:
        return message in self._states

    def __iter__(self) -> Iterator[M]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def state_of(self, message: M) -> State | None:
        """
        The state of a delivery; C{None} for one that is settled or lost.
        """
        state = self._states.get(message)
        return None if state is None else State(state)

    def deliver(self, message: M, *, begins: bool = False) -> int:
        """
        RabbitMQ has delivered a message.

        @param begins: whether its callback is called at once, as it has a place.
        @return: how many deliveries its consumer has now.
        """
        self._states[message] = state = _RUNNING if begins else _WAITING
        self.numbers[state] += 1
        self.bytes += len(message.body)
        tag, of_consumers = message.consumer_tag, self.of_consumers
        of_consumers[tag] = number = of_consumers.get(tag, 0) + 1
        return number

    def move(self, message: M, event: Event) -> bool:
        """
        An event has happened that settles nothing.

        @return: whether the delivery is ours; if not, nothing has changed.
        @raise WrongEvent: it is, in a state that has no such event.
        """
        old = self._states.get(message)
        if old is None:
            return False
        try:
            self._states[message] = new = self._table[event][old]
        except KeyError:
            raise WrongEvent(event, State(old)) from None
        self.numbers[old] -= 1
        self.numbers[new] += 1
        return True

    def settle(self, message: M, event: Event, fate: Fate) -> bool:
        """
        An event has happened that settles a delivery, or ends it.

        @return: whether the delivery was ours until now, and is to be settled.
        @raise WrongEvent: it is ours, in a state that has no such event.
        """
        old = self._states.get(message)
        if old is None:
            return False
        if old not in self._table[event]:
            raise WrongEvent(event, State(old))
        del self._states[message]
        self.numbers[old] -= 1
        self._fates[fate] += 1
        self.bytes -= len(message.body)
        left = self.of_consumers.pop(message.consumer_tag) - 1
        if left:
            self.of_consumers[message.consumer_tag] = left
        return True

    def lose(self) -> None:
        """
        The channel is gone: RabbitMQ delivers all messages again.
        """
        for message in list(self._states):
            self.settle(message, Event.LOSE, Fate.RETURNED)
