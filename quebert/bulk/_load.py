"""
What a run is asked for with, and its beginning and end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from quebert.amqp import TxAMQPClient
from quebert.amqp.wire import Unconfirmed, Wire
from quebert.bulk._batches import RecordReader
from quebert.bulk._count import Count
from quebert.bulk._formats import FORMATS
from quebert.bulk._loading import Loading
from quebert.bulk._patience import Patience
from quebert.bulk._records import RecordSplitter
from quebert.bulk._rejects import Rejects
from quebert.bulk._sending import Sending
from quebert.bulk._source import Source
from quebert.bulk._state import LoadState
from quebert.errors import BrokerError, BrokerRefused, ChannelLost, ReplyCode

__all__ = ["Load", "load"]

#: How often it goes on in a row, without a batch that was carried out.
_ATTEMPTS = 3


def _anything(url: object, field: str) -> None:
    """
    For C{check_url}.
    """


def _nothing(*ignored: object) -> None:
    """
    For who does not want to know.
    """


@attrs.frozen
class Load:
    """
    A file of tasks to add.

    @ivar name: what sentences call the file.
    @ivar descriptor: of the file, which is open.
    @ivar format: one of L{FORMATS}.
    @ivar rejects: the file for records that are refused.
    @ivar state: the state file, or C{None}.
    @ivar exchange: where tasks are published to.
    @ivar key: with which routing key; C{None} for what their kind and priority say.
    @ivar defaults: keywords of C{add_task} for records that do not say them.
    @ivar check_url: raises L{BadTask<quebert.errors.BadTask>} for a URL that is not
        meant so.
    @ivar tell: called with a sentence for whoever looks on.
    @ivar step: called with a L{Count} and the size of the file in bytes, or 0, from
        time to time.
    """

    name: str
    descriptor: int
    format: str
    rejects: Path
    state: Path | None = None
    exchange: str = "flow"
    key: str | None = None
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    check_url: Callable[[object, str], None] = _anything
    tell: Callable[[str], object] = _nothing
    step: Callable[[Count, int], object] = _nothing


async def load(
    client: TxAMQPClient, asked: Load, count: Count, told: Deferred[None]
) -> None:
    """
    Add the tasks of a file.

    @param count: says how far it has come, also when this fails.
    @param told: when it fires, the run ends early, and well.
    @raise BrokerError: the broker does not take tasks.
    @raise ConfigError: a file is wrong, or cannot be read or written.
    """
    format = FORMATS[asked.format]()
    records = RecordSplitter(format.is_whole)
    source = Source(client.reactor, asked.name, asked.descriptor, records)
    size = os.fstat(asked.descriptor).st_size
    state = LoadState.nowhere()
    if asked.state is not None:
        state = LoadState.open(asked.state, _target(client, asked))
    rejects = Rejects(asked.rejects)
    try:
        loading = Loading(
            source,
            RecordReader(format, state.id, asked.defaults, asked.check_url, time.time),
            state,
            rejects,
            count,
            tell=asked.tell,
            step=lambda: asked.step(count, size),
        )
        told.addCallback(lambda _: loading.end())
        await _run(client, asked, state, loading, count, told)
    finally:
        rejects.close()
        state.close()


async def _run(
    client: TxAMQPClient,
    asked: Load,
    state: LoadState,
    loading: Loading,
    count: Count,
    told: Deferred[None],
) -> None:
    """
    Run it, and go on when the connection was lost.
    """
    in_vain, before = 0, -1
    while not told.called:
        beginning = Deferred.fromCoroutine(_begin(client, asked, state, told))
        told.addCallback(lambda _, each: each.cancel(), beginning)
        try:
            wire, sending = await beginning
            await loading.run(wire, sending)
            break
        except CancelledError:
            if not told.called:
                raise
        except BrokerError as e:
            in_vain = in_vain + 1 if count.read == before else 0
            before = count.read
            if told.called or in_vain >= _ATTEMPTS or not may_go_on(e):
                raise
            asked.tell(f"going on with another connection: {e}")


def may_go_on(error: BrokerError) -> bool:
    """
    Whether another connection may help.
    """
    why = error.refusal if isinstance(error, Unconfirmed) else None
    refusal = error if why is None else why
    if isinstance(refusal, BrokerRefused):
        return not refusal.final and refusal.code != ReplyCode.ACCESS_REFUSED
    return isinstance(error, ChannelLost)


async def _begin(
    client: TxAMQPClient, asked: Load, state: LoadState, told: Deferred[None]
) -> tuple[Wire, Sending]:
    wire = await client.connected(client.connectTimeout)
    sending = Sending(wire, asked.exchange, asked.key)
    id = None if asked.state is None else state.id.hex
    patience = Patience(wire, asked.tell, lambda: told.called)
    await patience.answer(Deferred.fromCoroutine(sending.open(id)))
    if asked.state is not None and not sending.has_token:
        asked.tell(
            "the broker has no transactions for this user: if this run is killed, the"
            " last lines that were sent are sent again, with the same uuids"
        )
    return wire, sending


def _target(client: TxAMQPClient, asked: Load) -> str:
    broker = client.broker
    hosts = ",".join(map(str, broker.addresses))
    return f"exchange {asked.exchange!r} at {hosts}, vhost {broker.vhost!r}"
