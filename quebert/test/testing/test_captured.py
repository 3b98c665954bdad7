"""
Tests for L{quebert.testing.captured_tasks}.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask, ConfigError
from quebert.producer import (
    BlockingProducer,
    Producer,
    TaskResult,
    add_task,
    add_tasks,
    aio,
)
from quebert.test.testing.doubles import chain, functions
from quebert.testing import (
    AddedTask,
    Answer,
    SimulatedRequest,
    TaskFailed,
    captured_tasks,
)

#: Nobody listens there.
NOWHERE = "amqp://guest:guest@127.0.0.1:9/"


class NoPublisher:
    """
    A client that must not be asked.
    """

    def publish(self, *arguments: Any) -> Any:
        """
        Fail.
        """
        raise AssertionError(f"published {arguments}")


class CollectingTests(SynchronousTestCase):
    """
    Without an executor.
    """

    def test_told(self) -> None:
        """
        A task tells what was asked for.
        """
        with captured_tasks() as tasks:
            uuid = add_task(
                "/thumbnail",
                {"sizes": (1, 2)},
                kind="images.large",
                priority="high",
                delay=90,
                extra={"customer": 7},
            )
        (task,) = tasks
        self.assertEqual(
            (task.url, task.params, task.uuid, task.kind, task.priority, task.delay),
            ("/thumbnail", {"sizes": [1, 2]}, uuid, "images.large", "high", 90.0),
        )
        self.assertEqual(task.task["customer"], 7)
        self.assertEqual((task.exchange, task.answer, task.result), ("flow", None, ""))

    def test_shown(self) -> None:
        """
        A failed assertion shows what was asked for.
        """
        with captured_tasks() as tasks:
            add_task("/x", {"a": 1}, delay=60)
            add_task("/y")
        shown = "[<AddedTask /x {'a': 1} in 60 s>, <AddedTask /y None>]"
        self.assertEqual(repr(tasks), shown)

    def test_large(self) -> None:
        """
        A task that is decoded in parts is done, too.
        """
        with captured_tasks(lambda task: len(task["params"])) as tasks:
            add_task("/x", "a" * 1_000_000)
        self.assertEqual(tasks[0].answer.text, "1000000")

    def test_run_at(self) -> None:
        """
        A time is told in UTC; a task without one has no delay.
        """
        when = datetime(2100, 1, 1, tzinfo=UTC)
        with captured_tasks() as tasks:
            add_task("/x", run_at="2100-01-01T01:00:00+01:00")
            add_task("/x")
        self.assertEqual([task.run_at for task in tasks], [when, None])
        self.assertEqual(tasks[1].delay, 0)

    def test_all_producers(self) -> None:
        """
        Each way to add tasks is captured, and no broker is asked.
        """
        results: list[TaskResult] = []
        with captured_tasks() as tasks, BlockingProducer(NOWHERE, "other") as blocking:
            add_task("/1", amqp_url=NOWHERE)
            blocking.add_task("/2")
            blocking.add_raw_task(b'{"url": "/3"}')
            uuid = self.successResultOf(Producer(NoPublisher(), "third").add_task("/4"))
            self.assertEqual(asyncio.run(aio.add_task("/5")), tasks[4].uuid)
        self.assertEqual([task.url for task in tasks], ["/1", "/2", "/3", "/4", "/5"])
        self.assertEqual(
            [task.exchange for task in tasks],
            ["flow", "other", "other", "third", "flow"],
        )
        self.assertEqual(uuid, tasks[3].uuid)
        self.assertEqual(results, [])

    def test_many(self) -> None:
        """
        Of many tasks each has its result, and what is wrong is not added.
        """
        items = [{"url": "/1"}, {"url": 2, "uuid": "u"}, {"url": "/3", "delay": 5}]
        expected = [True, False, True]
        for add in (self.add_blocking, self.add_twisted, self.add_asyncio):
            results: list[TaskResult] = []
            with captured_tasks() as tasks:
                self.assertEqual(add(items, results.append), 2)
            self.assertEqual([result.added for result in results], expected)
            self.assertEqual([result.index for result in results], [0, 1, 2])
            self.assertIsInstance(results[1].error, BadTask)
            self.assertEqual(results[1].uuid, "u")
            self.assertEqual([task.url for task in tasks], ["/1", "/3"])

    def add_blocking(self, items: Any, on_result: Any) -> Any:
        """
        C{add_tasks}.
        """
        return add_tasks(items, on_result, amqp_url=NOWHERE)

    def add_twisted(self, items: Any, on_result: Any) -> Any:
        """
        That of Twisted.
        """
        adding = Producer(NoPublisher()).add_tasks(items, on_result)
        return self.successResultOf(adding)

    def add_asyncio(self, items: Any, on_result: Any) -> Any:
        """
        That of asyncio.
        """
        return asyncio.run(aio.add_tasks(items, on_result))

    def test_checked(self) -> None:
        """
        What a producer refuses, it refuses here.
        """
        with captured_tasks() as tasks:
            self.assertRaises(BadTask, add_task, "ftp://host/")
            self.assertRaises(TypeError, add_task, "/x", countdown=1)
        self.assertEqual(tasks, [])

    def test_ends(self) -> None:
        """
        Nothing is captured after the block, also after an error in it; the inner one of
        two captures.
        """
        inner: list[AddedTask] = []

        def fail() -> None:
            with captured_tasks() as tasks:
                add_task("/inner")
                inner.extend(tasks)
                raise ZeroDivisionError

        with captured_tasks() as outer:
            self.assertRaises(ZeroDivisionError, fail)
            add_task("/outer")
        add = Producer(NoPublisher()).add_task("/after")
        self.failureResultOf(add, AssertionError)
        self.assertEqual([task.url for task in inner], ["/inner"])
        self.assertEqual([task.url for task in outer], ["/outer"])

    def test_threads(self) -> None:
        """
        Tasks of other threads are captured, too.
        """
        with captured_tasks() as tasks:
            thread = threading.Thread(target=add_task, args=("/thread",))
            thread.start()
            thread.join()
        self.assertEqual([task.url for task in tasks], ["/thread"])

    def test_raw(self) -> None:
        """
        What is no task has no fields.
        """
        with captured_tasks() as tasks, BlockingProducer() as producer:
            producer.add_raw_task(b"\xff")
            producer.add_raw_task(b'{"run_at": "soon", "timestamp": 3}')
        self.assertEqual([(t.url, t.task) for t in tasks[:1]], [("", {})])
        self.assertEqual([(t.run_at, t.delay) for t in tasks], [(None, 0.0)] * 2)

    def test_light(self) -> None:
        """
        To collect tasks, no Twisted is imported.
        """
        program = (
            "import sys, quebert.producer\n"
            "from quebert.testing import captured_tasks\n"
            "with captured_tasks() as tasks: quebert.producer.add_task('/x')\n"
            "print(len(tasks), 'twisted' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.split(), ["1", "False"])


class DoingTests(SynchronousTestCase):
    """
    With an executor: tasks are done at once.
    """

    def test_function(self) -> None:
        """
        A function does a task within the call, by the rules of executors.
        """
        with captured_tasks(functions) as tasks:
            add_task("/double", 4)
            self.assertEqual(tasks[0].result, "done")
        self.assertEqual(tasks[0].answer.text, '{"doubled":8,"attempt":1}')

    def test_delayed(self) -> None:
        """
        A task that is to wait is done at once, also where it expires soon after.
        """
        with captured_tasks(functions) as tasks:
            add_task("/double", 4, delay=86_400, ttl=86_500)
        self.assertEqual(tasks[0].result, "done")

    def test_failure(self) -> None:
        """
        A task that fails is told where it was added, with its own error.
        """
        with captured_tasks(functions) as tasks, self.assertRaises(TaskFailed) as told:
            add_task("/fail", 7)
        self.assertIn("500: ValueError: cannot do 7", str(told.exception))
        self.assertIsInstance(told.exception.__cause__, ValueError)
        self.assertIs(told.exception.task, tasks[0])
        self.assertEqual(tasks[0].result, "retry")

    def test_asynchronous_failure(self) -> None:
        """
        So is one that fails in a coroutine.
        """
        with captured_tasks(functions), self.assertRaises(TaskFailed) as told:
            add_task("/fail-slowly", 7)
        self.assertIsInstance(told.exception.__cause__, ValueError)

    def test_no_function(self) -> None:
        """
        A path that no function has fails.
        """
        with captured_tasks(functions), self.assertRaises(TaskFailed) as told:
            add_task("/typo")
        self.assertIn("404: no function does tasks at /typo", str(told.exception))

    def test_not_raised(self) -> None:
        """
        If asked, a failure is only told by the task.
        """
        with captured_tasks(functions, raise_failures=False) as tasks:
            add_task("/fail")
        self.assertEqual((tasks[0].result, tasks[0].answer.status), ("retry", 500))

    def test_no_answer(self) -> None:
        """
        An executor may be out of reach.
        """
        refused = ConnectionRefusedError("nobody is there")
        with captured_tasks(answers=[refused]), self.assertRaises(TaskFailed) as told:
            add_task("/x")
        self.assertIn("nobody is there", str(told.exception))
        self.assertIs(told.exception.__cause__, refused)

    def test_no_task(self) -> None:
        """
        A raw task may be none: it is not requested.
        """
        with captured_tasks(functions), BlockingProducer() as producer:
            with self.assertRaises(TaskFailed) as told:
                producer.add_raw_task(b"nonsense")
            self.assertIn("was not requested", str(told.exception))
            self.assertEqual(told.exception.task.result, "dead")

    def test_dropped(self) -> None:
        """
        An executor may discard a task; an answer that takes time is there at once.
        """
        answer = Answer(200, headers={"Quebert-Outcome": "discard"}, seconds=3_600)
        with captured_tasks(answers=[answer]) as tasks:
            add_task("/x")
        self.assertEqual(tasks[0].result, "dropped")

    def test_callback(self) -> None:
        """
        The executor gets the callback of a task that has ended, which tells the result
        of that task alone.
        """
        urls: list[str] = []

        def answer(request: SimulatedRequest) -> int:
            urls.append(request.path)
            return 200

        with captured_tasks(answers=answer) as tasks:
            add_task("/x", callback_url="/ended")
            old = "2001-01-01T00:00:00Z"
            add_task("/y", callback_url="/ended", timestamp=old, run_at=old, ttl=60)
        self.assertEqual(urls, ["/x", "/ended", "/ended"])
        self.assertEqual([each.result for each in tasks], ["done", "dropped"])

    def test_chain(self) -> None:
        """
        A task that adds tasks has these done, too.
        """
        with captured_tasks(chain) as tasks:
            add_task("/chain", 3)
        self.assertEqual([task.params for task in tasks], [3, 2, 1, 0])
        self.assertEqual({task.result for task in tasks}, {"done"})

    def test_in_loop(self) -> None:
        """
        In a loop of asyncio, a coroutine does a task, too.
        """
        with captured_tasks(functions) as tasks:
            asyncio.run(aio.add_task("/slowly", 2))
        self.assertEqual(tasks[0].answer.text, '{"doubled":4,"attempt":1}')

    def test_default_url(self) -> None:
        """
        Partial URLs are completed as asked.
        """
        urls: list[str] = []

        def answer(request: Any) -> int:
            urls.append(request.url)
            return 200

        with captured_tasks(answers=answer, default_url="https://testserver/"):
            add_task("/x")
        with captured_tasks(answers=answer):
            add_task("/x")
        self.assertEqual(urls, ["https://testserver/x", "http://localhost:8000/x"])

    def test_one_executor(self) -> None:
        """
        Several executors are refused, and then nothing is captured.
        """
        with self.assertRaises(ConfigError), captured_tasks(functions, wsgi=functions):
            pass
        self.failureResultOf(Producer(NoPublisher()).add_task("/"), AssertionError)


class FastAPITests(SynchronousTestCase):
    """
    An application whose views run in threads and in the loop.
    """

    def test_done(self) -> None:
        """
        Both are done, also where the task is added in a view, and in a loop.
        """
        app = FastAPI()

        @app.post("/first")
        def first(task: dict[str, Any]) -> str:
            return add_task("/second", task["params"])

        @app.post("/second")
        async def second(task: dict[str, Any]) -> Any:
            await aio.add_task("/third")
            return task["params"]

        @app.post("/third")
        async def third() -> None:
            pass

        with captured_tasks(asgi=app) as tasks:
            add_task("/first", 7)
            asyncio.run(aio.add_task("/first", 8))
        urls = ["/first", "/second", "/third"]
        self.assertEqual([task.url for task in tasks], urls * 2)
        self.assertEqual({task.result for task in tasks}, {"done"})
        self.assertEqual([tasks[1].answer.text, tasks[4].answer.text], ["7", "8"])
