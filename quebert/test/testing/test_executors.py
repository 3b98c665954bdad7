"""
Tests for the executors that L{quebert.testing} calls.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.test.testing.doubles import asgi_app, functions, telling_wsgi, wsgi_app
from quebert.testing import Answer, SimulatedRequest
from quebert.testing._executors import executor_of

TASK = {"url": "/double", "params": 3}


def request(path: str = "/double", method: str = "POST") -> SimulatedRequest:
    """
    A request as a mediator makes it.
    """
    headers = {
        "Host": "shop.example:8000",
        "Content-Type": "application/json",
        "Quebert-Attempt": "2",
        "X-Name": "é",
    }
    url = f"http://shop.example:8000{path}"
    return SimulatedRequest(method, url, headers, json.dumps(TASK).encode())


def answered(asked: SimulatedRequest, **executor: Any) -> Answer:
    """
    The answer of an executor.
    """
    ask = executor_of(**executor)
    assert ask is not None
    answer = ask(asked)
    assert isinstance(answer, Answer)
    return answer


class FunctionTests(SynchronousTestCase):
    """
    Functions, called as executors call them.
    """

    def test_done(self) -> None:
        """
        A function gets the task, the number of the attempt, and the path.
        """
        answer = answered(request(), function=functions)
        self.assertEqual(json.loads(answer.text), {"doubled": 6, "attempt": 2})
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def test_method(self) -> None:
        """
        An executor of functions refuses other methods, as it does in production.
        """
        answer = answered(request(method="GET"), function=functions)
        self.assertEqual(answer.status, 405)


class WSGITests(SynchronousTestCase):
    """
    Applications of WSGI.
    """

    def test_done(self) -> None:
        """
        An application does a task.
        """
        answer = answered(request(), wsgi=wsgi_app)
        self.assertEqual(answer.status, 421)  # its host is none of the receiver's
        here = SimulatedRequest(
            "POST",
            "http://localhost/double",
            {"Content-Type": "application/json", "Host": "localhost"},
            json.dumps(TASK).encode(),
        )
        self.assertEqual(answered(here, wsgi=wsgi_app).status, 200)

    def test_environment(self) -> None:
        """
        It gets what PEP 3333 asks for.
        """
        answer = answered(request("/%C3%A9?a=b%20c"), wsgi=telling_wsgi)
        told = json.loads(answer.text)
        self.assertEqual(answer.status, 202)
        self.assertEqual(told["PATH_INFO"].encode("latin-1").decode(), "/é")
        self.assertEqual(told["QUERY_STRING"], "a=b%20c")
        self.assertEqual(told["HTTP_X_NAME"].encode("latin-1").decode(), "é")
        self.assertEqual(
            (told["SERVER_NAME"], told["SERVER_PORT"]), ("shop.example", "8000")
        )
        self.assertEqual(told["CONTENT_TYPE"], "application/json")
        self.assertEqual(json.loads(told["body"]), TASK)

    def test_generator(self) -> None:
        """
        It may be a generator, write, and is closed.
        """
        closed: list[bool] = []

        class Body:
            def __iter__(self) -> Any:
                return iter([b"b", b"c"])

            def close(self) -> None:
                closed.append(True)

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])(b"a")
            return Body()

        self.assertEqual(answered(request(), wsgi=application).body, b"abc")
        self.assertEqual(closed, [True])

    def test_late_head(self) -> None:
        """
        It may begin its answer when its body is asked for.
        """

        def application(environ: Any, start_response: Any) -> Any:
            start_response("201 Created", [])
            yield b"x"

        self.assertEqual(answered(request(), wsgi=application), Answer(201, b"x"))

    def test_failed(self) -> None:
        """
        What it raises is answered 500, as its server would; so is no answer.
        """

        def raising(environ: Any, start_response: Any) -> Any:
            raise ValueError("wrong")

        answer = answered(request(), wsgi=raising)
        self.assertEqual((answer.status, answer.text), (500, "ValueError: wrong"))
        self.assertIsInstance(answer.error, ValueError)
        silent = answered(request(), wsgi=lambda environ, start_response: [])
        self.assertEqual(silent.status, 500)


class ASGITests(SynchronousTestCase):
    """
    Applications of ASGI.
    """

    def test_done(self) -> None:
        """
        An application does a task.
        """
        self.assertEqual(answered(request(), asgi=asgi_app).status, 421)

    def test_scope(self) -> None:
        """
        It gets what ASGI 3.0 asks for, and is told when nobody waits any more.
        """
        told: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            told.extend([scope, await receive()])
            await send({"type": "http.response.start", "status": 207})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await send({"type": "http.response.body", "body": b"b"})
            told.append(await receive())

        answer = answered(request("/%C3%A9?a=b"), asgi=application)
        self.assertEqual(answer, Answer(207, b"ab"))
        scope, event, last = told
        self.assertEqual(scope["path"], "/é")
        self.assertEqual(scope["raw_path"], b"/%C3%A9")
        self.assertEqual(scope["query_string"], b"a=b")
        self.assertIn((b"quebert-attempt", b"2"), scope["headers"])
        self.assertEqual(json.loads(event["body"]), TASK)
        self.assertEqual(last["type"], "http.disconnect")

    def test_failed(self) -> None:
        """
        What it raises is answered 500; so is no answer, or half of one.
        """

        async def raising(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("wrong")

        async def half(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})

        answer = answered(request(), asgi=raising)
        self.assertEqual((answer.status, answer.text), (500, "ValueError: wrong"))
        self.assertEqual(answered(request(), asgi=half).status, 500)


class AnswerTests(SynchronousTestCase):
    """
    Answers that a test gives.
    """

    def test_list(self) -> None:
        """
        They are given one after the other, and the last for ever.
        """
        ask = executor_of(answers=[500, Answer(503, "é"), 200])
        assert ask is not None
        given = [ask(request()) for _ in range(4)]
        last = Answer(200)
        self.assertEqual(given, [Answer(500), Answer(503, "é"), last, last])

    def test_function(self) -> None:
        """
        A function is called with each request.
        """
        answer = answered(request(), answers=lambda asked: len(asked.task))
        self.assertEqual(answer.status, 2)

    def test_bodies(self) -> None:
        """
        A body may be bytes, text, or what JSON can hold.
        """
        bodies = [Answer(body=body).body for body in (b"\xff", "é", {"a": [1]})]
        self.assertEqual(bodies, [b"\xff", "é".encode(), b'{"a":[1]}'])

    def test_wrong(self) -> None:
        """
        What is no answer is refused, and so are no answers at all.
        """
        for wrong in (["200"], [True], [], [None]):
            ask = executor_of(answers=wrong)
            assert ask is not None
            self.assertRaises(ConfigError, ask, request())
