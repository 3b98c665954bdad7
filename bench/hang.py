"""
A server that takes requests, and answers none.

    python bench/hang.py PORT
"""

from __future__ import annotations

import asyncio
import sys


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    Read what comes, until the client has had enough.
    """
    while await reader.read(65536):
        pass
    writer.close()


async def serve(port: int) -> None:
    """
    Serve on the loopback, for ever.
    """
    server = await asyncio.start_server(take, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
