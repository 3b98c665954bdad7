"""
The states of an HTTP connection, and which event leads from which to which.  Pure.

Theory of operation: a connection carries one request at a time.  It is in one of these
states::

            send              begin
     IDLE --------> WAITING ---------> HEAD
      ^                                |  |
      |           complete             |  | tell
      +--------------------------------+  |
      |           complete                v
      +-------------------------------- BODY

 - IDLE: there is no request.  One may be chosen for it, and wait for the end of this
   turn of the reactor (L{quebert.http._writes}).
 - WAITING: a request is written, or a part of it; of the answer there is not a byte.
 - HEAD: the head of the answer is coming.
 - BODY: who has asked knows the head, and the body is coming.

Two events end a connection, in whatever state it is:

 - close: we want no more of it, and the transport is told to close it at once.  It is
   CLOSING, and what comes is not read any more.
 - lose: the transport is gone.  The connection is LOST.

An answer that is not complete then is cut short.  The connection is closed if an answer
cannot be read, if it comes too slowly, if nobody wants the rest, and if it says that
no other request may follow.  Whoever reads the body may have it closed with the last
bytes: so an answer may be complete when the connection is CLOSING.

What comes while it is IDLE answers nothing that the server was asked, and must not be
taken for the answer to the next request: the connection is closed.  A connection that
is closed or lost while it is IDLE tells its owner at once, which sends no request over
it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto

__all__ = ["TABLE", "HTTPEvent", "HTTPState"]


class HTTPState(IntEnum):
    """
    Where a connection stands.
    """

    IDLE = auto()
    WAITING = auto()
    HEAD = auto()
    BODY = auto()
    CLOSING = auto()
    LOST = auto()


class HTTPEvent(IntEnum):
    """
    What happens to a connection.
    """

    SEND = auto()
    BEGIN = auto()
    TELL = auto()
    COMPLETE = auto()
    CLOSE = auto()
    LOSE = auto()


#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[HTTPEvent, Mapping[HTTPState, HTTPState]] = {
    HTTPEvent.SEND: {HTTPState.IDLE: HTTPState.WAITING},
    HTTPEvent.BEGIN: {HTTPState.WAITING: HTTPState.HEAD},
    HTTPEvent.TELL: {HTTPState.HEAD: HTTPState.BODY},
    HTTPEvent.COMPLETE: {
        HTTPState.HEAD: HTTPState.IDLE,
        HTTPState.BODY: HTTPState.IDLE,
        HTTPState.CLOSING: HTTPState.CLOSING,
    },
    HTTPEvent.CLOSE: {
        **dict.fromkeys(HTTPState, HTTPState.CLOSING),
        HTTPState.LOST: HTTPState.LOST,
    },
    HTTPEvent.LOSE: dict.fromkeys(HTTPState, HTTPState.LOST),
}
