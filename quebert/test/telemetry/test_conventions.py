"""
Tests for L{quebert.telemetry._conventions}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from quebert.telemetry._conventions import destination_of, of_request


class DestinationTests(SynchronousTestCase):
    """
    L{destination_of} has the names of the conventions for RabbitMQ.
    """

    def test_names(self) -> None:
        """
        What is empty, and a queue that is called as the key, is left out.
        """
        for parts, name in (
            (("flow", "tasks.medium"), "flow:tasks.medium"),
            (("flow", "tasks.medium", "tasks"), "flow:tasks.medium:tasks"),
            (("flow", "tasks", "tasks"), "flow:tasks"),
            (("", "tasks", "tasks"), "tasks"),
            (("flow", "", "tasks"), "flow:tasks"),
            (("flow", ""), "flow"),
            (("", ""), "amq.default"),
        ):
            self.assertEqual(destination_of(*parts), name)


class RequestTests(SynchronousTestCase):
    """
    L{of_request} tells of a request what is no secret.
    """

    def test_server(self) -> None:
        """
        The host and the port, whatever the URL spells out.
        """
        for url, host, port, scheme in (
            ("http://localhost:8000/a", "localhost", 8000, "http"),
            ("https://Example.COM./a", "example.com", 443, "https"),
            ("http://example.com", "example.com", 80, "http"),
            ("http://[2001:db8::1]/", "2001:db8::1", 80, "http"),
            ("http://[2001:db8::1]:81/", "2001:db8::1", 81, "http"),
        ):
            attributes, _ = of_request("POST", url)
            expected = {
                "http.request.method": "POST",
                "server.address": host,
                "server.port": port,
                "url.scheme": scheme,
            }
            self.assertEqual(attributes, expected)

    def test_url(self) -> None:
        """
        Neither a password nor a query is shown, nor thousands of characters.
        """
        _, shown = of_request("GET", "http://me:secret@h/a?token=secret#x")
        self.assertEqual(shown, "http://...@h/a?...")
        _, shown = of_request("GET", "http://h/" + "a" * 9_000)
        self.assertEqual(len(shown), 2_000)
