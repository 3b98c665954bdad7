"""
The page about the commands tells what they print.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import quebert
from quebert.test.command_reference import reference

PAGE = Path(quebert.__file__).parents[1] / "docs" / "commands.rst"


class CommandReferenceTests(SynchronousTestCase):
    """
    C{docs/commands.rst}.
    """

    def test_page(self) -> None:
        """
        It has the help of each command.  (C{python -m quebert.test.command_reference}
        prints it as it is to be.)
        """
        if not PAGE.exists():
            raise SkipTest("not in a checkout")
        self.assertEqual(PAGE.read_text("utf-8").splitlines(), reference().splitlines())
