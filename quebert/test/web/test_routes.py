"""
Each route, as its documentation says: each status, each answer, and who may use it.

A status that is added to L{quebert.web._route_docs} needs a request here that has it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert.config import OIDC
from quebert.created_tasks import STATES
from quebert.errors import BrokerUnreachable, MessageRefused, TaskStoreError, Unroutable
from quebert.executor import ExecutorLimits
from quebert.limits import Rate
from quebert.signatures import JWKS_PATH
from quebert.test.fake_cluster import waiting_uuid
from quebert.test.leases.doubles import leased
from quebert.test.test_token_keys import KEYS
from quebert.test.web import doubles
from quebert.test.web.doubles import LOOPBACK, MemoryAPI
from quebert.web import RIGHTS, Assets, Grant, _resource
from quebert.web._exchange import JSON, PROBLEM
from quebert.web._openapi import openapi, statuses_of
from quebert.web._problems import MEANINGS
from quebert.web._resource import WebResource
from quebert.web._routes import Route
from quebert.web._site import WebSite
from quebert.web._task_body import FIELDS

try:
    from openapi_schema_validator import OAS31Validator
    from openapi_spec_validator import OpenAPIV31SpecValidator
except ImportError:  # it is among the extra "test"
    OAS31Validator = None  # type: ignore[assignment,misc,unused-ignore]

ISSUER = "/.well-known/openid-configuration", JWKS_PATH
LEASE = doubles.LEASE_IDS.make(bytes(16), 1)
_TASK = {"url": "http://127.0.0.1:8000/"}
_ALL: dict[str, Any] = {"match": []}
_LIMITS = ExecutorLimits(body=1_000, head=65_536, fields=20, connections=300)
#: What stands for the names in paths.
_SAMPLES = {"queue": "mail", "uuid": waiting_uuid("not_due"), "id": LEASE}
Prepare = Callable[[MemoryAPI], object]


@attrs.frozen
class Probe:
    """
    A request that is to have a status.

    @ivar route: method and path, as in the table of routes.
    @ivar target: C{None} for the path of the route.
    @ivar prepare: called with the API before.
    @ivar is_crowded: whether another connection has the place of the only one.
    """

    route: str
    status: int
    body: Any = None
    target: str | None = None
    token: str | None = "all"
    prepare: Prepare = lambda api: None
    address: str = LOOPBACK
    content_type: str = JSON
    is_crowded: bool = False

    @property
    def sent(self) -> bytes:
        """
        The request.
        """
        method, _, path = self.route.partition(" ")
        if self.target is None:
            target = re.sub(r"\{(\w+)\}", lambda found: _SAMPLES[found[1]], path)
        else:
            target = self.target
        body = b""
        if self.body is not None:
            given = self.body
            body = given if isinstance(given, bytes) else json.dumps(given).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        if self.token is not None:
            lines.append(f"Authorization: Bearer {self.token}")
        if body or method == "POST":
            lines += [f"Content-Type: {self.content_type}"]
            lines += [f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@attrs.define
class Answered:
    """
    A status, and what came with it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


def asked(probe: Probe, api: MemoryAPI) -> Answered:
    """
    Make a request, over a connection in memory.
    """
    probe.prepare(api)
    limits = attrs.evolve(_LIMITS, connections=1 if probe.is_crowded else 300)
    resource = WebResource(api.clock, api.api, Assets(), api.hub, limits=limits)
    site = WebSite(resource, api.clock)
    if probe.is_crowded:
        other, _ = _connection(site, probe.address)
        other.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    protocol, transport = _connection(site, probe.address)
    protocol.dataReceived(probe.sent)
    api.clock.advance(0)
    if not transport.value():
        api.clock.advance(30)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    resource.stop()
    return Answered(int(first.split()[1]), headers, body)


def _connection(site: WebSite, client: str) -> tuple[Any, Any]:
    """
    A new connection, and its transport.
    """
    address = IPv4Address("TCP", client, 12_345)
    transport: Any = StringTransport(IPv4Address("TCP", LOOPBACK, 80), address)
    protocol: Any = site.buildProtocol(address)
    protocol.makeConnection(transport)
    return protocol, transport


