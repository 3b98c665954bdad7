"""
Tests for L{quebert.broker.store._store} and L{quebert.broker.store._database}.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.values import encode_table
from quebert.broker import BrokerFactory, Store
from quebert.broker.store import _database, described
from quebert.broker.store._database import APPLICATION_ID
from quebert.clock import SteadyClock
from quebert.errors import StoreError
from quebert.test.broker.peer import Peer, check
from quebert.test.checks import folder, refusal


def open_below(folder: Path) -> list[str]:
    """
    The files in a folder that this process has open.
    """
    links = Path("/proc/self/fd").iterdir()
    names = [os.readlink(each) for each in links if each.is_symlink()]
    return [each for each in names if each.startswith(f"{folder}/")]


class _Case(SynchronousTestCase):
    """
    A broker that can be stopped, or killed, and started again.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        self.path = folder(self) / "broker.sqlite"
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.start()

    def start(self) -> None:
        """
        A broker on the file, and a client.
        """
        self.store = Store(self.path)
        self.addCleanup(self.store.close)
        self.broker = BrokerFactory(self.clock, self.store, self.store.records())
        self.clock.advance(0)
        check(self.broker)
        self.peer = Peer(self.broker).open()
        self.peer.call("confirm.select")

    def restart(self, seconds: float = 0) -> None:
        """
        Kill it, start it again after a while.
        """
        self.store.close()
        self.clock.calls.clear()
        self.clock.advance(seconds)
        self.start()

    def edit(self, statement: str, *rows: Sequence[object]) -> None:
        """
        Kill it, change the database, once for each row, and start it again.
        """
        self.store.close()
        self.clock.calls.clear()
        with closing(sqlite3.connect(self.path)) as database, database:
            for row in rows or [()]:
                database.execute(statement, row)
        self.start()

    def bodies(self, queue: str, *, redelivered: bool | None = None) -> list[bytes]:
        """
        What is in a queue.
        """
        found: list[bytes] = []
        while True:
            got = self.peer.call("basic.get", queue=queue)
            assert got is not None
            if got.name == "basic.get-empty":
                self.peer.call("basic.nack", multiple=True)
                return found
            assert got.body is not None
            assert redelivered in (None, got["redelivered"])
            found.append(got.body)


