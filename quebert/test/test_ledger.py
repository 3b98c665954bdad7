"""
The ledger of deliveries, with events in any order: each delivery is settled once, on
the channel that brought it, and never before RabbitMQ has confirmed its replacement.

C{QUEBERT_LEDGER_EXAMPLES} is how many sequences of 50 events are tried.
"""

from __future__ import annotations

import inspect
import os
from types import ModuleType
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch import _delivery, _ledger
from quebert.amqp.wire import Message

EXAMPLES = int(os.environ.get("QUEBERT_LEDGER_EXAMPLES", "100"))
STEPS = 50

NUMBERS = st.integers(0, 3)
FATES = ("DONE", "RETRIED", "DISCARDED", "BURIED", "RETURNED")


@attrs.define(eq=False)
class Delivery:
    """
    What RabbitMQ and the callback know of a delivery.

    @ivar at: C{"waiting"}, with the C{"callback"}, C{"examining"}, or C{"replacing"}.
    @ivar placed: whether it has a place, as far as it has been with the callback.
    @ivar fate: what became of it; empty while RabbitMQ waits.
    """

    message: Message
    at: str = "waiting"
    placed: bool = False
    fate: str = ""

    @property
    def state(self) -> str:
        """
        The state that the ledger has.
        """
        if self.at == "callback":
            return "RUNNING" if self.placed else "OVERDUE"
        if self.at == "waiting":
            return "WAITING"
        return self.at.upper() if self.placed else "HELD"

    @property
    def may_be_replaced(self) -> bool:
        """
        Whether a replacement is published, or may be.
        """
        return self.at in ("examining", "replacing")


