"""
Tests for L{quebert.cli._top_keys}: what keys change.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._top_keys import Keyboard, Keys, PauseWish, QuitWish, Wish, shown
from quebert.operations import Live, LiveQueue

NAMES = ("mail", "maps", "reports")
VIEW = Live(
    at=0.0,
    queues=tuple(LiveQueue(name=name, paused=name == "maps") for name in NAMES),
)


class KeyboardTests(SynchronousTestCase):
    """
    From bytes to keys.
    """

    def test_keys(self) -> None:
        """
        Characters, and keys that are none.
        """
        sent = "jé\x1b[A\x1bOB\x1b[5~\x1b[1;5C\x1b\r\x7f".encode()
        wanted = ["j", "é", "up", "down", "page up", "escape", "enter", "back"]
        self.assertEqual(Keyboard().keys(sent), wanted)

    def test_in_parts(self) -> None:
        """
        A character may come in parts, and what is none does no harm.
        """
        keyboard = Keyboard()
        self.assertEqual(keyboard.keys(b"\xc3"), [])
        self.assertEqual(keyboard.keys(b"\xa9"), ["é"])
        self.assertEqual(keyboard.keys(b"\xff\xfej"), ["j"])


class KeysTests(SynchronousTestCase):
    """
    What the user makes of it.
    """

    def setUp(self) -> None:
        """
        Begin.
        """
        self.keys = Keys()

    def press(self, *keys: str) -> list[Wish | None]:
        """
        Press some.
        """
        return [self.keys.press(each, VIEW) for each in keys]

    def test_moves(self) -> None:
        """
        The selection goes from queue to queue, and not beyond them.
        """
        places = []
        for each in ("j", "down", "j", "k", "up", "up", "G", "g", "page down"):
            self.press(each)
            places.append(NAMES.index(self.keys.selection.queue))
        self.assertEqual(places, [1, 2, 2, 1, 0, 0, 2, 0, 2])

    def test_quits(self) -> None:
        """
        q ends it, also from the help.
        """
        self.assertEqual(self.press("q"), [QuitWish()])
        self.assertEqual(self.press("?", "q"), [None, QuitWish()])

    def test_pauses(self) -> None:
        """
        p asks first; whatever is no yes is a no.
        """
        self.assertEqual(self.press("p", "y"), [None, PauseWish("mail", True)])
        self.assertEqual(self.press("p", "x"), [None, None])
        self.assertEqual(self.press("p", "q"), [None, None])
        self.assertEqual(self.press("j", "p", "Y")[-1], PauseWish("maps", False))

    def test_filters(self) -> None:
        """
        What is typed behind / chooses queues; their keys mean nothing meanwhile.
        """
        self.press("/", "M", "a", "q")
        self.assertEqual(list(shown(VIEW, self.keys.selection)), [])
        self.press("back", "enter")
        found = [each.name for each in shown(VIEW, self.keys.selection)]
        self.assertEqual(found, ["mail", "maps"])
        self.press("G")
        self.assertEqual(self.keys.selection.queue, "maps")
        self.press("escape")
        self.assertEqual(len(shown(VIEW, self.keys.selection)), 3)

    def test_long_filter(self) -> None:
        """
        A filter does not grow without end, and has no keys in it that are none.
        """
        self.press("/", *"x" * 1000, "up", "\x07")
        self.assertEqual(self.keys.selection.filter, "x" * 100)
        self.press("clear")
        self.assertEqual(self.keys.selection.filter, "")

    def test_no_queue(self) -> None:
        """
        Where there is no queue, keys do nothing.
        """
        for key in ("j", "k", "p", "G", "y"):
            self.assertIs(self.keys.press(key, Live(at=0.0)), None)

    def test_queue_gone(self) -> None:
        """
        Where the selected queue is gone, the first one is selected.
        """
        self.press("G")
        view = Live(at=0.0, queues=VIEW.queues[:1])
        self.keys.press("p", view)
        self.assertEqual(self.keys.press("y", view), PauseWish("mail", True))
