"""
The web server's API without a socket, over a cluster that is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quebert.config import OIDC
from quebert.created_tasks import CreatedTasks
from quebert.leases import Leases
from quebert.limits import Rate
from quebert.signatures import LeaseIDs
from quebert.test.created_tasks.doubles import MemoryBroker, MemoryRows, in_memory
from quebert.test.fake_cluster import FakeCluster
from quebert.test.leases.doubles import MemoryLeaseBroker, MemoryLeaseRows
from quebert.web._access_rules import AccessRules
from quebert.web._api import API, Handlers, Streaming
from quebert.web._audit import Audit
from quebert.web._background import Background
from quebert.web._boundaries import OtherAPI
from quebert.web._changes import ChangeHandlers
from quebert.web._creating import CreatingHandlers
from quebert.web._exchange import APIAnswer, APIProblem
from quebert.web._head import RequestHead
from quebert.web._hub import EventHub
from quebert.web._leasing import LeaseHandlers
from quebert.web._request import decoded
from quebert.web._request_rates import RequestRates
from quebert.web._snapshots import Snapshots
from quebert.web._tasks import TaskHandlers
from quebert.web._tokens import EVERYTHING, Grant, Tokens, hash_of
from quebert.web._views import BackgroundView

__all__ = ["LEASE_IDS", "LOOPBACK", "TOKENS", "ListedAudit", "MemoryAPI", "tokens"]

LOOPBACK = "127.0.0.1"
#: Makes the ids of leases.
LEASE_IDS = LeaseIDs([b"s" * 24])
#: Tokens by what they may.
TOKENS = {
    "reader": Grant("reader", frozenset(["read"])),
    "operator": Grant("operator", frozenset(["read", "operate"])),
    "adder": Grant("adder", frozenset(["add"])),
    "mail-adder": Grant("mail-adder", frozenset(["add"]), ("mail*",)),
    "all": Grant("all", EVERYTHING),
    "mailer": Grant("mailer", frozenset(["read", "operate"]), ("mail*", "x?")),
}


def tokens() -> Tokens:
    """
    Those of L{TOKENS}; each is its own name.
    """
    return Tokens(
        (bytes.fromhex(hash_of(name).partition(":")[2]), grant)
        for name, grant in TOKENS.items()
    )


class ListedAudit(Audit):
    """
    An audit log that is a list.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        super().__init__()

    def note(self, caller: Any, action: str, result: str, **about: Any) -> None:
        self.lines.append(
            {"who": caller.name, "action": action, "result": result, **about}
        )


@attrs.define
class MemoryAPI:
    """
    The API, and all that is behind it.
    """

    clock: Clock = attrs.field(factory=Clock)
    audit: ListedAudit = attrs.field(factory=ListedAudit)
    told: list[BackgroundView] = attrs.field(factory=list)
    others: Mapping[str, OtherAPI] = attrs.field(factory=dict)
    oidc: OIDC | None = None
    cluster: FakeCluster = attrs.field(init=False)
    rows: MemoryRows = attrs.field(factory=MemoryRows)
    broker: MemoryBroker = attrs.field(factory=MemoryBroker)
    lease_rows: MemoryLeaseRows = attrs.field(factory=MemoryLeaseRows)
    leases: Leases = attrs.field(init=False)
    rate_limit: Rate | None = None
    limits: RequestRates = attrs.field(init=False)
    created: CreatedTasks = attrs.field(init=False)
    background: Background = attrs.field(init=False)
    snapshots: Snapshots = attrs.field(init=False)
    hub: EventHub = attrs.field(init=False)
    rules: AccessRules = attrs.field(init=False)
    api: API = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock.advance(1_000_000)
        self.cluster = FakeCluster(self.clock, self.clock.seconds)
        self.background = Background(self.clock, self.told.append)
        now = self.clock.seconds
        self.snapshots = Snapshots(self.clock, self.cluster.overview, now)
        self.hub = EventHub(self.clock, self.snapshots)
        self.cluster.watch(self.hub)
        self.rules = AccessRules(tokens())
        self.limits = RequestRates(self.rate_limit, now)
        self.created = in_memory(self.clock, now, self.rows, self.broker)
        self.leases = Leases(self.lease_rows, MemoryLeaseBroker(), now)
        self.api = API(
            self.clock,
            self.cluster,
            Handlers(
                tasks=TaskHandlers(self.cluster, self.created),
                creating=CreatingHandlers(self.clock, self.created, now),
                leasing=LeaseHandlers(self.leases, LEASE_IDS),
                changes=ChangeHandlers(
                    self.cluster, self.created, self.background, self.audit
                ),
            ),
            self.snapshots,
            self.cluster,
            lambda: self.rules,
            self.limits,
            self.others,
            self.oidc,
        )

    def begin(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        token: str | None = None,
        address: str = LOOPBACK,
        version: str = "HTTP/1.1",
        **headers: str,
    ) -> Deferred[APIAnswer | Streaming]:
        """
        Make a request; names of headers have underscores for hyphens.
        """
        fields = {"host": "localhost:8080"}
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields["content-type"] = "application/json"
        if token is not None:
            fields["authorization"] = f"Bearer {token}"
        fields |= {name.replace("_", "-"): each for name, each in headers.items()}
        head = RequestHead(method=method, target=target, version=version, fields=fields)
        try:
            request = decoded(head, content, address)
        except APIProblem as e:
            done: Deferred[APIAnswer | Streaming] = Deferred()
            done.callback(e.answer)
            return done
        return self.api.answer(request)

    def ask(self, method: str, target: str, *args: Any, **options: Any) -> APIAnswer:
        """
        Make a request, and give its answer, which must be there at once.
        """
        found: list[Any] = []
        self.begin(method, target, *args, **options).addCallback(found.append)
        assert len(found) == 1, f"{method} {target} has no answer"
        answer = found[0]
        assert isinstance(answer, APIAnswer), answer
        return answer

    def get(self, target: str, **options: Any) -> Mapping[str, Any]:
        """
        What a GET gives that succeeds.
        """
        answer = self.ask("GET", target, **options)
        assert answer.status == 200, answer
        found: Mapping[str, Any] = json.loads(answer.body)
        return found
