"""
Texts that do harm to whoever prints them as they are: they move a terminal's cursor,
forge lines of a log, turn the direction of what follows, hide, or fill a disk.
"""

from __future__ import annotations

__all__ = ["INJECTIONS", "MARK"]

#: In each of them, so that a test can see that it has arrived.
MARK = "mark"

_FORGED = "2026-11-27T00:00:00+0000 [quebert#info] forged"
_LONG = 40_000

_CONTROLS = [chr(n) for n in (*range(0x20), 0x7F)]
_C1 = [chr(n) for n in range(0x80, 0xA0)]
# What a decoder makes of the bytes that are C1 controls in Latin-1.
_C1_BYTES = [chr(0xDC00 + n) for n in range(0x80, 0xA0)]
_BIDI = [*"\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
_INVISIBLE = [
    *"\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u200d\u2060\u2061\u2064\u2800\u3164",
    *"\ufe0f\ufeff\uffa0\ufff9\ufffb\U000e0001\U000e0041",
]
_LINES = [
    f"{line_break}{_FORGED}"
    for line_break in (
        *("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e"),
        *("\x85", "\u2028", "\u2029"),
    )
]
_SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff", "\udc00\ud800"]
_SEQUENCES = [
    "\x1b[2J",  # clears the screen
    "\x1b[1;1H",  # moves the cursor
    "\x1b[31m",  # colours
    "\x1b[8m",  # hides what follows
    "\x1b[1A\x1b[2K",  # overwrites the line above
    "\x1b[?1049h",  # the alternate screen
    "\x1b[?1000h",  # reports of the mouse
    "\x1b[?25l",  # hides the cursor
    "\x1b[6n",  # has the terminal answer
    "\x1b[c",
    "\x1b[21t",  # has it answer with its title
    "\x1b[200~",  # pretends a paste
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJmIH4=\x07",  # sets the clipboard
    "\x1b]1337;File=:AAAA\x07",
    "\x1bP$q\x1b\\",
    "\x1bPtmux;\x1b\x1b[2J\x1b\\",
    "\x1b_Gf=24;AAAA\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bXstring\x1b\\",
    "\x1bc",  # resets the terminal
    "\x1b(0",  # another character set
    "\x1b#8",  # fills the screen
    "\x1b%G",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x90$q\x9c",
]
_MIXED = [
    f"\r\x1b[2K{_FORGED}",
    f"{chr(8) * 40}{_FORGED}",
    "\x7f" * 50,
    "\x1b\x1b",
    "\x1b]2;never ends",
    "\u202e\x1b[31m\u2066\n",
    "\x1b\u200b[2J",
    "\u009b\udc9b",
    "a\tb\tc",
    "\x0e\x0f",
]
# What a format or a mark-up language would act on.
_FORMATS = [
    "{",
    "}",
    "{0}",
    "{log_failure}",
    "{log_format!r:>9999999}",
    "%s %(name)s %n",
    "{{}}",
]
_VERY_LONG = [
    "x" * _LONG,
    "\x1b[2J" * (_LONG // 4),
    "\n" * _LONG,
    f"\n{_FORGED}" * (_LONG // 50),
    " " * _LONG,
    "\u202e" * _LONG,
    "\ud800" * _LONG,
    "日本" * (_LONG // 2),
    "e\u0301" * (_LONG // 2),
    "{" * _LONG,
]

#: Different texts, none of which may reach a terminal or a log as it is.
INJECTIONS: list[str] = [
    f"{MARK}{text}{MARK}"
    for text in (
        *_CONTROLS,
        *_C1,
        *_C1_BYTES,
        *_BIDI,
        *_INVISIBLE,
        *_LINES,
        *_SURROGATES,
        *_SEQUENCES,
        *_MIXED,
        *_FORMATS,
        *_VERY_LONG,
    )
]
