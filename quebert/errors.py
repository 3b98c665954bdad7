"""
What can go wrong, as one small tree under L{QuebertError}.

The branches tell whose fault it is: L{ConfigError} the operator's,
L{BadTask} the producer's, L{ExecutorError} the executor's, L{BrokerError} the
broker's or the network's, L{BadSignature} that of whoever made a request to an
executor; L{TaskStoreError} and its neighbours are of tasks that are created over HTTP.
The text of each is one sentence for a log line.

To add an error: a class in the branch of whose fault it is.  A subclass of
L{BrokerError} sets C{final} if to try again makes no sense; C{link/_connection},
C{watch/_channel_keeper}, C{producer/_publishing} and C{cli/_check} ask for it.  Who
decides by the class: for a publication, L{quebert.amqp.wire} lists them; for a request,
C{mediator/_failures} (what becomes of the task) and C{mediator/_admission} (what it
says of the host); for a connection, C{doctor/_examine} (what to do).  What
C{BrokerError.added} says of each is a table in C{docs/producers.rst}.

L{ReplyCode} has the numbers with which the peers of an AMQP connection say it.
"""

from __future__ import annotations

from enum import IntEnum


class ReplyCode(IntEnum):
    """
    Why one end of an AMQP connection closes a channel or the connection, or returns a
    message (AMQP 0-9-1, section 1.2, constants).  Client and embedded broker take
    their numbers from here.  RabbitMQ begins its texts with these names.

    RabbitMQ may send others: so C{BrokerRefused.code} is an C{int}.
    """

    REPLY_SUCCESS = 200  #: A close without a fault.
    CONTENT_TOO_LARGE = 311  #: A message is larger than is taken now.
    NO_ROUTE = 312  #: RabbitMQ's: no queue takes a mandatory message.
    NO_CONSUMERS = 313  #: An immediate message has no consumer.
    CONNECTION_FORCED = 320  #: An operator ends the connection.
    INVALID_PATH = 402  #: There is no such virtual host.
    ACCESS_REFUSED = 403  #: The user has no right to it.
    NOT_FOUND = 404  #: There is no such queue or exchange.
    RESOURCE_LOCKED = 405  #: Another connection has it for itself.
    PRECONDITION_FAILED = 406  #: It is not as was asked for.
    FRAME_ERROR = 501  #: What came is no frame.
    SYNTAX_ERROR = 502  #: A field has a value that it must not have.
    COMMAND_INVALID = 503  #: A method that must not come then.
    CHANNEL_ERROR = 504  #: A frame for a channel that is not open.
    UNEXPECTED_FRAME = 505  #: A frame that must not come then.
    RESOURCE_ERROR = 506  #: There is not enough of something.
    NOT_ALLOWED = 530  #: That must never be asked for.
    NOT_IMPLEMENTED = 540  #: It knows no such method.
    INTERNAL_ERROR = 541  #: A fault of its own.


class QuebertError(Exception):
    """
    Anything that quebert itself raises.
    """


class ConfigError(QuebertError, ValueError):
    """
    A setting is wrong; the text names it and says what would be right.
    """


class PortTaken(ConfigError):
    """
    A port cannot be listened on.
    """


class NoSuchQueue(ConfigError):
    """
    An operation is asked for on a queue that is not there.
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
    text does not tell the address that the host has.  A subclass tells another reason.
    """


class NoIDToken(Forbidden):
    """
    A request must have an ID token, and the mediator has no key to sign one, or may not
    give one of this account.  The request is never made without it.
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

    @ivar added: of a task that was to be added: C{False} if it is certain that the
        broker does not have it, C{None} if the broker may have it.
    """

    added: bool | None = None

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

    added = False


class BrokerRefused(BrokerError):
    """
    The broker closed a channel or the connection, and said why.

    @ivar code: its reply code, a number that is mostly equal to a L{ReplyCode}.
    """

    # Waiting mends none of them.
    _FINAL = frozenset(
        {
            ReplyCode.INVALID_PATH,
            ReplyCode.ACCESS_REFUSED,
            ReplyCode.NOT_FOUND,
            ReplyCode.PRECONDITION_FAILED,
            ReplyCode.FRAME_ERROR,
            ReplyCode.SYNTAX_ERROR,
            ReplyCode.COMMAND_INVALID,
            ReplyCode.CHANNEL_ERROR,
            ReplyCode.UNEXPECTED_FRAME,
            ReplyCode.NOT_ALLOWED,
            ReplyCode.NOT_IMPLEMENTED,
        }
    )

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

    added = False


class MayNotLook(BrokerRefused):
    """
    The user lacks the permission to see whether a queue or an exchange exists.  The
    text names the permission and the name.
    """

    def __init__(self, text: str) -> None:
        super().__init__(ReplyCode.ACCESS_REFUSED, text)


class CertificateRefused(BrokerError):
    """
    We or the broker did not accept the certificate of the other.
    """

    added = False

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

    @ivar code: the reply code to close the connection with.
    """

    def __init__(self, code: ReplyCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class PublishRefused(BrokerError):
    """
    The broker answered a publish with C{basic.nack}: it did not take it.  Another queue
    of the same exchange may have it.
    """


class Unroutable(BrokerError):
    """
    No queue is bound where the message was published to (C{basic.return}).  The text
    names the queue, or the exchange and the routing key.
    """

    added = False


class StoreError(QuebertError):
    """
    The embedded broker cannot read, or write, what is to outlive it.
    """


class HistoryError(QuebertError):
    """
    The database of the history does not do what it was asked for; it may do so later.
    """


class HistoryRefused(HistoryError):
    """
    The history cannot be kept in this database: the database is of a newer version, or
    another program's, or its file cannot be made.
    """


class TaskStoreError(QuebertError):
    """
    The database of created tasks does not do what it was asked for; it may do so later.
    """


class TaskStoreClosed(TaskStoreError):
    """
    The database of created tasks could not be opened: it has certainly not done what it
    was asked for.
    """


class TooManyTasks(TaskStoreError):
    """
    More tasks are being created than there is memory for: this one certainly is not.
    """


class NameTaken(QuebertError):
    """
    The queue has a task of this name, or had one not long ago.
    """


class UUIDTaken(QuebertError):
    """
    There is another task with this uuid.
    """


class TaskUnknown(QuebertError):
    """
    There is no such task.
    """


class TaskEnded(QuebertError):
    """
    The task has ended, or is deleted.
    """


class LeaseLost(QuebertError):
    """
    The executor does not have the task any more: its lease has run out, or it is done.
    """


class UnknownPageToken(QuebertError, ValueError):
    """
    A page of another query is asked for, or none at all.
    """
