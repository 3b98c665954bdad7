"""
Names of headers that are not a task's to say.  Pure.
"""

from __future__ import annotations

__all__ = ["CLIENT_HEADERS", "folded"]

#: The framing of the request, and its connection, are the client's business (RFC 9112,
#: sections 6 and 9); a server may ask a proxy of "Proxy" (CVE-2016-5385).  So are those
#: that begin with C{proxy-}.
CLIENT_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def folded(name: str) -> str:
    """
    The name of a header, as CGI and WSGI servers compare it.
    """
    return name.lower().replace("_", "-")
