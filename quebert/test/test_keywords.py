"""
Keywords of what people call: none that is misspelt is taken without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import PriorityGroup, TxAMQPClient
from quebert.config import TLS
from quebert.executor import ExecutorService
from quebert.limits import AdaptiveSettings, BreakerSettings, OriginLimits, Origins
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import Bury, Discard, Retry
from quebert.policy import RetryPolicy
from quebert.producer import BlockingProducer, Producer, add_task
from quebert.task._keywords import _ELSEWHERE, _KEYWORDS
from quebert.test.checks import QUICK, misspellings, refusal

Call = Callable[..., object]


def keywords(call: Call) -> list[str]:
    """
    The names of the parameters of C{call}, but for what takes any.
    """
    any_number = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(call).parameters.values()
    return [each.name for each in parameters if each.kind not in any_number]


def nobody(task: object) -> None:
    """
    For a callback that is never called.
    """


#: What people call, with arguments that do, and what further keywords it has.
CLIENT = TxAMQPClient("localhost", "guest", "guest")
ADDING = [*keywords(Producer.add_task), "timestamp", "filter", "failures", "traceback"]
MEDIATING = keywords(Mediator)
CALLS: list[tuple[Call, tuple[Any, ...], list[str]]] = [
    (TxAMQPClient, ("h", "u", "p"), []),
    (TxAMQPClient.from_url, ("amqp://h/",), keywords(TxAMQPClient)),
    (CLIENT.watch, ("flow", "queue", "key", nobody), []),
    (CLIENT.publish, ("flow", "key", b""), []),
    (PriorityGroup, (), []),
    (Mediator, (), []),
    (DelayOnErrorMediator, (), MEDIATING),
    (PolicyMediator, (), MEDIATING),
    (Producer, (CLIENT,), []),
    (Producer(CLIENT).add_task, ("/",), ADDING),
    (Producer(CLIENT).add_raw_task, (b"",), []),
    (BlockingProducer, (), []),
    (BlockingProducer().add_task, ("/",), ADDING),
    (BlockingProducer().add_raw_task, (b"",), []),
    (add_task, ("/",), ADDING),
    (RetryPolicy, (), []),
    (OriginLimits, (), []),
    (Origins, (), []),
    (AdaptiveSettings, (), []),
    (BreakerSettings, (), []),
    (ExecutorService, (nobody,), []),
    (TLS, (), []),
    (Retry, (), []),
    (Discard, ("why",), []),
    (Bury, ("why",), []),
]


class KeywordTests(SynchronousTestCase):
    """
    A keyword that is not known is a TypeError.
    """

    @QUICK
    @given(st.data())
    def test_misspelt(self, data: st.DataObject) -> None:
        """
        Whatever is called, and whatever keyword of it is misspelt.
        """
        call, arguments, more = data.draw(st.sampled_from(CALLS))
        known = {*keywords(call), *more}
        wrong = data.draw(misspellings(st.sampled_from(sorted(known))))
        if wrong not in known:
            refusal(TypeError, call, *arguments, **{wrong: 1})

    def test_all_are_suggested(self) -> None:
        """
        The keywords that an error suggests are those that C{add_task} has.
        """
        known = {*ADDING, *keywords(add_task)} - {"self", "url"}
        self.assertEqual(set(_KEYWORDS), known)
        self.assertLessEqual(set(_ELSEWHERE.values()), known)

    def test_of_producers(self) -> None:
        """
        A keyword of the function C{add_task} that a producer's method does not have
        is not suggested for itself.
        """
        for add in (Producer(CLIENT).add_task, BlockingProducer().add_task):
            text = refusal(TypeError, add, "/", exchange="flow")
            self.assertIn("give exchange to the producer when you make it", text)

    def test_every_call(self) -> None:
        """
        None of them takes any keyword.
        """
        for call, arguments, _ in CALLS:
            refusal(TypeError, call, *arguments, countdown=60)
