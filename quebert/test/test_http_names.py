"""
Tests for L{quebert.http._names}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet._resolver import GAIResolver
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from quebert.http import _names
from quebert.http._names import (
    KEPT,
    MOST_ADDRESSES,
    MOST_NAMES,
    MOST_THREADS,
    MOST_WAITING,
    Names,
)
from quebert.test.doubles import MemoryReactor

TIMEOUT = 30.0


@implementer(IHostnameResolver)
class Resolver:
    """
    Answers when the test says.

    @ivar asked: who waits for an answer, by name.
    @ivar known: the address of any name, where that is to be told at once.
    """

    def __init__(self) -> None:
        self.known = ""
        self.asked: list[tuple[str, Any]] = []

    def resolveHostName(
        self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any
    ) -> Any:
        """
        Note who asks.
        """
        receiver.resolutionBegan(None)
        self.asked.append((hostName, receiver))
        if self.known:
            self.answer(self.known)

    def answer(self, *addresses: str, which: int = -1) -> None:
        """
        Answer what was asked last, or another time.
        """
        _, receiver = self.asked[which]
        for each in addresses:
            kind = IPv6Address if ":" in each else IPv4Address
            receiver.addressResolved(kind("TCP", each, 0))
        receiver.resolutionComplete()


class Case(SynchronousTestCase):
    """
    L{Names} with a resolver of ours.
    """

    def setUp(self) -> None:
        """
        Make some that ask a resolver of ours.
        """
        self.reactor = MemoryReactor()
        self.resolver = Resolver()
        self.reactor.installNameResolver(self.resolver)
        self.names = Names(self.reactor, TIMEOUT)

    def found(self, host: str) -> list[str]:
        """
        What is known of a host, at once.
        """
        found: Any = self.successResultOf(self.names.addresses(host))
        return [str(each) for each in found]


class NamesTests(Case):
    """
    L{Names} looks up a name once for all who need it at the moment.
    """

    def test_literals(self) -> None:
        """
        An address needs no look-up.
        """
        for text in ("127.0.0.1", "::1", "fe80::1%lo", "::ffff:1.2.3.4"):
            self.assertEqual(self.found(text), [str(ip_address(text))])
        self.assertEqual(self.resolver.asked, [])

    def test_together(self) -> None:
        """
        All who need a name wait for one look-up; one who gives up leaves it to the
        others.
        """
        first, second, third = (self.names.addresses("a") for _ in range(3))
        self.assertEqual(len(self.resolver.asked), 1)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.resolver.answer("10.0.0.1", "::1", "10.0.0.1")
        wanted = (ip_address("10.0.0.1"), ip_address("::1"))
        for each in (first, third):
            self.assertEqual(self.successResultOf(each), wanted)

    def test_kept(self) -> None:
        """
        An answer is kept for some seconds, then the next is asked for.
        """
        self.names.addresses("a")
        self.resolver.answer("10.0.0.1")
        self.reactor.advance(KEPT - 0.1)
        self.assertEqual(self.found("a"), ["10.0.0.1"])
        self.assertEqual(len(self.resolver.asked), 1)
        self.reactor.advance(0.2)
        again = self.names.addresses("a")
        self.assertNoResult(again)
        self.resolver.answer("10.0.0.2")
        self.assertEqual(self.successResultOf(again), (ip_address("10.0.0.2"),))

    def test_kept_for(self) -> None:
        """
        An answer is not kept for longer than that.
        """
        self.names.addresses("a")
        self.resolver.answer("10.0.0.1")
        self.reactor.advance(KEPT)
        self.assertNoResult(self.names.addresses("a"))

    def test_kept_for_less(self) -> None:
        """
        Where answers are kept for less than a second, so is that there is none.
        """
        self.names = Names(self.reactor, TIMEOUT, 0.5)
        self.names.addresses("gone").addErrback(lambda _: None)
        self.resolver.answer()
        self.reactor.advance(0.5)
        self.assertNoResult(self.names.addresses("gone"))

    def test_none(self) -> None:
        """
        That there is no such name is told by name, and kept for a second.
        """
        looking = self.names.addresses("gone.example")
        self.resolver.answer()
        for each in (looking, self.names.addresses("gone.example")):
            failure = self.failureResultOf(each, DNSLookupError)
            self.assertIn("gone.example", str(failure.value))
        self.reactor.advance(1.1)
        self.assertNoResult(self.names.addresses("gone.example"))

    def test_impossible(self) -> None:
        """
        A name that the system's resolver would fail at is not looked up.
        """
        for host in ("a..b", ".", "x" * 64, ".a"):
            self.failureResultOf(self.names.addresses(host), DNSLookupError)
        self.assertEqual(self.resolver.asked, [])

    def test_no_address(self) -> None:
        """
        What is no address is left out: dialled, it would be looked up again.
        """
        looking = self.names.addresses("a")
        self.resolver.answer("0x7f.1", "localhost", "10.0.0.1", "127.1", "")
        self.assertEqual(self.successResultOf(looking), (ip_address("10.0.0.1"),))

    def test_timeout(self) -> None:
        """
        A look-up that takes too long has failed; its answer is too late.  Meanwhile
        other names are found.
        """
        slow = self.names.addresses("slow")
        late = self.resolver.asked[-1][1]
        quick = self.names.addresses("quick")
        self.resolver.answer("10.0.0.1")
        self.successResultOf(quick)
        self.reactor.advance(TIMEOUT)
        failure = self.failureResultOf(slow, DNSLookupError)
        self.assertIn("'slow' was not looked up within 30 s", str(failure.value))
        late.addressResolved(IPv4Address("TCP", "10.0.0.2", 0))
        late.resolutionComplete()
        self.failureResultOf(self.names.addresses("slow"), DNSLookupError)

    def test_bounds(self) -> None:
        """
        Neither many names nor a name with many addresses take more memory.
        """
        for n in range(MOST_NAMES + 10):
            self.names.addresses(f"n{n}")
            self.resolver.answer(*(f"10.0.{i}.1" for i in range(200)))
        self.assertEqual(len(self.found(f"n{MOST_NAMES + 9}")), MOST_ADDRESSES)
        self.assertEqual(len(self.names._known), MOST_NAMES)
        self.assertNoResult(self.names.addresses("n0"))
        self.assertEqual(self.found("n10")[0], "10.0.0.1")
        self.assertEqual(self.names._waiting.keys(), {"n0"})

    def test_found_again(self) -> None:
        """
        A name that was looked up again is kept for longer than those before it.
        """
        self.resolver.known = "10.0.0.1"
        for n in range(MOST_NAMES):
            self.names.addresses(f"n{n}")
        self.reactor.advance(KEPT)
        for name in ("n1", "another", "one more"):
            self.names.addresses(name)
        self.resolver.asked.clear()
        self.names.addresses("n1")
        self.assertEqual(self.resolver.asked, [])


class ThreadsTests(Case):
    """
    L{Names} looks up so many names at once, and keeps some of these look-ups for names
    that are in use.
    """

    def slow(self, number: int, prefix: str = "slow") -> None:
        """
        Ask for names of which nothing comes.
        """
        for n in range(number):
            self.names.addresses(f"{prefix}{n}").addErrback(
                lambda failure: failure.trap(DNSLookupError)
            )

    @property
    def hosts(self) -> list[str]:
        """
        What the resolver was asked.
        """
        return [host for host, _ in self.resolver.asked]

    def test_unknown(self) -> None:
        """
        Names of which nothing is known get three quarters of the look-ups; a further
        one waits until one of them has ended.
        """
        self.slow(100)
        most = MOST_THREADS * 3 // 4
        self.assertEqual(len(self.resolver.asked), most)
        self.resolver.answer(which=0)
        self.assertEqual(self.hosts[most:], [f"slow{most}"])

    def test_numbers(self) -> None:
        """
        64 look-ups run at once: 48 of unknown names, all of names that are in use, 16
        of slow ones; 1,000 names wait, and are remembered, with 16 addresses each.
        """
        most = MOST_THREADS, MOST_WAITING, MOST_NAMES, MOST_ADDRESSES
        self.assertEqual(most, (64, 1000, 1000, 16))
        for n in range(20):
            self.names.addresses(f"good{n}")
            self.resolver.answer("10.0.0.1")
        self.reactor.advance(KEPT)
        self.resolver.asked.clear()
        self.slow(60)
        self.assertEqual(len(self.hosts), 48)
        self.slow(20, "good")
        self.assertEqual(len(self.hosts), 64)
        self.reactor.advance(TIMEOUT)
        for which in range(64):
            self.resolver.answer(which=which)
        self.resolver.asked.clear()
        self.reactor.advance(KEPT)
        self.slow(30)
        self.assertEqual(len(self.hosts), 16)

    def test_prompt_within_a_second(self) -> None:
        """
        A look-up that takes a second is slow.
        """
        for seconds, asked in ((0.9, 30), (1.0, 16)):
            self.setUp()
            self.slow(30)
            self.reactor.advance(seconds)
            for which in range(30):
                self.resolver.answer("10.0.0.1", which=which)
            self.reactor.advance(KEPT)
            self.resolver.asked.clear()
            self.slow(30)
            self.assertEqual(len(self.hosts), asked)

    def test_promptly_nothing(self) -> None:
        """
        A name that is promptly said not to be there is one of which nothing is known.
        """
        self.names.addresses("none").addErrback(lambda _: None)
        self.resolver.answer()
        self.reactor.advance(KEPT)
        self.slow(48)
        self.names.addresses("none")
        self.assertNotEqual(self.hosts[-1], "none")

    def test_promptly_nothing_any_more(self) -> None:
        """
        So is one that was found promptly before.
        """
        for found in (("10.0.0.1",), ()):
            self.slow(1, "once")
            self.resolver.answer(*found)
            self.reactor.advance(KEPT)
        self.slow(48)
        self.slow(1, "once")
        self.assertEqual(self.hosts[-1], "slow47")

    def test_still_running(self) -> None:
        """
        A look-up that still runs is waited for, however many names wait to be looked
        up.
        """
        self.slow(1)
        self.reactor.advance(TIMEOUT)
        self.reactor.advance(KEPT)
        self.slow(47 + MOST_WAITING, "other")
        self.assertNoResult(self.names.addresses("slow0"))

    def test_nothing_is_left(self) -> None:
        """
        A name that was found is not looked at again.
        """
        self.names.addresses("a")
        self.resolver.answer("10.0.0.1")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_prompt(self) -> None:
        """
        A name that was found promptly before is looked up at once all the same.
        """
        self.names.addresses("good")
        self.resolver.answer("10.0.0.1")
        self.reactor.advance(KEPT + 1)
        self.slow(100)
        again = self.names.addresses("good")
        self.assertEqual(self.hosts[-1], "good")
        self.resolver.answer("10.0.0.1")
        self.assertEqual(self.successResultOf(again), (ip_address("10.0.0.1"),))

    def test_slow(self) -> None:
        """
        Names that were slow get but a quarter of the look-ups the next time.
        """
        most = MOST_THREADS * 3 // 4
        self.slow(most)
        self.reactor.advance(TIMEOUT)
        for which in range(most):
            self.resolver.answer(which=which)
        self.reactor.advance(KEPT)
        self.slow(most)
        self.assertEqual(len(self.resolver.asked), most + MOST_THREADS // 4)
        self.names.addresses("unknown")
        self.assertEqual(self.hosts[-1], "unknown")

    def test_not_twice(self) -> None:
        """
        A look-up that takes longer than anybody waits goes on, and is not begun again;
        those who ask meanwhile get its result.
        """
        self.slow(1)
        self.reactor.advance(TIMEOUT)
        self.reactor.advance(KEPT)
        again = self.names.addresses("slow0")
        self.assertEqual(self.hosts, ["slow0"])
        self.resolver.answer("10.0.0.1")
        self.assertEqual(self.successResultOf(again), (ip_address("10.0.0.1"),))

    def test_wait_is_limited(self) -> None:
        """
        The wait for a look-up counts for the time limit.
        """
        self.slow(MOST_THREADS)
        waiting = self.names.addresses("waiting")
        self.reactor.advance(TIMEOUT)
        self.failureResultOf(waiting, DNSLookupError)
        for which in range(MOST_THREADS * 3 // 4):
            self.resolver.answer(which=which)
        self.assertNotIn("waiting", self.hosts)
        self.assertEqual(self.names._lines, ({}, {}, {}))
        self.assertEqual(self.names._threads, [0, 0, 0])

    def test_too_many(self) -> None:
        """
        Where too many wait already, one more fails at once, with one sentence; one who
        asks for a name that is looked up waits for that.
        """
        self.slow(MOST_THREADS * 3 // 4 + MOST_WAITING)
        failure = self.failureResultOf(self.names.addresses("x"), DNSLookupError)
        text = "'x' is not looked up: 1000 names wait for that already"
        self.assertIn(text, str(failure.value))
        self.assertNoResult(self.names.addresses("slow0"))

    def test_too_many_others(self) -> None:
        """
        A name that was found promptly is looked up again, however many others wait.
        """
        self.names.addresses("known")
        self.resolver.answer("10.0.0.1")
        self.reactor.advance(KEPT + 1)
        self.slow(MOST_THREADS * 3 // 4 + MOST_WAITING)
        again = self.names.addresses("known")
        self.assertEqual(self.resolver.asked[-1][0], "known")
        self.resolver.answer("10.0.0.2")
        found = self.successResultOf(again)
        self.assertEqual([str(each) for each in found], ["10.0.0.2"])

    def test_answers_at_once(self) -> None:
        """
        However many names have waited, a resolver that knows them all at once may tell.
        """
        most = MOST_THREADS * 3 // 4
        self.slow(most)
        found = [self.names.addresses(f"known{n}") for n in range(MOST_WAITING)]
        self.resolver.known = "10.0.0.1"
        self.resolver.answer(which=0)
        for each in found:
            self.successResultOf(each)
        self.assertEqual(self.names._threads, [0, most - 1, 0])

    def test_little_is_remembered(self) -> None:
        """
        Who was prompt or slow is remembered of so many names.
        """
        for n in range(MOST_NAMES + 10):
            self.names.addresses(f"n{n}")
            self.resolver.answer("10.0.0.1")
        self.assertEqual(len(self.names._was[0]), MOST_NAMES)


class ThreadedReactor(MemoryReactor):
    """
    A reactor with Twisted's own resolver, to which threads tell what they have found.
    """

    def __init__(self) -> None:
        super().__init__()
        this: Any = self
        no_pool: Any = None
        self.installNameResolver(GAIResolver(this, lambda: no_pool))

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        """
        Call it in the next turn.
        """
        self.callLater(0, call, *args)


class FakeThread:
    """
    A thread that is over as soon as it is started.
    """

    def __init__(self, *, target: Callable[[], None], name: str, daemon: bool) -> None:
        self.start = target
        assert daemon, f"{name} would keep the process from ending"


class NoThread(FakeThread):
    """
    One more than the system has.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.start = self._fail

    def _fail(self) -> None:
        raise RuntimeError("can't start new thread")


