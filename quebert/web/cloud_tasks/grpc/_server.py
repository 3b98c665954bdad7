"""
The Cloud Tasks API over gRPC.

Theory of operation.  grpcio has threads of its own, and gives each call to one of them.
The thread asks the access rules; only then it takes the message of the request, so that
clients without rights cannot have it wait for one, and others not for long.  It hands
the request to the reactor (L{ReactorCalls}), which answers as over REST.  A method
takes a stream of messages for that reason, of which it reads one: to a client that is
the same.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import attrs
import grpc
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._text import cut, what_is_wrong
from quebert.config import Listen
from quebert.errors import PortTaken
from quebert.web._exchange import APIProblem, APIRequest, Caller
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks._errors import CloudTasksError, Code, retry_details
from quebert.web.cloud_tasks.grpc._awaited_requests import AwaitedRequests
from quebert.web.cloud_tasks.grpc._methods import RemoteMethod, methods, status_bytes
from quebert.web.cloud_tasks.grpc._reactor_calls import (
    Abandoned,
    ReactorCalls,
    TooManyCalls,
)

__all__ = ["GRPCLimits", "GRPCServer"]

#: What answers: the name of a method, its request as proto JSON, and the rights.
Answerer = Callable[
    [str, Mapping[str, Any], Grant], Coroutine[Any, Any, dict[str, Any]]
]
_STATUSES = {each.value[0]: each for each in grpc.StatusCode}
_CODES = {
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Code.PERMISSION_DENIED,
    HTTPStatus.TOO_MANY_REQUESTS: Code.RESOURCE_EXHAUSTED,
}
_READING = ("Get", "List", "Test")
# Characters of a message, which is a header field: 8 kB of them are read by clients,
# where a character that is not ASCII may take twelve bytes.
_MESSAGE, _OTHER_MESSAGE = 1_000, 250
# Bytes of the details.
_DETAILS = 4_000
# Seconds in which answers must be on their way when the server stops.
_SENDING = 1.0
# When a call is to be made again that is one too many.
_SOON = "Retry-After", "1"


@attrs.frozen(kw_only=True)
class GRPCLimits:
    """
    What the server takes of its clients.

    @ivar threads: calls that are worked at, at a time.
    @ivar calls: calls that there are, at a time; more are refused.
    @ivar message: bytes of a request, as over HTTP.
    @ivar connections: at a time.
    @ivar receiving: seconds for which a thread waits for a request, at least; less if
        one client has most of them wait.
    @ivar patience: seconds for which a call without a deadline waits.
    """

    threads: int = 64
    calls: int = 256
    message: int = 2 * 2**20
    connections: int = 1_000
    receiving: float = 10.0
    patience: float = 60.0

    @property
    def options(self) -> list[tuple[str, Any]]:
        """
        The same for grpcio.
        """
        return [
            ("grpc.max_receive_message_length", self.message),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_concurrent_streams", self.calls),
            ("grpc.server_handshake_timeout_ms", 10_000),
            # None but identity: a small message must not become a large one.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            # Else a second server could have the same port.
            ("grpc.so_reuseport", 0),
        ]


class GRPCServer:
    """
    Serves the Cloud Tasks API over gRPC.

    @param answer: the C{call} of L{CloudTasks<quebert.web.cloud_tasks.CloudTasks>}.
    @param admit: gives the rights of a request, or raises L{APIProblem
        <quebert.web._exchange.APIProblem>}; called in threads.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        answer: Answerer,
        admit: Callable[[APIRequest], Grant],
        limits: GRPCLimits | None = None,
    ) -> None:
        limits = limits or GRPCLimits()
        self._reactor = reactor
        self._answer = answer
        self._admit = admit
        self._calls = ReactorCalls(reactor, limits.calls, limits.patience)
        self._threads = ThreadPoolExecutor(limits.threads, "gRPC")
        self._server = grpc.server(
            self._threads,
            [_handlers(name, each, self._behave) for name, each in methods()],
            options=limits.options,
            maximum_concurrent_rpcs=limits.calls,
        )
        self._renewed: Any = None
        self._awaited = AwaitedRequests(limits.threads, limits.receiving)
        self._looking = LoopingCall(self._end_slow)
        self._looking.clock = reactor
        self._refused = RepeatedWarning(
            self.log,
            lambda: reactor,
            "A call over gRPC was refused",
            "Calls over gRPC are let in again",
        )

    def listen(self, listen: Listen, pem: tuple[bytes, bytes] | None = None) -> int:
        """
        Listen, and give the number of the port.

        @param pem: the key, and the certificate with its chain, to serve by TLS.
        @raise PortTaken: it cannot.
        """
        try:
            if pem is None:
                port = self._server.add_insecure_port(str(listen))
            else:
                credentials = grpc.dynamic_ssl_server_credentials(
                    _certificate(pem), self._fetch_certificate
                )
                port = self._server.add_secure_port(str(listen), credentials)
        except RuntimeError:
            port = 0
        if not port:
            why = _why_taken(listen)
            raise PortTaken(f"cannot listen on {listen} for gRPC: {why}")
        self._server.start()
        self._looking.start(self._awaited.pace, now=False)
        number: int = port
        return number

    def renew(self, pem: tuple[bytes, bytes]) -> None:
        """
        Use another key and certificate for connections that are made from now on.
        """
        self._renewed = _certificate(pem)

    def _fetch_certificate(self) -> Any:
        """
        The certificate that is new since the last connection, if there is one.
        """
        renewed, self._renewed = self._renewed, None
        return renewed

    async def stop(self) -> None:
        """
        Listen no more, and answer the calls that there are; those that take long are
        ended.
        """
        ended = self._server.stop(_SENDING)
        if self._looking.running:
            self._looking.stop()
        pool = self._reactor.getThreadPool()
        await deferToThreadPool(self._reactor, pool, ended.wait)
        self._threads.shutdown(wait=False)
        self._refused.end()

    def _end_slow(self) -> None:
        """
        End the calls whose requests do not come.
        """
        for context in self._awaited.late(self._reactor.seconds()):
            context.cancel()

    # -- In the threads of grpcio

    def _behave(
        self, method: RemoteMethod, sent: Iterator[bytes], context: Any
    ) -> bytes:
        """
        Answer a call.
        """
        try:
            return self._answered(method, sent, context)
        except CloudTasksError as e:
            error = e
        except Abandoned:
            error = CloudTasksError(Code.CANCELLED, "nobody waits for the answer")
        except TooManyCalls:
            text = "too many calls are under way: try again later"
            details = retry_details([_SOON])
            error = CloudTasksError(Code.RESOURCE_EXHAUSTED, text, details)
        except TimeoutError:
            error = CloudTasksError(Code.DEADLINE_EXCEEDED, "this takes too long")
        except Exception:
            text = "A call over gRPC failed."
            self._reactor.callFromThread(self.log.failure, text, Failure())
            text = "this is a fault of the server; its log has it"
            error = CloudTasksError(Code.INTERNAL, text)
        context.abort_with_status(_AbortStatus.of(error))
        raise AssertionError("it has raised")

    def _answered(
        self, method: RemoteMethod, sent: Iterator[bytes], context: Any
    ) -> bytes:
        grant = self._grant(context)
        client = grant.name or _address(context.peer())
        request = method.read(self._received(sent, context, client))
        answer = self._calls.run(
            lambda: self._answer(method.name, request, grant),
            not method.name.startswith(_READING),
            context.add_callback,
        )
        return method.write(answer)

    def _received(self, sent: Iterator[bytes], context: Any, client: str) -> bytes:
        """
        The bytes of a request.
        """
        if not self._awaited.begin(context, client, self._reactor.seconds()):
            text = "too many calls of this client have no request yet"
            raise CloudTasksError(Code.RESOURCE_EXHAUSTED, text)
        try:
            content = next(sent, None)
        except grpc.RpcError:  # the call has ended
            raise Abandoned from None
        finally:
            self._awaited.end(context)
        if content is None:
            raise CloudTasksError(Code.INVALID_ARGUMENT, "The request has no message.")
        return content

    def _grant(self, context: Any) -> Grant:
        """
        The rights of a call.

        @raise CloudTasksError: it has none.
        """
        headers = dict(context.invocation_metadata())
        key = headers.get("x-goog-api-key")
        if key is not None:
            headers.setdefault("authorization", f"Bearer {key}")
        # No browser sends such a call for a page of another name; so the name by which
        # the client calls us, which grpcio does not tell, is of no interest.
        headers["host"] = "localhost"
        request = APIRequest(
            method="POST",
            path=(),
            headers=headers,
            caller=Caller(address=_address(context.peer())),
        )
        try:
            return self._admit(request)
        except APIProblem as e:
            if e.status != HTTPStatus.TOO_MANY_REQUESTS:
                why = f"{request.caller.address}: {e.status}, {e}"
                self._reactor.callFromThread(self._refused.met, why)
            code, details = _CODES[HTTPStatus(e.status)], retry_details(e.headers)
            raise CloudTasksError(code, str(e), details) from None


