"""
The default URLs, which partial URLs of tasks are completed with: whether somebody
answers there, and the clock of who does.
"""

from __future__ import annotations

import time
from collections import defaultdict
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.internet.defer import TimeoutError

from quebert._text import shown_url
from quebert._url import absolute
from quebert.config import Settings
from quebert.doctor._broker import clock_findings
from quebert.doctor._findings import Finding, Level, fail, ok
from quebert.doctor._subject import together
from quebert.errors import Forbidden
from quebert.guard import Guard
from quebert.http import Agent

__all__ = ["check_urls"]


async def check_urls(
    reactor: Any, settings: Settings, patience: float
) -> list[Finding]:
    """
    Each default URL, with one request of the method HEAD, as the guards of its queues
    let it be made.

    @param patience: seconds that an answer may take.
    """
    queues: dict[tuple[str, Guard], list[str]] = defaultdict(list)
    for queue in settings.queues.values():
        queues[queue.default_url, queue.guard].append(queue.name)
    found = await together(
        _check(reactor, url, guard, names, patience)
        for (url, guard), names in queues.items()
    )
    return [each for some in found for each in some]


async def _check(
    reactor: Any, url: str, guard: Guard, queues: list[str], patience: float
) -> list[Finding]:
    about = f"default URL {shown_url(url)}"
    whose = f"tasks of {', '.join(queues)} whose URL is partial go there"
    before = time.time()
    agent = Agent(reactor, connectTimeout=patience, guard=guard)
    try:
        whole, fields = absolute(url, "")
        asking = agent.send("HEAD", whole, fields.items())
        response: Any = await asking.addTimeout(patience, reactor)
    except Forbidden as e:
        remedy = "mend default_url or the table guard in the configuration"
        return [fail(about, f"{e}, and {whose}: they are given up", remedy)]
    except Exception as e:  # whatever it is, there was no answer
        why = f"no answer in {patience:g} s" if isinstance(e, TimeoutError) else e
        text = f"nobody answers, and {whose}: {why}"
        remedy = "start the executor, or mend default_url in the configuration"
        return [fail(about, text, remedy)]
    found = [ok(about, f"it answers (status {response.code})")]
    told = response.headers.getRawHeaders("Date") or []
    try:
        moment = parsedate_to_datetime(told[0]).timestamp()
    except (IndexError, ValueError):
        return found  # HTTP does not demand it
    whose_clock = f"the executor at {shown_url(url)}"
    clocks = clock_findings(whose_clock, moment, before, time.time())
    return [*found, *(each for each in clocks if each.level is not Level.OK)]