class SystemTests(SynchronousTestCase):
    """
    Names that the system's resolver is asked for, each in a thread of its own.
    """

    def look_up(self, thread: type[FakeThread], *found: str) -> Any:
        """
        Look up a name that has these addresses; fails where it has none.
        """

        def getaddrinfo(host: str, port: None, type: int) -> list[Any]:
            if not found:
                raise socket.gaierror("not known")
            return [(0, type, 6, "", (each, 0)) for each in found]

        self.patch(_names, "Thread", thread)
        self.patch(socket, "getaddrinfo", getaddrinfo)
        reactor = ThreadedReactor()
        looking = Names(reactor, TIMEOUT).addresses("name")
        self.assertNoResult(looking)
        reactor.advance(0)
        self.assertEqual(reactor.getDelayedCalls(), [])
        return looking

    def test_found(self) -> None:
        """
        All addresses that the system knows are found.
        """
        found = self.successResultOf(self.look_up(FakeThread, "10.0.0.1", "::1"))
        self.assertEqual(found, (ip_address("10.0.0.1"), ip_address("::1")))

    def test_none(self) -> None:
        """
        A name that the system does not know is told in the next turn.
        """
        failure = self.failureResultOf(self.look_up(FakeThread), DNSLookupError)
        self.assertIn("Couldn't find the hostname 'name'", str(failure.value))

    def test_no_thread(self) -> None:
        """
        Where the system has no more threads, nothing is found.
        """
        self.failureResultOf(self.look_up(NoThread, "10.0.0.1"), DNSLookupError)
