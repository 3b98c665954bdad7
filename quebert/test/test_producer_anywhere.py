"""
Adding tasks from programs of any kind: with gevent and eventlet, asyncio and FastAPI,
after the commit of Django and SQLAlchemy, and without Twisted.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from textwrap import dedent
from typing import Any

import pytest
from fastapi import FastAPI
from trustme import CA

import quebert
from quebert.errors import (
    BadTask,
    BrokerError,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
)
from quebert.producer import TaskResult, aio
from quebert.test.contract.patience import PATIENCE, until
from quebert.test.scripted_broker import Publication, ScriptedBroker, confirm


def run(script: str, *arguments: str) -> str:
    """
    What a program says that ends well.
    """
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def uuids(broker: ScriptedBroker) -> Counter[Any]:
    """
    How often each task was published.
    """
    return Counter(each.uuid for each in broker.published)


# -- gevent and eventlet

#: Adds from 400 greenlets that begin with or without a connection; then some have their
#: own limit, while the broker is silent, and the hub goes on.
GEVENT = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from quebert.producer import add_task

def add(n):
    return add_task("/", uuid=str(n), amqp_url=sys.argv[1])

print(len({each.get() for each in [gevent.spawn(add, n) for n in range(400)]}))
sys.stdin.readline()  # the broker is silent from now on

def limited(n):
    try:
        with gevent.Timeout(0.1) as limit:
            add(f"limited {n}")
    except gevent.Timeout as e:
        return e is limit

print(sum(each.get() for each in [gevent.spawn(limited, n) for n in range(40)]))
"""

EVENTLET = """
import sys, warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
from quebert.producer import add_task

def add(n):
    return add_task("/", uuid=str(n), amqp_url=sys.argv[1])

pool = eventlet.GreenPool(400)
print(len(set(pool.imap(add, range(400)))))
sys.stdin.readline()

def limited(n):
    try:
        with eventlet.Timeout(0.1) as limit:
            add(f"limited {n}")
    except eventlet.Timeout as e:
        return e is limit

print(sum(pool.imap(limited, range(40))))
"""