@attrs.frozen
class _AbortStatus:
    """
    What C{abort_with_status} takes, which wants no more of C{grpc.Status}.
    """

    code: Any
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, error: CloudTasksError) -> _AbortStatus:
        """
        The same as an error; details that are too long are left out.
        """
        most = _MESSAGE if error.message.isascii() else _OTHER_MESSAGE
        message = cut(error.message, most)
        metadata: tuple[tuple[str, bytes], ...] = ()
        if error.details:
            status = status_bytes({**error.status, "message": message})
            if len(status) <= _DETAILS:
                metadata = (("grpc-status-details-bin", status),)
        return cls(_STATUSES[int(error.code)], message, metadata)


def _handlers(service: str, methods: list[RemoteMethod], behave: Any) -> Any:
    """
    The handlers of a service.
    """
    return grpc.method_handlers_generic_handler(
        service,
        {
            each.name: grpc.stream_unary_rpc_method_handler(partial(behave, each))
            for each in methods
        },
    )


def _why_taken(listen: Listen) -> str:
    """
    Why one cannot listen there, which grpcio does not tell.
    """
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    try:
        with socket.socket(family) as port:
            port.bind((listen.address, listen.port))
    except OSError as e:
        return what_is_wrong(e)
    return "grpcio does not say why"


def _certificate(pem: tuple[bytes, bytes]) -> Any:
    return grpc.ssl_server_certificate_configuration([pem])


def _address(peer: str) -> str:
    """
    The IP address of C{ipv4:127.0.0.1:5000} or C{ipv6:[::1]:5000}, whose brackets are
    percent-encoded; empty for a Unix socket.
    """
    kind, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
