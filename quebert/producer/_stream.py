"""
A connection of TCP or TLS that blocks, and never longer than it is told.

It takes C{socket}, C{ssl} and C{threading} by their names at each call, and waits in
nothing else: so it does what gevent and eventlet want once they have replaced these.
No lock is held during a call that a signal handler could find taken: a handler may
connect, too.
"""

from __future__ import annotations

import _thread
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import attrs

from quebert.config import TLS, Address
from quebert.errors import ConfigError
from quebert.producer._deadline import Deadline, StreamEnded, TimeIsUp

__all__ = ["BlockingStream"]

_T = TypeVar("_T")

_SIZE = 65_536  # octets that are received at a time
# Seconds by which a socket may be early.
_EARLY = 0.005
_WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# How ssl says that one side did not accept the certificate of the other; the
# last is all that TLS 1.2 has to say to who shows none.
_DISTRUST = re.compile(
    r"\[SSL: [^]]*(?:CERTIFICATE|UNKNOWN_CA|ALERT_HANDSHAKE)[^]]*\] (.*?) \(_ssl"
)


class BlockingStream:
    """
    A connection.  After an exception nothing may be done with it but L{close}.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @classmethod
    def connect(
        cls, address: Address, tls: TLS | None, deadline: Deadline
    ) -> BlockingStream:
        """
        Connect to the first of the host's addresses that takes us.

        @raise StreamEnded: none does.
        @raise ConfigError: a file for TLS is wrong.
        """
        context = None if tls is None else _context(tls)
        found = _look_up(address, deadline)
        ended = StreamEnded("its name has no address")
        for place, (family, kind, protocol, _, where) in enumerate(found):
            try:
                stream = cls(socket.socket(family, kind, protocol))
            except OSError as e:  # there are too many, or none of this kind
                ended = _ended(e)
                continue
            try:
                share = deadline.share(len(found) - place)
                stream._open(where, context, address.host, share)
            except StreamEnded as e:
                stream.close()
                ended = e
            except BaseException:
                stream.close()
                raise
            else:
                return stream
        try:
            raise ended
        finally:
            del ended  # it has this frame in its traceback

    def _open(
        self, where: Any, context: ssl.SSLContext | None, host: str, until: Deadline
    ) -> None:
        self._within(until.left(), self._socket.connect, where)
        # A task is written at once, and its confirm is waited for.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            wrap = partial(context.wrap_socket, do_handshake_on_connect=False)
            # It fails where the peer has reset the connection by now.
            wrapped = self._within(
                until.left(), partial(wrap, self._socket, server_hostname=host)
            )
            self._socket = wrapped
            self._within(until.left(), wrapped.do_handshake)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """
        Send all of it.

        @raise StreamEnded: a part may not have been sent.
        """
        view = memoryview(data)
        while view:
            sent = self._within(deadline.left(), self._socket.send, view)
            view = view[sent:]

    def receive(self, seconds: float) -> bytes:
        """
        What comes next.

        @raise TimeIsUp: nothing came so long; here one may go on.
        @raise StreamEnded: nothing will come any more.
        """
        data = self._within(seconds, self._socket.recv, _SIZE)
        if not data:
            raise StreamEnded("it has closed the connection")
        return data

    def peek(self) -> bytes:
        """
        What has come, without waiting: it may be nothing.

        @raise StreamEnded: nothing will come any more.
        """
        try:
            # Not settimeout(0): eventlet's sockets with TLS wait then, and again for
            # as long as they are not told that they may.
            self._socket.setblocking(False)
            data = self._socket.recv(_SIZE)
        except _WOULD_WAIT:
            return b""
        except OSError as e:
            raise _ended(e) from None
        finally:
            self._socket.setblocking(True)
        if not data:
            raise StreamEnded("it has closed the connection")
        return data

    def send_at_once(self, data: bytes) -> None:
        """
        Send C{data} if that can be done without waiting.
        """
        _quietly(self._socket.setblocking, False)
        _quietly(self._socket.send, data)
        _quietly(self._socket.setblocking, True)

    def close(self) -> None:
        """
        Close the connection, without waiting.
        """
        _quietly(self._socket.close)

    def __del__(self) -> None:
        # Of a call that was interrupted: else Python warns of it.
        _quietly(self._socket.close)

    def _within(
        self, seconds: float, call: Callable[..., _T], *arguments: object
    ) -> _T:
        """
        Call a method of the socket that may wait.

        @raise StreamEnded: it has failed.
        """
        early = time.monotonic() + seconds - _EARLY
        try:
            self._socket.settimeout(seconds)
            return call(*arguments)
        except TimeoutError as e:
            if e.errno is None and time.monotonic() >= early:
                raise TimeIsUp from None
            raise _ended(e) from None
        except OSError as e:
            raise _ended(e) from None


def _quietly(call: Callable[..., object], *arguments: object) -> None:
    """
    Call a method of a socket, whether it fails or not.
    """
    try:
        call(*arguments)
    except OSError as e:
        _ended(e)


def _ended(error: OSError) -> StreamEnded:
    """
    Why a connection has ended.

    @raise TimeoutError: a signal handler has raised C{error}, which is no socket's: the
        caller has a limit of its own.
    """
    if isinstance(error, TimeoutError) and error.errno is None:
        raise error
    ended = StreamEnded(error.strerror or str(error) or type(error).__name__)
    found = _DISTRUST.search(str(error))
    if found is not None:
        ended.distrust = found[1]
    return ended


def _context(tls: TLS) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.cacertfile)
        if tls.certfile is not None:
            # The password keeps it from asking the terminal for one.
            pair = (tls.certfile, tls.keyfile)
            context.load_cert_chain(*pair, password="")  # nosec B106
    except (OSError, ValueError) as e:
        files = ", ".join(filter(None, attrs.astuple(tls)))
        raise ConfigError(f"a file for TLS cannot be used ({files}): {e}") from None
    return context


# -- The addresses of a host


def _look_up(address: Address, deadline: Deadline) -> list[Any]:
    """
    What C{getaddrinfo} returns, in time.  A resolver knows no limit, so it is asked in
    a thread, which is left alone if it is late.

    @raise StreamEnded: the name has no address.
    """
    if "\0" in address.host:
        raise StreamEnded("its name has a null character in it")
    with suppress(socket.gaierror, UnicodeError):
        return _addresses(address, socket.AI_NUMERICHOST)  # does not wait
    answers: list[Any] = []
    answered = threading.Lock()
    answered.acquire()

    def look_up() -> None:
        try:
            answers.append(_addresses(address, 0))
        except (OSError, UnicodeError) as e:
            answers.append(StreamEnded(getattr(e, "strerror", None) or str(e)))
        finally:
            answered.release()

    try:
        # Not a Thread: to start one takes a lock that all threads share.
        _thread.start_new_thread(look_up, ())
    except RuntimeError:  # no more threads are to be had, as when a program ends
        look_up()
    if not answered.acquire(timeout=deadline.left()):
        raise TimeIsUp
    [answer] = answers
    if isinstance(answer, StreamEnded):
        raise answer
    found: list[Any] = answer
    return found


def _addresses(address: Address, flags: int) -> list[Any]:
    place = address.host, address.port
    return socket.getaddrinfo(*place, 0, socket.SOCK_STREAM, 0, flags)