# -- What happens before


def _no_broker(api: MemoryAPI) -> None:
    api.cluster.broken = "RabbitMQ is away"
    api.broker.problem = BrokerUnreachable("RabbitMQ is away")


def _no_history(api: MemoryAPI) -> None:
    api.cluster.history_broken = "the disk is full"


def _no_rows(api: MemoryAPI) -> None:
    api.rows.problem = TaskStoreError("the disk is full")


def _silent(name: str) -> Prepare:
    def prepare(api: MemoryAPI) -> None:
        setattr(api.cluster, name, lambda *args: Deferred())

    return prepare


def _refuses(error: Any) -> Prepare:
    def prepare(api: MemoryAPI) -> None:
        api.broker.problem = error

    return prepare


def _created(api: MemoryAPI) -> None:
    api.ask("POST", "/v1/tasks", {**_TASK, "uuid": "u", "name": "n"}, token="all")


def _deleted(api: MemoryAPI) -> None:
    _created(api)
    api.ask("DELETE", "/v1/tasks/u", token="all")


def _issues(api: MemoryAPI) -> None:
    api.api._oidc = OIDC("https://tasks.example", "keys.pem", KEYS)


def _leased(api: MemoryAPI) -> None:
    message = leased(LEASE, identity=bytes(16), until=2e6, last=2e6)
    api.lease_rows.hold([message])


def _completed(api: MemoryAPI) -> None:
    _leased(api)
    api.ask("POST", f"/v1/leases/{LEASE}:complete")


def _no_lease_rows(api: MemoryAPI) -> None:
    for name in ("change", "find"):
        setattr(api.lease_rows, name, lambda *args: fail(TaskStoreError("it is full")))


def _operation(api: MemoryAPI) -> None:
    with mock.patch("secrets.token_hex", return_value="given"):
        api.ask("POST", "/v1/queues/mail/dead:redrive", _ALL, token="all")


def _busy(api: MemoryAPI) -> None:
    for _ in range(3):
        api.ask("POST", "/v1/queues/mail/dead:redrive", _ALL, token="all")