class SurvivalTests(_Case):
    """
    What is there after a restart.
    """

    def test_transient_bindings(self) -> None:
        """
        A binding is not there after a restart if one of its ends was transient,
        whatever has its name since.
        """
        for durable in (False, True):
            call = self.peer.call
            fanout: dict[str, Any] = {"exchange_type": "fanout"}
            call("exchange.declare", exchange="from", **fanout)
            call("exchange.declare", exchange="to", **fanout, durable=durable)
            call("queue.declare", queue="q", durable=durable)
            call("queue.declare", queue="durable")
            if not durable:
                call("queue.bind", queue="q", exchange="from")
                call("exchange.bind", destination="to", source="from")
                call("queue.bind", queue="durable", exchange="to")
            self.restart()
        self.peer.publish("", b"1", exchange="from")
        self.peer.publish("", b"1", exchange="to")
        self.assertEqual((self.bodies("q"), self.bodies("durable")), ([], []))

    def test_topology(self) -> None:
        """
        Durable exchanges, queues and bindings are there as they were declared.
        """
        call = self.peer.call
        call("exchange.declare", exchange="x", exchange_type="topic")
        call("exchange.declare", exchange="y", exchange_type="headers")
        call("exchange.bind", source="x", destination="y", routing_key="a.*")
        arguments = {"x-max-length": 3, "x-overflow": "reject-publish"}
        call("queue.declare", queue="q", arguments=arguments)
        wanted = {"x-match": "any", "n": 1, "t": True}
        call("queue.bind", queue="q", exchange="y", arguments=wanted)
        self.restart()
        call = self.peer.call
        for name, given in (
            ("exchange.declare", {"exchange": "x", "exchange_type": "topic"}),
            ("exchange.declare", {"exchange": "y", "exchange_type": "headers"}),
            ("queue.declare", {"queue": "q", "arguments": arguments}),
        ):
            answer = call(name, **given)
            assert answer is not None
            self.assertEqual(answer.name, f"{name}-ok")
        for _ in range(5):
            self.peer.publish("a.b", b"yes", exchange="x", headers={"n": 1})
        self.peer.publish("a.b", b"no", exchange="x", headers={"n": 2})
        self.assertEqual(self.bodies("q"), [b"yes"] * 3)

    def test_kinds_of_exchanges(self) -> None:
        """
        An exchange is as internal, and goes as it would have, and has its alternate.
        """
        call = self.peer.call
        kinds: tuple[dict[str, Any], ...] = (
            {"exchange": "internal", "internal": True},
            {"exchange": "automatic", "auto_delete": True},
            {"exchange": "x", "arguments": {"alternate-exchange": "amq.fanout"}},
        )
        for given in kinds:
            call("exchange.declare", **given)
        call("queue.declare", queue="q", auto_delete=True)
        call("queue.bind", queue="q", exchange="amq.fanout")
        call("queue.bind", queue="q", exchange="automatic")
        self.restart()
        call = self.peer.call
        for given in kinds:
            answer = call("exchange.declare", **given)
            assert answer is not None
            self.assertEqual(answer.name, "exchange.declare-ok")
        self.peer.publish("nowhere", b"1", exchange="x")
        self.assertEqual(self.bodies("q"), [b"1"])
        call("queue.declare", queue="q", auto_delete=True)
        call("basic.consume", queue="q")
        call("basic.cancel", consumer_tag="tag")
        self.assertEqual(self.broker.depths(), {})
        self.assertNotIn("automatic", self.broker.vhosts["/"].exchanges)
        self.peer.received.clear()
        self.peer.publish("", b"1", exchange="internal")
        self.assertEqual(self.peer.received[-1]["reply_code"], 403)

    def rows(self) -> tuple[int, ...]:
        """
        How many messages and counts the database has.
        """
        self.store.commit()
        found = []
        for table in ("messages", "counts"):
            statement = f"SELECT count(*) FROM {table}"
            found.append(self.store._database.execute(statement).fetchone()[0])
        return tuple(found)

    def test_nothing_is_left_in_the_file(self) -> None:
        """
        With a message go its counts, however it goes.
        """
        call = self.peer.call
        quorum = {"x-queue-type": "quorum"}
        for together in (False, True):
            for end in ("basic.ack", "queue.purge", "queue.delete"):
                call("queue.declare", queue="q", arguments=quorum)
                self.peer.publish("q", b"body")
                self.assertEqual(self.rows(), (1, 0))
                got = call("basic.get", queue="q")
                assert got is not None
                if not together:
                    self.assertEqual(self.rows(), (1, 1))
                tag = {"delivery_tag": got["delivery_tag"]}
                if end != "basic.ack":
                    call("basic.nack", **tag)
                call(end, **(tag if end == "basic.ack" else {"queue": "q"}))
                self.assertEqual(self.rows(), (0, 0), (together, end))

    def test_come_and_gone(self) -> None:
        """
        A message that has come and gone in one turn is not written.
        """
        self.peer.call("queue.declare", queue="q")
        self.peer.call("basic.consume", queue="q", no_ack=True)
        written: list[str] = []
        self.store._database.set_trace_callback(written.append)
        self.peer.publish("q", b"body")
        self.store.commit()
        self.store._database.set_trace_callback(None)
        self.assertFalse([each for each in written if "messages" in each])

    def test_what_was_deleted(self) -> None:
        """
        What was deleted or unbound stays so.
        """
        call = self.peer.call
        for name in ("a", "b"):
            call("exchange.declare", exchange=name, exchange_type="fanout")
            call("queue.declare", queue=name)
            call("queue.bind", queue=name, exchange="a")
            self.peer.publish(name, b"body")
        call("queue.unbind", queue="b", exchange="a")
        call("exchange.delete", exchange="b")
        call("queue.delete", queue="a")
        self.restart()
        self.assertEqual(self.broker.depths(), {"b": 1})
        self.assertNotIn("b", self.broker.vhosts["/"].exchanges)
        self.assertEqual(self.broker.vhosts["/"].exchanges["a"].bindings, {})

    def test_what_is_not_durable(self) -> None:
        """
        Transient messages, queues and exchanges do not survive, nor exclusive ones.
        """
        call = self.peer.call
        call("queue.declare", queue="transient", durable=False)
        call("queue.declare", queue="mine", exclusive=True)
        call("queue.declare", queue="q")
        call("exchange.declare", exchange="x", durable=False)
        call("queue.bind", queue="q", exchange="x")
        self.peer.publish("q", b"transient", delivery_mode=1)
        self.peer.publish("q", b"persistent")
        for queue in ("transient", "mine"):
            self.peer.publish(queue, b"body")
        self.restart()
        self.assertEqual(self.broker.depths(), {"q": 1})
        self.assertEqual(self.bodies("q"), [b"persistent"])
        self.assertNotIn("x", self.broker.vhosts["/"].exchanges)

    def test_messages_as_they_were(self) -> None:
        """
        Messages are there in their order, with all that they had.
        """
        self.peer.call("queue.declare", queue="q", arguments={"x-max-priority": 5})
        self.peer.publish("q", b"\xff\0", priority=1, headers={"x": [1, "two", None]})
        self.peer.publish("q", b"urgent", priority=4, expiration="100000")
        self.restart()
        first = self.peer.call("basic.get", queue="q")
        second = self.peer.call("basic.get", queue="q")
        assert first is not None
        assert second is not None
        self.assertEqual((first.body, second.body), (b"urgent", b"\xff\0"))
        self.assertEqual(
            first.properties,
            {"delivery-mode": 2, "priority": 4, "expiration": "100000"},
        )
        assert second.properties is not None
        self.assertEqual(second.properties["headers"], {"x": [1, "two", None]})

    def test_what_was_delivered(self) -> None:
        """
        What somebody had got before says so; the rest does not.
        """
        self.peer.call("queue.declare", queue="q")
        for n in range(3):
            self.peer.publish("q", b"%d" % n)
        self.peer.call("basic.get", queue="q")
        self.peer.turn(0.1)
        self.restart()
        redelivered = []
        for _ in range(3):
            got = self.peer.call("basic.get", queue="q")
            assert got is not None
            redelivered.append(got["redelivered"])
        self.assertEqual(redelivered, [True, False, False])

    def test_counts_of_quorum_queues(self) -> None:
        """
        A message of a quorum queue keeps its counts.  If it was with a consumer when
        the broker ended, that counts as a failure.  A transient message is kept, too.
        """
        self.quorum("q")
        call = self.peer.call
        for body in (b"nacked", b"rejected", b"with a consumer"):
            self.peer.publish("q", body, delivery_mode=1)
            call("basic.get", queue="q")
        self.peer.publish("q", b"fresh", delivery_mode=1)
        call("basic.nack", delivery_tag=1, requeue=True)
        call("basic.reject", delivery_tag=2, requeue=True)
        self.peer.turn(0.1)
        for _ in range(2):  # the second time, nothing was with a consumer
            self.restart()
            self.assertEqual(self.broker.depths(), {"q": 4})
        found = {}
        for _ in range(4):
            got = self.peer.call("basic.get", queue="q")
            assert got is not None
            assert got.properties is not None
            found[got.body] = got["redelivered"], got.properties.get("headers")
        once = {"x-acquired-count": 1}
        failed = {**once, "x-delivery-count": 1}
        self.assertEqual(
            found,
            {
                b"nacked": (True, once),
                b"rejected": (True, failed),
                b"with a consumer": (True, failed),
                b"fresh": (False, None),
            },
        )

    def quorum(self, name: str, **arguments: Any) -> None:
        """
        Declare a quorum queue.
        """
        table = {"x-queue-type": "quorum", **arguments}
        self.peer.call("queue.declare", queue=name, arguments=table)

    def test_delivery_limit(self) -> None:
        """
        A message that was with a consumer once too often when the broker ended is a
        dead letter, behind those that were there.
        """
        self.quorum(
            "q",
            **{
                "x-delivery-limit": 1,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "dead",
            },
        )
        self.peer.call("queue.declare", queue="dead")
        self.peer.publish("q", b"deadly")
        self.peer.publish("dead", b"before")
        for left in (1, 0):
            self.peer.call("basic.get", queue="q")
            self.peer.turn(0.1)
            self.restart()
            self.assertEqual(self.broker.depths(), {"q": left, "dead": 2 - left})
        self.restart()
        self.assertEqual(self.bodies("dead"), [b"before", b"deadly"])

    def at_least_once(self) -> None:
        """
        Declare a queue whose dead letters for the queue C{dead} must not be lost.
        """
        self.quorum(
            "q",
            **{
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "dead",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )

    def test_stranded_dead_letters(self) -> None:
        """
        A dead letter that cannot be sent on, and must not be lost, is there again after
        a restart; then it is sent on as soon as that can be.
        """
        self.at_least_once()
        self.peer.publish("q", b"expired", expiration="1000")
        self.peer.turn(1)
        self.assertEqual(self.bodies("q"), [])
        self.restart()
        self.assertEqual(self.bodies("q"), [])
        call = self.peer.call
        bounded = {"x-max-length": 0, "x-overflow": "reject-publish"}
        call("queue.declare", queue="dead", arguments=bounded)
        self.peer.turn(10)
        call("queue.delete", queue="dead")
        call("queue.declare", queue="dead")
        self.peer.turn(10)
        self.restart()
        self.assertEqual(self.bodies("dead"), [b"expired"])
        self.assertEqual(self.broker.depths(), {"q": 0, "dead": 1})

    def test_stranded_after_it_was_rejected(self) -> None:
        """
        A rejected message that cannot be sent on is a dead letter after a restart, too:
        no consumer gets it, and it is sent on with its reason.
        """
        self.at_least_once()
        self.peer.publish("q", b"rejected")
        self.peer.call("basic.get", queue="q")
        self.peer.call("basic.reject", delivery_tag=1, requeue=False)
        for _ in range(2):
            self.peer.turn(0.1)
            self.restart()
            self.assertEqual(self.bodies("q"), [])
        self.peer.call("queue.declare", queue="dead")
        self.peer.turn(0.1)
        self.restart()
        self.peer.turn(0)
        letter = self.peer.call("basic.get", queue="dead")
        assert letter is not None
        assert letter.properties is not None
        (death,) = letter.properties["headers"]["x-death"]
        self.assertEqual((letter.body, death["reason"]), (b"rejected", "rejected"))
        self.assertEqual(self.broker.depths(), {"dead": 1, "q": 0})

    def test_deleted_quorum_queue(self) -> None:
        """
        A queue that was deleted leaves no counts.
        """
        self.quorum("q")
        for body in (b"ready", b"unsettled"):
            self.peer.publish("q", body)
        self.peer.call("basic.get", queue="q")
        self.peer.call("basic.get", queue="q")
        self.peer.call("basic.reject", delivery_tag=1, requeue=True)
        self.peer.turn(0.1)
        self.peer.call("queue.delete", queue="q")
        self.peer.call("basic.reject", delivery_tag=2, requeue=True)
        self.peer.turn(0.1)
        self.restart()
        self.assertEqual(list(self.store._rows("SELECT * FROM counts")), [])

    def test_older_database(self) -> None:
        """
        A database of before there were quorum queues is taken as it is.
        """
        self.peer.call("queue.declare", queue="q")
        self.peer.publish("q", b"old")
        self.edit("DROP TABLE counts")
        self.quorum("quorum")
        self.peer.publish("quorum", b"new")
        self.peer.call("basic.get", queue="quorum")
        self.peer.turn(0.1)
        self.restart()
        self.assertEqual(self.bodies("q"), [b"old"])
        self.assertEqual(self.bodies("quorum", redelivered=True), [b"new"])

    def test_declared_anew(self) -> None:
        """
        An exchange or a queue that was deleted and declared again has none of the
        bindings that it had before; others of that name have theirs.
        """
        call = self.peer.call
        fanout: dict[str, Any] = {"exchange_type": "fanout"}
        for name in ("one", "two"):
            call("exchange.declare", exchange=name, **fanout)
        for name in ("two", "q"):
            call("queue.declare", queue=name)
        call("exchange.bind", source="one", destination="two")
        for queue, exchange in (("two", "one"), ("q", "two")):
            call("queue.bind", queue=queue, exchange=exchange)
        for deleted, reached in (("exchange", {"two": 1, "q": 0}), ("queue", {})):
            given: dict[str, Any] = {deleted: "two"}
            call(f"{deleted}.delete", **given)
            given |= fanout if deleted == "exchange" else {}
            call(f"{deleted}.declare", **given)
            self.restart()
            call = self.peer.call
            for exchange in ("one", "two"):
                self.peer.publish("", exchange=exchange)
            found = self.broker.depths()
            self.assertEqual(found, reached or {"two": 0, "q": 0})
            call("queue.purge", queue="two")

    def test_redelivered(self) -> None:
        """
        After a restart only what was delivered before is marked.
        """
        self.peer.call("queue.declare", queue="q")
        for body in (b"1", b"2", b"3"):
            self.peer.publish("q", body)
        for _ in range(2):
            self.peer.call("basic.get", queue="q")
        self.peer.turn(1)
        self.restart()
        found = [self.peer.call("basic.get", queue="q") for _ in range(3)]
        marked = [(each.body, each["redelivered"]) for each in found if each]
        self.assertEqual(marked, [(b"1", True), (b"2", True), (b"3", False)])

    def test_nothing_is_pending_after_reading(self) -> None:
        """
        Who only reads has nothing to commit.
        """
        self.peer.call("queue.declare", queue="q")
        self.peer.publish("q", b"body")
        self.assertFalse(self.store.pending)
        (entry,) = self.broker.vhosts["/"].queues["q"].ready
        self.assertEqual(self.store.read([entry.id])[entry.id].body, b"body")
        self.assertFalse(self.store.pending)
        self.store.commit()
        self.assertFalse(self.store.pending)

    def test_each_kind_is_pending(self) -> None:
        """
        Whatever is told is pending until it is committed.
        """
        call = self.peer.call
        call("queue.declare", queue="q")
        call("queue.declare", queue="quorum", arguments={"x-queue-type": "quorum"})
        for queue in ("q", "quorum"):
            call("confirm.select", nowait=True)
            self.peer.publish(queue, b"body")
            for method, arguments in (
                ("basic.get", {"queue": queue}),
                ("basic.nack", {"multiple": True}),
                ("basic.get", {"queue": queue, "no_ack": True}),
            ):
                self.store.commit()
                self.assertFalse(self.store.pending)
                call(method, **arguments)
                # A classic queue has nothing to tell of what comes back.
                told = queue == "quorum" or method == "basic.get"
                self.assertEqual(self.store.pending, told, (queue, method))
        self.store.commit()

    def test_missing_message(self) -> None:
        """
        A message that is not there is told by its number.
        """
        said = refusal(StoreError, self.store.read, [77])
        self.assertIn("broker.sqlite: message 77 is missing", said)

    def test_files_that_are_gone(self) -> None:
        """
        What was told is not safe if the database or its log was removed, or replaced:
        SQLite would not notice.
        """
        for suffix in ("", "-wal"):
            for replaced in (False, True):
                self.restart()
                self.peer.call("queue.declare", queue=f"q{suffix}{replaced}")
                self.assertFalse(self.broker.failed.called)
                name = f"{self.path}{suffix}"
                os.rename(name, f"{name}.old")
                if replaced:
                    shutil.copy(f"{name}.old", name)
                self.peer.call("queue.declare", queue=f"r{suffix}{replaced}")
                self.assertTrue(self.peer.lost)
                said = str(self.successResultOf(self.broker.failed))
                what = "was replaced while" if replaced else "is gone while the broker"
                self.assertIn(f"broker.sqlite{suffix} {what}", said)
                self.store.close()
                os.rename(f"{name}.old", name)

    def test_binding_to_what_is_gone(self) -> None:
        """
        A binding whose source or destination is not there is let go.
        """
        self.peer.call("queue.declare", queue="q")
        ends = (b"none", b"q"), (b"amq.fanout", b"none")
        rows = ((b"/", *each, True, b"", encode_table({})) for each in ends)
        self.edit("INSERT INTO bindings VALUES (?, ?, ?, ?, ?, ?)", *rows)
        self.peer.publish("", b"1", exchange="amq.fanout")
        self.assertEqual(self.broker.depths(), {"q": 0})

    def test_on_the_disk_when_it_is_committed(self) -> None:
        """
        SQLite writes each transaction to the disk, for this broker alone.
        """
        database = self.store._database
        for name, value in (
            ("synchronous", 2),  # FULL
            ("journal_mode", "wal"),
            ("locking_mode", "exclusive"),
        ):
            self.assertEqual(database.execute(f"PRAGMA {name}").fetchone(), (value,))

    def test_marked(self) -> None:
        """
        The file says whose it is, and its version.
        """
        header = self.path.read_bytes()[:72]
        self.assertEqual(header[68:], b"qbrt")
        self.assertEqual(header[60:64], b"\0\0\0\1")

    def test_no_file_is_left_open(self) -> None:
        """
        However often a database is opened, all its files are closed.
        """
        self.store.close()
        for _ in range(3):
            Store(self.path).close()
            self.assertEqual(open_below(self.path.parent), [])

    def test_order_of_arguments(self) -> None:
        """
        A binding is undone for good, whatever the order of its arguments; also where a
        database has it twice, since an earlier version took it for two.
        """
        one, other = {"x-match": "all", "a": 1}, {"a": 1, "x-match": "all"}
        bound: dict[str, Any] = {"queue": "q", "exchange": "amq.headers"}
        for stored in ([one], [other], [one, other]):
            self.peer.call("queue.declare", queue="q")
            row = b"/", b"amq.headers", b"q", True, b""
            rows = ((*row, encode_table(arguments)) for arguments in stored)
            self.edit("INSERT INTO bindings VALUES (?, ?, ?, ?, ?, ?)", *rows)
            self.peer.publish("", b"1", exchange="amq.headers", headers={"a": 1})
            self.assertEqual(self.bodies("q"), [b"1"])
            self.peer.call("queue.unbind", **bound, arguments=other)
            self.restart()
            self.peer.publish("", b"2", exchange="amq.headers", headers={"a": 1})
            self.assertEqual(self.bodies("q"), [b"1"])
            self.peer.call("queue.delete", queue="q")

    def test_what_was_acknowledged(self) -> None:
        """
        What was acknowledged a moment before is gone.
        """
        self.peer.call("queue.declare", queue="q")
        for n in range(3):
            self.peer.publish("q", b"%d" % n)
        self.peer.call("basic.get", queue="q")
        self.peer.call("basic.ack", delivery_tag=1)
        self.peer.turn(0.1)
        self.restart()
        self.assertEqual(self.bodies("q"), [b"1", b"2"])

    def test_what_expired_meanwhile(self) -> None:
        """
        What expired while the broker was down goes where dead letters go.
        """
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        self.peer.call("queue.declare", queue="q", arguments=arguments)
        self.peer.call("queue.declare", queue="dead")
        self.peer.publish("q", b"brief", expiration="5000")
        self.peer.publish("q", b"lasting", expiration="50000")
        self.restart(10)
        self.assertEqual(self.bodies("q"), [b"lasting"])
        self.assertEqual(self.bodies("dead"), [b"brief"])
        self.restart()
        self.assertEqual(self.bodies("dead"), [b"brief"])

    def test_what_expires_behind_another(self) -> None:
        """
        After a restart, what was behind another message expires in its time, too.
        """
        self.peer.call("queue.declare", queue="q")
        self.peer.publish("q", b"lasting", expiration="50000")
        self.peer.publish("q", b"brief", expiration="5000")
        self.restart()
        self.peer.call("basic.get", queue="q", no_ack=True)
        self.peer.turn(4.9)
        self.assertEqual(self.broker.depths(), {"q": 1})
        self.peer.turn(0.2)
        self.assertEqual(self.broker.depths(), {"q": 0})

    def test_clock_set(self) -> None:
        """
        Times are kept, and told in C{x-death}, by the time of day, though delays go by
        a monotonic clock, when the clock of the machine was set meanwhile.
        """
        dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        self.peer.call("queue.declare", queue="q", arguments=dead)
        self.peer.call("queue.declare", queue="dead")
        for jump in (3_600, -3_600, 86_400, -86_400):
            set_by, elapsed = [0.0], functools.partial(Clock.seconds, self.clock)
            steady = SteadyClock(lambda: elapsed() + set_by[0], elapsed)  # noqa: B023
            self.patch(self.clock, "seconds", steady.seconds)
            set_by[0] = jump
            self.peer.publish("q", b"one", expiration="5000")
            self.peer.publish("q", b"two", expiration="60000")
            self.clock.advance(4)
            self.assertEqual(self.broker.depths(), {"dead": 0, "q": 2})
            self.clock.advance(1)
            died_at = elapsed() + jump
            got = self.peer.call("basic.get", queue="dead", no_ack=True)
            assert got is not None
            assert got.properties is not None
            (death,) = got.properties["headers"]["x-death"]
            self.assertEqual(death["time"].timestamp(), died_at)
            self.clock.advance(1)  # that is committed
            self.clock = Clock()  # of a process that begins later
            self.clock.advance(died_at + 1)
            self.restart(53)
            self.assertEqual(self.broker.depths(), {"dead": 0, "q": 1})
            self.clock.advance(1)
            self.assertEqual(self.bodies("dead"), [b"two"])
            self.peer.call("queue.purge", queue="dead")

    def test_order_goes_on(self) -> None:
        """
        What is published after a restart comes after what was there, and is not
        taken for delivered.
        """
        self.peer.call("queue.declare", queue="q")
        self.peer.publish("q", b"old")
        self.peer.call("basic.get", queue="q", no_ack=True)
        self.peer.turn(0.1)
        self.restart()
        self.peer.publish("q", b"new")
        self.restart()
        self.assertEqual(self.bodies("q", redelivered=False), [b"new"])

    def test_virtual_hosts(self) -> None:
        """
        A virtual host with something durable in it is there again, even if nobody
        asks for it.
        """
        self.store.close()
        self.store = Store(self.path)
        self.addCleanup(self.store.close)
        broker = BrokerFactory(self.clock, self.store, vhosts=["/", "other"])
        peer = Peer(broker).open("other")
        peer.call("queue.declare", queue="q")
        self.restart()
        self.assertEqual(self.broker.depths("other"), {"q": 0})

    def test_more_than_fits_in_memory(self) -> None:
        """
        What is beyond the memory's share is read again when it is delivered.
        """
        self.patch(_routing(), "MOST_RESIDENT", 10_000)
        self.peer.call("queue.declare", queue="q")
        bodies = [b"%d" % n * 500 for n in range(10)] * 10
        for body in bodies:
            self.peer.publish("q", body)
        self.assertLess(self.broker._router.resident, 10_000)
        check(self.broker)
        self.assertEqual(self.bodies("q"), bodies)
        check(self.broker)

    def test_large_messages_after_a_restart(self) -> None:
        """
        Together with the next message no more are read than memory has room for.
        """
        self.patch(_routing(), "MOST_RESIDENT", 10_000)
        self.peer.call("queue.declare", queue="q")
        bodies = [b"%d" % n * 500 for n in range(10)] * 10
        for body in bodies:
            self.peer.publish("q", body)
        self.restart()
        self.assertEqual(self.broker._router.resident, 0)
        self.peer.call("basic.get", queue="q")
        self.assertLess(self.broker._router.resident, 20_000)
        self.peer.call("basic.nack", multiple=True)
        self.assertEqual(self.bodies("q"), bodies)
        check(self.broker)


def _routing() -> Any:
    import quebert.broker.state._routing

    return quebert.broker.state._routing


@functools.cache
def _files() -> tuple[bytes, bytes, bytes]:
    """
    A database with two hundred messages in it, and the same as a broker leaves it that
    is killed: the database and its log.  In the log is one transaction with most of the
    messages, and forty with one each.
    """
    with tempfile.TemporaryDirectory(prefix="quebert-test-") as name:
        path = Path(name, "broker.sqlite")
        store = Store(path)
        peer = Peer(BrokerFactory(Clock(), store)).open()
        peer.call("queue.declare", queue="q")
        for n in range(200):
            if n == 160:
                peer.call("confirm.select")
            peer.publish("q", b"%d" % n * 300)
        killed = path.read_bytes(), Path(name, "broker.sqlite-wal").read_bytes()
        store.close()
        return path.read_bytes(), *killed


class _Damage(SynchronousTestCase):
    """
    Files that cannot be used are told in one sentence, and left as they are.

    @ivar content: a database with two hundred messages in it.
    @ivar killed: the same, and its log, of a broker that was killed.
    """

    def setUp(self) -> None:
        """
        Write the database.
        """
        self.path = folder(self) / "broker.sqlite"
        self.log = self.path.with_name(self.path.name + "-wal")
        self.content, *killed = _files()
        self.killed = tuple(killed)
        self.path.write_bytes(self.content)

    def messages(self) -> int:
        """
        How many there are, in files that are sound.
        """
        store = Store(self.path)
        found = len(list(store.records().entries))
        store.close()
        return found

    def write(self, content: bytes, log: bytes = b"") -> None:
        """
        Write the files.
        """
        self.path.write_bytes(content)
        self.log.unlink(missing_ok=True)
        if log:
            self.log.write_bytes(log)

    def assert_unchanged(self, content: bytes, log: bytes = b"") -> None:
        """
        The files are what was written.
        """
        self.assertEqual(self.path.read_bytes(), content)
        self.assertEqual(self.log.exists(), bool(log))
        if log:
            self.assertEqual(self.log.read_bytes(), log)
        self.assertEqual(len(os.listdir(self.path.parent)), 2 if log else 1)

    def refused(self, content: bytes, log: bytes = b"") -> str:
        """
        What is said of files, which stay as they are.
        """
        self.write(content, log)
        said = refusal(StoreError, self.started)
        self.assert_unchanged(content, log)
        self.assertNotIn("\n", said)
        return said

    def started(self) -> None:
        """
        Start a broker, and end it.
        """
        store = Store(self.path)
        try:
            BrokerFactory(Clock(), store, store.records())
        finally:
            store.close()


#: Opens a database for each line, and closes it for the next one.
_OTHER = """
import sys
from pathlib import Path
from quebert.broker import Store
from quebert.errors import StoreError

print("ready", flush=True)
for line in sys.stdin:
    try:
        store = Store(Path(line.rstrip()))
    except StoreError as e:
        print(e, flush=True)
    else:
        print("open", flush=True)
        sys.stdin.readline()
        store.close()
        print("closed", flush=True)
"""


class _Other:
    """
    Another process, which opens databases.
    """

    def __init__(self, stack: ExitStack) -> None:
        command = [sys.executable, "-c", _OTHER]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        program = subprocess.Popen(command, text=True, bufsize=1, **pipes)
        self._program = stack.enter_context(program)
        self._said = ""

    def ask(self, path: Path) -> None:
        """
        Let it open a database.
        """
        assert self._program.stdin is not None
        self._program.stdin.write(f"{path}\n")

    def answer(self) -> str:
        """
        What it says, C{"open"} if it has the database open.
        """
        assert self._program.stdout is not None
        self._said = self._program.stdout.readline().rstrip()
        return self._said

    def open(self, path: Path) -> str:
        """
        Let it open a database, and wait for the answer.
        """
        self.ask(path)
        return self.answer()

    def close(self) -> None:
        """
        Let it close the database that it has open, if it has one.
        """
        if self._said == "open":
            assert self.open(Path()) == "closed"


@contextmanager
def others(count: int) -> Iterator[list[_Other]]:
    """
    Other processes, which end when the context does.
    """
    with ExitStack() as stack:
        processes = [_Other(stack) for _ in range(count)]
        for process in processes:
            assert process.answer() == "ready"
        yield processes


class DamageTests(_Damage):
    """
    What is wrong with a database.
    """

    def test_whole(self) -> None:
        """
        This one is fine.
        """
        self.assertEqual(self.messages(), 200)

    def test_truncated(self) -> None:
        """
        One that is cut short, anywhere.
        """
        whole = len(self.content)
        for size in (0, 1, 99, 100, 4096, whole // 2, whole - 4096, whole - 1):
            self.assertIn("damaged", self.refused(self.content[:size]))

    def test_overwritten(self) -> None:
        """
        One with zeros, or with text, somewhere in it.
        """
        for at in (0, 4096, 8192, len(self.content) // 2, len(self.content) - 4096):
            for junk in (bytes(4096), b"junk" * 1024):
                content = self.content[:at] + junk + self.content[at + 4096 :]
                self.assertIn("damaged", self.refused(content))

    def test_one_octet_of_a_body(self) -> None:
        """
        One in which a message is not what it was.
        """
        at = self.content.index(b"150" * 300) + 100
        said = self.refused(self.content[:at] + b"9" + self.content[at + 1 :])
        self.assertIn("damaged: message 152 has changed", said)

    def test_a_declaration(self) -> None:
        """
        One in which a queue's arguments make no sense.
        """
        database = sqlite3.connect(self.path)
        with database:
            database.execute("UPDATE queues SET arguments = x'00000005ff'")
        database.close()
        self.assertIn("makes no sense", self.refused(self.path.read_bytes()))

    def test_texts(self) -> None:
        """
        One in which the text of a declaration is not what SQLite wrote, nor UTF-8: of
        what is told of it, nothing does anything to a terminal.
        """
        for junk in (b"\xff\xfe", b"\x1b[", b"`\n"):
            content = self.content.replace(b"TABLE messages", b"TABLE me%bages" % junk)
            said = self.refused(content)
            self.assertIn("damaged", said)
            self.assertTrue(said.isprintable(), said)

    def test_columns(self) -> None:
        """
        One in which a column has a value that is never written there.
        """
        for statement in (
            "INSERT INTO exchanges VALUES (x'2f', 'x', 'direct', 0, 0, x'')",
            "UPDATE queues SET name = 'text'",
            "UPDATE queues SET vhost = 7",
            "UPDATE queues SET arguments = NULL",
            "UPDATE queues SET delivered = x'ff'",
            "UPDATE queues SET delivered = 0x7fffffffffffffff",
            "INSERT INTO bindings VALUES (x'2f', x'', x'', 1, 'text', x'')",
            "UPDATE messages SET body = 1",
            "UPDATE messages SET priority = -100",
            "UPDATE messages SET priority = 'text'",
            "UPDATE messages SET expires = 'text'",
        ):
            self.write(self.content)
            database = sqlite3.connect(self.path)
            with database:
                database.execute(statement)
            database.close()
            said = self.refused(self.path.read_bytes())
            self.assertRegex(said, "damaged|makes no sense", statement)

    def test_reasons(self) -> None:
        """
        A reason is told in one printable line, which has an end.
        """
        self.assertEqual(described(ValueError("disk full")), "disk full")
        long = described("a\nb\x1b[2J" * 500)
        self.assertTrue(long.isprintable())
        self.assertTrue(long.startswith("a"))
        self.assertLess(len(long), 400)

    def test_a_lost_queue(self) -> None:
        """
        One in which there are messages of a queue that is not there.
        """
        database = sqlite3.connect(self.path)
        with database:
            database.execute("DELETE FROM queues")
        database.close()
        said = self.refused(self.path.read_bytes())
        self.assertIn("damaged: message 2 is of no queue", said)

    def test_other_files(self) -> None:
        """
        A file of another program, or another program's database.
        """
        self.assertIn("no database of the broker", self.refused(b"#!/bin/sh\n" * 50))
        self.path.unlink()
        other = sqlite3.connect(self.path)
        other.execute("CREATE TABLE poems (text)")
        other.close()
        self.assertIn("another program's", self.refused(self.path.read_bytes()))

    def test_another_version(self) -> None:
        """
        A database of a later version of the broker.
        """
        changed = bytearray(self.content)
        changed[60:64] = (7).to_bytes(4, "big")
        said = self.refused(bytes(changed))
        self.assertIn("of version 7, and this broker's 1", said)

    def test_in_use(self) -> None:
        """
        A database that another broker has.
        """
        store = Store(self.path)
        said = refusal(StoreError, Store, self.path)
        self.assertIn("another broker has this database open", said)
        store.close()
        Store(self.path).close()

    def test_in_use_by_a_tool(self) -> None:
        """
        A database that another program, such as a backup, has locked.
        """
        Store(self.path).close()
        tool = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(tool.close)
        tool.execute("PRAGMA locking_mode = EXCLUSIVE")
        tool.execute("BEGIN EXCLUSIVE")
        said = refusal(StoreError, Store, self.path)
        self.assertIn("another broker has this database open", said)

    def test_long_texts(self) -> None:
        """
        A text of SQLite's is told by 300 characters at most.
        """
        told = described("x" * 301)
        self.assertEqual((len(told), told[-2:]), (300, "x…"))
        self.assertEqual(described("x" * 300), "x" * 300)

    def test_other_errors(self) -> None:
        """
        What SQLite says is told where it is neither damage nor another broker.
        """

        def fail(path: Path) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        self.patch(_database, "_checked", fail)
        said = refusal(StoreError, Store, self.path)
        self.assertIn("the database cannot be used: disk I/O error", said)

    def test_in_use_elsewhere(self) -> None:
        """
        A database that this process has open, and was asked to open again, still cannot
        be opened by another process, until this one closes it.
        """
        other = self.path.with_name("link.sqlite")
        other.symlink_to(self.path)
        with others(1) as (process,):
            store = Store(self.path)
            for path in (self.path, other):
                said = refusal(StoreError, Store, path)
                self.assertIn("another broker has this database open", said)
                self.assertIn("another broker", process.open(self.path))
            store.close()
            self.assertEqual(process.open(self.path), "open")
            said = refusal(StoreError, Store, self.path)
            self.assertIn("another broker has this database open", said)
            process.close()
            Store(self.path).close()

    def test_in_use_and_half_written(self) -> None:
        """
        A database that another process has open, and is just writing, is said to be in
        use, not damaged.
        """
        with others(1) as (process,):
            self.assertEqual(process.open(self.path), "open")
            os.truncate(self.path, len(self.content) - 1)
            said = refusal(StoreError, Store, self.path)
            self.assertIn("another broker has this database open", said)
            process.close()

    def test_refused_and_mended(self) -> None:
        """
        A database that was refused, and then mended, can be opened.
        """
        self.assertIn("damaged", self.refused(self.content[:-1]))
        self.write(self.content)
        self.assertEqual(self.messages(), 200)

    def test_two_at_once(self) -> None:
        """
        Of two processes that open a database at the same time, one gets it, whether
        there is a database or none.
        """
        with others(2) as processes:
            for n in range(10):
                path = folder(self) / f"{n}.sqlite"
                for _ in ("made", "found"):
                    for process in processes:
                        process.ask(path)
                    said = sorted(process.answer() for process in processes)
                    self.assertIn("another broker has this database open", said[0])
                    self.assertEqual(said[1], "open")
                    for process in processes:
                        process.close()
                self.assertEqual(os.listdir(path.parent), [path.name])

    def test_header(self) -> None:
        """
        The size of the pages, the counter of changes and the number of pages are where
        SQLite documents them; the greater counter is newer, then the greater number.
        """
        page = bytearray(self.content[:100])
        for written, size in ((4096, 4096), (1, 65_536), (32_768, 32_768)):
            struct.pack_into(">H", page, 16, written)
            struct.pack_into(">2I", page, 24, 7, 9)
            found = _database._header(self.path, bytes(page))
            told = found.page_size, found.changes, found.pages, found.age
            self.assertEqual(told, (size, 7, 9, (7, 9)))
        for at, text in (
            (0, "no database of"),
            (60, "is of version 16777217"),
            (68, "another pro"),
        ):
            wrong = page[:at] + b"\1" + page[at + 1 :]
            said = refusal(StoreError, _database._header, self.path, bytes(wrong))
            self.assertIn(text, said)
        said = refusal(StoreError, _database._header, self.path, bytes(page[:99]))
        self.assertIn("no database of the broker", said)

    def test_whole_to_the_octet(self) -> None:
        """
        A database has all its octets, or it is damaged.
        """
        self.write(self.content + b"x")
        _database._check_files(self.path)
        self.write(self.content)
        _database._check_files(self.path)
        self.write(self.content[:-1])
        said = refusal(StoreError, _database._check_files, self.path)
        count = len(self.content)
        self.assertIn(f"damaged: {count - 1} bytes are left of {count}", said)

    def test_numbers_beyond_all(self) -> None:
        """
        No message has a number that no broker gives.
        """
        for number, fits in ((2**62 - 1, True), (2**62, False), (-1, False)):
            self.write(self.content)
            with ExitStack() as stack:
                tool = sqlite3.connect(self.path, isolation_level=None)
                stack.callback(tool.close)
                if number < 0:
                    tool.execute("DELETE FROM messages")
                    tool.execute("UPDATE queues SET id = -2")
                tool.execute("UPDATE queues SET delivered = ?", (number,))
            store = Store(self.path)
            try:
                if fits:
                    self.assertEqual(store.records().last_id, number)
                else:
                    said = refusal(StoreError, store.records)
                    self.assertIn(f"no message has the number {number}", said)
            finally:
                store.close()

    def test_lock_that_was_removed(self) -> None:
        """
        A lock counts only if it is that of the file which has its name: whoever had it
        before has removed the file.
        """
        name, flock, waited = f"{self.path}-lock", fcntl.flock, list[int]()

        def locked(file: int, how: int) -> None:
            flock(file, how)
            if len(waited) < 2:
                os.unlink(name)
            if not waited:
                Path(name).touch()  # by another one, who waits no longer
            waited.append(file)

        self.patch(fcntl, "flock", locked)
        with _database._alone_with(self.path), open(name) as other:
            self.assertEqual(len(waited), 3)
            how = fcntl.LOCK_EX | fcntl.LOCK_NB
            self.assertRaises(BlockingIOError, flock, other, how)
        self.assertFalse(os.path.exists(name))
        self.assertEqual(open_below(self.path.parent), [])

    def test_lock_of_a_killed_one(self) -> None:
        """
        The lock that a broker leaves when it is killed is in nobody's way.
        """
        self.path.with_name(self.path.name + "-lock").touch(0o600)
        self.started()
        self.assert_unchanged(self.path.read_bytes())

    def test_link_to_nothing(self) -> None:
        """
        A symbolic link to a database that is to be made.
        """
        self.path.unlink()
        link = folder(self) / "link.sqlite"
        link.symlink_to(self.path)
        Store(link).close()
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.messages(), 0)

    def test_no_folder(self) -> None:
        """
        A folder that is not there.
        """
        said = refusal(StoreError, Store, self.path / "broker.sqlite")
        self.assertIn(str(self.path), said)

    def test_a_log_alone(self) -> None:
        """
        A database that was removed, while what belongs to it was not.
        """
        self.path.unlink()
        log = self.path.with_name(self.path.name + "-wal")
        log.write_bytes(b"anything")
        self.assertIn("missing", refusal(StoreError, Store, self.path))
        self.assertEqual(log.read_bytes(), b"anything")
        self.assertFalse(self.path.exists())

    def test_half_made(self) -> None:
        """
        What a crash left of a new database does no harm.
        """
        self.path.unlink()
        self.path.with_name(self.path.name + ".new").write_bytes(b"half")
        store = Store(self.path)
        self.assertEqual(list(store.records().entries), [])
        store.close()
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])


