"""
The result of cancelling a task, as a word and as a sentence.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from quebert.amqp.coordination import REMEMBERED, Answers
from quebert.amqp.watch import DROPPED, RUNNING, HeldTask

__all__ = [
    "CANCELLED",
    "MARKED",
    "NOT_FOUND",
    "TOO_LATE",
    "Cancelled",
    "of_held",
    "of_marked",
    "of_nothing",
    "of_taken",
    "unsure",
]

#: The task is not attempted, or, if it was before, not again.
CANCELLED = "cancelled"
#: A mediator is attempting it.
TOO_LATE = "too_late"
#: Mediators do not begin an attempt; whether there was one, nobody knows.
MARKED = "marked"
#: It is nowhere.
NOT_FOUND = "not_found"


@attrs.frozen
class Cancelled:
    """
    The result of cancelling a task.

    @ivar uuid: of the task.
    @ivar result: L{CANCELLED}, L{TOO_LATE}, L{MARKED} or L{NOT_FOUND}.
    @ivar attempted: whether it was attempted before; C{None} if that is not known.
    @ivar text: the same in a sentence.
    @ivar problems: what could not be seen; sentences.
    """

    uuid: str
    result: str
    attempted: bool | None
    text: str
    problems: tuple[str, ...] = ()


def of_held(uuid: str, answers: Answers) -> Cancelled | None:
    """
    The result where mediators have the task; C{None} where no mediator has it.
    """
    held = list(answers.of(uuid))
    running = [each for each in held if each[1].state == RUNNING]
    if running:
        mediator, _ = running[0]
        return Cancelled(
            uuid,
            TOO_LATE,
            True,
            f"mediator {mediator} is attempting it; if that fails, it is not tried"
            " again",
        )
    if not held:
        return None
    attempted = _of_all([task for _, task in held])
    mediator, task = held[-1]
    what = "has dropped it" if task.state == DROPPED else "has it, and drops it"
    text = f"mediator {mediator} {what}"
    problems = unsure(answers)
    if problems:
        return Cancelled(uuid, MARKED, attempted, text, problems)
    return _sure(uuid, attempted, text, ())


def of_marked(uuid: str, answers: Answers) -> Cancelled:
    """
    The result where nobody has looked for the task in the broker.
    """
    held = of_held(uuid, answers)
    if held is not None:
        return held
    text = "no mediator that has answered has it; when it comes, it is dropped"
    problems = unsure(answers)
    result = MARKED if problems else CANCELLED
    return Cancelled(uuid, result, None, text, problems)


def _of_all(held: Sequence[HeldTask]) -> bool | None:
    told = {each.attempted for each in held}
    return True if True in told else None if None in told else False


def of_taken(
    uuid: str, found: Sequence[bool | None], problems: Sequence[str]
) -> Cancelled:
    attempted = True if True in found else None if None in found else False
    return _sure(uuid, attempted, "it waited, and was taken out", problems)


def _sure(
    uuid: str, attempted: bool | None, text: str, problems: Sequence[str]
) -> Cancelled:
    match attempted:
        case True:
            more = "; it was attempted before, and is not tried again"
        case False:
            more = "; it was not attempted"
        case None:
            more = (
                "; it may have been attempted: the connection of a mediator was lost"
                " that had it, or it was given back"
            )
    result = MARKED if attempted is None else CANCELLED
    return Cancelled(uuid, result, attempted, text + more, tuple(problems))


def of_nothing(
    uuid: str, queue: str, answers: Answers, problems: Sequence[str]
) -> Cancelled:
    days = f"{REMEMBERED / 86_400:.0f} days"
    later = f"if it comes within {days}, it is not attempted"
    all_problems = list(problems)
    all_problems += unsure(answers)
    if all_problems:
        text = f"it was not seen; {later}"
        return Cancelled(uuid, MARKED, None, text, tuple(all_problems))
    text = (
        f"no such task was found in {queue}: it is done, or dead, or was not added;"
        f" {later}"
    )
    return Cancelled(uuid, NOT_FOUND, None, text)


def unsure(answers: Answers) -> tuple[str, ...]:
    """
    Why mediators may attempt what is cancelled; sentences.
    """
    problems = []
    if answers.silent is None:
        problems.append("nobody knows whether all mediators have answered")
    elif answers.silent:
        problems.append(
            f"{answers.silent} consumers of the queue have not answered, such as"
            " mediators of an older version, or that are cut off: they may attempt it"
        )
    if answers.older:
        problems.append(
            f"{answers.older} mediators are of an older version: they attempt it if it"
            " comes to them after they were started anew"
        )
    return tuple(problems)