def _probes() -> Iterator[Probe]:
    """
    What is of one route alone.
    """
    long = "x" * 256
    # Of the process
    for path in ("/metrics", "/healthz", "/readyz", "/v1/openapi.json"):
        yield Probe(f"GET {path}", 200)
    yield Probe("GET /readyz", 503, prepare=_no_broker)
    for path in ISSUER:
        yield Probe(f"GET {path}", 404)
        yield Probe(f"GET {path}", 200, prepare=_issues)
    # Of the cluster
    for path in ("overview", "hosts", "mediators"):
        yield Probe(f"GET /v1/{path}", 200)
    events = "GET /v1/events"
    yield Probe(events, 200)
    yield Probe(events, 404, target=f"/v1/events?queue={long}")
    yield Probe(events, 503, prepare=lambda api: setattr(_resource, "MOST_STREAMS", 0))
    operation = "GET /v1/operations/{id}"
    yield Probe(operation, 404)
    yield Probe(operation, 200, target="/v1/operations/given", prepare=_operation)
    for path, name in (("", "queue"), ("/dead", "dead")):
        route = f"GET /v1/queues/{{queue}}{path}"
        yield Probe(route, 200)
        yield Probe(route, 404, target=f"/v1/queues/none{path}")
        yield Probe(route, 503, prepare=_silent(name))
    yield Probe(
        "GET /v1/queues/{queue}/dead", 400, target="/v1/queues/mail/dead?page_size=0"
    )
    # Of queues
    for verb in ("pause", "resume", "purge"):
        route = f"POST /v1/queues/{{queue}}:{verb}"
        yield Probe(route, 200, {})
        yield Probe(route, 200)
        yield Probe(route, 404, target=f"/v1/queues/{long}:{verb}")
        yield Probe(route, 503, prepare=_no_broker)
    for verb in ("redrive", "discard"):
        route = f"POST /v1/queues/{{queue}}/dead:{verb}"
        yield Probe(route, 202, _ALL)
        yield Probe(route, 404, _ALL, target=f"/v1/queues/{long}/dead:{verb}")
        yield Probe(route, 429, _ALL, prepare=_busy)
    # Of tasks
    yield Probe("GET /v1/tasks", 200)
    yield Probe("GET /v1/tasks", 200, target="/v1/tasks?name=n", prepare=_created)
    yield Probe("GET /v1/tasks", 400, target="/v1/tasks?state=odd")
    yield Probe("GET /v1/tasks", 404, target=f"/v1/tasks?queue={long}")
    yield Probe("GET /v1/tasks", 503, prepare=_no_history)
    task = "GET /v1/tasks/{uuid}"
    yield Probe(task, 200)
    yield Probe(task, 200, target="/v1/tasks/u", prepare=_created)
    yield Probe(task, 200, target="/v1/tasks/u", prepare=_deleted)
    yield Probe(task, 404, target="/v1/tasks/u")
    yield Probe(task, 503, target="/v1/tasks/u", prepare=_no_rows)
    yield Probe(f"{task}/why", 200)
    yield Probe(f"{task}/why", 404, target=f"/v1/tasks/u/why?queue={long}")
    yield Probe(f"{task}/why", 503, prepare=_no_broker)
    # What changes tasks
    delete = "DELETE /v1/tasks/{uuid}"
    yield Probe(delete, 200, target="/v1/tasks/u", prepare=_created)
    yield Probe(delete, 404)
    yield Probe(delete, 410, target="/v1/tasks/u", prepare=_deleted)
    yield Probe(delete, 503, target="/v1/tasks/u?queue=slow", prepare=_no_broker)
    run = "POST /v1/tasks/{uuid}:run"
    yield Probe(run, 200, target="/v1/tasks/u:run", prepare=_created)
    yield Probe(run, 200, {"queue": "slow"})
    yield Probe(run, 404)
    yield Probe(run, 410, target="/v1/tasks/u:run", prepare=_deleted)
    yield Probe(run, 503, {"queue": "slow"}, prepare=_no_broker)
    cancel, cancelled = "POST /v1/tasks:cancel", {"queue": "slow", "match": []}
    yield Probe(cancel, 202, cancelled)
    yield Probe(cancel, 404, {**cancelled, "queue": "half a pair: \ud800"})
    yield Probe(cancel, 429, cancelled, prepare=_busy)
    # Of leases
    lease = f"/v1/leases/{LEASE}"
    for verb, body in (("renew", {"seconds": 60}), ("complete", {}), ("fail", {})):
        route, target = f"POST /v1/leases/{{id}}:{verb}", f"{lease}:{verb}"
        yield Probe(route, 200, body, target=target, prepare=_leased)
        yield Probe(route, 404, body, target=f"/v1/leases/none:{verb}")
        yield Probe(route, 409, body, target=target, prepare=_completed)
        yield Probe(route, 503, body, target=target, prepare=_no_lease_rows)
    for verb in ("renew", "fail"):
        route, target = f"POST /v1/leases/{{id}}:{verb}", f"{lease}:{verb}"
        yield Probe(route, 422, {"seconds": -1}, target=target)
    # What creates tasks
    create = "POST /v1/tasks"
    yield Probe(create, 201, _TASK)
    yield Probe(create, 404, _TASK, prepare=_refuses(Unroutable("no queue")))
    yield Probe(create, 409, {**_TASK, "name": "n"}, prepare=_created)
    yield Probe(create, 413, _TASK, prepare=_refuses(MessageRefused(406, "too large")))
    yield Probe(create, 422, {})
    yield Probe(create, 503, _TASK, prepare=_no_broker)
    yield Probe(create, 503, _TASK, prepare=_no_rows)
    batch = "POST /v1/tasks:batch"
    yield Probe(batch, 200, {"tasks": [_TASK, {}]})
    yield Probe(batch, 422, {"tasks": []})
    yield Probe(batch, 503, {"tasks": [_TASK]}, prepare=_no_rows)


