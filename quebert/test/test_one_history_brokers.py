"""
Mediators of different configurations on one queue, on real brokers: they count the
attempts at a task together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import dead_letters_of
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.policy import RetryPolicy
from quebert.test.conftest import AnyBroker, Names
from quebert.test.mediating import FakeHTTP
from quebert.test.support import until

TASKS = 200
MAX_ATTEMPTS = 4
QUICK = RetryPolicy(max_attempts=MAX_ATTEMPTS, min_backoff=0.02, max_backoff=0.04)


class Failing(FakeHTTP):
    """
    An HTTP client whose requests all fail.

    @ivar tried: how often each task was attempted, by whichever mediator.
    @ivar most: the attempts at a task before this client's last one, at most.
    """

    def __init__(self, tried: Counter[str]) -> None:
        super().__init__(503)
        self.tried = tried
        self.most = 0

    def request(self, method: str, url: str, **options: Any) -> Deferred[Any]:
        """
        Note an attempt.
        """
        uuid = json.loads(options["data"])["uuid"]
        self.most = max(self.most, self.tried[uuid])
        self.tried[uuid] += 1
        return super().request(method, url, **options)


Make = Callable[[Failing], Mediator]


def policy(http: Failing) -> Mediator:
    """
    With a policy of up to four attempts.
    """
    return PolicyMediator(http=http, policy=QUICK)


def generous(http: Failing) -> Mediator:
    """
    With a policy of more attempts.
    """
    many = RetryPolicy(max_attempts=9, min_backoff=0.02, max_backoff=0.04)
    return PolicyMediator(http=http, policy=many)


def plain(http: Failing) -> Mediator:
    """
    At a steady pace, for ever.
    """
    return Mediator(http=http, retryDelay=0.02)


def backing_off(http: Failing) -> Mediator:
    """
    With failures in the body, for ever.
    """
    return DelayOnErrorMediator(http=http, constant=1.5, maxDelay=0.02)


def limited(http: Failing) -> Mediator:
    """
    With failures in the body, and up to six attempts.
    """
    return DelayOnErrorMediator(http=http, constant=1.5, maxDelay=0.02, max_attempts=6)


@pytest.mark.parametrize(
    "others",
    [[plain], [backing_off], [limited], [generous], [plain, backing_off, limited]],
    ids=lambda others: "+".join(each.__name__ for each in others),
)
@pytest_twisted.ensureDeferred
async def test_one_history(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    others: list[Make],
) -> None:
    """
    A mediator with a policy of four attempts makes no fifth, whoever made the first
    ones.  Each dead task tells how often it was attempted in all.
    """
    tried: Counter[str] = Counter()
    clients = {make: Failing(tried) for make in [policy, *others]}
    client = make_client(either.url)
    for make, http in clients.items():
        callback = make(http).messageReceived
        await client.watch(
            names.exchange, names.queue, names.key, callback, maxEvents=20
        )
    sent = {f"task-{n}" for n in range(TASKS)}
    bodies = [json.dumps({"url": "/fails", "uuid": each}).encode() for each in sent]
    durable = {"delivery-mode": 2}
    await gatherResults(
        [client.publish("", names.queue, body, durable) for body in bodies]
    )
    told: dict[str, int] = {}

    def dead(message: Any) -> None:
        told[json.loads(message.body)["uuid"]] = message.headers["quebert-attempts"]

    await until(lambda: sum(each.counts.buried for each in client.watchers) == TASKS)
    await client.watch("", dead_letters_of(names.queue), "", dead)
    await until(lambda: len(told) == TASKS)
    assert told == dict(tried)
    assert clients[policy].most < MAX_ATTEMPTS
    assert all(http.requests for http in clients.values())
