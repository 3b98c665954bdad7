"""
The web server's connections: within the limits that an executor's have.
"""

from __future__ import annotations

from quebert.executor import ExecutorSite
from quebert.functions import ExecutorAnswer
from quebert.web._exchange import PROBLEM, problem_answer

__all__ = ["WebSite"]


class WebSite(ExecutorSite):
    """
    A site whose answer to a head that is refused is a problem of the API, too.
    """

    def worded(self, answer: ExecutorAnswer) -> ExecutorAnswer:
        """
        The same as a problem (RFC 9457).
        """
        text = answer.sentence.replace("the executor", "the server")
        body = problem_answer(answer.status, text).body
        others = [pair for pair in answer.headers if pair[0] != "Content-Type"]
        headers = (("Content-Type", PROBLEM), *others)
        return ExecutorAnswer(answer.status, body, headers)
