"""
What each method does that a client may call on an open channel: one function
each, and the table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from quebert._protocol.basic import get_ok
from quebert.broker.protocol._channel import ServerChannel
from quebert.broker.state import (
    AMQPChannelError,
    AMQPConnectionError,
    Queue,
    check_deletion,
    not_implemented,
    precondition_failed,
    unsupported,
)
from quebert.errors import ReplyCode

__all__ = ["COMMANDS", "CommandContext"]


@attrs.frozen
class CommandContext:
    """
    Who calls.

    @ivar connection: to whom exclusive queues belong.
    @ivar rely: to be called when the answer is a promise: that what was done
        outlives the broker.
    """

    connection: object
    channel: ServerChannel
    rely: Callable[[], None]

    def queue(self, name: str) -> Queue:
        """
        A queue by its name, or with C{""} the one that was declared last.

        @raise AMQPChannelError: there is none, or it is not for us.
        """
        return self.channel.vhost.queue(self.queue_name(name), self.connection)

    def queue_name(self, name: str) -> str:
        """
        C{name}, or what C{""} stands for.

        @raise AMQPChannelError: for nothing.
        """
        name = name or self.channel.last_queue
        if not name:
            raise AMQPChannelError(ReplyCode.NOT_FOUND, "no previously declared queue")
        return name

    def answer(self, arguments: Mapping[str, Any], name: str, *values: Any) -> None:
        """
        Answer, unless the client does not want that.
        """
        if not arguments.get("nowait", False):
            self.channel.writer.call(name, *values)


Arguments = Mapping[str, Any]
Command = Callable[[CommandContext, Arguments], None]

COMMANDS: dict[str, Command] = {}


def _command(name: str) -> Callable[[Command], Command]:
    def register(function: Command) -> Command:
        COMMANDS[name] = function
        return function

    return register


# -- Exchanges


@_command("exchange.declare")
def _exchange_declare(context: CommandContext, a: Arguments) -> None:
    exchanges, name = context.channel.vhost.exchanges, a["exchange"]
    if a["passive"]:
        exchanges.existing(name)
    else:
        exchanges.declare(
            name,
            a["exchange_type"],
            durable=a["durable"],
            auto_delete=a["auto_delete"],
            internal=a["internal"],
            arguments=a["arguments"],
        )
        context.rely()
    context.answer(a, "exchange.declare-ok")


@_command("exchange.delete")
def _exchange_delete(context: CommandContext, a: Arguments) -> None:
    exchanges = context.channel.vhost.exchanges
    exchanges.delete(a["exchange"], if_unused=a["if_unused"])
    context.rely()
    context.answer(a, "exchange.delete-ok")


@_command("exchange.bind")
def _exchange_bind(context: CommandContext, a: Arguments) -> None:
    exchanges = context.channel.vhost.exchanges
    destination = exchanges.named(a["destination"])
    exchanges.bind(a["source"], destination, a["routing_key"], a["arguments"])
    context.rely()
    context.answer(a, "exchange.bind-ok")


@_command("exchange.unbind")
def _exchange_unbind(context: CommandContext, a: Arguments) -> None:
    exchanges = context.channel.vhost.exchanges
    destination = exchanges.get(a["destination"])
    if destination is not None and a["source"] in exchanges:
        exchanges.unbind(a["source"], destination, a["routing_key"], a["arguments"])
        context.rely()
    context.answer(a, "exchange.unbind-ok")


# -- Queues


@_command("queue.declare")
def _queue_declare(context: CommandContext, a: Arguments) -> None:
    channel = context.channel
    vhost = channel.vhost
    if a["passive"]:
        queue = context.queue(a["queue"])
        vhost.used(queue)
    else:
        queue = vhost.declare_queue(
            a["queue"],
            durable=a["durable"],
            owner=context.connection if a["exclusive"] else None,
            auto_delete=a["auto_delete"],
            arguments=a["arguments"],
        )
        context.rely()
    channel.last_queue = queue.name
    counts = len(queue.ready), len(queue.consumers)
    context.answer(a, "queue.declare-ok", queue.name, *counts)


@_command("queue.bind")
def _queue_bind(context: CommandContext, a: Arguments) -> None:
    queue = context.queue(a["queue"])
    key = a["routing_key"]
    if not a["queue"] and not key:
        key = queue.name
    context.channel.vhost.exchanges.bind(a["exchange"], queue, key, a["arguments"])
    context.rely()
    context.answer(a, "queue.bind-ok")


@_command("queue.unbind")
def _queue_unbind(context: CommandContext, a: Arguments) -> None:
    vhost = context.channel.vhost
    name = context.queue_name(a["queue"])
    if name in vhost.queues and a["exchange"] in vhost.exchanges:
        queue = context.queue(name)
        vhost.exchanges.unbind(a["exchange"], queue, a["routing_key"], a["arguments"])
        context.rely()
    context.answer(a, "queue.unbind-ok")


@_command("queue.purge")
def _queue_purge(context: CommandContext, a: Arguments) -> None:
    count = context.channel.vhost.router.purge(context.queue(a["queue"]))
    context.rely()
    context.answer(a, "queue.purge-ok", count)


@_command("queue.delete")
def _queue_delete(context: CommandContext, a: Arguments) -> None:
    vhost, name = context.channel.vhost, context.queue_name(a["queue"])
    if name not in vhost.queues:
        context.answer(a, "queue.delete-ok", 0)
        return
    queue = context.queue(name)
    check_deletion(queue, if_unused=a["if_unused"], if_empty=a["if_empty"])
    context.answer(a, "queue.delete-ok", len(queue.ready))  # before its consumers' end
    vhost.delete_queue(queue)
    context.rely()


# -- Messages


@_command("basic.publish")
def _basic_publish(context: CommandContext, a: Arguments) -> None:
    if a["immediate"]:
        raise not_implemented("immediate=true")
    context.channel.publishing.publish(
        a["exchange"], a["routing_key"], mandatory=a["mandatory"]
    )


@_command("basic.qos")
def _basic_qos(context: CommandContext, a: Arguments) -> None:
    if a["prefetch_size"]:
        raise not_implemented(f"prefetch_size!=0 ({a['prefetch_size']})")
    context.answer(a, "basic.qos-ok")  # before the deliveries that follow
    channel = context.channel
    if a["global"]:
        channel.limit = a["prefetch_count"]
        channel.wake()
    else:
        channel.prefetch = a["prefetch_count"]


@_command("basic.consume")
def _basic_consume(context: CommandContext, a: Arguments) -> None:
    for argument in a["arguments"]:
        if argument.startswith("x-"):
            raise unsupported(f"consumer argument {argument}")
    channel = context.channel
    consumer = channel.consume(
        context.queue(a["queue"]),
        a["consumer_tag"],
        no_ack=a["no_ack"],
        exclusive=a["exclusive"],
    )
    context.answer(a, "basic.consume-ok", consumer.tag)
    channel.vhost.router.deliver(consumer.queue)


@_command("basic.cancel")
def _basic_cancel(context: CommandContext, a: Arguments) -> None:
    context.answer(a, "basic.cancel-ok", a["consumer_tag"])
    context.channel.cancel(a["consumer_tag"])


@_command("basic.get")
def _basic_get(context: CommandContext, a: Arguments) -> None:
    channel = context.channel
    queue = context.queue(a["queue"])
    channel.vhost.used(queue)
    entry = channel.vhost.router.get(queue)
    if entry is None:
        channel.writer.call("basic.get-empty", "")
        return
    message, redelivered = entry.content(), entry.redelivered
    tag = channel.got(queue, entry, no_ack=a["no_ack"])
    place = message.exchange, message.routing_key, len(queue.ready)
    method = get_ok(tag, redelivered, *place)
    channel.writer.write_content(method, message)


@_command("basic.ack")
def _basic_ack(context: CommandContext, a: Arguments) -> None:
    context.channel.ack(a["delivery_tag"], multiple=a["multiple"])


@_command("basic.reject")
def _basic_reject(context: CommandContext, a: Arguments) -> None:
    _give_back(context, a["delivery_tag"], a, multiple=False, failed=True)


@_command("basic.nack")
def _basic_nack(context: CommandContext, a: Arguments) -> None:
    _give_back(context, a["delivery_tag"], a, multiple=a["multiple"], failed=False)


def _give_back(
    context: CommandContext, tag: int, a: Arguments, *, multiple: bool, failed: bool
) -> None:
    if a["requeue"]:
        context.channel.requeue(tag, multiple=multiple, failed=failed)
    else:
        context.channel.reject(tag, multiple=multiple)


@_command("basic.recover-async")
def _basic_recover_async(context: CommandContext, a: Arguments) -> None:
    _check_recover(a)
    context.channel.requeue(0, multiple=True, failed=False)


@_command("basic.recover")
def _basic_recover(context: CommandContext, a: Arguments) -> None:
    _check_recover(a)
    context.answer(a, "basic.recover-ok")  # before the deliveries that follow
    context.channel.requeue(0, multiple=True, failed=False)


def _check_recover(a: Arguments) -> None:
    if not a["requeue"]:
        raise not_implemented("requeue=false")


# -- The channel


@_command("confirm.select")
def _confirm_select(context: CommandContext, a: Arguments) -> None:
    context.channel.publishing.confirm()
    context.answer(a, "confirm.select-ok")


@_command("channel.flow")
def _channel_flow(context: CommandContext, a: Arguments) -> None:
    if not a["active"]:
        raise not_implemented("active=false")
    context.answer(a, "channel.flow-ok", True)


@_command("channel.open")
def _channel_open(context: CommandContext, a: Arguments) -> None:
    raise AMQPConnectionError(ReplyCode.CHANNEL_ERROR, "second 'channel.open' seen")


@_command("tx.select")
def _tx_select(context: CommandContext, a: Arguments) -> None:
    raise unsupported("transactions (tx.*)")


@_command("tx.commit")
@_command("tx.rollback")
def _tx_end(context: CommandContext, a: Arguments) -> None:
    raise precondition_failed("channel is not transactional")
