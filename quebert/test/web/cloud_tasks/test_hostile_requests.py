"""
Requests to the Cloud Tasks API that say anything.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.checks import QUICK
from quebert.test.web.cloud_tasks.doubles import LOCATION, QUEUE, MemoryCloudTasks
from quebert.web._exchange import APIProblem
from quebert.web._tokens import Grant
from quebert.web.cloud_tasks import METHODS, CloudTasksError
from quebert.web.cloud_tasks._proto import FieldKind, camel, fields_of
from quebert.web.cloud_tasks._rest import PATHS

_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("", "1", "-1", "1s", "-1s", "1.5s", "99999999999s", "1e9", "NaN"),
            *(
                "2026-12-01T00:00:00Z",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:60Z",
            ),
            *(
                "YQ==",
                "YQ",
                "_-",
                "GET",
                "FULL",
                "http://h/",
                "http://h/\ud800",
                "\x00",
            ),
            *(
                QUEUE,
                LOCATION,
                f"{QUEUE}/tasks/t",
                f"{LOCATION}/queues/new",
                "projects",
            ),
            *(
                "rateLimits.maxDispatchesPerSecond,state",
                "*",
                "a.b.c",
                "name.x",
                "9" * 70,
            ),
        ]
    ),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 1, -1, 0.5, 501, 65_536, 1e300]),
    _text,
)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_text, inner, max_size=3)
    ),
    max_leaves=8,
)


_of_scalars = {
    "TYPE_STRING": st.one_of(st.just("http://localhost/"), _text),
    "TYPE_BYTES": st.sampled_from(["", "eA==", "_-8"]),
    "TYPE_BOOL": st.booleans(),
    "TYPE_INT32": st.integers(-2, 100),
    "TYPE_INT64": st.integers(-2, 70_000).map(str),
    "TYPE_DOUBLE": st.floats(-1, 600),
    "Duration": st.sampled_from(["0s", "0.1s", "20s", "-1s", "100000s", "1e3s"]),
    "Timestamp": st.sampled_from(
        [
            "2026-12-01T00:00:00.5Z",
            "9999-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
        ]
    ),
    "FieldMask": st.sampled_from(
        ["", "*", "rateLimits", "retryConfig.minBackoff", "httpTarget.uriOverride.host"]
    ),
}


def _of_kind(kind: FieldKind) -> st.SearchStrategy[Any]:
    """
    JSON of a kind, and now and then other JSON.
    """
    if kind.name == "Map":
        right = st.dictionaries(_text, _of_kind(kind.inner), max_size=3)
    elif isinstance(kind.inner, type) and hasattr(kind.inner, "__attrs_attrs__"):
        right = _message(kind.inner)
    elif isinstance(kind.inner, type):
        right = st.sampled_from([0, 1, 2, 3])
    else:
        right = _of_scalars.get(kind.name.rpartition(".")[2], _scalars)
    return st.integers(0, 9).flatmap(lambda n: right if n else _json)


def _message(kind: type[Any]) -> st.SearchStrategy[Any]:
    """
    JSON that is nearly that of a message.
    """
    optional = {}
    for name, field in fields_of(kind).items():
        each = st.deferred(lambda kind=field.kind: _of_kind(kind))
        optional[camel(name)] = st.lists(each, max_size=3) if field.is_list else each
    return st.fixed_dictionaries({}, optional=optional)


_names = st.sampled_from([QUEUE, LOCATION, f"{QUEUE}/tasks/t", f"{LOCATION}/queues/n"])
_anchors = st.fixed_dictionaries(
    {}, optional={"parent": _names, "name": _names, "resource": _names}
)
_requests = st.sampled_from(sorted(METHODS)).flatmap(
    lambda method: st.tuples(
        st.just(method), st.one_of(_message(METHODS[method].request), _json), _anchors
    )
)
_grants = st.sampled_from(
    [
        Grant("all", frozenset(["read", "operate", "add"])),
        Grant("", frozenset(["read"])),
        Grant("some", frozenset(["add", "operate"]), ("m*",)),
    ]
)


class HostileRequestsTests(SynchronousTestCase):
    """
    Whatever a request says.
    """

    @given(_requests, _grants)
    @QUICK
    def test_call(self, request: tuple[str, Any, dict[str, str]], grant: Grant) -> None:
        """
        A method answers, or raises L{CloudTasksError}; both can be written as JSON in
        UTF-8.
        """
        method, message, anchors = request
        if isinstance(message, dict):
            known = fields_of(METHODS[method].request)
            message = {**message, **{n: v for n, v in anchors.items() if n in known}}
        try:
            answer = MemoryCloudTasks().call(method, message, grant)
        except CloudTasksError as e:
            answer = e.status
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()

    @given(
        st.sampled_from(PATHS),
        _names,
        st.one_of(_json.map(lambda value: json.dumps(value).encode()), st.binary()),
        st.dictionaries(_text, _text, max_size=3),
    )
    @QUICK
    def test_rest(
        self, path: Any, name: str, body: bytes, query: dict[str, str]
    ) -> None:
        """
        Over REST there is an answer in JSON, and an error is in Google's form.
        """
        fields = "&".join(f"{_quoted(n)}={_quoted(v)}" for n, v in query.items())
        target = f"/v2/{quote(name)}{path.rest}?{fields}"
        try:
            answer = MemoryCloudTasks().http(path.method, target, body)
        except APIProblem:  # of the server, before the API has it
            return
        found = json.loads(answer.body)
        if answer.status != 200:
            self.assertEqual(
                set(found["error"]) - {"details"}, {"code", "message", "status"}
            )


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
