"""
TLS towards the broker and executors: whom we trust, who we are, and what went wrong.

To add an option: a field of L{TLS<quebert.config.TLS>}, L{creator} here, C{_context} in
C{producer/_stream}, and C{docs/configuration.rst}.  The AMQP URL and the tables C{tls}
have each field by itself.  These two, C{_stream} and L{HostTLS<quebert.http.HostTLS>},
which looks whether a file was renewed, take each field for a path: all four must skip
an option that is no path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Error as OpenSSLError
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from quebert._text import what_is_wrong
from quebert.config import TLS
from quebert.errors import ConfigError

__all__ = ["creator", "distrust", "server_context", "server_pem"]


def creator(tls: Any, host: str) -> IOpenSSLClientConnectionCreator:
    """
    What makes TLS connections to C{host}, whose certificate is checked.

    @param tls: L{TLS}, or such a thing already.
    @raise ConfigError: a file of it cannot be used.
    """
    if not isinstance(tls, TLS):
        given: IOpenSSLClientConnectionCreator = tls
        return given
    trusted = None
    if tls.cacertfile is not None:
        authorities = _certificates("cacertfile", tls.cacertfile)
        trusted = trustRootFromCertificates(authorities)
    if tls.certfile is None:
        return optionsForClientTLS(host, trustRoot=trusted)
    return optionsForClientTLS(
        host,
        trustRoot=trusted,
        extraCertificateOptions=_ours(tls.certfile, tls.keyfile),
    )


def server_context(certfile: str, keyfile: str | None) -> CertificateOptions:
    """
    What a server makes TLS connections with.

    @param keyfile: C{None} if the key is in C{certfile}.
    @raise ConfigError: a file of it cannot be used.
    """
    return CertificateOptions(**_ours(certfile, keyfile))


def server_pem(certfile: str, keyfile: str | None) -> tuple[bytes, bytes]:
    """
    The key of a server, and its certificate with the chain, in PEM: for libraries that
    have a TLS of their own.

    @param keyfile: C{None} if the key is in C{certfile}.
    @raise ConfigError: a file of it cannot be used.
    """
    ours = _ours(certfile, keyfile)
    key = ours["privateKey"].to_cryptography_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = (ours["certificate"], *ours["extraCertChain"])
    parts = (each.to_cryptography().public_bytes(Encoding.PEM) for each in chain)
    return pem, b"".join(parts)


def _ours(certfile: str, keyfile: str | None) -> dict[str, Any]:
    ours, *chain = _certificates("certfile", certfile)
    key = _key("keyfile", keyfile) if keyfile else _key("certfile", certfile)
    options = {
        "certificate": ours.original,
        "privateKey": key,
        "extraCertChain": [each.original for each in chain],
    }
    try:
        # Else it is found out when the connection is there, with a traceback.
        CertificateOptions(**options).getContext()
    except OpenSSLError as e:
        raise ConfigError(
            f"the certfile {certfile!r} cannot be used with the key in"
            f" {keyfile or certfile!r}: {_reasons(e)}"
        ) from None
    return options


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as e:
        why = what_is_wrong(e)
        raise ConfigError(f"the {option} {path!r} cannot be read: {why}") from None


def _certificates(option: str, path: str) -> list[Certificate]:
    try:
        found = load_pem_x509_certificates(_read(option, path))
    except ConfigError:
        raise
    except ValueError:
        text = f"the {option} {path!r} has no certificates in PEM"
        raise ConfigError(text) from None
    return [Certificate(X509.from_cryptography(each)) for each in found]


def _key(option: str, path: str) -> PKey:
    pem = _read(option, path)
    try:
        # Not OpenSSL's own, which would ask the terminal for a passphrase.
        key = load_pem_private_key(pem, password=None)
        return PKey.from_cryptography_key(key)  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        text = f"the {option} {path!r} has no key in PEM without a passphrase"
        raise ConfigError(text) from None


def distrust(error: BaseException | None) -> str | None:
    """
    What C{error} says if one side did not accept the certificate of the
    other, C{None} if it is about something else.
    """
    if isinstance(error, VerificationError):
        return "its certificate is not for this host"
    reasons = _reasons(error) if isinstance(error, OpenSSLError) else ""
    if "certificate verify failed" in reasons:
        return (
            "its certificate is not signed by an authority that we trust, or not"
            " valid now"
        )
    # The last is all that TLS 1.2 has to say to who shows no certificate.
    if any(
        each in reasons for each in ("certificate", "unknown ca", "alert handshake")
    ):
        return f"it does not accept our certificate, or wants one ({reasons})"
    return None


def _reasons(error: OpenSSLError) -> str:
    queue = error.args[0] if len(error.args) == 1 else []  # not a SysCallError's
    return ", ".join(str(each[-1]) for each in queue if each)
