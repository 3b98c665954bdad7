"""
Mediators as a configuration file describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from quebert._secrets import in_headers
from quebert._twistd import find_hook
from quebert.boundaries import HTTPClient, SigningHTTPClient
from quebert.config import Backoff, LeaseSettings, QueueSettings
from quebert.http import Dispatcher
from quebert.mediator import DelayOnErrorMediator, Leasing, Mediator, PolicyMediator
from quebert.signatures import Signer

__all__ = ["mediates_alike", "mediator"]

#: Of a queue, what its mediator is made of.
_PARTS = (
    "bury",
    "cloud_events",
    "default_url",
    "guard",
    "headers",
    "leases",
    "max_body",
    "max_retry_after",
    "max_url_length",
    "mediator",
    "permanent",
    "posthooks",
    "prehooks",
    "retry",
    "sign",
    "timeout",
)


def mediates_alike(one: QueueSettings, other: QueueSettings) -> bool:
    """
    Whether the same mediator suits both.  What C{[hosts]} says does not count:
    C{Watches.change} passes it on, as the admission control is.
    """
    return all(getattr(one, name) == getattr(other, name) for name in _PARTS)


def mediator(
    queue: QueueSettings, http: HTTPClient | None, reactor: Any, **more: Any
) -> Mediator:
    """
    The mediator for the tasks of C{queue}.

    @param http: makes the requests; a L{Dispatcher} gets the guard of C{queue}.
        C{None} for a mediator that makes none.
    @param more: options of the mediator that no file has, such as C{now}.
    @raise ConfigError: it cannot be made.
    """
    if isinstance(http, Dispatcher):
        http = http.guarded(queue.guard)
    options: dict[str, Any] = {
        "bury": queue.bury,
        "cloud_events": queue.cloud_events,
        "defaulturl": queue.default_url,
        "keep_answers": queue.guard.keeps_answers,
        "max_body": queue.max_body,
        "max_url_length": queue.max_url_length,
        "reactor": reactor,
        "secrets": tuple(in_headers(queue.headers)),
        "http": _with_headers(http, queue.headers) if queue.headers and http else http,
    }
    if queue.sign is not None:
        options["signer"] = Signer(queue.sign.keys)
    if queue.timeout is not None:
        options["defaultTimeout"] = queue.timeout
    made = _of_kind(queue, options | more)
    for name in queue.prehooks:
        made.add_prehook(find_hook(name))
    for name in queue.posthooks:
        made.add_posthook(find_hook(name))
    return made


def _of_kind(queue: QueueSettings, options: dict[str, Any]) -> Mediator:
    retry: Any = queue.retry
    if queue.mediator == "policy":
        if queue.leases is not None:
            options["leasing"] = _leasing(queue.name, queue.leases)
        if queue.max_retry_after is not None:
            options["max_retry_after"] = queue.max_retry_after
        return PolicyMediator(policy=retry, permanent=queue.permanent, **options)
    if queue.mediator == "plain":
        return Mediator(**options)
    wait = retry or Backoff()
    return DelayOnErrorMediator(
        constant=wait.constant,
        maxDelay=wait.max_delay,
        max_attempts=wait.max_attempts,
        max_retry_duration=wait.max_retry_duration,
        traceback=wait.traceback,
        **options,
    )


def _leasing(queue: str, leases: LeaseSettings) -> Leasing:
    return Leasing(
        queue, leases.ids, leases.url, longest=leases.longest, last=leases.last
    )


@attrs.define
class _WithHeaders:
    """
    An HTTP client that adds headers to those that a request has.
    """

    _client: HTTPClient
    _headers: Mapping[str, str]

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        allow_redirects: bool = False,
    ) -> Deferred[Any]:
        """
        Make it; the headers that it has itself are left as they are.
        """
        return self._client.request(
            method,
            url,
            headers=self._added(headers or {}),
            data=data,
            allow_redirects=allow_redirects,
        )

    def _added(self, own: Mapping[str, str]) -> dict[str, str]:
        names = {name.lower() for name in own}
        ours = {k: v for k, v in self._headers.items() if k.lower() not in names}
        return {**ours, **own}


class _SigningWithHeaders(_WithHeaders):
    """
    The same for a L{SigningHTTPClient}, which has requests signed as late.
    """

    _client: Any

    def make_request(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]],
        body: bytes | None,
        sign: Callable[[], Mapping[str, str]] | None = None,
    ) -> Deferred[Any]:
        """
        Make it; nothing but C{sign} gives the headers of the signature.
        """
        added = self._added(dict(fields))
        if sign is not None:
            added = Signer.unsigned(added)
        answering: Deferred[Any] = self._client.make_request(
            method, url, added.items(), body, sign
        )
        return answering


def _with_headers(http: HTTPClient, headers: Mapping[str, str]) -> HTTPClient:
    if isinstance(http, SigningHTTPClient):
        return _SigningWithHeaders(http, headers)
    return _WithHeaders(http, headers)