def _common(route: Route[Any]) -> Iterator[Probe]:
    """
    What each route has.
    """
    name = f"{route.method} {route.path}"
    path = re.sub(r"\{(\w+)\}", lambda found: _SAMPLES[found[1]], route.path)
    if route.method == "POST" and not route.doc.query:
        yield Probe(name, 400, b"{")
        yield Probe(name, 400, b"[1")
        yield Probe(name, 415, b"{}", content_type="text/plain")
        yield Probe(name, 413, b" " * 1_001)
    yield Probe(name, 400, target=f"{path}?%FF=1")
    yield Probe(name, 414, target=f"{path}?a={'x' * 20_000}")
    yield Probe(name, 503, is_crowded=True)
    if route.right:
        yield Probe(name, 401, token=None, address="192.0.2.1")
        yield Probe(name, 401, token="unknown")
        yield Probe(name, 403, token="nothing")
        yield Probe(name, 429, prepare=_exhaust)


def _exhaust(api: MemoryAPI) -> None:
    api.limits._rate = Rate.parse("1/h")
    api.ask("GET", "/v1/overview", token="all")


class RoutesTests(SynchronousTestCase):
    """
    All routes.
    """

    def setUp(self) -> None:
        if OAS31Validator is None:
            raise SkipTest("openapi-spec-validator is not installed")
        self.patch(_resource, "MOST_STREAMS", _resource.MOST_STREAMS)
        nothing = Grant("nothing", frozenset())
        self.patch(doubles, "TOKENS", {**doubles.TOKENS, "nothing": nothing})
        self.routes = MemoryAPI().api.routes

    def test_statuses(self) -> None:
        """
        Each status that is documented of a route is seen, and each answer is as its
        schema says.
        """
        document = json.loads(json.dumps(openapi(self.routes)))
        seen = defaultdict(set)
        probes = [*_probes(), *(p for each in self.routes for p in _common(each))]
        for probe in probes:
            with self.subTest(route=probe.route, status=probe.status):
                self.patch(_resource, "MOST_STREAMS", 200)
                found = asked(probe, MemoryAPI())
                self.assertEqual(found.status, probe.status, (probe, found))
                seen[probe.route].add(found.status)
                self._check(document, probe, found)
        for route in self.routes:
            name = f"{route.method} {route.path}"
            self.assertEqual(seen[name], statuses_of(route), name)

    def _check(self, document: Any, probe: Probe, found: Answered) -> None:
        method, _, path = probe.route.partition(" ")
        answer = document["paths"][path][method.lower()]["responses"][str(found.status)]
        kind = found.headers["Content-Type"].partition(";")[0]
        content = answer["content"]
        if kind not in (JSON, PROBLEM):
            self.assertEqual(len(content), 1)
            return
        schema = {**content[kind]["schema"], "components": document["components"]}
        errors = list(OAS31Validator(schema).iter_errors(json.loads(found.body)))
        self.assertEqual(errors, [], probe)
        for name in answer.get("headers", ()):
            self.assertIn(name, found.headers, probe)

    def test_no_seconds(self) -> None:
        """
        Who fails a leased task may say C{null} for the seconds, as the document has it.
        """
        route, target = "POST /v1/leases/{id}:fail", f"/v1/leases/{LEASE}:fail"
        document = json.loads(json.dumps(openapi(self.routes)))
        asks = document["paths"]["/v1/leases/{id}:fail"]["post"]["requestBody"]
        schema = asks["content"][JSON]["schema"]
        schema = {**schema, "components": document["components"]}
        for seconds, status in ((None, 200), (1, 200), ("1", 422)):
            body = {"seconds": seconds}
            probe = Probe(route, status, body, target=target, prepare=_leased)
            self.assertEqual(asked(probe, MemoryAPI()).status, status)
            self.assertEqual(OAS31Validator(schema).is_valid(body), status == 200)

    def test_document(self) -> None:
        """
        The document is OpenAPI 3.1, needs no token, and has all routes, each with a
        name of its own.
        """
        document = MemoryAPI().get("/v1/openapi.json", address="192.0.2.1")
        OpenAPIV31SpecValidator(document).validate()
        operations = [
            each["operationId"]
            for path in document["paths"].values()
            for each in path.values()
        ]
        self.assertEqual(len(operations), len(self.routes))
        self.assertEqual(len(set(operations)), len(operations))


