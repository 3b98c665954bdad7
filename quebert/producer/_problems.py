"""
What is told to who adds a task when it is not confirmed: why, and whether the broker
may have it (C{BrokerError.added}).
"""

from __future__ import annotations

from quebert.config import Broker
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    CertificateRefused,
    ChannelLost,
    MessageRefused,
    ReplyCode,
    Unroutable,
)
from quebert.producer._deadline import StreamEnded, TimeIsUp
from quebert.producer._frame_stream import ClosedByBroker

__all__ = ["after_loss", "no_slot", "not_confirmed", "not_connected"]

# For these reasons the broker closes a channel before it takes the message.
_PUBLISH = (60, 40)
_NOT_TAKEN = {
    ReplyCode.ACCESS_REFUSED,
    ReplyCode.NOT_FOUND,
    ReplyCode.PRECONDITION_FAILED,
}
_BLOCKED = "the broker takes no tasks while its memory or disk is full"


def not_connected(ended: StreamEnded, broker: Broker) -> BrokerError:
    """
    There is no connection.
    """
    where = f"the broker at {', '.join(map(str, broker.addresses))}"
    if isinstance(ended, ClosedByBroker):
        user = f"user {broker.username!r} on virtual host {broker.vhost!r}"
        refused = BrokerRefused(ended.code, f"{where} refuses {user}: {ended}")
        refused.added = False
        return refused
    if ended.distrust is not None:
        why = ended.distrust
        if " alert " in why:  # it is the broker who says so
            why = f"it does not accept our certificate, or wants one ({why})"
        return CertificateRefused(f"no TLS with {where}: {why}")
    return BrokerUnreachable(f"{where} cannot be reached: {ended}")


def no_slot(patience: float, most: int) -> BrokerError:
    """
    All connections were in use for all the time.
    """
    text = f"none of {most} connections was free within {patience:g} s"
    return BrokerUnreachable(f"{text}: the broker answers too slowly")


def not_confirmed(
    ended: StreamEnded, where: str, patience: float, *, sent: bool, blocked: bool
) -> BrokerError:
    """
    The connection is lost, or was given up.

    @param where: the task was published to.
    @param sent: whether all of the task was sent.
    @param blocked: whether the broker had said that it reads nothing.
    """
    if isinstance(ended, ClosedByBroker):
        return _refused(ended, where, sent)
    problem: BrokerError
    if isinstance(ended, TimeIsUp) and blocked:
        text = ", this one perhaps later" if sent else ""
        problem = BrokerError(f"{_BLOCKED}{text} ({where})")
    elif not sent:
        problem = ChannelLost(f"the task was not sent ({where}): {ended}")
    else:
        if isinstance(ended, TimeIsUp):
            why = f"no confirm came within {patience:g} s"
        else:
            why = str(ended)
        text = f"nobody knows whether the broker has the task ({where})"
        problem = ChannelLost(f"{text}: {why}")
    problem.added = None if sent else False
    return problem


def _refused(closed: ClosedByBroker, where: str, sent: bool) -> BrokerError:
    code, text = closed.code, f"the broker refused the task ({where}): {closed}"
    if closed.method == _PUBLISH and code == ReplyCode.NOT_FOUND:
        return Unroutable(f"no queue takes this task ({where}): {closed}")
    if closed.method == _PUBLISH and code == ReplyCode.PRECONDITION_FAILED:
        return MessageRefused(code, text)
    refused = BrokerRefused(code, text)
    if not sent or (closed.method == _PUBLISH and code in _NOT_TAKEN):
        refused.added = False
    return refused


def after_loss(first: BrokerError, second: BrokerError) -> BrokerError:
    """
    What is told when a task was sent again, after a loss, and that failed, too.
    """
    if first.added is False or second.added is None:
        return second
    text = f"{first}; then {second}"
    told: BrokerError
    if isinstance(second, BrokerRefused):
        told = type(second)(second.code, text)
    elif isinstance(second, BrokerUnreachable):
        told = ChannelLost(text)
    else:
        told = type(second)(text)
    told.added = None
    return told
