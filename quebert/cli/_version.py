"""
C{quebert --version}: the versions of quebert, and of those that it stands on.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import click

from quebert import __version__
from quebert.cli._terminal import echo

__all__ = ["version_option", "versions"]

#: Those whose version is asked for with a report of a fault; the optional ones are told
#: where they are installed.
_NEEDED = ("Twisted", "txAMQP", "pamqp", "httptools", "pyOpenSSL", "click")
_OPTIONAL = ("pika", "aio-pika", "orjson", "msgspec")


def versions() -> Iterator[str]:
    """
    A line for each, quebert's first.
    """
    yield f"quebert, version {__version__}"
    yield f"{platform.python_implementation()} {platform.python_version()}"
    for name in (*_NEEDED, *_OPTIONAL):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            if name in _NEEDED:
                yield f"{name} is not installed"


def _tell(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        for line in versions():
            echo(line)
        context.exit()


version_option = click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_tell,
    help="Show the versions of quebert and of what it needs.",
)
