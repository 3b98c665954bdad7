"""
The errors that the broker answers with: AMQP's reply codes, and RabbitMQ's texts.
"""

from __future__ import annotations

from typing import Self

from quebert.errors import QuebertError, ReplyCode

__all__ = [
    "AMQPChannelError",
    "AMQPConnectionError",
    "AMQPError",
    "access_refused",
    "no_exchange",
    "no_queue",
    "not_allowed",
    "not_implemented",
    "precondition_failed",
    "resource_locked",
    "unsupported",
]


class AMQPError(QuebertError):
    """
    What a client did is refused.  As at RabbitMQ, the text begins with the name of the
    reply code.

    @ivar code: the reply code.
    @ivar index: the class and the number of the method that is to blame.
    """

    def __init__(self, code: ReplyCode, text: str) -> None:
        super().__init__(f"{code.name} - {text}")
        self.code = code
        self.index = (0, 0)

    def about(self, index: tuple[int, int]) -> Self:
        """
        The same, of a method.
        """
        self.index = index
        return self


class AMQPChannelError(AMQPError):
    """
    The channel is closed for it.
    """


class AMQPConnectionError(AMQPError):
    """
    The connection is closed for it.
    """


def no_queue(vhost: str, name: str) -> AMQPChannelError:
    """
    There is no such queue.
    """
    return AMQPChannelError(
        ReplyCode.NOT_FOUND, f"no queue '{name}' in vhost '{vhost}'"
    )


def no_exchange(vhost: str, name: str) -> AMQPChannelError:
    """
    There is no such exchange.
    """
    return AMQPChannelError(
        ReplyCode.NOT_FOUND, f"no exchange '{name}' in vhost '{vhost}'"
    )


def access_refused(text: str) -> AMQPChannelError:
    """
    The client may not do that.
    """
    return AMQPChannelError(ReplyCode.ACCESS_REFUSED, text)


def precondition_failed(text: str) -> AMQPChannelError:
    """
    The request contradicts the state of the queue or message.
    """
    return AMQPChannelError(ReplyCode.PRECONDITION_FAILED, text)


def resource_locked(vhost: str, name: str) -> AMQPChannelError:
    """
    The queue is another connection's.
    """
    return AMQPChannelError(
        ReplyCode.RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked queue '{name}'"
        f" in vhost '{vhost}'. It could be originally declared on another connection"
        " or the exclusive property value does not match that of the original"
        " declaration.",
    )


def not_allowed(text: str) -> AMQPConnectionError:
    """
    It is against the rules.
    """
    return AMQPConnectionError(ReplyCode.NOT_ALLOWED, text)


def not_implemented(text: str) -> AMQPConnectionError:
    """
    AMQP has it, and RabbitMQ does not.
    """
    return AMQPConnectionError(ReplyCode.NOT_IMPLEMENTED, text)


def unsupported(text: str) -> AMQPChannelError:
    """
    RabbitMQ has it, and this broker does not.  The connection goes on: its client has
    asked for nothing that it must not, and may have other channels.
    """
    return AMQPChannelError(ReplyCode.NOT_IMPLEMENTED, text)
