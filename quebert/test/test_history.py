"""
The history, on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from quebert.errors import UnknownPageToken
from quebert.events import AttemptBatch, AttemptRecord
from quebert.history import (
    HistoryGap,
    HistoryQuery,
    LifeRecord,
    Retention,
    TaskSummary,
    _retaining,
    _search,
    _streams,
)
from quebert.history._rows import folds_of
from quebert.history._store import HistoryStore
from quebert.history._values import Lives
from quebert.test.contract.patience import PATIENCE
from quebert.test.history_records import NOW, batch_of, record_of, uuid_of


@pytest.fixture
def store(history_url: str) -> Iterator[HistoryStore]:
    """
    An empty history.
    """
    store = HistoryStore(history_url)
    store.open()
    yield store
    store.close()


def _tasks(store: HistoryStore, **fields: object) -> Sequence[TaskSummary]:
    """
    All pages of a query.
    """
    query, token = HistoryQuery(**fields), ""  # type: ignore[arg-type]
    found: list[TaskSummary] = []
    while True:
        page = store.find_tasks(query, token, 3)
        found += page.tasks
        if not (token := page.next_page_token):
            return found


def _numbers(store: HistoryStore, **fields: object) -> list[int]:
    """
    The tasks that a query finds, by their numbers.
    """
    numbers = {uuid_of(n): n for n in range(100)}
    return [numbers[task.uuid] for task in _tasks(store, **fields)]


def _gaps(store: HistoryStore) -> list[tuple[int, int | None]]:
    return [(gap.batches, gap.records) for gap in store.gaps_between(None, None)]


def test_a_life(store: HistoryStore) -> None:
    """
    A task has its attempts in the order of time, in whatever order they came.
    """
    first = record_of(
        1,
        outcome="retry",
        reason="HTTP 503 \u2026 \0",
        answer="busy",
        retry_at=NOW + 60,
        due=NOW + 0.5,
    )
    second = record_of(1, number=2, started=NOW + 60, ended=NOW + 61)
    store.write([batch_of(1, [second])])
    store.write([batch_of(2, [first])])
    found = store.life_of(uuid_of(1))
    assert found is not None
    assert [each.number for each in found.attempts] == [1, 2]
    told = found.attempts[0]
    assert told.retry_at == NOW + 60
    assert (told.added, told.due) == (NOW, NOW + 0.5)
    assert (told.status, told.answer, told.mediator) == (503, "busy", "m1")
    assert told.reason in ("HTTP 503 \u2026 \0", "HTTP 503 \u2026 \ufffd")
    task = found.summary
    assert (task.state, task.attempts, task.retry_at) == ("done", 2, None)
    assert task.last == found.attempts[1]
    assert (task.added, task.queue) == (NOW, "mail")
    assert found.gaps == []
    assert store.life_of(uuid_of(2)) is None
    assert store.life_of("") is None
    assert store.life_of("no uuid at all, \u2603\0" * 99) is None


def test_tries(store: HistoryStore) -> None:
    """
    Requests are summed up, in whatever order they came; what is no request is none.
    """
    first = record_of(1, outcome="retry", retry_at=NOW + 60)
    second = record_of(
        1, number=2, started=NOW + 60, ended=NOW + 61, outcome="retry", status=None
    )
    late = record_of(2, number=7, started=NOW, ended=NOW + 1, outcome="retry")
    none = record_of(3, started=NOW, ended=NOW, outcome="postponed", status=None)
    store.write([batch_of(1, [second, late, none])])
    store.write([batch_of(2, [first])])
    store.write(
        [Lives([LifeRecord(uuid=uuid_of(4), queue="q", state="added", at=1.0)])]
    )
    found = store.tries_of([uuid_of(n) for n in range(6)])
    assert found.keys() == {uuid_of(1), uuid_of(2)}
    one, two = found[uuid_of(1)], found[uuid_of(2)]
    assert (one.count, one.answers, one.first) == (2, 1, first.started)
    assert (one.last.number, one.last.started) == (2, NOW + 60)
    assert (two.count, two.answers, two.first) == (7, 1, None)
    assert store.tries_of([]) == {}
    assert store.tries_of(["no uuid at all, \u2603\0" * 99]) == {}


def test_states(store: HistoryStore) -> None:
    """
    The newest entry of a task tells its state, be it an attempt or not.
    """
    outcomes = "done", "retry", "expired", "discarded", "buried", "postponed"
    records = [record_of(n, outcome=outcome) for n, outcome in enumerate(outcomes)]
    store.write([batch_of(1, records)])
    life = LifeRecord(uuid=uuid_of(4), queue="mail", state="redriven", at=NOW + 50)
    new = LifeRecord(
        uuid=uuid_of(7), queue="mail", state="added", at=NOW + 40, due=NOW + 99
    )
    store.write([Lives([life, new])])
    store.write([Lives([life])])
    tasks = {task.uuid: task for task in _tasks(store)}
    states = [tasks[uuid_of(n)].state for n in (0, 1, 2, 3, 4, 5, 7)]
    wanted = "done", "retrying", "expired", "discarded", "redriven", "delayed", "added"
    assert states == list(wanted)
    redriven = store.life_of(uuid_of(4))
    assert redriven is not None
    assert redriven.lives == [life] or redriven.lives[0].state == "redriven"
    assert len(redriven.lives) == 1
    assert redriven.summary.url == "https://example.com/send"
    assert redriven.summary.attempts == 1
    assert tasks[uuid_of(7)].retry_at == NOW + 99
    assert tasks[uuid_of(7)].last is None
    assert tasks[uuid_of(5)].attempts == 0


def test_batches_come_again(store: HistoryStore) -> None:
    """
    A batch that comes again changes nothing, in one transaction and in another.
    """
    batch = batch_of(1, [record_of(1), record_of(2)])
    store.write([batch, batch])
    store.write([batch])
    assert store.totals(None) == {"mail": {"done": 2}}
    assert len(store.attempts_of("mail", None, 9)) == 2


def test_gaps(store: HistoryStore) -> None:
    """
    Batches that are missing are a gap, until they come.
    """
    store.write([batch_of(1, [record_of(1)], total=1)])
    store.write([batch_of(5, [record_of(5)], total=9)])
    (gap,) = store.gaps_between(None, None)
    assert gap == HistoryGap(
        mediator="m1", start=NOW + 1, end=NOW + 5, batches=3, records=7
    )
    life = store.life_of(uuid_of(1))
    assert life is not None
    assert life.gaps == [gap]
    store.write([batch_of(3, [record_of(3)], total=4)])
    assert _gaps(store) == [(1, None), (1, None)]
    store.write([batch_of(3, [record_of(3)], total=4)])
    store.write([batch_of(2, [record_of(2)], total=3)])
    store.write([batch_of(4, [record_of(4)], total=8)])
    assert _gaps(store) == []
    assert store.totals(None) == {"mail": {"done": 5}}
    assert store.positions() == {"m1": 9}


def test_empty_batches(store: HistoryStore) -> None:
    """
    Batches that were empty leave no gap: they do not come here.
    """
    store.write([batch_of(3, [record_of(1)], total=1)])
    store.write([batch_of(7, [record_of(2), record_of(3)], total=3)])
    assert _gaps(store) == []
    store.write([batch_of(9, [record_of(4)], total=5)])
    assert _gaps(store) == [(1, 1)]


def test_dropped(store: HistoryStore) -> None:
    """
    Records that the mediator has dropped are a gap, too.
    """
    store.write([batch_of(1, [record_of(1)], total=1)])
    store.write([batch_of(2, [record_of(2)], total=7, dropped=5)])
    (gap,) = store.gaps_between(None, None)
    assert (gap.start, gap.end, gap.batches, gap.records) == (NOW + 1, NOW + 2, 0, 5)
    assert store.gaps_between(NOW + 3, None) == []
    assert store.gaps_between(None, NOW) == []


def test_beginning_is_missing(store: HistoryStore) -> None:
    """
    Where the first batches of a mediator are missing, their records are counted; one
    that comes later, and has dropped some itself, leaves these missing.
    """
    store.write([batch_of(3, [record_of(3)], total=9)])
    (gap,) = store.gaps_between(None, None)
    assert (gap.batches, gap.records) == (2, 8)
    store.write([batch_of(2, [record_of(2)], total=8, dropped=4)])
    assert sorted(_gaps(store)) == [(0, 4), (1, 3)]
    store.write([batch_of(1, [record_of(1)], mediator="old")])  # it tells no total
    assert store.positions() == {"m1": 9}


def test_odd_records(store: HistoryStore) -> None:
    """
    Whatever a mediator says is written, or counted as missing.
    """
    odd: list[AttemptRecord] = [
        record_of(1, uuid="x" * 5000, url="\ud800" * 9000, reason="\0\n" * 9000),
        record_of(2, uuid="", answer="\udfff\0" * 9000, status=10**30, number=10**30),
        record_of(3, added=float("nan"), due=1e300, retry_at=float("-inf")),
        record_of(4, queue="q\u00fc\0" * 2000, number=-5, status=-1),
        record_of(5, uuid="\u2603" * 5, started=9e12, ended=-9e12),
        record_of(6, ended=float("nan")),
        record_of(7, outcome="eaten"),
        record_of(8, status="200"),
        record_of(9),
    ]
    store.write([batch_of(1, odd)])
    assert _gaps(store) == [(0, 3)]
    assert sum(sum(each.values()) for each in store.totals(None).values()) == 6
    task = store.life_of("\u2603" * 5)
    assert task is not None
    assert task.summary.uuid == "\u2603" * 5
    assert uuid_of(9) in {task.uuid for task in _tasks(store)}
    big = AttemptBatch(
        mediator="\ud800\0" * 3000, sequence=2**80, at=float("inf"), records=()
    )
    store.write([big, batch_of(2**62, [], total=2**80, dropped=2**80)])
    store.write([batch_of(0, [record_of(11)]), batch_of(-1, [record_of(12)])])
    assert store.life_of(uuid_of(11)) is None


def test_search(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Tasks are found by each field, also where there are many of them.
    """
    records = [
        record_of(1, url="https://example.com/send/50%_"),
        record_of(2, url="http://other.example/Send", queue="other"),
        record_of(3, outcome="retry", reason="HTTP 503 Service Unavailable"),
        record_of(4, outcome="buried", status=404, reason="it is 100% wrong_"),
        record_of(5, outcome="retry", status=None, reason="no connection"),
        record_of(6, outcome="discarded", status=410, queue="other"),
        record_of(7, uuid="order-7"),
    ]
    store.write([batch_of(1, records)])
    numbers = {uuid_of(n): n for n in range(9)} | {"order-7": 7}

    def found(**fields: object) -> list[int]:
        return [numbers[task.uuid] for task in _tasks(store, **fields)]

    def check() -> None:
        assert found() == [7, 6, 5, 4, 3, 2, 1]
        assert found(uuid=uuid_of(4)) == [4]
        assert found(uuid=uuid_of(4).upper()) == [4]
        assert found(uuid="000") == [6, 5, 4, 3, 2, 1]
        assert found(uuid="0004000") == [4]
        assert found(uuid="0004-") == []
        assert found(uuid="order") == [7]
        assert found(uuid="\u2603") == []
        assert found(queue="other") == [6, 2]
        assert found(queue="none") == []
        assert found(url="https://example.com/") == [7, 6, 5, 4, 3, 1]
        assert found(url="https://example.com/send/") == [1]
        assert found(url="/send") == [7, 6, 5, 4, 3, 1]
        assert found(url="Send") == [2]
        assert found(url="%") == [1]
        assert found(url="_") == [1]
        assert found(url="/nowhere") == []
        assert found(url="http:", queue="mail") == []
        assert found(status=503) == [3]
        assert found(status=4) == [6, 4]
        assert found(status=2) == [7, 2, 1]
        assert found(status=10**30) == found(status=-1) == []
        assert found(outcome="retry") == [5, 3]
        assert found(outcome="done", queue="other") == [2]
        assert found(outcome="buried", queue="other") == []
        assert found(outcome="nothing") == []
        assert found(reason="503") == [3]
        assert found(reason="100%") == [4]
        assert found(reason="on", queue="mail", outcome="retry") == [5]
        assert found(after=NOW + 3, before=NOW + 5) == [4, 3]

    check()
    monkeypatch.setattr(_search, "_FEW", 0)
    check()
    monkeypatch.setattr(_search, "_STREAMS", 0)
    check()
    monkeypatch.setattr(_streams, "_BUDGET", 1)
    monkeypatch.setattr(_streams, "_LEAST", 1)
    assert found(url="/send/") == [1]
    assert found(status=4) == [6, 4]
    assert found(reason="on", queue="mail", outcome="retry") == [5]


