"""
C{quebert secret}: makes what requests are signed with.
"""

from __future__ import annotations

from pathlib import Path

import click

from quebert.cli._terminal import echo, echo_object, json_option
from quebert.errors import ConfigError
from quebert.signatures import SharedSecret, SigningKey, TokenKey, write_key

__all__ = ["secret"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--pair",
    is_flag=True,
    help="Make a key pair of ed25519: FILE gets the key that signs, and the public key,"
    " which executors verify with, is printed.",
)
@click.option(
    "--id-tokens",
    is_flag=True,
    help="Make an RSA key that signs ID tokens for handlers of Cloud Tasks: the"
    " key_file of [oidc].",
)
@json_option
def secret(*, file: Path, pair: bool, id_tokens: bool, as_json: bool) -> None:
    """
    Make a secret that signs requests, in a new FILE that nobody else may read.

    Mediators have it as secrets_file of a queue, executors as --verify-secret-file.
    """
    if pair and id_tokens:
        raise click.UsageError("give --pair or --id-tokens, not both")
    key: SharedSecret | SigningKey | TokenKey
    if id_tokens:
        key = TokenKey.generate()
    else:
        key = SigningKey.generate() if pair else SharedSecret.generate()
    try:
        write_key(file, key)
    except ConfigError as e:
        raise click.ClickException(str(e)) from None
    public = key.public.text if isinstance(key, SigningKey) else None
    if as_json:
        echo_object({"file": str(file), "public": public})
    elif public is not None:
        echo(public)
