"""
Requests that somebody without the secret could make of a signed one, and the official
libraries of Standard Webhooks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from standardwebhooks.webhooks import Webhook

from quebert.signatures import SharedSecret, Signer

__all__ = ["FORGERIES", "NODE", "accepted_by_node", "accepted_by_python"]

Signed = tuple[dict[str, str], bytes]
Forgery = Callable[[dict[str, str], bytes, str, float], Signed]

_ID, _TIME, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def _with(headers: dict[str, str], **changes: str) -> dict[str, str]:
    return {**headers, **{f"webhook-{name}": value for name, value in changes.items()}}


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def _signed(secret: str, name: str, body: bytes, now: float) -> dict[str, str]:
    return Signer([secret], now=lambda: now).headers(name, body)


def _hmac_of_nothing(headers: dict[str, str], body: bytes) -> str:
    content = f"{headers[_ID]}.{headers[_TIME]}.".encode() + body
    digest = hmac.digest(b"", content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _digest(body: bytes) -> str:
    return f"v1,{base64.b64encode(hashlib.sha256(body).digest()).decode()}"


#: By what somebody does; each is made of the headers, the body, the true secret, which
#: is used only for what its owner signed at another time, and the time of day.
FORGERIES: Mapping[str, Forgery] = {
    "changes the body": lambda h, b, s, now: (h, b.replace(b":", b";", 1)),
    "writes the same JSON otherwise": lambda h, b, s, now: (h, b + b" "),
    "empties the body": lambda h, b, s, now: (h, b""),
    "names another task": lambda h, b, s, now: (_with(h, id="another"), b),
    "renews the time": lambda h, b, s, now: (_with(h, timestamp=str(int(now) + 9)), b),
    "keeps a request for too long": lambda h, b, s, now: (
        _signed(s, h[_ID], b, now - 400),
        b,
    ),
    "has a request from the future": lambda h, b, s, now: (
        _signed(s, h[_ID], b, now + 400),
        b,
    ),
    "signs with another secret": lambda h, b, s, now: (
        _signed(SharedSecret.generate().text, h[_ID], b, now),
        b,
    ),
    "signs with an empty secret": lambda h, b, s, now: (
        _with(h, signature=_hmac_of_nothing(h, b)),
        b,
    ),
    "leaves the signature out": lambda h, b, s, now: (_without(h, _SIGNATURE), b),
    "sends an empty signature": lambda h, b, s, now: (_with(h, signature="v1,"), b),
    "sends the beginning of a signature": lambda h, b, s, now: (
        _with(h, signature=h[_SIGNATURE][:23]),
        b,
    ),
    "sends a digest without a secret": lambda h, b, s, now: (
        _with(h, signature=_digest(b)),
        b,
    ),
    "calls the signature another version": lambda h, b, s, now: (
        _with(h, signature=h[_SIGNATURE].replace("v1,", "v2,")),
        b,
    ),
    "moves the time into the id": lambda h, b, s, now: (
        _with(h, id=f"{h[_ID]}.{h[_TIME]}"),
        b,
    ),
}


def accepted_by_python(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """
    Whether the library for Python accepts a request.
    """
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except Exception:  # some that are malformed it refuses with a ValueError
        return False
    return True


_MODULES = Path(sys.prefix, "node_modules")
#: The command of Node, if the library for it is there.
NODE = shutil.which("node") if (_MODULES / "standardwebhooks").is_dir() else None
_SCRIPT = """
const { Webhook } = require("standardwebhooks");
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(([secret, headers, body]) => {
    try {
        new Webhook(secret).verify(body, headers, { jsonParse: false });
        return true;
    } catch (e) {
        return false;
    }
})));
"""


def accepted_by_node(
    cases: list[tuple[str, Mapping[str, str], bytes]],
) -> list[bool]:
    """
    Which requests the library for Node accepts: secret, headers and body of each.
    """
    assert NODE is not None
    wanted = [(secret, dict(h), body.decode()) for secret, h, body in cases]
    ran = subprocess.run(
        [NODE, "-e", _SCRIPT],
        input=json.dumps(wanted).encode(),
        env={"NODE_PATH": str(_MODULES)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    found: list[bool] = json.loads(ran.stdout)
    return found
