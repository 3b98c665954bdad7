"""
What records of a file say, and which tasks are made of them.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.bulk import _batches
from quebert.bulk._batches import Batch, Digest, RecordReader, uuid_of
from quebert.bulk._formats import (
    KEYWORDS,
    CSVRows,
    FileFormat,
    JSONLines,
    checked_item,
)
from quebert.bulk._records import TaskRecord
from quebert.errors import BadTask, ConfigError
from quebert.test.checks import QUICK, refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ID = uuid.UUID(int=7)


def record(raw: bytes, line: int = 2) -> TaskRecord:
    """
    A record of one line.
    """
    return TaskRecord(line, 1, raw)


class JSONLinesTests(SynchronousTestCase):
    """
    L{JSONLines}: an object in each line.
    """

    def test_objects(self) -> None:
        """
        A line is an object; an empty one is none.
        """
        format = JSONLines()
        self.assertTrue(format.takes(record(b"{}")))
        self.assertFalse(format.takes(record(b" \t")))
        self.assertEqual(format.item(record(b' {"url": "/"} ')), {"url": "/"})
        bom = b"\xef\xbb\xbf{}"
        self.assertEqual(format.item(record(bom, 1)), {})

    def test_no_objects(self) -> None:
        """
        Anything else is refused.
        """
        format = JSONLines()
        for raw in (b"[]", b"null", b'"x"', b"5"):
            told = refusal(BadTask, format.item, record(raw))
            self.assertIn("no object such as", told)
        for raw in (b"{", b"\xff", b"{}{}", b"[" * 100_000, b'{"a": NaN}'):
            refusal(BadTask, format.item, record(raw))


class CSVRowsTests(SynchronousTestCase):
    """
    L{CSVRows}: CSV with a header.
    """

    def rows(self, header: str) -> CSVRows:
        """
        The format, once it has read a header.
        """
        format = CSVRows()
        self.assertFalse(format.takes(record(header.encode(), 1)))
        return format

    def test_cells(self) -> None:
        """
        A cell is what its column says; an empty one says nothing.
        """
        format = self.rows(
            "\ufeffurl, delay,params.name,params.n.m,headers.X-A,extra,uuid"
        )
        row = '/a,5m,"Ed ""x"",\ny",7,b,"{""a"": [1]}",'
        self.assertTrue(format.takes(record(row.encode())))
        self.assertEqual(
            format.item(record(row.encode())),
            {
                "url": "/a",
                "delay": "5m",
                "params": {"name": 'Ed "x",\ny', "n.m": "7"},
                "headers": {"X-A": "b"},
                "extra": {"a": [1]},
            },
        )
        self.assertEqual(format.item(record(b",,,,,,")), {})

    def test_bad_rows(self) -> None:
        """
        Rows that are none are refused, each with its reason.
        """
        format = self.rows("url,params")
        for raw, text in (
            (b"/a", "it has 1 cells, and the header 2"),
            (b"/a,1,2", "it has 3 cells, and the header 2"),
            (b"/a,{", "params must be JSON"),
            (b"/a," + b"[" * 100_000, "params must be JSON"),
            (b"/\xff,1", "it is not in UTF-8"),
            (b'/a,"1"2', "it is not CSV"),
        ):
            self.assertIn(text, refusal(BadTask, format.item, record(raw)))

    def test_bad_headers(self) -> None:
        """
        A header that is wrong ends all, before anything is added.
        """
        for raw, text in (
            ("url,colour", "has a column 'colour': columns are callback_url, delay"),
            ("url,params.", "has a column 'params.'"),
            ("url,retry.max_attempts", "has a column 'retry.max_attempts'"),
            ("url,url", "says 'url' twice"),
            ("url,params,params.a", "says 'params' twice"),
            ("url,", "has a column ''"),
            ('url,"a"b', "cannot be read: it is not CSV"),
        ):
            told = refusal(ConfigError, CSVRows().takes, record(raw.encode(), 1))
            self.assertIn(text, told)
        cut = TaskRecord(1, 9, b'url,"', "a quoted field is not closed")
        told = refusal(ConfigError, CSVRows().takes, cut)
        self.assertIn("a quoted field is not closed", told)


class ItemTests(SynchronousTestCase):
    """
    L{checked_item}.
    """

    def test_defaults(self) -> None:
        """
        What an item says wins, also if that is C{null}, which says nothing.
        """
        found = checked_item({"delay": None, "ttl": "2h"}, {"delay": 5.0, "url": "/"})
        self.assertEqual(found, {"ttl": 7200.0, "url": "/"})

    def test_other_time(self) -> None:
        """
        An item that says when it is to be done is not delayed by default, too.
        """
        for name, other in (("run_at", "delay"), ("delay", "run_at")):
            for item in ({name: 7}, {name: 7, other: None}):
                self.assertEqual(checked_item(item, {other: 5}), {name: 7})
        both = {"run_at": 7, "delay": 5}
        self.assertEqual(checked_item(both, {}), both)

    def test_payload(self) -> None:
        """
        A payload is base64, as tasks have it; that of the command is bytes.
        """
        item = checked_item({"url": "/", "payload": "AP8="}, {"payload": b"x"})
        self.assertEqual(item, {"url": "/", "payload": b"\x00\xff"})
        item = checked_item({"url": "/"}, {"payload": b"x"})
        self.assertEqual(item["payload"], b"x")
        why = refusal(BadTask, checked_item, {"payload": "A"}, {})
        self.assertIn("payload must be base64", why)

    def test_wrong(self) -> None:
        """
        Other keys and times that are none are refused.
        """
        for item, text in (
            ({"parms": 1}, "'parms' is no keyword: did you mean params?"),
            ({"max_body": 1}, "'max_body' is no keyword"),
            ({"exchange": "a"}, "'exchange' is no keyword"),
            ({"countdown": 1}, "did you mean delay?"),
            ({"name": "n"}, "names need the HTTP API"),
            ({"timeout": "x"}, "timeout must be seconds"),
            ({"delay": "-5"}, "delay must be seconds"),
        ):
            self.assertIn(text, refusal(BadTask, checked_item, item, {}))


class RecordReaderTests(SynchronousTestCase):
    """
    L{RecordReader} makes tasks of records.
    """

    def read(
        self, *raw: bytes, format: FileFormat | None = None, **defaults: Any
    ) -> Batch:
        """
        The batch of some records.
        """
        reader = RecordReader(
            format or JSONLines(), ID, defaults, self.check, lambda: 5.0
        )
        batch = Batch()
        for number, each in enumerate(raw, 1):
            reader.add(record(each, number), batch)
        return batch

    def check(self, url: object, field: str) -> None:
        """
        Refuses a URL.
        """
        if url == "bad":
            raise BadTask(f"{field} is bad")

    def test_tasks(self) -> None:
        """
        A record becomes a task with a uuid of its line, or of its own.
        """
        batch = self.read(
            b'{"url": "/a"}', b'{"url": "/b", "uuid": "u", "priority": "high"}'
        )
        first, second = (each.letter for each in batch.entries)
        self.assertEqual(json.loads(first.body)["uuid"], uuid_of(ID, 1))
        self.assertEqual(first.properties["message-id"], uuid_of(ID, 1))
        self.assertEqual(first.routing_key, "tasks.medium")
        self.assertEqual(json.loads(second.body)["uuid"], "u")
        self.assertEqual(second.routing_key, "tasks.high")
        self.assertEqual((batch.read, batch.refusals), (2, []))

    def test_refusals(self) -> None:
        """
        What is no task is refused, with its reason.
        """
        lines = b'{"url": "bad"}', b'{"url": "/", "ttl": []}', b"x", b'{"url": "/"}'
        batch = self.read(*lines)
        told = [(each.record.line, each.reason) for each in batch.refusals]
        self.assertEqual([line for line, _ in told], [1, 2, 3])
        self.assertEqual(told[0][1], "url is bad")
        self.assertEqual((batch.read, len(batch.entries)), (4, 1))

    def test_callback(self) -> None:
        """
        A record may have a C{callback_url}, which is checked as its URL is.
        """
        batch = self.read(
            b'{"url": "/", "callback_url": "/ended"}',
            b'{"url": "/", "callback_url": "bad"}',
        )
        self.assertEqual([e.reason for e in batch.refusals], ["callback_url is bad"])
        [entry] = batch.entries
        self.assertEqual(json.loads(entry.letter.body)["callback_url"], "/ended")

    @QUICK
    @given(st.dictionaries(st.sampled_from(sorted(KEYWORDS)), JSON))
    def test_anything(self, item: dict[str, Any]) -> None:
        """
        Whatever an object says, it is a task or refused.
        """
        batch = self.read(json.dumps({"url": "/", **item}).encode())
        self.assertEqual(len(batch.entries) + len(batch.refusals), 1)

    @QUICK
    @given(st.binary(), st.sampled_from(["url", "params.a,headers.b,delay", "retry"]))
    def test_any_bytes(self, raw: bytes, header: str) -> None:
        """
        Whatever bytes a record has, it is a task or refused, or empty.
        """
        self.read(raw)
        format = CSVRows()
        format.takes(record(header.encode(), 1))
        self.read(raw, format=format, url="/")

    def test_too_long(self) -> None:
        """
        A record that is cut is refused for that.
        """
        reader = RecordReader(JSONLines(), ID, {}, self.check, lambda: 5.0)
        batch = Batch()
        reader.add(TaskRecord(1, 1, b"{", "it is too long"), batch)
        self.assertEqual([each.reason for each in batch.refusals], ["it is too long"])

    def test_full(self) -> None:
        """
        A batch is full with so many records or bytes.
        """
        self.patch(_batches, "BATCH", 2)
        self.assertEqual(self.read(b"1").room, 1)
        self.assertEqual(self.read(b"1", b"2").room, 0)
        self.patch(_batches, "BATCH_BYTES", 10)
        self.assertEqual(self.read(b"1" * 10).room, 0)

    def test_uuids(self) -> None:
        """
        The uuid of a line is the one that C{uuid.uuid5} makes.
        """
        for line in (1, 2, 199_999):
            for id in (ID, uuid.uuid4()):
                self.assertEqual(uuid_of(id, line), str(uuid.uuid5(id, str(line))))

    def test_digest(self) -> None:
        """
        The digest of lines tells where one ends.
        """
        digests = set()
        for lines in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""], []):
            digest = Digest()
            for each in lines:
                digest.add(each)
            digests.add(str(digest))
        self.assertEqual(len(digests), 5)
