"""
A small HTTP server: it answers any POST with 200 and C{{"ok":true}}, notes when
each came that says when it was sent, and tells.

    python bench/server.py PORT

C{GET /status} says what nginx's C{stub_status} would, as far as it is used here:
how many requests there were.  C{GET /arrivals} is a JSON list of pairs, the time
in a task's C{sent} and the time of its request; both in nanoseconds since the
epoch.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

import httptools
import uvloop

ANSWER = b'{"ok":true}'
_SENT = re.compile(rb'"sent": ?(\d{19})')


class Seen:
    """
    What all connections have seen.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.arrivals: list[tuple[int, int]] = []

    def arrived(self, body: bytes) -> None:
        """
        Note a task, if it says when it was sent.
        """
        now = time.time_ns()
        if sent := _SENT.search(body):
            self.arrivals.append((int(sent[1]), now))

    def told(self, url: bytes) -> bytes:
        """
        What the URL asks for.
        """
        if url == b"/arrivals":
            return json.dumps(self.arrivals).encode()
        return b"server accepts handled requests\n 0 0 %d \n" % self.requests


class Connection(asyncio.Protocol):
    """
    One connection; httptools calls the methods that begin with C{on_}.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: Any) -> None:
        """
        Keep what answers are written to.
        """
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """
        Parse; what is not HTTP ends the connection.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """
        Count it, as early as nginx does.
        """
        self._url, self._body = b"", b""
        self._seen.requests += 1

    def on_url(self, url: bytes) -> None:
        """
        Keep what is asked for.
        """
        self._url += url

    def on_body(self, body: bytes) -> None:
        """
        Keep what came, which may be a part.
        """
        self._body += body

    def on_message_complete(self) -> None:
        """
        Answer.
        """
        if self._parser.get_method() == b"POST":
            self._seen.arrived(self._body)
            self._answer(ANSWER)
        else:
            self._answer(self._seen.told(self._url))

    def _answer(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve(port: int) -> None:
    """
    Serve on the loopback, for ever.
    """
    seen = Seen()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
