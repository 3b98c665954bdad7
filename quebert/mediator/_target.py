"""
The target of a queue: what takes the place of parts of each request, as C{httpTarget}
of a queue of Cloud Tasks does.  Pure.

See U{https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues}.
The address guard looks at the request that comes of it.

What Google's service does was not recorded, and is read from its documents: with
C{only_missing}, a part of the URL is replaced if the URL has none; method, headers and
token are replaced in any case; a path of C{"/"} counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from quebert._url import absolute
from quebert.errors import BadTask
from quebert.task import (
    BOUNDS,
    METHODS_WITH_BODY,
    IDTokenWanted,
    Request,
    folded,
    kept_headers,
    with_headers,
)

__all__ = ["RequestTarget", "retargeted"]

_WITHOUT_BODY = frozenset({"GET", "HEAD"})


@attrs.frozen(kw_only=True)
class RequestTarget:
    """
    What takes the place of parts of a request; C{None} leaves a part as it is.

    @ivar scheme: C{"http"} or C{"https"}.
    @ivar host: without a port.
    @ivar port: 0 for none.
    @ivar path: C{""} for none.
    @ivar query: without the question mark; C{""} for none.
    @ivar only_missing: whether a part of the URL is replaced only where the URL has no
        such part; it has a scheme and a host in any case.
    @ivar method: in capitals; GET and HEAD have no body.
    @ivar headers: take the place of those of the same names.
    @ivar id_token: for the header C{Authorization}.
    """

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    query: str | None = None
    only_missing: bool = False
    method: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    id_token: IDTokenWanted | None = None

    def url(self, url: str) -> str:
        """
        An absolute URL with its parts replaced.

        @raise BadTask: what comes of it cannot be requested.
        """
        there = urlsplit(url)
        host, port = _host_and_port(there.netloc)
        path, query = there.path, there.query
        if not self.only_missing:
            host = self.host or host
        if self.port is not None and not (self.only_missing and port):
            port = str(self.port or "")
        if self.path is not None and not (self.only_missing and path.strip("/")):
            path = f"/{self.path.removeprefix('/')}".replace("?", "%3F")
        if self.query is not None and not (self.only_missing and query):
            query = self.query
        scheme = there.scheme if self.only_missing else self.scheme or there.scheme
        target = f"{path}?{query}" if query else path
        origin = f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"
        try:
            return absolute(origin + target.replace("#", "%23"), "")[0]
        except ValueError as e:
            text = "url cannot be requested with the target of its queue"
            raise BadTask(f"{text}: {e}") from None


def _host_and_port(netloc: str) -> tuple[str, str]:
    """
    Both of a URL without userinfo.  An IPv6 address has colons, too.
    """
    host, colon, port = netloc.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (netloc, "")


def retargeted(request: Request, target: RequestTarget) -> Request:
    """
    A request with parts of it replaced.

    @raise BadTask: its URL cannot be requested any more, or a header of the target
        cannot be sent.
    """
    sends_task, payload = request.sends_task, request.payload
    method = target.method or request.method
    if method in _WITHOUT_BODY:
        sends_task, payload = False, None
    elif payload is None and request.cloud_tasks is None:
        sends_task = method in METHODS_WITH_BODY
    url, given = target.url(request.url), kept_headers(target.headers)
    replaced = {folded(name) for name in given} | {"host"}
    kept = {k: v for k, v in request.headers.items() if folded(k) not in replaced}
    return request._replace(
        method=method,
        url=url,
        headers=with_headers(kept, given, url, BOUNDS),
        sends_task=sends_task,
        payload=payload,
        id_token=target.id_token or request.id_token,
    )
