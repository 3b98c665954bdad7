"""
What RabbitMQ's management API tells of queues, and AMQP does not: how many messages are
delivered and not acknowledged, and how many come and go.

The API is asked by HTTP, as the user of the AMQP connection, who needs the tag
C{monitoring} or C{management}.  RabbitMQ counts every five seconds.  The fields are the
same in RabbitMQ 3.10.8, 4.0.5 and 4.3.6.  Until it has counted a queue for the first
time, all fields are missing; C{message_stats} is missing as long as nothing came or
went.  With C{management_agent.disable_metrics_collector}, or C{rates_mode = none},
there are no rates, and C{/api/overview} says so.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert._lanes import all_of
from quebert.amqp.delays import PREFIX
from quebert.config import Broker, guessed_management
from quebert.errors import ExecutorError
from quebert.http import Agent, HostTLS, Limits

__all__ = ["Figures", "Management", "ManagementAPI"]

#: Seconds that an answer may take.
PATIENCE = 3.0
# Bytes that an answer may have: thousands of times as many as it has.
_MOST_BYTES = 4 * 2**20
# Requests at a time.
_AT_ONCE = 4
# No rate is as high; neither infinity nor an integer beyond all floats is told.
_MOST_RATE = 1e15
# Characters of what an answer says.
_LONGEST = 200

_OVERVIEW = "/api/overview?columns=cluster_name,disable_stats,rates_mode"
_COLUMNS = "columns=messages_unacknowledged,message_stats"
# More than there are rungs, of classic and of quorum queues.
_LADDER = "columns=name&page=1&page_size=500&use_regex=true&name=" + quote(
    rf"^{re.escape(PREFIX)}\..*wait\.", safe=""
)


@attrs.frozen
class Figures:
    """
    A queue, as the API tells it; C{None} is what it does not tell.

    @ivar unacked: messages that are delivered, and not acknowledged.
    @ivar rate_in: messages a second that come in.
    @ivar rate_out: messages a second that are acknowledged.
    """

    unacked: int | None = None
    rate_in: float | None = None
    rate_out: float | None = None


@attrs.frozen
class Management:
    """
    What the API told.

    @ivar url: where it is; C{None} where none answered as it should.
    @ivar why: the reason why something is not told; a sentence, or empty.
    @ivar figures: of each queue that is there.
    @ivar ladder: the names of all queues of the delay ladder; C{None} where it does not
        tell them.
    """

    url: str | None
    why: str = ""
    figures: Mapping[str, Figures] = attrs.field(factory=dict)
    ladder: frozenset[str] | None = None


class _NotTold(Exception):
    """
    It does not answer as it should; the text tells the reason.
    """


class ManagementAPI:
    """
    The management API of a broker.

    @param url: where it is; C{None} for its usual places.
    """

    def __init__(self, reactor: Any, broker: Broker, url: str | None) -> None:
        self._reactor = reactor
        self._broker = broker
        self._urls = guessed_management(broker) if url is None else [url]
        # No connection is kept: none is to be left behind.
        limits = Limits(
            connections=_AT_ONCE, per_origin=_AT_ONCE, body=_MOST_BYTES, idle=0
        )
        self._agent = Agent(
            reactor,
            policy=HostTLS(others=broker.tls),
            limits=limits,
            connectTimeout=PATIENCE,
        )
        login = f"{broker.username}:{broker.password}".encode()
        self._fields = [("Authorization", f"Basic {b64encode(login).decode()}")]

    async def told(self, queues: Sequence[str], cluster: object) -> Management:
        """
        What it tells of queues.

        @param cluster: the name of the cluster, as its AMQP tells it.
        """
        why = (
            "no management API is known: give --management-url, or management_url in"
            " the table [broker]"
        )
        for url in self._urls:
            try:
                return await self._told(url, queues, cluster)
            except _NotTold as e:
                why = f"the management API at {url} {e}"
        return Management(None, why)

    async def _told(
        self, url: str, queues: Sequence[str], cluster: object
    ) -> Management:
        overview = await self._get(url, _OVERVIEW)
        if overview is None or "cluster_name" not in overview:
            raise _NotTold("is none of a RabbitMQ")
        name = overview["cluster_name"]
        if cluster is not None and name != cluster:
            raise _NotTold(f"is that of another broker, {_shown(name)}")
        vhost = _quoted(self._broker.vhost)
        ladder = _names(await self._get(url, f"/api/queues/{vhost}?{_LADDER}"))
        paths = [f"/api/queues/{vhost}/{_quoted(each)}?{_COLUMNS}" for each in queues]
        answers = await all_of((self._get(url, each) for each in paths), _AT_ONCE)
        counts = not overview.get("disable_stats")
        counts = counts and overview.get("rates_mode") != "none"
        pairs = zip(queues, answers, strict=True)
        figures = {q: _figures(a, counts) for q, a in pairs if a is not None}
        why = "RabbitMQ has not counted it yet" if counts else "RabbitMQ does not count"
        return Management(url, f"{why}, says {url}", figures, ladder)

    async def _get(self, url: str, path: str) -> dict[str, Any] | None:
        """
        The JSON object at a path; C{None} if there is no such thing.

        @raise _NotTold: there is another answer, or none.
        """
        asking = Deferred.fromCoroutine(self._ask(f"{url}{path}"))
        asking.addTimeout(PATIENCE, self._reactor)
        try:
            code, body = await asking
        except TimeoutError:
            raise _NotTold(f"does not answer in {PATIENCE:g} s") from None
        except ExecutorError as e:
            raise _NotTold(f"does not answer: {e}") from None
        answer = _object(body)
        if code == 404 and answer is not None:
            return None
        if code in (401, 403):
            said = "" if answer is None else f": {_shown(answer.get('reason'))}"
            user = self._broker.username
            raise _NotTold(
                f"refuses user {user} with {code}{said}; the user needs the tag"
                " monitoring or management"
            )
        if code != 200 or answer is None:
            raise _NotTold(f"answers {code}, and no JSON object as RabbitMQ does")
        return answer

    async def _ask(self, url: str) -> tuple[int, bytes]:
        response = await self._agent.send("GET", url, self._fields)
        return response.code, await response.content()


def _quoted(name: str) -> str:
    """
    A name as a part of a path; no dot, since C{..} would be another path.
    """
    return quote(name, safe="", errors="surrogateescape").replace(".", "%2E")


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _shown(value: object) -> str:
    return str(value)[:_LONGEST]


def _names(told: Mapping[str, Any] | None) -> frozenset[str] | None:
    """
    The names in a list of queues, if it is whole.
    """
    if told is None or told.get("page_count") not in (0, 1):
        return None
    try:
        return frozenset(str(each["name"]) for each in told["items"])
    except (LookupError, TypeError):
        return None


def _figures(told: Mapping[str, Any], counts: bool) -> Figures:
    unacked = told.get("messages_unacknowledged")
    if isinstance(unacked, bool) or not isinstance(unacked, int) or unacked < 0:
        unacked = None
    if not counts or unacked is None:
        return Figures(unacked)
    stats = told.get("message_stats", {})
    return Figures(unacked, _rate(stats, "publish"), _rate(stats, "ack"))


def _rate(stats: object, name: str) -> float | None:
    """
    Messages a second; 0 where none was counted.
    """
    if not isinstance(stats, Mapping):
        return None
    details = stats.get(f"{name}_details", {"rate": 0})
    rate = details.get("rate") if isinstance(details, Mapping) else None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        return None
    return max(0.0, float(rate)) if abs(rate) < _MOST_RATE else None
