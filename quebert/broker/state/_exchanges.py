"""
The exchanges of a virtual host, and what is bound to them.

The rules and the texts of refusals are RabbitMQ's.  Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quebert._protocol.values import decode_table, encode_table
from quebert.broker.state._arguments import (
    check_equivalent,
    check_exchange_name,
    check_same,
)
from quebert.broker.state._errors import (
    access_refused,
    no_exchange,
    precondition_failed,
    unsupported,
)
from quebert.broker.state._exchange import (
    TYPES,
    Binding,
    Exchange,
    unknown_type,
)
from quebert.broker.state._journal import Journal
from quebert.broker.state._queue import Queue
from quebert.broker.state._records import ExchangeRecord

__all__ = ["Exchanges"]

_ALTERNATE = "alternate-exchange"
_PREDECLARED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}


class Exchanges(Mapping[str, Exchange]):
    """
    By their names.

    @param vhost: the name of the virtual host.
    """

    def __init__(self, vhost: str, journal: Journal) -> None:
        self._vhost = vhost
        self._journal = journal
        self._by_name = {n: Exchange(n, type) for n, type in _PREDECLARED.items()}

    def __getitem__(self, name: str) -> Exchange:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str) -> Exchange:
        """
        An exchange by its name.

        @raise AMQPChannelError: there is none.
        """
        exchange = self._by_name.get(name)
        if exchange is None:
            raise no_exchange(self._vhost, name)
        return exchange

    def existing(self, name: str) -> Exchange:
        """
        An exchange other than the default one, by its name.

        @raise AMQPChannelError: there is none.
        """
        _not_default(name)
        return self.named(name)

    def declare(
        self,
        name: str,
        type: str,
        *,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Mapping[str, Any],
    ) -> None:
        """
        Make an exchange, where there is none that is just so.

        @raise AMQPError: it cannot be.
        """
        if type not in TYPES:
            raise unknown_type(type)
        _not_default(name)
        what = f"exchange '{name}' in vhost '{self._vhost}'"
        existing = self._by_name.get(name)
        if existing is not None:
            wanted = (
                ("type", type, existing.type),
                ("durable", durable, existing.durable),
                ("auto_delete", auto_delete, existing.auto_delete),
                ("internal", internal, existing.internal),
            )
            check_same(what, wanted)
            check_equivalent(existing.arguments, arguments, what, [_ALTERNATE])
            return
        if name.startswith("amq."):
            text = f"exchange name '{name}' contains reserved prefix 'amq.*'"
            raise access_refused(text)
        for argument in arguments:
            if argument.startswith("x-"):
                raise unsupported(f"exchange argument {argument}")
        if _ALTERNATE in arguments:
            check_exchange_name(_ALTERNATE, arguments[_ALTERNATE], what)
        exchange = Exchange(name, type, durable, auto_delete, internal, arguments)
        exchange.alternate = arguments.get(_ALTERNATE)
        self._by_name[name] = exchange
        if durable:
            self._journal.exchange_declared(self._vhost, exchange)

    def delete(self, name: str, *, if_unused: bool) -> None:
        """
        Remove an exchange, and the bindings from it and to it.

        @raise AMQPChannelError: it cannot be.
        """
        _not_default(name)
        if name.startswith("amq."):
            text = f"deletion of system exchange '{name}' in vhost '{self._vhost}'"
            raise access_refused(f"{text} not allowed")
        exchange = self._by_name.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            text = f"exchange '{name}' in vhost '{self._vhost}' in use"
            raise precondition_failed(text)
        self._remove(exchange)
        self.remove_incoming(exchange)

    def _remove(self, exchange: Exchange) -> None:
        del self._by_name[exchange.name]
        if exchange.durable:
            self._journal.exchange_deleted(self._vhost, exchange)
        for binding in list(exchange.bindings.values()):
            exchange.remove(binding)

    def remove_incoming(self, destination: Queue | Exchange) -> None:
        """
        Undo the bindings to what is gone, and remove the exchanges that go with their
        last binding: each may be bound to another one, and so on.
        """
        gone: list[Queue | Exchange] = [destination]
        for each in gone:
            for binding in list(each.incoming):
                source = binding.source
                source.remove(binding)
                if source.auto_delete and not source.bindings:
                    self._remove(source)
                    gone.append(source)

    # -- Bindings

    def bind(
        self,
        source: str,
        destination: Queue | Exchange,
        key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        """
        Have messages go from an exchange to a queue or another exchange.

        @raise AMQPChannelError: it cannot be.
        """
        _not_default(source)
        binding = self._binding(source, destination, key, arguments)
        if binding.source.add(binding) and _stored(binding):
            self._journal.bound(self._vhost, binding)

    def unbind(
        self,
        source: str,
        destination: Queue | Exchange,
        key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        """
        The reverse; it is fine where there is no such binding.

        @raise AMQPChannelError: it cannot be.
        """
        _not_default(source)
        wanted = self._binding(source, destination, key, arguments)
        binding = wanted.source.bindings.get(wanted.identity)
        if binding is None:
            return
        binding.source.remove(binding)
        if _stored(binding):
            self._journal.unbound(self._vhost, binding)
        if binding.source.auto_delete and not binding.source.bindings:
            self._remove(binding.source)
            self.remove_incoming(binding.source)

    def _binding(
        self,
        source: str,
        destination: Queue | Exchange,
        key: str,
        arguments: Mapping[str, Any],
    ) -> Binding:
        if isinstance(destination, Exchange):
            _not_default(destination.name)
        exchange = self.named(source)
        return exchange.binding(destination, key, arguments, encode_table(arguments))

    # -- After a restart

    def restore(self, record: ExchangeRecord) -> None:
        """
        An exchange that was there before.
        """
        arguments = decode_table(record.arguments)
        exchange = Exchange(
            record.name,
            record.type,
            True,
            record.auto_delete,
            record.internal,
            arguments,
        )
        exchange.alternate = arguments.get(_ALTERNATE)
        self._by_name[record.name] = exchange


def _not_default(name: str) -> None:
    if not name:
        raise access_refused("operation not permitted on the default exchange")


def _stored(binding: Binding) -> bool:
    return binding.source.durable and binding.destination.durable
