"""
Hostile executors, each on a port of its own.

    python bench/hostile.py KIND=PORT...

C{GET /count} at any port says how many requests there were for the kind of that port.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Awaitable, Callable
from contextlib import suppress

#: What is done after the head of a request, whose body has so many bytes.
Executor = Callable[[Reader, Writer, int], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Seconds after which the one that dies does so.
LIFE = 5.0
# Of a request, beside what waits in sockets.
_HEAD = 65_536


async def hangs(reader: Reader, writer: Writer, size: int) -> None:
    """
    Take the request, and answer nothing.
    """
    while await reader.read(65_536):
        pass


async def drips(reader: Reader, writer: Writer, size: int) -> None:
    """
    Send a byte of the body a second.
    """
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(1)


def flood(begin: bytes, again: bytes) -> Executor:
    """
    Send C{begin}, and C{again} without end.
    """

    async def executor(reader: Reader, writer: Writer, size: int) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()

    return executor


def answer(text: bytes) -> Executor:
    """
    Answer at once, and close the connection.
    """

    async def executor(reader: Reader, writer: Writer, size: int) -> None:
        writer.write(text)
        await writer.drain()

    return executor


async def dies(reader: Reader, writer: Writer, size: int) -> None:
    """
    Close the connection, after some seconds, instead of answering.
    """
    await asyncio.sleep(LIFE)


async def takes(reader: Reader, writer: Writer, size: int) -> None:
    """
    Do all that a good executor does.
    """
    await reader.readexactly(size)
    writer.write(OK)
    await writer.drain()


_ESCAPES = b"\x1b[2J\x1b]0;title\x07\x9b2J\r 2026-11-27 forged \xe2\x80\xae" * 40
_HEADERS = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1_000) for n in range(1_024))

EXECUTORS: dict[str, Executor] = {
    "large": takes,
    "commas": takes,
    "hangs": hangs,
    "drips": drips,
    "dies": dies,
    "small-chunks": flood(CHUNKED, b"2\r\nxx\r\n" * 8_192),
    "trailers": flood(CHUNKED + b"0\r\n", b"X: %b\r\n" % (b"x" * 500) * 128),
    "extensions": flood(CHUNKED, b"1;%b\r\nx\r\n" % (b"e" * 4_000) * 16),
    "cuts": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
    "early": answer(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\n{}"),
    "headers": answer(b"HTTP/1.1 200 OK\r\n%b\r\n{}" % _HEADERS),
    "redirects": answer(
        b"HTTP/1.1 307 Again\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    ),
    "escapes": answer(
        b"HTTP/1.1 500 \x1b[31mNo\r\nX-Reason: \x1b[2J\r\nContent-Length: %d\r\n\r\n%b"
        % (len(_ESCAPES), _ESCAPES)
    ),
}


COUNTS: dict[str, int] = dict.fromkeys(EXECUTORS, 0)


async def serve(kind: str, port: int) -> None:
    """
    Serve on the loopback, for ever.
    """

    async def connected(reader: Reader, writer: Writer) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /count "):
                count = b"%d" % COUNTS[kind]
                size = b"Content-Length: %d\r\n" % len(count)
                writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (size, count))
            else:
                COUNTS[kind] += 1
                await EXECUTORS[kind](reader, writer, _length(head))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=_HEAD)
    await server.serve_forever()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def run_when_idle() -> None:
    """
    Give this process the processor time that nobody else wants.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def main(words: list[str]) -> None:
    """
    Serve all that the command line names.
    """
    pairs = [word.split("=") for word in words]
    await asyncio.gather(*(serve(kind, int(port)) for kind, port in pairs))


if __name__ == "__main__":
    run_when_idle()
    asyncio.run(main(sys.argv[1:]))
