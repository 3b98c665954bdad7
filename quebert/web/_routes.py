"""
Which function answers which request.  Pure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import attrs

from quebert.web._exchange import APIProblem, APIRequest
from quebert.web._route_docs import RouteDoc

__all__ = ["Route", "Routes"]

T = TypeVar("T")


@attrs.frozen
class Route(Generic[T]):
    """
    @ivar path: as C{/v1/queues/{queue}:pause}.
    @ivar right: that a token must give; empty for none.
    @ivar handler: answers.
    @ivar doc: what is documented of it.
    """

    method: str
    path: str
    right: str
    handler: Callable[[T], Awaitable[Any]]
    doc: RouteDoc

    @property
    def parts(self) -> tuple[str, ...]:
        """
        The parts between the slashes.
        """
        return tuple(self.path.partition(":")[0].split("/")[1:])

    @property
    def verb(self) -> str:
        """
        The part after the colon.
        """
        return self.path.partition(":")[2]


class Routes(Generic[T]):
    """
    A table of routes.
    """

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route[T]]]] = {}
        # Those that have no name in their path, as that of most requests.
        self._plain: dict[tuple[str, tuple[str, ...], str], Route[T]] = {}
        for route in routes:
            parts = route.parts
            self._by_length.setdefault(len(parts), []).append((parts, route))
            if "{" not in route.path:
                self._plain[route.method, parts, route.verb] = route

    def find(self, request: APIRequest) -> tuple[Route[T], Mapping[str, str]]:
        """
        The route of a request, with the values of the names in its path.

        @raise APIProblem: 404 or 405.
        """
        method = "GET" if request.method == "HEAD" else request.method
        plain = self._plain.get((method, request.path, request.verb))
        if plain is not None:
            return plain, {}
        allowed = set()
        for parts, route in self._by_length.get(len(request.path), ()):
            found = _matched(parts, request.path)
            if found is None or (request.verb and route.verb != request.verb):
                continue
            if route.method == method and route.verb == request.verb:
                return route, found
            if bool(route.verb) == bool(request.verb):
                allowed |= {route.method, *(["HEAD"] if route.method == "GET" else ())}
        allowed = allowed or self._of_verb(request.path)
        if not allowed:
            raise APIProblem(HTTPStatus.NOT_FOUND, "there is nothing of this name")
        text = f"{request.method:.20} is not for this"
        allow = ("Allow", ", ".join(sorted(allowed)))
        raise APIProblem(HTTPStatus.METHOD_NOT_ALLOWED, text, allow)

    def _of_verb(self, path: tuple[str, ...]) -> set[str]:
        """
        The methods of a path of which a verb was not cut off, since it may belong to a
        name: those of C{/v1/tasks:batch}, for a GET.
        """
        if not path:  # the target is none
            return set()
        last, _, verb = path[-1].rpartition(":")
        return {
            route.method
            for parts, route in self._by_length.get(len(path), ())
            if verb
            and route.verb == verb
            and _matched(parts, (*path[:-1], last)) is not None
        }


def _matched(parts: tuple[str, ...], path: tuple[str, ...]) -> dict[str, str] | None:
    found = {}
    for part, given in zip(parts, path, strict=True):
        if part.startswith("{"):
            if not given:
                return None
            found[part[1:-1]] = given
        elif part != given:
            return None
    return found
