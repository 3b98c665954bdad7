"""
L{GRPCServer} on real sockets, with clients in threads.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from trustme import CA
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from quebert.config import Listen
from quebert.errors import PortTaken
from quebert.test.support import PATIENCE, logged, until
from quebert.testing import free_port
from quebert.web import EVERYTHING, Grant, Tokens
from quebert.web._access_rules import AccessRules
from quebert.web._exchange import APIProblem, APIRequest
from quebert.web.cloud_tasks import CloudTasksError, Code
from quebert.web.cloud_tasks.grpc import GRPCLimits, GRPCServer, _server
from quebert.web.cloud_tasks.grpc._descriptors import message_class

reactor: Any = global_reactor
TOKEN = "qbt_secret"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
_SERVICE = "/google.cloud.tasks.v2.CloudTasks/"
_DETAIL = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"}


class _Stage:
    """
    A server, and a channel to it.

    @ivar asked: the requests that came: methods, messages and grants.
    @ivar waiting: fires with the Deferred of a request that waits.
    @ivar rules: the access rules.
    """

    def __init__(self, authority: CA | None = None, **limits: Any) -> None:
        self.asked: list[tuple[str, Mapping[str, Any], Grant]] = []
        self.waiting: Deferred[Deferred[Any]] = Deferred()
        tokens = Tokens.of(TOKEN, Grant("me", EVERYTHING))
        self.rules = AccessRules(tokens, open_reading=False)
        self.server = GRPCServer(
            reactor,
            self.answer,
            self.admit,
            GRPCLimits(message=10_000, **limits),
        )
        listen = Listen("127.0.0.1", free_port())
        if authority is None:
            self.port = self.server.listen(listen)
            self.channel = grpc.insecure_channel(str(listen))
        else:
            self.port = self.server.listen(listen, pem_of(authority))
            self.channel = trusting(authority, self.port)

    def admit(self, request: APIRequest) -> Grant:
        """
        Let in those that the rules let in, and no busy ones.
        """
        if "x-busy" in request.headers:
            raise APIProblem(429, "too many", ("Retry-After", "3"))
        return self.rules.grant(request)

    async def answer(
        self, method: str, request: Mapping[str, Any], grant: Grant
    ) -> dict[str, Any]:
        """
        Do as the name in a request says.
        """
        self.asked.append((method, request, grant))
        name = request.get("name", "")
        if name == "refuse":
            raise CloudTasksError(Code.ALREADY_EXISTS, "It is there.\nü", [_DETAIL])
        if name == "fail":
            raise ValueError("a secret")
        if name == "wait":
            self.waiting, waiting = Deferred(), self.waiting
            answer: Deferred[Any] = Deferred()
            waiting.callback(answer)
            await answer
        return {"name": name}

    def call(self, method: str, name: str = "n", **options: Any) -> Deferred[Any]:
        """
        Call a method that takes a name; its answer as a message.
        """
        request = message_class("google.cloud.tasks.v2.GetQueueRequest")(name=name)
        options = {"metadata": BEARER, "timeout": PATIENCE, **options}
        calling = self.channel.unary_unary(
            f"{_SERVICE}{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(
                "google.cloud.tasks.v2.Queue"
            ).FromString,
        )
        return deferToThread(calling, request, **options)

    async def refusal(self, method: str, name: str = "n", **options: Any) -> Any:
        """
        The error with which a call fails.
        """
        with pytest.raises(grpc.RpcError) as caught:
            await self.call(method, name, **options)
        return caught.value

    async def end(self) -> None:
        """
        End both.
        """
        self.channel.close()
        await self.server.stop()


def pem_of(authority: CA) -> tuple[bytes, bytes]:
    """
    A key and a certificate with its chain.
    """
    issued = authority.issue_cert("localhost")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return issued.private_key_pem.bytes(), chain


def trusting(authority: CA, port: int) -> Any:
    """
    A channel that trusts an authority.
    """
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    return grpc.secure_channel(f"localhost:{port}", credentials)


@pytest_twisted.async_yield_fixture(scope="module")
async def stage() -> AsyncIterator[_Stage]:
    """
    One server for all tests.
    """
    made = _Stage()
    yield made
    await made.end()


@ensureDeferred
async def test_answer(stage: _Stage) -> None:
    """
    A call is answered, with the rights of its token.
    """
    assert (await stage.call("GetQueue", "q")).name == "q"
    method, request, grant = stage.asked[-1]
    assert (method, request, grant.name) == ("GetQueue", {"name": "q"}, "me")


@ensureDeferred
async def test_error(stage: _Stage) -> None:
    """
    An error has its code, its message and its details.
    """
    error = await stage.refusal("GetTask", "refuse")
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert error.details() == "It is there.\nü"
    [(key, value)] = error.trailing_metadata()
    assert key == "grpc-status-details-bin"
    status = message_class("google.rpc.Status").FromString(value)
    assert (status.code, status.message) == (6, "It is there.\nü")
    info = message_class("google.rpc.ErrorInfo").FromString(status.details[0].value)
    assert info.reason == "R"


@ensureDeferred
async def test_fault(stage: _Stage) -> None:
    """
    A fault of ours is logged, and told without its text.
    """
    with logged() as lines:
        error = await stage.refusal("GetQueue", "fail")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert any("A call over gRPC failed" in line for line in lines)


@ensureDeferred
async def test_tokens(stage: _Stage) -> None:
    """
    A token may come as a key of Google's; an unknown one, or none, is refused.
    """
    await stage.call("GetQueue", metadata=(("x-goog-api-key", TOKEN),))
    before = len(stage.asked)
    for metadata in (), (("x-goog-api-key", "x"),), (("authorization", "Bearer x"),):
        error = await stage.refusal("GetQueue", metadata=metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "not known" in error.details()
    error = await stage.refusal("GetQueue", metadata=(*BEARER, ("origin", "http://x")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(stage.asked) == before


@ensureDeferred
async def test_rate(stage: _Stage) -> None:
    """
    A call that is one too many is refused, as over HTTP, and told when to try again.
    """
    error = await stage.refusal("GetQueue", metadata=(*BEARER, ("x-busy", "1")))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "too many"
    [(key, value)] = error.trailing_metadata()
    [detail] = message_class("google.rpc.Status").FromString(value).details
    info = message_class("google.rpc.RetryInfo").FromString(detail.value)
    assert (key, info.retry_delay.seconds) == ("grpc-status-details-bin", 3)


@ensureDeferred
async def test_no_message_yet(stage: _Stage) -> None:
    """
    A client without rights is refused before it has sent a message.
    """
    calling = stage.channel.stream_unary(f"{_SERVICE}GetQueue")
    ended = threading.Event()
    try:
        call = calling.future(iter(ended.wait, True), timeout=PATIENCE)
        error = await deferToThread(call.exception)
    finally:
        ended.set()
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@ensureDeferred
async def test_slow_client() -> None:
    """
    A client with rights that sends no message does not keep a thread for long, and is
    no fault of ours.
    """
    stage = _Stage(receiving=0.1)
    calling = stage.channel.stream_unary(f"{_SERVICE}GetQueue")
    ended = threading.Event()
    with logged() as lines:
        try:
            call = calling.future(iter(ended.wait, True), metadata=BEARER)
            error = await deferToThread(call.exception, PATIENCE)
        finally:
            ended.set()
        await stage.end()
    assert error.code() is grpc.StatusCode.CANCELLED
    assert not any("failed" in line for line in lines)


@ensureDeferred
async def test_open_reading(stage: _Stage) -> None:
    """
    Where programs of this machine may read without a token, they may over gRPC.
    """
    before, stage.rules = stage.rules, AccessRules(Tokens())
    try:
        await stage.call("GetQueue", metadata=())
        proxied = (("x-forwarded-for", "10.0.0.1"),)
        error = await stage.refusal("GetQueue", metadata=proxied)
    finally:
        stage.rules = before
    assert stage.asked[-1][2] == Grant("", frozenset(["read"]))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@ensureDeferred
async def test_bounds(stage: _Stage) -> None:
    """
    A large message, a compressed one and an unknown method are refused, and no message
    is none.
    """
    error = await stage.refusal("GetQueue", "n" * 10_001)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    gzip = grpc.Compression.Gzip
    error = await stage.refusal("GetQueue", "n" * 1_000_000, compression=gzip)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    error = await stage.refusal("NoMethod")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    calling = stage.channel.stream_unary(f"{_SERVICE}GetQueue")
    call = calling.future(iter(()), metadata=BEARER, timeout=PATIENCE)
    error = await deferToThread(call.exception)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "The request has no message."


@ensureDeferred
async def test_long_error(stage: _Stage) -> None:
    """
    An error that is longer than what clients read as a header is cut.
    """
    for text in "x" * 9_000, "€" * 9_000:
        error = CloudTasksError(Code.NOT_FOUND, text, [{**_DETAIL, "reason": text}])
        answer = stage.server._answer

        async def refuse(*args: Any, e: CloudTasksError = error) -> dict[str, Any]:
            raise e

        stage.server._answer = refuse
        try:
            found = await stage.refusal("GetQueue")
        finally:
            stage.server._answer = answer
        assert found.code() is grpc.StatusCode.NOT_FOUND
        assert 200 < len(found.details()) <= 1_000


@ensureDeferred
async def test_client_leaves(stage: _Stage) -> None:
    """
    A read is cancelled when its client cancels it.
    """
    calling = stage.channel.unary_unary(f"{_SERVICE}GetQueue")
    request = message_class("google.cloud.tasks.v2.GetQueueRequest")(name="wait")
    waiting = stage.waiting
    call = calling.future(
        request.SerializeToString(), metadata=BEARER, timeout=PATIENCE
    )
    answer = await waiting
    ended: Deferred[None] = Deferred()
    answer.addErrback(lambda f: f.trap(CancelledError))
    answer.chainDeferred(ended)
    call.cancel()
    await ended.addTimeout(PATIENCE, reactor)


@ensureDeferred
async def test_deadline(stage: _Stage) -> None:
    """
    A read is over when its deadline has come, whether it was begun or not.
    """
    error = await stage.refusal("GetQueue", "wait", timeout=0.2)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not stage.server._calls._running)
    stage.waiting = Deferred()


@ensureDeferred
async def test_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When it stops it answers the calls that there are, and takes no more.
    """
    monkeypatch.setattr(_server, "_SENDING", PATIENCE)
    stage = _Stage()
    waiting = stage.waiting
    calling = stage.call("PauseQueue", "wait")
    answer = await waiting
    stopping = Deferred.fromCoroutine(stage.server.stop())
    answer.callback(None)
    assert (await calling).name == "wait"
    await stopping
    error = await stage.refusal("GetQueue")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    stage.channel.close()


@ensureDeferred
async def test_port_taken(stage: _Stage) -> None:
    """
    Two servers cannot have one port.
    """
    other = GRPCServer(reactor, stage.answer, stage.rules.grant)
    with pytest.raises(PortTaken, match=f"127.0.0.1:{stage.port} for gRPC: .*in use"):
        other.listen(Listen("127.0.0.1", stage.port))
    await other.stop()


@ensureDeferred
async def test_tls() -> None:
    """
    It serves by TLS, and new connections have a renewed certificate.
    """
    first, second = CA(), CA()
    stage = _Stage(first)
    assert (await stage.call("GetQueue")).name == "n"
    stage.server.renew(pem_of(second))
    stage.channel.close()
    stage.channel = trusting(second, stage.port)
    assert (await stage.call("GetQueue")).name == "n"
    await stage.end()
