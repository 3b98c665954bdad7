"""
C{quebert secret}: makes what requests are signed with.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from quebert.cli._terminal import echo
from quebert.signatures import SharedSecret, SigningKey

__all__ = ["secret"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--pair",
    is_flag=True,
    help="Make a key pair of ed25519: FILE gets the key that signs, and the public key,"
    " which executors verify with, is printed.",
)
def secret(*, file: Path, pair: bool) -> None:
    """
    Make a secret that signs requests, in a new FILE that nobody else may read.

    Mediators have it as secrets_file of a queue, executors as --verify-secret-file.
    """
    key = SigningKey.generate() if pair else SharedSecret.generate()
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as e:
        raise click.ClickException(f"{file} cannot be made: {e.strerror}") from None
    with open(made, "w", encoding="ascii") as opened:
        opened.write(f"{key.text}\n")
    if isinstance(key, SigningKey):
        echo(key.public.text)
