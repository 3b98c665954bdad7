"""
How far an operation has come: a bar while it runs, and lines at its end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from quebert import operations
from quebert.amqp.queues import dead_letters_of
from quebert.cli._terminal import echo, echo_object, is_terminal
from quebert.operations import Progress

__all__ = ["ProgressBar", "counting", "tell_unseen"]


class ProgressBar:
    """
    A progress bar, where somebody sees it.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        """
        One more.
        """
        if self._bar is None and is_terminal(sys.stderr):
            self._bar = click.progressbar(
                length=progress.total,
                label=self._label,
                file=sys.stderr,
                update_min_steps=max(1, progress.total // 200),
            )
            self._bar.render_progress()
        if self._bar is not None:
            self._bar.update(1)

    def end(self) -> None:
        """
        No more.
        """
        if self._bar is not None:
            self._bar.render_finish()


@contextmanager
def counting(what: str, queue: str, as_json: bool) -> Iterator[Progress]:
    """
    Tell how far it came, however it ends.

    @param what: what became of those that have left; a word.
    """
    bar = ProgressBar(what)
    progress = Progress(watch=bar)
    try:
        yield progress
    finally:
        bar.end()
        if as_json:
            echo_object({"queue": queue, what: progress.done, **_plain(progress)})
        else:
            _tell(what, queue, progress)


def _plain(progress: Progress) -> dict[str, Any]:
    names = ("total", "seen", "missing", "ended")
    told = {each: getattr(progress, each) for each in names}
    return {**told, "held_by_others": progress.others > 0}


def _tell(what: str, queue: str, progress: Progress) -> None:
    if progress.ended or progress.seen:
        echo(f"{what} {progress.done} of {progress.total}")
    if progress.seen and not progress.ended:
        echo(f"the others are in {dead_letters_of(queue)}: run it again", err=True)
    if progress.others:
        echo(operations.held_by_others(dead_letters_of(queue)), err=True)
    tell_unseen(progress)


def tell_unseen(progress: Progress) -> None:
    """
    Tell how many dead letters it did not come to.
    """
    unseen = progress.total - progress.seen
    if progress.ended and unseen > 0:
        why = "too many before them stay there, or somebody else has taken them"
        echo(f"{unseen} more were not looked at: {why}")