def test_few_match(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A page is full, or has all that is left, or was looked for as long as it may be.
    Then its token leads to the rest; no task is missed, and none comes twice.
    """
    monkeypatch.setattr(_streams, "_BUDGET", 4)
    monkeypatch.setattr(_streams, "_LEAST", 2)
    records = [
        record_of(n, status=410 if n % 11 else 404, outcome="buried", queue=f"q{n % 3}")
        for n in range(1, 90)
    ]
    # Another attempt: the one before counts no more.
    records += [record_of(22, number=2, ended=NOW + 60.5, queue="q1")]
    store.write([batch_of(1, records)])
    numbers = {uuid_of(n): n for n in range(100)}
    query = HistoryQuery(status=404)
    wanted = [88, 77, 66, 55, 44, 33, 11]
    for patience, at_most in ((0.0, 60), (PATIENCE, 4)):
        monkeypatch.setattr(_search, "_PATIENCE", patience)
        pages = [store.find_tasks(query, "", 2)]
        while token := pages[-1].next_page_token:
            pages.append(store.find_tasks(query, token, 2))
        assert [numbers[t.uuid] for page in pages for t in page.tasks] == wanted
        assert len(pages) <= at_most
        is_short = [len(page.tasks) < 2 for page in pages[:-1]]
        assert any(is_short) is (patience == 0.0)


def test_few_failed(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What only a failed task can have is looked for among those that failed alone.
    """
    monkeypatch.setattr(_streams, "_BUDGET", 4)
    monkeypatch.setattr(_streams, "_LEAST", 2)
    monkeypatch.setattr(_search, "_PATIENCE", 0.0)
    failed = [record_of(n, outcome="retry", reason="busy") for n in range(1, 4)]
    store.write([batch_of(1, failed + [record_of(n) for n in range(4, 90)])])
    for query in HistoryQuery(status=503), HistoryQuery(reason="busy"):
        page = store.find_tasks(query, "", 3)
        assert [task.uuid for task in page.tasks] == [uuid_of(n) for n in (3, 2, 1)]


def test_many_attempts(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A task with more attempts than are looked at is found all the same.
    """
    monkeypatch.setattr("quebert.history._rows._ENTRIES", 5)
    monkeypatch.setattr("quebert.history._rows._NEWEST", 3)
    many = [
        record_of(1, number=k, ended=NOW + k, outcome="retry") for k in range(1, 10)
    ]
    store.write([batch_of(1, [*many, record_of(2, ended=NOW)])])
    assert _numbers(store) == [1, 2]
    assert _numbers(store, outcome="retry") == [1]


def test_newest_entry_counts(store: HistoryStore) -> None:
    """
    A task that was retried is found by its newest attempt, and once.
    """
    several = [
        record_of(n, number=k, outcome="retry" if k < 5 else "done", ended=NOW + k)
        for k in range(1, 6)
        for n in range(1, 12)
    ]
    store.write([batch_of(1, several)])
    assert sorted(_numbers(store)) == list(range(1, 12))
    assert _numbers(store, outcome="retry") == []
    assert len(_numbers(store, outcome="done")) == 11
    (task,) = _tasks(store, uuid=uuid_of(3))
    assert (task.attempts, task.state) == (5, "done")


def test_patterns(store: HistoryStore) -> None:
    """
    Of a search in some queues, nothing depends on the tasks of others: neither what is
    found, nor whether there is another page.
    """
    url = "https://secret.example/"
    records = [record_of(n, queue="mail.a" if n % 3 else "other") for n in range(1, 10)]
    records += [record_of(n, queue="other", url=url) for n in range(10, 20)]
    records += [record_of(20, queue="other", outcome="buried", status=404)]
    store.write([batch_of(1, records)])
    patterns = ("mail.*", "x")
    assert _numbers(store, patterns=patterns) == [8, 7, 5, 4, 2, 1]
    assert _numbers(store, patterns=patterns, queue="mail.a") == [8, 7, 5, 4, 2, 1]
    assert len(_numbers(store, patterns=("o*", "*"))) == 20
    several: tuple[dict[str, Any], ...] = (
        {"patterns": ()},
        {"queue": "other"},
        {"url": url},
        {"url": "secret"},
        {"uuid": uuid_of(12)},
        {"status": 404},
        {"outcome": "buried"},
        {"reason": "Found"},
    )
    for fields in several:
        query = HistoryQuery(**{"patterns": patterns, **fields})
        page = store.find_tasks(query, "", 1)
        assert ([*page.tasks], page.next_page_token) == ([], ""), fields


def test_pages(store: HistoryStore) -> None:
    """
    A page token is of one query, and of nothing else.
    """
    store.write([batch_of(1, [record_of(n, ended=NOW) for n in range(1, 8)])])
    query = HistoryQuery(queue="mail")
    page = store.find_tasks(query, "", 3)
    assert len(page.tasks) == 3
    for wrong in ("x", "\u2603", page.next_page_token[:-4], "AAAA" * 8):
        with pytest.raises(UnknownPageToken):
            store.find_tasks(query, wrong, 3)
    with pytest.raises(UnknownPageToken):
        store.find_tasks(HistoryQuery(), page.next_page_token, 3)
    assert sorted(_numbers(store, queue="mail")) == list(range(1, 8))
    assert store.find_tasks(query, "", 7).next_page_token == ""


def test_work_of_a_page(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No more tasks are looked into, in all segments, than a page has.
    """
    records = [record_of(n, queue=f"q{n % 5}") for n in range(1, 60)]
    store.write([batch_of(1, records)])
    looked_into: list[bytes] = []

    def look(connection: Any, segments: range, uuids: Iterable[bytes]) -> Any:
        some = [*uuids]
        looked_into.extend(some)
        return folds_of(connection, segments, some)

    monkeypatch.setattr(_search, "folds_of", look)
    page = store.find_tasks(HistoryQuery(), "", 5)
    assert [task.uuid for task in page.tasks] == [uuid_of(59 - n) for n in range(5)]
    assert len(looked_into) == 5


def test_attempts_of_a_queue(store: HistoryStore) -> None:
    """
    A queue has its newest attempts.
    """
    store.write([batch_of(1, [record_of(n) for n in range(1, 6)])])
    newest = store.attempts_of("mail", None, 2)
    assert [each.started for each in newest] == [NOW + 5, NOW + 4]
    older = store.attempts_of("mail", newest[-1].ended, 2)
    assert [each.started for each in older] == [NOW + 3, NOW + 2]
    assert store.attempts_of("none", None, 2) == []


def test_latency_and_totals(store: HistoryStore) -> None:
    """
    Durations are counted by the minute, and outcomes in all.
    """
    records = [
        record_of(1, started=NOW, ended=NOW + 0.005),
        record_of(2, started=NOW, ended=NOW + 0.0051),
        record_of(3, started=NOW, ended=NOW + 70.0, outcome="retry"),
        record_of(4, started=NOW - 9000, ended=NOW + 70.0, outcome="buried"),
        record_of(5, queue="other"),
    ]
    store.write([batch_of(1, records[:2]), batch_of(2, records[2:])])
    found = store.latency("mail", NOW)
    assert [column.at for column in found.columns] == [NOW, NOW + 60]
    first, second = (list(column.counts) for column in found.columns)
    assert (first[0], first[1], sum(first)) == (1, 1, 2)
    assert (second[13], second[-1], sum(second)) == (1, 1, 2)
    assert store.latency("mail", NOW + 120).columns == []
    mail = {"done": 2, "retry": 1, "buried": 1}
    assert store.totals(None) == {"mail": mail, "other": {"done": 1}}
    assert store.totals(NOW + 60) == {"mail": {"retry": 1, "buried": 1}}


def test_without_request(store: HistoryStore) -> None:
    """
    What was decided without a request counts as an outcome, and as nothing that takes
    time; a request without an answer does.
    """
    outcomes = ("expired", "postponed", "cancelled", "buried", "discarded")
    records = [
        record_of(1, ended=NOW + 1, status=None, outcome=each) for each in outcomes
    ]
    records.append(record_of(2, status=None, outcome="retry", ended=NOW + 32))
    store.write([batch_of(1, records)])
    [column] = store.latency("mail", NOW).columns
    assert sum(column.counts) == 1
    every = {**dict.fromkeys(outcomes, 1), "retry": 1}
    assert store.totals(None) == store.totals(NOW) == {"mail": every}
    first, second = (store.life_of(uuid_of(n)) for n in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.summary.attempts, second.summary.attempts) == (0, 1)


def test_due(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Tasks that wait are counted by when they are due, unless they had their attempt.
    """
    records = [
        record_of(n, outcome="retry", retry_at=NOW + 100 * n) for n in range(1, 7)
    ]
    store.write([batch_of(1, records)])
    early = record_of(2, number=2, started=NOW + 20, ended=NOW + 21)
    store.write([batch_of(2, [early])])
    delayed = LifeRecord(
        uuid=uuid_of(9), queue="mail", state="delayed", at=NOW, due=NOW + 501
    )
    store.write([Lives([delayed])])
    counts = [(each.at - NOW, each.count) for each in store.due("mail", NOW, 250.0)]
    assert counts == [(0.0, 1), (250.0, 2), (500.0, 3)]
    assert len(store.due("mail", NOW + 450, 250.0)) == 1
    assert store.due("none", NOW, 60.0) == []
    monkeypatch.setattr("quebert.history._looking._VERIFIED", 3)
    counts = [(each.at - NOW, each.count) for each in store.due("mail", NOW, 250.0)]
    assert counts == [(0.0, 1), (250.0, 2), (500.0, 3)]


def test_segments(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A task is found in whatever segment it is.
    """
    monkeypatch.setattr("quebert.history._writing.SEGMENT", 2)
    monkeypatch.setattr("quebert.history._schema.SEGMENT", 2)
    for n in range(1, 12):
        store.write([batch_of(n, [record_of(n), record_of(n + 50, outcome="retry")])])
    again = record_of(51, number=2, started=NOW + 90, ended=NOW + 91)
    store.write([batch_of(12, [again])])
    assert _numbers(store, uuid=uuid_of(1)) == [1]
    life = store.life_of(uuid_of(51))
    assert life is not None
    assert len(life.attempts) == 2
    assert sorted(_numbers(store, outcome="retry")) == list(range(52, 62))
    assert len(_numbers(store, url="https://example.com/send")) == 22
    while store.retain(Retention(age=5), NOW + 10):
        pass
    assert store.life_of(uuid_of(1)) is None
    assert _numbers(store, uuid=uuid_of(9)) == [9]
    assert len(_numbers(store, url="/send")) == len(_numbers(store))


def test_retention_by_age(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is too old goes, in slices, and with it what belongs to it.
    """
    monkeypatch.setattr(_retaining, "SLICE", 2)
    records = [record_of(n, queue=f"q{n}") for n in range(1, 10)]
    store.write([batch_of(1, records[:5]), batch_of(4, records[5:])])
    retention = Retention(age=100.0, size=None)
    assert not store.retain(retention, NOW + 100)
    assert len(_tasks(store)) == 9
    slices = 1
    while store.retain(retention, NOW + 106):
        slices += 1
    assert slices == 3
    assert _numbers(store) == [9, 8, 7, 6]
    assert len(store.gaps_between(None, None)) == 0
    while store.retain(retention, NOW + 1000):
        pass
    assert _tasks(store) == []
    assert store.totals(0.0) == {}
    assert len(store.totals(None)) == 9
    store.write([batch_of(4, records[5:]), batch_of(5, records[:1])])
    assert _numbers(store) == [1]


def test_old_queues(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A search does not look into thousands of queues of which nothing is kept.
    """
    monkeypatch.setattr(_search, "_STREAMS", 5)
    old = [record_of(n, queue=f"old {n}") for n in range(20)]
    store.write([batch_of(1, old), batch_of(2, [record_of(2_000)])])
    scan, looked = _streams.Scan, list[int]()

    def spied(stream: Any, streams: Any, *others: Any) -> Any:
        looked.append(len(streams))
        return scan(stream, streams, *others)

    monkeypatch.setattr(_search, "Scan", spied)
    assert len(store.find_tasks(HistoryQuery(), "", 50).tasks) == 21
    while store.retain(Retention(age=5), NOW + 2_000):
        pass
    (task,) = store.find_tasks(HistoryQuery(), "", 50).tasks
    assert (task.uuid, looked[0], looked[-1]) == (uuid_of(2_000), 21, 1)


def test_retention_by_size(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The oldest goes where there is no room; a database that has room keeps all.
    """
    monkeypatch.setattr(_retaining, "SLICE", 500)
    for n in range(1, 7):
        records = [record_of(n, answer="x" * 1000) for n in range(900)]
        store.write([batch_of(n, records)])
    assert not store.retain(Retention(size=10**9), NOW)
    before = len(store.attempts_of("mail", None, 9999))
    rounds = 0
    while store.retain(Retention(size=2 * 10**6), NOW):
        rounds += 1
        assert rounds < 100
    after = len(store.attempts_of("mail", None, 9999))
    assert 0 < after < before


def test_bounds_of_retention() -> None:
    """
    What is kept for no time, or in no space, is refused.
    """
    for wrong in ({"age": 0.0}, {"size": -1}, {"age": "1"}):
        with pytest.raises(ValueError, match="must be more than 0"):
            Retention(**wrong)