@pytest.mark.parametrize("secure", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("script", [GEVENT, EVENTLET], ids=["gevent", "eventlet"])
def test_greenlets(script: str, secure: bool, tmp_path: Path) -> None:
    """
    Greenlets share connections, other greenlets run while one waits, a limit of the
    caller's is raised as it is, and nothing is written to stderr.
    """
    tls, query = None, ""
    if secure:
        authority, tls = CA(), SSLContext(PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        query = f"?cacertfile={tmp_path / 'ca.pem'}"
    with ScriptedBroker(tls=tls) as broker:
        program = subprocess.Popen(
            [sys.executable, "-c", script, broker.url + query],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert program.stdout is not None
        said = program.stdout.readline()
        assert uuids(broker) == {str(n): 1 for n in range(400)}, program.communicate()
        assert broker.connections <= 16
        broker.silent.set()
        rest, _ = program.communicate("\n", timeout=PATIENCE)
    assert (program.returncode, said + rest) == (0, "400\n40\n")


# -- Without Twisted


def test_without_twisted() -> None:
    """
    Neither the functions nor the producer that block import Twisted; C{Producer} is
    there when it is asked for.
    """
    script = (
        "import sys, quebert.producer, quebert.producer.aio\n"
        "print([m for m in sys.modules if m.startswith(('twisted', 'treq', 'pika'))])\n"
        "from quebert.producer import Producer\n"
        "print(Producer.__name__, 'twisted' in sys.modules)\n"
        "print(hasattr(quebert.producer, 'Nothing'))"
    )
    assert run(script) == "[]\nProducer True\nFalse\n"


# -- asyncio


def test_asyncio() -> None:
    """
    Several tasks are added at once, and the event loop does other work meanwhile.
    """
    going = threading.Event()

    def script(publication: Publication) -> bytes:
        assert going.wait(PATIENCE)
        return confirm(publication)

    async def main() -> list[str]:
        adding = [
            aio.add_task("/", uuid=str(n), amqp_url=broker.url) for n in range(50)
        ]
        gathered = asyncio.gather(*adding)
        while len(broker.published) < aio.THREADS:  # as many at once
            await asyncio.sleep(0.001)
        going.set()
        return await gathered

    with ScriptedBroker(script) as broker:
        assert asyncio.run(main()) == [str(n) for n in range(50)]
        assert uuids(broker) == {str(n): 1 for n in range(50)}


def test_asyncio_errors() -> None:
    """
    Errors are those of the functions that block.
    """

    async def main() -> None:
        with pytest.raises(BadTask):
            await aio.add_task("")
        with pytest.raises(ConfigError, match="window must be 1 or more"):
            await aio.add_tasks([], lambda result: None, window=0)
        with pytest.raises(TypeError, match="did you mean delay"):
            await aio.add_task("/", countdown=1)
        with pytest.raises(BrokerUnreachable):
            await aio.add_task("/", amqp_url="amqp://127.0.0.1:1/")
        broker.silent.set()
        with pytest.raises(BrokerUnreachable, match="in time"):
            await aio.add_task("/", amqp_url=broker.url, patience=0.1)

    with ScriptedBroker() as broker:
        asyncio.run(main())


def test_asyncio_cancelled() -> None:
    """
    A coroutine that is cancelled, or has a limit of its own, ends at once; what no
    thread has begun with is never sent.
    """
    going = threading.Event()

    def script(publication: Publication) -> bytes:
        assert going.wait(PATIENCE)
        return confirm(publication)

    async def main() -> None:
        adding = [
            asyncio.create_task(aio.add_task("/", uuid=str(n), amqp_url=broker.url))
            for n in range(2 * aio.THREADS)
        ]
        while len(broker.published) < aio.THREADS:
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.add_task("/", amqp_url=broker.url), 0.01)
        for each in adding:
            each.cancel()
        ended = await asyncio.gather(*adding, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        going.set()
        await aio.add_task("/", uuid="after", amqp_url=broker.url)

    with ScriptedBroker(script) as broker:
        asyncio.run(main())
        wanted = {**{str(n): 1 for n in range(aio.THREADS)}, "after": 1}
        assert uuids(broker) == wanted


def test_asyncio_many() -> None:
    """
    Many are added from an iterable and from an asynchronous one.
    """
    results: list[TaskResult] = []

    async def asynchronous() -> AsyncIterator[dict[str, Any]]:
        for n in range(250):
            await asyncio.sleep(0)
            yield {"url": "/" if n % 50 else "", "uuid": str(n)}

    async def main() -> None:
        options: dict[str, Any] = {"amqp_url": broker.url, "window": 100}
        tell = results.append
        assert await aio.add_tasks(asynchronous(), tell, **options) == 245
        assert [each.index for each in results if each.error] == [0, 50, 100, 150, 200]
        plain = [{"url": "/"}] * 250
        assert await aio.add_tasks(plain, results.append, **options) == 250
        broker.silent.set()
        with pytest.raises(ChannelLost):
            await aio.add_tasks(plain, results.append, patience=0.2, **options)

    with ScriptedBroker() as broker:
        asyncio.run(main())
    assert sum(each.added for each in results) == 495


def test_asyncio_slow_source() -> None:
    """
    Items are added as they come, not when there are many of them.
    """

    async def main() -> int:
        told = asyncio.Event()

        async def slow() -> AsyncIterator[dict[str, Any]]:
            for _ in range(3):
                told.clear()
                yield {"url": "/"}
                await told.wait()

        options: dict[str, Any] = {"amqp_url": broker.url}
        adding = aio.add_tasks(slow(), lambda result: told.set(), **options)
        return await asyncio.wait_for(adding, PATIENCE)

    with ScriptedBroker() as broker:
        assert asyncio.run(main()) == 3


def test_asyncio_broken_source() -> None:
    """
    What was read before the source of the items fails is added, and told.
    """

    def broken() -> Iterator[dict[str, Any]]:
        yield from [{"url": "/"}] * 3
        raise ZeroDivisionError

    async def main() -> None:
        results: list[TaskResult] = []
        with pytest.raises(ZeroDivisionError):
            await aio.add_tasks(broken(), results.append, amqp_url=broker.url)
        assert [(each.index, each.added) for each in results] == [
            (0, True), (1, True), (2, True),
        ]  # fmt: skip

    with ScriptedBroker() as broker:
        asyncio.run(main())
        assert len(broker.published) == 3


def test_asyncio_each_has_result() -> None:
    """
    Each item that was read has its result when no more can be added, or when
    C{on_result} fails.  A task that was not sent is known not to be there.
    """
    read: list[int] = []

    def counted() -> Iterator[dict[str, Any]]:
        for n in range(1_000):
            read.append(n)
            yield {"url": "/"}

    async def main() -> None:
        results: list[TaskResult] = []
        closed: dict[str, Any] = {"amqp_url": "amqp://127.0.0.1:1/", "window": 10}
        with pytest.raises(BrokerUnreachable):
            await aio.add_tasks(counted(), results.append, **closed)
        assert [each.index for each in results] == read
        errors = [each.error for each in results]
        assert all(isinstance(e, BrokerError) and e.added is False for e in errors)
        for owner in (results, read):
            owner.clear()

        def fail(result: TaskResult) -> None:
            results.append(result)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await aio.add_tasks(counted(), fail, amqp_url=broker.url, window=10)
        assert [each.index for each in results] == read
        assert sum(each.added for each in results) == len(broker.published)

    with ScriptedBroker() as broker:
        asyncio.run(main())


def test_fastapi() -> None:
    """
    Endpoints of FastAPI add tasks while they serve several requests at once.
    """
    app = FastAPI()

    @app.post("/sign-up/{name}")
    async def sign_up(name: str) -> dict[str, str]:
        uuid = await aio.add_task("/welcome", {"name": name}, amqp_url=broker.url)
        return {"task": uuid}

    async def request(name: str) -> int:
        statuses: list[int] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/sign-up/{name}",
            "query_string": b"",
            "headers": [],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await app(scope, receive, send)
        return statuses[0]

    async def main() -> list[int]:
        return await asyncio.gather(*(request(str(n)) for n in range(20)))

    with ScriptedBroker() as broker:
        assert asyncio.run(main()) == [200] * 20
        assert len(broker.published) == 20


# -- After the commit

DJANGO = """
import sys
import django
from django.conf import settings
from django.db import transaction
from quebert.producer import add_task

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(DATABASES={"default": database})
django.setup()

def order(number, fails=False):
    with transaction.atomic():
        transaction.on_commit(
            lambda: add_task("/ship", {"order": number}, amqp_url=sys.argv[1])
        )
        print("in the transaction", flush=True)
        sys.stdin.readline()
        if fails:
            raise ZeroDivisionError

try:
    order(1, fails=True)
except ZeroDivisionError:
    pass
order(2)
"""


def shown_for_sqlalchemy() -> str:
    """
    The listeners that docs/producers.rst shows.
    """
    path = Path(quebert.__file__).parents[1] / "docs/producers.rst"
    if not path.exists():
        pytest.skip("not in a checkout")
    behind = path.read_text("utf-8").partition("\nSQLAlchemy:\n")[2]
    shown = behind.partition(".. code-block:: python\n")[2]
    return dedent(shown.partition("    with make_session()")[0])


#: Behind these.
SQLALCHEMY = """
import sys
from sqlalchemy import text

def order(number, fails=False):
    with make_session() as session, session.begin():
        session.execute(text("select 1"))
        add_after_commit(session, "/ship", {"order": number}, amqp_url=sys.argv[1])
        with session.begin_nested():
            pass
        for statement in ("nonsense", "select 2"):
            try:
                with session.begin_nested():
                    add_after_commit(session, "/never", amqp_url=sys.argv[1])
                    session.execute(text(statement))
                    raise ValueError
            except Exception:
                pass
        print("in the transaction", flush=True)
        sys.stdin.readline()
        if fails:
            raise ZeroDivisionError

try:
    order(1, fails=True)
except ZeroDivisionError:
    pass
order(2)
"""


@pytest.mark.parametrize("script", [DJANGO, SQLALCHEMY], ids=["Django", "SQLAlchemy"])
def test_after_commit(script: str) -> None:
    """
    A task is added after the commit, and none after a rollback.  With SQLAlchemy a
    savepoint is none of a commit.
    """
    if script is SQLALCHEMY:
        script = shown_for_sqlalchemy() + script
    with ScriptedBroker() as broker:
        program = subprocess.Popen(
            [sys.executable, "-c", script, broker.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(2):
            assert program.stdout.readline() == "in the transaction\n"
            assert not broker.published
            program.stdin.write("\n")
            program.stdin.flush()
        said, _ = program.communicate(timeout=PATIENCE)
        assert (program.returncode, said) == (0, "")
        until(lambda: broker.published)
        [published] = broker.published
    assert b'"params":{"order":2}' in published.body