class NamesTests(SynchronousTestCase):
    """
    Names in paths.
    """

    def test_name_of_a_name(self) -> None:
        """
        A queue may be called as the name in the path of the route is.
        """
        answer = MemoryAPI().ask("GET", "/v1/queues/%7Bqueue%7D")
        self.assertEqual(answer.status, 404)
        self.assertIn(b"{queue}", answer.body)


class RightsTests(SynchronousTestCase):
    """
    Tokens, and what they may.
    """

    def test_matrix(self) -> None:
        """
        Each route asks for its right, and for no other: of a token for all queues, of
        one for other queues, and of none.
        """
        open_routes = set()
        for route in MemoryAPI().api.routes:
            name = f"{route.method} {route.path}"
            if not route.right:
                open_routes.add(name)
                continue
            for right in RIGHTS:
                for queues in (("*",), ("other",)):
                    self._check(route, name, Grant("one", frozenset([right]), queues))
            no_token = Probe(name, 401, {}, token=None)
            if route.right == "read":
                self.assertNotIn(asked(no_token, MemoryAPI()).status, (401, 403), name)
            else:
                self.assertEqual(asked(no_token, MemoryAPI()).status, 401, name)
            far = attrs.evolve(no_token, address="192.0.2.1")
            self.assertEqual(asked(far, MemoryAPI()).status, 401, name)
        paths = "/healthz", "/readyz", "/v1/openapi.json", *ISSUER
        leases = {f"POST /v1/leases/{{id}}:{v}" for v in ("renew", "complete", "fail")}
        self.assertEqual(open_routes, {f"GET {path}" for path in paths} | leases)

    def _check(self, route: Route[Any], name: str, grant: Grant) -> None:
        api = MemoryAPI()
        with mock.patch.object(doubles, "TOKENS", {"one": grant}):
            api.rules = attrs.evolve(api.rules, tokens=doubles.tokens())
        found = asked(Probe(name, 0, {}, token="one"), api)
        text = f"{name} with {grant}: {found}"
        if route.right not in grant.rights:
            self.assertEqual(found.status, 403, text)
            self.assertIn(b"does not allow to", found.body, text)
        elif not grant.is_for_all and "{queue}" in route.path:
            self.assertEqual(found.status, 403, text)
        elif grant.is_for_all:
            self.assertNotIn(found.status, (401, 403), text)
        if found.status in (401, 403):
            self.assertEqual(api.cluster.done, [], text)


class DocumentedTests(SynchronousTestCase):
    """
    What C{docs/web.rst} says.
    """

    def test_all(self) -> None:
        """
        It has each kind of problem, each state, and each field of a task.
        """
        path = Path(quebert.__file__).parents[1] / "docs" / "web.rst"
        if not path.exists():
            raise SkipTest("not in a checkout")
        text = path.read_text("utf-8")
        for word in (*STATES, *FIELDS):
            self.assertIn(f"``{word}``", text)
        table = re.sub(r"\n {20,}", " ", text)
        rows = re.findall(r"(?m)^``/problems/([a-z-]+)`` +(\d+): (.*)$", table)
        plain = {kind: (int(status), _plain(what)) for kind, status, what in rows}
        self.assertEqual(plain, MEANINGS)


def _plain(text: str) -> str:
    return re.sub(r"``|`(?=\w)| <[^>]+>`_", "", text)
