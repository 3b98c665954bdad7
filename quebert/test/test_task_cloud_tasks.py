"""
Tests for L{quebert.task._cloud_tasks}: the field C{cloud_tasks} of a task.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask
from quebert.task import CloudTasksField, IDTokenWanted, Request, make, request
from quebert.test.checks import refusal
from quebert.test.mediating import NOW, URL

FIELD = {"queue": "mail", "task": "42"}
ACCOUNT = "robot@p.iam.gserviceaccount.com"


class CloudTasksFieldTests(SynchronousTestCase):
    """
    L{request} of a task with such a field.
    """

    def asked(self, **fields: Any) -> Request:
        """
        The request of a task with these C{fields}.
        """
        return request({"url": URL, "cloud_tasks": FIELD, **fields}, "")

    def refused(self, **field: Any) -> str:
        """
        What is said against such a field.
        """
        return refusal(BadTask, self.asked, cloud_tasks={**FIELD, **field})

    def test_read(self) -> None:
        """
        The field tells the queue, the task, and the ID token that is wanted.
        """
        self.assertEqual(self.asked().cloud_tasks, CloudTasksField("mail", "42"))
        oidc = {"service_account_email": ACCOUNT}
        for more, audience in (({}, None), ({"audience": "https://a/"}, "https://a/")):
            found = self.asked(cloud_tasks={**FIELD, "oidc": {**oidc, **more}})
            wanted = CloudTasksField("mail", "42", IDTokenWanted(ACCOUNT, audience))
            self.assertEqual(found.cloud_tasks, wanted)
        self.assertIsNone(self.asked(cloud_tasks=None).cloud_tasks)

    def test_wrong(self) -> None:
        """
        The text against a wrong one names the key.
        """
        text = refusal(BadTask, self.asked, cloud_tasks="mail")
        self.assertEqual(text, "cloud_tasks must be an object, not a string")
        for key in ("queue", "task"):
            self.assertEqual(
                self.refused(**{key: None}), f"cloud_tasks.{key} is missing"
            )
            text = self.refused(**{key: 1})
            self.assertEqual(text, f"cloud_tasks.{key} must be a string, not a number")
            for wrong in ("", "a b", "a\r\nX: y", "é", "a" * 501):
                text = self.refused(**{key: wrong})
                self.assertIn(f"cloud_tasks.{key} must be a few ASCII", text)
        text = self.refused(oidc=[])
        self.assertEqual(text, "cloud_tasks.oidc must be an object, not an array")
        text = self.refused(oidc={})
        name = "cloud_tasks.oidc.service_account_email"
        self.assertEqual(text, f"{name} is missing")
        for audience in ("", 5, "a" * 2_084):
            oidc = {"service_account_email": ACCOUNT, "audience": audience}
            text = self.refused(oidc=oidc)
            self.assertIn("audience must be a string of 1 to 2083 characters", text)

    def test_never_itself(self) -> None:
        """
        The task itself is not sent, and nothing says the type of what is.
        """
        for method in ("POST", "GET", "DELETE"):
            asked = self.asked(method=method)
            self.assertEqual((asked.sends_task, asked.payload), (False, None))
            self.assertEqual(asked.headers, {})
        self.assertEqual(self.asked(payload="eA==").payload, b"x")

    def test_dropped_headers(self) -> None:
        """
        Headers that Cloud Tasks makes itself are dropped, also in spellings that a
        server may take for them; others stay as they are.
        """
        dropped = (
            "User-Agent", "user_agent", "HOST", "Content-Length", "content_length",
            "X-CloudTasks-TaskName", "x-cloudtasks-queuename", "X_CloudTasks_TaskName",
            "X-Google-Anything", "X-AppEngine-Country", "Connection",
            "Transfer-Encoding", "Proxy-Authorization", "TE",
        )  # fmt: skip
        kept = {
            "content-TYPE": "text/plain",
            "X-CloudTask": "1",
            "Authorization": "B c",
        }
        asked = self.asked(headers=dict.fromkeys(dropped, "x") | kept)
        self.assertEqual(asked.headers, kept)

    def test_wrong_headers(self) -> None:
        """
        Headers that are none are refused as those of other tasks.
        """
        for headers, told in (([], "an array"), ({"A\n": "b"}, "not a name")):
            self.assertIn(told, refusal(BadTask, self.asked, headers=headers))
        self.assertIn("headers", refusal(BadTask, self.asked, headers={1: "b"}))

    def test_make(self) -> None:
        """
        Whoever makes tasks for handlers gives the field; it is checked.
        """
        task = make(NOW, URL, payload=b"x", cloud_tasks=FIELD)
        self.assertEqual(task["cloud_tasks"], FIELD)
        refusal(BadTask, make, NOW, URL, cloud_tasks={"queue": "mail"})
        refusal(BadTask, make, NOW, URL, extra={"cloud_tasks": FIELD})
