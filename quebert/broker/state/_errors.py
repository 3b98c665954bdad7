"""
The errors that the broker answers with: AMQP's reply codes (AMQP 0-9-1 reference,
constants), and RabbitMQ's texts.
"""

from __future__ import annotations

from typing import Self

from quebert.errors import QuebertError

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
]


class AMQPError(QuebertError):
    """
    What a client did is refused.

    @ivar code: the reply code.
    @ivar index: the class and the number of the method that is to blame.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
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
    404: there is no such queue.
    """
    return AMQPChannelError(404, f"NOT_FOUND - no queue '{name}' in vhost '{vhost}'")


def no_exchange(vhost: str, name: str) -> AMQPChannelError:
    """
    404: there is no such exchange.
    """
    return AMQPChannelError(404, f"NOT_FOUND - no exchange '{name}' in vhost '{vhost}'")


def access_refused(text: str) -> AMQPChannelError:
    """
    403: ACCESS_REFUSED.
    """
    return AMQPChannelError(403, f"ACCESS_REFUSED - {text}")


def precondition_failed(text: str) -> AMQPChannelError:
    """
    406: PRECONDITION_FAILED: the request contradicts the state of the queue or message.
    """
    return AMQPChannelError(406, f"PRECONDITION_FAILED - {text}")


def resource_locked(vhost: str, name: str) -> AMQPChannelError:
    """
    405: the queue is another connection's.
    """
    return AMQPChannelError(
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}'"
        f" in vhost '{vhost}'. It could be originally declared on another connection"
        " or the exclusive property value does not match that of the original"
        " declaration.",
    )


def not_allowed(text: str) -> AMQPConnectionError:
    """
    530: it is against the rules.
    """
    return AMQPConnectionError(530, f"NOT_ALLOWED - {text}")


def not_implemented(text: str) -> AMQPConnectionError:
    """
    540: AMQP has it, or RabbitMQ, and this broker does not.
    """
    return AMQPConnectionError(540, f"NOT_IMPLEMENTED - {text}")
