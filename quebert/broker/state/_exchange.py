"""
Exchanges: which queues a message goes to.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from quebert._protocol.extensions import MATCH
from quebert._protocol.values import split_table
from quebert.broker.state._arguments import kind_of
from quebert.broker.state._errors import AMQPConnectionError, precondition_failed
from quebert.broker.state._queue import Queue
from quebert.errors import ReplyCode

__all__ = ["TYPES", "Binding", "Exchange", "destinations", "unknown_type"]


@attrs.frozen(eq=False)
class Binding:
    """
    @ivar source: the exchange that messages come from.
    @ivar destination: where they go.
    @ivar key: its routing key.
    @ivar table: its arguments, by name.
    @ivar arguments: the same, encoded anew; the journal knows it by them.
    @ivar matches: whether a message with a routing key and headers goes this way.
    """

    source: Exchange
    destination: Queue | Exchange
    key: str
    table: Mapping[str, Any]
    arguments: bytes
    matches: Callable[[str, Mapping[str, Any]], bool]

    @property
    def identity(self) -> tuple[Any, ...]:
        """
        Two with the same are one, whatever the order of their arguments.
        """
        fields = frozenset(split_table(self.arguments).values())
        return (self.destination, self.key, fields)


# -- What a binding matches, by the exchange's type

_Matcher = Callable[[str, Mapping[str, Any]], bool]


def _direct(key: str, table: Mapping[str, Any]) -> _Matcher:
    return lambda routing_key, headers: routing_key == key


def _fanout(key: str, table: Mapping[str, Any]) -> _Matcher:
    return lambda routing_key, headers: True


def _topic(key: str, table: Mapping[str, Any]) -> _Matcher:
    """
    C{*} is one word, C{#} any number of them (AMQP 0-9-1, section 3.1.3.3).
    """
    pattern = _words(key)
    if "#" not in pattern and "*" not in pattern:
        return _direct(key, table)
    return lambda routing_key, headers: _topic_matches(pattern, _words(routing_key))


def _words(key: str) -> tuple[str, ...]:
    return tuple(key.split(".")) if key else ()


def _topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    # The positions in the pattern that may be next: no backtracking.
    places = _closure(pattern, {0})
    for word in words:
        stays = {p for p in places if p < len(pattern) and pattern[p] == "#"}
        moves = {
            p + 1 for p in places if p < len(pattern) and pattern[p] in ("*", word)
        }
        places = _closure(pattern, stays | moves)
    return len(pattern) in places


def _closure(pattern: tuple[str, ...], places: set[int]) -> set[int]:
    for p in tuple(places):
        # Where the next place is known, so are those behind it, or they will be.
        while p < len(pattern) and pattern[p] == "#" and p + 1 not in places:
            p += 1
            places.add(p)
    return places


def _headers(key: str, table: Mapping[str, Any]) -> _Matcher:
    """
    All of the headers, or any (AMQP 0-9-1, section 3.1.3.4).
    """
    mode = table.get(MATCH, "all")
    if not isinstance(mode, str):
        text = f"Invalid {MATCH} field type {kind_of(mode)}; expected text"
        raise precondition_failed(text)
    if mode not in ("all", "any", "all-with-x", "any-with-x"):
        text = f"Invalid {MATCH} field value {mode!r}; expected all or any"
        raise precondition_failed(text)
    wanted = {
        name: value
        for name, value in table.items()
        if name != MATCH and (mode.endswith("x") or not name.startswith("x-"))
    }

    def one(headers: Mapping[str, Any], name: str, value: Any) -> bool:
        return name in headers and (value is None or _same(headers[name], value))

    combine = all if mode.startswith("all") else any
    return lambda routing_key, headers: combine(
        one(headers, name, value) for name, value in wanted.items()
    )


def _same(one: Any, other: Any) -> bool:
    # AMQP's types count: True is not 1.
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


TYPES: dict[str, Callable[[str, Mapping[str, Any]], _Matcher]] = {
    "direct": _direct,
    "fanout": _fanout,
    "topic": _topic,
    "headers": _headers,
}


@attrs.define(eq=False)
class Exchange:
    """
    An exchange, with the bindings from it and to it.

    @ivar name: C{""} for the default exchange.
    @ivar type: such as C{"topic"}.
    @ivar durable: whether it is there again after a restart.
    @ivar auto_delete: whether it goes with its last binding.
    @ivar internal: whether clients cannot publish to it.
    @ivar arguments: as they came, by name.
    @ivar bindings: those from it.
    @ivar incoming: those to it.
    @ivar alternate: the exchange that gets what this one cannot route.
    """

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    bindings: dict[tuple[Any, ...], Binding] = attrs.field(factory=dict)
    incoming: set[Binding] = attrs.field(factory=set)
    alternate: str | None = None
    _by_key: dict[str, dict[Binding, None]] = attrs.field(factory=dict)
    _routes: dict[str, tuple[Binding, ...]] = attrs.field(factory=dict)

    def binding(
        self,
        destination: Queue | Exchange,
        key: str,
        table: Mapping[str, Any],
        arguments: bytes,
    ) -> Binding:
        """
        A binding from here, which is not made yet.

        @raise AMQPChannelError: its arguments make no sense here.
        """
        matches = TYPES[self.type](key, table)
        return Binding(self, destination, key, table, arguments, matches)

    def add(self, binding: Binding) -> bool:
        """
        Make it; whether it is new.
        """
        if binding.identity in self.bindings:
            return False
        self.bindings[binding.identity] = binding
        self._by_key.setdefault(binding.key, {})[binding] = None
        self._routes.clear()
        binding.destination.incoming.add(binding)
        return True

    def remove(self, binding: Binding) -> None:
        """
        Undo it.
        """
        del self.bindings[binding.identity]
        same_key = self._by_key[binding.key]
        del same_key[binding]
        if not same_key:
            del self._by_key[binding.key]
        self._routes.clear()
        binding.destination.incoming.discard(binding)

    def matching(self, key: str, headers: Mapping[str, Any]) -> Iterable[Binding]:
        """
        The bindings that a message follows from here.
        """
        if self.type == "direct":
            return self._by_key.get(key, ())
        if self.type == "headers":
            return [b for b in self.bindings.values() if b.matches(key, headers)]
        routes = self._routes.get(key)
        if routes is None:
            routes = tuple(b for b in self.bindings.values() if b.matches(key, headers))
            if len(self._routes) >= _REMEMBERED:
                self._routes.clear()
            self._routes[key] = routes
        return routes


#: For how many routing keys an exchange remembers where they lead.
_REMEMBERED = 1000


def destinations(
    exchange: Exchange,
    keys: Iterable[str],
    headers: Mapping[str, Any],
    exchanges: Mapping[str, Exchange],
) -> list[Queue]:
    """
    The queues that a message reaches, each once, through other exchanges too.

    @param exchanges: all that there are, by name.
    """
    queues: dict[Queue, None] = {}
    seen, ahead = {exchange}, [exchange]
    for source in ahead:
        found: list[Queue | Exchange] = [
            binding.destination
            for key in keys
            for binding in source.matching(key, headers)
        ]
        alternate = exchanges.get(source.alternate or "")
        if not found and source.alternate and alternate is not None:
            found = [alternate]
        for to in found:
            if not isinstance(to, Exchange):
                queues[to] = None
            elif to not in seen:
                seen.add(to)
                ahead.append(to)
    return list(queues)


def unknown_type(type: str) -> AMQPConnectionError:
    """
    There are no such exchanges.
    """
    return AMQPConnectionError(
        ReplyCode.COMMAND_INVALID, f"unknown exchange type '{type}'"
    )
