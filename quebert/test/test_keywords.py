"""
Keywords of what people call: none that is misspelt is taken without a word.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.producer import BlockingProducer, Producer, add_task
from quebert.task._keywords import _ELSEWHERE, _KEYWORDS
from quebert.test.calls import ADDING, CALLS, CLIENT, keywords
from quebert.test.checks import QUICK, misspellings, refusal


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

    def test_name(self) -> None:
        """
        A task that is added over AMQP has no name, and it is said where it can have
        one.
        """
        for add in (add_task, Producer(CLIENT).add_task):
            text = refusal(TypeError, add, "/", name="n")
            self.assertIn("they need the HTTP API (QUEBERT_URL)", text)

    def test_every_call(self) -> None:
        """
        None of them takes any keyword.
        """
        for call, arguments, _ in CALLS:
            refusal(TypeError, call, *arguments, countdown=60)
