"""
How a queue was declared, which AMQP has no method to ask for.

RabbitMQ refuses to declare a queue again with other arguments, and names one that
differs, with its value.  So a queue is declared with what is known of it so far, until
RabbitMQ has named everything and agrees.  That does not change a queue that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from quebert._protocol.extensions import (
    EXPIRES,
    MAX_AGE,
    MAX_LENGTH,
    MAX_LENGTH_BYTES,
    MESSAGE_TTL,
    OVERFLOW,
    QUEUE_TYPE,
)
from quebert.amqp.queues._declaring import DIFFERENT
from quebert.amqp.wire import refusal
from quebert.errors import ReplyCode

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["LENGTHS", "Declared", "amended", "declared", "losses"]

#: The arguments that limit how much a queue holds.
LENGTHS = (MAX_LENGTH, MAX_LENGTH_BYTES)

_FLAGS = ("durable", "auto_delete", "exclusive")
_NUMBERS = {"byte", "short", "signedint", "long", "unsignedint", "timestamp"}
# More arguments than a queue can have.
_MOST_STEPS = 30


@attrs.frozen
class Declared:
    """
    How a queue was declared.

    @ivar flags: C{durable}, C{auto_delete} and C{exclusive}.
    @ivar arguments: by their names.
    """

    flags: dict[str, bool] = attrs.field(factory=lambda: {"durable": True})
    arguments: dict[str, Any] = attrs.field(factory=lambda: {QUEUE_TYPE: "classic"})

    @property
    def kind(self) -> str:
        """
        The type.
        """
        return str(self.arguments.get(QUEUE_TYPE, "classic"))

    @property
    def refuses(self) -> bool:
        """
        Whether the queue refuses what it has no room for, and drops nothing.
        """
        overflow = self.arguments.get(OVERFLOW, "drop-head")
        return str(overflow).startswith("reject-publish")


def amended(guess: Declared, text: str) -> Declared | None:
    """
    A better guess, after RabbitMQ's refusal of one; C{None} where the text does not
    tell more.  Pure.
    """
    found = DIFFERENT.search(text)
    if found is None:
        return None
    name, value = found["name"], found["value"]
    if name in _FLAGS:
        return attrs.evolve(guess, flags={**guess.flags, name: value == "true"})
    others = {k: v for k, v in guess.arguments.items() if k != name}
    if found["none"]:
        better = others
    else:
        better = {**others, name: _value(value, found["type"], guess, name)}
    return None if better == guess.arguments else attrs.evolve(guess, arguments=better)


def _value(text: str, kind: str | None, guess: Declared, name: str) -> Any:
    is_number = kind in _NUMBERS or isinstance(guess.arguments.get(name), int)
    if kind == "bool":
        return text == "true"
    return int(text) if is_number and text.lstrip("-").isdigit() else text


async def declared(
    wire: Wire, queue: str, guess: Declared | None = None
) -> Declared | None:
    """
    How C{queue}, which must be there, was declared; C{None} where RabbitMQ does not
    tell.

    @param guess: how it may have been.
    @raise BrokerRefused: we may not configure the queue.
    """
    guess = guess or Declared()
    for _ in range(_MOST_STEPS):
        if guess is None:
            break
        given: dict[str, Any] = {**guess.flags, "arguments": guess.arguments}
        refused = await refusal(wire, "queue_declare", queue=queue, **given)
        if refused is None:
            return guess
        if refused.code != ReplyCode.PRECONDITION_FAILED:
            raise refused
        guess = amended(guess, str(refused))
    return None


def losses(how: Declared, things: str = "tasks") -> Iterator[str]:
    """
    What makes RabbitMQ lose tasks of a queue, each in a sentence.  Pure.

    @param things: what lies there.
    """
    if not how.flags.get("durable"):
        yield f"it is not durable: its {things} are lost when RabbitMQ stops"
    if (ttl := how.arguments.get(MESSAGE_TTL)) is not None:
        yield f"RabbitMQ drops {things} that wait for {ttl} ms (x-message-ttl)"
    if (unused := how.arguments.get(EXPIRES)) is not None:
        text = (
            f"RabbitMQ deletes it with its {things} after {unused} ms without a"
            " consumer"
        )
        yield f"{text} (x-expires)"
    if (age := how.arguments.get(MAX_AGE)) is not None:  # of a stream
        yield f"RabbitMQ drops {things} that are older than {age} (x-max-age)"
    for name in LENGTHS:
        if name in how.arguments and not how.refuses:
            most = how.arguments[name]
            yield f"RabbitMQ drops the oldest {things} beyond {most} ({name})"
