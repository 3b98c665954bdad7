"""
Connections over HTTP/1.1 that block, kept for further requests.

One request at a time has a connection.  A request that is interrupted, wherever that
is, closes its connection.  No lock is held, and lists are changed in single steps: so
threads, greenlets and signal handlers may share them.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLCertVerificationError, SSLContext, create_default_context
from urllib.parse import urlsplit

import attrs

from quebert import __version__
from quebert.client._exchange import (
    LostAnswer,
    Outcome,
    OutgoingRequest,
    ReceivedAnswer,
)

__all__ = ["BlockingConnections"]

_USER_AGENT = f"quebert/{__version__}"
# Connections that are kept for each place, and seconds for which they are.
_KEPT, _IDLE = 16, 30.0
# Bytes of an answer: more are none of the API.
_MOST = 64 * 2**20
_PIECE = 65_536
# Seconds that a socket waits at least, where the time is nearly over.
_LEAST = 0.001


@attrs.define(eq=False)
class _IdleConnection:
    """
    A connection that is not in use.
    """

    connection: HTTPConnection
    pid: int
    since: float

    def is_usable(self, now: float) -> bool:
        """
        Whether the server has neither closed it nor said anything.  After a fork, the
        connections of the parent are not to be used by the child.
        """
        if self.pid != os.getpid() or now - self.since > _IDLE:
            return False
        try:
            readable, _, _ = select.select([self.connection.sock], [], [], 0)
        except (OSError, ValueError):  # of a descriptor that is closed, or too large
            return False
        return not readable


# By the scheme and the host with its port.
_IdleByPlace = dict[tuple[str, str], list[_IdleConnection]]


class BlockingConnections:
    """
    Makes requests.

    @param context: of TLS; the authorities of the platform by default.
    """

    def __init__(
        self,
        context: SSLContext | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._now = now
        self._kept: _IdleByPlace = {}
        # When nobody has these any more.
        weakref.finalize(self, _close_all, self._kept).atexit = False

    def exchange(self, request: OutgoingRequest, ends: float) -> Outcome:
        """
        Make a request, and wait for its answer.

        @param ends: when the time is over, by the clock.
        """
        parts = urlsplit(request.url)
        place = parts.scheme, parts.netloc
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection, sent = self._taken(place), False
        try:
            self._limit(connection, ends)
            if connection.sock is None:
                connection.connect()
            sent = True
            self._limit(connection, ends)
            headers = {"User-Agent": _USER_AGENT, **request.headers}
            connection.request(request.method, target, request.body, headers)
            answer = self._answer(connection, ends)
        except (OSError, HTTPException) as e:
            connection.close()
            distrusted = isinstance(e, SSLCertVerificationError)
            return LostAnswer(f"{parts.netloc}: {_why(e)}", sent, distrusted)
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:
            self._keep(place, connection)
        return answer

    def close(self) -> None:
        """
        Close the connections that are not in use.
        """
        _close_all(self._kept)

    def _taken(self, place: tuple[str, str]) -> HTTPConnection:
        those = self._kept.get(place, [])
        while those:
            try:
                kept = those.pop()
            except IndexError:
                break
            if kept.is_usable(self._now()):
                return kept.connection
            kept.connection.close()
        scheme, netloc = place
        if scheme == "http":
            return HTTPConnection(netloc)
        if self._context is None:
            self._context = create_default_context()
        return HTTPSConnection(netloc, context=self._context)

    def _keep(self, place: tuple[str, str], connection: HTTPConnection) -> None:
        those = self._kept.setdefault(place, [])
        if len(those) < _KEPT:
            those.append(_IdleConnection(connection, os.getpid(), self._now()))
        else:
            connection.close()

    def _answer(self, connection: HTTPConnection, ends: float) -> ReceivedAnswer:
        """
        @raise TimeoutError: it is not there in time.
        @raise HTTPException: it is none of HTTP, or too large.
        """
        self._limit(connection, ends)
        found = connection.getresponse()
        body = bytearray()
        while True:
            self._limit(connection, ends)
            piece = found.read1(_PIECE)
            if not piece:
                break
            body += piece
            if len(body) > _MOST:
                raise HTTPException("the answer is too large")
        if found.length:  # read1() does not complain
            raise HTTPException("the connection was lost within the answer")
        found.close()  # which read1() does not do, either; the connection stays
        retry_after = found.getheader("Retry-After") or ""
        return ReceivedAnswer(found.status, bytes(body), retry_after)

    def _limit(self, connection: HTTPConnection, ends: float) -> None:
        """
        @raise TimeoutError: the time is over.
        """
        left = ends - self._now()
        if left <= 0:
            raise TimeoutError("no answer in time")
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(max(left, _LEAST))


def _close_all(kept: _IdleByPlace) -> None:
    for those in list(kept.values()):
        while those:
            with suppress(IndexError):  # another thread has taken it
                those.pop().connection.close()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