PAGE = 4096
FRAME = 24 + PAGE


class LogTests(_Damage):
    """
    What is wrong with a database that has a log (C{-wal}), and what is not.
    """

    def frames(self) -> list[tuple[int, bool, bytes]]:
        """
        What is in the log: the numbers of pages, whether they end transactions, and the
        pages.
        """
        log = self.killed[1][32:]
        found = []
        for at in range(0, len(log), FRAME):
            number, commit = struct.unpack_from(">2I", log, at)
            found.append((number, commit > 0, log[at + 24 : at + FRAME]))
        return found

    def commits(self) -> list[int]:
        """
        Where transactions end in the log.
        """
        frames = enumerate(self.frames(), 1)
        return [32 + n * FRAME for n, (_, ends, _) in frames if ends]

    def checkpointed(self, count: int) -> bytes:
        """
        The database, when a checkpoint has written that many pages to it.
        """
        content = self.killed[0]
        pages = {number: page for number, _, page in self.frames()}
        for number in sorted(pages)[:count]:
            at = (number - 1) * PAGE
            content = content[:at] + pages[number] + content[at + PAGE :]
        return content

    def test_whole(self) -> None:
        """
        A broker that was killed finds all.
        """
        self.write(*self.killed)
        self.assertEqual(self.messages(), 200)

    def test_interrupted_checkpoint(self) -> None:
        """
        So does one that was killed within a checkpoint, at any page, or within one.
        """
        for count in range(1, len(self.content) // PAGE, 4):
            for missing in (0, 1000):
                content = self.checkpointed(count)
                self.write(content[: len(content) - missing], self.killed[1])
                self.assertEqual(self.messages(), 200)

    def test_interrupted_checkpoint_behind_a_link(self) -> None:
        """
        So does one whose database is a symbolic link, and the log beside the file.
        """
        self.write(self.checkpointed(20)[:-1000], self.killed[1])
        link = folder(self) / "link.sqlite"
        link.symlink_to(self.path)
        self.path = link
        self.assertEqual(self.messages(), 200)
        self.assertEqual(os.listdir(link.parent), [link.name])

    def test_nothing_in_it(self) -> None:
        """
        A log without a transaction does no harm.
        """
        header = self.killed[1][:32]
        for log in (b"", header[:10], header, self.killed[1][: self.commits()[0] - 1]):
            self.write(self.content, log)
            self.log.write_bytes(log)
            self.assertEqual(self.messages(), 200)

    def test_unfinished_transaction(self) -> None:
        """
        A transaction that was not finished is not there; all before it is.
        """
        content, log = self.killed
        last = self.commits()[-1]
        for end in (last - 1, last - 1000, last - FRAME):
            self.write(content, log[:end])
            self.assertEqual(self.messages(), 199)
            self.write(content, log[:end] + b"junk" * 5000)
            self.assertEqual(self.messages(), 199)

    def test_changed(self) -> None:
        """
        A log in which something was changed that was committed.
        """
        content, log = self.killed
        for end in self.commits()[1:-1:6]:
            for at in (end - FRAME, end - FRAME + 8, end - 1000):
                changed = bytes([log[at] ^ 1])
                said = self.refused(content, log[:at] + changed + log[at + 1 :])
                self.assertIn("damaged: broker.sqlite-wal: a transaction", said)

    def test_changed_header(self) -> None:
        """
        A log with another header.
        """
        content, log = self.killed
        for at in (0, 7, 8, 16, 24):
            changed = bytes([log[at] ^ 1])
            said = self.refused(content, log[:at] + changed + log[at + 1 :])
            self.assertIn("damaged: broker.sqlite-wal: its header is wrong", said)
        said = self.refused(content, b"junk" * 50)
        self.assertIn("damaged: broker.sqlite-wal: its header is wrong", said)

    def test_cut(self) -> None:
        """
        A log that was cut after a part of it had been copied to the database.
        """
        content = self.checkpointed(20)
        for end in self.commits()[2:-8:6]:
            said = self.refused(content, self.killed[1][:end])
            self.assertIn("damaged: broker.sqlite-wal was cut", said)

    def test_no_room_to_put_it_back(self) -> None:
        """
        A log that was copied to the database whole, and for which there is no room when
        it is put back, is not cut short: all is found without it.
        """

        def fill_disk(source: BinaryIO, target: BinaryIO) -> None:
            target.write(source.read(10 * FRAME))
            raise OSError(errno.ENOSPC, "No space left on device")

        self.write(*self.killed)
        connection = _database.opened(self.path)
        connection.execute("PRAGMA wal_checkpoint")
        self.patch(shutil, "copyfileobj", fill_disk)
        _database.let_go(connection)
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])
        self.assertEqual(self.messages(), 200)

    def test_alone_while_it_is_put_back(self) -> None:
        """
        Until a log is put back, no other process opens the database: it would lose its
        own log.
        """

        def put_back(log: Path, before: BinaryIO) -> None:
            with open(lock) as file, self.assertRaises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            calls.append(log)

        calls: list[Path] = []
        lock = self.path.with_name(self.path.name + "-lock")
        self.write(*self.killed)
        connection = _database.opened(self.path)
        self.patch(_database, "_put_back", put_back)
        _database.let_go(connection)
        self.assertEqual(calls, [self.log])
        self.assertFalse(lock.exists())

    def test_another_databases(self) -> None:
        """
        A log of another database: a smaller one of a broker, and another program's.
        """
        path = self.path.with_name("other.sqlite")
        for application in ("", "PRAGMA application_id = 7"):
            database = sqlite3.connect(path, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            if application:
                database.execute(application)
            else:
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute("PRAGMA user_version = 1")
            database.execute("CREATE TABLE IF NOT EXISTS poems (text)")
            log = path.with_name(path.name + "-wal").read_bytes()
            database.close()
            path.unlink()
            said = self.refused(self.content, log)
            wanted = "another program's" if application else "another database"
            self.assertIn(wanted, said)

    def test_a_damaged_database(self) -> None:
        """
        A database that is cut short or overwritten where the log has nothing for it, or
        has nothing at all.
        """
        content, log = self.content, self.killed[1]
        unfinished = log[: self.commits()[0] - 1]
        half = len(content) // PAGE // 2 * PAGE
        for junk in (bytes(PAGE), b"junk" * 1024):
            damaged = content[:half] + junk + content[half + PAGE :]
            self.assertIn("damaged", self.refused(damaged, unfinished))
        for size in (99, PAGE, half, len(content) - 1):
            self.assertIn("damaged", self.refused(content[:size], unfinished))
        at = content.index(b"150" * 300) + 100
        changed = content[:at] + b"9" + content[at + 1 :]
        said = self.refused(changed, unfinished)
        self.assertIn("message 152 has changed", said)

    def test_a_page_that_is_nowhere(self) -> None:
        """
        A database that is cut short, with a log of what was written later.
        """
        self.write(self.content)
        store = Store(self.path)
        broker = BrokerFactory(Clock(), store, store.records())
        peer = Peer(broker).open()
        peer.call("confirm.select")
        for n in range(20):
            peer.publish("q", b"%d" % n * 300)
        log = self.log.read_bytes()
        store.close()
        self.write(self.content, log)
        self.assertEqual(self.messages(), 220)
        for size in (2, 5, 10, len(self.content) // PAGE - 3):
            said = self.refused(self.content[: size * PAGE], log)
            self.assertIn("damaged", said)
        at = self.content.index(b"150" * 300) + 100
        changed = self.content[:at] + b"9" + self.content[at + 1 :]
        self.assertIn("message 152 has changed", self.refused(changed, log))
