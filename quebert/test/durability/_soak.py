"""
A soak: clients ask for tasks while all that these go through is killed, then all of it
runs until the tasks are done.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from quebert.created_tasks import DELETING, NEW, PUBLISHED
from quebert.test.durability._clients import Client, Clients
from quebert.test.durability._executor import CountingExecutor
from quebert.test.durability._orders import Orders
from quebert.test.durability._proof import Proof
from quebert.test.durability._site import Site

__all__ = ["Soak"]

#: Seconds in which the number of tasks that are not done must become less.
PATIENCE = 120.0
# Seconds by which a task may be late, where nothing is killed any more.
_LATE = 5.0


@attrs.frozen(kw_only=True)
class Soak:
    """
    @ivar orders: what clients ask for.
    @ivar database: where rows are kept.
    @ivar folder: is empty.
    @ivar clients: how many there are.
    @ivar chance: says what is killed.
    @ivar pause: seconds between two kills, on average.
    @ivar kills: how many there are at least, and at most.
    @ivar say: is told how it goes on.
    """

    orders: Orders
    database: str
    folder: Path
    clients: int
    chance: random.Random
    pause: float
    kills: tuple[int, float] = (1, float("inf"))
    say: Callable[[str], object]

    def run(self) -> Proof:
        """
        Do it.
        """
        with CountingExecutor() as executor, Site(self.folder, self.database) as site:
            clients = Clients(site.url, site.token, self.orders, executor.url)
            proof = Proof(clients.told, executor, self.orders.named, site.losses)
            began = time.monotonic()
            self._kill_meanwhile(site, clients)
            self._tell(proof, site, time.monotonic() - began)
            self._await(lambda: len(proof.missing()), "tasks are not done")
            self._await_dues(proof)
            with clients.client() as client:
                self._await(lambda: len(self._open(client, proof)), "rows have no end")
                found = attrs.evolve(proof, states=self._open(client, proof))
            self.say(f"all of it ended after {time.monotonic() - began:.0f} s")
            if found.broken():
                self.say(site.output())
            return found

    def _kill_meanwhile(self, site: Site, clients: Clients) -> None:
        over = threading.Event()
        failed: list[BaseException] = []

        def kill() -> None:
            try:
                site.keep_killing(self.chance, self.pause, self.kills, over)
            except BaseException as e:
                self.say(f"nothing is killed any more: {e}")
                failed.append(e)

        killing = threading.Thread(target=kill)
        telling = threading.Thread(target=self._keep_telling, args=(clients, over))
        killing.start()
        telling.start()
        try:
            clients.run(self.clients, over.set)
        finally:
            over.set()
            killing.join()
            telling.join()
        if failed:
            raise failed[0]

    def _keep_telling(self, clients: Clients, over: threading.Event) -> None:
        while not over.wait(30):
            told = clients.told
            accepted = len(told.accepted)
            self.say(f"{accepted} tasks accepted, {dict(told.answers)}")

    def _await(self, count: Callable[[], int], what: str) -> None:
        """
        Wait until there is nothing left, or it does not become less for long.
        """
        left = count()
        since = time.monotonic()
        while left and time.monotonic() < since + PATIENCE:
            time.sleep(0.5)
            now = count()
            if now < left:
                left, since = now, time.monotonic()
        if left:
            self.say(f"{left} {what}")

    def _await_dues(self, proof: Proof) -> None:
        """
        Wait until all tasks would have run that are deleted.
        """
        last = max((e.told_at for e in proof.told.accepted.values()), default=0.0)
        time.sleep(max(0.0, last + self.orders.delay + _LATE - time.time()))

    def _open(self, client: Client, proof: Proof) -> dict[str, str]:
        """
        The states of the tasks that were accepted and have no end.
        """
        ours = {each.uuid for each in proof.told.accepted.values()}
        states = "&".join(f"state={each}" for each in (NEW, PUBLISHED, DELETING))
        found: dict[str, str] = {}
        token = ""
        while True:
            path = f"/v1/tasks?{states}&page_size=500{token}"
            _, page, _ = client.ask("GET", path, iter(lambda: None, 0))
            for each in page["tasks"]:
                if each["uuid"] in ours:
                    found[each["uuid"]] = each["state"]
            if page["next_page_token"] is None:
                return found
            token = f"&page_token={page['next_page_token']}"

    def _tell(self, proof: Proof, site: Site, seconds: float) -> None:
        told = proof.told
        tasks = len(told.accepted)
        self.say(f"{tasks} tasks accepted in {seconds:.0f} s: {tasks / seconds:.0f}/s")
        self.say(f"killed: {dict(site.kills)}")
        self.say(f"answers: {dict(sorted(told.answers.items()))}")
        self.say(f"what was done with tasks: {dict(sorted(told.results.items()))}")
        self.say(f"{len(told.taken)} names were refused")
        self.say(f"the longest that a client asked again: {told.longest:.1f} s")
