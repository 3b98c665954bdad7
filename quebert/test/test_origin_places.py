"""
L{quebert.amqp.watch._origin_places}: how many places an origin has, and who begins
next.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch._hanging_origin import HangingOrigin
from quebert.amqp.watch._origin_places import LOOKS, OriginPlaces


@attrs.define(eq=False, slots=False)
class FakeMessage:
    """
    A message whose callback makes a request.
    """

    url: str
    origin: HangingOrigin | None = None
    turned_away: bool = False
    waits_since: float | None = None
    refused_for: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.first_url = self.url


class FakeWatch:
    """
    A watch that notes which messages leave, and which begin again.
    """

    def __init__(self) -> None:
        self.gone: list[Any] = []
        self.begun: list[Any] = []
        self.refuse: dict[Any, float] = {}
        self.end: set[Any] = set()
        self.hooks_run = False
        self.when_free: Any = None
        self.places: OriginPlaces

    def has_place(self, message: Any) -> bool:
        """
        Whether it has one.
        """
        return message not in self.gone

    def leave(self, message: Any) -> None:
        """
        It leaves.
        """
        self.gone.append(message)

    def begin_again(self, message: Any) -> None:
        """
        It begins, and makes its request, or its hooks run first.
        """
        self.begun.append(message)
        if not self.hooks_run:
            self.request(message)

    def request(self, message: Any) -> None:
        """
        It makes its request, which may be refused, or end, at once.
        """
        message.url = message.first_url
        if self.places.admits(message):
            if message in self.refuse:
                self.places.refused(message, self.refuse[message], self.when_free)
            elif message in self.end:
                self.places.ended(message, is_quick=True)
        if message.turned_away:
            self.places.wait(message)


class OriginPlacesTests(SynchronousTestCase):
    """
    Eight places, of which six are not for quick origins alone.
    """

    def setUp(self) -> None:
        """
        A slow origin has five requests with places, and one that has left its place.
        """
        self.watch = FakeWatch()
        self.clock = Clock()
        self.places = OriginPlaces(self.watch, 8, lambda: self.clock)
        self.watch.places = self.places
        self.slow = [FakeMessage("http://slow/") for _ in range(6)]
        self.watch.gone.append(self.slow[0])
        self.places.count(cast(Any, self.slow), self.watch.has_place)
        self.places.judge(cast(Any, self.slow[1:]))

    def admits(self, host: str) -> Any:
        """
        Another message, if it may make its request now.
        """
        message: Any = FakeMessage(f"http://{host}/")
        return message if self.places.admits(message) else None

    def wait(self, host: str) -> Any:
        """
        A message that is turned away, and waits.
        """
        message: Any = FakeMessage(f"http://{host}/")
        self.assertFalse(self.places.admits(message))
        self.places.wait(message)
        return message

    def test_counted(self) -> None:
        """
        Requests with places are counted apart from those without.
        """
        origin = self.places.known["http://slow"]
        self.assertEqual((origin.places, len(origin.outside)), (5, 1))
        self.assertEqual((self.places.taken, self.places.share), (5, 6))

    def test_one_reserved(self) -> None:
        """
        A further origin may use one of half of the reserved places.
        """
        self.assertIsNotNone(self.admits("slow"))
        self.assertIsNone(self.admits("slow"))
        self.assertIsNotNone(self.admits("new"))
        self.assertIsNone(self.admits("other"))

    def test_quick(self) -> None:
        """
        One that has answered at once may use as many as it had answers, and one.
        """
        self.admits("slow")
        self.places.ended(self.admits("quick"), is_quick=True)
        quick = [self.admits("quick") for _ in range(3)]
        self.assertEqual([each is not None for each in quick], [True, True, False])

    def test_reserved_for_so_long(self) -> None:
        """
        Places are reserved for ten looks after a quick answer.
        """
        for _ in range(LOOKS - 2):
            self.places.judge([])
        self.places.ended(self.admits("quick"), is_quick=True)
        for share in (*[6] * (LOOKS - 1), 8):
            self.places.judge([])
            self.assertEqual(self.places.share, share)

    def test_one_try(self) -> None:
        """
        One request is tried of an origin that refuses when it tells that one may be
        made; another one, once that has ended.
        """
        told: list[Any] = []
        self.watch.places = places = OriginPlaces(self.watch, 8, lambda: self.clock)
        messages: Any = [FakeMessage("http://limited/") for _ in range(6)]
        self.watch.end.update(messages[:2])
        places.refused(messages[0], 9, told.append)
        places.wait(messages[0])
        for each in messages[1:]:
            self.assertFalse(places.admits(each))
            places.wait(each)
        (free,) = told
        free()
        self.assertEqual(self.watch.begun, messages[:3])

    def test_next(self) -> None:
        """
        When a request ends, the first in the line of the origin with the fewest places
        begins.
        """
        self.admits("slow")
        first, second = self.wait("slow"), self.wait("slow")
        self.assertEqual((self.places.waiting, self.watch.begun), (2, []))
        self.places.ended(cast(Any, self.slow[1]), is_quick=False)
        self.assertEqual((self.places.waiting, self.watch.begun), (1, [first]))
        self.assertTrue(self.places.admits(first))
        self.assertEqual(self.places.forget_waiting(), [second])
        self.assertEqual((self.places.waiting, self.places.lined), (0, []))

    def test_forgotten(self) -> None:
        """
        Once no request is outside and the watch is not busy, nothing is known.
        """
        self.places.forget(is_busy=False)
        self.assertEqual(set(self.places.known), {"http://slow"})
        self.places.ended(cast(Any, self.slow[0]), is_quick=False)
        self.places.forget(is_busy=True)
        self.assertEqual(set(self.places.known), {"http://slow"})
        self.places.forget(is_busy=False)
        self.assertEqual((self.places.known, self.places.taken), ({}, 0))

    def test_forgotten_quick(self) -> None:
        """
        Where none was slow, nothing is known any more once none waits.
        """
        places = OriginPlaces(self.watch, 8, lambda: self.clock)
        message: Any = FakeMessage("http://limited/")
        places.refused(message, 1, None)
        places.wait(message)
        places.forget(is_busy=True)
        self.assertEqual(set(places.known), {"http://limited"})
        self.clock.advance(1)
        self.assertTrue(places.admits(message))
        places.forget(is_busy=True)
        self.assertEqual((places.known, places.taken), ({}, 0))

    def test_forgotten_soon(self) -> None:
        """
        Where none was slow, and none waits, nothing is known any more once as many
        requests have ended as there are places: there is no need to look at them.
        """
        places = OriginPlaces(self.watch, 3, lambda: self.clock)
        message: Any = FakeMessage("http://limited/")
        places.refused(message, 1, None)
        places.wait(message)
        self.clock.advance(1)
        self.assertTrue(places.admits(message))
        others: Any = [FakeMessage("http://limited/") for _ in range(2)]
        self.assertEqual([places.admits(each) for each in others], [True, True])
        for each in (message, others[0]):
            places.ended(each, is_quick=True)
        self.assertEqual((set(places.known), places.taken), ({message.url[:-1]}, 1))
        more: Any = FakeMessage("http://limited/")
        self.assertTrue(places.admits(more))
        places.ended(others[1], is_quick=True)
        self.assertEqual((places.known, places.taken, more.origin), ({}, 0, None))

    def test_not_forgotten_soon(self) -> None:
        """
        Where some wait, or are slow, all requests are counted, however many end.
        """
        self.admits("slow")
        waiting = self.wait("slow")
        for _ in range(20):
            self.places.ended(self.admits("quick"), is_quick=True)
        self.assertEqual(set(self.places.known), {"http://slow", "http://quick"})
        self.assertEqual(self.places.forget_waiting(), [waiting])
        for _ in range(20):
            self.places.ended(self.admits("quick"), is_quick=True)
        self.assertEqual(set(self.places.known), {"http://slow", "http://quick"})

    def test_crowded(self) -> None:
        """
        Where an origin takes requests again, those that wait for it wait for places
        alone, if all are taken; but not while one is slow, or refuses.
        """
        places = OriginPlaces(self.watch, 2, lambda: self.clock)
        self.watch.places, self.watch.hooks_run = places, True
        messages: Any = [FakeMessage("http://limited/") for _ in range(4)]
        places.refused(messages[0], 1, None)
        places.wait(messages[0])
        for each in messages[1:]:
            self.assertFalse(places.admits(each))
            places.wait(each)
        self.assertFalse(places.is_crowded)  # it refuses
        self.clock.advance(1)
        self.assertEqual((self.watch.begun, places.taken), (messages[:1], 1))
        self.assertFalse(places.is_crowded)  # there is a place
        self.watch.request(messages[0])
        self.clock.advance(0)
        self.watch.request(messages[1])
        self.assertEqual((places.taken, places.waiting), (2, 2))
        self.assertTrue(places.is_crowded)
        places.judge(messages[:1])
        self.assertFalse(places.is_crowded)  # one is slow
        places.forget_waiting()
        self.assertFalse(places.is_crowded)