class Machine(RuleBasedStateMachine):
    """
    Has events happen, and compares the ledger with what RabbitMQ would know.

    @cvar ledger: the module with the ledger, and that with its table.
    """

    ledger_module: Any = _ledger
    delivery_module: Any = _delivery

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Delivery] = []
        self.ledger = self.ledger_module.Ledger(self.delivery_module.TABLE)

    def one_of_the_last(self, number: int) -> Delivery:
        """
        One of the deliveries that came last, whose number counts from the end: much
        is to happen to each.
        """
        return self.all[-1 - number % len(self.all)]

    # -- What is done

    @rule(size=st.integers(0, 5), tag=st.sampled_from("ab"), begins=st.booleans())
    def deliver(self, size: int, tag: str, begins: bool) -> None:
        """
        RabbitMQ delivers a message, which is with the callback at once if there is a
        place.
        """
        message = Message(tag, len(self.all) + 1, False, "", "")
        message.body = b"x" * size
        self.all.append(Delivery(message, "callback" if begins else "waiting", begins))
        number = self.ledger.deliver(message, begins=begins)
        tags = [each.message.consumer_tag for each in self.live]
        assert number == tags.count(tag)

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def begin(self, number: int) -> None:
        """
        It gets its place, and is with the callback.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "BEGIN", delivery.at == "waiting"):
            delivery.at, delivery.placed = "callback", True

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def overdue(self, number: int) -> None:
        """
        Its callback takes long.
        """
        delivery = self.one_of_the_last(number)
        may = delivery.at in ("callback", "replacing") or delivery.state == "HELD"
        if self.moved(delivery, "OVERDUE", may) and delivery.at == "callback":
            delivery.placed = False

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def turn_away(self, number: int) -> None:
        """
        The callback wants it later.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "TURN_AWAY", delivery.at == "callback"):
            delivery.at = "waiting"

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def postpone(self, number: int) -> None:
        """
        The callback wants it in some seconds, as it is.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "POSTPONE", delivery.at == "callback"):
            delivery.at, delivery.placed = "replacing", False

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def replace(self, number: int) -> None:
        """
        Something is to take its place.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "REPLACE", not delivery.may_be_replaced):
            delivery.at, delivery.placed = "replacing", True

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def examine(self, number: int) -> None:
        """
        It has come again.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "EXAMINE", delivery.at == "waiting"):
            delivery.at, delivery.placed = "examining", True

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def hold(self, number: int) -> None:
        """
        That takes time.
        """
        delivery = self.one_of_the_last(number)
        if self.moved(delivery, "HOLD", delivery.may_be_replaced):
            delivery.placed = False

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def leave_as_it_is(self, number: int) -> None:
        """
        Nothing is to take its place after all.
        """
        delivery = self.one_of_the_last(number)
        may = delivery.at == "examining" or delivery.state == "HELD"
        if self.moved(delivery, "PASS", may):
            delivery.at = "waiting"

    def moved(self, delivery: Delivery, event: str, may: bool) -> bool:
        """
        Have an event happen that settles nothing.

        @param may: whether it may happen to a delivery that is not settled.
        @return: whether it has happened.
        """
        move, name = self.ledger.move, self.delivery_module.Event[event]
        if delivery.fate:
            assert not move(delivery.message, name)
        elif may:
            assert move(delivery.message, name)
            return True
        else:
            self.refuses(move, delivery.message, name)
        return False

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS, fate=st.sampled_from(("DONE", "DISCARDED")))
    def finish(self, number: int, fate: str) -> None:
        """
        The callback has ended, and nothing takes its place.
        """
        delivery = self.one_of_the_last(number)
        self.settled(delivery, "FINISH", fate, delivery.at == "callback")

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS, fate=st.sampled_from(("RETRIED", "BURIED", "RETURNED")))
    def confirm(self, number: int, fate: str) -> None:
        """
        RabbitMQ has confirmed what takes its place.
        """
        delivery = self.one_of_the_last(number)
        self.settled(delivery, "CONFIRM", fate, delivery.may_be_replaced)

    @precondition(lambda self: self.all)
    @rule(number=NUMBERS)
    def give_back(self, number: int) -> None:
        """
        RabbitMQ is to deliver it again.
        """
        delivery = self.one_of_the_last(number)
        self.settled(delivery, "GIVE_BACK", "RETURNED", True)

    def settled(self, delivery: Delivery, event: str, fate: str, may: bool) -> None:
        """
        Have an event happen that settles a delivery.

        @param may: whether it may happen to a delivery that is not settled.
        """
        module = self.delivery_module
        what = delivery.message, module.Event[event], module.Fate[fate]
        if delivery.fate:  # it is settled once
            assert not self.ledger.settle(*what)
        elif may:
            assert self.ledger.settle(*what)
            delivery.fate = fate
        else:
            self.refuses(self.ledger.settle, *what)

    def refuses(self, ask: Any, *what: Any) -> None:
        """
        That would be a fault of ours.
        """
        try:
            ask(*what)
        except self.ledger_module.WrongEvent:
            return
        raise AssertionError(f"{what[1]} was let through")

    @rule()
    def lose(self) -> None:
        """
        The channel is gone.
        """
        self.ledger.lose()
        for delivery in self.live:
            delivery.fate = "RETURNED"

    # -- What holds after each step

    @property
    def live(self) -> list[Delivery]:
        """
        What RabbitMQ waits for.
        """
        return [each for each in self.all if not each.fate]

    @invariant()
    def knows_each(self) -> None:
        """
        Each delivery is in its state, or settled.
        """
        for each in self.all:
            state = self.ledger.state_of(each.message)
            assert (each.message in self.ledger) == (not each.fate)
            assert state == (
                None if each.fate else self.delivery_module.State[each.state]
            )
        assert list(self.ledger) == [each.message for each in self.live]

    @invariant()
    def adds_up(self) -> None:
        """
        All numbers are those of the deliveries.
        """
        counts, live = self.ledger.counts, self.live
        fates = [each.fate for each in self.all if each.fate]
        assert counts.received == len(self.all) == len(fates) + len(self.ledger)
        for fate in FATES:
            assert getattr(counts, fate.lower()) == fates.count(fate), fate
        states = [each.state for each in live]
        for state in self.delivery_module.State:
            assert self.ledger.numbers[state] == states.count(state.name), state
        assert self.ledger.bytes == sum(len(each.message.body) for each in live)
        tags = [each.message.consumer_tag for each in live]
        wanted = {tag: tags.count(tag) for tag in sorted(set(tags))}
        assert dict(sorted(self.ledger.of_consumers.items())) == wanted


def run(machine: type[Machine], examples: int) -> None:
    """
    Try sequences of events.
    """
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


#: Faults, each as a piece of the source and what it is replaced with: an
#: acknowledgement before its confirm, a late outcome that counts, a lost give-back...
MUTANTS: dict[str, tuple[ModuleType, str, str]] = {
    "acknowledged before its confirm": (
        _delivery,
        "Event.FINISH: {State.RUNNING: State.SETTLED,",
        "Event.FINISH: {State.REPLACING: State.SETTLED, State.RUNNING: State.SETTLED,",
    ),
    "a confirm without a replacement": (
        _delivery,
        "Event.CONFIRM: dict.fromkeys(_REPLACED,",
        "Event.CONFIRM: dict.fromkeys([State.WAITING, *_REPLACED],",
    ),
    "held for ever": (
        _delivery,
        "Event.CONFIRM: dict.fromkeys(_REPLACED,",
        "Event.CONFIRM: dict.fromkeys(_REPLACED[:-1],",
    ),
    "a lost give-back": (
        _delivery,
        "Event.GIVE_BACK: dict.fromkeys(LIVE,",
        "Event.GIVE_BACK: dict.fromkeys(LIVE[:-1],",
    ),
    "with the callback twice": (
        _delivery,
        "Event.BEGIN: {State.WAITING: State.RUNNING}",
        "Event.BEGIN: {State.WAITING: State.RUNNING, State.RUNNING: State.RUNNING}",
    ),
    "a held message that begins": (
        _delivery,
        "Event.HOLD: dict.fromkeys(_REPLACED, State.HELD)",
        "Event.HOLD: dict.fromkeys(_REPLACED, State.REPLACING)",
    ),
    "a late outcome that counts": (
        _ledger,
        "            return False\n        if old not in",
        "            self._fates[fate] += 1\n"
        "            return False\n        if old not in",
    ),
    "a late outcome that is acknowledged": (
        _ledger,
        "            return False\n        if old not in",
        "            return True\n        if old not in",
    ),
    "settled and still there": (
        _ledger,
        "        del self._states[message]\n",
        "",
    ),
    "a channel whose messages are kept": (
        _ledger,
        "for message in list(self._states):",
        "for message in list(self._states)[1:]:",
    ),
    "bytes that are never free": (
        _ledger,
        "        self.bytes -= len(message.body)\n",
        "",
    ),
    "a consumer that is never empty": (
        _ledger,
        "        if left:\n",
        "        if True:\n",
    ),
    "a move that is not counted": (
        _ledger,
        "        self.numbers[new] += 1\n",
        "",
    ),
    "a wrong event that is let through": (
        _ledger,
        "        if old not in self._table[event]:\n"
        "            raise WrongEvent(event, State(old))\n",
        "",
    ),
    "a message that waits as if it ran": (
        _ledger,
        "state = _RUNNING if begins else _WAITING",
        "state = _RUNNING",
    ),
    "a message that runs as if it waited": (
        _ledger,
        "state = _RUNNING if begins else _WAITING",
        "state = _WAITING",
    ),
}


def mutant(module: ModuleType, old: str, new: str) -> tuple[Any, Any]:
    """
    The modules with the ledger and with its table, one of them with a fault.
    """
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{source.count(old)} times in the source: {old!r}"
    changed = ModuleType(module.__name__)
    exec(compile(source.replace(old, new), module.__name__, "exec"), vars(changed))
    return (changed, _delivery) if module is _ledger else (_ledger, changed)


class LedgerTests(SynchronousTestCase):
    """
    The ledger.
    """

    def test_any_order(self) -> None:
        """
        Whatever happens in whichever order, the books are right.
        """
        run(Machine, EXAMPLES)

    def test_mutants(self) -> None:
        """
        The machine notices each of some faults in the ledger.
        """
        for name, (module, old, new) in MUTANTS.items():
            ledger, delivery = mutant(module, old, new)
            attributes = {"ledger_module": ledger, "delivery_module": delivery}
            self.check_noticed(name, type("Mutant", (Machine,), attributes))

    def check_noticed(self, name: str, machine: type[Machine]) -> None:
        """
        The machine finds a fault.
        """
        try:
            run(machine, 20_000)
        except (AssertionError, _ledger.WrongEvent, KeyError):
            return
        self.fail(f"nobody notices {name}")
