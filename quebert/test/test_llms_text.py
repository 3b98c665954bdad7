"""
C{llms.txt}: it is made of the index, and C{quebert web} serves it.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import quebert
from quebert.test.llms_text import INDEX, llms_text, served
from quebert.test.web.doubles import MemoryAPI
from quebert.web import Assets
from quebert.web._exchange import APIRequest

ROOT = Path(quebert.__file__).parents[1]
_INDEX = """\
thing
=====

It *does* ``this``. See `more <more.rst>`_.

.. code-block:: text

     a picture

     of it

It needs nothing.

Guides
------

For all:

* `First <first.rst>`_: a sentence, about
  two lines
* Coming from `A <a.rst>`_ or `B <b.rst>`_

.. toctree::
   :hidden:

   first
"""


class LLMsTextTests(SynchronousTestCase):
    """
    C{llms.txt}.
    """

    def test_made(self) -> None:
        """
        It has a title, what it is about, and a line for each link.
        """
        text = llms_text(_INDEX, lambda target: target.replace(".rst", ".html"))
        beginning, _, rest = text.partition("\n\n## The HTTP API\n")
        expected = "# thing\n\n> It *does* `this`. See more.\n\nIt needs nothing."
        self.assertEqual(beginning, expected)
        lines = [
            "## Guides\n",
            "- [First](first.html): a sentence, about two lines",
            "- [A](a.html): Coming from A or B",
            "- [B](b.html): Coming from A or B\n",
        ]
        self.assertTrue(rest.endswith("\n".join(lines)), rest)

    def test_served(self) -> None:
        """
        The one that is served is made of the index.  (C{python -m
        quebert.test.llms_text} prints it as it is to be.)  Its links lead to files, and
        to routes.
        """
        if not INDEX.exists():
            raise SkipTest("not in a checkout")
        answer = Assets().answer(APIRequest(method="GET", path=("llms.txt",)))
        assert answer is not None
        self.assertEqual(answer.content_type, "text/plain; charset=utf-8")
        text = answer.body.decode()
        self.assertEqual(text, served())
        links = re.findall(r"\]\(([^)]+)\)", text)
        self.assertGreater(len(links), 40)
        for link in links:
            self.assertTrue((ROOT / link).is_file(), link)
        paths = {each.path for each in MemoryAPI().api.routes}
        self.assertLessEqual({"/v1/openapi.json", "/v1/tasks"}, paths)
        page = Assets().answer(APIRequest(method="GET", path=("v1", "openapi")))
        assert page is not None
        self.assertIn(b"openapi_page.js", page.body)
