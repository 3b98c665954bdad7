"""
C{quebert top}: from keys to what they change.  Pure.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Union

import attrs

from quebert.operations import Live, LiveQueue

__all__ = ["Keyboard", "Keys", "PauseWish", "QuitWish", "Selection", "shown"]

# Characters of a filter.
_LONGEST = 100
# What a terminal sends for a key that is no character: "\x1b[A", "\x1bOA", "\x1b[5~".
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|O[@-~])")
_NAMES = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "page up",
    "6~": "page down",
}
_PAGE = 10
_STEPS = {
    "j": 1,
    "down": 1,
    "k": -1,
    "up": -1,
    "page down": _PAGE,
    "page up": -_PAGE,
    "home": -(10**6),
    "g": -(10**6),
    "end": 10**6,
    "G": 10**6,
}


@attrs.frozen
class QuitWish:
    """
    The user wants to end.
    """


@attrs.frozen
class PauseWish:
    """
    The user wants a queue to be paused, or to go on.
    """

    queue: str
    pause: bool


#: What the user wants, beside looking.
Wish = Union[QuitWish, PauseWish]


@attrs.frozen
class Selection:
    """
    What the user looks at.

    @ivar queue: the one that is selected; empty for the first one.
    @ivar filter: a part of the names of the queues that are shown.
    @ivar typing: whether the filter is being written.
    @ivar asked: the change that waits for a yes.
    @ivar helping: whether the keys are explained.
    """

    queue: str = ""
    filter: str = ""
    typing: bool = False
    asked: PauseWish | None = None
    helping: bool = False


class Keyboard:
    """
    From what a terminal sends to keys.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def keys(self, sent: bytes) -> list[str]:
        """
        The keys that were pressed: characters, and names of those that are none.
        """
        text, found, position = self._decoder.decode(sent), list[str](), 0
        while position < len(text):
            sequence = _SEQUENCE.match(text, position)
            if sequence is None:
                found.append(_named(text[position]))
                position += 1
            else:
                name = _NAMES.get(sequence[0][2:])
                found += [name] if name else []
                position = sequence.end()
        return found


def _named(character: str) -> str:
    names = {"\x1b": "escape", "\r": "enter", "\n": "enter", "\x7f": "back"}
    names |= {"\x08": "back", "\x15": "clear", "\x03": "q", "\x04": "q"}
    return names.get(character, character)


def shown(view: Live, selection: Selection) -> Sequence[LiveQueue]:
    """
    The queues that the filter lets through.
    """
    part = selection.filter.lower()
    return [each for each in view.queues if part in each.name.lower()]


class Keys:
    """
    What the user has made of it so far.

    @ivar selection: that.
    """

    def __init__(self) -> None:
        self.selection = Selection()

    def press(self, key: str, view: Live) -> Wish | None:
        """
        A key was pressed.

        @param view: that the user saw.
        """
        now = self.selection
        if now.typing:
            self.selection = _typed(now, key)
            return None
        if now.asked is not None:
            self.selection = attrs.evolve(now, asked=None)
            return now.asked if key in ("y", "Y") else None
        if now.helping:
            self.selection = attrs.evolve(now, helping=False)
            return QuitWish() if key == "q" else None
        if key == "q":
            return QuitWish()
        self.selection = _moved(now, key, view)
        return None


def _typed(now: Selection, key: str) -> Selection:
    if key == "enter":
        return attrs.evolve(now, typing=False)
    if key == "escape":
        return attrs.evolve(now, typing=False, filter="")
    if key == "clear":
        return attrs.evolve(now, filter="")
    if key == "back":
        return attrs.evolve(now, filter=now.filter[:-1])
    if len(key) == 1 and key.isprintable() and len(now.filter) < _LONGEST:
        return attrs.evolve(now, filter=now.filter + key)
    return now


def _moved(now: Selection, key: str, view: Live) -> Selection:
    queues = shown(view, now)
    names = [each.name for each in queues]
    place = names.index(now.queue) if now.queue in names else 0
    if key in _STEPS and names:
        place = min(max(0, place + _STEPS[key]), len(names) - 1)
        return attrs.evolve(now, queue=names[place])
    if key == "p" and names:
        change = PauseWish(names[place], not queues[place].paused)
        return attrs.evolve(now, queue=names[place], asked=change)
    if key == "/":
        return attrs.evolve(now, typing=True)
    if key == "escape":
        return attrs.evolve(now, filter="")
    if key in ("?", "h"):
        return attrs.evolve(now, helping=True)
    return now
