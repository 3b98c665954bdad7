"""
Tests for L{quebert.service._request_targets}: the C{HttpTarget} of a queue, as JSON.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.mediator import RequestTarget
from quebert.service._request_targets import request_target_of
from quebert.task import IDTokenWanted
from quebert.test.checks import refusal
from quebert.web.cloud_tasks._messages import HttpTarget
from quebert.web.cloud_tasks._proto import read_message, written

WHOLE: dict[str, Any] = {
    "uriOverride": {
        "scheme": "HTTPS",
        "host": "example.com",
        "port": "8443",
        "pathOverride": {"path": "/all"},
        "queryOverride": {"queryParams": "a=1"},
        "uriOverrideEnforceMode": "IF_NOT_EXISTS",
    },
    "httpMethod": "PUT",
    "headerOverrides": [{"header": {"key": "X-A", "value": "b"}}],
    "oidcToken": {"serviceAccountEmail": "a@example.com", "audience": "all"},
}


class RequestTargetTests(SynchronousTestCase):
    """
    Targets.
    """

    def test_none(self) -> None:
        """
        A queue without a target replaces nothing.
        """
        self.assertIsNone(request_target_of({}))

    def test_whole(self) -> None:
        """
        All parts are read, also as the Cloud Tasks API writes them.
        """
        wanted = RequestTarget(
            scheme="https",
            host="example.com",
            port=8443,
            path="/all",
            query="a=1",
            only_missing=True,
            method="PUT",
            headers={"X-A": "b"},
            id_token=IDTokenWanted("a@example.com", "all"),
        )
        self.assertEqual(request_target_of(WHOLE), wanted)
        again = written(read_message(HttpTarget, WHOLE, "http_target"))
        self.assertEqual(request_target_of(again), wanted)

    def test_parts(self) -> None:
        """
        What is not said, or not specified, stays as it is.
        """
        for plain, wanted in (
            ({"httpMethod": "HTTP_METHOD_UNSPECIFIED"}, RequestTarget()),
            ({"httpMethod": "GET"}, RequestTarget(method="GET")),
            ({"uriOverride": {"port": 0}}, RequestTarget(port=0)),
            (
                {"uriOverride": {"scheme": "SCHEME_UNSPECIFIED", "host": "a"}},
                RequestTarget(host="a"),
            ),
            (
                {"uriOverride": {"pathOverride": {}, "queryOverride": {}}},
                RequestTarget(path="", query=""),
            ),
            (
                {"uriOverride": {"uriOverrideEnforceMode": "ALWAYS"}},
                RequestTarget(only_missing=False),
            ),
            (
                {"headerOverrides": [{"header": {"key": "X-A"}}]},
                RequestTarget(headers={"X-A": ""}),
            ),
        ):
            self.assertEqual(request_target_of(plain), wanted, plain)

    def test_wrong(self) -> None:
        """
        What is not known is refused, and not left out.
        """
        for plain, text in (
            ({"colour": "red"}, "http_target has 'colour', which is not known"),
            ({"uriOverride": {"colour": 1}}, "http_target has 'colour'"),
            ({"uriOverride": []}, "a uriOverride that is no object"),
            ({"uriOverride": {"scheme": "FTP"}}, "http_target has 'FTP'"),
            ({"uriOverride": {"host": 5}}, "a host that is no text"),
            ({"uriOverride": {"port": "65536"}}, "a port that is none"),
            ({"uriOverride": {"port": True}}, "a port that is none"),
            ({"uriOverride": {"pathOverride": {"a": 1}}}, "http_target has 'a'"),
            ({"httpMethod": 2}, "a httpMethod that is no text"),
            ({"httpMethod": "TRACE"}, "http_target has 'TRACE'"),
            ({"headerOverrides": {}}, "headerOverrides that are no array"),
            ({"headerOverrides": [{}]}, "a header without a key"),
            ({"headerOverrides": [5]}, "a header that is no object"),
            (
                {"headerOverrides": [{"header": {"key": "X-A", "value": "a\nB: c"}}]},
                "cannot be used: headers: X-A contains a control character",
            ),
            (
                {"headerOverrides": [{"header": {"key": "X A"}}]},
                "is not a name of an HTTP header",
            ),
            (
                {"uriOverride": {"host": "-a"}},
                "cannot be used: url cannot be requested with the target of its queue",
            ),
            ({"oauthToken": {"scope": "a"}}, "http_target has 'oauthToken'"),
            ({"oidcToken": {"colour": "red"}}, "http_target has 'colour'"),
        ):
            self.assertIn(text, refusal(ConfigError, request_target_of, plain), plain)
