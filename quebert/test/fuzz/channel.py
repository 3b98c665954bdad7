"""
What comes on a connection of C{quebert web}: in whatever pieces it comes, the same
requests are read, h11 reads them, too, and nothing is left of the connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import h11
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from quebert.executor import ExecutorLimits, Transit
from quebert.test.fuzz.choices import Choices, pieces
from quebert.test.fuzz.head import likely_head
from quebert.web._exchange import APIAnswer
from quebert.web._head import RequestHead
from quebert.web._site import WebSite

__all__ = ["check"]

_LIMITS = ExecutorLimits(body=500, head=2_000, fields=20, connections=5, memory=10_000)
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
#: A request that was read: its method, its target, and its body.
_Read = tuple[bytes, bytes, bytes]


class _Resource:
    """
    Keeps what is read.
    """

    def __init__(self) -> None:
        self.limits = _LIMITS
        self.transit: Transit[Any] = Transit(_LIMITS.memory)
        self.read: list[_Read] = []
        self.refused: list[str] = []
        self.log_refused = self.refused.append

    def date(self) -> str:
        return "Thu, 01 Jan 1970 00:00:00 GMT"

    def in_form_of(self, head: RequestHead, answer: APIAnswer) -> APIAnswer:
        return answer

    def answer(self, head: RequestHead, body: bytes, address: str) -> Deferred[Any]:
        read = head.method.encode("ascii"), head.target.encode("ascii"), body
        self.read.append(read)
        return succeed(APIAnswer(body=body * 2))


class _Transport(StringTransport):
    """
    A client that reads all.
    """

    def abortConnection(self) -> None:
        self.disconnected = True

    def _checkState(self) -> None:
        """
        Reading may be paused on a connection that is about to close.
        """


def check(data: bytes) -> None:
    """
    Some requests, whole and in pieces.
    """
    choices = Choices(data)
    sizes = [1 + choices.octet() for _ in range(choices.octet() % 20)]
    sent = choices.rest() if choices.flag() else b"".join(_requests(choices))
    whole, read, refused = _served([sent])
    assert (whole, read, refused) == _served(list(pieces(sent, sizes)))
    others = _by_h11(sent)
    for each in read:
        assert _is_same(each, next(others))
    _check_answers(whole, read, refused)


def _requests(choices: Choices) -> Iterator[bytes]:
    for _ in range(choices.octet() % 5):
        yield likely_head(choices) + b"\r\n" * choices.flag() + choices.short()


def _served(sent: Sequence[bytes]) -> tuple[bytes, list[_Read], list[str]]:
    """
    What is answered, read and refused.
    """
    clock, resource = Clock(), _Resource()
    any_resource: Any = resource
    site: Any = WebSite(any_resource, clock)
    channel, transport = site.buildProtocol(None), _Transport()
    channel.makeConnection(transport)
    for piece in sent:
        if transport.disconnecting or transport.disconnected:
            break
        channel.dataReceived(piece)
    while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
        clock.advance(0)
    channel.connectionLost(Failure(ConnectionDone()))
    assert not clock.getDelayedCalls()
    assert not site._connections
    assert not site.deadlines._ends
    assert site._transit._taken == 0
    assert not site._crowd._networks
    answers = transport.value().replace(_GO_ON, b"")  # only where the body is late
    return answers, resource.read, resource.refused


def _by_h11(data: bytes) -> Iterator[_Read]:
    """
    The requests that h11 reads.
    """
    is_last = False
    while data and not is_last:
        ours = h11.Connection(h11.SERVER)
        while data.startswith(b"\r\n"):  # which h11 does not skip
            data = data[2:]
        ours.receive_data(data)
        request = ours.next_event()
        assert isinstance(request, h11.Request), request
        body = b""
        while isinstance(event := ours.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        yield request.method, request.target, body
        is_last = ours.their_state is h11.MUST_CLOSE
        data, _ = ours.trailing_data


def _is_same(ours: _Read, other: _Read) -> bool:
    target = ours[1]
    is_url = b"://" in other[1] and other[1].endswith(target.removeprefix(b"/"))
    return (ours[0], ours[2]) == (other[0], other[2]) and (target == other[1] or is_url)


def _check_answers(
    answers: bytes, read: Sequence[_Read], refused: Sequence[str]
) -> None:
    """
    See that h11 reads as many answers as there are requests, and nothing else.
    """
    statuses = []
    for method, target, body in [*read, *[(b"GET", b"/", b"")] * len(refused)]:
        theirs = h11.Connection(h11.CLIENT)
        fields = [("Host", "h"), ("Content-Length", "0")]
        theirs.send(h11.Request(method=method, target=target, headers=fields))
        theirs.send(h11.EndOfMessage())
        theirs.receive_data(answers)
        event = theirs.next_event()
        assert isinstance(event, h11.Response), event
        statuses.append(event.status_code)
        found = b""
        while isinstance(event := theirs.next_event(), h11.Data):
            found += event.data
        assert isinstance(event, h11.EndOfMessage), event
        assert statuses[-1] != 200 or found == (b"" if method == b"HEAD" else body * 2)
        answers, _ = theirs.trailing_data
    assert statuses == [200] * len(read) + statuses[len(read) :]
    assert not answers
    assert len(refused) < 2
