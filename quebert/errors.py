"""
What can go wrong, as one small tree under L{QuebertError}.

The branches tell whose fault it is: L{ConfigError} the operator's,
L{BadTask} the producer's, L{ExecutorError} the executor's, L{BrokerError} the
broker's or the network's, L{BadSignature} that of whoever made a request to an
executor.  The text of each is one sentence for a log line.
"""

from __future__ import annotations


class QuebertError(Exception):
    """
    Anything that quebert itself raises.
    """


class ConfigError(QuebertError, ValueError):
    """
    A setting is wrong; the text names it and says what would be right.
    """


class BadTask(QuebertError, ValueError):
    """
    A message is not a task; the text names the field.  It would be bad again,
    so it is never retried.
    """


class NoDefaultURL(BadTask):
    """
    A task has a partial URL, and its mediator has no default URL to complete it.
    The task is never discarded, since another mediator may do it.
    """


class ExecutorError(QuebertError):
    """
    A request was made, or could not be, and the task is not done.
    """


class BadStatus(ExecutorError):
    """
    The executor answered with something other than 2xx, or with a 2xx that says
    itself that it is no success.

    @ivar status: the HTTP status.
    @ivar response: the answer, if it is known.
    @ivar body: the first bytes of its body.
    """

    def __init__(
        self, status: int, text: str, response: object = None, body: bytes = b""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.response = response
        self.body = body


class Forbidden(ExecutorError):
    """
    The guard does not let a request be made; it would refuse the request again.  The
    text does not tell the address that the host has.
    """


class BadSignature(QuebertError, ValueError):
    """
    A request is not signed by whoever has the secret, or not just now, or has been here
    before.  The text tells neither the secret nor anything of the request.
    """


class RequestTimedOut(ExecutorError):
    """
    The whole answer, to the last byte of its body, was not there in time.
    """


class IncompleteAnswer(ExecutorError):
    """
    The connection ended before the answer did.

    @ivar body: the bytes of its body that had come.
    """

    def __init__(self, text: str, body: bytes = b"") -> None:
        super().__init__(text)
        self.body = body


class BrokerError(QuebertError):
    """
    The broker, or the way to it, did not do what was asked.
    """

    @property
    def final(self) -> bool:
        """
        Whether the same request would be refused again.
        """
        return False


class BrokerUnreachable(BrokerError):
    """
    No connection could be made in the time that was given.
    """


class BrokerRefused(BrokerError):
    """
    The broker closed a channel or the connection, and said why.

    @ivar code: the AMQP reply code (AMQP 0-9-1 reference, constants).
    """

    # What waiting does not mend: access-refused, not-found,
    # precondition-failed, not-allowed, not-implemented, the syntax errors.
    _FINAL = frozenset({402, 403, 404, 406, 501, 502, 503, 504, 505, 530, 540})

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def final(self) -> bool:
        """
        Whether the same request would be refused again.
        """
        return self.code in self._FINAL


class MessageRefused(BrokerRefused):
    """
    The broker does not take this very message, such as one that is larger than its
    C{max_message_size} (precondition-failed).
    """


class MayNotLook(BrokerRefused):
    """
    The user lacks the permission to see whether a queue or an exchange exists.  The
    text names the permission and the name.
    """

    def __init__(self, text: str) -> None:
        super().__init__(403, text)


class CertificateRefused(BrokerError):
    """
    We or the broker did not accept the certificate of the other.
    """

    @property
    def final(self) -> bool:
        """
        Whether the same request would be refused again.
        """
        return True


class ChannelLost(BrokerError):
    """
    The channel or its connection went away: what was asked may or may not
    have been done.
    """


class ProtocolError(BrokerError):
    """
    The peer sent what is not AMQP 0-9-1.

    @ivar code: the AMQP reply code to close the connection with.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class PublishRefused(BrokerError):
    """
    The broker answered a publish with C{basic.nack}: it did not take it.
    """


class Unroutable(BrokerError):
    """
    No queue is bound where the message was published to (C{basic.return}).
    """


class StoreError(QuebertError):
    """
    The embedded broker cannot read, or write, what is to outlive it.
    """
