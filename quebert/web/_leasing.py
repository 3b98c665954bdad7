"""
The handlers of requests of executors that have leased a task.

They need no token: the id of the lease, which nobody can guess, is in the path.  So a
body is read only where the id is true: anybody else could have the server read for
long.  They are not in the audit log: an executor does with its own task what it would
do by its answer.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from quebert.errors import LeaseLost
from quebert.leases import Lease, Leases
from quebert.signatures import LeaseIDs
from quebert.web._call import Call
from quebert.web._exchange import APIAnswer, APIProblem, json_answer
from quebert.web._problems import DATABASE_AWAY, LATER, LEASE_LOST, NO_LEASE
from quebert.web._request import body_fields

__all__ = ["LONGEST", "LeaseHandlers"]

#: Seconds that an executor may ask for.
LONGEST = 10 * 366 * 86_400


class LeaseHandlers:
    """
    Answers requests of executors.

    @param leases: the leases; C{None} where their database cannot be used.
    @param ids: tells which ids are true; C{None} where there are no leases.
    """

    def __init__(self, leases: Leases | None, ids: LeaseIDs | None) -> None:
        self._leases = leases
        self._ids = ids

    async def renew(self, call: Call) -> APIAnswer:
        """
        Have a lease run out later.
        """
        leases, id, _ = self._lease(call)
        seconds = _seconds(call, 1)
        if seconds is None:
            text = "seconds must be there: how long from now the lease is to last"
            raise APIProblem(HTTPStatus.UNPROCESSABLE_ENTITY, text, field="seconds")
        return await _answer(leases.renew(id, seconds))

    async def complete(self, call: Call) -> APIAnswer:
        """
        The task is done.
        """
        leases, id, identity = self._lease(call)
        body_fields(call.request)
        return await _answer(leases.complete(id, identity))

    async def fail(self, call: Call) -> APIAnswer:
        """
        The task is not done.
        """
        leases, id, _ = self._lease(call)
        seconds = _seconds(call, 0)
        return await _answer(leases.fail(id, seconds))

    def _lease(self, call: Call) -> tuple[Leases, str, bytes]:
        id, leases = call.names["id"], self._leases
        identity = None if self._ids is None else self._ids.identity(id)
        if identity is None:
            text = "there is no such lease"
            raise APIProblem(HTTPStatus.NOT_FOUND, text, kind=NO_LEASE)
        if leases is None:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            text = "the database of leases cannot be used by this process"
            raise APIProblem(status, text, LATER, kind=DATABASE_AWAY)
        return leases, id, identity


async def _answer(asking: Any) -> APIAnswer:
    try:
        lease: Lease = await asking
    except LeaseLost as e:
        raise APIProblem(HTTPStatus.CONFLICT, str(e), kind=LEASE_LOST) from None
    return json_answer({"state": lease.state, "until": lease.until})


def _seconds(call: Call, least: float) -> float | None:
    found = body_fields(call.request, "seconds").get("seconds")
    if found is None:
        return None
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or not math.isfinite(found) or not least <= found <= LONGEST:
        text = f"seconds must be a number from {least} to {LONGEST}"
        raise APIProblem(HTTPStatus.UNPROCESSABLE_ENTITY, text, field="seconds")
    return float(found)
