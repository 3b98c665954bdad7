"""
All that is particular to pika: its import, its connections and its errors.

Pika is an extra, so it is imported when it is first needed; and it does not
say by type who is at fault, so its errors become ours here.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import suppress
from typing import Any

import attrs

from quebert.config import TLS, Address, Broker
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    CertificateRefused,
    ChannelLost,
    ConfigError,
    PublishRefused,
    ReplyCode,
    Unroutable,
)
from quebert.producer._letter import Letter

__all__ = ["PikaConnection", "connect", "import_pika"]

# How pika quotes what ended the connection before it was open.
_CLOSED_BY_BROKER = re.compile(r"ConnectionClosedByBroker: \((\d+)\) (['\"])(.*)\2")
# How ssl says that one side did not accept the certificate of the other; the
# last is all that TLS 1.2 has to say to who shows none.
_DISTRUST = re.compile(
    r"\[SSL: [^]]*(?:CERTIFICATE|UNKNOWN_CA|ALERT_HANDSHAKE)[^]]*\] (.*?) \(_ssl"
)


def import_pika() -> Any:
    """
    The module.

    @raise ConfigError: it is not installed.
    """
    try:
        import pika
        import pika.exceptions
    except ImportError:
        text = "adding tasks without Twisted needs pika: pip install 'pika>=1.3'"
        raise ConfigError(text) from None
    return pika


# -- The connection


def connect(broker: Broker, patience: float) -> PikaConnection:
    """
    A new connection, once its channel is in confirm mode.

    @param patience: seconds in which the connection must be made, and for which the
        broker may block it.
    @raise BrokerUnreachable: no connection could be made in time.
    @raise BrokerRefused: the broker refused the user, the password or the virtual host.
    @raise CertificateRefused: one side does not accept the other's certificate.
    @raise ChannelLost: the connection was lost before it had a channel in confirm mode.
    @raise ConfigError: a file for TLS is wrong.
    """
    pika = import_pika()
    pid = os.getpid()
    parameters = [_parameters(broker, each, patience) for each in broker.addresses]
    try:
        connection = pika.BlockingConnection(parameters)
    except Exception as e:  # pika's connector, TLS and the resolver have theirs
        raise _not_connected(e, broker) from e
    try:
        channel = connection.channel()
        channel.confirm_delivery()
    except pika.exceptions.AMQPError as e:
        raise _our_error(e, "while a channel was opened") from e
    return PikaConnection(connection, channel, pid)


def _parameters(broker: Broker, address: Address, patience: float) -> Any:
    pika = import_pika()
    tls = None if broker.tls is None else _context(broker.tls)
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=broker.vhost,
        credentials=pika.PlainCredentials(broker.username, broker.password),
        heartbeat=broker.heartbeat,
        socket_timeout=patience,
        stack_timeout=patience,
        blocked_connection_timeout=patience,
        ssl_options=tls and pika.SSLOptions(tls),
    )


def _context(tls: TLS) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.cacertfile)
        if tls.certfile is not None:
            # The password keeps it from asking the terminal for one.
            pair = (tls.certfile, tls.keyfile)
            context.load_cert_chain(*pair, password="")  # nosec B106
    except (OSError, ValueError) as e:
        files = ", ".join(filter(None, attrs.astuple(tls)))
        raise ConfigError(f"a file for TLS cannot be used ({files}): {e}") from None
    return context


def _not_connected(error: Exception, broker: Broker) -> BrokerError:
    where = ", ".join(map(str, broker.addresses))
    kinds = import_pika().exceptions
    closed = _CLOSED_BY_BROKER.match(str(error.args[0])) if error.args else None
    if closed:
        return _login_refused(int(closed[1]), closed[3])
    if isinstance(error, kinds.ConnectionClosed):
        return _login_refused(error.reply_code, error.reply_text)
    distrust = _DISTRUST.search(_innermost(error))
    if distrust:
        return _certificate_refused(distrust[1], where)
    if type(error).__name__ == "AMQPConnectorStackTimeout":
        why = "no answer in time"
    elif isinstance(error, kinds.IncompatibleProtocolError):
        why = "what is there does not speak AMQP"
        if broker.tls is not None:
            # TLS 1.3 tells after the handshake, when pika may write already,
            # and not come to read it.
            why += ", or does not accept our certificate, or wants one"
    else:
        why = _innermost(error)
    return BrokerUnreachable(f"the broker at {where} cannot be reached: {why}")


def _certificate_refused(why: str, where: str) -> CertificateRefused:
    if " alert " in why:  # it is the broker who says so
        why = f"it does not accept our certificate, or wants one ({why})"
    return CertificateRefused(f"no TLS with the broker at {where}: {why}")


def _login_refused(code: int, text: str) -> BrokerRefused:
    return BrokerRefused(code, f"the broker refuses the connection: {text}")


def _innermost(error: BaseException) -> str:
    """
    What was the matter, without the layers that pika wraps it in.
    """
    inner = getattr(error, "exception", None) or (error.args and error.args[0])
    if isinstance(inner, BaseException):
        return _innermost(inner)
    return str(error) or type(error).__name__


# -- Publishing


class PikaConnection:
    """
    A connection with one channel in confirm mode, for one publication at a time.

    If a method raises an exception, it was interrupted: by a signal handler, a
    C{gevent.Timeout} or a lack of memory.  The next confirm may then be that of
    another task, and pika may wait for ever for an answer that it has read.  So the
    connection must not be used again, not even to close it: Python closes the
    socket when it collects the connection.

    @param pid: the process that made the connection.
    """

    def __init__(self, connection: Any, channel: Any, pid: int) -> None:
        self._connection = connection
        self._channel = channel
        self._pid = pid

    @property
    def is_ours(self) -> bool:
        """
        Whether this process made the connection.  After a fork, the connections of
        the parent are not to be used by the child.
        """
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """
        Whether it can publish another task.
        """
        return bool(self._channel.is_open)

    def publish(self, exchange: str, letter: Letter) -> BrokerError | None:
        """
        Publish, and wait for the confirm.

        @return: C{None} if the broker has confirmed, else the error.  The error is
            not raised, since a signal handler that adds a task may raise the same.
        """
        pika = import_pika()
        names = {k.replace("-", "_"): v for k, v in letter.properties.items()}
        properties = pika.BasicProperties(**names)
        key, body = letter.routing_key, letter.body
        try:
            self._channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except pika.exceptions.AMQPError as e:
            return _not_published(e, f"exchange {exchange!r}, key {key!r}")
        return None

    def close(self) -> None:
        """
        Close the connection with AMQP's handshake, unless it is closed already
        or another process made it.
        """
        if self.is_ours and self._connection.is_open:
            with suppress(import_pika().exceptions.AMQPError, OSError):
                self._connection.close()


def _not_published(error: Exception, where: str) -> BrokerError:
    ours = _our_error(error, where)
    # Frames of its traceback would keep the producer from being freed.
    ours.__cause__ = error.with_traceback(None)
    return ours


def _our_error(error: Exception, where: str) -> BrokerError:
    kinds = import_pika().exceptions
    if isinstance(error, kinds.UnroutableError):
        return Unroutable(f"no queue takes this task ({where})")
    if isinstance(error, kinds.NackError):
        return PublishRefused(f"the broker did not take the task ({where})")
    if isinstance(error, (kinds.ChannelClosed, kinds.ConnectionClosed)):
        return _refused(error.reply_code, error.reply_text, where)
    if isinstance(error, kinds.ConnectionBlockedTimeout):
        return BrokerError(
            "the broker takes no tasks while its memory or disk is full,"
            f" this one perhaps later ({where})"
        )
    return ChannelLost(
        f"nobody knows whether the broker has the task ({where}): {_innermost(error)}"
    )


def _refused(code: int, text: str, where: str) -> BrokerError:
    if code == ReplyCode.NOT_FOUND and "no exchange" in text:
        return Unroutable(f"no queue takes this task ({where}): {text}")
    return BrokerRefused(code, f"the broker refused the task ({where}): {text}")
