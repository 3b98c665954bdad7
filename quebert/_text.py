"""
Text that can be shown on a terminal and in a log.  Pure.

Tasks, answers and brokers choose texts freely, so whatever prints them uses these
functions, which take linear time.
"""

from __future__ import annotations

import re
import unicodedata

from quebert._url import without_userinfo

__all__ = [
    "cut",
    "one_line",
    "one_line_url",
    "printable",
    "printable_lines",
    "shown_url",
    "what_is_wrong",
    "width",
]

# Characters of a URL that are looked at for what is to be hidden.
_LONG_URL = 8_192
# Characters that str.isprintable() takes, although nothing is seen of them: joiners,
# fillers, and selectors of a variant.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_QUERY = re.compile("[?#]")


def printable(text: str) -> str:
    """
    C{text} with a question mark in place of each character that does something to a
    terminal, such as a line feed or an escape, and of each that cannot be seen.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    return text if text.isascii() else _INVISIBLE.sub("?", text)


def printable_lines(text: str) -> str:
    """
    The same for each line of a text that has lines of its own, such as a traceback.
    """
    return "\n".join(map(printable, text.replace("\t", "    ").split("\n")))


def one_line(text: str, limit: int) -> str:
    """
    C{text} as a line that does nothing to a terminal but fill it.

    @param limit: characters that the line has at most.
    """
    line = " ".join(
        text[: limit + 1].encode("utf-8", "backslashreplace").decode().split()
    )
    return printable(cut(line, limit))


def cut(text: str, limit: int) -> str:
    """
    The first C{limit} characters of C{text}; the last of them is an ellipsis if there
    are more.
    """
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def width(text: str) -> int:
    """
    How many columns of a terminal C{text} takes, which is printable: Chinese,
    Japanese and Korean characters take two, combining ones none (Unicode Standard
    Annex 11).
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shown_url(url: str) -> str:
    """
    A URL, well formed or not, as a log may show it: without a user and a password, and
    without its query and fragment, which may hold other secrets.
    """
    shown = without_userinfo(url)
    end = _QUERY.search(shown)
    return shown if end is None else f"{shown[: end.start()]}?..."


def one_line_url(url: str, most: int) -> str:
    """
    The same on one line, of C{most} characters at most.  What is secret is hidden
    before the rest is cut: the beginning of a password cannot be told from a host.
    """
    begin = url[:_LONG_URL]
    if url.rfind("@") >= _LONG_URL:  # all before it may be a password
        begin += "@"
    return cut(shown_url(one_line(shown_url(begin), most)), most)


def what_is_wrong(error: BaseException) -> str:
    """
    What an error says: of the system's, that alone, without a number and a path, which
    the sentence that it becomes a part of has.
    """
    told = error.strerror if isinstance(error, OSError) else None
    return told or str(error)
