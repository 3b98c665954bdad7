"""
What a person reads of an answer: HTML as plain text, on one line.  Pure.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from quebert._text import one_line

__all__ = ["answer_text"]

#: Characters that are shown.
LIMIT = 200
# How a page begins whose server does not say that it is HTML.
_PAGE = re.compile(r"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
# A tag that is cut off.
_CUT_OFF = re.compile(r"<[!/a-z][^<>]*\Z", re.IGNORECASE)
# What these elements hold is for the browser.
_UNSEEN = frozenset({"script", "style", "template"})


def answer_text(text: str, html: bool) -> str:
    """
    The beginning of an answer on one line, harmless to a terminal.

    @param text: at most a few KB.
    @param html: whether the server says that it is HTML.
    """
    if html or _PAGE.match(text):
        text = _text_of(text)
    return one_line(text, LIMIT)


def _text_of(page: str) -> str:
    """
    The texts in HTML, which may be cut off anywhere.  What is said several times, as
    title and as headline, is there once.
    """
    reader = _PageText()
    reader.feed(_CUT_OFF.sub("", page))
    reader.close()
    texts = (" ".join(each.split()) for each in "".join(reader.pieces).split("\n"))
    return " ".join(dict.fromkeys(each for each in texts if each))


class _PageText(HTMLParser):
    """
    Gathers the texts; a line ends where an element begins or ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._unseen = ""  # the element that is left out

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _UNSEEN and not self._unseen:
            self._unseen = tag
        self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""
        self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data.replace("\n", " "))
