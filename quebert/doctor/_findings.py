"""
What was found: each finding is one line for a person, or one object for a program.
Pure.
"""

from __future__ import annotations

from enum import Enum

import attrs

__all__ = ["Finding", "Level", "fail", "ok", "unknown", "warn"]


class Level(Enum):
    """
    How good or bad a finding is, from the best to the worst.
    """

    #: All is well.
    OK = "ok"
    #: Nobody can know this through AMQP; no fault was seen.
    UNKNOWN = "unknown"
    #: It works, and may do harm later.
    WARN = "warn"
    #: Tasks are lost, late or not done.
    FAIL = "fail"


@attrs.frozen
class Finding:
    """
    @ivar level: how good or bad it is.
    @ivar about: such as C{"version"} or C{"queue tasks"}.
    @ivar text: the state, in a sentence.
    @ivar remedy: what to do; empty where there is nothing to do.
    """

    level: Level
    about: str
    text: str
    remedy: str = ""


def ok(about: str, text: str) -> Finding:
    """
    It is sound.
    """
    return Finding(Level.OK, about, text)


def unknown(about: str, text: str, remedy: str) -> Finding:
    """
    It cannot be known; C{remedy} tells how a person finds out.
    """
    return Finding(Level.UNKNOWN, about, text, remedy)


def warn(about: str, text: str, remedy: str) -> Finding:
    """
    It works, and may do harm later.
    """
    return Finding(Level.WARN, about, text, remedy)


def fail(about: str, text: str, remedy: str) -> Finding:
    """
    Tasks are lost, late or not done.
    """
    return Finding(Level.FAIL, about, text, remedy)
